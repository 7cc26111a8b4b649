//! How healthy a container says it is: what its check is, and `containers/ID/health.json`, which its monitor writes
//! after each probe and readers read. The only place where `ps` and `inspect` take it from; not the prober itself.
//!
//! ```text
//!             ┌──failures within the start period──┐
//! start ──▶ starting ──a probe succeeds──▶ healthy ◀──────a probe succeeds──────┐
//!             └──────────`retries` failures in a row──────────────────▶ unhealthy
//! ```

use super::engine::Engine;
use super::options::HealthAction;
use super::record::{Directory, Record, Status};
use crate::error::{Error, bad_input};
use crate::image::config::Healthcheck;
use crate::store::atomic::{self, Durability};
use crate::store::damage;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::time::Duration;

/// The status before the first success.
const STARTING: &str = "starting";
/// The status after a success.
const HEALTHY: &str = "healthy";
/// The status after too many failures in a row, and of what does not run.
const UNHEALTHY: &str = "unhealthy";
/// How many probes are kept.
const KEPT: usize = 5;
/// The exit code that says that all is well.
const SUCCESS: i32 = 0;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_RETRIES: u32 = 3;
/// Nothing in a check is shorter, in nanoseconds.
const SHORTEST: i64 = 1_000_000;

/// What is known of a container that has a health check, with Docker's names of the fields.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, oldest first.
    pub log: Vec<Probe>,
}

/// One probe.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Probe {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 is healthy; -1: it was killed at its timeout, or could not even be started.
    pub exit_code: i32,
    /// What it wrote.
    pub output: String,
}

impl Probe {
    /// Whether it found the container healthy.
    pub fn has_succeeded(&self) -> bool {
        self.exit_code == SUCCESS
    }
}

impl Health {
    /// Of a container that starts; its log goes on.
    pub fn starting(log: Vec<Probe>) -> Self {
        Self {
            status: STARTING.to_owned(),
            failing_streak: 0,
            log,
        }
    }

    /// As it stands in `Up 2 hours (…)`.
    pub fn words(&self) -> String {
        match self.status.as_str() {
            STARTING => "health: starting".to_owned(),
            status => status.to_owned(),
        }
    }

    /// Whether no probe has succeeded yet, and not too many have failed.
    pub fn is_starting(&self) -> bool {
        self.status == STARTING
    }

    /// Whether too many probes have failed.
    pub fn is_unhealthy(&self) -> bool {
        self.status == UNHEALTHY
    }

    /// Takes a probe in; `true` when that changes the status. A failure does not count as long as the container is
    /// `excused`: it has just been started and was never healthy since.
    pub fn add(&mut self, probe: Probe, retries: u32, excused: bool) -> bool {
        let status = match probe.has_succeeded() {
            true => {
                self.failing_streak = 0;
                HEALTHY
            }
            false if excused && self.is_starting() => STARTING,
            false => {
                self.failing_streak = self.failing_streak.saturating_add(1);
                match self.failing_streak >= retries {
                    true => UNHEALTHY,
                    false => &self.status,
                }
            }
        };
        let status = status.to_owned();
        self.log.push(probe);
        let surplus = self.log.len().saturating_sub(KEPT);
        self.log.drain(..surplus);
        std::mem::replace(&mut self.status, status.clone()) != status
    }
}

/// The check of a container, with Docker's values where none were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The program to run in the container, and its arguments.
    pub words: Vec<String>,
    /// From the end of a probe to the start of the next one.
    pub interval: Duration,
    /// How long a probe may take.
    pub timeout: Duration,
    /// How long failures do not count after the start.
    pub start_period: Duration,
    /// The interval in that time, before the first success.
    pub start_interval: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
}

impl Check {
    /// That of a container; `None` where it has none. An image may name a kind of check that nobody knows: as in
    /// Docker, that is none.
    pub fn of(record: &Record) -> Option<Self> {
        let check = record.healthcheck.as_ref()?;
        let (kind, words) = check.test.split_first()?;
        let words = match kind.as_str() {
            "CMD" => words.to_vec(),
            "CMD-SHELL" if record.shell.is_empty() => {
                let shell = ["/bin/sh", "-c"].map(str::to_owned);
                [&shell[..], words].concat()
            }
            "CMD-SHELL" => [&record.shell[..], words].concat(),
            _ => return None,
        };
        Some(Self {
            interval: duration(check.interval, DEFAULT_INTERVAL),
            timeout: duration(check.timeout, DEFAULT_TIMEOUT),
            start_period: duration(check.start_period, Duration::ZERO),
            start_interval: duration(check.start_interval, DEFAULT_START_INTERVAL),
            retries: match u32::try_from(check.retries) {
                Ok(0) | Err(_) => DEFAULT_RETRIES,
                Ok(retries) => retries,
            },
            words,
        })
        .filter(|check| !check.words.is_empty())
    }

    /// How long to wait for the next probe of a container that was started so long ago.
    pub fn wait(&self, health: &Health, since_start: Duration) -> Duration {
        match health.is_starting() && since_start < self.start_period {
            true => self.start_interval,
            false => self.interval,
        }
    }
}

/// An image may say anything: what makes no sense is as if it were not said.
fn duration(nanoseconds: i64, default: Duration) -> Duration {
    match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => default,
        Ok(nanoseconds) => Duration::from_nanos(nanoseconds.max(SHORTEST.unsigned_abs())),
    }
}

/// What was asked for, with what the image says where that leaves something open.
pub fn merge(asked: Option<&Healthcheck>, image: Option<&Healthcheck>) -> Option<Healthcheck> {
    let (Some(asked), Some(image)) = (asked, image) else {
        return asked.or(image).cloned();
    };
    let pick = |asked: i64, image: i64| if asked == 0 { image } else { asked };
    Some(Healthcheck {
        test: match asked.test.is_empty() {
            true => image.test.clone(),
            false => asked.test.clone(),
        },
        interval: pick(asked.interval, image.interval),
        timeout: pick(asked.timeout, image.timeout),
        start_period: pick(asked.start_period, image.start_period),
        start_interval: pick(asked.start_interval, image.start_interval),
        retries: pick(asked.retries, image.retries),
    })
}

/// Refuses what was asked for where it makes no sense.
pub fn validate(record: &Record) -> Result<(), Error> {
    let options = &record.options;
    if let Some(asked) = &options.healthcheck {
        for (name, nanoseconds) in [
            ("Interval", asked.interval),
            ("Timeout", asked.timeout),
            ("StartPeriod", asked.start_period),
            ("StartInterval", asked.start_interval),
        ] {
            if nanoseconds != 0 && nanoseconds < SHORTEST {
                let message = format!("{name} in Healthcheck cannot be less than 1ms");
                return Err(bad_input(message));
            }
        }
        if asked.retries < 0 {
            return Err(bad_input("Retries in Healthcheck cannot be negative"));
        }
    }
    if options.health_on_failure != HealthAction::None && Check::of(record).is_none() {
        return Err(
            bad_input("cannot set an on-failure action without a health check")
                .hint("give one with --health-cmd"),
        );
    }
    Ok(())
}

/// In a container's directory.
const FILE: &str = "health.json";

/// The health of a container that runs; `None` where it has no check. What is damaged is noted and unknown.
pub fn read(engine: &Engine, record: &Record) -> Option<Health> {
    Check::of(record)?;
    let read = from_disk(&Directory::of(engine, &record.id));
    read.unwrap_or_else(|error| {
        let id = &record.id;
        damage::note(
            format_args!("the health of container {id} is unknown"),
            &error,
        );
        None
    })
}

/// The same of a container in that state: what does not run any more does not do its work.
pub fn shown(engine: &Engine, record: &Record, status: Status) -> Option<Health> {
    if status == Status::Created {
        return None;
    }
    let mut health = read(engine, record)?;
    if !status.is_up() {
        health.status = UNHEALTHY.to_owned();
    }
    Some(health)
}

/// What was written last.
pub(super) fn from_disk(directory: &Directory) -> Result<Option<Health>> {
    let path = directory.file(FILE);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("read `{}`", path.display()))?,
    };
    let health = serde_json::from_slice(&text);
    Ok(Some(health.map_err(|error| damage::damaged(&path, error))?))
}

/// Writes it down. The next start makes it anew, so that it need not survive a power cut.
pub(super) fn write(directory: &Directory, health: &Health) -> Result<()> {
    atomic::write(
        &directory.file(FILE),
        &serde_json::to_vec(health)?,
        Durability::Volatile,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(exit_code: i32) -> Probe {
        Probe {
            exit_code,
            ..Probe::default()
        }
    }

    #[test]
    fn states_follow_the_probes() {
        // Exit codes, an `x` before those of the start period; the status and the streak after each.
        for (codes, expected) in [
            (&["0"][..], &["healthy 0"][..]),
            (&["1", "1", "0"], &["starting 1", "starting 2", "healthy 0"]),
            (
                &["1", "1", "-1", "1"],
                &["starting 1", "starting 2", "unhealthy 3", "unhealthy 4"],
            ),
            (
                &["x1", "x1", "x1", "x1", "1"],
                &[
                    "starting 0",
                    "starting 0",
                    "starting 0",
                    "starting 0",
                    "starting 1",
                ],
            ),
            // Whoever was healthy once is excused no more.
            (
                &["x0", "x1", "x1", "x1", "x0"],
                &[
                    "healthy 0",
                    "healthy 1",
                    "healthy 2",
                    "unhealthy 3",
                    "healthy 0",
                ],
            ),
        ] {
            let mut health = Health::starting(Vec::new());
            let found: Vec<String> = codes
                .iter()
                .map(|code| {
                    let before = health.status.clone();
                    let number = code.trim_start_matches('x').parse().unwrap();
                    let changed = health.add(probe(number), 3, code.starts_with('x'));
                    assert_eq!(changed, before != health.status);
                    format!("{} {}", health.status, health.failing_streak)
                })
                .collect();
            assert_eq!(found, expected, "{codes:?}");
            assert_eq!(health.log.len(), codes.len().min(KEPT));
        }
    }

    #[test]
    fn the_last_five_probes_are_kept() {
        let mut health = Health::starting((0..4).map(probe).collect());
        for code in 4..8 {
            health.add(probe(code), 3, false);
        }
        let kept: Vec<i32> = health.log.iter().map(|probe| probe.exit_code).collect();
        assert_eq!(kept, [3, 4, 5, 6, 7]);
    }

    #[test]
    fn what_is_left_open_is_taken_from_the_image() {
        let image = Healthcheck {
            test: vec!["CMD".into(), "a".into()],
            interval: 7,
            retries: 2,
            ..Healthcheck::default()
        };
        let asked = Healthcheck {
            interval: 9,
            timeout: 4,
            ..Healthcheck::default()
        };
        assert_eq!(merge(None, None), None);
        assert_eq!(merge(None, Some(&image)), Some(image.clone()));
        assert_eq!(merge(Some(&asked), None), Some(asked.clone()));
        let expected = Healthcheck {
            interval: 9,
            timeout: 4,
            ..image.clone()
        };
        assert_eq!(merge(Some(&asked), Some(&image)), Some(expected));
    }

    #[test]
    fn numbers_of_images_that_make_no_sense_are_not_followed() {
        let second = Duration::from_secs(1);
        for (nanoseconds, expected) in [
            (0, second),
            (-1, second),
            (i64::MIN, second),
            (1, Duration::from_millis(1)),
            (5_000_000, Duration::from_millis(5)),
        ] {
            assert_eq!(duration(nanoseconds, second), expected, "{nanoseconds}");
        }
    }
}
