//! The parent's side of starting a container.

use super::{init, protocol};
use crate::id_mapping;
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
}

/// Starts a bundle. Returns once its program has been executed, or the reason why not is known.
///
/// `streams` are used where no pseudo-terminal is asked for. The calling process must have one thread.
pub fn start(bundle: Bundle, streams: &Streams) -> Result<Started> {
    let plan = Plan::new(bundle)?;
    let (ours, theirs) = Channel::pair()?;
    // A cgroup namespace that is made here would have our own group as root.
    let namespaces = match &plan.cgroup {
        Some(_) => plan.namespaces & !flags::NEW_CGROUP,
        None => plan.namespaces,
    };
    let cgroup = plan.cgroup.as_ref().map(AsFd::as_fd);
    let child = process::clone3_into(namespaces, cgroup, || init::run(&plan, &theirs, streams))
        .context("create the container's namespaces")?;
    drop(theirs);
    if let Some((uids, gids)) = &plan.id_maps {
        id_mapping::write_nested(child.pid, uids, gids)?;
        protocol::send_mapped(&ours)?;
    }
    let agent = plan.process.seccomp.as_ref().and_then(Filter::agent);
    match protocol::await_start(&ours, &child, agent) {
        Ok(terminal) => Ok(Started { child, terminal }),
        Err(error) => {
            // It has said why and ends by itself, or waits for an agent that is not there; it must not be left as a
            // zombie.
            let _ = child.kill(libc::SIGKILL);
            let _ = child.wait();
            Err(error)
        }
    }
}
