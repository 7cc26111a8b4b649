//! Init: the first process of a container between clone3(2) and execve(2). It carries out a [`Plan`]; each step
//! stands where it does for the reason given beside it.

use super::parent::Streams;
use super::program::{self, Company, Confined};
use super::protocol;
use super::{gate, nested};
use crate::cgroup;
use crate::id_mapping::sandbox;
use crate::paths;
use crate::runtime::namespaces::Joined;
use crate::runtime::plan::{Gate, Plan, Sources, UserNamespace};
use crate::runtime::rootfs;
use crate::sys::process::{self, flags};
use crate::sys::procfs::Processes;
use crate::sys::socket::Channel;
use crate::sys::{descriptor, mount, namespace, openat2, root, signal};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Runs in the child; returns the exit code only when the program could not be executed.
pub fn run(plan: &Plan, channel: &Channel, streams: &Streams) -> u8 {
    let error = match execute(plan, channel, streams) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    protocol::send_failure(channel, &error);
    125
}

fn execute(plan: &Plan, channel: &Channel, streams: &Streams) -> Result<std::convert::Infallible> {
    let mounts = plan.held.iter().find(|joined| joined.is_of_mounts());
    let mut joined = plan
        .held
        .iter()
        .filter(|joined| joined.of_children().is_none() && !joined.is_of_mounts());
    joined.try_for_each(Joined::enter)?;
    // While mounts are in the groups that the parent's are in.
    let inside = match plan.binds_inside {
        true => rootfs::trees::of(&plan.mounts, Sources::new(), None, plan.process.tier)?,
        false => Vec::new(),
    };
    let trees = match plan.binds_inside {
        true => &inside,
        false => &plan.trees,
    };
    // The parent's own, among them a directory of the host, would be within reach of every path that is followed here.
    let streams = streams.each_ref().map(AsFd::as_fd);
    let mut needed = vec![streams[0], streams[1], streams[2], channel.as_fd()];
    needed.extend(trees.iter().flatten().map(AsFd::as_fd));
    needed.extend(plan.gate.iter().filter_map(Gate::socket).map(AsFd::as_fd));
    needed.extend(plan.process.sockets.all());
    needed.extend(plan.hooks.files());
    needed.extend(mounts.map(AsFd::as_fd));
    descriptor::close_all_but(&needed).context("close_range")?;
    if plan.cgroup.is_some() && plan.namespaces & flags::NEW_CGROUP != 0 {
        cgroup::make_own_root()?;
    }
    // First of all: from here on no mount of ours reaches the host, and none of the host's comes in, unless they are to.
    if !plan.inherits_mounts() {
        mount::set_propagation_of_all(rootfs::follows_host(plan)).context("make mounts private")?;
    }
    process::forget_environment();
    let (mut built, processes) = make_root(plan, trees, channel)?;
    // Before /proc/sys is made read-only.
    write_sysctls(plan, &processes)?;
    set_names(plan)?;
    // Before the root changes, since the terminal is found below the new root by descriptor.
    let terminal = plan
        .process
        .terminal
        .map(|size| open_terminal(&built, size, channel))
        .transpose()?;
    let mut awaits_network = plan.awaits_network;
    if plan.hooks.of_runtime().next().is_some() {
        // Before, since hooks may look for the network.
        if std::mem::take(&mut awaits_network) {
            protocol::await_connected(channel)?;
        }
        protocol::await_hooks(channel)?;
    }
    run_hooks(plan, channel)?;
    rustix::process::fchdir(&built.root).context("enter the root file system")?;
    match plan.moves_root {
        // The root of the namespace is that of its maker.
        _ if plan.inherits_mounts() => root::stay_below_current_directory()?,
        false => root::pivot_to_current_directory().map_err(sandbox::explain)?,
        true => root::move_current_directory()?,
    }
    // While there is something that can be written to.
    make_working_directory(&plan.process.working_directory)?;
    // The paths to cover are now the container's.
    rootfs::restrict(plan, &mut built)?;
    drop(built);
    if plan.namespaces & flags::NEW_NET != 0 {
        namespace::bring_loopback_up().context("bring the loopback interface up")?;
    }
    if awaits_network {
        protocol::await_connected(channel)?;
    }
    program::connect_streams(terminal.as_ref().map(AsFd::as_fd), streams)?;
    if plan.user.is_none() {
        program::set_attributes(&plan.process, &processes)?;
    }
    // Before a path of the container's is followed again: this is the host's.
    drop(processes);
    drop(terminal);
    drop(inside);
    settle(plan, channel)
}

/// Makes the root file system, with `trees` bound into it. Beside it comes the process file system that can be written to.
fn make_root(
    plan: &Plan,
    trees: &[Option<OwnedFd>],
    channel: &Channel,
) -> Result<(rootfs::Built, Processes)> {
    // While it is the host's, and nothing that the container has put there.
    let processes = Processes::open()?;
    // While the host's root is still there, and as whoever started us: sources of mounts are paths of the host.
    let mut pieces = rootfs::open(plan)?;
    if let Some(place) = &plan.place {
        pieces.is_for(place)?;
    }
    if let Some(mounts) = plan.held.iter().find(|joined| joined.is_of_mounts()) {
        mounts.enter()?;
        mount::set_propagation_of_all(rootfs::follows_host(plan)).context("make mounts private")?;
        pieces.is_for(Path::new("/"))?;
    }
    if let Some(UserNamespace::Held(_, owner)) = &plan.user {
        nested::become_owner(*owner)?;
    }
    let mut built = rootfs::build(plan, trees, pieces)?;
    // The container's own, where it is a new one, can be written to even where the host's cannot.
    let processes = match built.processes.take() {
        Some(own) => {
            if plan.namespaces & flags::NEW_PID != 0 && own.is_same(&processes)? {
                protocol::send_warning(channel, FOREIGN_PROCESSES)?;
            }
            drop(processes);
            own
        }
        None => processes,
    };
    Ok((built, processes))
}

/// Becomes what the program is to be, and that itself once the container is to start.
fn settle(plan: &Plan, channel: &Channel) -> Result<std::convert::Infallible> {
    if let Some(gate) = &plan.gate {
        gate::leave_behind(plan, gate, channel)?;
    }
    if plan.gate.as_ref().and_then(Gate::socket).is_some() {
        // Whoever is to end a container that was never started sends one, and process 1 would not hear of it.
        signal::end_by_requests();
    }
    // Processes that it shares a pid namespace with may have its ids soon.
    process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
    program::set_limits(&plan.process)?;
    let confined = program::confine(&plan.process, Company::Alone, channel)?;
    match &plan.gate {
        Some(gate) => gate::pass(plan, gate, confined, channel),
        None => become_program(plan, confined, channel),
    }
}

/// The rest of the way, once the container is to start.
pub(super) fn become_program(
    plan: &Plan,
    mut confined: Confined,
    channel: &Channel,
) -> Result<std::convert::Infallible> {
    program::name(&plan.process)?;
    if plan.hooks.of_container().next().is_some() {
        // It holds for them, too, as with runc.
        confined.filter(&plan.process, channel)?;
        plan.hooks
            .start_container(&confined.environment(&plan.process))?;
    }
    program::execute(&plan.process, confined, channel)
}

/// Those of its creation: while one of them runs nobody listens for the end of the maker, and nobody would ever end what
/// is recorded nowhere.
fn run_hooks(plan: &Plan, channel: &Channel) -> Result<()> {
    if plan.hooks.of_creation().next().is_none() {
        return Ok(());
    }
    program::die_with_parent(channel)?;
    plan.hooks.create_container()?;
    rustix::process::set_parent_process_death_signal(None).context("prctl PR_SET_PDEATHSIG")
}

/// mount(2) of a new process file system would show what the one that is there hides (user_namespaces(7)).
const FOREIGN_PROCESSES: &str = "parts of /proc are hidden where onggi runs, and so the kernel mounts no new one: the container sees the processes \
     around it, under the numbers that they have there; run what is around with --security-opt systempaths=unconfined \
     (podman: unmask=ALL, Kubernetes: procMount Unmasked)";

fn write_sysctls(plan: &Plan, processes: &Processes) -> Result<()> {
    let mut sysctls = plan.sysctls.iter();
    sysctls.try_for_each(|(path, value)| processes.write(path, value))
}

fn set_names(plan: &Plan) -> Result<()> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes())
            .with_context(|| format!("set the host name `{name}`"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes())
            .with_context(|| format!("set the domain name `{name}`"))?;
    }
    Ok(())
}

/// Makes a terminal and shows it as `/dev/console`.
fn open_terminal(built: &rootfs::Built, size: (u16, u16), channel: &Channel) -> Result<OwnedFd> {
    let root = built.root.as_fd();
    let points = rootfs::make(root, Path::new("/dev/pts"), rootfs::Kind::Directory)?;
    let terminal = program::open_terminal(points.as_fd(), size, channel)?;
    let console = rootfs::make(root, Path::new("/dev/console"), rootfs::Kind::File)?;
    let copy = mount::clone_tree(terminal.as_fd(), false).context("bind the terminal")?;
    mount::attach(copy.as_fd(), console.as_fd()).context("bind the terminal on `/dev/console`")?;
    Ok(terminal)
}

/// As root, since the image may have left no room for the user to make it. Not by its path: through `/proc/self/fd`
/// that could lead to the host, some of whose directories are open until execve(2).
pub(super) fn make_working_directory(path: &Path) -> Result<()> {
    rustix::process::umask(Mode::from(0o022));
    let root = openat2::open_root(Path::new("/")).context("open `/`")?;
    let name = path.as_os_str().as_bytes();
    match openat2::open_in_root(&root, name, OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => {
            rootfs::make(root.as_fd(), &paths::cleaned(path), rootfs::Kind::Directory)
                .map(drop)
                .with_context(|| format!("create the working directory `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
