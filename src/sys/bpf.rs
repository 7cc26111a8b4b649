//! Filters for devices: bpf(2) with programs of type `BPF_PROG_TYPE_CGROUP_DEVICE`. What a program decides is not
//! known here.
//!
//! Invariant: a program is checked by the kernel when it is loaded, and holds as long as it is attached, also without
//! a descriptor.

#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of linux/bpf.h, `struct bpf_insn`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class, operation and kind of operand.
    pub code: u8,
    /// Destination in the low half, source in the high one.
    pub registers: u8,
    /// Of a jump: how many instructions are left out. Of a load: where.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
#[cfg(test)]
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `BPF_PROG_TYPE_CGROUP_DEVICE`.
const PROGRAM_TYPE: u32 = 15;
/// `BPF_CGROUP_DEVICE`.
const ATTACH_TYPE: u32 = 6;
/// `BPF_F_ALLOW_MULTI`: programs of this cgroup and of those above and below are asked, and all have to agree.
const ALLOW_MULTI: u32 = 2;

/// What `BPF_PROG_LOAD` reads.
#[derive(Default)]
#[repr(C)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// What `BPF_PROG_ATTACH` reads.
#[derive(Default)]
#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// What `BPF_OBJ_GET_INFO_BY_FD` reads.
#[cfg(test)]
#[derive(Default)]
#[repr(C)]
struct GetInfo {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`.
#[cfg(test)]
#[derive(Default)]
#[repr(C)]
struct Info {
    program_type: u32,
    id: u32,
    tag: [u8; 8],
    machine_length: u32,
    /// Bytes of the instructions as the kernel keeps them.
    length: u32,
    machine_instructions: u64,
    instructions: u64,
}

/// Calls bpf(2); `attribute` is one of the structures above.
///
/// # Safety
///
/// Every address in `attribute` has to be valid for what `command` reads and writes there.
unsafe fn call<T>(command: libc::c_long, attribute: &mut T) -> Result<i32, Errno> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of the structure, which lives until the call
    // returns; the caller answers for the addresses in it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw mut *attribute,
            size_of::<T>() as libc::c_uint,
        )
    };
    match result {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        value => Ok(value as i32),
    }
}

/// The number of an open descriptor, which is never negative.
fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// Loads a filter (`BPF_PROG_LOAD`); `name` has at most 15 bytes: letters, digits, `_` and `.`.
///
/// `EPERM`: the caller may not (`CAP_BPF` or `CAP_SYS_ADMIN` of the first user namespace). `EINVAL`: the kernel was
/// built without `CONFIG_CGROUP_BPF`. `EACCES`: it does not accept the program.
pub fn load_device_filter(program: &[Instruction], name: &str) -> Result<OwnedFd, Errno> {
    let mut load = Load {
        program_type: PROGRAM_TYPE,
        count: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr().addr() as u64,
        // Of what the license decides, which functions may be called, the programs need nothing.
        license: c"Apache-2.0".as_ptr().addr() as u64,
        ..Load::default()
    };
    let length = name.len().min(load.name.len() - 1);
    load.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: the addresses are those of `count` instructions and of a text with its zero byte; both outlive the call,
    // which only reads them.
    let descriptor = unsafe { call(PROG_LOAD, &mut load) }?;
    // SAFETY: the kernel has just made this descriptor, with close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Attaches a filter to a cgroup, beside those that are there.
pub fn attach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut attach = Attach {
        cgroup: number(cgroup),
        program: number(program),
        attach_type: ATTACH_TYPE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: there are no addresses in it.
    unsafe { call(PROG_ATTACH, &mut attach) }.map(drop)
}

/// The instructions of a filter as the kernel has them: what can never be reached is left out.
#[cfg(test)]
pub fn instructions(program: BorrowedFd<'_>) -> Result<Vec<Instruction>, Errno> {
    let mut info = Info::default();
    get_info(program, &mut info)?;
    let mut found = vec![Instruction::default(); info.length as usize / size_of::<Instruction>()];
    info = Info {
        length: info.length,
        instructions: found.as_mut_ptr().addr() as u64,
        ..Info::default()
    };
    get_info(program, &mut info)?;
    Ok(found)
}

/// Fills `info`; its address of instructions is null, or that of `length` bytes which outlive the call.
#[cfg(test)]
fn get_info(program: BorrowedFd<'_>, info: &mut Info) -> Result<(), Errno> {
    let mut get = GetInfo {
        descriptor: number(program),
        length: size_of::<Info>() as u32,
        info: (&raw mut *info).addr() as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`, and to the instructions at most as many as `info`
    // says there is room for; both callers keep that room until the call returns.
    unsafe { call(OBJ_GET_INFO_BY_FD, &mut get) }.map(drop)
}
