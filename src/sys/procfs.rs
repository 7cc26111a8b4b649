//! Files of the kernel's own process file system (proc(5)), for writing: what is found at such a path may have been
//! put there by somebody else, who thereby redirects what is written (CVE-2019-16884, CVE-2025-52881), or keeps it
//! from the kernel.
//!
//! Invariant: what [`Processes`] writes to is a file of a proc file system, reached from the root of one without
//! crossing another mount and without following a magic link.

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// The inode of the root of every proc file system (linux/proc_ns.h, `PROC_ROOT_INO`).
const ROOT: u64 = 1;

/// The root of a proc file system.
#[derive(Debug)]
pub struct Processes(OwnedFd);

impl Processes {
    /// That which is mounted on `/proc`.
    pub fn open() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, "/proc", flags, Mode::empty()).context("open `/proc`")?;
        Self::at(opened)
    }

    /// That which is mounted at an open directory.
    pub fn at(directory: OwnedFd) -> Result<Self> {
        let inode = fstat(&directory).context("fstat `/proc`")?.st_ino;
        if !is_proc(directory.as_fd())? || inode != ROOT {
            bail!("`/proc` is not the process file system of the kernel");
        }
        Ok(Self(directory))
    }

    /// Whether both show the same processes under the same numbers.
    pub fn is_same(&self, other: &Self) -> Result<bool> {
        let device = |root: &OwnedFd| {
            fstat(root)
                .context("fstat `/proc`")
                .map(|found| found.st_dev)
        };
        Ok(device(&self.0)? == device(&other.0)?)
    }

    /// Opens a file below it, `sys/kernel/hostname` for example.
    pub fn open_file(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        let say = || format!("open `/proc/{path}`");
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let rules = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let file = match openat2(&self.0, path, flags, Mode::empty(), rules) {
            Err(Errno::XDEV) => {
                return Err(Errno::XDEV)
                    .with_context(|| format!("something is mounted over `/proc/{path}`"));
            }
            // Sandboxes that do not know the call; there is nobody in it who could mount anything meanwhile.
            Err(Errno::NOSYS | Errno::PERM) => {
                openat(&self.0, path, flags, Mode::empty()).with_context(say)?
            }
            opened => opened.with_context(say)?,
        };
        if !is_proc(file.as_fd()).with_context(say)? {
            bail!("`/proc/{path}` is not a file of the kernel");
        }
        Ok(file)
    }

    /// Writes a file below it with one write(2), as the kernel takes most of them.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let file = self.open_file(path, OFlags::WRONLY)?;
        rustix::io::write(&file, content.as_bytes())
            .map(drop)
            .with_context(|| format!("write `{}` to `/proc/{path}`", content.trim_end()))
    }
}

/// Whether an open file lies in a proc file system.
pub fn is_proc(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(fstatfs(file).context("fstatfs")?.f_type as u64 == PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_written() {
        let processes = Processes::open().unwrap();
        let before = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        processes.write("self/oom_score_adj", &before).unwrap();
        let missing = processes.write("self/nothing", "x").unwrap_err();
        assert!(
            format!("{missing:#}").starts_with("open `/proc/self/nothing`: "),
            "{missing:#}"
        );
    }

    #[test]
    fn what_only_looks_like_it_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let other = openat(CWD, directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        assert!(Processes::at(other).is_err());
        let deeper = openat(CWD, "/proc/self", OFlags::PATH, Mode::empty()).unwrap();
        assert!(Processes::at(deeper).is_err());
    }

    #[test]
    fn no_magic_link_is_followed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let processes = Processes::open().unwrap();
        use std::os::fd::AsRawFd;
        for path in [
            format!("self/fd/{}", file.as_file().as_raw_fd()),
            "self/root/etc/passwd".into(),
            "../etc/passwd".into(),
        ] {
            let error = processes.open_file(&path, OFlags::RDONLY).unwrap_err();
            assert!(
                ["Too many levels", "cross"]
                    .iter()
                    .any(|why| format!("{error:#}").contains(why)),
                "{path}: {error:#}"
            );
        }
    }
}
