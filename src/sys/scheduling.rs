//! How the kernel shares processors and disks with a process, mostly the calling one, and what it looks like to it:
//! sched_setattr(2), ioprio_set(2), set_mempolicy(2), personality(2).
#![allow(unsafe_code)]

use rustix::io::Errno;

/// `struct sched_attr` up to its first published size (sched_setattr(2)); times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    /// Of this structure, in bytes.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`.
    pub runtime: u64,
    /// For `SCHED_DEADLINE`.
    pub deadline: u64,
    /// For `SCHED_DEADLINE`.
    pub period: u64,
}

/// `SCHED_DEADLINE`.
pub const DEADLINE: u32 = 6;
/// `SCHED_FLAG_RESET_ON_FORK`.
pub const RESET_ON_FORK: u64 = 1;

/// Sets policy and priority of a thread; 0 is the calling one (sched_setattr(2)).
pub fn set_attributes(thread: i32, attributes: &Attributes) -> Result<(), Errno> {
    let sized = Attributes {
        size: size_of::<Attributes>() as u32,
        ..*attributes
    };
    // SAFETY: the structure is plain, tells its size, and outlives the call.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const sized, 0) })
}

/// Sets the priority of the calling thread at disks: a class of 1 to 3 and, within it, 0 (first) to 7 (ioprio_set(2)).
pub fn set_io_priority(class: u32, priority: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: u32 = 1;
    const IOPRIO_CLASS_SHIFT: u32 = 13;
    let value = class << IOPRIO_CLASS_SHIFT | priority;
    // SAFETY: plain integers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// Sets from which nodes the calling thread gets memory: a mode with its flags, and one bit for each node
/// (set_mempolicy(2)).
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel reads one bit less than it is told.
    let count = match nodes.len() {
        0 => 0,
        words => words * 64 + 1,
    };
    let mask = match nodes {
        [] => std::ptr::null(),
        nodes => nodes.as_ptr(),
    };
    // SAFETY: the kernel reads as many bits as it is told, rounded up to whole words; they outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, count) })
}

/// Sets the execution domain, as in `PER_LINUX32` (personality(2)).
pub fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: plain integer.
    match unsafe { libc::syscall(libc::SYS_personality, u64::from(persona)) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

fn checked(result: libc::c_long) -> Result<(), Errno> {
    match result {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
