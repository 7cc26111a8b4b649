//! The parent's side of starting a container.

use super::{init, nested, protocol};
use crate::runtime::plan::{Bundle, Plan};
use crate::runtime::seccomp::Filter;
use crate::sys::process::{self, Child, flags};
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use std::os::fd::{AsFd, OwnedFd};

/// Standard input, output and error of the program.
pub type Streams = [OwnedFd; 3];

/// A container whose program runs.
#[derive(Debug)]
pub struct Started {
    /// Process 1 of the container.
    pub child: Child,
    /// The controlling side of its pseudo-terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// What is otherwise than one would think.
    pub warnings: Vec<String>,
}

/// Starts a bundle. Returns once its program has been executed, or the reason why not is known.
///
/// `streams` are used where no pseudo-terminal is asked for. The calling process must have one thread.
pub fn start(bundle: Bundle, streams: &Streams) -> Result<Started> {
    let mut plan = Plan::new(bundle)?;
    let (ours, theirs) = Channel::pair()?;
    let child = match plan.user.take() {
        None => clone_init(&plan, 0, &theirs, streams)?,
        Some(user) => nested::clone_init(&mut plan, user, &theirs, streams)?,
    };
    drop(theirs);
    let agent = plan.process.seccomp.as_ref().and_then(Filter::agent);
    match protocol::await_start(&ours, &child, agent, protocol::PATIENCE) {
        Ok((terminal, warnings)) => Ok(Started {
            child,
            terminal,
            warnings,
        }),
        Err(error) => {
            // It has said why and ends by itself, or waits for an agent that is not there; it must not be left as a
            // zombie.
            let _ = child.kill(libc::SIGKILL);
            let _ = child.wait();
            Err(error)
        }
    }
}

/// Makes the first process in the container's namespaces; `more` are further flags of [`flags`].
pub(super) fn clone_init(
    plan: &Plan,
    more: u64,
    channel: &Channel,
    streams: &Streams,
) -> Result<Child> {
    // A cgroup namespace that is made here would have our own group as root.
    let namespaces = match &plan.cgroup {
        Some(_) => plan.namespaces & !flags::NEW_CGROUP,
        None => plan.namespaces,
    };
    let cgroup = plan.cgroup.as_ref().map(AsFd::as_fd);
    process::clone3_into(namespaces | more, cgroup, || {
        init::run(plan, channel, streams)
    })
    .context("create the container's namespaces")
}
