//! Points in time as Docker's `--since` and `--until` take them: how long ago (`10m`), seconds since 1970
//! (`1700000000.5`), or a date with or without a time of day and a time zone.

use crate::duration;
use crate::error::{Error, bad_input};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The time that `text` means; a date without a time zone is local.
pub fn time(text: &str, now: Timestamp) -> Result<Timestamp, Error> {
    let ago = || {
        let nanoseconds = duration::parse(text).ok().filter(|_| text != "0")?;
        now.checked_sub(SignedDuration::from_nanos(nanoseconds))
            .ok()
    };
    ago()
        .or_else(|| seconds(text))
        .or_else(|| text.parse().ok())
        .or_else(|| date(text))
        .ok_or_else(|| {
            bad_input(format!(
                "failed to parse value as time or duration: {text:?}"
            ))
            .hint("as in 10m, 2026-01-02T15:04:05 or 1700000000")
        })
}

/// `1700000000`, `1700000000.123456789`: without rounding through a float.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}

/// A date, perhaps with a time of day of any precision, perhaps with an offset.
fn date(text: &str) -> Option<Timestamp> {
    let at = text.get(10..)?.find(['Z', '+', '-']).map(|at| at + 10);
    let (civil, zone) = text.split_at(at.unwrap_or(text.len()));
    let civil = match civil.len() {
        13 => format!("{civil}:00"),
        _ => civil.to_owned(),
    };
    let civil: DateTime = civil.parse().ok()?;
    let zone = match zone {
        "" => TimeZone::system(),
        "Z" => TimeZone::UTC,
        offset => {
            // Any date will do to read an offset.
            let text = format!("1970-01-02T00:00:00{offset}");
            let midnight: Timestamp = text.parse().ok()?;
            let seconds = i32::try_from(86400 - midnight.as_second()).ok()?;
            TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?)
        }
    };
    Some(civil.to_zoned(zone).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_or_absolute() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("24h", "2026-11-19T12:00:00Z"),
            ("1h30m", "2026-11-20T10:30:00Z"),
            ("-10s", "2026-11-20T12:00:10Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000.123456789", "2023-11-14T22:13:20.123456789Z"),
            ("1700000000.5", "2023-11-14T22:13:20.5Z"),
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            (
                "2026-01-02T03:04:05.000000006+01:00",
                "2026-01-02T02:04:05.000000006Z",
            ),
            ("2026-01-02T03:04Z", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03Z", "2026-01-02T03:00:00Z"),
            ("2026-01-02Z", "2026-01-02T00:00:00Z"),
            ("2026-01-02-02:00", "2026-01-02T02:00:00Z"),
        ] {
            let found = time(text, now).map(|time| time.to_string());
            assert_eq!(
                found.unwrap_or_else(|error| error.message),
                expected,
                "{text}"
            );
        }
        for text in [
            "2026-01-02",
            "2026-01-02T03",
            "2026-01-02T03:04",
            "2026-01-02T03:04:05",
        ] {
            let local = time(text, now).unwrap();
            let utc = time(&format!("{text}Z"), now).unwrap();
            assert!(
                local.duration_since(utc).abs() <= SignedDuration::from_hours(14),
                "{text}"
            );
        }
        for text in ["", "yesterday", "2026-13-01", "1.2.3", "10", "5 m"] {
            let found = time(text, now);
            assert_eq!(found.is_ok(), text == "10", "{text}: {found:?}");
        }
    }
}
