//! Values that limit what a container takes of the host, with the words of docker/cli (opts/).

use super::super::output::size;
use super::bytes;
use crate::container::resources::{DeviceRate, DeviceWeight, Enforcement};
use std::str::FromStr;

/// `1.5`, `3/2` or `15e-1` processors, as thousand millionths of one.
pub fn processors(text: &str) -> Result<i64, String> {
    const NANO: i128 = 1_000_000_000;
    let unreadable = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = match text.split_once('/') {
        Some((numerator, denominator)) => (whole(numerator), whole(denominator)),
        None => decimal(text).map_or((None, None), |(digits, scale)| (Some(digits), Some(scale))),
    };
    let (Some(numerator), Some(denominator @ 1..)) = (numerator, denominator) else {
        return Err(unreadable());
    };
    let nano = numerator.checked_mul(NANO).ok_or_else(unreadable)?;
    match nano % denominator {
        0 => i64::try_from(nano / denominator).map_err(|_| unreadable()),
        _ => Err("value is too precise".to_owned()),
    }
}

fn whole(text: &str) -> Option<i128> {
    i128::from_str(text).ok()
}

/// Digits and the power of ten by which they are to be divided.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, i32::from_str(exponent).ok()?),
        None => (text, 0),
    };
    let (before, after) = number.split_once('.').unwrap_or((number, ""));
    let is_number = after.bytes().all(|byte| byte.is_ascii_digit())
        && (before.bytes().chain(after.bytes())).any(|byte| byte.is_ascii_digit());
    let digits = whole(&format!("{before}{after}")).filter(|_| is_number)?;
    let places = i32::try_from(after.len()).ok()? - exponent;
    let power = 10_i128.checked_pow(places.unsigned_abs())?;
    match places {
        0.. => Some((digits, power)),
        _ => Some((digits.checked_mul(power)?, 1)),
    }
}

/// Bytes of memory, where as in Docker 0 is as if nothing was said.
pub fn memory(text: &str) -> Result<i64, String> {
    size::parse_binary(text).map_err(|error| error.message)
}

/// The same, or -1 for no limit.
pub fn swap(text: &str) -> Result<i64, String> {
    match text {
        "-1" => Ok(-1),
        text => memory(text),
    }
}

/// A weight of block devices.
pub fn weight(text: &str) -> Result<u16, String> {
    unsigned(text, u64::from(u16::MAX)).map(|weight| weight as u16)
}

/// A whole number as Go reads one without a sign.
fn unsigned(text: &str, most: u64) -> Result<u64, String> {
    use std::num::IntErrorKind::PosOverflow;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let why = match u64::from_str(text) {
        Ok(number) if digits && number <= most => return Ok(number),
        Ok(_) if digits => "value out of range",
        Err(error) if *error.kind() == PosOverflow => "value out of range",
        _ => "invalid syntax",
    };
    Err(format!("strconv.ParseUint: parsing {text:?}: {why}"))
}

/// `/dev/sda:300`.
pub fn device_weight(text: &str) -> Result<DeviceWeight, String> {
    let (path, weight) = device(text)?;
    match unsigned(weight, 1000) {
        Ok(weight @ (0 | 10..)) => Ok(DeviceWeight {
            path: path.into(),
            weight: weight as u16,
        }),
        _ => Err(format!("invalid weight for device: {text}")),
    }
}

/// `/dev/sda:1mb`, in a second.
pub fn device_bytes(text: &str) -> Result<DeviceRate, String> {
    let (path, rate) = device(text)?;
    let rate = bytes(rate).map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be \
             a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(DeviceRate {
        path: path.into(),
        rate,
    })
}

/// `/dev/sda:1000`, in a second.
pub fn device_operations(text: &str) -> Result<DeviceRate, String> {
    let (path, rate) = device(text)?;
    let rate = unsigned(rate, u64::MAX).map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a \
             positive integer"
        )
    })?;
    Ok(DeviceRate {
        path: path.into(),
        rate,
    })
}

fn device(text: &str) -> Result<(&str, &str), String> {
    match text.split_once(':') {
        None | Some(("", _)) => Err(format!("bad format: {text}")),
        Some((path, _)) if !path.starts_with("/dev/") => {
            Err(format!("bad format for device path: {text}"))
        }
        Some(parts) => Ok(parts),
    }
}

/// `memory.high=100M`.
pub fn unified(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((file, value)) if !file.is_empty() => Ok((file.to_owned(), value.to_owned())),
        _ => Err(format!(
            "invalid cgroup setting '{text}': it is written FILE=VALUE"
        )),
    }
}

/// `strict` or `best-effort`.
pub fn enforcement(text: &str) -> Result<Enforcement, String> {
    match text {
        "strict" => Ok(Enforcement::Strict),
        "best-effort" => Ok(Enforcement::BestEffort),
        _ => Err("must be one of \"strict\" or \"best-effort\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn numbers_of_processors() {
        check(
            processors,
            &[
                ("2", "2000000000"),
                ("1.5", "1500000000"),
                (".25", "250000000"),
                ("1.", "1000000000"),
                ("3/2", "1500000000"),
                ("15e-1", "1500000000"),
                ("1e1", "10000000000"),
                ("-1", "-1000000000"),
                ("0", "0"),
                ("0.000000001", "1"),
                ("0.0000000001", "! value is too precise"),
                ("1/3", "! value is too precise"),
                ("x", "! failed to parse x as a rational number"),
                ("", "! failed to parse  as a rational number"),
                (".", "! failed to parse . as a rational number"),
                ("1/0", "! failed to parse 1/0 as a rational number"),
                ("1.-5", "! failed to parse 1.-5 as a rational number"),
                ("1e99", "! failed to parse 1e99 as a rational number"),
                (
                    "9223372037",
                    "! failed to parse 9223372037 as a rational number",
                ),
            ],
        );
    }

    #[test]
    fn memory_and_weights() {
        check(
            swap,
            &[
                ("-1", "-1"),
                ("1g", "1073741824"),
                ("-2", "! invalid size: '-2'"),
            ],
        );
        check(
            weight,
            &[
                ("500", "500"),
                ("-1", "! strconv.ParseUint: parsing \"-1\": invalid syntax"),
                ("+1", "! strconv.ParseUint: parsing \"+1\": invalid syntax"),
                (
                    "70000",
                    "! strconv.ParseUint: parsing \"70000\": value out of range",
                ),
            ],
        );
        check(
            device_weight,
            &[
                (
                    "/dev/sda:300",
                    "DeviceWeight { path: \"/dev/sda\", weight: 300 }",
                ),
                (
                    "/dev/sda:0",
                    "DeviceWeight { path: \"/dev/sda\", weight: 0 }",
                ),
                ("/dev/sda:5", "! invalid weight for device: /dev/sda:5"),
                ("/dev/sda", "! bad format: /dev/sda"),
                ("sda:500", "! bad format for device path: sda:500"),
            ],
        );
    }

    #[test]
    fn rates_of_devices() {
        let bytes = "! invalid rate for device: /dev/sda:x. The correct format is <device-path>:<number>[<unit>]. Number \
                     must be a positive integer. Unit is optional and can be kb, mb, or gb";
        check(
            device_bytes,
            &[
                (
                    "/dev/sda:1mb",
                    "DeviceRate { path: \"/dev/sda\", rate: 1048576 }",
                ),
                ("/dev/sda:x", bytes),
                (":5", "! bad format: :5"),
            ],
        );
        let operations = "! invalid rate for device: /dev/sda:1k. The correct format is <device-path>:<number>. Number \
                          must be a positive integer";
        check(
            device_operations,
            &[
                ("/dev/sda:10", "DeviceRate { path: \"/dev/sda\", rate: 10 }"),
                ("/dev/sda:1k", operations),
            ],
        );
    }
}
