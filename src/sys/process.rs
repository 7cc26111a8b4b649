//! Processes: clone3(2), execve(2), signals, and waiting by pidfd. By what a process is remembered: [`Identity`].
#![allow(unsafe_code)]

use super::fork;
pub use super::identity::{Activity, Identity, boot_id};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What a child does not share with its parent (clone(2) `CLONE_NEW*`).
pub mod flags {
    /// Mounts.
    pub const NEW_MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Cgroup root.
    pub const NEW_CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// Host name and domain name.
    pub const NEW_UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// System V IPC and message queues.
    pub const NEW_IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// User and group ids.
    pub const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
    /// Process ids.
    pub const NEW_PID: u64 = libc::CLONE_NEWPID as u64;
    /// Clocks that count from a start (time_namespaces(7)).
    pub const NEW_TIME: u64 = 0x80;
    /// Network.
    pub const NEW_NET: u64 = libc::CLONE_NEWNET as u64;
    /// Not a namespace: the child becomes a sibling, which our parent waits for.
    pub const SIBLING: u64 = libc::CLONE_PARENT as u64;
}

/// A child process and the descriptor that stands for it whatever happens to its number (pidfd_open(2)).
#[derive(Debug)]
pub struct Child {
    /// Its number in our pid namespace.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With exit(2) of this code.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

impl Ended {
    /// The code a shell would report: 128 + n for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// Starts a child that runs `child` and shares nothing named in `namespaces` with us (clone3(2)), with the
/// memory copied as by fork(2). The closure ends in execve(2), or gives the exit code.
pub fn clone3(namespaces: u64, child: impl FnOnce() -> u8) -> Result<Child, Errno> {
    clone3_into(namespaces, None, child)
}

/// Likewise, born in that control group of version 2 (CLONE_INTO_CGROUP). A cgroup namespace that is made with it has
/// *our* group as its root.
pub fn clone3_into(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> u8,
) -> Result<Child, Errno> {
    if cgroup.is_none() && fork::is_wanted(namespaces) {
        return fork::fork(namespaces, child);
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero is a valid `clone_args`: every field is a plain integer.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces | libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut pidfd) as u64;
    if let Some(cgroup) = cgroup {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    if namespaces & flags::SIBLING == 0 {
        // A sibling ends with the signal that we end with; asking for one is EINVAL.
        arguments.exit_signal = libc::SIGCHLD as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of our memory, as after fork(2); this process has
    // one thread where it asks for what [`fork`] can do, so no lock is held by a thread that the child lacks. `pidfd`
    // outlives the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    let pid = match pid {
        // Docker's default filter denies the call with this, so that clone(2) is used: inside a container.
        -1 if namespaces & !flags::SIBLING == 0
            && cgroup.is_none()
            && last_error() == Errno::NOSYS =>
        {
            let flags = namespaces | libc::CLONE_PIDFD as u64 | arguments.exit_signal;
            // SAFETY: as above; both architectures take the pointer for the descriptor as third argument.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) }
        }
        pid => pid,
    };
    match pid {
        -1 => Err(last_error()),
        0 => exit_now(child()),
        pid => {
            // SAFETY: CLONE_PIDFD made a descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child {
                pid: pid as i32,
                pidfd,
            })
        }
    }
}

/// A program that is killed when the thread that has started it ends (PR_SET_PDEATHSIG).
pub fn killed_with_us(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    let kill = || {
        let signal = Some(rustix::process::Signal::KILL);
        Ok(rustix::process::set_parent_process_death_signal(signal)?)
    };
    // SAFETY: one system call, which neither allocates nor locks.
    unsafe { command.pre_exec(kill) }
}

/// Does something in a child, as [`clone3`] makes one: what it failed with, which is nothing where it was killed.
pub fn attempt(act: impl FnOnce() -> Result<()>) -> Result<Option<String>> {
    let (mut complaint, mut complain) = std::io::pipe().context("pipe")?;
    let child = clone3(0, || match act() {
        Ok(()) => 0,
        Err(error) => {
            // Without a reader there is nobody to tell.
            let _ = write!(complain, "{error:#}");
            1
        }
    })
    .context("fork")?;
    drop(complain);
    let mut said = String::new();
    let read = complaint.read_to_string(&mut said);
    let ended = child.wait().context("wait for a child")?;
    read.context("read from a child")?;
    Ok((ended.code() != 0).then_some(said))
}

impl Child {
    /// Waits for the end and reaps it (waitid(2)).
    pub fn wait(&self) -> Result<Ended, Errno> {
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
            {
                Err(Errno::INTR) | Ok(None) => {}
                Err(error) => return Err(error),
                Ok(Some(status)) => {
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Ended::Exited(code as u8),
                        (None, signal) => Ended::Killed(signal.unwrap_or(0) as u8),
                    });
                }
            }
        }
    }

    /// Waits for the end, but no longer than that, and without reaping it (pidfd_open(2)).
    pub fn has_ended_within(&self, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).ok();
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, patience.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Whether it is stopped by a signal, or has ended (waitid(2)).
    pub fn has_stopped(&self) -> Result<bool, Errno> {
        let look = WaitIdOptions::STOPPED
            | WaitIdOptions::EXITED
            | WaitIdOptions::NOHANG
            | WaitIdOptions::NOWAIT;
        Ok(rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), look)?.is_some())
    }

    /// Kills and reaps it: nobody is to know of it. It may have ended by itself.
    pub fn end(&self) {
        let _ = self.kill(libc::SIGKILL);
        let _ = self.wait();
    }

    /// Sends a signal (pidfd_send_signal(2)).
    pub fn kill(&self, signal: i32) -> Result<(), Errno> {
        send_signal(self.pidfd.as_fd(), signal)
    }
}

/// Sends any signal number, real-time ones too (pidfd_send_signal(2)).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: no pointer but a null `siginfo_t`, which the call allows.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, 0, 0) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// Sends a signal to all processes of our pid namespace but the first and ourselves; none is as good (kill(2)).
pub fn signal_all(signal: i32) -> Result<(), Errno> {
    // SAFETY: plain integers.
    match unsafe { libc::kill(-1, signal) } {
        -1 if last_error() != Errno::SRCH => Err(last_error()),
        _ => Ok(()),
    }
}

/// Whether processes with our ids may look into this one (prctl(2) PR_SET_DUMPABLE).
pub fn set_dumpable(allowed: bool) -> Result<(), Errno> {
    // SAFETY: plain integers.
    match unsafe { libc::prctl(libc::PR_SET_DUMPABLE, i32::from(allowed), 0, 0, 0) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// Overwrites the environment of this process, which others may read (proc_pid_environ(5)). What is needed of it must
/// have been taken before.
pub fn forget_environment() {
    unsafe extern "C" {
        static environ: *mut *mut libc::c_char;
    }
    // SAFETY: the one thread there is follows the null-terminated array of C strings that the C library keeps, and
    // writes within each of them; they lie in the initial stack or on the heap, both writable.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let length = libc::strlen(*entry);
            std::ptr::write_bytes(*entry, 0, length);
            entry = entry.add(1);
        }
    }
}

/// Reaps one child that has ended, if there is one, and tells its pid (waitpid(2) with -1).
pub fn reap(block: bool) -> Result<Option<(i32, Ended)>, Errno> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match unsafe { libc::waitpid(-1, &raw mut status, if block { 0 } else { libc::WNOHANG }) } {
        -1 => Err(last_error()),
        0 => Ok(None),
        pid if libc::WIFSIGNALED(status) => {
            Ok(Some((pid, Ended::Killed(libc::WTERMSIG(status) as u8))))
        }
        pid => Ok(Some((pid, Ended::Exited(libc::WEXITSTATUS(status) as u8)))),
    }
}

/// Whether a process has children (proc_pid_task(5), `children`).
pub fn has_children(pid: i32) -> bool {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.is_ok_and(|children| !children.trim().is_empty())
}

/// Makes what descends from this process its child when it is orphaned (prctl(2) PR_SET_CHILD_SUBREAPER), so that
/// [`kill_children`] reaches all.
pub fn adopt_orphans() -> Result<()> {
    rustix::process::set_child_subreaper(Pid::from_raw(1)).context("prctl PR_SET_CHILD_SUBREAPER")
}

/// Kills and reaps all children of this process until there is none; after [`adopt_orphans`] that is everything
/// that descends from it.
pub fn kill_children() -> Result<()> {
    loop {
        let own = std::process::id();
        let path = format!("/proc/{own}/task/{own}/children");
        let children = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
        for pid in children
            .split_ascii_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        {
            // One that ends by itself stays a zombie until it is reaped below, so the number is still its own.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        match reap(true) {
            Err(Errno::CHILD) => return Ok(()),
            Err(Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error).context("wait for children"),
        }
    }
}

/// Ends this process without running anything of the parent's that the copy still holds (_exit(2)).
pub fn exit_now(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Null-terminated words for execve(2).
#[derive(Debug)]
pub struct Words {
    _owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Words {
    /// Fails on a word with a NUL byte.
    pub fn new<T: AsRef<[u8]>>(words: impl IntoIterator<Item = T>) -> Result<Self> {
        let owned: Vec<CString> = words
            .into_iter()
            .map(|word| CString::new(word.as_ref()))
            .collect::<Result<_, _>>()
            .context("an argument or variable contains a NUL byte")?;
        let pointers = owned
            .iter()
            .map(|word| word.as_ptr())
            .chain([std::ptr::null()])
            .collect();
        Ok(Self {
            _owned: owned,
            pointers,
        })
    }
}

/// Replaces this program (execve(2)); returns only on failure.
pub fn execute(path: &std::ffi::CStr, arguments: &Words, environment: &Words) -> Errno {
    // SAFETY: `Words` are null-terminated arrays of C strings that they own.
    unsafe {
        libc::execve(
            path.as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    };
    last_error()
}

/// Replaces this program by the file behind a descriptor (execveat(2)); returns only on failure.
pub fn execute_descriptor(file: BorrowedFd<'_>, arguments: &Words, environment: &Words) -> Errno {
    // SAFETY: as in `execute`; the empty path is null-terminated.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_error()
}

/// The soft and the hard limit of a resource; `u64::MAX` is unlimited (getrlimit(2)).
pub fn limit(resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the call; no new limit is given.
    match unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<u8>(),
            &raw mut limit,
        )
    } {
        -1 => Err(last_error()),
        _ => Ok((limit.rlim_cur, limit.rlim_max)),
    }
}

/// Sets a resource limit; `u64::MAX` is unlimited (setrlimit(2)).
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` outlives the call; the old limit is not asked for.
    match unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            std::ptr::null::<u8>(),
        )
    } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// Leaves the caller's session keyring for an empty one (keyctl(2)). Kernels without keys, sandboxes that forbid
/// the call and users whose quota of keys is used up go without.
pub fn join_new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring: one with a name could be somebody else's already.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) };
}

/// Sets the identity for file access and all else of the one thread there is (setresgid(2), setresuid(2)).
pub fn set_ids(uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: plain integers; the raw calls, because the C library's would signal other threads.
    unsafe {
        if libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
        {
            return Err(last_error());
        }
    }
    Ok(())
}

/// Sets the supplementary groups (setgroups(2)).
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the slice outlives the call and its length is given.
    match unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// A set of signals as the kernel prints it.
#[derive(Clone, Copy, Debug)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Whether a signal is in it.
    pub fn contains(self, signal: i32) -> bool {
        signal > 0 && self.0 >> (signal - 1) & 1 == 1
    }
}

/// What a process does about signals.
#[derive(Clone, Copy, Debug)]
pub struct SignalSets {
    /// Those it handles.
    pub caught: SignalSet,
    /// Those that wait until it wants them.
    pub blocked: SignalSet,
}

/// `SigCgt` and `SigBlk` of a process (proc_pid_status(5)); `None` when it is gone.
pub fn signal_sets(pid: i32) -> Option<SignalSets> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let set = |key: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(key))?;
        u64::from_str_radix(text.trim(), 16).ok().map(SignalSet)
    };
    Some(SignalSets {
        caught: set("SigCgt:")?,
        blocked: set("SigBlk:")?,
    })
}

/// Signal number of a name with or without `SIG`, or of a number (signal(7)).
pub fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.strip_prefix('+')?.parse::<i32>().ok()?
        };
        return (0..=30).contains(&offset).then_some(34 + offset);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.strip_prefix('-')?.parse::<i32>().ok()?
        };
        return (0..=30).contains(&offset).then_some(64 - offset);
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        other => other,
    };
    (1..=31).find(|number| signal_name(*number) == Some(name))
}

/// Name without `SIG` of a standard signal.
pub fn signal_name(number: i32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    usize::try_from(number)
        .ok()?
        .checked_sub(1)
        .and_then(|index| NAMES.get(index).copied())
}

pub(super) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_waited_for_by_descriptor() {
        let child = clone3(0, || 7).unwrap();
        assert_eq!(child.wait(), Ok(Ended::Exited(7)));
        assert_eq!(Ended::Killed(9).code(), 137);
    }

    /// Its first thread ends, as that of any program may, and the other goes on.
    #[test]
    fn a_process_is_alive_as_long_as_one_of_its_threads() {
        extern "C" fn wait(_: *mut libc::c_void) -> i32 {
            loop {
                // SAFETY: no arguments.
                unsafe { libc::pause() };
            }
        }
        let mut stack = vec![0_u8; 64 << 10];
        let child = clone3(0, || {
            let flags = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
            // SAFETY: the stack is the thread's alone and outlives it, since nothing runs after the exit.
            unsafe {
                let top = stack.as_mut_ptr_range().end.cast();
                libc::clone(wait, top, flags, std::ptr::null_mut());
                libc::syscall(libc::SYS_exit, 0);
            }
            1
        })
        .unwrap();
        let identity = Identity::of(child.pid).unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.pid)).unwrap();
        while !stat().contains(") Z ") {
            std::thread::yield_now();
        }
        assert_eq!(identity.activity(), Some(Activity::Running));
        assert!(identity.open().is_some());
        child.kill(libc::SIGKILL).unwrap();
        assert_eq!(child.wait(), Ok(Ended::Killed(9)));
        assert!(!identity.is_alive());
    }

    #[test]
    fn signal_sets_are_those_of_the_process() {
        // Not of this process: while it makes a thread for another test, its first one has all signals blocked.
        let child = clone3(0, || {
            loop {
                std::thread::park();
            }
        })
        .unwrap();
        let sets = signal_sets(child.pid).unwrap();
        // The standard library of Rust ignores SIGPIPE and handles SIGSEGV.
        assert!(sets.caught.contains(libc::SIGSEGV) && !sets.caught.contains(libc::SIGPIPE));
        assert!(!sets.blocked.contains(libc::SIGTERM));
        child.end();
    }

    #[test]
    fn signals_have_all_their_spellings() {
        for (text, number) in [
            ("TERM", Some(15)),
            ("sigterm", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX", Some(64)),
            ("0", None),
            ("65", None),
            ("SIGNOPE", None),
            ("", None),
            ("SYS", Some(31)),
            ("RTMIN+31", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
