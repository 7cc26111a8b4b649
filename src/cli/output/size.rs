//! Sizes as people write and read them: `1.24MB`, `64MiB`, `--memory 1.5g`.
//!
//! Docker shows decimal units with three significant digits for images and containers, and binary units
//! with four for memory. One case differs from it on purpose: 999950 bytes are `1MB`, not `1e+03kB`.

use crate::error::{Error, bad_input};

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// `bytes` in powers of 1000 with three significant digits, as in `images` and `ps --size`: `1.24MB`.
pub fn decimal(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, 3, &DECIMAL)
}

/// `bytes` in powers of 1000 with `digits` significant digits: `system df` uses four, `stats` three.
pub fn decimal_with(bytes: u64, digits: usize) -> String {
    scaled(bytes as f64, 1000.0, digits, &DECIMAL)
}

/// `bytes` in powers of 1024 with four significant digits, as in `stats` and `info`: `62.71MiB`.
pub fn binary(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, 4, &BINARY)
}

fn scaled(mut size: f64, base: f64, digits: usize, units: &[&str]) -> String {
    for (index, unit) in units.iter().enumerate() {
        let text = significant(size, digits);
        let full = text.parse::<f64>().is_ok_and(|rounded| rounded >= base);
        if !full || index + 1 == units.len() {
            return format!("{text}{unit}");
        }
        size /= base;
    }
    significant(size, digits)
}

/// `size` with at most `digits` significant digits and no zeros at the end of the fraction.
fn significant(size: f64, digits: usize) -> String {
    let whole = format!("{:.0}", size.trunc()).len();
    let text = format!("{size:.*}", digits.saturating_sub(whole));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// Bytes from a text in binary units, whatever the spelling of the unit (`64m`, `64MB`, `64MiB` are
/// equal): `--memory`, `--shm-size` and the sizes of tmpfs.
pub fn parse_binary(text: &str) -> Result<i64, Error> {
    parse(text, 1024.0)
}

/// Bytes from a text in decimal units: storage sizes in filters and options.
pub fn parse_decimal(text: &str) -> Result<i64, Error> {
    parse(text, 1000.0)
}

/// A decimal number, at most one space, and a unit of which only the first letter and a final `b` or
/// `ib` count; the errors are the words scripts know.
fn parse(text: &str, base: f64) -> Result<i64, Error> {
    let invalid = || bad_input(format!("invalid size: '{text}'"));
    let last = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(invalid)?;
    let (number, suffix) = text.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let plain = number
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let size = number
        .parse::<f64>()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| {
            bad_input(format!(
                "invalid size: '{text}': {number:?} is not a number"
            ))
        })?;
    if size.is_sign_negative() {
        return Err(invalid());
    }
    let size = size * multiplier(suffix, base)?;
    // 2^63 is the first value that does not fit.
    if size >= 9_223_372_036_854_775_808.0 {
        return Err(invalid().hint("the largest size is 8 EiB less one byte"));
    }
    #[allow(clippy::cast_possible_truncation)]
    Ok(size as i64)
}

fn multiplier(suffix: &str, base: f64) -> Result<f64, Error> {
    let lower = suffix.to_lowercase();
    let power = match lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower)
    {
        "" if lower != "ib" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => {
            return Err(bad_input(format!("invalid suffix: '{lower}'"))
                .hint("units are b, k, m, g, t and p"));
        }
    };
    Ok(base.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (2, "2B"),
            (999, "999B"),
            (1000, "1kB"),
            (12_288, "12.3kB"),
            (1_237_123, "1.24MB"),
            (7_800_000, "7.8MB"),
            (121_500_000, "122MB"),
            (999_499, "999kB"),
            (999_950, "1MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(decimal(bytes), text);
        }
        assert_eq!(decimal_with(1_237_123, 4), "1.237MB");
    }

    #[test]
    fn binary_sizes_have_four_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (65_755_873, "62.71MiB"),
            (1_048_570, "1MiB"),
        ] {
            assert_eq!(binary(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_in_any_spelling() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("512k", 524_288),
            ("64m", 67_108_864),
            ("64MB", 67_108_864),
            ("64MiB", 67_108_864),
            ("64 MiB", 67_108_864),
            ("1g", 1_073_741_824),
            ("1.5g", 1_610_612_736),
            (".5k", 512),
            ("1e3", 1000),
            ("1p", 1_125_899_906_842_624),
        ] {
            assert_eq!(parse_binary(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(parse_decimal("1.5kB").unwrap(), 1500);
    }

    #[test]
    fn bad_sizes_are_refused_in_dockers_words() {
        for (text, message) in [
            ("", "invalid size: ''"),
            ("hello", "invalid size: 'hello'"),
            ("-32", "invalid size: '-32'"),
            (
                "32.3.4",
                "invalid size: '32.3.4': \"32.3.4\" is not a number",
            ),
            ("9999p", "invalid size: '9999p'"),
            ("32bm", "invalid suffix: 'bm'"),
            ("32bb", "invalid suffix: 'bb'"),
            ("32ib", "invalid suffix: 'ib'"),
            ("32x", "invalid suffix: 'x'"),
            ("32kbb", "invalid suffix: 'kbb'"),
            ("1 옹", "invalid suffix: '옹'"),
        ] {
            assert_eq!(parse_binary(text).unwrap_err().message, message);
        }
    }
}
