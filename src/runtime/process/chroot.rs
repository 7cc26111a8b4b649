//! A program with another root directory (chroot(2)) and no other wall: where the kernel, or the sandbox this runs in, makes
//! no namespaces. It sees the processes and the network that are around, and can do there what its capabilities let it.
//!
//! Who may call chroot(2) leaves any such root; the caller's plan should not leave the program that capability.

use super::program::{self, Company};
use super::{init, protocol};
use crate::runtime::plan::ProcessPlan;
use crate::runtime::process::parent::Streams;
use crate::sys::openat2::{open_in_root, open_root};
use crate::sys::process::{self, Child, flags};
use crate::sys::socket::Channel;
use crate::sys::{descriptor, mount, namespace};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Starts one below `root`. Returns once it has been executed, or the reason why not is known. In a mount namespace of its own
/// the directories that `around` names are to be seen where the root has them too; if there are none it needs no such
/// namespace.
///
/// The calling process must have one thread.
pub fn start(plan: &ProcessPlan, root: &Path, around: &[&str], streams: &Streams) -> Result<Child> {
    let (ours, theirs) = Channel::pair()?;
    let child = process::clone3(0, || {
        let Err(error) = run(plan, root, around, streams, &theirs);
        protocol::send_failure(&theirs, &error);
        125
    })
    .context("fork")?;
    drop(theirs);
    match protocol::await_start(&ours, &child, None, &mut || Ok(()), protocol::PATIENCE) {
        Ok(_) => Ok(child),
        Err(error) => {
            child.end();
            Err(error)
        }
    }
}

fn run(
    plan: &ProcessPlan,
    root: &Path,
    around: &[&str],
    streams: &Streams,
    channel: &Channel,
) -> Result<Infallible> {
    let streams = streams.each_ref().map(AsFd::as_fd);
    let needed = [streams[0], streams[1], streams[2], channel.as_fd()];
    descriptor::close_all_but(&needed).context("close_range")?;
    process::forget_environment();
    if !around.is_empty() {
        namespace::unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
        mount::set_propagation_of_all(false).context("make mounts private")?;
    }
    let root = open_root(root).with_context(|| format!("open `{}`", root.display()))?;
    for path in around {
        show(&root, path).with_context(|| format!("show `{path}`"))?;
    }
    rustix::process::fchdir(&root).context("enter the root directory")?;
    rustix::process::chroot(".").context("chroot")?;
    drop(root);
    program::connect_streams(None, streams)?;
    // Nothing of what is outside is open from here on but the channel, which execve(2) closes.
    descriptor::close_all_but(&[
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
        channel.as_fd(),
    ])
    .context("close_range")?;
    init::make_working_directory(&plan.working_directory)?;
    // Processes around may have its ids.
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
    program::raise_limits(plan)?;
    program::set_limits(plan)?;
    let confined = program::confine(plan, Company::Alone, channel)?;
    program::execute(plan, confined, channel)
}

/// Mounts what is around at the same place below the root, unless that has none.
fn show(root: &OwnedFd, path: &str) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let Ok(place) = open_in_root(root, path.as_bytes(), flags, Mode::empty()) else {
        return Ok(());
    };
    let tree = mount::clone_tree_at(Path::new(path), true)?;
    Ok(mount::attach(tree.as_fd(), place.as_fd())?)
}
