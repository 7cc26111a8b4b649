//! Whom files belong to where only one id is mapped: chown(2) and its kin come here instead of to the kernel, are noted in an
//! attribute of the file, and succeed (seccomp_unotify(2)). The layer gets these owners.
//!
//! The attribute stays with the file whatever becomes of its name, as package managers want it, which give a file away before
//! they give it its name. What can have none, as a symbolic link, is remembered by its inode ([`Notes`]).
//!
//! The program may change its memory and its files while it waits. So what is read of it is looked at once, a path is resolved
//! by the kernel inside of the program's own root, and the worst that it reaches is an attribute of its own files.

use crate::image::layer::recorded::{Notes, RecordedOwner};
use crate::sys::openat2::open_in_root;
use crate::sys::seccomp::{self, Call};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, chownat, openat, readlink};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// `AUDIT_ARCH_*` of what this program is built for (linux/audit.h).
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};
/// x32 calls have the numbers of others with this bit.
const X32: i64 = 0x4000_0000;

/// Answers for the call that waits. What the program changes of the files below comes into `upper`, if they are an overlay's.
pub fn answer(
    listener: BorrowedFd<'_>,
    upper: Option<BorrowedFd<'_>>,
    notes: &mut Notes,
) -> Result<()> {
    let gone = |error: &std::io::Error| {
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Interrupted)
    };
    let call = match seccomp::receive(listener) {
        Err(error) if gone(&error) => return Ok(()),
        call => call.context("take a call that waits")?,
    };
    let errno = match note(listener, &call, upper, notes) {
        Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::BADF | Errno::LOOP)) => {
            errno.raw_os_error()
        }
        // What cannot be noted is pretended, as in every container with a single id.
        _ => 0,
    };
    match seccomp::answer(listener, call.id, errno) {
        Err(error) if gone(&error) => Ok(()),
        answered => answered.context("answer a call that waits"),
    }
}

/// What is to be given away.
enum Place {
    Open(i32),
    Path {
        directory: i32,
        address: u64,
        follow: bool,
        may_be_empty: bool,
    },
}

fn note(
    listener: BorrowedFd<'_>,
    call: &Call,
    upper: Option<BorrowedFd<'_>>,
    notes: &mut Notes,
) -> Result<(), Errno> {
    if call.architecture != ARCHITECTURE {
        return Ok(());
    }
    let Some((place, owner)) = wanted(call) else {
        return Ok(());
    };
    let file = find(call.pid, &place)?;
    let meant = meant(call.pid, owner);
    if !seccomp::is_waiting(listener, call.id) {
        // Its number may be somebody else's by now.
        return Ok(());
    }
    let owner = RecordedOwner {
        uid: owner.uid.filter(|_| meant.0),
        gid: owner.gid.filter(|_| meant.1),
    };
    notes.note(&file, owner, || match upper {
        Some(upper) => copied_up(call.pid, &file, upper),
        None => rustix::io::dup(&file),
    })
}

/// What a file of an overlay is in its upper directory. Of one that comes from below, as a link that was there before the step,
/// the kernel makes a copy there as for any change (overlayfs.rst): to give it to nobody is one.
fn copied_up(pid: u32, file: &OwnedFd, upper: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    chownat(file, "", None, None, AtFlags::EMPTY_PATH)?;
    let path = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    open_in_root(
        upper,
        &below_root(pid, path.as_bytes())?,
        flags,
        Mode::empty(),
    )
}

/// A path as the kernel shows it to us, below the root of a thread.
fn below_root(pid: u32, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let root = readlink(format!("/proc/{pid}/root"), Vec::new())?.into_bytes();
    Ok(path.strip_prefix(&root[..]).unwrap_or(path).to_vec())
}

/// Whether a program means the user and the group that it gives, or gives what it has seen, which is root here. Busybox' `chown`
/// and `chgrp` do where their words leave out one of both, and others when they write a file anew: useradd(8) gives the new
/// `/etc/shadow` the owner of the old one.
fn meant(pid: u32, given: RecordedOwner) -> (bool, bool) {
    let read = |name| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    match &*read("comm") {
        b"chgrp\n" => (false, true),
        b"chown\n" => {
            let words = read("cmdline");
            let mut words = words.split(|byte| *byte == 0).skip(1);
            if words.clone().any(|word| word.starts_with(b"--reference")) {
                return (true, true);
            }
            let owner = words.find(|word| !word.starts_with(b"-"));
            let owner = owner.unwrap_or_default();
            (!owner.starts_with(b":"), owner.contains(&b':'))
        }
        _ => (given.uid != Some(0), given.gid != Some(0)),
    }
}

fn wanted(call: &Call) -> Option<(Place, RecordedOwner)> {
    let arguments = &call.arguments;
    let owner = |first: usize| {
        let id = |index: usize| Some(arguments[index] as u32).filter(|id| *id != u32::MAX);
        RecordedOwner {
            uid: id(first),
            gid: id(first + 1),
        }
    };
    let number = i64::from(call.number) & !X32;
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_chown || number == libc::SYS_lchown {
        let place = Place::Path {
            directory: libc::AT_FDCWD,
            address: arguments[0],
            follow: number == libc::SYS_chown,
            may_be_empty: false,
        };
        return Some((place, owner(1)));
    }
    if number == libc::SYS_fchown {
        return Some((Place::Open(arguments[0] as i32), owner(1)));
    }
    if number != libc::SYS_fchownat {
        return None;
    }
    let flags = arguments[4] as i32;
    let place = Place::Path {
        directory: arguments[0] as i32,
        address: arguments[1],
        follow: flags & libc::AT_SYMLINK_NOFOLLOW == 0,
        may_be_empty: flags & libc::AT_EMPTY_PATH != 0,
    };
    Some((place, owner(2)))
}

/// Holds the file that a thread means.
fn find(pid: u32, place: &Place) -> Result<OwnedFd, Errno> {
    let open = |path: String, flags: OFlags| {
        let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
    };
    let (directory, address, follow, may_be_empty) = match *place {
        Place::Open(number) => {
            return open(format!("/proc/{pid}/fd/{number}"), OFlags::empty()).map_err(no_file);
        }
        Place::Path {
            directory,
            address,
            follow,
            may_be_empty,
        } => (directory, address, follow, may_be_empty),
    };
    let path = text(pid, address)?;
    let start = match directory {
        libc::AT_FDCWD => format!("/proc/{pid}/cwd"),
        number => format!("/proc/{pid}/fd/{number}"),
    };
    if path.is_empty() {
        return match may_be_empty {
            true => open(start, OFlags::empty()).map_err(no_file),
            false => Err(Errno::NOENT),
        };
    }
    let root = open(format!("/proc/{pid}/root"), OFlags::DIRECTORY)?;
    let whole = match path.starts_with(b"/") {
        true => path,
        false => {
            let at = readlink(start, Vec::new()).map_err(no_file)?;
            [&below_root(pid, at.as_bytes())?, &b"/"[..], &path].concat()
        }
    };
    let flags = match follow {
        true => OFlags::PATH,
        false => OFlags::PATH | OFlags::NOFOLLOW,
    };
    open_in_root(&root, &whole, flags, Mode::empty())
}

/// A number that no file has.
fn no_file(errno: Errno) -> Errno {
    match errno {
        Errno::NOENT => Errno::BADF,
        errno => errno,
    }
}

/// A string in the memory of a thread.
fn text(pid: u32, address: u64) -> Result<Vec<u8>, Errno> {
    const PAGE: u64 = 4096;
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::FAULT);
    let memory = File::open(format!("/proc/{pid}/mem")).map_err(errno)?;
    let mut text = Vec::new();
    while text.len() < libc::PATH_MAX as usize {
        let at = address + text.len() as u64;
        // Not beyond the page: the next one may not be there.
        let mut piece = [0; PAGE as usize];
        let piece = &mut piece[..(PAGE - at % PAGE) as usize];
        let length = memory.read_at(piece, at).map_err(errno)?;
        match piece[..length].iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend_from_slice(&piece[..end]);
                return Ok(text);
            }
            None if length == 0 => return Err(Errno::FAULT),
            None => text.extend_from_slice(&piece[..length]),
        }
    }
    Err(Errno::NAMETOOLONG)
}
