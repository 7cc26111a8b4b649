//! Stopping and continuing all processes of a container by signals, from inside its pid namespace: there one call
//! reaches every process at once, so that none that is just being made slips through (kill(2) with -1).

use crate::error::{Error, Kind};
use crate::runtime::capabilities::{CapabilitySet, ProcessCapabilities};
use crate::sys::process::{self, Child, Ended, flags};
use crate::sys::{descriptor, namespace};
use anyhow::{Context, Result};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long it may take until process 1 has stopped, in milliseconds.
const PATIENCE: u32 = 100;
/// How long the signal may take that reaches all the others, which needs microseconds.
const HELD_UP: Duration = Duration::from_secs(1);

/// Stops all, process 1 first. What cannot be stopped as a whole goes on.
pub fn pause(program: &Child) -> Result<()> {
    program.kill(libc::SIGSTOP).context("stop process 1")?;
    if let Err(error) = signal_all(program, libc::SIGSTOP) {
        let _ = unpause(program);
        return Err(error);
    }
    // It stops on its way back from the kernel, which a slow disk may delay; then the state shows it later.
    for _ in 0..PATIENCE {
        if program.has_stopped().context("waitid")? {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Continues all, process 1 last.
pub fn unpause(program: &Child) -> Result<()> {
    let sent = signal_all(program, libc::SIGCONT);
    program.kill(libc::SIGCONT).context("continue process 1")?;
    sent
}

/// Sends a signal to all processes of the program's pid namespace but its first.
fn signal_all(program: &Child, signal: i32) -> Result<()> {
    let child = process::clone3(0, || {
        enter_and_signal(program, signal).map_or(2, Ended::code)
    });
    match child.context("fork")?.wait().context("wait")? {
        Ended::Exited(0) => Ok(()),
        ended => Err(Error::new(
            Kind::Denied,
            format!(
                "the signal could not be sent to its processes ({})",
                ended.code()
            ),
        )
        .into()),
    }
}

/// In a child of the monitor: whoever sends the signal is seen by the container's processes, who may stop or kill it,
/// and with CAP_SYS_PTRACE look into it. So it holds nothing of the host's, neither descriptors nor files nor power,
/// and is not waited for without end.
fn enter_and_signal(program: &Child, signal: i32) -> Result<Ended> {
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
    descriptor::close_all_but(&[program.pidfd.as_fd()]).context("close_range")?;
    namespace::join(program.pidfd.as_fd(), flags::NEW_PID | flags::NEW_MOUNT)
        .context("enter the container")?;
    let kill = CapabilitySet::parse("KILL").unwrap_or_default();
    ProcessCapabilities::docker(kill, 0).apply()?;
    // The pid namespace is that of children only.
    let sender = process::clone3(0, || u8::from(process::signal_all(signal).is_err()));
    let sender = sender.context("fork")?;
    if !sender.has_ended_within(HELD_UP) {
        // It may end just now.
        let _ = sender.kill(libc::SIGKILL);
    }
    sender.wait().context("wait")
}
