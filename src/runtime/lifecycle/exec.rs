//! `exec`: one more program in a container that runs.

use super::access::Access;
use super::console::Console;
use super::create::{hand_pidfd, streams, tier, write_pid};
use super::foreground::Terminal;
use super::group;
use super::record::{Container, Status};
use super::sockets::sockets;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, bad_input};
use crate::runtime::annotations::Annotations;
use crate::runtime::plan::ProcessPlan;
use crate::runtime::process::exec::{self, Target};
use crate::runtime::seccomp::{self, Identity};
use crate::sys::process::Child;
use anyhow::{Context, Result};
use oci_spec::runtime::{ContainerState, Process, Spec};
use std::path::{Path, PathBuf};

/// What is to be run, and how.
#[derive(Debug)]
pub struct Guest {
    /// As in a configuration.
    pub process: Process,
    /// Where its terminal goes.
    pub console: Console,
    /// Gets its number.
    pub pid_file: Option<PathBuf>,
    /// Gets a descriptor of it (pidfd_open(2)).
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on it gets of those that are open.
    pub preserved: usize,
    /// Also in a container whose processes are frozen, where it then waits.
    pub even_if_paused: bool,
    /// It goes on when the caller has ended.
    pub outlives_caller: bool,
    /// A group in that of the container.
    pub group: Option<String>,
    /// How the calling process has come here.
    pub access: Access,
}

/// Starts it; a child of the calling process, which must have one thread. `warnings` gets what is otherwise than one would
/// think.
pub fn exec(
    container: &Container,
    spec: &Spec,
    guest: &Guest,
    warnings: &mut Vec<String>,
) -> Result<(Child, Option<Terminal>)> {
    guest.console.check(Some(&guest.process))?;
    let refused =
        |why: &str| Error::new(Kind::Conflict, format!("cannot exec in a {why} container"));
    let status = match container.status()? {
        Status::Created => ContainerState::Created,
        Status::Running => ContainerState::Running,
        Status::Paused if guest.even_if_paused => ContainerState::Running,
        Status::Paused => {
            return Err(refused("paused")
                .hint("`resume` it, or --ignore-paused")
                .into());
        }
        Status::Stopped | Status::Creating => return Err(refused("stopped").into()),
    };
    let mut state = container.state();
    state
        .set_status(status)
        .set_pid(Some(container.record.init.pid));
    let target = Target::open(&container.record.init)?.ok_or_else(|| refused("stopped"))?;
    let nested = match (guest.access, container.record.user_namespace) {
        (Access::Own, nested) => nested,
        (Access::Entered, _) => None,
    };
    let policy = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().as_ref());
    let filter = policy
        .map(|policy| seccomp::compile(policy, Identity::Mapped))
        .transpose()?;
    let filter = filter.map(|filter| filter.of_container(state));
    let mut plan = ProcessPlan::new(&guest.process, Vec::new(), filter, tier())?;
    if let Some(linux) = spec.linux() {
        plan.scheduling.add_container(linux)?;
    }
    plan.scheduling.free_affinity();
    plan.keeps_groups = Annotations::of(spec.annotations())?.keeps_groups;
    plan.outlives_maker = guest.outlives_caller;
    plan.sockets = sockets(guest.preserved)?;
    let group = group_of(container, guest.group.as_deref())?;
    let started = exec::start(&target, nested, group.as_ref(), &mut plan, &streams()?)?;
    warnings.extend(started.warnings);
    let child = started.child;
    let told = || {
        if let Some(path) = &guest.pidfd_socket {
            hand_pidfd(path, &child, "setns")?;
        }
        if let Some(path) = &guest.pid_file {
            write_pid(path, child.pid)?;
        }
        guest.console.take(started.terminal)
    };
    let terminal = told().inspect_err(|_| child.end())?;
    Ok((child, terminal))
}

/// Where it lives: the group of the container, or one in it.
fn group_of(container: &Container, below: Option<&str>) -> Result<Option<Cgroup>> {
    let Some(below) = below else {
        let found = container.cgroup()?;
        return found
            .map(|group| group::come_near(group::with_processes(group, container)?))
            .transpose();
    };
    let group = container.needed_cgroup("run a program in a group of")?;
    let path = Path::new(below.trim_start_matches('/'));
    let stays = path
        .components()
        .all(|part| matches!(part, std::path::Component::Normal(_)));
    if !stays {
        let message = format!("the cgroup {below} is not a sub cgroup path of the container's");
        return Err(bad_input(message).into());
    }
    let found = Cgroup::open(&group.path().join(path)).context("open the group")?;
    let missing = || bad_input(format!("the container has no group `{below}`"));
    group::come_near(found.ok_or_else(missing)?).map(Some)
}
