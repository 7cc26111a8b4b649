//! `--storage-opt size=`: how much a container may write to its root file system. The kernel counts by a project id of
//! the container's own, which its upper directory has and hands down (see [`crate::sys::quota`]).
//!
//! Which id that is stands nowhere but on the directory itself. It is taken from where the container's own id leads,
//! at one that no file and no limit on that file system has, whoever else uses projects there.
//!
//! Invariant: only what the container writes counts. Its log and its records do not, so that a full one can be stopped,
//! looked into and removed.

use super::engine::Engine;
use super::record::{Directory, Record};
use crate::error::{Error, Kind, bad_input};
use crate::store::lock::Lock;
use crate::sys::quota;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Below this, administrators give ids by hand.
const FIRST: u32 = 0x4000_0000;
/// In a file system where so many in a row are taken something is wrong.
const ATTEMPTS: u32 = 1000;

/// Limits a container that has just been made to `bytes`.
pub fn limit(engine: &Engine, record: &Record, bytes: u64) -> Result<()> {
    if bytes == 0 {
        return Err(bad_input("--storage-opt size=0 leaves no room for anything").into());
    }
    if let Some(why) = engine.copies() {
        return Err(unsupported(&format!("there are no overlays here, {why}"))
            .hint("use another --root")
            .into());
    }
    let directory = Directory::of(engine, &record.id);
    let upper = open(&directory.file("upper"))?;
    if engine.mapping.needs_user_namespace() {
        let why = "only root can limit what a container writes";
        return Err(unsupported(why)
            .hint("--tmpfs PATH:size=SIZE limits what a directory holds")
            .into());
    }
    if !quota::is_enforced(upper.as_fd()) {
        let why = format!(
            "what `{}` lies on has no project quotas in force",
            engine.paths.data().display()
        );
        return Err(unsupported(&why)
            .hint("mount xfs with `pquota`; for ext4, `tune2fs -O project,quota -Q prjquota DEVICE` while it is not mounted, then mount it with `prjquota`")
            .into());
    }
    let context = || format!("limit container {} to {bytes} bytes", record.name);
    // Who chooses at the same time would find the same id free.
    let _lock = Lock::exclusive(&engine.paths.quota_lock())?;
    let project = free_project(upper.as_fd(), &record.id).with_context(context)?;
    quota::set_limit(upper.as_fd(), project, bytes)
        .context("quotactl Q_SETQUOTA")
        .with_context(context)?;
    let given = quota::set_project(upper.as_fd(), project).and_then(|()| inherit(&directory));
    if given.is_err() {
        // Without files and limits there is nothing of it.
        let _ = quota::set_limit(upper.as_fd(), project, 0);
    }
    given
        .context("ioctl FS_IOC_FSSETXATTR")
        .with_context(context)
}

/// Room for what the kernel makes when an overlay is mounted, in bytes: xfs reserves more than it takes in the end.
const ROOM_TO_START: u64 = 1 << 20;

/// As long as this is held a container has a little more room than its limit: the kernel makes a directory in that of a
/// full one when it mounts its overlay, and would mount that read-only.
#[derive(Debug)]
pub struct Widened {
    upper: OwnedFd,
    project: u32,
    bytes: u64,
}

impl Widened {
    /// `None` for a container without a limit, or where none is in force any more.
    pub fn of(directory: &Directory, record: &Record) -> Option<Self> {
        let bytes = record.options.storage_size?;
        let upper = open(&directory.file("upper")).ok()?;
        let project = quota::project(upper.as_fd()).ok()?;
        let widened = Self {
            upper,
            project,
            bytes,
        };
        (project >= FIRST && widened.set(bytes + ROOM_TO_START).is_ok()).then_some(widened)
    }

    fn set(&self, bytes: u64) -> Result<(), Errno> {
        quota::set_limit(self.upper.as_fd(), self.project, bytes)
    }
}

impl Drop for Widened {
    fn drop(&mut self) {
        // Whatever keeps it from that leaves a limit that is a little wider until the next start.
        let _ = self.set(self.bytes);
    }
}

/// Takes the limit of a container that is going away. Its id is free when its files are gone.
pub fn release(directory: &Directory, record: &Record) {
    // Whatever fails leaves a limit that nobody reaches, on an id that nobody takes.
    if is_limited(record)
        && let Ok(upper) = open(&directory.file("upper"))
        && let Ok(project) = quota::project(upper.as_fd())
        && project >= FIRST
    {
        let _ = quota::set_limit(upper.as_fd(), project, 0);
    }
}

fn is_limited(record: &Record) -> bool {
    record.options.storage_size.is_some()
}

/// The work directory gets the project of the upper one: what is made in it is renamed to there, which between projects
/// cannot be done.
fn inherit(directory: &Directory) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |name| rustix::fs::open(directory.file(name), flags, Mode::empty());
    let project = quota::project(open("upper")?.as_fd())?;
    quota::set_project(open("work")?.as_fd(), project)
}

fn free_project(place: std::os::fd::BorrowedFd<'_>, id: &str) -> Result<u32> {
    let start = id
        .get(..8)
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or_default();
    for attempt in 0..ATTEMPTS {
        let project = FIRST + start.wrapping_add(attempt) % FIRST;
        if quota::usage(place, project).context("quotactl Q_GETQUOTA")? == quota::Usage::default() {
            return Ok(project);
        }
    }
    let message = format!("{ATTEMPTS} project ids in a row are in use on that file system");
    Err(Error::new(Kind::Conflict, message)
        .hint("repquota -P shows them")
        .into())
}

/// In Docker's words, which scripts look for.
fn unsupported(why: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option, or over ext4 with \
             'prjquota': {why}"
        ),
    )
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .with_context(|| format!("open `{}`", path.display()))
}
