//! `--log-driver` and `--log-opt`: which driver keeps the log of a container, and how; Docker's words for what makes
//! no sense.
//!
//! Other than Docker's, a log has a limit unless one is given: three files of 10 MB. Everything is checked when the
//! container is made, so that a start does not fail for it.

use super::attributes;
use crate::container::options::Log;
use crate::error::{Error, Kind, bad_input};
use crate::settings::Settings;
use regex_lite::Regex;

/// Who keeps the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Docker's default: a file of JSON lines.
    JsonFile,
    /// Docker's own binary format.
    Local,
    /// The journal of the host.
    Journald,
    /// Nobody.
    None,
}

/// How the files of a log are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In bytes: a file that has as many is full.
    pub size: u64,
    /// How many there are, with the one that is written.
    pub files: u32,
    /// Pack those that are full.
    pub compress: bool,
}

const COMMON: &[&str] = &["labels", "labels-regex", "env", "env-regex", "tag"];
const FILES: &[&str] = &["max-size", "max-file", "compress"];
const BUILT_IN: &[&str] = &["mode", "max-buffer-size"];
/// Docker's drivers that send the log elsewhere.
const ELSEWHERE: &[&str] = &[
    "awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "splunk", "syslog",
];

impl Driver {
    /// By Docker's name. Containers of versions that kept no log have none, which is the empty name.
    pub fn named(name: &str) -> Result<Self, Error> {
        match name {
            "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "journald" => Ok(Self::Journald),
            "none" | "" => Ok(Self::None),
            _ if ELSEWHERE.contains(&name) => Err(Error::new(
                Kind::Unsupported,
                format!("logger: the log driver '{name}' is not supported: logs stay on this host"),
            )
            .hint("drivers are json-file, local, journald and none")),
            _ => Err(bad_input(format!(
                "logger: no log driver named '{name}' is registered"
            ))
            .hint("drivers are json-file, local, journald and none")),
        }
    }
}

/// What was asked for, completed by the settings, and checked.
pub fn complete(asked: &Log, settings: &Settings) -> Result<Log, Error> {
    let mut log = asked.clone();
    if log.driver.is_empty() {
        log.driver.clone_from(&settings.log_driver);
    }
    if log.driver == "none" && !log.options.is_empty() {
        return Err(bad_input("invalid logging opts for driver none"));
    }
    if log.driver == settings.log_driver && log.driver != "none" {
        for (key, value) in &settings.log_options {
            log.options
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
    }
    check(&log)?;
    Ok(log)
}

fn check(log: &Log) -> Result<(), Error> {
    let option = |name: &str| log.options.get(name).map(String::as_str);
    match option("mode").unwrap_or_default() {
        "" | "blocking" | "non-blocking" => {}
        other => {
            return Err(bad_input(format!(
                "logger: logging mode not supported: {other}"
            )));
        }
    }
    if let Some(size) = option("max-buffer-size") {
        if option("mode") != Some("non-blocking") {
            return Err(bad_input(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        bytes(size, 1024).map_err(|error| {
            bad_input(format!(
                "error parsing option max-buffer-size: {}",
                error.message
            ))
        })?;
    }
    let driver = Driver::named(&log.driver)?;
    let known: &[&[&str]] = match driver {
        Driver::Journald => &[BUILT_IN, COMMON],
        _ => &[BUILT_IN, COMMON, FILES],
    };
    if let Some(unknown) = log
        .options
        .keys()
        .find(|key| !known.concat().contains(&key.as_str()))
    {
        return Err(bad_input(match driver {
            Driver::Local => format!("unknown log opt '{unknown}' for log driver local"),
            _ => format!("unknown log opt '{unknown}' for {} log driver", log.driver),
        }));
    }
    for name in ["labels-regex", "env-regex"] {
        if let Some(text) = option(name) {
            Regex::new(text)
                .map_err(|error| bad_input(format!("invalid {name} {text:?}: {error}")))?;
        }
    }
    attributes::check_tag(option("tag").unwrap_or_default())?;
    limits(log, driver).map(|_| ())
}

/// How large the files of this log become; those of drivers without files are not asked for.
pub fn limits(log: &Log, driver: Driver) -> Result<Limits, Error> {
    let option = |name: &str| log.options.get(name).map(String::as_str);
    let mut limits = match driver {
        Driver::Local => Limits {
            size: 20 << 20,
            files: 5,
            compress: true,
        },
        _ => Limits {
            size: 10_000_000,
            files: 3,
            compress: false,
        },
    };
    if let Some(text) = option("max-size") {
        limits.size = bytes(text, 1000)?;
        if limits.size == 0 {
            return Err(bad_input("max-size must be a positive number"));
        }
    }
    if let Some(text) = option("max-file") {
        let number: i64 = text
            .parse()
            .map_err(|_| bad_input(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))?;
        if number < 1 {
            return Err(bad_input("max-file cannot be less than 1"));
        }
        // More files than this would make each rotation slow.
        limits.files = u32::try_from(number)
            .ok()
            .filter(|files| *files <= 1000)
            .ok_or_else(|| bad_input(format!("max-file is {number}, 1000 at most")))?;
        limits.compress &= limits.files > 1;
    }
    if let Some(text) = option("compress") {
        limits.compress = match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => {
                return Err(bad_input(format!(
                    "strconv.ParseBool: parsing {text:?}: invalid syntax"
                )));
            }
        };
        if limits.compress && limits.files < 2 {
            return Err(bad_input(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
    }
    Ok(limits)
}

/// `10m`, `1.5GB`, `500`: bytes in units of powers of `base`.
fn bytes(text: &str, base: u32) -> Result<u64, Error> {
    let invalid = || bad_input(format!("invalid size: '{text}'"));
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let unit = unit.trim_start().to_lowercase();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|known| *known == unit)
        .ok_or_else(invalid)?;
    let bytes = number * f64::from(base).powi(power as i32);
    (bytes < 9e18).then_some(bytes as u64).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(driver: &str, options: &str) -> Log {
        let option = |word: &str| {
            word.split_once('=')
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        Log {
            driver: driver.to_owned(),
            options: options.split(' ').filter_map(option).collect(),
        }
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        for (driver, options, message) in [
            (
                "nope",
                "",
                "logger: no log driver named 'nope' is registered",
            ),
            (
                "none",
                "max-size=1m",
                "invalid logging opts for driver none",
            ),
            (
                "json-file",
                "a=b",
                "unknown log opt 'a' for json-file log driver",
            ),
            ("local", "a=b", "unknown log opt 'a' for log driver local"),
            (
                "journald",
                "max-size=1m",
                "unknown log opt 'max-size' for journald log driver",
            ),
            ("", "max-size=x", "invalid size: 'x'"),
            ("", "max-size=-1", "invalid size: '-1'"),
            ("", "max-size=0", "max-size must be a positive number"),
            ("", "max-file=0", "max-file cannot be less than 1"),
            (
                "",
                "max-file=x",
                "strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                "",
                "compress=maybe",
                "strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "",
                "compress=true max-file=1",
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
            ("", "mode=fast", "logger: logging mode not supported: fast"),
            (
                "",
                "max-buffer-size=1m",
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            (
                "",
                "mode=non-blocking max-buffer-size=x",
                "error parsing option max-buffer-size: invalid size: 'x'",
            ),
            (
                "",
                "tag={{.X}}",
                "invalid log tag \"{{.X}}\": `.X` is not known",
            ),
        ] {
            let error = complete(&log(driver, options), &Settings::default()).unwrap_err();
            assert_eq!(error.message, message);
        }
        assert_eq!(
            complete(&log("gelf", ""), &Settings::default())
                .unwrap_err()
                .kind,
            Kind::Unsupported
        );
    }

    #[test]
    fn a_log_has_limits_unless_others_are_given() {
        for (driver, options, size, files, compress) in [
            ("json-file", "", 10_000_000, 3, false),
            ("local", "", 20 << 20, 5, true),
            ("local", "max-file=1", 20 << 20, 1, false),
            (
                "json-file",
                "max-size=1.5k max-file=7 compress=true",
                1500,
                7,
                true,
            ),
            ("json-file", "max-size=2MiB", 2_000_000, 3, false),
        ] {
            let log = complete(&log(driver, options), &Settings::default()).unwrap();
            let found = limits(&log, Driver::named(driver).unwrap()).unwrap();
            assert_eq!(
                found,
                Limits {
                    size,
                    files,
                    compress
                },
                "{driver} {options}"
            );
        }
    }

    #[test]
    fn settings_complete_what_was_asked_for() {
        let settings = Settings {
            log_driver: "local".to_owned(),
            log_options: [("max-size".to_owned(), "1m".to_owned())].into(),
            ..Settings::default()
        };
        let complete = |driver, options| complete(&log(driver, options), &settings).unwrap();
        assert_eq!(
            complete("", "max-file=2"),
            log("local", "max-size=1m max-file=2")
        );
        assert_eq!(complete("", "max-size=2m"), log("local", "max-size=2m"));
        assert_eq!(complete("json-file", ""), log("json-file", ""));
        assert_eq!(complete("none", ""), log("none", ""));
    }
}
