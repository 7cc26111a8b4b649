//! Project quotas: how much the files with one project id may hold together (quotactl(2), "PRJQUOTA";
//! ioctl_xfs_fsgetxattr(2), which ext4 knows too). What is made in a directory with a project id has that id as well.
//!
//! Not here: which id is whose.
#![allow(unsafe_code)]

use rustix::fs::fstat;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of a block, the unit of limits.
pub const BLOCK: u64 = 1 << QIF_DQBLKSIZE_BITS;
const QIF_DQBLKSIZE_BITS: u32 = 10;
const PROJECT_QUOTA: libc::c_int = 2;
/// `Q_XGETQSTAT`.
const GET_STATE: libc::c_int = 0x5805;
/// Limits of a project are in force.
const ENFORCED: u16 = 1 << 5;
/// New entries of the directory get its project id.
const INHERIT: u32 = 0x200;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_on_write_extent_size: u32,
    padding: [u8; 8],
}

/// `_IOR('X', 31, struct fsxattr)` and `_IOW('X', 32, struct fsxattr)`.
const GET_ATTRIBUTES: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<Attributes>(b'X', 31);
const SET_ATTRIBUTES: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<Attributes>(b'X', 32);

/// `struct fs_quota_stat` is shorter than this.
#[repr(C, align(8))]
struct QuotaState([u8; 256]);

/// What a project has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most that it may have, in bytes; 0: as much as there is.
    pub limit: u64,
    /// What its files hold, in bytes.
    pub bytes: u64,
    /// How many there are.
    pub files: u64,
}

/// The project id of an open file or directory; 0 means none.
pub fn project(file: BorrowedFd<'_>) -> Result<u32, Errno> {
    Ok(attributes(file)?.project)
}

/// Gives an open directory a project id, which what is made in it inherits. Only root of the first user namespace may.
pub fn set_project(directory: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    let mut attributes = attributes(directory)?;
    attributes.project = project;
    attributes.flags = match project {
        0 => attributes.flags & !INHERIT,
        _ => attributes.flags | INHERIT,
    };
    // SAFETY: the kernel reads one `struct fsxattr`.
    unsafe {
        rustix::ioctl::ioctl(
            directory,
            rustix::ioctl::Setter::<SET_ATTRIBUTES, Attributes>::new(attributes),
        )
    }
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    // SAFETY: the kernel writes one `struct fsxattr`, all of which are plain integers.
    unsafe {
        rustix::ioctl::ioctl(
            file,
            rustix::ioctl::Getter::<GET_ATTRIBUTES, Attributes>::new(),
        )
    }
}

/// Whether the file system of an open file keeps projects to their limits.
pub fn is_enforced(file: BorrowedFd<'_>) -> bool {
    let mut state = QuotaState([0; 256]);
    control(file, GET_STATE, 0, (&raw mut state).cast()).is_ok()
        && u16::from_ne_bytes([state.0[2], state.0[3]]) & ENFORCED != 0
}

/// What a project has on the file system of an open file.
pub fn usage(file: BorrowedFd<'_>, project: u32) -> Result<Usage, Errno> {
    let mut found = block();
    match control(file, libc::Q_GETQUOTA, project, (&raw mut found).cast()) {
        // Nobody has ever had that id.
        Err(Errno::NOENT) => Ok(Usage::default()),
        result => result.map(|()| Usage {
            limit: found.dqb_bhardlimit.saturating_mul(BLOCK),
            bytes: found.dqb_curspace,
            files: found.dqb_curinodes,
        }),
    }
}

/// Limits what the files of a project may hold together, in bytes, of which whole blocks count; 0 takes the limit away.
pub fn set_limit(file: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<(), Errno> {
    let mut limits = block();
    limits.dqb_bhardlimit = bytes.div_ceil(BLOCK);
    limits.dqb_bsoftlimit = limits.dqb_bhardlimit;
    limits.dqb_valid = libc::QIF_BLIMITS;
    control(file, libc::Q_SETQUOTA, project, (&raw mut limits).cast())
}

fn block() -> libc::dqblk {
    libc::dqblk {
        dqb_bhardlimit: 0,
        dqb_bsoftlimit: 0,
        dqb_curspace: 0,
        dqb_ihardlimit: 0,
        dqb_isoftlimit: 0,
        dqb_curinodes: 0,
        dqb_btime: 0,
        dqb_itime: 0,
        dqb_valid: 0,
    }
}

/// `argument` leads to what the command takes or gives.
fn control(
    file: BorrowedFd<'_>,
    command: libc::c_int,
    project: u32,
    argument: *mut libc::c_void,
) -> Result<(), Errno> {
    let command = (command << 8) | PROJECT_QUOTA;
    // SAFETY: the callers give what the command reads or writes, and it outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            command,
            project,
            argument,
        )
    };
    match outcome(result) {
        Err(Errno::NOSYS) => {}
        done => return done,
    }
    // Before Linux 5.14: by the device.
    let device = fstat(file)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let path = CString::new(format!("/dev/block/{major}:{minor}")).map_err(|_| Errno::INVAL)?;
    // SAFETY: as above; the path is null-terminated.
    outcome(unsafe {
        libc::syscall(
            libc::SYS_quotactl,
            command,
            path.as_ptr(),
            project,
            argument,
        )
    })
}

fn outcome(result: libc::c_long) -> Result<(), Errno> {
    match result {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}
