//! Copying the tree of a layer with other owners, and what several layers show together. Contents are shared with the original where the file system can
//! (ioctl_ficlonerange(2), through copy_file_range(2)), everything else is as it was: modes, times, hard links,
//! extended attributes, whiteouts.
//!
//! The tree is a layer's: nobody changes it while it is read, and links in it are never followed.

use crate::error::Error;
use crate::image::layer::XattrPrefix;
use crate::image::layer::lower::{Found, Lower};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::fs::{
    chmodat, chownat, lgetxattr, llistxattr, lsetxattr, makedev, mknodat, statat, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A new id for an old one.
pub type Move<'a> = &'a dyn Fn(u32) -> Result<u32, Error>;

/// Copies what layers show together, as an overlay of them would, to `to`, which must not exist. `trees`: lowest first.
pub fn merge(trees: &[PathBuf], prefix: XattrPrefix, to: &Path) -> Result<()> {
    let mut merger = Merger {
        lower: Lower::new(trees, prefix),
        copier: Copier {
            uid: &Ok,
            gid: &Ok,
            linked: HashMap::new(),
        },
    };
    let layers: Vec<usize> = (0..trees.len()).rev().collect();
    match layers.is_empty() {
        true => std::fs::create_dir(to).with_context(|| format!("create `{}`", to.display())),
        false => merger.directory(&layers, b"", to),
    }
}

struct Merger<'a> {
    lower: Lower<'a>,
    copier: Copier<'a>,
}

impl Merger<'_> {
    fn directory(&mut self, layers: &[usize], path: &[u8], to: &Path) -> Result<()> {
        let top = self.lower.full(layers[0], path);
        let context = || format!("copy `{}`", top.display());
        std::fs::create_dir(to).with_context(|| format!("create `{}`", to.display()))?;
        for name in self.lower.names(layers, path).with_context(context)? {
            let below = [path, b"/", &name].concat();
            let to = to.join(OsStr::from_bytes(&name));
            let below = below.strip_prefix(b"/").unwrap_or(&below);
            match self
                .lower
                .find_in(layers, below)
                .with_context(|| format!("look for `{}`", to.display()))?
            {
                Found::Nothing => {}
                Found::Directory(merged) => self.directory(&merged, below, &to)?,
                Found::Other(layer, _) => self.copier.copy(&self.lower.full(layer, below), &to)?,
            }
        }
        let status = statat(CWD, &top, AtFlags::SYMLINK_NOFOLLOW).with_context(context)?;
        self.copier
            .give_attributes(FileType::Directory, &status, &top, to)
            .with_context(context)
    }
}

/// Copies the tree at `from` to `to`, which must not exist, with the owners that `uid` and `gid` give.
pub fn shift(from: &Path, to: &Path, uid: Move<'_>, gid: Move<'_>) -> Result<()> {
    Copier {
        uid,
        gid,
        linked: HashMap::new(),
    }
    .copy(from, to)
}

struct Copier<'a> {
    uid: Move<'a>,
    gid: Move<'a>,
    /// Files with several names: device and inode → the first copy.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let status = statat(CWD, from, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("stat `{}`", from.display()))?;
        let kind = FileType::from_raw_mode(status.st_mode);
        if kind != FileType::Directory && status.st_nlink > 1 {
            if let Some(first) = self.linked.get(&(status.st_dev, status.st_ino)) {
                return std::fs::hard_link(first, to)
                    .with_context(|| format!("link `{}`", to.display()));
            }
            self.linked
                .insert((status.st_dev, status.st_ino), to.to_owned());
        }
        self.make(kind, &status, from, to)
            .with_context(|| format!("copy `{}`", from.display()))?;
        self.give_attributes(kind, &status, from, to)
            .with_context(|| format!("set the attributes of `{}`", to.display()))
    }

    fn make(&mut self, kind: FileType, status: &Stat, from: &Path, to: &Path) -> Result<()> {
        match kind {
            FileType::Directory => {
                std::fs::create_dir(to)?;
                for entry in std::fs::read_dir(from)? {
                    let name = entry?.file_name();
                    self.copy(&from.join(&name), &to.join(&name))?;
                }
            }
            FileType::RegularFile => drop(std::fs::copy(from, to)?),
            FileType::Symlink => std::os::unix::fs::symlink(std::fs::read_link(from)?, to)?,
            _ => {
                let device = makedev(
                    rustix::fs::major(status.st_rdev),
                    rustix::fs::minor(status.st_rdev),
                );
                mknodat(CWD, to, kind, Mode::from(0o600), device)?;
            }
        }
        Ok(())
    }

    /// Owner before mode, since chown(2) clears setuid and capabilities; times last.
    fn give_attributes(&self, kind: FileType, status: &Stat, from: &Path, to: &Path) -> Result<()> {
        let (uid, gid) = ((self.uid)(status.st_uid)?, (self.gid)(status.st_gid)?);
        chownat(
            CWD,
            to,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        if kind != FileType::Symlink {
            chmodat(
                CWD,
                to,
                Mode::from(status.st_mode & 0o7777),
                AtFlags::empty(),
            )?;
        }
        copy_xattrs(from, to)?;
        let time = |seconds, nanoseconds| Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds as _,
        };
        let times = Timestamps {
            last_access: time(status.st_atime, status.st_atime_nsec),
            last_modification: time(status.st_mtime, status.st_mtime_nsec),
        };
        Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn copy_xattrs(from: &Path, to: &Path) -> Result<()> {
    // The kernel's own limits for the list and for a value (xattr(7)).
    let mut names = vec![0; 64 << 10];
    let length = match llistxattr(from, &mut names) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 64 << 10];
        let length = lgetxattr(from, name, &mut value)?;
        lsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn everything_but_the_owner_stays() {
        // Nobody but root may give files away.
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let by = if uid == 0 { 7 } else { 0 };
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::write(from.join("file"), b"content").unwrap();
        std::fs::set_permissions(from.join("file"), std::fs::Permissions::from_mode(0o4755))
            .unwrap();
        std::fs::hard_link(from.join("file"), from.join("sub/again")).unwrap();
        symlink("/nowhere", from.join("link")).unwrap();
        mknodat(
            CWD,
            from.join("whiteout"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )
        .unwrap();
        lsetxattr(
            from.join("sub"),
            "user.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )
        .unwrap();
        shift(&from, &to, &|uid| Ok(uid + by), &|gid| Ok(gid + by)).unwrap();
        let file = std::fs::metadata(to.join("file")).unwrap();
        let expected = std::fs::metadata(from.join("file")).unwrap();
        assert_eq!(
            (file.uid(), file.gid(), file.mode(), file.nlink()),
            (uid + by, gid + by, 0o104_755, 2)
        );
        assert_eq!(
            (file.mtime(), file.mtime_nsec()),
            (expected.mtime(), expected.mtime_nsec())
        );
        assert_eq!(
            std::fs::metadata(to.join("sub/again")).unwrap().ino(),
            file.ino()
        );
        assert_eq!(
            std::fs::read_link(to.join("link")).unwrap(),
            Path::new("/nowhere")
        );
        assert_eq!(
            std::fs::symlink_metadata(to.join("whiteout"))
                .unwrap()
                .rdev(),
            0
        );
        let mut value = [0; 8];
        assert_eq!(
            lgetxattr(to.join("sub"), "user.overlay.opaque", &mut value),
            Ok(1)
        );
    }
}
