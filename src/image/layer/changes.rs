//! What a container has changed: its overlay's upper directory compared with the layers below, as Docker's `diff`
//! tells it (Documentation/filesystems/overlayfs.rst).
//!
//! The upper directory is hostile and may change meanwhile: it is walked by descriptors, without following
//! anything. The layers below are ours and never change.
//!
//! A directory that was only copied up because something in it has changed is changed too; its times do not count.
//! A file that was copied up and is still the same is not changed.

use super::XattrPrefix;
use super::lower::{Found, Lower};
use super::name::join;
use super::recorded::{Notes, RecordedOwner};
use super::{check_depth, shown};
use crate::error::bad_input;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What has become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The layers below have nothing there.
    Added,
    /// It is there below, and is otherwise.
    Modified,
    /// It is there below, and is gone.
    Deleted,
}

/// One path that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Below the root, without a slash in front.
    pub path: Vec<u8>,
    /// What has become of it.
    pub kind: ChangeKind,
}

/// Where to look.
pub struct Overlay<'a> {
    /// The upper directory.
    pub upper: &'a Path,
    /// The trees below, lowest first.
    pub parents: &'a [PathBuf],
    /// How overlayfs marks things here.
    pub xattrs: XattrPrefix,
    /// Whether the upper directory has all that the container has, and hides all that is below
    /// ([`XattrPrefix::Names`]).
    pub whole: bool,
    /// Paths that do not count as long as they are empty and new: what was made to mount something on.
    pub ignored: &'a [&'a str],
}

/// All changes, sorted by path; a directory stands before what is in it.
pub fn changes(overlay: &Overlay<'_>) -> Result<Vec<Change>> {
    Ok(changes_and_rest(overlay, &Notes::default())?.0)
}

/// Likewise, and what is in the upper directory and is no change. What somebody was noted to own is one.
pub fn changes_and_rest(
    overlay: &Overlay<'_>,
    notes: &Notes,
) -> Result<(Vec<Change>, Vec<Vec<u8>>)> {
    let upper = super::pack::open_directory(overlay.upper)?;
    let mut walk = Walk {
        lower: Lower::new(overlay.parents, overlay.xattrs),
        overlay,
        notes,
        changes: Vec::new(),
        rest: Vec::new(),
    };
    walk.directory(&upper, b"", &walk_root(overlay), 0)?;
    walk.changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok((walk.changes, walk.rest))
}

/// The root is merged of all layers whatever marks they have.
fn walk_root(overlay: &Overlay<'_>) -> Vec<usize> {
    (0..overlay.parents.len()).rev().collect()
}

struct Walk<'a> {
    lower: Lower<'a>,
    overlay: &'a Overlay<'a>,
    notes: &'a Notes,
    changes: Vec<Change>,
    rest: Vec<Vec<u8>>,
}

impl Walk<'_> {
    /// Looks at all entries of a directory, merged with those of the layers `below`.
    fn directory(
        &mut self,
        directory: &OwnedFd,
        path: &[u8],
        below: &[usize],
        depth: usize,
    ) -> Result<()> {
        check_depth(depth, path)?;
        let failed = |errno| failed("read", path, errno);
        let mut seen = BTreeSet::new();
        for entry in Dir::read_from(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let last = entry.file_name().to_bytes();
            if last == b"." || last == b".." {
                continue;
            }
            seen.insert(last.to_vec());
            self.entry(directory, last, &join(path, last), below, depth)?;
        }
        let is_opaque = |walk: &Self| -> Result<bool> {
            let is_root = path.is_empty();
            Ok(!is_root && walk.attribute(directory, "opaque")?.as_deref() == Some(b"y"))
        };
        if !below.is_empty() && (self.overlay.whole || is_opaque(self)?) {
            self.hidden(path, below, &seen)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        parent: &OwnedFd,
        last: &[u8],
        path: &[u8],
        below: &[usize],
        depth: usize,
    ) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let entry = match openat(parent, last, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            result => result.map_err(|errno| failed("open", path, errno))?,
        };
        let stat = rustix::fs::fstat(&entry).map_err(|errno| failed("stat", path, errno))?;
        for mark in ["redirect", "metacopy"] {
            if !self.overlay.whole && self.attribute(&entry, mark)?.is_some() {
                let message = format!(
                    "`{}` has overlayfs' mark `{mark}`: only the kernel knows what it is",
                    shown(path)
                );
                return Err(bad_input(message)
                    .hint("mount overlays with redirect_dir=off and metacopy=off")
                    .into());
            }
        }
        let found = self.find(path, below)?;
        if self.is_whiteout(&entry, &stat)? {
            match found {
                Found::Nothing => self.rest.push(path.to_vec()),
                _ => self.push(path, ChangeKind::Deleted),
            }
            return Ok(());
        }
        let before = self.changes.len();
        let kind = match &found {
            Found::Nothing => Some(ChangeKind::Added),
            _ => self
                .differs(&entry, &stat, path, &found)?
                .then_some(ChangeKind::Modified),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory {
            let layers = match &found {
                Found::Directory(layers) => &layers[..],
                _ => &[],
            };
            let directory = super::pack::reopen(&entry, OFlags::DIRECTORY)
                .map_err(|errno| failed("open", path, errno))?;
            self.directory(&directory, path, layers, depth + 1)?;
        }
        let is_empty = self.changes.len() == before && (is_directory || stat.st_size == 0);
        let made_to_mount_on = is_empty
            && self
                .overlay
                .ignored
                .iter()
                .any(|name| name.as_bytes() == path);
        match kind {
            Some(ChangeKind::Added) if made_to_mount_on => self.rest.push(path.to_vec()),
            Some(kind) => self.push(path, kind),
            None if self.changes.len() > before => self.push(path, ChangeKind::Modified),
            None => self.rest.push(path.to_vec()),
        }
        Ok(())
    }

    /// What the layers have in an opaque directory and the upper one has not.
    fn hidden(&mut self, path: &[u8], below: &[usize], seen: &BTreeSet<Vec<u8>>) -> Result<()> {
        let names = self.lower.names(below, path);
        let names = names.with_context(|| format!("read `/{}` below", shown(path)))?;
        for name in names.difference(seen) {
            let path = join(path, name);
            if !matches!(self.find(&path, below)?, Found::Nothing) {
                self.push(&path, ChangeKind::Deleted);
            }
        }
        Ok(())
    }

    fn find(&self, path: &[u8], below: &[usize]) -> Result<Found> {
        if below.is_empty() {
            return Ok(Found::Nothing);
        }
        let found = self.lower.find_in(below, path);
        found.map_err(|errno| failed("look below for", path, errno))
    }

    fn push(&mut self, path: &[u8], kind: ChangeKind) {
        self.changes.push(Change {
            path: path.to_vec(),
            kind,
        });
    }

    /// Whether an entry is not what the layers below show.
    fn differs(&self, entry: &OwnedFd, stat: &Stat, path: &[u8], found: &Found) -> Result<bool> {
        if self.notes.of(entry) != RecordedOwner::default() {
            return Ok(true);
        }
        let (layer, below) = match found {
            Found::Nothing => return Ok(true),
            Found::Other(layer, below) => (*layer, **below),
            Found::Directory(layers) => {
                let full = self.lower.full(layers[0], path);
                let below = statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| failed("stat below", path, errno))?;
                (layers[0], below)
            }
        };
        if (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev)
            != (below.st_mode, below.st_uid, below.st_gid, below.st_rdev)
        {
            return Ok(true);
        }
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return Ok(false);
        }
        if (stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
            != (below.st_size, below.st_mtime, below.st_mtime_nsec)
        {
            return Ok(true);
        }
        let full = self.lower.full(layer, path);
        if kind == FileType::Symlink {
            let target = |result: rustix::io::Result<_>| {
                result.map_err(|errno| failed("read the link", path, errno))
            };
            return Ok(target(readlinkat(entry, "", Vec::new()))?
                != target(readlinkat(CWD, &full, Vec::new()))?);
        }
        let capability = "security.capability";
        Ok(value(&magic_link(entry), capability, path)? != value(&full, capability, path)?)
    }

    fn is_whiteout(&self, entry: &OwnedFd, stat: &Stat) -> Result<bool> {
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            _ if self.overlay.whole => false,
            FileType::CharacterDevice => stat.st_rdev == 0,
            FileType::RegularFile => {
                stat.st_size == 0 && self.attribute(entry, "whiteout")?.is_some()
            }
            _ => false,
        })
    }

    fn attribute(&self, entry: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>> {
        value(
            &magic_link(entry),
            &self.overlay.xattrs.attribute(name),
            name.as_bytes(),
        )
    }
}

fn magic_link(entry: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", entry.as_raw_fd()).into()
}

/// An extended attribute; `None` where there is none. The path ends in what is meant: it is a magic link to a
/// descriptor, or a file of ours that is no symbolic link.
fn value(path: &Path, name: &str, shown: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(4096);
    match rustix::fs::getxattr(path, name, rustix::buffer::spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        // Too long for any of those that are asked for, so it differs from them; and it is there.
        Err(Errno::RANGE) => Ok(Some(vec![0; 4097])),
        Err(errno) => Err(failed("read an attribute of", shown, errno)),
    }
}

fn failed(verb: &str, path: &[u8], errno: Errno) -> anyhow::Error {
    anyhow::Error::from(std::io::Error::from(errno)).context(format!("{verb} `/{}`", shown(path)))
}
