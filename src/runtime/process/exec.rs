//! One more program in a running container: its namespaces are joined (setns(2)), then the way is that of the
//! container's first program ([`super::program`]).
//!
//! ```text
//! caller ──fork──▶ joiner: leaves host files behind, joins every namespace, gives up privileges; nobody in the
//!    │                │      container sees it yet
//!    ▲                └─clone3 as sibling─▶ process in the pid namespace ──execve──▶ program
//!    ├──── pid, pseudo-terminal, failure ────┤
//!    └─── scheduler, if it is not inherited ─┘
//! ```
//!
//! What the container's processes could do to one that is about to become theirs, and why they cannot:
//!
//! - The process becomes visible to them only when it holds no descriptor of the host's, has left the host's mounts,
//!   and has the identity, the capabilities and the filter of the program: whoever may trace it (CVE-2016-9962) gets
//!   hold of nothing but what the program is, and what it says is taken with a grain of salt.
//! - What executes it is a sealed copy of this program (CVE-2019-5736); the caller sees to that.
//! - No path of the container's is trusted: `/proc` is used before it is the container's, `/dev/pts` is looked at
//!   closely, and the working directory must lie inside (CVE-2024-21626).

use super::nested::become_owner;
use super::parent::{Started, Streams};
use super::program::{self, Company, Confined};
use super::protocol;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind};
use crate::runtime::plan::ProcessPlan;
use crate::runtime::seccomp::Filter;
use crate::sys::process::{self, Child, Identity, flags};
use crate::sys::procfs::Processes;
use crate::sys::socket::Channel;
use crate::sys::{descriptor, namespace, root};
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The names of namespaces in `/proc/PID/ns`, but for the user namespace, which has an order of its own.
const NAMESPACES: [(&str, u64); 7] = [
    ("mnt", flags::NEW_MOUNT),
    ("pid", flags::NEW_PID),
    ("net", flags::NEW_NET),
    ("ipc", flags::NEW_IPC),
    ("uts", flags::NEW_UTS),
    ("cgroup", flags::NEW_CGROUP),
    ("time", flags::NEW_TIME),
];

/// The process whose surroundings are joined: the first of a container.
#[derive(Debug)]
pub struct Target {
    pidfd: OwnedFd,
    /// `/proc/PID`, which answers nothing any more once the process is gone, whoever has its number then.
    directory: OwnedFd,
}

impl Target {
    /// `None` when the process has ended.
    pub fn open(process: &Identity) -> Result<Option<Self>> {
        let path = format!("/proc/{}", process.pid);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(CWD, &path, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            opened => opened.with_context(|| format!("open `{path}`"))?,
        };
        // Opened first and checked last: both stand for that very process.
        let pidfd = process.open();
        Ok(pidfd.map(|pidfd| Self { pidfd, directory }))
    }

    /// Readable when the process has ended.
    pub fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }

    /// The user namespace `depth` levels below ours on the way to that of the process, which may have gone deeper on
    /// its own: whoever is started beside it is somebody in the container's namespace, not in that.
    pub fn user_namespace(&self, depth: usize) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat(&self.directory, "ns/user", flags, Mode::empty());
        let mut lineage =
            namespace::lineage(opened.context("open the container's user namespace")?)
                .context("find the container's user namespace")?;
        match depth.checked_sub(1) {
            Some(level) if level < lineage.len() => Ok(lineage.swap_remove(level)),
            _ => bail!("the container has no user namespace of its own"),
        }
    }

    fn root(&self) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.directory, "root", flags, Mode::empty()).context("open the container's root")
    }

    /// Which namespaces of the process are not ours. Ours are not joined again: those of the host's that a container
    /// shares may belong to somebody who has not given them to us.
    fn foreign_namespaces(&self) -> Result<u64> {
        let mut foreign = 0;
        for (name, flag) in NAMESPACES {
            let stat = |directory: BorrowedFd<'_>, path: String| {
                statat(directory, &path, AtFlags::empty()).with_context(|| format!("stat `{path}`"))
            };
            let ours = match stat(CWD, format!("/proc/self/ns/{name}")) {
                // Before Linux 5.6.
                Err(_) if flag == flags::NEW_TIME => continue,
                found => found?,
            };
            let theirs = stat(self.directory.as_fd(), format!("ns/{name}"))?;
            if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino) {
                foreign |= flag;
            }
        }
        Ok(foreign)
    }
}

/// The user namespace of a container below ours.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Nested {
    /// How many levels below.
    pub depth: usize,
    /// Who in it acts before the program's user does ([`crate::id_mapping::IdMaps::owner`]).
    pub owner: (u32, u32),
}

/// Starts a program beside `target`. Returns once it has been executed, or the reason why not is known.
///
/// `nested` is for a container whose user namespace is below ours, `cgroup` where its processes live if not where we
/// do. `streams` are used where no pseudo-terminal is asked for. The calling process must have one thread.
pub fn start(
    target: &Target,
    nested: Option<Nested>,
    cgroup: Option<&Cgroup>,
    plan: &mut ProcessPlan,
    streams: &Streams,
) -> Result<Started> {
    // That of the process cannot be the joiner's, and is for whoever has the privileges of neither given up.
    let scheduler = plan.scheduling.take_own();
    let is_held = scheduler.is_some();
    let (ours, theirs) = Channel::pair()?;
    let joiner = process::clone3(0, || {
        let failed = |channel: &Channel, error| {
            protocol::send_failure(channel, &error);
            125
        };
        match join(target, nested, cgroup, plan, &theirs, streams) {
            Err(error) => failed(&theirs, error),
            Ok(channel) => match make_process(plan, is_held, &channel) {
                Err(error) => failed(&channel, error),
                Ok(()) => 0,
            },
        }
    })
    .context("fork")?;
    drop(theirs);
    let agent = plan.seccomp.as_ref().and_then(Filter::agent);
    let prepare = |child: &Child| match scheduler {
        Some(scheduler) => {
            scheduler.set(child.pid)?;
            protocol::send_connected(&ours)
        }
        None => Ok(()),
    };
    let joined = protocol::await_joined(&ours, protocol::PATIENCE, agent, prepare);
    let _ = joiner.wait();
    let joined = joined?;
    match (joined.child, joined.failure) {
        (Some(child), None) => Ok(Started::beside(child, joined.terminal, joined.warnings)),
        (child, failure) => {
            // It was killed; it must not be left as a zombie, which would keep the container from ending.
            let _ = child.map(|child| child.wait());
            Err(failure.unwrap_or_else(|| anyhow::anyhow!("joining the container was cut short")))
        }
    }
}

/// In the joiner: leaves the host. From then on it has only what the program gets, and the channel, at another number.
fn join(
    target: &Target,
    nested: Option<Nested>,
    cgroup: Option<&Cgroup>,
    plan: &mut ProcessPlan,
    channel: &Channel,
    streams: &Streams,
) -> Result<Channel> {
    if program::asks_agent(plan) && program::may_be_traced(plan) {
        let message =
            "nothing can be executed in a container that has CAP_SYS_PTRACE and a seccomp agent";
        return Err(Error::new(Kind::Unsupported, message)
            .hint("its processes could take the privileges of what joins them: do without one of the two")
            .into());
    }
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
    // It would be readable by whoever may read the rest of the process.
    process::forget_environment();
    // While `/proc` and the cgroups are the host's.
    program::set_attributes(plan, &Processes::open()?)?;
    program::raise_limits(plan)?;
    plan.scheduling.set_affinity(false)?;
    if let Some(cgroup) = cgroup {
        cgroup.enter(0)?;
    }
    plan.scheduling.set_affinity(true)?;
    let user = nested
        .map(|nested| target.user_namespace(nested.depth))
        .transpose()?;
    let foreign = target.foreign_namespaces()?;
    let root = match foreign & flags::NEW_MOUNT {
        // It has inherited ours, and its root is all that is its own.
        0 => Some(target.root()?),
        _ => None,
    };
    // The root and the current directory become those of the mount namespace, whatever chroot(2) the process is in.
    namespace::join(target.pidfd.as_fd(), foreign).context("join the container's namespaces")?;
    if let Some(root) = root {
        rustix::process::fchdir(&root).context("enter the container's root")?;
        root::stay_below_current_directory()?;
    }
    if let Some(user) = user {
        // Last, since it takes away the power over the namespaces outside of it.
        namespace::join(user.as_fd(), flags::NEW_USER)
            .context("join the container's user namespace")?;
    }
    if let Some(Nested { owner, .. }) = nested {
        // To whom the terminal belongs.
        become_owner(owner)?;
    }
    let terminal = plan
        .terminal
        .map(|size| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let points = openat(CWD, "/dev/pts", flags, Mode::empty());
            program::open_terminal(points.context("open `/dev/pts`")?.as_fd(), size, channel)
        })
        .transpose()?;
    const CHANNEL: i32 = 3;
    let [input, output, error] = match &terminal {
        Some(terminal) => [terminal.as_fd(); 3],
        None => streams.each_ref().map(AsFd::as_fd),
    };
    let mut placed = vec![input, output, error, channel.as_fd()];
    placed.extend(plan.sockets.all());
    descriptor::place(&placed).context("set the standard streams")?;
    descriptor::close_from(placed.len() as u32).context("close_range")?;
    // Closed, or their numbers are those of something else by now.
    std::mem::forget(terminal);
    plan.sockets.moved_to(CHANNEL + 1)?;
    descriptor::inherited(CHANNEL).map(Channel::from_descriptor)
}

/// In the joiner: gives up its privileges and makes the process, which waits if it `is_held`.
fn make_process(plan: &ProcessPlan, is_held: bool, channel: &Channel) -> Result<()> {
    // An agent is told whose filter it is, so the process itself must load that.
    let confined = match program::asks_agent(plan) {
        true => None,
        false => Some(program::confine(plan, Company::Container, channel)?),
    };
    // Another identity may have made it dumpable again (proc_sys_fs(5), `suid_dumpable`).
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
    let child = process::clone3(flags::SIBLING, || {
        let held = is_held.then(|| protocol::await_connected(channel));
        let ready = held.unwrap_or(Ok(()));
        let Err(error) = ready.and_then(|()| become_program(plan, confined, channel));
        protocol::send_failure(channel, &error);
        125
    })
    .map_err(not_cloned)?;
    protocol::send_child(channel, &child)
}

/// The joiner is one of the container's processes by now.
fn not_cloned(error: Errno) -> anyhow::Error {
    let what = "clone into the container";
    match error {
        Errno::AGAIN => Error::new(Kind::Denied, format!("{what}: {error}"))
            .hint(
                "it has as many processes as --pids-limit allows, and exec needs room for two: `onggi update --pids-limit \
                 NUMBER CONTAINER` raises that",
            )
            .bundle_hint(
                "it has as many processes as `linux.resources.pids.limit` allows, and exec needs room for two: `update \
                 --pids-limit NUMBER ID` raises that",
            )
            .into(),
        _ => anyhow::Error::from(error).context(what),
    }
}

/// In the process inside the container, which has its streams, and the channel at 3. `confined` is there if the joiner
/// has done all that takes privileges.
fn become_program(
    plan: &ProcessPlan,
    confined: Option<Confined>,
    channel: &Channel,
) -> Result<std::convert::Infallible> {
    let streams = [stdin(), stdout(), stderr()];
    program::connect_streams(plan.terminal.map(|_| stdin()), streams)?;
    program::set_limits(plan)?;
    let confined = match confined {
        Some(confined) => confined,
        None => program::confine(plan, Company::Container, channel)?,
    };
    program::execute(plan, confined, channel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_has_ended_is_no_target() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let identity = Identity::of(child.id() as i32).unwrap();
        let target = Target::open(&identity).unwrap().unwrap();
        assert_eq!(target.foreign_namespaces().unwrap(), 0);
        // It is in our own, and there is none below that.
        assert!(target.user_namespace(1).is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Target::open(&identity).unwrap().is_none());
        assert!(target.foreign_namespaces().is_err());
    }
}
