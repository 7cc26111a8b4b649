//! Signals as a descriptor that can be polled (signalfd(2)), and the mask that goes with it.
#![allow(unsafe_code)]

use anyhow::{Context, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Lets signals that ask a process to end do so also where this process is the first one of its pid namespace, to which they
/// come only if it has a handler (pid_namespaces(7)); it exits with 128 and the signal's number. execve(2) takes the handlers
/// away.
pub fn end_by_requests() {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: may be called by a handler (signal-safety(7)), and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGPWR,
    ]
    .into_iter()
    .chain(libc::SIGRTMIN()..=libc::SIGRTMAX())
    {
        let handler = end as extern "C" fn(libc::c_int);
        // SAFETY: the handler does nothing that could disturb what it interrupts.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

/// Signals that arrive as data instead of interrupting.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks all signals that can be forwarded and delivers them through the descriptor instead. Those by which
    /// the kernel reports our own faults, and the two that cannot be caught, are left alone.
    pub fn block_all() -> Result<Self> {
        const OWN: [i32; 9] = [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGILL,
            libc::SIGFPE,
            libc::SIGABRT,
            libc::SIGTRAP,
            libc::SIGSYS,
            libc::SIGKILL,
            libc::SIGSTOP,
        ];
        Self::block((1..=64).filter(|signal| !OWN.contains(signal) && !(32..34).contains(signal)))
    }

    /// Likewise for those by which a service is asked to end, SIGTERM and SIGINT.
    pub fn block_requests_to_end() -> Result<Self> {
        Self::block([libc::SIGTERM, libc::SIGINT].into_iter())
    }

    fn block(signals: impl Iterator<Item = i32>) -> Result<Self> {
        let mut set = empty_set();
        for signal in signals {
            // SAFETY: `set` is an initialised set and the number is a valid signal.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        set_mask(&set).context("block signals")?;
        // SAFETY: -1 asks for a new descriptor; `set` outlives the call.
        let descriptor =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor == -1 {
            return Err(std::io::Error::last_os_error()).context("signalfd");
        }
        // SAFETY: just made, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The next signal that has arrived, if there is one.
    pub fn next(&self) -> Option<i32> {
        // SAFETY: all-zero is a valid `signalfd_siginfo`: plain integers.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer has the size that is given.
        let length = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size) };
        (length == size as isize).then_some(info.ssi_signo as i32)
    }
}

impl std::os::fd::AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Undoes every change to the signal mask and to dispositions that a new program would inherit (execve(2)).
pub fn reset_all() -> Result<()> {
    for signal in (1..=64).filter(|signal| ![libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(signal))
    {
        // SAFETY: SIG_DFL is a valid disposition for every signal that can be set.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    set_mask(&empty_set()).context("unblock signals")
}

/// Lets signals interrupt again; those that have arrived and were not taken do so now.
pub fn unblock_all() -> Result<()> {
    set_mask(&empty_set()).context("unblock signals")
}

/// What a signal means, such as "bad system call" (strsignal(3)).
pub fn description(signal: i32) -> String {
    // SAFETY: it is copied before anybody else asks: texts that are made up on the way belong to the thread.
    let text = unsafe {
        let text = libc::strsignal(signal);
        if text.is_null() {
            return String::new();
        }
        std::ffi::CStr::from_ptr(text)
    };
    text.to_string_lossy().to_lowercase()
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: all-zero is storage for a set, which sigemptyset initialises.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

fn set_mask(set: &libc::sigset_t) -> std::io::Result<()> {
    // SAFETY: `set` outlives the call; the old mask is not asked for.
    match unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}
