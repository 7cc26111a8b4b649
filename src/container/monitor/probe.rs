//! One probe of a container's health: its check is run beside its program, as `exec` would.
//!
//! ```text
//! monitor ──fork──▶ prober ──joins the container──▶ check
//!    │   ◀──result──┘ waits for it, keeps what it writes, kills it at its timeout
//!    └── polls the prober's pidfd and a deadline; nothing that the container does makes it wait
//! ```
//!
//! The prober ends the check when the container's program ends or the monitor does not wait for the result any more,
//! be it that it was killed. It holds nothing of the monitor's, the container's lock least of all.

use crate::container::engine::Engine;
use crate::container::exec;
use crate::container::health::{Check, Probe};
use crate::container::list::Container;
use crate::container::record::now;
use crate::duration;
use crate::runtime::process::parent::Started;
use crate::sys::descriptor;
use crate::sys::process::{self, Child};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The most that is kept of what a check writes, in bytes.
const OUTPUT_MAX: usize = 4096;
/// How long it may take to start a check, which does not count towards its timeout, and to end it.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Reads of a check's output after its end: whoever goes on writing is not waited for.
const LAST_READS: usize = 64;
/// Docker's exit code for a check that did not come to its end.
const FAILED: i32 = -1;

/// A probe that runs.
pub struct Probing {
    prober: Child,
    result: PipeReader,
    start: String,
    /// When the prober itself is killed; `None`: it was.
    until: Option<Instant>,
}

/// What the prober tells.
#[derive(Serialize, Deserialize)]
struct Told {
    end: String,
    exit_code: i32,
    output: String,
}

impl Probing {
    /// Starts a prober beside the container's program.
    pub fn start(engine: &Engine, container: &Container, check: &Check) -> Result<Self> {
        let start = now();
        let (result, mut writer) = std::io::pipe().context("pipe")?;
        rustix::io::ioctl_fionbio(&result, true).context("make a pipe non-blocking")?;
        let prober = process::clone3(0, || {
            let told = probe_alone(engine, container, check, &mut writer);
            u8::from(told.is_err())
        })
        .context("start a process for the health check")?;
        Ok(Self {
            prober,
            result,
            start,
            until: Some(Instant::now() + START_PATIENCE + check.timeout),
        })
    }

    /// When to look at it again, if it has not ended before.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Adds what poll(2) is to wait for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.prober.pidfd, PollFlags::IN));
    }

    /// The result, if there is one by now.
    pub fn finish(&mut self) -> Option<Probe> {
        if !self.prober.has_ended_within(Duration::ZERO) {
            if self.until.is_some_and(|until| until <= Instant::now()) {
                self.until = None;
                // It is told by its end.
                let _ = self.prober.kill(libc::SIGKILL);
            }
            return None;
        }
        let _ = self.prober.wait();
        let mut told = Vec::new();
        // What was told before the end lies in the pipe.
        let _ = self.result.read_to_end(&mut told);
        let told = serde_json::from_slice(&told).unwrap_or_else(|_| Told {
            end: now(),
            exit_code: FAILED,
            output: "the health check could not be started in time".to_owned(),
        });
        Some(Probe {
            start: std::mem::take(&mut self.start),
            end: told.end,
            exit_code: told.exit_code,
            output: told.output,
        })
    }

    /// Ends it without a result.
    pub fn cancel(self) {
        drop(self.result);
        // It notices that by itself; one that hangs in the kernel is left behind.
        if self.prober.has_ended_within(Duration::from_secs(1)) {
            let _ = self.prober.wait();
        }
    }
}

/// In the prober: runs the check and tells what came of it.
fn probe_alone(
    engine: &Engine,
    container: &Container,
    check: &Check,
    writer: &mut PipeWriter,
) -> Result<()> {
    const RESULT: i32 = 3;
    let nothing = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("open `/dev/null`")?;
    let streams = [nothing.as_fd(); RESULT as usize];
    descriptor::place(&[&streams, &[writer.as_fd()][..]].concat())?;
    descriptor::close_from(RESULT as u32 + 1)?;
    // What stood for these numbers before is not closed again.
    std::mem::forget(nothing);
    let mut result = File::from(descriptor::inherited(RESULT)?);
    let (exit_code, output) = match run(engine, container, check, &result) {
        Ok(outcome) => outcome,
        Err(error) => (FAILED, format!("{error:#}")),
    };
    let end = now();
    let told = Told {
        end,
        exit_code,
        output,
    };
    Ok(result.write_all(&serde_json::to_vec(&told)?)?)
}

/// The exit code of the check and what it wrote.
fn run(
    engine: &Engine,
    container: &Container,
    check: &Check,
    monitor: &File,
) -> Result<(i32, String)> {
    let options = exec::Options {
        command: check.words.clone(),
        ..exec::Options::default()
    };
    let (started, pipes, target) = exec::start(engine, container, &options, (0, 0))?;
    let outputs: Vec<OwnedFd> = pipes.output.into_iter().chain(pipes.error).collect();
    for output in &outputs {
        rustix::io::ioctl_fionbio(output, true).context("make a pipe non-blocking")?;
    }
    let running = Running {
        check: started,
        outputs,
        kept: Kept::default(),
    };
    running.follow(target.into_pidfd(), monitor, check.timeout)
}

/// A check that has been started.
struct Running {
    check: Started,
    /// Those that have not ended.
    outputs: Vec<OwnedFd>,
    kept: Kept,
}

impl Running {
    fn follow(
        mut self,
        container: OwnedFd,
        monitor: &File,
        timeout: Duration,
    ) -> Result<(i32, String)> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = vec![
                PollFd::new(&self.check.child.pidfd, PollFlags::IN),
                PollFd::new(&container, PollFlags::IN),
                // The monitor's end of it is gone: an error, which is told whether asked for or not.
                PollFd::new(monitor, PollFlags::empty()),
            ];
            let outputs = self.outputs.iter();
            fds.extend(outputs.map(|output| PollFd::new(output, PollFlags::IN)));
            match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
                Err(Errno::INTR) => continue,
                result => result.context("poll")?,
            };
            let is_ready = |index: usize| !fds[index].revents().is_empty();
            let (has_ended, is_unwanted) = (is_ready(0), is_ready(1) || is_ready(2));
            self.read(1);
            if has_ended {
                let child = &self.check.child;
                let code = child.wait().context("wait for the health check")?;
                self.read(LAST_READS);
                return Ok((i32::from(code.code()), self.kept.text()));
            }
            if is_unwanted || left.is_zero() {
                self.kill();
                self.read(LAST_READS);
                return Ok((FAILED, self.exceeded(timeout)));
            }
        }
    }

    /// Takes what there is of each output, in that many reads at most.
    fn read(&mut self, most: usize) {
        let mut buffer = [0; OUTPUT_MAX];
        self.outputs.retain(|output| {
            for _ in 0..most {
                match rustix::io::read(output, &mut buffer) {
                    Ok(length @ 1..) => self.kept.add(&buffer[..length]),
                    Err(Errno::AGAIN) => return true,
                    Err(Errno::INTR) => {}
                    Ok(_) | Err(_) => return false,
                }
            }
            true
        });
    }

    /// With all that it has started and that has not left its session.
    fn kill(&self) {
        let child = &self.check.child;
        if let Some(group) = Pid::from_raw(child.pid) {
            // It has not been reaped, so the number is its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.kill(libc::SIGKILL);
        let _ = child.wait();
    }

    fn exceeded(&self, timeout: Duration) -> String {
        let nanoseconds = i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX);
        let message = format!(
            "Health check exceeded timeout ({})",
            duration::format(nanoseconds)
        );
        match self.kept.text() {
            text if text.is_empty() => message,
            text => format!("{message}: {text}"),
        }
    }
}

/// The beginning of what a check writes; the rest is thrown away, so that it need not wait.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        let room = OUTPUT_MAX - self.bytes.len();
        self.is_cut |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// With Docker's sign for what is missing.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.is_cut {
            true => format!("{text}..."),
            false => text.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_the_output_is_kept() {
        let mut kept = Kept::default();
        kept.add(&[b'a'; OUTPUT_MAX - 1]);
        kept.add(b"b");
        assert_eq!(kept.text().len(), OUTPUT_MAX);
        assert!(kept.text().ends_with("ab"));
        kept.add(b"c");
        assert_eq!(kept.text(), format!("{}b...", "a".repeat(OUTPUT_MAX - 1)));
    }
}
