//! A property of a unit as text: a name and a value, which is written as in GVariant's text format (as `gdbus call` takes it):
//! `'text'`, `true`, `5`, `uint64 5`, `@t 5`, `['a', 'b']`.

use super::wire::Writer;
use anyhow::{Context, Result, bail, ensure};

/// Types by the words that stand before values.
const TYPES: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "o"),
    ("signature", "g"),
];

/// One property.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    name: String,
    /// The type of its value in the words of D-Bus.
    kind: String,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Boolean(bool),
    Integer(i128),
    Number(f64),
    Text(String),
    Array(Vec<Value>),
}

impl Property {
    /// Reads one. `…Sec` takes seconds of any numeric type and is `…USec`, as in unit files.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let is_name = name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        ensure!(is_name, "`{name}` is no name of a property");
        let mut parser = Parser { rest: text };
        let (kind, value) = parser.value(None)?;
        let rest = parser.rest.trim();
        ensure!(rest.is_empty(), "nothing is expected before `{rest}`");
        let property = |name: String, kind, value| Self { name, kind, value };
        let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else {
            return Ok(property(name.to_owned(), kind, value));
        };
        const MICROSECONDS: u32 = 1_000_000;
        let microseconds = match value {
            Value::Integer(seconds) => seconds.saturating_mul(MICROSECONDS.into()),
            Value::Number(seconds) => (seconds * f64::from(MICROSECONDS)) as i128,
            _ => bail!("a number of seconds is expected"),
        };
        let fits = u64::try_from(microseconds).is_ok();
        ensure!(fits, "it is not a time that there is");
        Ok(property(
            format!("{stem}USec"),
            "t".to_owned(),
            Value::Integer(microseconds),
        ))
    }

    /// A number of 64 bits.
    pub(super) fn long(name: &str, value: u64) -> Self {
        Self {
            name: name.to_owned(),
            kind: "t".to_owned(),
            value: Value::Integer(value.into()),
        }
    }

    /// Bytes.
    pub(super) fn bytes(name: &str, bytes: &[u8]) -> Self {
        let bytes = bytes.iter().map(|byte| Value::Integer((*byte).into()));
        Self {
            name: name.to_owned(),
            kind: "ay".to_owned(),
            value: Value::Array(bytes.collect()),
        }
    }

    /// Its name, as systemd has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds it to a list of properties.
    pub(super) fn write(&self, properties: &mut Writer) {
        properties.property(&self.name, &self.kind, |writer| {
            write(writer, &self.kind, &self.value);
        });
    }
}

fn write(writer: &mut Writer, kind: &str, value: &Value) {
    match (kind, value) {
        (_, Value::Boolean(value)) => writer.boolean(*value),
        ("g", Value::Text(text)) => writer.signature(text),
        (_, Value::Text(text)) => writer.text(text),
        (_, Value::Number(number)) => writer.long(number.to_bits()),
        (kind, Value::Integer(number)) => writer.integer(size(kind), *number),
        (kind, Value::Array(values)) => {
            let kind = &kind[1..];
            writer.array(size(kind), |writer| {
                values.iter().for_each(|value| write(writer, kind, value));
            });
        }
    }
}

/// Of a number, and what a value of another type is aligned to; in bytes.
fn size(kind: &str) -> usize {
    match kind {
        "y" | "g" => 1,
        "n" | "q" => 2,
        "x" | "t" | "d" => 8,
        _ => 4,
    }
}

/// Whether a number is one of that type.
fn fits(kind: &str, number: i128) -> bool {
    match kind {
        "y" => u8::try_from(number).is_ok(),
        "n" => i16::try_from(number).is_ok(),
        "q" => u16::try_from(number).is_ok(),
        "i" => i32::try_from(number).is_ok(),
        "u" => u32::try_from(number).is_ok(),
        "x" => i64::try_from(number).is_ok(),
        "t" => u64::try_from(number).is_ok(),
        _ => false,
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// The next value and its type, which has to be `wanted` if that is known.
    fn value(&mut self, wanted: Option<&str>) -> Result<(String, Value)> {
        self.rest = self.rest.trim_start();
        let found = match self.rest.chars().next().context("a value is missing")? {
            '@' => {
                self.rest = &self.rest[1..];
                let kind = self.take(|letter| !letter.is_whitespace());
                let of_one = kind.strip_prefix('a').unwrap_or(kind);
                let is_known = TYPES.iter().any(|(_, known)| *known == of_one);
                ensure!(is_known, "the type `{kind}` is unknown");
                self.value(Some(kind))?
            }
            '\'' | '"' => {
                let kind = wanted.filter(|kind| ["s", "o", "g"].contains(kind));
                (kind.unwrap_or("s").to_owned(), Value::Text(self.text()?))
            }
            '[' => self.array(wanted)?,
            '-' | '+' | '.' | '0'..='9' => self.number(wanted)?,
            letter if letter.is_ascii_alphabetic() => {
                match self.take(|letter| letter.is_ascii_alphanumeric()) {
                    word @ ("true" | "false") => ("b".to_owned(), Value::Boolean(word == "true")),
                    word => {
                        let kind = TYPES.iter().find(|(known, _)| *known == word);
                        let (_, kind) = kind.with_context(|| {
                            format!("`{word}` is no value: a text stands in quotes")
                        })?;
                        self.value(Some(kind))?
                    }
                }
            }
            letter => bail!("`{letter}` begins no value"),
        };
        match wanted {
            Some(wanted) if wanted != found.0 => {
                bail!(
                    "a value of type `{}` stands where one of `{wanted}` is expected",
                    found.0
                )
            }
            _ => Ok(found),
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !belongs(letter));
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn text(&mut self) -> Result<String> {
        let mut letters = self.rest.char_indices();
        let quote = letters.next().map(|(_, letter)| letter);
        let mut text = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\0' => bail!("a text contains NUL"),
                '\\' => {
                    let (_, escaped) = letters.next().context("a text has no end")?;
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        '\\' | '\'' | '"' => escaped,
                        other => bail!("`\\{other}` means nothing"),
                    });
                }
                letter if Some(letter) == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                letter => text.push(letter),
            }
        }
        bail!("a text has no end")
    }

    /// Its elements have the type of the first.
    fn array(&mut self, wanted: Option<&str>) -> Result<(String, Value)> {
        self.rest = &self.rest[1..];
        let mut kind = wanted
            .and_then(|wanted| wanted.strip_prefix('a'))
            .map(str::to_owned);
        let mut values = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                let kind = kind.context("the type of an empty array is unknown: `@as []`")?;
                return Ok((format!("a{kind}"), Value::Array(values)));
            }
            if !values.is_empty() {
                self.rest = self
                    .rest
                    .strip_prefix(',')
                    .context("a `,` or `]` is missing")?;
            }
            let (found, value) = self.value(kind.as_deref())?;
            ensure!(
                !found.starts_with('a'),
                "an array of arrays is no value of a property"
            );
            kind = Some(found);
            values.push(value);
        }
    }

    fn number(&mut self, wanted: Option<&str>) -> Result<(String, Value)> {
        let token = self.take(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
        let malformed = || format!("`{token}` is no number");
        let is_hexadecimal = token.starts_with("0x");
        let has_fraction = token.contains(['.', 'e', 'E']) && !is_hexadecimal;
        let kind = wanted.unwrap_or(if has_fraction { "d" } else { "i" });
        if kind == "d" {
            return Ok((
                "d".to_owned(),
                Value::Number(token.parse().with_context(malformed)?),
            ));
        }
        let number = match token.strip_prefix("0x") {
            Some(digits) => i128::from_str_radix(digits, 16),
            None => token.parse(),
        };
        let number = number.with_context(malformed)?;
        ensure!(fits(kind, number), "`{token}` is not of type `{kind}`");
        Ok((kind.to_owned(), Value::Integer(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_types() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (name, written, expected, kind, value) in [
            (
                "CollectMode",
                "'inactive-or-failed'",
                "CollectMode",
                "s",
                text("inactive-or-failed"),
            ),
            (
                "CollectMode",
                "\"a'b\\\"\\n\"",
                "CollectMode",
                "s",
                text("a'b\"\n"),
            ),
            (
                "TimeoutStopUSec",
                "uint64 123456789",
                "TimeoutStopUSec",
                "t",
                Value::Integer(123_456_789),
            ),
            (
                "TimeoutStopSec",
                "5",
                "TimeoutStopUSec",
                "t",
                Value::Integer(5_000_000),
            ),
            (
                "TimeoutStopSec",
                "uint16 5",
                "TimeoutStopUSec",
                "t",
                Value::Integer(5_000_000),
            ),
            (
                "TimeoutStopSec",
                "0.25",
                "TimeoutStopUSec",
                "t",
                Value::Integer(250_000),
            ),
            (
                "CPUAccounting",
                "true",
                "CPUAccounting",
                "b",
                Value::Boolean(true),
            ),
            ("TasksMax", "@t 0x10", "TasksMax", "t", Value::Integer(16)),
            ("Nice", "-5", "Nice", "i", Value::Integer(-5)),
            ("Ratio", "1.5", "Ratio", "d", Value::Number(1.5)),
            (
                "After",
                " ['a', 'b'] ",
                "After",
                "as",
                Value::Array(vec![text("a"), text("b")]),
            ),
            ("After", "@as []", "After", "as", Value::Array(Vec::new())),
            (
                "Numbers",
                "[uint64 1, 2]",
                "Numbers",
                "at",
                Value::Array(vec![Value::Integer(1), Value::Integer(2)]),
            ),
            ("Path", "objectpath '/a'", "Path", "o", text("/a")),
        ] {
            let property = Property::parse(name, written)
                .unwrap_or_else(|error| panic!("{written}: {error:#}"));
            let (name, kind) = (expected.to_owned(), kind.to_owned());
            assert_eq!(property, Property { name, kind, value }, "{written}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for written in [
            "",
            "inactive",
            "'open",
            "[1",
            "[1 2]",
            "[]",
            "uint64",
            "uint64 -1",
            "byte 256",
            "5 6",
            "@z 5",
            "@as 5",
            "[1, 'a']",
            "[[1]]",
            "'\\q'",
            "(1, 2)",
            "boolean 1",
            "99999999999",
        ] {
            assert!(Property::parse("Name", written).is_err(), "{written}");
        }
        for name in ["", "ab", "A-B", "A.B", "Añb"] {
            assert!(Property::parse(name, "1").is_err(), "{name}");
        }
        assert!(Property::parse("TimeoutStopSec", "'5'").is_err());
        assert!(Property::parse("TimeoutStopSec", "-5").is_err());
    }

    #[test]
    fn they_stand_as_the_bus_has_them() {
        let mut writer = Writer::default();
        Property::parse("Abc", "[int16 1, 2]")
            .unwrap()
            .write(&mut writer);
        let expected = b"\x03\0\0\0Abc\0\x02an\0\x04\0\0\0\x01\0\x02\0";
        assert_eq!(writer.bytes(), expected);
    }
}
