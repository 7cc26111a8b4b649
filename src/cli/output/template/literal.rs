//! Constants as Go writes them: quoted text, characters and numbers are read, text is quoted.

use super::node::Number;
use std::fmt::Write;

/// The meaning of `"…"` or `` `…` ``, quotes included.
pub(super) fn text(written: &str) -> Result<String, String> {
    if let Some(raw) = written
        .strip_prefix('`')
        .and_then(|rest| rest.strip_suffix('`'))
    {
        return Ok(raw.replace('\r', ""));
    }
    let inner = written
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or("invalid syntax")?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        rest = unescape(rest, '"', &mut bytes).ok_or("invalid syntax")?;
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Takes one character or escape from the front of `rest` and returns what follows it.
fn unescape<'a>(rest: &'a str, quote: char, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = rest.chars();
    let first = chars.next()?;
    if first != '\\' {
        bytes.extend(first.encode_utf8(&mut [0; 4]).bytes());
        return Some(chars.as_str());
    }
    let (digits, radix) = match chars.next()? {
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => (3, 8),
        escape => {
            bytes.push(match escape {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 11,
                '\\' => b'\\',
                '\'' | '"' if escape == quote => u8::try_from(escape).ok()?,
                _ => return None,
            });
            return Some(chars.as_str());
        }
    };
    // An octal escape has no letter in front of its digits.
    let start = if radix == 8 { 1 } else { 2 };
    let number = rest
        .get(start..start + digits)
        .filter(|text| text.chars().all(|c| c.is_digit(radix)))?;
    let value = u32::from_str_radix(number, radix).ok()?;
    match digits {
        // These two name a byte, not a character.
        2 | 3 => bytes.push(u8::try_from(value).ok()?),
        _ => bytes.extend(char::from_u32(value)?.encode_utf8(&mut [0; 4]).bytes()),
    }
    rest.get(start + digits..)
}

/// A number (`12`, `0x1f`, `1_000`, `1.5e3`) or a character (`'a'`, which is its code point).
pub(super) fn number(written: &str) -> Result<Number, String> {
    let text = written.to_string();
    if written.starts_with('\'') {
        let value = character(written)?;
        return Ok(Number {
            text,
            integer: Some(value.into()),
            float: None,
        });
    }
    if let Some(value) = integer(written) {
        if value > u64::MAX.into() || value < i64::MIN.into() {
            return Err(format!("integer overflow: {}", quote(written)));
        }
        return Ok(Number {
            text,
            integer: Some(value),
            float: None,
        });
    }
    let plain = !written.starts_with("0x") && !written.contains('_');
    let value = written
        .parse::<f64>()
        .ok()
        .filter(|value| plain && value.is_finite());
    let value = value.ok_or_else(|| format!("illegal number syntax: {}", quote(written)))?;
    if !written.contains(['.', 'e', 'E']) {
        return Err(format!("integer overflow: {}", quote(written)));
    }
    #[allow(clippy::cast_possible_truncation)]
    let whole = (value.fract() == 0.0 && value.abs() < 9e18).then_some(value as i128);
    Ok(Number {
        text,
        integer: whole,
        float: Some(value),
    })
}

fn character(written: &str) -> Result<u32, String> {
    let inner = written
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
        .unwrap_or_default();
    let mut bytes = Vec::new();
    match unescape(inner, '\'', &mut bytes) {
        None => Err("invalid syntax".to_string()),
        Some("") => Ok(match std::str::from_utf8(&bytes) {
            Ok(text) => text.chars().next().map_or(0, u32::from),
            // `'\x80'` and above.
            Err(_) => bytes.first().copied().unwrap_or(0).into(),
        }),
        Some(_) => Err(format!("malformed character constant: {written}")),
    }
}

/// With a sign and a base in front, and single underscores inside.
fn integer(written: &str) -> Option<i128> {
    let (negative, digits) = match written.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, written.strip_prefix('+').unwrap_or(written)),
    };
    let lower = digits.to_lowercase();
    let (digits, radix) = match lower.get(..2) {
        Some("0x") => (&lower[2..], 16),
        Some("0o") => (&lower[2..], 8),
        Some("0b") => (&lower[2..], 2),
        Some(octal) if octal.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    // An underscore stands between digits, or between the base and them.
    if digits.ends_with('_') || digits.contains("__") || radix == 10 && digits.starts_with('_') {
        return None;
    }
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = i128::from_str_radix(&digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

/// `text` in double quotes with Go's escapes.
pub fn quote(text: &str) -> String {
    quote_with(false, '"', text)
}

/// The same in other quotes, or with everything escaped that is not ASCII.
pub(super) fn quote_with(ascii: bool, quote: char, text: &str) -> String {
    let mut shown = String::from(quote);
    for c in text.chars() {
        let printable = c == ' ' || !c.is_whitespace() && c.escape_debug().count() == 1;
        let _ = match c {
            '\u{7}' => shown.write_str("\\a"),
            '\u{8}' => shown.write_str("\\b"),
            '\u{c}' => shown.write_str("\\f"),
            '\n' => shown.write_str("\\n"),
            '\r' => shown.write_str("\\r"),
            '\t' => shown.write_str("\\t"),
            '\u{b}' => shown.write_str("\\v"),
            '\\' => shown.write_str("\\\\"),
            c if c == quote => write!(shown, "\\{c}"),
            '\'' | '"' => shown.write_char(c),
            c if printable && (c.is_ascii() || !ascii) => shown.write_char(c),
            c if c.is_ascii() => write!(shown, "\\x{:02x}", u32::from(c)),
            c if u32::from(c) < 0x10000 => write!(shown, "\\u{:04x}", u32::from(c)),
            c => write!(shown, "\\U{:08x}", u32::from(c)),
        };
    }
    shown.push(quote);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_go() {
        for (written, meaning) in [
            (r#""""#, Some("")),
            (r#""a\tb\n\\\"""#, Some("a\tb\n\\\"")),
            (r#""\x41\101\u00e9\U0001F600""#, Some("AAé😀")),
            ("`a\\n\r`", Some("a\\n")),
            (r#""\'""#, None),
            (r#""\8""#, None),
            (r#""\400""#, None),
            (r#""\x4""#, None),
            (r#""\ud800""#, None),
            (r#""\u+041""#, None),
        ] {
            assert_eq!(text(written).ok().as_deref(), meaning, "{written}");
        }
    }

    #[test]
    fn numbers_are_those_of_go() {
        for (written, integer, float) in [
            ("0", Some(0), None),
            ("-12", Some(-12), None),
            ("+3", Some(3), None),
            ("0x1F", Some(31), None),
            ("0x_1f", Some(31), None),
            ("1_000", Some(1000), None),
            ("0b101", Some(5), None),
            ("017", Some(15), None),
            ("0o17", Some(15), None),
            ("1e3", Some(1000), Some(1000.0)),
            ("1.5", None, Some(1.5)),
            (".5", None, Some(0.5)),
            ("'a'", Some(97), None),
            (r"'\n'", Some(10), None),
            (r"'\''", Some(39), None),
            (
                "18446744073709551615",
                Some(18_446_744_073_709_551_615),
                None,
            ),
        ] {
            let number = number(written).unwrap();
            assert_eq!(
                (number.integer, number.float),
                (integer, float),
                "{written}"
            );
        }
        for (written, message) in [
            ("089", "integer overflow: \"089\""),
            (
                "18446744073709551616",
                "integer overflow: \"18446744073709551616\"",
            ),
            ("1e999", "illegal number syntax: \"1e999\""),
            ("1__0", "illegal number syntax: \"1__0\""),
            ("+", "illegal number syntax: \"+\""),
            ("''", "invalid syntax"),
            ("'ab'", "malformed character constant: 'ab'"),
        ] {
            assert_eq!(number(written).unwrap_err(), message);
        }
    }
}
