//! The parent's side of starting a container.

use super::{init, nested, protocol};
use crate::runtime::namespaces::Joined;
use crate::runtime::plan::{Bundle, Plan};
use crate::runtime::seccomp::{Agent, Filter};
use crate::runtime::{net_devices, resctrl, rootfs};
use crate::sys::namespace;
use crate::sys::process::{self, Child, flags};
use crate::sys::procfs::Processes;
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use std::fs::File;
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
    /// Where the calls come that the parent itself answers for (seccomp_unotify(2)).
    pub listener: Option<OwnedFd>,
    /// Leads to a first process that waits at its gate, and ends with the caller until it is let go.
    pub held: Option<Channel>,
}

impl Started {
    /// A program that was started beside a container's.
    pub(super) fn beside(child: Child, terminal: Option<OwnedFd>, warnings: Vec<String>) -> Self {
        Self {
            child,
            terminal,
            warnings,
            listener: None,
            held: None,
        }
    }

    /// Lets a first process outlive the caller, once it is recorded.
    pub fn let_go(&mut self) -> Result<()> {
        self.held
            .take()
            .map_or(Ok(()), |held| protocol::send_connected(&held))
    }
}

/// Connects the network namespace of a first process to something, while that makes its root file system.
pub type Connect<'a> = dyn FnMut(&Child) -> Result<()> + 'a;

/// Starts a bundle. Returns once its program has been executed, or waits at the gate of the bundle, or the reason why
/// not is known.
///
/// `streams` are used where no pseudo-terminal is asked for; the program is not executed before `connect` has done its
/// work. The calling process must have one thread.
pub fn start(
    bundle: Bundle,
    streams: &Streams,
    connect: Option<&mut Connect<'_>>,
) -> Result<Started> {
    let mut plan = Plan::new(bundle)?;
    plan.awaits_network =
        connect.is_some() || !plan.net_devices.is_empty() || plan.resctrl.is_some();
    // Whoever is root inside another container may have all power there and make no device node all the same.
    plan.user_namespace |= !namespace::is_initial_user();
    let (ours, theirs) = Channel::pair()?;
    let user = plan.user.take().map(nested::hold).transpose()?;
    let joined = plan.joined.iter();
    let held = joined.map(|(flag, path)| Joined::open(*flag, path));
    plan.held = held.collect::<Result<_>>()?;
    if !plan.binds_inside {
        let user = user.as_ref().map(|(namespace, _)| namespace.as_fd());
        rootfs::trees::make(&mut plan, user)?;
    }
    let child = match user {
        // Nobody returns to namespaces that lie outside of the own user namespace.
        None if plan.user_namespace && leaves_namespaces(&plan) => {
            nested::through_joiner(&ours, || {
                clone_init(&plan, flags::SIBLING, &theirs, streams)
            })?
        }
        None => clone_init(&plan, 0, &theirs, streams)?,
        Some(user) => nested::clone_init(&mut plan, user, [&ours, &theirs], streams)?,
    };
    drop(theirs);
    let joined = || {
        let group = plan.resctrl.as_ref();
        let made = group.map(|group| group.enter(child.pid)).transpose()?;
        connect.map_or(Ok(()), |connect| connect(&child))?;
        net_devices::hand_over(&plan, &child)?;
        protocol::send_connected(&ours)?;
        Ok(made)
    };
    let made = match plan.awaits_network.then(joined).transpose() {
        Ok(made) => made.flatten(),
        Err(error) => {
            child.end();
            return Err(error);
        }
    };
    let agent = plan.process.seccomp.as_ref().and_then(Filter::agent);
    let mut hooks = || plan.hooks.create_runtime(child.pid);
    match protocol::await_start(&ours, &child, agent, &mut hooks, protocol::PATIENCE) {
        Ok((terminal, warnings)) => Ok(Started {
            child,
            terminal,
            warnings,
            listener: agent.and_then(Agent::listener),
            held: plan.gate.is_some().then_some(ours),
        }),
        Err(error) => {
            // It has said why and ends by itself, or waits for an agent that is not there; it must not be left as a
            // zombie.
            child.end();
            made.into_iter().for_each(resctrl::Made::undo);
            Err(error)
        }
    }
}

/// Whether the process that makes the first one is in other namespaces for its children meanwhile.
fn leaves_namespaces(plan: &Plan) -> bool {
    let mut held = plan.held.iter();
    plan.namespaces & flags::NEW_TIME != 0 || held.any(|joined| joined.of_children().is_some())
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
    let clone = || {
        process::clone3_into(namespaces & !flags::NEW_TIME | more, cgroup, || {
            init::run(plan, channel, streams)
        })
        .context("create the container's namespaces")
    };
    // A joiner, whose child is a sibling, has nothing else to do, and may not be allowed to return.
    let returns = more & flags::SIBLING == 0;
    let joined: Vec<_> = plan.held.iter().filter_map(Joined::of_children).collect();
    let enter = || {
        let mut joined = plan
            .held
            .iter()
            .filter(|joined| joined.of_children().is_some());
        joined.try_for_each(Joined::enter)
    };
    match (joined.as_slice(), namespaces & flags::NEW_TIME) {
        ([], 0) => clone(),
        (joined, 0) => with_children_in(joined, returns, enter, clone),
        ([], _) => in_time_namespace(&plan.time_offsets, returns, clone),
        (joined, _) => with_children_in(joined, returns, enter, || {
            in_time_namespace(&plan.time_offsets, returns, clone)
        }),
    }
}

/// Lets the children that `clone` makes live in a new time namespace: offsets can be set only before the first one is
/// there, and only for children (time_namespaces(7)).
fn in_time_namespace(
    offsets: &str,
    returns: bool,
    clone: impl FnOnce() -> Result<Child>,
) -> Result<Child> {
    let enter = || {
        namespace::unshare(flags::NEW_TIME).context("unshare the time namespace")?;
        match offsets {
            "" => Ok(()),
            offsets => Processes::open()?.write("self/timens_offsets", offsets),
        }
    };
    let time = [(flags::NEW_TIME, "/proc/self/ns/time")];
    with_children_in(&time, returns, enter, clone)
}

/// Lets the children that `clone` makes live in other namespaces of these kinds, given by their flags and the files of the
/// own ones, once `enter` has led there; afterwards there are none for them but the own ones again.
fn with_children_in(
    kinds: &[(u64, &str)],
    returns: bool,
    enter: impl FnOnce() -> Result<()>,
    clone: impl FnOnce() -> Result<Child>,
) -> Result<Child> {
    let open = |(flag, path): &(u64, &str)| {
        let own = File::open(path).with_context(|| format!("open `{path}`"))?;
        Ok::<_, anyhow::Error>((*flag, own))
    };
    let own = kinds.iter().map(open).collect::<Result<Vec<_>>>()?;
    let child = enter().and_then(|()| clone());
    if !returns {
        return child;
    }
    let mut own = own.iter();
    let returned = own.try_for_each(|(flag, own)| namespace::join(own.as_fd(), *flag));
    match (child, returned.context("return to the own namespaces")) {
        (Ok(child), Err(error)) => {
            child.end();
            Err(error)
        }
        (child, _) => child,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::capability;
    use rustix::io::Errno;
    use rustix::time::{ClockId, clock_gettime};

    #[test]
    fn a_child_is_not_left_where_there_is_no_way_back() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let outer = process::clone3(0, || {
            let mut child = None;
            let stranded = in_time_namespace("", true, || {
                let made = process::clone3(0, || {
                    loop {
                        std::thread::park();
                    }
                })?;
                let pidfd = made.pidfd.try_clone()?;
                child = Some(Child { pidfd, ..made });
                // setns(2) takes CAP_SYS_ADMIN.
                capability::set(capability::Sets::default())?;
                Ok(made)
            });
            let is_gone = child.is_some_and(|child| child.wait() == Err(Errno::CHILD));
            u8::from(stranded.is_ok()) + 2 * u8::from(!is_gone)
        });
        assert_eq!(outer.unwrap().wait().unwrap().code(), 0);
    }

    #[test]
    fn a_child_lives_in_a_pid_namespace_that_is_there() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // In a process of its own, since it needs one thread.
        let outer = process::clone3(0, || {
            let idle = process::clone3(flags::NEW_PID, || {
                loop {
                    std::thread::park();
                }
            });
            let idle = idle.unwrap();
            let path = format!("/proc/{}/ns/pid", idle.pid);
            let joined = Joined::open(flags::NEW_PID, path.as_ref()).unwrap();
            let kinds = [joined.of_children().unwrap()];
            let pid = || std::process::id() as u8;
            let look = || Ok(process::clone3(0, pid)?);
            let inside = with_children_in(&kinds, true, || joined.enter(), look);
            // The first one there is 1.
            let second = inside.is_ok_and(|child| child.wait().is_ok_and(|end| end.code() == 2));
            let own = |child: &Child| std::fs::read_link(format!("/proc/{}/ns/pid", child.pid));
            let later = process::clone3(0, || {
                loop {
                    std::thread::park();
                }
            });
            let later = later.unwrap();
            let is_back = own(&later).unwrap() == std::fs::read_link("/proc/self/ns/pid").unwrap();
            later.end();
            idle.end();
            u8::from(!second) + 2 * u8::from(!is_back)
        });
        assert_eq!(outer.unwrap().wait().unwrap().code(), 0);
    }

    #[test]
    fn clocks_of_a_time_namespace_are_ahead() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let ahead =
            |since: i64| (1000..2000).contains(&(clock_gettime(ClockId::Boottime).tv_sec - since));
        // In a process of its own, since it needs one thread.
        let outer = process::clone3(0, || {
            let now = clock_gettime(ClockId::Boottime).tv_sec;
            let offsets = "boottime 1000 0\nmonotonic 1000 0\n";
            let look = || Ok(process::clone3(0, || u8::from(!ahead(now)))?);
            let inner = in_time_namespace(offsets, true, look);
            let is_ahead = inner.is_ok_and(|child| child.wait().is_ok_and(|end| end.code() == 0));
            let later = process::clone3(0, || u8::from(ahead(now)));
            let is_back = later.is_ok_and(|child| child.wait().is_ok_and(|end| end.code() == 0));
            u8::from(!is_ahead) + 2 * u8::from(!is_back)
        });
        assert_eq!(outer.unwrap().wait().unwrap().code(), 0);
    }
}
