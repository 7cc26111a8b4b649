//! The last part of the way to a program inside a container, the same for its first process ([`super::init`]) and
//! for every later one ([`super::exec`]): streams, identity, privileges, execve(2). The process is in the
//! container's namespaces and root by now; each step stands where it does for the reason given beside it.

use super::{protocol, unmapped};
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::Tier;
use crate::runtime::capabilities::{self, CapabilitySet, ProcessCapabilities};
use crate::runtime::plan::{ProcessPlan, Sockets, limit_name};
use crate::runtime::seccomp::Filter;
use crate::runtime::user::{Database, Identity};
use crate::sys::process::Words;
use crate::sys::procfs::Processes;
use crate::sys::socket::Channel;
use crate::sys::{descriptor, process, signal, terminal};
use anyhow::{Context, Result, bail};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, Uid, accessat, fchown, fstat};
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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

/// Makes a terminal of the container's own devpts, which is mounted at `points`, and hands its other side over.
pub fn open_terminal(
    points: BorrowedFd<'_>,
    size: (u16, u16),
    channel: &Channel,
) -> Result<OwnedFd> {
    let (controller, terminal) = terminal::open_pair(points)?;
    if size != (0, 0) {
        terminal::set_size(controller.as_fd(), size)?;
    }
    protocol::send_terminal(channel, controller.as_fd())?;
    Ok(terminal)
}

/// What is set by writing to `/proc/self`, and stays across fork(2).
pub fn set_attributes(plan: &ProcessPlan, processes: &Processes) -> Result<()> {
    if let Some(adjustment) = plan.oom_score_adjustment {
        processes
            .write("self/oom_score_adj", &adjustment.to_string())
            .map_err(|error| adjustment_refused(adjustment, &error))?;
    }
    plan.labels.apply(processes)
}

/// Who else there is when a process gives up its privileges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nobody who could look into it.
    Alone,
    /// Soon the container's processes, who may trace with CAP_SYS_PTRACE whatever they see.
    Container,
}

impl Company {
    /// Whether the filter is loaded while there are privileges. Loading it needs CAP_SYS_ADMIN unless no_new_privs is
    /// set; with it the filter comes last, where it need not allow what is done before, if nobody can keep the process
    /// from loading it.
    fn filters_early(self, plan: &ProcessPlan) -> bool {
        let is_seen = self == Self::Container && may_be_traced(plan);
        // Only its maker can hand the listener of an agent over, who is not there any more at the end.
        let ends_late = plan.outlives_maker && asks_agent(plan);
        !plan.no_new_privileges || is_seen || ends_late
    }
}

/// Whether somebody answers for some calls of the program.
pub fn asks_agent(plan: &ProcessPlan) -> bool {
    plan.seccomp.as_ref().and_then(Filter::agent).is_some()
}

/// Whether the container's processes may trace one that they see (ptrace(2), "Ptrace access mode checking").
pub fn may_be_traced(plan: &ProcessPlan) -> bool {
    const TRACE: CapabilitySet = capabilities::named("SYS_PTRACE");
    plan.capabilities.bounding.contains(TRACE)
}

/// Raises the hard limits that the program is to have above ours, which takes privileges.
pub fn raise_limits(plan: &ProcessPlan) -> Result<()> {
    for (resource, _, hard) in &plan.limits {
        let refused = |error| limit_refused(*resource, error);
        let (soft, now) = process::limit(*resource).map_err(refused)?;
        if *hard > now {
            process::set_limit(*resource, soft, *hard).map_err(refused)?;
        }
    }
    Ok(())
}

/// Sets the limits of the program; those of its maker end here.
pub fn set_limits(plan: &ProcessPlan) -> Result<()> {
    descriptor::restore_limit().context("restore the limit of open files")?;
    for (resource, soft, hard) in &plan.limits {
        process::set_limit(*resource, *soft, *hard)
            .map_err(|error| limit_refused(*resource, error))?;
    }
    // With none left, nobody could be told what goes wrong from here on.
    let spare = rustix::io::dup(rustix::stdio::stdin());
    spare.map(drop).map_err(|_| {
        bad_input("the limit of open files is too small to start a program").hint(
            "`--ulimit nofile`, or `process.rlimits` of config.json: RLIMIT_NOFILE is to be 16 at least",
        )
    })?;
    Ok(())
}

/// Becomes what the plan says: everything that takes privileges, then they are given up. The streams are in place.
/// What it leaves to [`execute`] is harmless. `channel` leads to the parent.
pub fn confine(plan: &ProcessPlan, company: Company, channel: &Channel) -> Result<Confined> {
    // As runc: root of the container enters a directory of others too, and no filter forbids it yet.
    let is_inside = enter_working_directory(&plan.working_directory).is_ok();
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
                home: match has_home(&plan.environment) {
                    true => String::new(),
                    false => Database::read().home(*uid),
                },
            }
        }
    };
    // To setresuid(2) that number says that the id stays as it is: root's.
    if [user.uid, user.gid].contains(&u32::MAX) {
        let message = format!(
            "user {}:{}: {} is nobody's id",
            user.uid,
            user.gid,
            u32::MAX
        );
        return Err(bad_input(message).into());
    }
    give_streams(plan, user.uid);
    rustix::process::umask(Mode::from(plan.umask));
    // Both are refused by Docker's default filter, and the first takes CAP_SYS_NICE.
    plan.scheduling.apply()?;
    if !plan.keeps_keyring {
        // The caller's keys are not the container's.
        process::join_new_session_keyring();
    }
    let (capabilities, warnings) = plan.capabilities.to_be_had()?;
    let mut warnings = warnings.iter();
    warnings.try_for_each(|text| protocol::send_warning(channel, text))?;
    capabilities.limit()?;
    let mut confined = Confined {
        home: user.home.clone(),
        is_inside,
        is_filtered: false,
    };
    if company.filters_early(plan) {
        confined.filter(plan, channel)?;
    }
    take_identity(plan, &user, capabilities)?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).context("set no_new_privs")?;
    }
    Ok(confined)
}

/// A process with the privileges of its program only.
pub struct Confined {
    /// The home directory of its user.
    home: String,
    /// It is in the working directory already.
    is_inside: bool,
    /// It has the filter of its program already.
    is_filtered: bool,
}

impl Confined {
    /// The variables of its program, but for those of sockets.
    pub fn environment(&self, plan: &ProcessPlan) -> Vec<String> {
        let mut environment = plan.environment.clone();
        if !has_home(&environment) {
            environment.retain(|entry| entry != "HOME=");
            environment.push(format!("HOME={}", self.home));
        }
        environment
    }

    /// Loads the filter of its program, unless that is done.
    pub fn filter(&mut self, plan: &ProcessPlan, channel: &Channel) -> Result<()> {
        let is_filtered = std::mem::replace(&mut self.is_filtered, true);
        let Some(filter) = plan.seccomp.as_ref().filter(|_| !is_filtered) else {
            return Ok(());
        };
        if filter.agent().is_some() {
            if !plan.outlives_maker {
                // What follows waits for the parent, and must not do so for ever.
                die_with_parent(channel)?;
            }
            let number = descriptor::next_number().context("reserve a descriptor")?;
            protocol::send_listener(channel, number)?;
        }
        filter.load().context("load the seccomp filter")
    }
}

/// The rest of the way, with the privileges of the program only; returns only when that failed.
pub fn execute(
    plan: &ProcessPlan,
    mut confined: Confined,
    channel: &Channel,
) -> Result<std::convert::Infallible> {
    let moved = hand_over(&plan.sockets, channel)?;
    let channel = moved.as_ref().unwrap_or(channel);
    // Neither a change of the user id nor a fork leaves it standing: without its monitor nobody would keep the
    // container's output and exit status.
    if !plan.outlives_maker {
        die_with_parent(channel)?;
    }
    confined.filter(plan, channel)?;
    if !confined.is_inside {
        enter_working_directory(&plan.working_directory)?;
    }
    signal::reset_all()?;
    execute_program(plan, confined.environment(plan))
}

/// Puts them where the program looks for them; the channel, which may be there, is another one from then on.
fn hand_over(sockets: &Sockets, channel: &Channel) -> Result<Option<Channel>> {
    let Some(last) = sockets.numbers().last() else {
        return Ok(None);
    };
    let moved = descriptor::above(channel.as_fd(), last + 1).context("duplicate a descriptor")?;
    let placed: Vec<_> = sockets.numbers().zip(sockets.all()).collect();
    descriptor::place_at(&placed).context("hand over sockets")?;
    Ok(Some(Channel::from_descriptor(moved)))
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

fn adjustment_refused(adjustment: i32, error: &anyhow::Error) -> Error {
    let cause = error.root_cause();
    let failure = Error::new(
        Kind::Denied,
        format!("set the OOM score adjustment {adjustment}: {cause}"),
    );
    match cause.downcast_ref() {
        Some(&(Errno::ACCESS | Errno::PERM)) => {
            let why = "only root may take it below the caller's own: see `/proc/self/oom_score_adj`, or go without";
            failure
                .hint(format!("{why}: --limits=best-effort"))
                .bundle_hint(format!("{why} `process.oomScoreAdj`"))
        }
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
            let why = "a hard limit cannot be raised above the caller's own: see `ulimit -H -a`, or go without";
            failure
                .hint(format!("{why}: --limits=best-effort"))
                .bundle_hint(format!("{why} it in `process.rlimits`"))
        }
        _ => failure,
    }
}

/// Who ends closes its files before the signal goes to its children: a parent that was gone before the signal was asked
/// for has closed its end of the channel, which nobody else holds.
pub(super) fn die_with_parent(channel: &Channel) -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("prctl PR_SET_PDEATHSIG")?;
    match channel.is_closed().context("poll")? {
        true => bail!("the parent has ended"),
        false => Ok(()),
    }
}

fn has_home(environment: &[String]) -> bool {
    let mut values = environment
        .iter()
        .filter_map(|entry| entry.strip_prefix("HOME="));
    values.any(|value| !value.is_empty())
}

fn take_identity(
    plan: &ProcessPlan,
    user: &Identity,
    capabilities: ProcessCapabilities,
) -> Result<()> {
    let capabilities = match user.uid {
        0 => capabilities,
        // As execve(2) of a program without file capabilities would leave them.
        _ => ProcessCapabilities {
            effective: capabilities.ambient,
            permitted: capabilities.ambient,
            ..capabilities
        },
    };
    let denied = |error: Errno| match error {
        Errno::INVAL => unmapped::error(user, plan.tier).into(),
        // setgroups(2) is forbidden where an ordinary user's own ids are all that is mapped.
        Errno::PERM if plan.tier != Tier::Root => unmapped::error(user, plan.tier).into(),
        error => {
            anyhow::Error::from(error).context(format!("become user {}:{}", user.uid, user.gid))
        }
    };
    let groups = match plan.keeps_groups {
        true => Ok(()),
        false => process::set_groups(&user.groups),
    };
    match groups {
        // With a single id setgroups(2) is forbidden for good, and there is no group to give up.
        Err(Errno::PERM) if plan.tier == Tier::Single => {}
        // Likewise where the configuration has such a mapping.
        Err(Errno::PERM) if plan.tier == Tier::Subordinate && user.groups.is_empty() => {}
        result => result.map_err(denied)?,
    }
    if plan.tier != Tier::Single {
        process::set_ids(user.uid, user.gid).map_err(denied)?;
    }
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

/// Its name.
///
/// Errors: there is none, which is found out only when it is to be started (runtime.md, "Start").
pub fn name(plan: &ProcessPlan) -> Result<&str, Error> {
    plan.arguments.first().map(String::as_str).ok_or_else(|| {
        bad_input("no command specified: the configuration has no `process`")
            .hint("give it one, and create the container again")
    })
}

/// Whether the program, if one is named, is there and may be executed by whoever this process is, as far as can be told
/// before: a container that cannot be started is better not created.
pub fn look_for(plan: &ProcessPlan, confined: &Confined) -> Result<()> {
    if !confined.is_inside {
        enter_working_directory(&plan.working_directory)?;
    }
    let Ok(name) = name(plan) else {
        return Ok(());
    };
    let mut worst = Errno::NOENT;
    for candidate in candidates(name, &plan.environment) {
        let access = Access::EXEC_OK;
        match accessat(CWD, candidate.as_str(), access, AtFlags::EACCESS) {
            // Anybody may search some directories.
            Ok(()) if Path::new(&candidate).is_dir() => worst = Errno::ISDIR,
            // A filter of before Linux 5.8 does not know faccessat2(2): executing it tells.
            Ok(()) | Err(Errno::PERM | Errno::NOSYS) => return Ok(()),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => worst = error,
        }
    }
    Err(not_found(name, worst))
}

/// Where a program may be: where it is named, or in each directory of the container's PATH (execvp(3)).
fn candidates(name: &str, environment: &[String]) -> Vec<String> {
    // Nothing has no name; a directory with nothing after it would be that directory.
    if name.is_empty() || name.contains('/') {
        return vec![name.to_owned()];
    }
    let mut entries = environment.iter();
    let path = entries.find_map(|entry| entry.strip_prefix("PATH="));
    let directories = path.unwrap_or_default().split(':');
    let named = directories.map(|directory| match directory {
        "" => format!("./{name}"),
        directory => format!("{directory}/{name}"),
    });
    named.collect()
}

/// Tries the program wherever it may be.
fn execute_program(
    plan: &ProcessPlan,
    mut environment: Vec<String>,
) -> Result<std::convert::Infallible> {
    let name = name(plan)?;
    environment.extend(plan.sockets.variables());
    let candidates = candidates(name, &environment);
    let (arguments, environment) = (Words::new(&plan.arguments)?, Words::new(&environment)?);
    let (mut worst, mut headless) = (Errno::NOENT, None);
    for candidate in &candidates {
        let program =
            CString::new(candidate.as_str()).context("the program's name contains a NUL byte")?;
        match process::execute(&program, &arguments, &environment) {
            Errno::NOENT => headless = headless.or_else(|| without_interpreter(candidate)),
            Errno::NOTDIR => {}
            Errno::ACCESS => worst = Errno::ACCESS,
            error => return Err(not_executable(candidate, error)),
        }
    }
    Err(match headless {
        Some(headless) => headless.into(),
        None => not_found(name, worst),
    })
}

fn not_found(name: &str, worst: Errno) -> anyhow::Error {
    if worst != Errno::NOENT {
        return not_executable(name, worst);
    }
    let missing = match name.contains('/') {
        false => format!("exec: \"{name}\": executable file not found in $PATH"),
        true => format!("exec: \"{name}\": stat {name}: no such file or directory"),
    };
    Error::new(Kind::CommandNotFound, missing).into()
}

fn not_executable(name: &str, error: Errno) -> anyhow::Error {
    let reason = match error {
        Errno::ACCESS => "permission denied".to_owned(),
        Errno::NOEXEC => "exec format error".to_owned(),
        // Callers take the number 126 from the second half.
        Errno::ISDIR => "is a directory: permission denied".to_owned(),
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

/// What is wrong with a program that execve(2) does not find though it is there; the words up to the second colon are
/// runc's, which callers look for.
fn without_interpreter(program: &str) -> Option<Error> {
    use std::io::Read;
    let (mut file, mut start) = (std::fs::File::open(program).ok()?.take(256), Vec::new());
    file.read_to_end(&mut start).ok()?;
    let start = String::from_utf8_lossy(&start);
    let interpreter = match start.strip_prefix("#!") {
        Some(rest) => {
            let line = rest.split('\n').next().unwrap_or_default();
            let name = line.trim_matches([' ', '\t']).split([' ', '\t']).next();
            // A carriage return that belongs to the name is seen.
            format!("interpreter {:?}", name.unwrap_or_default())
        }
        None => "dynamic loader".to_owned(),
    };
    let message =
        format!("exec {program}: no such file or directory: its {interpreter} is missing");
    Some(Error::new(Kind::CommandNotFound, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_parent_there_is_no_program() {
        // In a process of its own, since the signal is for good.
        let child = process::clone3(0, || {
            let (ours, theirs) = Channel::pair().unwrap();
            let with = die_with_parent(&theirs);
            drop(ours);
            u8::from(with.is_err() || die_with_parent(&theirs).is_ok())
        });
        assert_eq!(child.unwrap().wait().unwrap().code(), 0);
    }
}
