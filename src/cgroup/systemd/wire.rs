//! D-Bus values as bytes and back (D-Bus Specification, "Marshaling (Wire Format)"): only the types that occur
//! between us and a service manager, always in little-endian order.
//!
//! Whoever writes is another program. Invariant: a [`Reader`] never goes beyond its bytes, whatever lengths
//! they claim, and takes no memory that they claim.

use anyhow::{Context, Result, ensure};

/// Values one after the other.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Pads with zeros up to a multiple of `alignment`.
    pub fn align(&mut self, alignment: usize) {
        self.0.resize(self.0.len().next_multiple_of(alignment), 0);
    }

    /// `y`
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// `u`
    pub fn number(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_le_bytes());
    }

    /// `t`
    pub fn long(&mut self, value: u64) {
        self.align(8);
        self.0.extend(value.to_le_bytes());
    }

    /// `y`, `n`, `q`, `i`, `u`, `x` or `t` by their size in bytes; the number must fit.
    pub fn integer(&mut self, size: usize, value: i128) {
        self.align(size);
        self.0.extend(&value.to_le_bytes()[..size]);
    }

    /// `b`
    pub fn boolean(&mut self, value: bool) {
        self.number(value.into());
    }

    /// `s` or `o`; the text must not contain NUL.
    pub fn text(&mut self, value: &str) {
        self.number(length(value.len()));
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    /// `g`, at most 255 types.
    pub fn signature(&mut self, value: &str) {
        self.0
            .push(u8::try_from(value.len()).expect("our signatures are short"));
        self.0.extend(value.as_bytes());
        self.0.push(0);
    }

    /// An array of elements with that alignment, which `elements` writes.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) {
        self.number(0);
        let counted = self.0.len();
        // The length does not count the padding before the first element, which is there even without one.
        self.align(alignment);
        let first = self.0.len();
        elements(self);
        let bytes = length(self.0.len() - first).to_le_bytes();
        self.0[counted - 4..counted].copy_from_slice(&bytes);
    }

    /// `(sv)`: a name with a value of that type, which `value` writes.
    pub fn property(&mut self, name: &str, kind: &str, value: impl FnOnce(&mut Self)) {
        self.align(8);
        self.text(name);
        self.signature(kind);
        value(self);
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds bytes that are aligned in themselves.
    pub fn append(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }
}

/// No message of ours comes near to 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("our messages are short")
}

/// Reads values one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader of bytes whose first one is aligned to 8.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Goes on to the next multiple of `alignment`.
    pub fn align(&mut self, alignment: usize) -> Result<()> {
        let padding = self.at.next_multiple_of(alignment) - self.at;
        self.take(padding).map(|_| ())
    }

    /// `y`
    pub fn byte(&mut self) -> Result<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// `u`, and the bits of `i` and `b`
    pub fn number(&mut self) -> Result<u32> {
        self.align(4)?;
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// `s` or `o`
    pub fn text(&mut self) -> Result<&'a str> {
        let length = self.number()?;
        self.terminated(usize::try_from(length)?)
    }

    /// `g`
    pub fn signature(&mut self) -> Result<&'a str> {
        let length = self.byte()?;
        self.terminated(length.into())
    }

    fn terminated(&mut self, length: usize) -> Result<&'a str> {
        let bytes = self.take(length)?;
        ensure!(
            self.byte()? == 0 && !bytes.contains(&0),
            "text is not ended by its only NUL"
        );
        std::str::from_utf8(bytes).context("text is not UTF-8")
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.context("the message ends in the middle of a value")?;
        self.at += length;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_stand_as_the_specification_has_them() {
        // "Marshaling (Wire Format)", examples of strings and of arrays of 64-bit numbers.
        let mut writer = Writer::default();
        writer.text("foo");
        writer.text("+");
        writer.text("bar");
        let expected = b"\x03\0\0\0foo\0\x01\0\0\0+\0\0\0\x03\0\0\0bar\0";
        assert_eq!(writer.bytes(), expected);
        let mut writer = Writer::default();
        writer.array(8, |writer| writer.long(5));
        assert_eq!(writer.bytes(), b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        let mut writer = Writer::default();
        writer.array(8, |_| {});
        assert_eq!(writer.bytes(), [0; 8]);
        let mut writer = Writer::default();
        writer.byte(7);
        writer.property("Delegate", "b", |writer| writer.boolean(true));
        let expected = b"\x07\0\0\0\0\0\0\0\x08\0\0\0Delegate\0\x01b\0\x01\0\0\0";
        assert_eq!(writer.bytes(), expected);
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for (bytes, what) in [
            (&b""[..], "nothing"),
            (b"\x03\0\0", "half a length"),
            (b"\x03\0\0\0fo", "half a text"),
            (b"\x03\0\0\0foo", "no NUL"),
            (b"\x03\0\0\0foox", "another end"),
            (b"\x03\0\0\0f\0o\0", "a NUL within"),
            (b"\x02\0\0\0\xff\xfe\0", "no UTF-8"),
            (b"\xff\xff\xff\xfffoo\0", "four gigabytes"),
        ] {
            assert!(Reader::new(bytes).text().is_err(), "{what}");
        }
        assert!(Reader::new(b"\xfffoo\0").signature().is_err());
        assert!(Reader::new(b"\x05").align(8).is_ok());
        let mut reader = Reader::new(b"\x05");
        reader.byte().unwrap();
        assert!(reader.align(8).is_err());
    }

    #[derive(Clone, Debug)]
    enum Value {
        Byte(u8),
        Number(u32),
        Text(String),
        Texts(Vec<String>),
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = || "[^\0]{0,40}";
        prop_oneof![
            any::<u8>().prop_map(Value::Byte),
            any::<u32>().prop_map(Value::Number),
            text().prop_map(Value::Text),
            prop::collection::vec(text(), 0..4).prop_map(Value::Texts),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(values in prop::collection::vec(value(), 0..12)) {
            let mut writer = Writer::default();
            for value in &values {
                match value {
                    Value::Byte(byte) => writer.byte(*byte),
                    Value::Number(number) => writer.number(*number),
                    Value::Text(text) => writer.text(text),
                    Value::Texts(texts) => writer.array(4, |writer| texts.iter().for_each(|text| writer.text(text))),
                }
            }
            let mut reader = Reader::new(writer.bytes());
            for value in &values {
                match value {
                    Value::Byte(byte) => prop_assert_eq!(reader.byte().unwrap(), *byte),
                    Value::Number(number) => prop_assert_eq!(reader.number().unwrap(), *number),
                    Value::Text(text) => prop_assert_eq!(reader.text().unwrap(), text),
                    Value::Texts(texts) => {
                        let end = reader.number().unwrap() as usize + reader.at;
                        for text in texts {
                            prop_assert_eq!(reader.text().unwrap(), text);
                        }
                        prop_assert_eq!(reader.at, end);
                    }
                }
            }
            prop_assert!(reader.is_empty());
        }
    }
}
