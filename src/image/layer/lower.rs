//! What the layers below show at a path: overlayfs' own look-up, done over their trees
//! (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
//!
//! Only reads. Invariant: paths come without links, `.` and `..`, and every directory on the way is checked to
//! be one in the very layer it is taken from, so that no look-up follows a link of an image.

use super::XattrPrefix;
use super::name::{OPAQUE, WHITEOUT, join, split};
use super::tree::Attributes;
use rustix::fs::{AtFlags, CWD, FileType, Stat, statat};
use rustix::io::{Errno, Result};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The trees of the layers below.
pub struct Lower<'a> {
    /// Lowest first.
    trees: &'a [PathBuf],
    prefix: XattrPrefix,
}

/// What is at a path.
pub enum Found {
    /// Nothing, or a whiteout.
    Nothing,
    /// A directory; the layers it is merged of, uppermost first.
    Directory(Vec<usize>),
    /// Anything else, in this layer.
    Other(usize, Box<Stat>),
}

impl<'a> Lower<'a> {
    /// `trees`, lowest first.
    pub fn new(trees: &'a [PathBuf], prefix: XattrPrefix) -> Self {
        Self { trees, prefix }
    }

    /// Whether there is nothing below.
    pub fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    /// Looks a path up; the empty one is the root.
    pub fn find(&self, path: &[u8]) -> Result<Found> {
        let mut layers: Vec<usize> = (0..self.trees.len()).rev().collect();
        let mut at = Vec::new();
        for component in path
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty())
        {
            at = super::name::join(&at, component);
            match self.find_in(&layers, &at)? {
                Found::Directory(merged) => layers = merged,
                found if at.len() == path.len() => return Ok(found),
                _ => return Ok(Found::Nothing),
            }
        }
        Ok(if layers.is_empty() {
            Found::Nothing
        } else {
            Found::Directory(layers)
        })
    }

    /// One step: `path` lies in a directory merged of these layers.
    pub fn find_in(&self, layers: &[usize], path: &[u8]) -> Result<Found> {
        let mut merged = Vec::new();
        for &layer in layers {
            let full = self.full(layer, path);
            let stat = match statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if self.is_hidden_by_name(layer, path)? => break,
                Err(Errno::NOENT) => continue,
                result => result?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                merged.push(layer);
                if self.is_opaque(&full)? || self.is_hidden_by_name(layer, path)? {
                    break;
                }
            } else if !merged.is_empty() || self.is_whiteout(&full, &stat)? {
                break;
            } else {
                return Ok(Found::Other(layer, Box::new(stat)));
            }
        }
        Ok(if merged.is_empty() {
            Found::Nothing
        } else {
            Found::Directory(merged)
        })
    }

    /// The names in a directory merged of these layers, and those of what is hidden there.
    pub fn names(&self, layers: &[usize], path: &[u8]) -> std::io::Result<BTreeSet<Vec<u8>>> {
        let mut names = BTreeSet::new();
        for &layer in layers {
            for entry in std::fs::read_dir(self.full(layer, path))? {
                let name = entry?.file_name().into_vec();
                if self.prefix != XattrPrefix::Names || !name.starts_with(WHITEOUT) {
                    names.insert(name);
                }
            }
        }
        Ok(names)
    }

    /// Whether a layer has a file that says so.
    fn is_hidden_by_name(&self, layer: usize, path: &[u8]) -> Result<bool> {
        let Some((directory, last)) = split(path).filter(|_| self.prefix == XattrPrefix::Names)
        else {
            return Ok(false);
        };
        exists(&self.full(layer, &join(directory, &[WHITEOUT, last].concat())))
    }

    fn is_opaque(&self, full: &Path) -> Result<bool> {
        match self.prefix {
            XattrPrefix::Names => exists(&full.join(OsStr::from_bytes(OPAQUE))),
            _ => Ok(self.attribute(full, "opaque")?.as_deref() == Some(b"y")),
        }
    }

    /// Where a path of one layer lies on the disk.
    pub fn full(&self, layer: usize, path: &[u8]) -> PathBuf {
        self.trees[layer].join(Path::new(OsStr::from_bytes(path)))
    }

    /// Owner, mode, time and attributes of a path in one layer.
    pub fn attributes(&self, layer: usize, path: &[u8]) -> Result<Attributes> {
        let full = self.full(layer, path);
        let stat = statat(CWD, &full, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: rustix::fs::Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: stat.st_mtime_nsec as _,
            },
            xattrs: extended_attributes(&full)?,
        })
    }

    fn is_whiteout(&self, full: &Path, stat: &Stat) -> Result<bool> {
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => stat.st_rdev == 0,
            FileType::RegularFile => {
                stat.st_size == 0 && self.attribute(full, "whiteout")?.is_some()
            }
            _ => false,
        })
    }

    fn attribute(&self, full: &Path, name: &str) -> Result<Option<Vec<u8>>> {
        if self.prefix == XattrPrefix::Names {
            return Ok(None);
        }
        let mut value = Vec::with_capacity(16);
        match rustix::fs::lgetxattr(
            full,
            self.prefix.attribute(name),
            rustix::buffer::spare_capacity(&mut value),
        ) {
            Ok(_) => Ok(Some(value)),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

fn exists(full: &Path) -> Result<bool> {
    match statat(CWD, full, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        result => result.map(|_| true),
    }
}

/// All attributes of a file, links not followed.
fn extended_attributes(full: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = Vec::with_capacity(64 << 10);
    match rustix::fs::llistxattr(full, rustix::buffer::spare_capacity(&mut names)) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        result => result?,
    };
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = Vec::with_capacity(64 << 10);
        rustix::fs::lgetxattr(full, name, rustix::buffer::spare_capacity(&mut value))?;
        found.push((name.to_vec(), value));
    }
    Ok(found)
}
