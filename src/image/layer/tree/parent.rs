//! From the directory part of a name to an open directory of the tree, making what the archive only implies.
//!
//! Links of the layer, and of the layers below where this one has nothing, are followed as if the tree were
//! the root directory, which is what unpacking into the merged tree would do. The ordinary case, no link and
//! everything there, is one openat2(2), and none where the entry before lay in the same directory.
//!
//! Invariant: `Directory::path` leads to the directory without a link on the way.

use super::super::lower::Found;
use super::super::name::join;
use super::super::{failed, refused};
use super::attributes::{Attributes, is_let_in};
use super::{DIRECTORY_MODE, Pending, Tree};
use crate::image::layer::Owners;
use crate::image::layer::archive::MemberKind;
use crate::sys::openat2::open_beneath;
use anyhow::Result;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, mkdirat, readlinkat, statat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// As many links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// An open directory of the tree.
pub struct Directory {
    pub fd: OwnedFd,
    /// Where it is, whatever name led to it.
    pub path: Vec<u8>,
}

impl Tree<'_> {
    /// The directory of that name. One that has to be made for it gets `mtime`.
    pub fn parent(&mut self, name: &[u8], mtime: Timespec) -> Result<Rc<Directory>> {
        let leads_to = |held: &[u8]| {
            name.strip_prefix(held)
                .is_some_and(|rest| held.is_empty() || rest.is_empty() || rest[0] == b'/')
        };
        while self.held.last().is_some_and(|(held, _)| !leads_to(held)) {
            self.held.pop();
        }
        if let Some((held, directory)) = self.held.last()
            && held == name
        {
            return Ok(Rc::clone(directory));
        }
        let reached = if name.is_empty() { b"." } else { name };
        let directory = match open_beneath(
            &self.root,
            reached,
            OFlags::PATH | OFlags::DIRECTORY,
            Mode::empty(),
        ) {
            Ok(fd) => Directory {
                fd,
                path: name.to_vec(),
            },
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
                let path = self.make_path(name, mtime)?;
                Directory {
                    fd: self.open_path(&path)?,
                    path,
                }
            }
            Err(errno) => return Err(failed("open the directory", name, errno)),
        };
        let directory = Rc::new(directory);
        self.held.push((name.to_vec(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Opens a directory of the tree for reading and setting attributes.
    pub fn open_directory(&self, path: &[u8]) -> Result<OwnedFd> {
        let reached = if path.is_empty() { b"." } else { path };
        open_beneath(
            &self.root,
            reached,
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .map_err(|errno| failed("open the directory", path, errno))
    }

    fn open_path(&self, path: &[u8]) -> Result<OwnedFd> {
        let reached = if path.is_empty() { b"." } else { path };
        open_beneath(
            &self.root,
            reached,
            OFlags::PATH | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .map_err(|errno| failed("open the directory", path, errno))
    }

    /// Goes along the name component by component; gives where it ends.
    fn make_path(&mut self, name: &[u8], mtime: Timespec) -> Result<Vec<u8>> {
        let mut at: Vec<u8> = Vec::new();
        let mut rest = Vec::new();
        push_components(&mut rest, name);
        let mut followed = 0;
        while let Some(component) = rest.pop() {
            if component == b".." {
                at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = join(&at, &component);
            if let Some(target) = self.step(&next, name, mtime)? {
                followed += 1;
                if followed > MAX_LINKS {
                    return Err(refused(name, "too many symbolic links on the way to it").into());
                }
                if target.starts_with(b"/") {
                    at.clear();
                }
                push_components(&mut rest, &target);
            } else {
                at = next;
            }
        }
        Ok(at)
    }

    /// Makes sure that there is a directory at the path, or gives the target of the link that is there.
    fn step(&mut self, path: &[u8], name: &[u8], mtime: Timespec) -> Result<Option<Vec<u8>>> {
        match statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if !self.whiteouts.contains_key(path) => {}
            Ok(_) | Err(Errno::NOENT) if self.whiteouts.contains_key(path) => {
                self.remove_whiteout(path)?;
                self.make_directory(path, Attributes::implied(mtime), true)?;
                return Ok(None);
            }
            Err(errno) => return Err(failed("look at", path, errno)),
            Ok(stat) => {
                return match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Ok(None),
                    FileType::Symlink => readlinkat(&self.root, path, Vec::new())
                        .map(|target| Some(target.into_bytes()))
                        .map_err(|errno| failed("read the link", path, errno)),
                    _ => Err(refused(
                        name,
                        &format!("`{}` is no directory", super::super::shown(path)),
                    )
                    .into()),
                };
            }
        }
        match self.find_below(path)? {
            Found::Directory(layers) => {
                let mut attributes = self
                    .lower
                    .attributes(layers[0], path)
                    .map_err(|errno| failed("look at", path, errno))?;
                attributes
                    .xattrs
                    .retain(|(name, _)| is_let_in(name, MemberKind::Directory, self.rules));
                attributes.mtime = mtime;
                self.depends_on_parents |= self.differs_from_implied(&attributes);
                self.make_directory(path, attributes, false)?;
                Ok(None)
            }
            Found::Other(layer, stat)
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink =>
            {
                self.depends_on_parents = true;
                let target = readlinkat(rustix::fs::CWD, self.lower.full(layer, path), Vec::new());
                target
                    .map(|target| Some(target.into_bytes()))
                    .map_err(|errno| failed("read the link", path, errno))
            }
            _ => {
                self.make_directory(path, Attributes::implied(mtime), false)?;
                Ok(None)
            }
        }
    }

    /// What the layers below have at a path, unless this layer has hidden it so far.
    pub fn find_below(&self, path: &[u8]) -> Result<Found> {
        let root_is_opaque = self
            .directories
            .get(&b""[..])
            .is_some_and(|root| root.opaque);
        if self.lower.is_empty() || root_is_opaque || self.is_below_opaque(path) {
            return Ok(Found::Nothing);
        }
        self.lower
            .find(path)
            .map_err(|errno| failed("look below for", path, errno))
    }

    /// Whether other layers below would have given other attributes.
    pub fn differs_from_implied(&self, attributes: &Attributes) -> bool {
        let owner = self.rules.owners == Owners::Real && (attributes.uid, attributes.gid) != (0, 0);
        owner || attributes.mode != 0o755 || !attributes.xattrs.is_empty()
    }

    fn make_directory(&mut self, path: &[u8], attributes: Attributes, opaque: bool) -> Result<()> {
        mkdirat(&self.root, path, Mode::from_raw_mode(DIRECTORY_MODE))
            .map_err(|errno| failed("create the directory", path, errno))?;
        self.directories
            .insert(path.to_vec(), Pending { attributes, opaque });
        Ok(())
    }
}

/// Puts the components on the stack so that the first is popped first.
fn push_components(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    rest.extend(components.rev().map(<[u8]>::to_vec));
}
