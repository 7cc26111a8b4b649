//! Init: the first process of a container between clone3(2) and execve(2). It carries out a [`Plan`]; each step
//! stands where it does for the reason given beside it.

use super::parent::Streams;
use super::protocol;
use crate::error::{Error, Kind};
use crate::id_mapping::{self, Range, Tier};
use crate::runtime::capabilities::ProcessCapabilities;
use crate::runtime::plan::{Plan, ProcessPlan};
use crate::runtime::rootfs;
use crate::runtime::user::{Database, Identity};
use crate::sys::process::Words;
use crate::sys::socket::Channel;
use crate::sys::{mount, namespace, process, signal, terminal};
use anyhow::{Context, Result};
use rustix::fs::Mode;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
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
    if let Some((uids, gids)) = &plan.id_maps {
        // Until the maps are there, nothing that is made has an owner.
        protocol::await_mapped(channel)?;
        let has_root = |ranges: &[Range]| ranges.iter().any(|range| range.inside == 0);
        if has_root(uids) && has_root(gids) {
            id_mapping::become_root()?;
        }
    }
    // First of all: from here on no mount of ours reaches the host, and none of the host's comes in.
    mount::set_propagation_of_all(false).context("make mounts private")?;
    // While the host's root is still there: sources of mounts are paths of the host.
    let built = rootfs::build(plan)?;
    // Before /proc/sys is made read-only and while /proc is the one of the new namespaces.
    write_sysctls(plan, &built)?;
    set_names(plan)?;
    // Before the root changes, since the terminal is found below the new root by descriptor.
    let terminal = plan
        .process
        .terminal
        .map(|size| open_terminal(&built, channel, size))
        .transpose()?;
    rustix::process::fchdir(&built.root).context("enter the root file system")?;
    mount::pivot_to_current_directory()?;
    // The paths to cover are now the container's.
    rootfs::restrict(plan, &built)?;
    drop(built);
    if plan.namespaces & process::flags::NEW_NET != 0 {
        namespace::bring_loopback_up().context("bring the loopback interface up")?;
    }
    connect_streams(terminal.as_ref().map(AsFd::as_fd), streams)?;
    start_program(&plan.process)
}

fn write_sysctls(plan: &Plan, built: &rootfs::Built) -> Result<()> {
    for (path, value) in &plan.sysctls {
        let path = Path::new("/proc").join(path);
        let file = rootfs::open_for_writing(built.root.as_fd(), &path)
            .with_context(|| format!("open `{}`", path.display()))?;
        rustix::io::write(&file, value.as_bytes())
            .with_context(|| format!("write `{value}` to `{}`", path.display()))?;
    }
    Ok(())
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

/// Makes a terminal of the container's own devpts, shows it as `/dev/console` and hands its other side over.
fn open_terminal(
    built: &rootfs::Built,
    channel: &Channel,
    size: (u16, u16),
) -> Result<std::os::fd::OwnedFd> {
    let root = built.root.as_fd();
    let points = rootfs::make(root, Path::new("/dev/pts"), rootfs::Kind::Directory)?;
    let (controller, terminal) = terminal::open_pair(points.as_fd())?;
    if size != (0, 0) {
        terminal::set_size(controller.as_fd(), size)?;
    }
    let console = rootfs::make(root, Path::new("/dev/console"), rootfs::Kind::File)?;
    let copy = mount::clone_tree(terminal.as_fd(), false).context("bind the terminal")?;
    mount::attach(copy.as_fd(), console.as_fd()).context("bind the terminal on `/dev/console`")?;
    protocol::send_terminal(channel, controller.as_fd())?;
    Ok(terminal)
}

/// Puts the streams at 0, 1 and 2 and lets execve(2) close everything else: no descriptor of the host's leaks into
/// the container (CVE-2024-21626).
fn connect_streams(terminal: Option<BorrowedFd<'_>>, streams: &Streams) -> Result<()> {
    match terminal {
        Some(terminal) => {
            terminal::make_controlling(terminal)?;
            process::place(&[terminal; 3])
        }
        None => {
            // A session of its own, so that signals of the caller's terminal reach the container only when sent.
            rustix::process::setsid().context("setsid")?;
            process::place(&[streams[0].as_fd(), streams[1].as_fd(), streams[2].as_fd()])
        }
    }
    .context("set the standard streams")?;
    process::close_on_exec_from(3).context("close_range")
}

fn start_program(plan: &ProcessPlan) -> Result<std::convert::Infallible> {
    let user = match &plan.user {
        Ok(name) => Database::read().resolve(name, &plan.additional_groups)?,
        Err((uid, gid)) => {
            let groups = plan
                .additional_groups
                .iter()
                .filter_map(|group| group.parse().ok())
                .collect();
            Identity {
                uid: *uid,
                gid: *gid,
                groups,
                home: "/".into(),
            }
        }
    };
    for (resource, soft, hard) in &plan.limits {
        process::set_limit(*resource, *soft, *hard)
            .map_err(|error| limit_refused(*resource, error))?;
    }
    if let Some(adjustment) = plan.oom_score_adjustment {
        std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .context("write `/proc/self/oom_score_adj`")?;
    }
    rustix::process::umask(Mode::from(0o022));
    make_working_directory(&plan.working_directory)?;
    rustix::process::umask(Mode::from(plan.umask));
    // A new session keyring: the caller's keys are not the container's.
    process::join_new_session_keyring();
    if let Some(profile) = &plan.apparmor {
        std::fs::write("/proc/self/attr/apparmor/exec", format!("exec {profile}"))
            .with_context(|| format!("apply the AppArmor profile `{profile}`"))?;
    }
    plan.capabilities.limit()?;
    // Loading a filter needs CAP_SYS_ADMIN unless no_new_privs is set; with it the filter comes last, where it need
    // not allow what follows here.
    if !plan.no_new_privileges {
        load_filter(plan)?;
    }
    take_identity(plan, &user)?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context("set no_new_privs")?;
        load_filter(plan)?;
    }
    enter_working_directory(&plan.working_directory)?;
    signal::reset_all()?;
    execute_program(plan, &user)
}

fn limit_refused(resource: u32, error: Errno) -> Error {
    /// In the order of their numbers (asm-generic/resource.h).
    const NAMES: [&str; 16] = [
        "cpu",
        "fsize",
        "data",
        "stack",
        "core",
        "rss",
        "nproc",
        "nofile",
        "memlock",
        "as",
        "locks",
        "sigpending",
        "msgqueue",
        "nice",
        "rtprio",
        "rttime",
    ];
    let name = NAMES.get(resource as usize).unwrap_or(&"?");
    let failure = Error::new(
        Kind::Denied,
        format!("set the resource limit `{name}`: {error}"),
    );
    match error {
        Errno::PERM => {
            failure.hint("a hard limit cannot be raised above the caller's own: see `ulimit -H -a`")
        }
        _ => failure,
    }
}

fn load_filter(plan: &ProcessPlan) -> Result<()> {
    plan.seccomp.as_ref().map_or(Ok(()), |filter| {
        filter.load().context("load the seccomp filter")
    })
}

fn take_identity(plan: &ProcessPlan, user: &Identity) -> Result<()> {
    let capabilities = match user.uid {
        0 => plan.capabilities,
        // As execve(2) of a program without file capabilities would leave them.
        _ => ProcessCapabilities {
            effective: plan.capabilities.ambient,
            permitted: plan.capabilities.ambient,
            ..plan.capabilities
        },
    };
    let denied = |error: Errno, what: &str| {
        match error {
        Errno::INVAL => anyhow::Error::from(
            Error::new(Kind::Denied, format!("{what} {}:{} is not mapped in this user namespace", user.uid, user.gid))
                .hint("give yourself subordinate ids: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"),
        ),
        error => anyhow::Error::from(error).context(format!("become {what} {}:{}", user.uid, user.gid)),
    }
    };
    match process::set_groups(&user.groups) {
        // With a single id setgroups(2) is forbidden for good, and there is no group to give up.
        Err(Errno::PERM) if plan.tier == Tier::Single => {}
        result => result.map_err(|error| denied(error, "the groups of user"))?,
    }
    if plan.tier != Tier::Single {
        process::set_ids(user.uid, user.gid).map_err(|error| denied(error, "user"))?;
    }
    // A change of the user id clears it, so it comes after: without its monitor nobody would keep the container's
    // output and exit status.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("prctl PR_SET_PDEATHSIG")?;
    capabilities.apply()
}

/// As root, since the image may have left no room for the user to make it.
fn make_working_directory(path: &Path) -> Result<()> {
    match rustix::fs::stat(path) {
        Err(Errno::NOENT) => std::fs::create_dir_all(path),
        _ => Ok(()),
    }
    .with_context(|| format!("create the working directory `{}`", path.display()))
}

fn enter_working_directory(path: &Path) -> Result<()> {
    rustix::process::chdir(path).map_err(|error| {
        Error::new(
            Kind::CannotExecute,
            format!(
                "cannot enter the working directory `{}`: {error}",
                path.display()
            ),
        )
    })?;
    // A directory outside the root would be named without a leading slash (getcwd(2)); reached through a descriptor
    // of the host's it would be a way out (CVE-2024-21626).
    let current = rustix::process::getcwd(Vec::new()).context("getcwd")?;
    match current.as_bytes().first() {
        Some(b'/') => Ok(()),
        _ => Err(Error::new(
            Kind::Denied,
            format!(
                "the working directory `{}` is outside the container",
                path.display()
            ),
        )
        .into()),
    }
}

/// Tries the program where it is named, or in each directory of the container's PATH (execvp(3)).
fn execute_program(plan: &ProcessPlan, user: &Identity) -> Result<std::convert::Infallible> {
    let name = &plan.arguments[0];
    let mut environment = plan.environment.clone();
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={}", user.home));
    }
    let path = environment
        .iter()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or_default()
        .to_owned();
    let (arguments, environment) = (Words::new(&plan.arguments)?, Words::new(&environment)?);
    let candidates: Vec<String> = match name.contains('/') {
        true => vec![name.clone()],
        false => path
            .split(':')
            .map(|directory| {
                format!(
                    "{}/{name}",
                    if directory.is_empty() { "." } else { directory }
                )
            })
            .collect(),
    };
    let mut worst = Errno::NOENT;
    for candidate in &candidates {
        let program =
            CString::new(candidate.as_str()).context("the program's name contains a NUL byte")?;
        match process::execute(&program, &arguments, &environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            error => return Err(not_executable(candidate, error)),
        }
    }
    if worst == Errno::ACCESS {
        return Err(not_executable(name, worst));
    }
    let missing = match (name.contains('/'), interpreter_of(name)) {
        (false, _) if name.is_empty() => "exec: \"\": the command is empty".to_owned(),
        (false, _) => format!("exec: \"{name}\": executable file not found in $PATH"),
        (true, None) => format!("exec: \"{name}\": stat {name}: no such file or directory"),
        (true, Some(interpreter)) => {
            format!("exec: \"{name}\": its interpreter \"{interpreter}\" is not in the image")
        }
    };
    Err(Error::new(Kind::CommandNotFound, missing).into())
}

fn not_executable(name: &str, error: Errno) -> anyhow::Error {
    let reason = match error {
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::NOEXEC => "exec format error".to_owned(),
        Errno::ISDIR => "is a directory".to_owned(),
        error => error.to_string(),
    };
    let failure = Error::new(Kind::CannotExecute, format!("exec: \"{name}\": {reason}"));
    match error {
        Errno::NOEXEC => {
            failure.hint("it is built for another architecture, or is a script without a `#!` line")
        }
        _ => failure,
    }
    .into()
}

/// What a script that exists would be run by, or the loader of a dynamic program.
fn interpreter_of(path: &str) -> Option<String> {
    use std::io::Read;
    let mut start = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(256)
        .read_to_end(&mut start)
        .ok()?;
    let text = String::from_utf8_lossy(&start).into_owned();
    match text.strip_prefix("#!") {
        Some(line) => line.split_whitespace().next().map(str::to_owned),
        None => Some("the dynamic loader".to_owned()),
    }
}
