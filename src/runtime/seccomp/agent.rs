//! Who answers for the calls that a policy leaves to a program on the host (`SCMP_ACT_NOTIFY`): runtime-spec's
//! *seccomp agent*, which listens at `listenerPath`. seccomp_unotify(2); config-linux.md, "Seccomp"; runtime.md,
//! "The Container Process State".
//!
//! ```text
//! init                                parent                               agent
//!  │── the listener's number ──────────▶│                                    │
//!  │ loads the filter                   │ pidfd_getfd, until it is there     │
//!  │ spins: no call may be made         │── ContainerProcessState + it ─────▶│
//!  │◀── shared flag: handed over ───────│                                    │
//!  │ goes on: any call may wait for     │                                    │
//!  │ the agent, execve(2) as well ◀─────┼────────────── answers ─────────────│
//! ```
//!
//! Init cannot hand the listener over itself, nor ask whether that has been done: each would be a call after the
//! filter is loaded, for which the policy may want the agent's answer. So it says beforehand which number the
//! listener will have, and waits in memory that it shares with its parent; else execve(2) could close the listener
//! before anybody has it, and the calls would fail with `ENOSYS`.
//!
//! Invariant: no program runs whose agent has not got the listener.

use crate::error::{Error, Kind};
use crate::sys::memory::SharedFlag;
use crate::sys::process::Child;
use crate::sys::socket::{self, Channel};
use anyhow::{Context, Result};
use oci_spec::runtime::{ContainerProcessState, SECCOMP_FD_NAME, State};
use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait between two looks for the listener; loading a filter takes about as long.
const PAUSE: Duration = Duration::from_micros(100);

/// Where the agent is, and what it is told.
#[derive(Debug)]
pub struct Agent {
    whom: Whom,
    metadata: Option<String>,
    /// Of the container; without the pid where the process is its first.
    pub(super) state: State,
    handed_over: SharedFlag,
}

/// Who it is.
#[derive(Debug)]
enum Whom {
    /// A program that listens there.
    Listening(PathBuf),
    /// Whoever starts the program; the listener, once it was taken.
    Parent(RefCell<Option<OwnedFd>>),
}

impl Agent {
    /// The parent itself, which finds the listener by [`Agent::listener`].
    pub(super) fn parent() -> Result<Self> {
        Ok(Self {
            whom: Whom::Parent(RefCell::default()),
            metadata: None,
            state: State::default(),
            handed_over: SharedFlag::new().context("mmap")?,
        })
    }

    /// What the parent itself is to answer at, if it is the agent.
    pub fn listener(&self) -> Option<OwnedFd> {
        match &self.whom {
            Whom::Listening(_) => None,
            Whom::Parent(listener) => listener.take(),
        }
    }

    pub(super) fn new(path: &Path, metadata: Option<String>) -> Result<Self> {
        Ok(Self {
            whom: Whom::Listening(path.to_owned()),
            metadata,
            state: State::default(),
            handed_over: SharedFlag::new().context("mmap")?,
        })
    }

    /// In the process that has loaded the filter: waits until the agent has the listener. Makes no system call.
    pub(super) fn await_hand_over(&self) {
        self.handed_over.spin();
    }

    /// Takes the listener at `number` out of `child`, which is about to load its filter, gives it to the agent, and
    /// lets the child go on. If the filter could not be loaded nothing is done: `channel` has the reason.
    ///
    /// Errors: the listener cannot be taken, nobody listens. The child then waits for ever, and is to be killed.
    pub fn hand_over(&self, child: &Child, number: RawFd, channel: &Channel) -> Result<()> {
        let Some(listener) = self.take(child, number, channel)? else {
            return Ok(());
        };
        match &self.whom {
            Whom::Listening(path) => self.introduce(path, child.pid, listener.as_fd())?,
            Whom::Parent(place) => drop(place.replace(Some(listener))),
        }
        self.handed_over.set();
        Ok(())
    }

    fn take(&self, child: &Child, number: RawFd, channel: &Channel) -> Result<Option<OwnedFd>> {
        loop {
            match pidfd_getfd(&child.pidfd, number, PidfdGetfdFlags::empty()) {
                Ok(listener) => return Ok(Some(listener)),
                // Not yet: the kernel puts it there when the filter stands.
                Err(Errno::BADF) => {}
                Err(Errno::SRCH) => return Ok(None),
                Err(error) => return Err(refused(error).into()),
            }
            if channel.await_message(Some(Instant::now() + PAUSE))? {
                return Ok(None);
            }
        }
    }

    fn introduce(&self, path: &Path, pid: i32, listener: BorrowedFd<'_>) -> Result<()> {
        let mut state = self.state.clone();
        // Of a container that is there already it is another one.
        state.set_pid(state.pid().or(Some(pid)));
        let mut message = ContainerProcessState::default();
        message
            .set_version(state.version().clone())
            .set_fds(vec![SECCOMP_FD_NAME.to_owned()])
            .set_pid(pid)
            .set_metadata(self.metadata.clone())
            .set_state(state);
        let message = serde_json::to_vec(&message)?;
        socket::deliver(path, &message, listener).map_err(|error| {
            Error::new(
                Kind::NotFound,
                format!("failed to connect with seccomp agent: {error:#}"),
            )
            .hint("start the agent that listens at the policy's `listenerPath` first")
            .into()
        })
    }
}

fn refused(error: Errno) -> Error {
    let failure = Error::new(
        Kind::Unsupported,
        format!("take the seccomp listener (pidfd_getfd): {error}"),
    );
    match error {
        Errno::NOSYS => failure.hint("SCMP_ACT_NOTIFY needs Linux 5.6"),
        _ => failure
            .hint("whatever confines onggi itself must let it trace its child: see ptrace_scope"),
    }
}
