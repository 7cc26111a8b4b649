//! Durations as people write and read them: `--health-interval 1m30s`, `About a minute ago`.
//!
//! The written form is that of Go, which Docker's flags, compose files and API use; the read form is
//! Docker's, rounded to one unit.

use crate::error::{Error, bad_input};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// One unit, as in `Up 2 hours`: `Less than a second`, `5 seconds`, `About a minute`, `2 weeks`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let whole_hours = seconds / 3600;
    // Half an hour more counts as a full hour.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_string(),
        () if seconds == 1 => "1 second".to_string(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_string(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_string(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", whole_hours / 24 / 365),
    }
}

/// [`human`] with ` ago`, as in `CREATED`.
pub fn ago(duration: Duration) -> String {
    format!("{} ago", human(duration))
}

/// Nanoseconds from `1h30m`, `-1.5s`, `300ms`, `2us`; a number needs a unit, except `0`.
pub fn parse(text: &str) -> Result<i64, Error> {
    let invalid = || {
        bad_input(format!("time: invalid duration {text:?}"))
            .hint("write it with units, as in 300ms, 10s or 1h30m")
    };
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if !number.bytes().any(|b| b.is_ascii_digit()) || number.matches('.').count() > 1 {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(
                bad_input(format!("time: missing unit in duration {text:?}"))
                    .hint("as in 10s or 5m"),
            );
        }
        let scale = nanoseconds(unit).ok_or_else(|| {
            bad_input(format!("time: unknown unit {unit:?} in duration {text:?}"))
                .hint("units are ns, us, ms, s, m and h")
        })?;
        total = scaled(number, scale)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(invalid)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        // U+00B5 is the micro sign, U+03BC the Greek letter; both are typed.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    })
}

/// `number` (digits with at most one point) times `scale`, without rounding through a float.
fn scaled(number: &str, scale: u64) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse::<u64>().ok()?.into()
    };
    // Digits below a nanosecond of an hour (10^-13) cannot matter.
    let fraction = &fraction[..fraction.len().min(13)];
    let mut part: i128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u64>().ok()?.into()
    };
    part = part * i128::from(scale) / 10i128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole * i128::from(scale) + part)
}

/// Nanoseconds as Go prints them, `1h30m0s`, `1.5s`, `300ms`, `0s`: the reverse of [`parse`].
pub fn format(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let text = match total {
        0 => "0s".to_string(),
        1..1000 => format!("{total}ns"),
        1000..1_000_000 => format!("{}µs", fraction(total, 1000)),
        1_000_000..SECOND => format!("{}ms", fraction(total, 1_000_000)),
        _ => {
            let seconds = format!("{}s", fraction(total % (60 * SECOND), SECOND));
            match (total / (3600 * SECOND), total / (60 * SECOND) % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `value / unit` for a `unit` that is a power of ten, exactly.
fn fraction(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / unit, value % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_durations_have_one_unit() {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 1799, "About an hour"),
            (HOUR + 1800, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (5000 * DAY, "13 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text, "{seconds} s");
        }
        assert_eq!(ago(Duration::from_secs(60)), "About a minute ago");
    }

    #[test]
    fn written_durations_are_exact_and_come_back() {
        for (text, value, back) in [
            ("0", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("+5s", 5_000_000_000, "5s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("90m", 5_400_000_000_000, "1h30m0s"),
            ("1m0.5s", 60_500_000_000, "1m0.5s"),
            ("300ms", 300_000_000, "300ms"),
            ("1.5us", 1500, "1.5µs"),
            ("2µs", 2000, "2µs"),
            ("7ns", 7, "7ns"),
            (".5h", 1_800_000_000_000, "30m0s"),
            ("5.s", 5_000_000_000, "5s"),
            (
                "2562047h47m16.854775807s",
                i64::MAX,
                "2562047h47m16.854775807s",
            ),
            (
                "-2562047h47m16.854775808s",
                i64::MIN,
                "-2562047h47m16.854775808s",
            ),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
            assert_eq!(format(value), back);
        }
    }

    #[test]
    fn bad_durations_are_refused_in_gos_words() {
        for (text, message) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            (".s", "time: invalid duration \".s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("3000000h", "time: invalid duration \"3000000h\""),
            (
                "99999999999999999999s",
                "time: invalid duration \"99999999999999999999s\"",
            ),
            ("5", "time: missing unit in duration \"5\""),
            ("1h5", "time: missing unit in duration \"1h5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("5 s", "time: unknown unit \" s\" in duration \"5 s\""),
        ] {
            assert_eq!(parse(text).unwrap_err().message, message);
        }
    }
}
