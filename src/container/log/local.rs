//! Docker's `local`: protocol-buffer records with their length before and after them as 32 bits, big endian, so that
//! the file can be read from both ends.
//!
//! ```text
//! LogEntry   1 source: string · 2 time_nano: int64 · 3 line: bytes · 4 partial: bool · 5 partial_log_metadata · 6 attrs…
//! metadata   1 last: bool · 2 id: string · 3 ordinal: int32          attr   1 key: string · 2 value: string
//! ```

use super::lines::Piece;
use super::{Entry, Stream, stream_named, word};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// No record is longer; what claims to be is damaged.
pub const LONGEST_RECORD: usize = 1 << 20;

const VARINT: u8 = 0;
const BYTES: u8 = 2;

/// What is the same for all lines of a chunk: the fields before the line, and those after it.
#[derive(Debug, Default)]
pub struct Encoder {
    head: Vec<u8>,
    attributes: Vec<u8>,
}

impl Encoder {
    /// With these attributes on each line.
    pub fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut encoded = Vec::new();
        for (key, value) in attributes {
            let mut attribute = Vec::new();
            field(&mut attribute, 1, key.as_bytes());
            field(&mut attribute, 2, value.as_bytes());
            field(&mut encoded, 6, &attribute);
        }
        Self {
            head: Vec::new(),
            attributes: encoded,
        }
    }

    /// For the lines that follow.
    pub fn begin(&mut self, stream: Stream, time: i64) {
        self.head.clear();
        field(&mut self.head, 1, word(stream).as_bytes());
        number(&mut self.head, 2, time.cast_unsigned());
    }

    /// Appends one record to `out`.
    pub fn line(&self, out: &mut Vec<u8>, line: &[u8], piece: Option<Piece<'_>>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.head);
        if !line.is_empty() {
            field(out, 3, line);
        }
        if let Some(piece) = piece {
            let mut metadata = Vec::with_capacity(80);
            if piece.last {
                number(&mut metadata, 1, 1);
            }
            field(&mut metadata, 2, piece.id.as_bytes());
            number(&mut metadata, 3, piece.ordinal.into());
            number(out, 4, 1);
            field(out, 5, &metadata);
        }
        out.extend_from_slice(&self.attributes);
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
    }
}

fn number(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag << 3 | VARINT);
    varint(out, value);
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag << 3 | BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a record apart; `None` when it is damaged. Fields that are not known are passed over.
pub fn decode(record: &[u8]) -> Option<Entry<'_>> {
    let (mut stream, mut time, mut line) = (None, 0, &[][..]);
    let (mut partial, mut last) = (false, false);
    let mut attributes = Vec::new();
    for found in Fields(record) {
        match found? {
            (1, Value::Bytes(bytes)) => stream = stream_named(bytes),
            (2, Value::Number(nanoseconds)) => time = nanoseconds.cast_signed(),
            (3, Value::Bytes(bytes)) => line = bytes,
            (4, Value::Number(flag)) => partial = flag != 0,
            (5, Value::Bytes(bytes)) => {
                for found in Fields(bytes) {
                    if let (1, Value::Number(flag)) = found? {
                        last = flag != 0;
                    }
                }
            }
            (6, Value::Bytes(bytes)) => attributes.push(attribute(bytes)?),
            _ => {}
        }
    }
    Some(Entry {
        time,
        stream: stream?,
        line: match partial && !last {
            true => Cow::Borrowed(line),
            false => Cow::Owned([line, b"\n"].concat()),
        },
        attributes,
    })
}

fn attribute(bytes: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let (mut key, mut value) = ("", "");
    for found in Fields(bytes) {
        match found? {
            (1, Value::Bytes(bytes)) => key = str::from_utf8(bytes).ok()?,
            (2, Value::Bytes(bytes)) => value = str::from_utf8(bytes).ok()?,
            _ => {}
        }
    }
    Some((key.into(), value.into()))
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; `None` once where it is damaged.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| {
            let field = self.field();
            if field.is_none() {
                self.0 = &[];
            }
            field
        })
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match (tag & 7) as u8 {
            VARINT => Value::Number(self.varint()?),
            BYTES => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes worked out by hand from the table above.
    #[test]
    fn a_record_has_the_bytes_of_the_specification() {
        let mut encoder = Encoder::default();
        encoder.begin(Stream::Output, 300);
        let mut out = Vec::new();
        encoder.line(&mut out, b"hi", None);
        let record = b"\x0a\x06stdout\x10\xac\x02\x1a\x02hi";
        assert_eq!(out, [&[0, 0, 0, 15], &record[..], &[0, 0, 0, 15]].concat());
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut encoder = Encoder::new(&BTreeMap::from([("k".into(), "v".into())]));
        encoder.begin(Stream::Error, 1_500_000_000_120_000_000);
        for (line, piece, expected) in [
            (&b"a\xff\0"[..], None, &b"a\xff\0\n"[..]),
            (b"", None, b"\n"),
            (
                b"x",
                Some(Piece {
                    id: "i",
                    ordinal: 1,
                    last: false,
                }),
                b"x",
            ),
            (
                b"y",
                Some(Piece {
                    id: "i",
                    ordinal: 200,
                    last: true,
                }),
                b"y\n",
            ),
        ] {
            let mut out = Vec::new();
            encoder.line(&mut out, line, piece);
            let entry = decode(&out[4..out.len() - 4]).unwrap();
            assert_eq!(entry.line, expected);
            assert_eq!(
                (entry.time, entry.stream),
                (1_500_000_000_120_000_000, Stream::Error)
            );
            assert_eq!(entry.attributes, [("k".into(), "v".into())]);
        }
    }

    #[test]
    fn damage_is_noticed() {
        for damaged in [
            &b""[..],
            b"\x0a\x06stdou",
            b"\x0a\x06stdxxx",
            b"\x0a\x06stdout\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0f",
        ] {
            assert_eq!(decode(damaged), None, "{damaged:?}");
        }
    }
}
