//! Where a copy begins and ends. Docker's table, which is that of cp(1) but for the trailing `/.`:
//!
//! | destination | a directory is copied | anything else is copied |
//! |---|---|---|
//! | is a directory | into it, under its name; of `dir/.` the content | into it, under its name |
//! | is a file | error | in its place |
//! | is not there, its parent is | as it | as it; an error if it ends in a slash |
//!
//! A last component that is a symbolic link is followed only where the path ends in a slash, at a destination, or
//! when that was asked for.

use super::Options;
use crate::error::{bad_input, not_found};
use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// As many links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: usize = 40;
const HELD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What is copied.
pub struct Source {
    /// Held, not opened (`O_PATH`).
    pub entry: OwnedFd,
    /// What it was asked for as; empty for a path that ends in `/.`, and for the root: their content is meant.
    base: Vec<u8>,
    is_directory: bool,
}

impl Source {
    /// `None` if it is not there.
    pub fn in_container(root: &OwnedFd, path: &str, follow: bool) -> Result<Option<Self>> {
        let path = Asked::new(path);
        let opened = match follow || path.is_directory {
            true => open_in_root(root, &path.text, HELD, Mode::empty()),
            false => open_in_root(root, &path.text, HELD | OFlags::NOFOLLOW, Mode::empty()),
        };
        match opened {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            opened => {
                let entry = opened.with_context(|| format!("open `{path}` of the container"))?;
                Self::of(entry, &path).map(Some)
            }
        }
    }

    /// A path of the host, in Docker's words if it is not there.
    pub fn on_host(path: &Path, follow: bool) -> Result<Self> {
        let asked = host_path(path)?;
        let flags = match follow || asked.is_directory {
            true => HELD,
            false => HELD | OFlags::NOFOLLOW,
        };
        let shown = &asked;
        let opened = match openat(CWD, &*asked.text, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                let message = format!("lstat {shown}: no such file or directory");
                return Err(not_found(message).into());
            }
            opened => opened.with_context(|| format!("open `{shown}`"))?,
        };
        Self::of(opened, &asked)
    }

    fn of(entry: OwnedFd, path: &Asked) -> Result<Self> {
        let stat = fstat(&entry).with_context(|| format!("stat `{path}`"))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if path.is_directory && !is_directory {
            return Err(bad_input(format!("`{path}` is not a directory")).into());
        }
        Ok(Self {
            entry,
            base: match path.is_content {
                true => Vec::new(),
                false => path
                    .split()
                    .map(|(_, base)| base.to_vec())
                    .unwrap_or_default(),
            },
            is_directory,
        })
    }

    /// What it is called in a tar stream.
    pub fn name(&self) -> Vec<u8> {
        match self.base.is_empty() {
            true => b".".to_vec(),
            false => self.base.clone(),
        }
    }
}

/// Where it goes.
pub enum Destination {
    /// A directory that is there.
    Directory(OwnedFd),
    /// A name in a directory that is there.
    Name {
        /// The directory.
        parent: OwnedFd,
        /// What is there or is to be made.
        name: Vec<u8>,
        /// Whether it is there, and no directory.
        exists: bool,
        /// The path ends in a slash.
        must_be_directory: bool,
    },
}

impl Destination {
    /// A path of the host.
    pub fn on_host(path: &Path) -> Result<Self> {
        let mut asked = host_path(path)?;
        for _ in 0..MAX_LINKS {
            let Some((parent, name)) = asked.split() else {
                return Ok(Self::Directory(open_host(&asked.text)?));
            };
            let held = match openat(CWD, parent, HELD | OFlags::DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let directory = String::from_utf8_lossy(parent);
                    let message =
                        format!("invalid output path: directory \"{directory}\" does not exist");
                    return Err(bad_input(message).into());
                }
                held => {
                    held.with_context(|| format!("open `{}`", String::from_utf8_lossy(parent)))?
                }
            };
            let refused = |what: &str| {
                bad_input(format!(
                    "invalid output path: \"{asked}\" must be a directory or a regular file: got {what}"
                ))
            };
            match Self::step(held, name, &asked, refused)? {
                Step::Found(destination) => return Ok(destination),
                Step::Link(target) => asked = asked.follow(&target),
            }
        }
        Err(Errno::LOOP).with_context(|| format!("open `{}`", path.display()))
    }

    /// A path of a container.
    pub fn in_container(root: &OwnedFd, path: &str, container: &str) -> Result<Self> {
        let missing = || {
            not_found(format!(
                "Could not find the file {path} in container {container}"
            ))
        };
        let mut asked = Asked::new(path);
        for _ in 0..MAX_LINKS {
            let directory = HELD | OFlags::DIRECTORY;
            let Some((parent, name)) = asked.split() else {
                let opened = open_in_root(root, &asked.text, directory, Mode::empty());
                return Ok(Self::Directory(opened.map_err(|_| missing())?));
            };
            let held = match open_in_root(root, parent, directory, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing().into()),
                held => held.with_context(|| format!("open `{asked}` of the container"))?,
            };
            let refused = |what: &str| {
                bad_input(format!(
                    "destination \"{container}:{path}\" must be a directory or a regular file: got {what}"
                ))
            };
            match Self::step(held, name, &asked, refused)? {
                Step::Found(destination) => return Ok(destination),
                Step::Link(target) => asked = asked.follow(&target),
            }
        }
        Err(Errno::LOOP).with_context(|| format!("open `{path}` of the container"))
    }

    /// Looks at the last component.
    fn step(
        parent: OwnedFd,
        name: &[u8],
        asked: &Asked,
        refused: impl Fn(&str) -> crate::error::Error,
    ) -> Result<Step> {
        let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            stat => Some(stat.with_context(|| format!("stat `{asked}`"))?),
        };
        let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        let what = match kind {
            Some(FileType::Directory) => {
                let flags = HELD | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let opened = openat(&parent, name, flags, Mode::empty());
                let opened = opened.with_context(|| format!("open `{asked}`"))?;
                return Ok(Step::Found(Self::Directory(opened)));
            }
            Some(FileType::Symlink) => {
                let target = readlinkat(&parent, name, Vec::new());
                let target = target.with_context(|| format!("read the link `{asked}`"))?;
                return Ok(Step::Link(target.into_bytes()));
            }
            None | Some(FileType::RegularFile) => {
                return Ok(Step::Found(Self::Name {
                    parent,
                    name: name.to_vec(),
                    exists: kind.is_some(),
                    must_be_directory: asked.is_directory,
                }));
            }
            Some(FileType::CharacterDevice | FileType::BlockDevice) => "a device",
            Some(FileType::Fifo) => "a named pipe",
            Some(_) => "a socket",
        };
        Err(refused(what).into())
    }

    /// The directory to extract in and the name to extract as.
    pub fn of(self, source: &Source, options: Options) -> Result<(OwnedFd, Vec<u8>)> {
        match self {
            Self::Directory(directory) => Ok((directory, source.name())),
            Self::Name { exists: true, .. } if source.is_directory && !options.overwrite => {
                Err(bad_input("cannot copy directory").into())
            }
            Self::Name {
                must_be_directory: true,
                exists,
                ..
            } if !source.is_directory => Err(bad_input(match exists {
                true => "not a directory",
                false => "no such directory",
            })
            .into()),
            Self::Name { parent, name, .. } => Ok((parent, name)),
        }
    }

    /// The directory that a tar stream is unpacked in.
    pub fn directory(self, path: &str, container: &str) -> Result<OwnedFd> {
        match self {
            Self::Directory(directory) => Ok(directory),
            Self::Name { .. } => {
                let message = format!("destination \"{container}:{path}\" must be a directory");
                Err(bad_input(message).into())
            }
        }
    }
}

enum Step {
    Found(Destination),
    Link(Vec<u8>),
}

/// A path as it was asked for.
struct Asked {
    /// Absolute; `..` is gone from what the user wrote, as in Docker, and is the kernel's where a link has it.
    text: Vec<u8>,
    /// It ends in a slash, `/.`, or is the root.
    is_directory: bool,
    /// It ends in `/.`, or is the root.
    is_content: bool,
}

impl Asked {
    /// A path of a container, which begins at its root whether it says so or not.
    fn new(path: &str) -> Self {
        Self::clean(Path::new("/"), Path::new(path))
    }

    fn clean(base: &Path, path: &Path) -> Self {
        let written = path.as_os_str().as_bytes();
        let is_content = written == b"." || written.ends_with(b"/.");
        let mut clean = PathBuf::from("/");
        for component in base
            .join(path.strip_prefix("/").unwrap_or(path))
            .components()
        {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::ParentDir => drop(clean.pop()),
                _ => {}
            }
        }
        let text = clean.into_os_string().into_encoded_bytes();
        let is_root = text == b"/";
        Self {
            is_directory: is_content || is_root || written.ends_with(b"/"),
            is_content: is_content || is_root,
            text,
        }
    }

    /// Directory and last component; `None` where the whole path is a directory by the way it is written.
    fn split(&self) -> Option<(&[u8], &[u8])> {
        let slash = self.text.iter().rposition(|byte| *byte == b'/')?;
        let name = &self.text[slash + 1..];
        let is_name = !matches!(name, b"" | b"." | b"..");
        is_name.then(|| (&self.text[..slash.max(1)], name))
    }

    /// The path with its last component, a link, replaced by the link's target.
    fn follow(&self, target: &[u8]) -> Self {
        let text = match (target.starts_with(b"/"), self.split()) {
            (false, Some((parent, _))) => [parent, b"/", target].concat(),
            _ => target.to_vec(),
        };
        let slashes = text.iter().rev().take_while(|byte| **byte == b'/').count();
        let length = (text.len() - slashes).max(1);
        Self {
            text: text[..length].to_vec(),
            is_directory: self.is_directory || slashes > 0,
            is_content: self.is_content,
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.text))
    }
}

fn host_path(path: &Path) -> Result<Asked> {
    let base = match path.is_absolute() {
        true => PathBuf::from("/"),
        false => std::env::current_dir().context("find the current directory")?,
    };
    Ok(Asked::clean(&base, path))
}

fn open_host(path: &[u8]) -> Result<OwnedFd> {
    openat(CWD, path, HELD | OFlags::DIRECTORY, Mode::empty())
        .with_context(|| format!("open `{}`", String::from_utf8_lossy(path)))
}

/// Whether two descriptors hold the same file.
pub fn is_same(one: impl AsFd, other: impl AsFd) -> rustix::io::Result<bool> {
    let (one, other) = (fstat(one)?, fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}
