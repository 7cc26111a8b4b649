//! Starting init in a user namespace below that of the caller (user_namespaces(7)): one that is made for the container,
//! or one that is there. The other namespaces of the container belong to it.
//!
//! ```text
//! caller ──fork──▶ joiner: own mounts, makes the root file system there, joins the user namespace
//!    ▲                └─clone3 as sibling─▶ init ──execve──▶ program
//!    └──── pid ───────────┘
//! ```
//!
//! The root file system is made outside, since only there may owners be mapped, and `trusted.*` attributes be read; and
//! what is copied from a mount namespace of more privilege keeps its protection, whatever root inside may do.

use super::parent::{self, Streams};
use super::{program, protocol};
use crate::runtime::namespaces::Joined;
use crate::runtime::plan::{Plan, Root, UserNamespace};
use crate::runtime::rootfs;
use crate::sys::process::{self, Child, flags};
use crate::sys::procfs::Processes;
use crate::sys::socket::Channel;
use crate::sys::{descriptor, mount, namespace};
use anyhow::{Context, Result};
use std::os::fd::{AsFd, OwnedFd};

/// Makes the first process of a container in that user namespace; it talks to the caller, whose end of the channel is
/// the first one, through the second.
pub fn clone_init(
    plan: &mut Plan,
    (namespace, owner): (OwnedFd, (u32, u32)),
    [listener, channel]: [&Channel; 2],
    streams: &Streams,
) -> Result<Child> {
    let copy = namespace.try_clone().context("duplicate a descriptor")?;
    plan.user = Some(UserNamespace::Held(copy, owner));
    let join = || join(plan, &namespace, channel, streams);
    through_joiner(listener, join)
}

/// Makes the first process of a container in a process that does not come back from where it goes for that; `make` has to
/// make a sibling of that one. `listener` is the caller's end of init's channel.
pub(super) fn through_joiner(
    listener: &Channel,
    make: impl FnOnce() -> Result<Child>,
) -> Result<Child> {
    let (ours, theirs) = Channel::pair()?;
    let joiner = process::clone3(0, || {
        // With a copy here, nobody would notice that the caller is gone.
        let left = descriptor::close(&[listener.as_fd(), ours.as_fd()]).context("close");
        let made = left
            .and_then(|()| make())
            .and_then(|child| protocol::send_child(&theirs, &child));
        let Err(error) = made else {
            return 0;
        };
        protocol::send_failure(&theirs, &error);
        125
    })
    .context("fork")?;
    drop(theirs);
    let made = protocol::await_child(&ours);
    let _ = joiner.wait();
    made
}

/// Makes it where it is new, and says who in it makes the container's root file system.
pub(super) fn hold(user: UserNamespace) -> Result<(OwnedFd, (u32, u32))> {
    let owner = user.owner();
    let namespace = match user {
        UserNamespace::Held(namespace, _) => namespace,
        UserNamespace::New(maps) => maps.namespace()?,
        UserNamespace::Path(path) => Joined::open(flags::NEW_USER, &path)?.into_file(),
    };
    Ok((namespace, owner))
}

/// In the joiner, which has a copy of the plan: leaves the user namespace of the caller and makes init.
fn join(plan: &mut Plan, user: &OwnedFd, channel: &Channel, streams: &Streams) -> Result<Child> {
    // Somebody in the namespace that is joined may be root there already.
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
    // While our own files in `/proc` are ours to write.
    program::set_attributes(&plan.process, &Processes::open()?)?;
    program::raise_limits(&plan.process)?;
    namespace::unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
    mount::set_propagation_of_all(rootfs::follows_host(plan)).context("make mounts private")?;
    plan.root = Root::Directory {
        path: rootfs::attach_root(plan, user.as_fd())?,
        devices: true,
    };
    // While it has power over those of the host's, too; whatever it has of them its children have.
    for joined in std::mem::take(&mut plan.held) {
        joined.enter()?;
    }
    namespace::join(user.as_fd(), flags::NEW_USER).context("join the user namespace")?;
    parent::clone_init(plan, flags::SIBLING, channel, streams)
}

/// Becomes somebody whom the user namespace knows, to whom belongs what is made from here on.
pub(super) fn become_owner((uid, gid): (u32, u32)) -> Result<()> {
    process::set_ids(uid, gid).context("become root of the user namespace")?;
    // A change of ids makes it what `fs.suid_dumpable` says (proc_sys_fs(5)).
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")
}
