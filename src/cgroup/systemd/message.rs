//! D-Bus messages (D-Bus Specification, "Message Protocol"): calls are written, all other kinds are read.
//!
//! It knows no method: what stands in a body is for who makes the call.

use super::wire::{Reader, Writer};
use anyhow::{Context, Result, bail, ensure};

/// The part of a message that has the same size in each.
pub const FIXED: usize = 16;
/// The specification's limit for a whole message, in bytes.
const LONGEST: usize = 128 << 20;

const METHOD_CALL: u8 = 1;
const LITTLE_ENDIAN: u8 = b'l';
const VERSION: u8 = 1;

/// Header fields, by the specification's numbers.
mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SENDER: u8 = 7;
    pub const SIGNATURE: u8 = 8;
}

/// A method to call.
#[derive(Debug)]
pub struct Call<'a> {
    /// Whose.
    pub destination: &'a str,
    /// Of which object.
    pub path: &'a str,
    /// Of which of its interfaces.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// The types of what is in `body`.
    pub signature: &'static str,
    /// The arguments.
    pub body: Writer,
}

impl Call<'_> {
    /// The call as it goes over the wire; `serial` is not zero.
    pub fn message(&self, serial: u32) -> Writer {
        let mut message = Writer::default();
        for byte in [LITTLE_ENDIAN, METHOD_CALL, 0, VERSION] {
            message.byte(byte);
        }
        let length = u32::try_from(self.body.bytes().len()).expect("our messages are short");
        message.number(length);
        message.number(serial);
        message.array(8, |fields| {
            for (code, kind, value) in [
                (field::PATH, "o", self.path),
                (field::DESTINATION, "s", self.destination),
                (field::INTERFACE, "s", self.interface),
                (field::MEMBER, "s", self.member),
            ] {
                fields.align(8);
                fields.byte(code);
                fields.signature(kind);
                fields.text(value);
            }
            if !self.signature.is_empty() {
                fields.align(8);
                fields.byte(field::SIGNATURE);
                fields.signature("g");
                fields.signature(self.signature);
            }
        });
        message.align(8);
        message.append(&self.body);
        message
    }
}

/// What a message from the other side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody calls a method of ours: we have none.
    Call,
    /// A call was answered.
    Return,
    /// A call was refused.
    Error,
    /// Something has happened.
    Signal,
    /// The specification wants unknown kinds to be ignored.
    Unknown,
}

/// A message from the other side. What its header does not say is empty, or zero.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The call that it answers.
    pub reply_serial: u32,
    /// The object of a signal.
    pub path: String,
    /// The interface of a signal.
    pub interface: String,
    /// The name of a signal.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// Who has sent it, as the bus says.
    pub sender: String,
    /// The types of what is in `body`.
    pub signature: String,
    body: Vec<u8>,
}

impl Message {
    /// The length in bytes of the message that starts so, and its kind.
    pub fn length(fixed: &[u8; FIXED]) -> Result<(usize, Kind)> {
        ensure!(
            fixed[0] == LITTLE_ENDIAN,
            "a message is not in little-endian order"
        );
        ensure!(
            fixed[3] == VERSION,
            "a message is of the protocol version {}",
            fixed[3]
        );
        let mut numbers = Reader::new(&fixed[4..]);
        let body = usize::try_from(numbers.number()?)?;
        let _serial = numbers.number()?;
        let fields = usize::try_from(numbers.number()?)?;
        let total = FIXED + fields.min(LONGEST).next_multiple_of(8) + body.min(LONGEST);
        ensure!(total <= LONGEST, "a message is longer than {LONGEST} bytes");
        Ok((total, kind(fixed[1])))
    }

    /// Reads a whole message, whose length is that of [`Self::length`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fixed = bytes
            .first_chunk()
            .context("a message is shorter than its header")?;
        let (length, kind) = Self::length(fixed)?;
        ensure!(bytes.len() == length, "a message is not as long as it says");
        let mut ends = Reader::new(&bytes[4..]);
        let body = bytes.len() - usize::try_from(ends.number()?)?;
        let _serial = ends.number()?;
        let fields = FIXED + usize::try_from(ends.number()?)?;
        let mut message = Self {
            kind,
            reply_serial: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            sender: String::new(),
            signature: String::new(),
            body: bytes[body..].to_vec(),
        };
        let mut reader = Reader::new(&bytes[FIXED..fields]);
        while !reader.is_empty() {
            reader.align(8)?;
            message.read_field(&mut reader)?;
        }
        Ok(message)
    }

    /// What is in the body, if that is of these types.
    pub fn body(&self, signature: &str) -> Result<Reader<'_>> {
        ensure!(
            self.signature == signature,
            "a message holds `{}` where `{signature}` belongs",
            self.signature
        );
        Ok(Reader::new(&self.body))
    }

    /// The text that the body starts with, if it does.
    pub fn first_text(&self) -> Option<&str> {
        let has_text = self.signature.starts_with('s');
        Reader::new(&self.body).text().ok().filter(|_| has_text)
    }

    fn read_field(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let code = reader.byte()?;
        let kind = reader.signature()?;
        // All fields that the specification has are of one of these types; an unknown one is passed over.
        let (text, number) = match kind {
            "s" | "o" => (reader.text()?, 0),
            "g" => (reader.signature()?, 0),
            "u" => ("", reader.number()?),
            _ => bail!("a header field is of the type `{kind}`"),
        };
        let place = match (code, kind) {
            (field::REPLY_SERIAL, "u") => {
                self.reply_serial = number;
                return Ok(());
            }
            (field::PATH, "o") => &mut self.path,
            (field::INTERFACE, "s") => &mut self.interface,
            (field::MEMBER, "s") => &mut self.member,
            (field::ERROR_NAME, "s") => &mut self.error,
            (field::SENDER, "s") => &mut self.sender,
            (field::SIGNATURE, "g") => &mut self.signature,
            (0..=field::SIGNATURE, _) if code != field::DESTINATION => {
                bail!("the header field {code} is of the type `{kind}`")
            }
            _ => return Ok(()),
        };
        text.clone_into(place);
        Ok(())
    }
}

fn kind(code: u8) -> Kind {
    match code {
        METHOD_CALL => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call() -> Call<'static> {
        let mut body = Writer::default();
        body.text("x.scope");
        Call {
            destination: "a.b",
            path: "/c",
            interface: "a.d",
            member: "Get",
            signature: "s",
            body,
        }
    }

    /// Laid out by hand from the specification, "Message Format".
    const CALL: &[u8] = b"l\x01\0\x01\x0c\0\0\0\x07\0\0\0\x47\0\0\0\
        \x01\x01o\0\x02\0\0\0/c\0\0\0\0\0\0\
        \x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0\
        \x02\x01s\0\x03\0\0\0a.d\0\0\0\0\0\
        \x03\x01s\0\x03\0\0\0Get\0\0\0\0\0\
        \x08\x01g\0\x01s\0\0\
        \x07\0\0\0x.scope\0";

    #[test]
    fn a_call_stands_as_the_specification_has_it() {
        let message = call().message(7);
        assert_eq!(message.bytes(), CALL);
        let parsed = Message::parse(CALL).unwrap();
        assert_eq!(parsed.kind, Kind::Call);
        assert_eq!(
            (&*parsed.path, &*parsed.interface, &*parsed.member),
            ("/c", "a.d", "Get")
        );
        assert_eq!(parsed.body("s").unwrap().text().unwrap(), "x.scope");
        assert!(parsed.body("u").is_err());
    }

    #[test]
    fn a_reply_names_its_call() {
        let reply = b"l\x03\x01\x01\x07\0\0\0\x02\0\0\0\x1f\0\0\0\
            \x05\x01u\0\x07\0\0\0\
            \x04\x01s\0\x03\0\0\0a.E\0\0\0\0\0\
            \x08\x01g\0\x01s\0\0\
            \x02\0\0\0no\0";
        let message = Message::parse(reply).unwrap();
        assert_eq!((message.kind, message.reply_serial), (Kind::Error, 7));
        assert_eq!(message.error, "a.E");
        assert_eq!(message.body("s").unwrap().text().unwrap(), "no");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let changed = |at: usize, byte: u8| {
            let mut bytes = CALL.to_vec();
            bytes[at] = byte;
            Message::parse(&bytes)
        };
        assert!(changed(8, 9).is_ok(), "another serial is as good");
        for (at, byte, what) in [
            (0, b'B', "big-endian"),
            (3, 2, "another version"),
            (4, 13, "a longer body"),
            (7, 0xff, "a body of gigabytes"),
            (12, 0x48, "longer fields"),
            (12, 0x4f, "fields into the body"),
            (15, 0xff, "fields of gigabytes"),
            (18, b'v', "a field of a type that none has"),
            (18, b's', "a path that is none"),
            (20, 0xff, "a path beyond the end"),
        ] {
            assert!(changed(at, byte).is_err(), "{what}");
        }
        for length in 0..CALL.len() {
            assert!(Message::parse(&CALL[..length]).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0..CALL.len(), bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            let mut message = CALL.to_vec();
            let end = (at + bytes.len()).min(message.len());
            message[at..end].copy_from_slice(&bytes[..end - at]);
            if let Ok(message) = Message::parse(&message) {
                let _ = message.body("s").and_then(|mut body| body.text().map(str::len));
            }
            let _ = Message::parse(&bytes);
        }
    }
}
