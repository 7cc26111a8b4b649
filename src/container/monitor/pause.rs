//! Stopping and continuing all processes of a container by signals, from inside its pid namespace: there one call
//! reaches every process at once, so that none that is just being made slips through (kill(2) with -1).

use crate::error::{Error, Kind};
use crate::sys::namespace;
use crate::sys::process::{self, Child, Ended};
use anyhow::{Context, Result};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long it may take until process 1 has stopped, in milliseconds.
const PATIENCE: u32 = 100;

/// Stops all, process 1 first.
pub fn pause(program: &Child) -> Result<()> {
    program.kill(libc::SIGSTOP).context("stop process 1")?;
    signal_all(program, libc::SIGSTOP)?;
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
    signal_all(program, libc::SIGCONT)?;
    program.kill(libc::SIGCONT).context("continue process 1")
}

/// Sends a signal to all processes of the program's pid namespace but its first.
fn signal_all(program: &Child, signal: i32) -> Result<()> {
    let child = process::clone3(0, || {
        let sent = (|| -> Result<Ended> {
            // What lives in the namespace must not look into us while we are there.
            process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
            namespace::join(program.pidfd.as_fd(), process::flags::NEW_PID)
                .context("enter the pid namespace")?;
            // The namespace is that of children only.
            let inside = process::clone3(0, || u8::from(process::signal_all(signal).is_err()));
            inside.context("fork")?.wait().context("wait")
        })();
        sent.map_or(2, Ended::code)
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
