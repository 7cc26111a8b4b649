//! The records of a PAX extended header (pax(1), "pax Extended Header"): syntax, numbers and attribute names.
//!
//! Not here: which record overrides which field of the entry.

use crate::error::{Error, bad_input};
use rustix::fs::Timespec;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Names or keys with their values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The records of one extended header, in order.
#[derive(Default)]
pub struct Records(Pairs);

impl Records {
    /// Reads `LENGTH KEY=VALUE\n` until the end.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, Error> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let record = split_record(&mut bytes)
                .ok_or_else(|| bad_input("the archive has a malformed PAX header"))?;
            records.push(record);
        }
        Ok(Self(records))
    }

    /// The last value of a key; an empty one takes the record back.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let (_, value) = self
            .0
            .iter()
            .rev()
            .find(|(name, _)| name == key.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }

    /// A decimal number that is not negative.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Error> {
        self.get(key)
            .map(|value| number(value).ok_or_else(|| malformed(key)))
            .transpose()
    }

    /// A time in seconds with a fraction.
    pub fn time(&self, key: &str) -> Result<Option<Timespec>, Error> {
        self.get(key)
            .map(|value| time(value).ok_or_else(|| malformed(key)))
            .transpose()
    }

    /// All records in order, for the keys that may be repeated.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(key, value)| (&key[..], &value[..]))
    }

    /// Extended attributes, in the form of star and in that of libarchive (percent-coded name, base64 value).
    pub fn attributes(&self) -> Result<Pairs, Error> {
        let mut found: Pairs = Vec::new();
        // A header may have as many of them as it has room for.
        let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
        for (key, value) in self.iter() {
            let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                (name.to_vec(), value.to_vec())
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                let decoded = percent_decoded(name).zip(base64_decoded(value));
                decoded.ok_or_else(|| malformed(&super::super::shown(key)))?
            } else {
                continue;
            };
            match places.entry(name) {
                Entry::Occupied(place) => found[*place.get()].1 = value,
                Entry::Vacant(place) => {
                    found.push((place.key().clone(), value));
                    place.insert(found.len() - 1);
                }
            }
        }
        Ok(found)
    }
}

fn malformed(key: &str) -> Error {
    bad_input(format!(
        "the archive has a PAX header with a malformed `{key}`"
    ))
}

/// One record off the front; the length counts itself, the space and the newline.
fn split_record(bytes: &mut &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&bytes[..space])?).ok()?;
    if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
        return None;
    }
    let record = &bytes[space + 1..length - 1];
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let is_name = matches!(
        key,
        b"path" | b"linkpath" | b"uname" | b"gname" | b"GNU.sparse.name"
    );
    if key.is_empty() || key.contains(&0) || (is_name && value.contains(&0)) {
        return None;
    }
    *bytes = &bytes[length..];
    Some((key.to_vec(), value.to_vec()))
}

/// Decimal digits and nothing else.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// `[-]SECONDS[.FRACTION]`; digits beyond nanoseconds are cut off, seconds beyond 64 bits clamped.
fn time(text: &[u8]) -> Option<Timespec> {
    let (negative, text) = text
        .strip_prefix(b"-")
        .map_or((false, text), |rest| (true, rest));
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next().unwrap_or_default();
    if !whole.iter().chain(fraction).all(u8::is_ascii_digit) || whole.is_empty() {
        return None;
    }
    let seconds = number(whole)
        .and_then(|value| i64::try_from(value).ok())
        .unwrap_or(i64::MAX);
    let nanoseconds = (0..9).fold(0i64, |value, place| {
        value * 10
            + fraction
                .get(place)
                .map_or(0, |digit| i64::from(digit - b'0'))
    });
    Some(match (negative, nanoseconds) {
        (false, _) => Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        },
        (true, 0) => Timespec {
            tv_sec: -seconds,
            tv_nsec: 0,
        },
        (true, _) => Timespec {
            tv_sec: (-seconds).saturating_sub(1),
            tv_nsec: 1_000_000_000 - nanoseconds,
        },
    })
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'%' {
            let digit =
                |digit: Option<&u8>| digit.and_then(|digit| char::from(*digit).to_digit(16));
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(*byte);
        }
    }
    (!decoded.contains(&0)).then_some(decoded)
}

/// RFC 4648 section 4, with or without the padding.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        if group.len() == 1 {
            return None;
        }
        decoded.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        type Expected = &'static [(&'static str, &'static str)];
        let good: &[(&[u8], Expected)] = &[
            (b"", &[]),
            (b"6 k=v\n", &[("k", "v")]),
            (b"10 path=a\n10 path=b\n", &[("path", "b")]),
            (b"12 k=v=w\nxx\n", &[("k", "v=w\nxx")]),
        ];
        for (bytes, expected) in good {
            let parsed = Records::parse(bytes).unwrap();
            for (key, value) in *expected {
                assert_eq!(parsed.get(key), Some(value.as_bytes()), "{key}");
            }
        }
        let bad: &[&[u8]] = &[
            b"6 k=v",
            b"5 k=v\n",
            b"7 k=v\n",
            b"-6 k=v\n",
            b"6 kvv\n",
            b"5 =v\n",
            b"99999999999999999999 k=v\n",
            b"11 path=\0a\n",
        ];
        for bytes in bad {
            assert!(
                Records::parse(bytes).is_err(),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        let emptied = Records::parse(b"6 k=v\n5 k=\n").unwrap();
        assert_eq!(emptied.get("k"), None);
    }

    #[test]
    fn times() {
        let cases = [
            ("0", Some((0, 0))),
            ("1350244992.023960108", Some((1_350_244_992, 23_960_108))),
            ("1.5", Some((1, 500_000_000))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-3", Some((-3, 0))),
            ("1.", Some((1, 0))),
            ("1.0000000019", Some((1, 1))),
            ("99999999999999999999999", Some((i64::MAX, 0))),
            ("", None),
            ("x", None),
            (".5", None),
            ("1.2.3", None),
        ];
        for (text, expected) in cases {
            let parsed = time(text.as_bytes()).map(|time| (time.tv_sec, time.tv_nsec));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn libarchive_attributes() {
        let value = "LIBARCHIVE.xattr.user.a%20b=AAEC/w==";
        let record = format!("{} {value}\n", value.len() + 4);
        let records = Records::parse(record.as_bytes()).unwrap();
        assert_eq!(
            records.attributes().unwrap(),
            [(b"user.a b".to_vec(), vec![0, 1, 2, 255])]
        );
        for (text, decoded) in [
            ("", Some("")),
            ("YQ", Some("a")),
            ("YWI=", Some("ab")),
            ("YWJj", Some("abc")),
            ("Y", None),
            ("Y!==", None),
        ] {
            assert_eq!(
                base64_decoded(text.as_bytes()).as_deref(),
                decoded.map(str::as_bytes),
                "{text}"
            );
        }
    }
}
