//! The first use of an empty volume: it gets what the image has where it is mounted.
//!
//! ```text
//! filling/{tree,links} ──all is there──▶ filled ──entry by entry──▶ _data ──attributes──▶ filled is removed
//!        │ killed                            │ killed
//!        └──▶ swept                          └──▶ finished
//! ```
//!
//! `_data` itself is never replaced: another container may have it mounted. A volume with a device has the two in its
//! own root, under names that begin with a dot, since nothing can be moved into another file system.
//!
//! Invariant: all of this happens under the exclusive lock of the volume, and whoever gets a lock finishes or sweeps
//! what a killed process has left, first.

use super::Volume;
use super::mount::Opened;
use crate::id_mapping::Mapping;
use crate::paths::{self, Paths};
use crate::store::atomic::Durability;
use crate::store::copy::{self, Copier, Owner};
use crate::store::lock::Lock;
use crate::store::tree;
use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fstat, fsync, mkdirat, openat, renameat, renameat_with,
    statat, syncfs,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// In the directory of what is being copied.
const TREE: &str = "tree";
/// Beside it: another name for each file with several.
const LINKS: &str = "links";

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Fills an empty volume with what is in a directory of an image, and gives it the attributes of that; one that has
/// something in it stays as it is. Tells whether it was filled, and what the user should know.
///
/// The caller holds [`super::lock_exclusive`] and is root of the store's user namespace. `owner` tells, for an owner that
/// the image's files have as they are seen here, that of the copy. A [`Durability::Durable`] copy is whole or not there
/// also after a power cut.
pub fn fill(
    paths: &Paths,
    volume: &Volume,
    opened: &Opened,
    source: BorrowedFd<'_>,
    owner: Owner<'_>,
    durability: Durability,
    _lock: &Lock,
) -> Result<Option<Vec<String>>> {
    let attempt = || {
        let Some(place) = Place::of(paths, volume, opened)? else {
            return Ok(None);
        };
        place.settle()?;
        if !place.is_empty()? {
            return Ok(None);
        }
        place.fill(source, owner, durability).map(Some)
    };
    attempt().with_context(|| format!("copy what the image has to volume {}", volume.name))
}

/// Whether [`fill`] has something to do. The caller holds a lock of the volume, shared or not.
pub fn is_due(paths: &Paths, volume: &Volume, opened: &Opened) -> Result<bool> {
    let look = || -> Result<bool> {
        let Some(place) = Place::of(paths, volume, opened)? else {
            return Ok(false);
        };
        Ok(place.is_pending() || place.is_empty()?)
    };
    look().with_context(|| format!("look into volume {}", volume.name))
}

/// Whether somebody fills it, or was killed while he did.
pub fn is_pending(paths: &Paths, name: &str) -> bool {
    let directory = paths.volume(name);
    let exists = |name: &str| directory.join(name).symlink_metadata().is_ok();
    exists(paths::VOLUME_FILLING) || exists(paths::VOLUME_FILLED)
}

/// Puts in order what a killed process has left. The lock is held.
pub(super) fn settle(paths: &Paths, mapping: &Mapping, name: &str) -> Result<()> {
    if !is_pending(paths, name) {
        return Ok(());
    }
    mapping
        .within(|| Place::plain(paths, name)?.settle())
        .with_context(|| format!("finish what a killed command has left of volume {name}"))
}

/// A volume that is being filled.
struct Place {
    /// Its files.
    root: OwnedFd,
    /// Where the two directories are.
    parent: OwnedFd,
    filling: &'static str,
    filled: &'static str,
}

impl Place {
    /// `None` for one that gets nothing.
    fn of(paths: &Paths, volume: &Volume, opened: &Opened) -> Result<Option<Self>> {
        match volume.source()? {
            None => Self::plain(paths, &volume.name).map(Some),
            // It is gone with its last user, who is the next one.
            Some(source) if source.is_memory() => Ok(None),
            Some(_) => Self::mounted(opened).map(Some),
        }
    }

    fn plain(paths: &Paths, name: &str) -> Result<Self> {
        let open = |path: &Path| {
            rustix::fs::open(path, DIRECTORY, Mode::empty())
                .with_context(|| format!("open `{}`", path.display()))
        };
        let files = rustix::fs::open(super::data(paths, name), DIRECTORY, Mode::empty());
        Ok(Self {
            root: files.map_err(|error| super::without_files(paths, name, error))?,
            parent: open(&paths.volume(name))?,
            filling: paths::VOLUME_FILLING,
            filled: paths::VOLUME_FILLED,
        })
    }

    fn mounted(opened: &Opened) -> Result<Self> {
        let open = || {
            openat(&opened.place, ".", DIRECTORY, Mode::empty())
                .context("open the root of the volume")
        };
        Ok(Self {
            root: open()?,
            parent: open()?,
            filling: paths::MOUNTED_FILLING,
            filled: paths::MOUNTED_FILLED,
        })
    }

    fn is_pending(&self) -> bool {
        let exists = |name| statat(&self.parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        exists(self.filling) || exists(self.filled)
    }

    fn is_empty(&self) -> Result<bool> {
        // What mkfs leaves for fsck(8) is nobody's data.
        Ok(names(self.root.as_fd())?
            .iter()
            .all(|name| name == b"lost+found"))
    }

    fn fill(
        &self,
        source: BorrowedFd<'_>,
        owner: Owner<'_>,
        durability: Durability,
    ) -> Result<Vec<String>> {
        let make = |parent: BorrowedFd<'_>, name: &str| {
            mkdirat(parent, name, Mode::RWXU)
                .and_then(|()| openat(parent, name, DIRECTORY, Mode::empty()))
                .with_context(|| format!("create `{name}` in the volume"))
        };
        let filling = make(self.parent.as_fd(), self.filling)?;
        copy::forget_inherited(filling.as_fd())?;
        let (tree, links) = (make(filling.as_fd(), TREE)?, make(filling.as_fd(), LINKS)?);
        let copied = Copier::new(links.as_fd(), owner).directory(source, tree.as_fd());
        let warnings = match copied {
            Ok(warnings) => warnings,
            Err(error) => {
                // What cannot be removed now is swept later.
                let _ = self.settle();
                return Err(error);
            }
        };
        // What has the name `filled` is moved into the volume as it is, and never copied again.
        if durability == Durability::Durable {
            syncfs(&tree).context("write the copy to the disk")?;
        }
        renameat(&filling, TREE, &self.parent, self.filled).context("rename to `filled`")?;
        if durability == Durability::Durable {
            fsync(&self.parent).context("write the directory to the disk")?;
        }
        self.settle()?;
        Ok(warnings)
    }

    /// Finishes what is whole and removes what is not.
    fn settle(&self) -> Result<()> {
        match openat(&self.parent, self.filled, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => {}
            filled => {
                let filled = filled.context("open `filled`")?;
                self.take(filled.as_fd())?;
                tree::remove_at(&self.parent, self.filled.as_bytes()).context("remove `filled`")?;
            }
        }
        match tree::remove_at(&self.parent, self.filling.as_bytes()) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed.context("remove `filling`"),
        }
    }

    /// Moves everything to the volume's files. What a container has made there meanwhile stays.
    fn take(&self, filled: BorrowedFd<'_>) -> Result<()> {
        // Before what is in it goes, which changes its time.
        let stat = fstat(filled).context("fstat")?;
        for name in names(filled)? {
            let name = &*name;
            let moved = match renameat_with(filled, name, &self.root, name, RenameFlags::NOREPLACE)
            {
                // NFS and FUSE do not know the flag.
                Err(Errno::INVAL) => match statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => renameat(filled, name, &self.root, name),
                    _ => Ok(()),
                },
                moved => moved,
            };
            match moved {
                Err(Errno::EXIST) => {}
                moved => {
                    moved.with_context(|| format!("move `{}`", String::from_utf8_lossy(name)))?
                }
            }
        }
        copy::attributes(filled, &stat, self.root.as_fd())
            .context("set the attributes of the volume")
    }
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    tree::names(directory).context("read a directory")
}
