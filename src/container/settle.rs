//! Runs of which nobody saw the end: their monitor was killed, or the machine went down. Whoever comes next ends
//! what is left of them and writes down how they must have ended.
//!
//! A mark in `pending/` leads to them, so that no command has to look at every container. Losing a mark in a power
//! cut costs no truth: what state a container is in is derived, the settled record only adds the time.

use super::cgroup;
use super::engine::Engine;
use super::record::{Directory, Record, State};
use super::remove::absent;
use crate::error::{Error, Kind};
use crate::paths::MONITOR_SOCKET;
use crate::store::atomic::{self, Durability};
use crate::sys::process::{self, Identity, send_signal, signal_number};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;

/// How long a process that was killed may take to be gone, in seconds: one that writes to a slow disk ends late.
const PATIENCE: i64 = 10;

/// Marks a container whose state will need an end.
pub fn mark(engine: &Engine, id: &str) -> Result<()> {
    let mark = engine.paths.mark(id);
    std::fs::write(&mark, b"").with_context(|| format!("create `{}`", mark.display()))
}

/// Its state is true from now on whoever dies.
pub fn unmark(engine: &Engine, id: &str) -> Result<()> {
    let mark = engine.paths.mark(id);
    absent(std::fs::remove_file(&mark), &mark)
}

/// Ends what runs without a monitor and writes down the end. The container's lock is held, so there is no monitor.
pub fn settle(directory: &Directory, mut state: State) -> Result<()> {
    if state.is_unsettled() {
        end_program(&state)?;
        state.settle();
        directory.write_state(&state, Durability::Durable)?;
        tidy(directory)?;
    }
    Ok(())
}

/// Removes what a killed monitor leaves beside the records: its socket, and a record that it was writing.
pub fn tidy(directory: &Directory) -> Result<()> {
    let socket = directory.file(MONITOR_SOCKET);
    absent(std::fs::remove_file(&socket), &socket)?;
    atomic::sweep(directory.path())
}

/// Kills a program that has outlived its monitor, and whoever else is in its control group.
pub fn end_program(state: &State) -> Result<()> {
    state.program.as_ref().map_or(Ok(()), end_process)?;
    cgroup::of(state)?.map_or(Ok(()), cgroup::end)
}

/// Kills a process, if it is still that one, and waits until it has ended.
pub fn end_process(process: &Identity) -> Result<()> {
    let Some(pidfd) = process.open() else {
        return Ok(());
    };
    match send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error).with_context(|| format!("kill process {}", process.pid)),
    }
    let patience = Timespec {
        tv_sec: PATIENCE,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)) {
        Ok(0) => Err(Error::new(
            Kind::Conflict,
            format!(
                "process {} has been killed and does not end: the kernel keeps it waiting",
                process.pid
            ),
        )
        .hint("see its state in /proc/PID/stack; a hanging disk or network file system is the usual cause")
        .into()),
        Err(error) => Err(error).context("poll"),
        Ok(_) => Ok(()),
    }
}

/// The signal that asks the program to end; SIGTERM where image and user say nothing that makes sense.
pub fn stop_signal(record: &Record) -> i32 {
    signal_number(&record.program.stop_signal).unwrap_or(libc::SIGTERM)
}

/// Whether a process would do anything at all on that signal: handle it, or have it wait. Process 1 of a container
/// is spared the signals it does not handle (pid_namespaces(7)).
pub fn heeds(process: &Identity, signal: i32) -> bool {
    process::signal_sets(process.pid)
        .is_none_or(|sets| sets.caught.contains(signal) || sets.blocked.contains(signal))
}
