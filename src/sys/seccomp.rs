//! Loading a filter into the calling thread: seccomp(2). What is in the filter is not known here.
//!
//! Invariant: a filter can be added, never taken away; what returns `Ok` holds for this thread, its children
//! and every program they execute.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use seccompiler::sock_filter;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct sock_fprog` of filter(2): how many instructions, and where they are.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const sock_filter,
}

/// Adds `program` to the calling thread ([seccomp(2)], `SECCOMP_SET_MODE_FILTER`) with the given
/// `SECCOMP_FILTER_FLAG_*` bits. The caller has `CAP_SYS_ADMIN` in its user namespace or has set
/// `no_new_privs`, else the kernel answers `EACCES`.
///
/// A kernel that does not know a flag (`EINVAL`) is an error here; the caller decides what to leave out. With
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` a listener (seccomp_unotify(2)) is open afterwards, until execve(2), at the
/// number that was the lowest free one.
///
/// [seccomp(2)]: https://man7.org/linux/man-pages/man2/seccomp.2.html
pub fn set_filter(program: &[sock_filter], flags: libc::c_ulong) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program {
        length,
        instructions: program.as_ptr(),
    };
    // SAFETY: the kernel reads `length` instructions through the pointer and keeps a copy; both live until
    // the call returns, and `sock_filter` has the layout of linux/filter.h.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let has_listener = flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0;
    match result {
        0 => Ok(()),
        1.. if has_listener => Ok(()),
        // With SECCOMP_FILTER_FLAG_TSYNC alone a positive number is the thread that has filters of its own.
        1.. => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this kernel knows all these `SECCOMP_FILTER_FLAG_*` bits: it looks at them first, and then for a program, of
/// which there is none (`EFAULT`).
pub fn knows(flags: libc::c_ulong) -> bool {
    let nothing = std::ptr::null::<Program>();
    // SAFETY: a null pointer, which the kernel does not follow but refuses.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            nothing,
        )
    };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

/// A call that waits for an answer (seccomp_unotify(2)).
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Of the question.
    pub id: u64,
    /// The thread that makes it, by its number in the caller's pid namespace.
    pub pid: u32,
    /// Which call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub architecture: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: libc::c_ulong = 0xc050_2100;
/// `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SEND: libc::c_ulong = 0xc018_2101;
/// `_IOW('!', 2, __u64)`.
const IS_VALID: libc::c_ulong = 0x4008_2102;

/// Takes the next call; `ENOENT` where who has made it is gone.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Call> {
    // SAFETY: all-zero is a valid `seccomp_notif`: plain integers. The kernel wants it so.
    let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `seccomp_notif`, which outlives the call.
    match unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut question) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(Call {
            id: question.id,
            pid: question.pid,
            number: question.data.nr,
            architecture: question.data.arch,
            arguments: question.data.args,
        }),
    }
}

/// Whether who has made the call still waits: what was read of it before was its own.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one number, which outlives the call.
    unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID as _, &raw const id) == 0 }
}

/// Has the call return 0, or fail with an errno, without being made; `ENOENT` where nobody waits any more.
pub fn answer(listener: BorrowedFd<'_>, id: u64, errno: i32) -> io::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id,
        val: 0,
        error: -errno,
        flags: 0,
    };
    // SAFETY: the kernel reads one `seccomp_notif_resp`, which outlives the call.
    match unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut answer) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The `Seccomp:` mode of the calling thread: 0 without, 2 with a filter (prctl(2), `PR_GET_SECCOMP`).
///
/// A filter that denies prctl(2) makes this an error, or ends the process where it kills.
pub fn mode() -> Result<u32> {
    // SAFETY: PR_GET_SECCOMP takes no pointers.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    u32::try_from(mode)
        .map_err(|_| io::Error::last_os_error())
        .context("prctl PR_GET_SECCOMP")
}

/// One call with plain numbers as arguments, past libc's wrappers, which change all threads at once or retry:
/// what a test of filters needs. Its callers pass no pointers, except null.
#[cfg(test)]
pub fn call(number: i64, arguments: [u64; 4]) -> io::Result<i64> {
    let [a, b, c, d] = arguments;
    // SAFETY: without a pointer the kernel writes nothing into this process, and no caller names a call that
    // changes its memory.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}
