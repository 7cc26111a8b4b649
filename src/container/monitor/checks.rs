//! When a container's health is probed, and what comes of it: state in memory and in `health.json`. Wakes its monitor
//! at the time of the next probe and when one has ended, and a container without a check never.

use super::probe::Probing;
use crate::container::engine::Engine;
use crate::container::health::{self, Check, Health, Probe};
use crate::container::list::Container;
use crate::container::record::{Directory, Record, State, now};
use rustix::event::PollFd;
use std::time::{Duration, Instant};

/// The checks of one run of a container's program.
pub struct Checks {
    directory: Directory,
    check: Check,
    health: Health,
    begun: Instant,
    phase: Phase,
    /// Somebody wants a probe that begins after now.
    is_wanted: bool,
    /// The probe that runs was begun so early that its failure does not count.
    excused: bool,
}

enum Phase {
    /// Until then.
    Waiting(Instant),
    Probing(Probing),
    /// The container is paused.
    Resting,
}

/// What a probe has brought.
pub struct Finding {
    /// Whether it has succeeded.
    pub success: bool,
    /// Whether it was begun after the last who wanted one came.
    pub is_answer: bool,
    /// The status, where it is another one now.
    pub new_status: Option<String>,
    /// Whether the container is unhealthy now.
    pub unhealthy: bool,
}

impl Checks {
    /// Of a container whose program is about to be announced; `None` where it has no check.
    pub fn begin(record: &Record, directory: &Directory) -> Option<Self> {
        let check = Check::of(record)?;
        // A damaged one has nothing to tell.
        let before = health::from_disk(directory).ok().flatten();
        let health = Health::starting(before.map(|health| health.log).unwrap_or_default());
        let begun = Instant::now();
        let checks = Self {
            directory: directory.clone(),
            phase: Phase::Waiting(begun + check.wait(&health, Duration::ZERO)),
            check,
            health,
            begun,
            is_wanted: false,
            excused: false,
        };
        checks.save();
        Some(checks)
    }

    fn save(&self) {
        // On a full disk the last one stays; the next probe tries again.
        let _ = health::write(&self.directory, &self.health);
    }

    /// When to be woken.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting(until) => Some(*until),
            Phase::Probing(probing) => probing.deadline(),
            Phase::Resting => None,
        }
    }

    /// Adds what poll(2) is to wait for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Phase::Probing(probing) = &self.phase {
            probing.watch(fds);
        }
    }

    /// Wants a probe at once, or after the one that runs; `false` while it is paused.
    pub fn want(&mut self) -> bool {
        match &mut self.phase {
            Phase::Waiting(until) => *until = Instant::now(),
            Phase::Probing(_) => self.is_wanted = true,
            Phase::Resting => return false,
        }
        true
    }

    /// The container is paused: a probe would be, too.
    pub fn rest(&mut self) {
        self.leave(Phase::Resting);
    }

    /// The container goes on.
    pub fn resume(&mut self) {
        self.await_next();
    }

    /// The container has ended.
    pub fn end(mut self) {
        self.rest();
    }

    fn leave(&mut self, next: Phase) {
        if let Phase::Probing(probing) = std::mem::replace(&mut self.phase, next) {
            probing.cancel();
        }
    }

    fn await_next(&mut self) {
        let wait = self.check.wait(&self.health, self.begun.elapsed());
        let wait = match std::mem::take(&mut self.is_wanted) {
            true => Duration::ZERO,
            false => wait,
        };
        self.leave(Phase::Waiting(Instant::now() + wait));
    }

    /// Starts a probe when it is time, and takes one in that has ended.
    pub fn wake(&mut self, engine: &Engine, record: &Record, state: &State) -> Option<Finding> {
        let probe = match &mut self.phase {
            Phase::Waiting(until) if *until <= Instant::now() => {
                self.excused = self.begun.elapsed() < self.check.start_period;
                let container = Container {
                    record: record.clone(),
                    state: Some(state.clone()),
                };
                match Probing::start(engine, &container, &self.check) {
                    Ok(probing) => {
                        self.phase = Phase::Probing(probing);
                        return None;
                    }
                    Err(error) => Probe {
                        start: now(),
                        end: now(),
                        exit_code: -1,
                        output: format!("{error:#}"),
                    },
                }
            }
            Phase::Probing(probing) => probing.finish()?,
            Phase::Waiting(_) | Phase::Resting => return None,
        };
        Some(self.take(probe))
    }

    fn take(&mut self, probe: Probe) -> Finding {
        let success = probe.has_succeeded();
        let is_answer = !self.is_wanted;
        let changed = self.health.add(probe, self.check.retries, self.excused);
        self.save();
        // The one that has ended needs no end any more.
        self.phase = Phase::Resting;
        self.await_next();
        Finding {
            success,
            is_answer,
            new_status: changed.then(|| self.health.status.clone()),
            unhealthy: self.health.is_unhealthy(),
        }
    }
}
