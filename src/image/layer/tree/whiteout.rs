//! Whiteouts and opaque directories, as overlayfs has them (Documentation/filesystems/overlayfs.rst).
//!
//! By the OCI image-spec (layer.md, "Whiteouts") they hide what the *lower* layers have: an entry of the same
//! layer wins over a whiteout of its name, and survives in an opaque directory, whichever comes first.
//!
//! A whiteout is the character device 0:0. Where no such node can be made it is an empty file with the
//! attribute `overlay.whiteout`, in a directory with `overlay.opaque=x`. Where there are no overlays at all, both are
//! empty files with the names that archives have for them.

use super::super::name::{Name, WHITEOUT, join, split};
use super::super::{failed, lower::Found};
use super::attributes::is_let_in;
use super::{Attributes, Tree};
use crate::image::layer::XattrPrefix;
use crate::image::layer::archive::{Member, MemberKind};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, mknodat, openat, statat, unlinkat};
use rustix::io::Errno;
use std::collections::btree_map::Entry;
use std::os::fd::OwnedFd;

/// How a whiteout is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A character device 0:0.
    Device,
    /// An empty file with an attribute.
    Attribute,
    /// An empty file whose name says what it hides ([`XattrPrefix::Names`]).
    Name,
}

impl Tree<'_> {
    /// Hides what the lower layers have at the name.
    pub fn whiteout(&mut self, name: &Name, member: &Member) -> Result<()> {
        let Some((directory, last)) = name.split() else {
            return Ok(());
        };
        let parent = self.parent(directory, member.mtime)?;
        let path = join(&parent.path, last);
        match statat(&parent.fd, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => self.make_whiteout(&parent.fd, last, path),
            Err(errno) => Err(failed("look at", &path, errno)),
            Ok(_) => {
                // Anything but a directory hides what is below by itself.
                if let Some(pending) = self.directories.get_mut(&path) {
                    pending.opaque = true;
                }
                Ok(())
            }
        }
    }

    /// Hides all that the lower layers have in the directory.
    pub fn opaque(&mut self, name: &Name, member: &Member) -> Result<()> {
        let directory = self.parent(name.bytes(), member.mtime)?;
        if let Some(pending) = self.directories.get_mut(&directory.path) {
            pending.opaque = true;
        }
        Ok(())
    }

    fn make_whiteout(&mut self, parent: &OwnedFd, last: &[u8], path: Vec<u8>) -> Result<()> {
        // In a directory that is not merged overlayfs would list the whiteout.
        if self.is_below_opaque(&path) {
            return Ok(());
        }
        if matches!(self.find_below(&path)?, Found::Nothing) {
            self.depends_on_parents = true;
            return Ok(());
        }
        if self.rules.xattrs == XattrPrefix::Names {
            if let Entry::Vacant(place) = self.whiteouts.entry(path) {
                make_mark(parent, &[WHITEOUT, last].concat())
                    .map_err(|errno| failed("create the whiteout", place.key(), errno))?;
                place.insert(Form::Name);
            }
            return Ok(());
        }
        let form = match mknodat(parent, last, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Form::Device,
            Err(Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::NOTSUP) => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let attribute = self.rules.xattrs.attribute("whiteout");
                openat(parent, last, flags, Mode::RUSR | Mode::WUSR)
                    .and_then(|file| {
                        rustix::fs::fsetxattr(file, attribute, b"y", XattrFlags::empty())
                    })
                    .map_err(|errno| failed("create the whiteout", &path, errno))?;
                Form::Attribute
            }
            Err(errno) => return Err(failed("create the whiteout", &path, errno)),
        };
        self.whiteouts.insert(path, form);
        Ok(())
    }

    pub fn remove_whiteout(&mut self, path: &[u8]) -> Result<()> {
        let by_name = self.whiteouts.get(path) == Some(&Form::Name);
        let mark = match split(path).filter(|_| by_name) {
            Some((directory, last)) => join(directory, &[WHITEOUT, last].concat()),
            None => path.to_vec(),
        };
        unlinkat(&self.root, &*mark, AtFlags::empty())
            .map_err(|errno| failed("remove the whiteout", path, errno))?;
        self.whiteouts.remove(path);
        Ok(())
    }

    /// The root is what the layers below show of theirs, until the layer has an entry for it.
    pub fn imply_root(&mut self) -> Result<()> {
        let epoch = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut attributes = Attributes::implied(epoch);
        if let Found::Directory(layers) = self.find_below(b"")? {
            attributes = self
                .lower
                .attributes(layers[0], b"")
                .map_err(|errno| failed("look at", b".", errno))?;
            attributes
                .xattrs
                .retain(|(name, _)| is_let_in(name, MemberKind::Directory, self.rules));
            attributes.mtime = epoch;
        }
        self.set_pending(b"", attributes, false);
        Ok(())
    }

    /// overlayfs merges the roots of all layers whatever attributes they have, so an opaque root becomes
    /// whiteouts of all that the roots below have.
    pub fn spell_out_opaque_root(&mut self) -> Result<()> {
        match self.directories.get_mut(&b""[..]) {
            Some(root) if root.opaque => root.opaque = false,
            _ => return Ok(()),
        }
        let Found::Directory(layers) = self
            .lower
            .find(b"")
            .map_err(|errno| failed("look at", b".", errno))?
        else {
            return Ok(());
        };
        self.depends_on_parents = true;
        for name in self
            .lower
            .names(&layers, b"")
            .context("list the layers below")?
        {
            if let Some(pending) = self.directories.get_mut(&name) {
                pending.opaque = true;
            } else if statat(&self.root, &name, AtFlags::SYMLINK_NOFOLLOW).is_err() {
                let root = self.root.try_clone().context("duplicate a descriptor")?;
                self.make_whiteout(&root, &name, name.clone())?;
            }
        }
        Ok(())
    }

    /// Below an opaque directory nothing is merged, so whiteouts are not needed there, and would be listed.
    pub fn drop_needless_whiteouts(&mut self) -> Result<()> {
        let needless: Vec<_> = self
            .whiteouts
            .keys()
            .filter(|path| self.is_below_opaque(path))
            .cloned()
            .collect();
        needless
            .iter()
            .try_for_each(|path| self.remove_whiteout(path))
    }

    /// Whether a directory above the path is opaque. The root does not count, to overlayfs it never is.
    pub fn is_below_opaque(&self, path: &[u8]) -> bool {
        let mut above = split(path);
        while let Some((directory, _)) = above.filter(|(directory, _)| !directory.is_empty()) {
            if self
                .directories
                .get(directory)
                .is_some_and(|pending| pending.opaque)
            {
                return true;
            }
            above = split(directory);
        }
        false
    }
}

/// An empty file that only its name is for.
pub fn make_mark(directory: &OwnedFd, name: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map(drop)
}
