//! Numbers as digits, and padding: what the verbs of `printf` and JSON have in common.

use super::literal::quote_with;

/// What stands between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub(super) minus: bool,
    pub(super) plus: bool,
    /// Fields of objects with their names.
    pub(super) names: bool,
    pub(super) sharp: bool,
    pub(super) space: bool,
    pub(super) zero: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

pub(super) fn pad(text: &mut String, flags: Flags, shown: &str) {
    let missing = flags
        .width
        .unwrap_or(0)
        .saturating_sub(shown.chars().count());
    if !flags.minus {
        text.extend(std::iter::repeat_n(
            if flags.zero { '0' } else { ' ' },
            missing,
        ));
    }
    text.push_str(shown);
    if flags.minus {
        text.extend(std::iter::repeat_n(' ', missing));
    }
}

/// Pads with zeros between the sign and the digits, or with spaces around both.
fn pad_number(text: &mut String, flags: Flags, sign: &str, digits: &str) {
    match flags.width.filter(|_| flags.zero) {
        Some(width) => {
            let missing = width.saturating_sub(sign.len() + digits.len());
            text.push_str(sign);
            text.extend(std::iter::repeat_n('0', missing));
            text.push_str(digits);
        }
        None => pad(text, flags, &format!("{sign}{digits}")),
    }
}

fn sign(flags: Flags, negative: bool) -> &'static str {
    match () {
        () if negative => "-",
        () if flags.plus => "+",
        () if flags.space => " ",
        () => "",
    }
}

pub(super) fn integer(text: &mut String, mut flags: Flags, verb: char, value: i128) {
    let magnitude = value.unsigned_abs();
    let character = u32::try_from(value)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or(char::REPLACEMENT_CHARACTER);
    let (mut digits, prefix) = match verb {
        'c' => {
            return pad(
                text,
                Flags {
                    precision: None,
                    ..flags
                },
                &character.to_string(),
            );
        }
        'q' => {
            return pad(
                text,
                flags,
                &quote_with(flags.plus, '\'', &character.to_string()),
            );
        }
        'U' => {
            let name = if flags.sharp {
                format!(" '{character}'")
            } else {
                String::new()
            };
            return pad(text, flags, &format!("U+{magnitude:04X}{name}"));
        }
        'b' => (format!("{magnitude:b}"), "0b"),
        'o' => (format!("{magnitude:o}"), "0"),
        'O' => (format!("{magnitude:o}"), ""),
        'x' => (format!("{magnitude:x}"), "0x"),
        'X' => (format!("{magnitude:X}"), "0X"),
        _ => (magnitude.to_string(), ""),
    };
    if let Some(precision) = flags.precision {
        flags.zero = false;
        match digits.len() {
            _ if precision == 0 && value == 0 => {
                return pad(
                    text,
                    Flags {
                        precision: None,
                        ..flags
                    },
                    "",
                );
            }
            length => digits.insert_str(0, &"0".repeat(precision.saturating_sub(length))),
        }
    }
    let sign = sign(flags, value < 0).to_string();
    if flags.zero {
        // A base in front does not count into the width.
        let missing = flags
            .width
            .unwrap_or(0)
            .saturating_sub(sign.len() + digits.len());
        digits.insert_str(0, &"0".repeat(missing));
    }
    let prefix = match verb {
        'O' => "0o",
        'o' if digits.starts_with('0') => "",
        _ if flags.sharp => prefix,
        _ => "",
    };
    pad(
        text,
        Flags {
            zero: false,
            ..flags
        },
        &format!("{sign}{prefix}{digits}"),
    );
}

pub(super) fn float(text: &mut String, flags: Flags, verb: char, value: f64) {
    let magnitude = value.abs();
    let digits = match verb {
        'f' | 'F' => format!("{magnitude:.*}", flags.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{magnitude:.*e}", flags.precision.unwrap_or(6))),
        _ => general(magnitude, flags.precision),
    };
    let digits = if verb.is_ascii_uppercase() {
        digits.to_uppercase()
    } else {
        digits
    };
    pad_number(text, flags, sign(flags, value.is_sign_negative()), &digits);
}

/// `%g`: the shortest digits or so many of them, with an exponent when that is shorter.
fn general(magnitude: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        None => format!("{magnitude:e}"),
        Some(digits) => format!("{magnitude:.*e}", digits.max(1) - 1),
    };
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') {
        mantissa.trim_end_matches('0').trim_end_matches('.')
    } else {
        mantissa
    };
    // Without a precision six digits decide.
    let border = precision.map_or(6, |digits| i32::try_from(digits.max(1)).unwrap_or(i32::MAX));
    if power < -4 || power >= border {
        return exponent(&format!("{mantissa}e{power}"));
    }
    let fraction = mantissa.len().saturating_sub(2);
    let places = i32::try_from(fraction).unwrap_or(0) - power;
    format!("{magnitude:.*}", usize::try_from(places).unwrap_or(0))
}

/// Rust's `1e6` as Go's `1e+06`.
fn exponent(scientific: &str) -> String {
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, digits) = power
        .strip_prefix('-')
        .map_or(('+', power), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A number as Go writes it into JSON: plain between 10^-6 and 10^21.
pub(super) fn json_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return if text.contains("e-") {
            text
        } else {
            text.replace('e', "e+")
        };
    }
    format!("{value}")
}
