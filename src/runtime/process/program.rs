//! The last part of the way to a program inside a container, the same for its first process ([`super::init`]) and
//! for every later one ([`super::exec`]): streams, identity, privileges, execve(2). The process is in the
//! container's namespaces and root by now; each step stands where it does for the reason given beside it.

use super::protocol;
use crate::error::{Error, Kind};
use crate::id_mapping::Tier;
use crate::runtime::capabilities::ProcessCapabilities;
use crate::runtime::plan::{ProcessPlan, limit_name};
use crate::runtime::user::{Database, Identity};
use crate::sys::process::Words;
use crate::sys::socket::Channel;
use crate::sys::{descriptor, process, signal, terminal};
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// Puts the streams at 0, 1 and 2 and lets execve(2) close everything else: no descriptor of the host's leaks into
/// the container (CVE-2024-21626).
pub fn connect_streams(
    terminal: Option<BorrowedFd<'_>>,
    streams: [BorrowedFd<'_>; 3],
) -> Result<()> {
    match terminal {
        Some(terminal) => {
            terminal::make_controlling(terminal)?;
            descriptor::place(&[terminal; 3])
        }
        None => {
            // A session of its own, so that signals of the caller's terminal reach the container only when sent.
            rustix::process::setsid().context("setsid")?;
            descriptor::place(&streams)
        }
    }
    .context("set the standard streams")?;
    descriptor::close_on_exec_from(3).context("close_range")
}

/// What is set by writing to `/proc/self`, and stays across fork(2): to be called while that is surely the kernel's,
/// not something that a container has put in its place (CVE-2019-16884).
pub fn set_attributes(plan: &ProcessPlan) -> Result<()> {
    if let Some(adjustment) = plan.oom_score_adjustment {
        std::fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .map_err(|error| adjustment_refused(adjustment, &error))?;
    }
    if let Some(profile) = &plan.apparmor {
        std::fs::write("/proc/self/attr/apparmor/exec", format!("exec {profile}"))
            .with_context(|| format!("apply the AppArmor profile `{profile}`"))?;
    }
    Ok(())
}

/// Becomes what the plan says and executes its program; returns only when that failed. `channel` leads to the parent.
pub fn start(plan: &ProcessPlan, channel: &Channel) -> Result<std::convert::Infallible> {
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
    give_streams(plan, user.uid);
    for (resource, soft, hard) in &plan.limits {
        process::set_limit(*resource, *soft, *hard)
            .map_err(|error| limit_refused(*resource, error))?;
    }
    rustix::process::umask(Mode::from(plan.umask));
    // A new session keyring: the caller's keys are not the container's.
    process::join_new_session_keyring();
    plan.capabilities.limit()?;
    // Loading a filter needs CAP_SYS_ADMIN unless no_new_privs is set; with it the filter comes last, where it need
    // not allow what follows here.
    if !plan.no_new_privileges {
        load_filter(plan, channel)?;
    }
    take_identity(plan, &user)?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context("set no_new_privs")?;
        load_filter(plan, channel)?;
    }
    enter_working_directory(&plan.working_directory)?;
    signal::reset_all()?;
    execute_program(plan, &user)
}

/// The program may open its own streams again, by `/dev/stdout` for example, which checks the owner of the pipe or
/// terminal. Not that of a device, which is everybody's.
fn give_streams(plan: &ProcessPlan, uid: u32) {
    for stream in [stdin(), stdout(), stderr()] {
        let kind = fstat(stream).map(|found| FileType::from_raw_mode(found.st_mode));
        let own = match kind {
            Ok(FileType::Fifo | FileType::Socket) => true,
            Ok(FileType::CharacterDevice) => plan.terminal.is_some(),
            _ => false,
        };
        if own {
            // With a single id there is nobody to give it to; the program can use what is open all the same.
            let _ = fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
}

fn adjustment_refused(adjustment: i32, error: &std::io::Error) -> Error {
    let failure = Error::new(
        Kind::Denied,
        format!("set the OOM score adjustment {adjustment}: {error}"),
    );
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => failure.hint(
            "only root may take it below the caller's own: see `/proc/self/oom_score_adj`, or go without: \
             --limits=best-effort",
        ),
        _ => failure,
    }
}

fn limit_refused(resource: u32, error: Errno) -> Error {
    let name = limit_name(resource);
    let failure = Error::new(
        Kind::Denied,
        format!("set the resource limit `{name}`: {error}"),
    );
    match error {
        Errno::PERM => {
            failure.hint("a hard limit cannot be raised above the caller's own: see `ulimit -H -a`, or go without: --limits=best-effort")
        }
        _ => failure,
    }
}

fn load_filter(plan: &ProcessPlan, channel: &Channel) -> Result<()> {
    let Some(filter) = &plan.seccomp else {
        return Ok(());
    };
    if filter.agent().is_some() {
        // What follows waits for the parent, and must not do so for ever; if it is gone, the message says so.
        die_with_parent()?;
        let number = descriptor::next_number().context("reserve a descriptor")?;
        protocol::send_listener(channel, number)?;
    }
    filter.load().context("load the seccomp filter")
}

fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("prctl PR_SET_PDEATHSIG")
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
    die_with_parent()?;
    capabilities.apply()
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
