//! Where files are copied from: a context, or the merged files of layers.

use super::filter::{Filter, Verdict};
use super::selection::Entry;
use crate::error::{Error, Kind, bad_input};
use crate::sys::openat2::open_beneath;
use anyhow::Result;
use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;
use std::os::fd::{BorrowedFd, OwnedFd};

/// The owner of a file of layers, for its path and its owner as it lies there.
pub type Owner<'a> = dyn Fn(&[u8], (u32, u32)) -> (u32, u32) + Sync + 'a;

/// Files below a root.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// The root.
    pub root: BorrowedFd<'a>,
    /// What they are.
    pub files: Files<'a>,
}

/// What files are.
#[derive(Clone, Copy)]
pub enum Files<'a> {
    /// Of a context: whoever they belong to, the image's root gets them, and no attributes.
    Context {
        /// What is left out of it.
        ignored: Option<&'a Filter<'a>>,
    },
    /// Of layers: they stay as they are.
    Layers {
        /// Whom they belong to, where the disk does not know it.
        owner: Option<&'a Owner<'a>>,
    },
}

impl<'a> Tree<'a> {
    /// A context.
    pub fn context(root: BorrowedFd<'a>, ignored: Option<&'a Filter<'a>>) -> Self {
        let files = Files::Context { ignored };
        Self { root, files }
    }

    /// Layers.
    pub fn layers(root: BorrowedFd<'a>, owner: Option<&'a Owner<'a>>) -> Self {
        let files = Files::Layers { owner };
        Self { root, files }
    }

    /// Whether files keep their owners and attributes.
    pub fn is_layers(&self) -> bool {
        matches!(self.files, Files::Layers { .. })
    }

    /// What is said of a path.
    pub fn verdict(&self, path: &[u8], is_directory: bool) -> Verdict {
        match self.files {
            Files::Context {
                ignored: Some(filter),
            } => filter(path, is_directory),
            _ => Verdict::Taken,
        }
    }

    /// Whom a file belongs to.
    pub fn owner(&self, path: &[u8], found: (u32, u32)) -> (u32, u32) {
        match self.files {
            Files::Context { .. } => (0, 0),
            Files::Layers { owner: None } => found,
            Files::Layers { owner: Some(owner) } => owner(path, found),
        }
    }

    /// Opens what is at a path without following a link; the root's is empty.
    pub fn open(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let calm = match flags.contains(OFlags::PATH) {
            true => OFlags::empty(),
            // Nobody is waited for at the other end of a pipe.
            false => OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let flags = flags | OFlags::NOFOLLOW | calm;
        open_beneath(self.root, path, flags, Mode::empty())
    }

    /// Lets a file that was selected be read; an error if it is not what it was then, or changes meanwhile.
    pub fn read<T>(&self, entry: &Entry, read: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let failed = |errno| self.failed("read", &entry.path, errno);
        let file = self.open(&entry.path, OFlags::RDONLY).map_err(failed)?;
        let check = || match entry.is_still(&fstat(&file).map_err(failed)?) {
            true => Ok(()),
            false => Err(anyhow::Error::from(self.changed(&entry.path))),
        };
        check()?;
        let told = read(&file)?;
        check()?;
        Ok(told)
    }

    /// The error of a system call about a file.
    pub fn failed(&self, verb: &str, path: &[u8], errno: Errno) -> anyhow::Error {
        let place = match self.files {
            Files::Context { .. } => " of the build context",
            Files::Layers { .. } => "",
        };
        let what = format!("{verb} `{}`{place}", shown(path));
        match errno {
            Errno::ACCESS if !self.is_layers() => {
                let error = Error::new(Kind::Denied, format!("{what}: permission denied"));
                let hint =
                    "name it in `.dockerignore` if the build does not need it, else let it be read";
                error.hint(hint).into()
            }
            Errno::LOOP | Errno::NOENT | Errno::NOTDIR => self.changed(path).into(),
            _ => anyhow::Error::from(std::io::Error::from(errno)).context(what),
        }
    }

    /// The error of a path that cannot be followed to its end.
    pub fn unresolved(&self, path: &[u8], errno: Errno) -> anyhow::Error {
        match errno {
            Errno::LOOP => {
                let message = format!("`{}`: too many levels of symbolic links", shown(path));
                bad_input(message)
                    .hint("a link leads back to itself")
                    .into()
            }
            errno => self.failed("look up", path, errno),
        }
    }

    /// The error about a file that is not what it was a moment ago.
    pub fn changed(&self, path: &[u8]) -> Error {
        let message = format!("`{}` was changed while it was copied", shown(path));
        bad_input(message).hint("build again when nothing writes there")
    }
}

/// A path on one line.
pub fn shown(path: &[u8]) -> String {
    let path = if path.is_empty() { b"/" } else { path };
    String::from_utf8_lossy(path).escape_debug().to_string()
}
