//! Descriptors that pass from one program to the next: put at numbers that both sides know, all others closed
//! (dup2(2), close_range(2)).
//!
//! Nothing here asks who owns a number: each function says when it may be called.
#![allow(unsafe_code)]

use super::process::{limit, set_limit};
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// Puts `files` at the numbers 0, 1, 2, …, open across execve(2) (dup2(2)). Whatever was at those numbers is
/// closed, whoever owned it: call it when nothing but execve(2) follows.
pub fn place(files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    place_at(&(0..).zip(files.iter().copied()).collect::<Vec<_>>())
}

/// Likewise each at the number before it.
pub fn place_at(files: &[(RawFd, BorrowedFd<'_>)]) -> Result<(), Errno> {
    let end = files
        .iter()
        .map(|(target, _)| target + 1)
        .max()
        .unwrap_or(0);
    // Moved above the targets first: a source may itself be one of them.
    let moved = files.iter().map(|(_, file)| above(*file, end));
    let moved: Vec<OwnedFd> = moved.collect::<Result<_, _>>()?;
    for ((target, _), file) in files.iter().zip(&moved) {
        // SAFETY: plain integers; dup2 clears close-on-exec on the copy.
        if unsafe { libc::dup2(file.as_raw_fd(), *target) } == -1 {
            return Err(last_error());
        }
    }
    Ok(())
}

/// A copy with the lowest free number from `first` on, closed by execve(2) (fcntl(2), F_DUPFD_CLOEXEC).
pub fn above(file: BorrowedFd<'_>, first: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first) } {
        -1 => Err(last_error()),
        // SAFETY: it was opened right here, and nobody else knows of it.
        number => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
    }
}

/// A copy of a descriptor that the caller of this program has left open for it, closed by execve(2); `EBADF` where there is
/// none.
pub fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: plain integers.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // What this program has opened itself closes by execve(2), and so has not come over it.
    if flags == -1 || flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: it is open, and only copied.
    above(unsafe { BorrowedFd::borrow_raw(number) }, 3)
}

/// A copy that stays open across execve(2), and its number: for the program that follows.
pub fn inheritable(file: BorrowedFd<'_>) -> Result<RawFd, Errno> {
    // SAFETY: plain integers.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 3) } {
        -1 => Err(last_error()),
        number => Ok(number),
    }
}

/// The number that the next descriptor of this process gets, the lowest that is free (open(2)); true until one is
/// opened or closed.
pub fn next_number() -> Result<RawFd, Errno> {
    // SAFETY: it is only copied.
    let input = unsafe { BorrowedFd::borrow_raw(0) };
    Ok(above(input, 0)?.as_raw_fd())
}

/// The soft limit of descriptors that this process had before [`raise_limit`].
static LIMIT_BEFORE: OnceLock<u64> = OnceLock::new();

/// Lets this process have as many descriptors as it may ask for: a mount is one (getrlimit(2)).
pub fn raise_limit() -> Result<(), Errno> {
    let (soft, hard) = limit(libc::RLIMIT_NOFILE)?;
    if soft < hard {
        set_limit(libc::RLIMIT_NOFILE, hard, hard)?;
        LIMIT_BEFORE.get_or_init(|| soft);
    }
    Ok(())
}

/// How many descriptors this process may ask for at most.
pub fn most() -> Result<u64, Errno> {
    Ok(limit(libc::RLIMIT_NOFILE)?.1)
}

/// Takes that back: programs that use select(2) fail with more descriptors than they expect.
pub fn restore_limit() -> Result<(), Errno> {
    let Some(before) = LIMIT_BEFORE.get() else {
        return Ok(());
    };
    let (_, hard) = limit(libc::RLIMIT_NOFILE)?;
    set_limit(libc::RLIMIT_NOFILE, hard.min(*before), hard)
}

/// Marks every descriptor from `first` on to be closed by execve(2) (close_range(2)), so that none leaks into what
/// runs next (CVE-2024-21626).
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: plain integers.
    match unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// Closes these, whoever owns them: call it in a child that uses them no more (close(2)).
pub fn close(files: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut numbers = files.iter().map(AsRawFd::as_raw_fd);
    numbers.try_for_each(|number| {
        // SAFETY: plain integers.
        match unsafe { libc::close(number) } {
            -1 => Err(last_error()),
            _ => Ok(()),
        }
    })
}

/// Closes every descriptor from `first` on, whoever owns it (close_range(2)): call it when nothing that uses one
/// follows.
pub fn close_from(first: u32) -> Result<(), Errno> {
    close_range(first, u32::MAX)
}

/// Closes every descriptor from 3 on but `kept`, whoever owns it: call it in a child that uses no other.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.iter().map(|file| file.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.into_iter().filter(|number| *number >= 3) {
        if number > first {
            close_range(first, number - 1)?;
        }
        first = number + 1;
    }
    close_from(first)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: plain integers.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// A descriptor that was handed over by whoever started us: takes ownership of `number`, which must have been
/// agreed upon.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: plain integers.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(last_error())
            .with_context(|| format!("descriptor {number} was not handed over"));
    }
    // SAFETY: it is open, and the agreement with whoever started us makes it ours.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
