//! The identity (pid, start time, boot id) by which a process is remembered, since a bare pid may belong to somebody
//! else by the time it is used. Whether something runs is derived from it.

use anyhow::{Context, Result};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// What a living process does (proc_pid_stat(5), field 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs or sleeps.
    Running,
    /// Stopped by a signal.
    Stopped,
}

/// A process that can be told from a later one with the same pid.
///
/// The default is that of no process at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl Identity {
    /// The identity of a process that runs, or that has ended and was not reaped: a child's own number stays its
    /// own until then.
    pub fn of(pid: i32) -> Result<Self> {
        let found = stat(pid).with_context(|| format!("process {pid} has no start time"))?;
        Ok(Self {
            pid,
            start_time: found.start_time,
            boot_id: boot_id()?.to_owned(),
        })
    }

    /// Whether that very process still runs; one that has ended and was not reaped does not.
    pub fn is_alive(&self) -> bool {
        self.activity().is_some()
    }

    /// What that very process does; `None` when it has ended, be it reaped or not.
    pub fn activity(&self) -> Option<Activity> {
        if !self.is_of_this_boot() {
            return None;
        }
        let found = stat(self.pid).filter(|found| found.start_time == self.start_time)?;
        match found.state.as_str() {
            // The first thread may end before the others, and looks like this until they do.
            "Z" if found.threads > 1 => Some(Activity::Running),
            "Z" | "X" => None,
            "T" => Some(Activity::Stopped),
            _ => Some(Activity::Running),
        }
    }

    /// Whether the machine has not been started again since.
    pub fn is_of_this_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
    }

    /// A descriptor for it, if it still runs.
    pub fn open(&self) -> Option<OwnedFd> {
        let pidfd = rustix::process::pidfd_open(
            Pid::from_raw(self.pid)?,
            rustix::process::PidfdFlags::empty(),
        )
        .ok()?;
        // Checked after opening: from here on the descriptor cannot change its process.
        self.is_alive().then_some(pidfd)
    }
}

/// What proc_pid_stat(5) says of a process.
struct Found {
    /// Field 3.
    state: String,
    /// Field 20.
    threads: u64,
    /// Field 22.
    start_time: u64,
}

/// `None` when there is no such process.
fn stat(pid: i32) -> Option<Found> {
    // Longer than the longest there can be, so that one call reads it: `ps` asks for many.
    let mut buffer = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut buffer)
        .ok()?;
    let stat = String::from_utf8_lossy(&buffer[..length]);
    // The command name in parentheses may hold spaces and parentheses itself.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some(Found {
        state: fields.next()?.to_owned(),
        threads: fields.nth(16)?.parse().ok()?,
        start_time: fields.nth(1)?.parse().ok()?,
    })
}

/// When this boot began (clock_gettime(2): the clocks differ by that, to the second).
pub fn boot_time() -> jiff::Timestamp {
    use rustix::time::{ClockId, clock_gettime};
    let seconds = |clock| clock_gettime(clock).tv_sec;
    let began = seconds(ClockId::Realtime) - seconds(ClockId::Boottime);
    jiff::Timestamp::from_second(began).unwrap_or_default()
}

/// Random id of this boot (random(4)).
pub fn boot_id() -> Result<&'static str> {
    static KNOWN: OnceLock<String> = OnceLock::new();
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).with_context(|| format!("read `{path}`"))?;
    Ok(KNOWN.get_or_init(|| text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_ended_has_an_identity_and_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        while stat(pid).is_some_and(|found| found.state != "Z") {
            std::thread::yield_now();
        }
        let identity = Identity::of(pid).unwrap();
        assert!(!identity.is_alive() && identity.open().is_none());
        child.wait().unwrap();
        assert!(Identity::of(pid).is_err());
    }

    #[test]
    fn this_boot_began_when_the_kernel_says() {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let began = stat.lines().find_map(|line| line.strip_prefix("btime "));
        let began: i64 = began.unwrap().parse().unwrap();
        // Each is rounded in its own way, and a namespace of time may be ahead.
        assert!((boot_time().as_second() - began).abs() <= 2);
    }

    #[test]
    fn identity_tells_a_process_from_a_later_one() {
        let own = Identity::of(std::process::id() as i32).unwrap();
        assert!(own.is_alive() && own.open().is_some());
        let other = Identity {
            start_time: own.start_time + 1,
            ..own.clone()
        };
        assert!(!other.is_alive() && other.open().is_none());
        assert!(
            !Identity {
                boot_id: "x".into(),
                ..own
            }
            .is_alive()
        );
    }
}
