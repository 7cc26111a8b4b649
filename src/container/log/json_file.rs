//! Docker's `json-file`: one object per line, `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}`, escaped as
//! Docker's own encoder does it: also `<`, `>`, `&`, U+2028 and U+2029, and U+FFFD for each byte that is no UTF-8.

use super::lines::Piece;
use super::{Entry, Stream, stream_named, word};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

/// What comes after the text of a line: the same for all lines of a chunk.
#[derive(Debug, Default)]
pub struct Encoder {
    attributes: Vec<u8>,
    tail: Vec<u8>,
}

impl Encoder {
    /// With these attributes on each line.
    pub fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut object = Vec::new();
        for (key, value) in attributes {
            object.push(if object.is_empty() { b'{' } else { b',' });
            object.push(b'"');
            escape(&mut object, key.as_bytes());
            object.extend_from_slice(b"\":\"");
            escape(&mut object, value.as_bytes());
            object.push(b'"');
        }
        if !object.is_empty() {
            object.splice(..0, *b",\"attrs\":");
            object.push(b'}');
        }
        Self {
            attributes: object,
            tail: Vec::new(),
        }
    }

    /// For the lines that follow.
    pub fn begin(&mut self, stream: Stream, time: i64) {
        self.tail.clear();
        let time = jiff::Timestamp::from_nanosecond(time.into()).unwrap_or_default();
        // Writing to memory does not fail.
        let _ = write!(self.tail, "\",\"stream\":\"{}\"", word(stream));
        self.tail.extend_from_slice(&self.attributes);
        let _ = writeln!(self.tail, ",\"time\":\"{time}\"}}");
    }

    /// Appends one line to `out`.
    pub fn line(&self, out: &mut Vec<u8>, line: &[u8], piece: Option<Piece<'_>>) {
        out.extend_from_slice(b"{\"log\":\"");
        escape(out, line);
        if piece.is_none_or(|piece| piece.last) {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(&self.tail);
    }
}

/// Whether a byte cannot stand for itself.
const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x80 || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// Appends what stands between the quotes. Bytes that need nothing are looked at 16 at a time.
fn escape(out: &mut Vec<u8>, mut text: &[u8]) {
    while !text.is_empty() {
        let plain = plain_length(text);
        out.extend_from_slice(&text[..plain]);
        text = &text[plain..];
        let Some(&byte) = text.first() else { return };
        if byte < 0x80 {
            escape_ascii(out, byte);
            text = &text[1..];
        } else {
            let end = text.iter().position(u8::is_ascii).unwrap_or(text.len());
            escape_unicode(out, &text[..end]);
            text = &text[end..];
        }
    }
}

fn plain_length(text: &[u8]) -> usize {
    let mut length = 0;
    for block in text.chunks_exact(16) {
        // Without an early end, which is what lets the compiler look at all of them at once.
        if block
            .iter()
            .fold(false, |found, byte| found | is_special(*byte))
        {
            break;
        }
        length += 16;
    }
    let rest = &text[length..];
    length
        + rest
            .iter()
            .position(|byte| is_special(*byte))
            .unwrap_or(rest.len())
}

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => {
            let digit = |four: u8| DIGITS[usize::from(four & 15)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
        }
    }
}

fn escape_unicode(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        let mut valid = chunk.valid();
        // U+2028 and U+2029 end a line in JavaScript.
        while let Some(at) = valid.find(['\u{2028}', '\u{2029}']) {
            out.extend_from_slice(&valid.as_bytes()[..at]);
            out.extend_from_slice(if valid[at..].starts_with('\u{2028}') {
                b"\\u2028"
            } else {
                b"\\u2029"
            });
            valid = &valid[at + 3..];
        }
        out.extend_from_slice(valid.as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    attrs: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Takes a line of the file apart; `None` when it is damaged.
pub fn decode(line: &[u8]) -> Option<Entry<'_>> {
    let object: Object<'_> = serde_json::from_slice(line).ok()?;
    let time: jiff::Timestamp = object.time.parse().ok()?;
    Some(Entry {
        time: i64::try_from(time.as_nanosecond()).ok()?,
        stream: stream_named(object.stream.as_bytes())?,
        line: match object.log {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
        attributes: object.attrs.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &[u8]) -> String {
        let mut encoder = Encoder::default();
        encoder.begin(Stream::Output, 1_500_000_000_120_000_000);
        let mut out = Vec::new();
        encoder.line(&mut out, text, None);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_written_as_docker_does() {
        assert_eq!(
            encoded(b"hello"),
            "{\"log\":\"hello\\n\",\"stream\":\"stdout\",\"time\":\"2017-07-14T02:40:00.12Z\"}\n"
        );
        for (text, escaped) in [
            (&b""[..], "\\n"),
            (b"a\tb\r\x00\x7f", "a\\u0009b\\r\\u0000\x7f\\n"),
            (br#"say "x\y""#, r#"say \"x\\y\"\n"#),
            (b"<a&b>", r"\u003ca\u0026b\u003e\n"),
            ("é€🏺".as_bytes(), "é€🏺\\n"),
            ("a\u{2028}b\u{2029}".as_bytes(), r"a\u2028b\u2029\n"),
            (
                b"0123456789abcdef\xff0123456789abcdef0\xe2\x82x",
                r"0123456789abcdef\ufffd0123456789abcdef0\ufffd\ufffdx\n",
            ),
        ] {
            assert!(
                encoded(text).starts_with(&format!("{{\"log\":\"{escaped}\",")),
                "{}",
                encoded(text)
            );
        }
    }

    #[test]
    fn attributes_and_pieces() {
        let mut encoder = Encoder::new(&BTreeMap::from([
            ("b".into(), "<\"2\">".into()),
            ("a".into(), "1".into()),
        ]));
        encoder.begin(Stream::Error, 0);
        let mut out = Vec::new();
        let piece = |last| {
            Some(Piece {
                id: "x",
                ordinal: 1,
                last,
            })
        };
        encoder.line(&mut out, b"one", piece(false));
        encoder.line(&mut out, b"two", piece(true));
        let tail = r#","stream":"stderr","attrs":{"a":"1","b":"\u003c\"2\"\u003e"},"time":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{{\"log\":\"one\"{tail}\n{{\"log\":\"two\\n\"{tail}\n")
        );
    }

    #[test]
    fn what_was_written_is_read_again_and_damage_is_not() {
        let text = "a \u{1}<&>\"\\\u{2028} é\t".as_bytes();
        let line = encoded(text);
        let entry = decode(line.as_bytes()).unwrap();
        assert_eq!(
            (entry.time, entry.stream),
            (1_500_000_000_120_000_000, Stream::Output)
        );
        assert_eq!(entry.line, [text, b"\n"].concat());
        for damaged in [
            "",
            "{}",
            "null",
            &line[..line.len() - 5],
            "{\"log\":\"x\",\"stream\":\"stdin\",\"time\":\"2017-07-14T02:40:00Z\"}",
        ] {
            assert_eq!(decode(damaged.as_bytes()), None, "{damaged}");
        }
    }

    proptest::proptest! {
        /// An independent parser reads every sequence of bytes as what Go makes of it.
        #[test]
        fn any_bytes_are_valid_json(bytes: Vec<u8>) {
            let value: serde_json::Value = serde_json::from_str(&encoded(&bytes)).unwrap();
            let mut expected = String::new();
            for chunk in bytes.utf8_chunks() {
                expected.push_str(chunk.valid());
                chunk.invalid().iter().for_each(|_| expected.push('\u{fffd}'));
            }
            proptest::prop_assert_eq!(value["log"].as_str().unwrap(), expected + "\n");
        }
    }
}
