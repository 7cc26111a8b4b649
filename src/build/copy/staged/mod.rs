//! What a layer is to have, put together before it is written: paths without links, each with what is there.
//!
//! Invariant: nothing is put at a path on whose way there is anything but directories, be they of the layer or below it.

mod unpack;
mod write;

use super::mode::Mode;
use super::resolve::{MAX_LINKS, components};
use super::selection::Entry;
use super::tree::{Tree, shown};
use crate::error::bad_input;
use crate::image::layer::{Writer, pack};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, OFlags, fstat, readlinkat, statat};
use rustix::io::Errno;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// As many bytes as the kernel takes in one path, with its end (`PATH_MAX` of limits.h).
const PATH_MAX: usize = 4096;
const PIECE: usize = 256 << 10;

/// What is in a layer at one path.
pub struct Node<'a> {
    pub body: Body<'a>,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Seconds since 1970.
    pub modified: i64,
    pub xattrs: Cow<'a, [(Vec<u8>, Vec<u8>)]>,
}

impl Node<'_> {
    fn there(&self) -> There {
        match &self.body {
            Body::Directory { is_below } => There::Directory { is_new: !is_below },
            Body::Link(target) => There::Link(target.to_vec()),
            _ => There::Other,
        }
    }
}

/// What it is.
pub enum Body<'a> {
    Directory {
        /// One is below the layer too.
        is_below: bool,
    },
    /// A selected file.
    File(Tree<'a>, &'a Entry),
    /// A regular file that is all there is behind a descriptor.
    Whole(&'a OwnedFd),
    /// A regular file with this in it.
    Bytes(&'a [u8]),
    Link(&'a [u8]),
    /// Another name of the file at that path of the layer.
    HardLink(Vec<u8>),
    Fifo,
    Device(bool, u64),
}

/// What is at a path, of the layer or below it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// Whether it is one that only the layer has, so that nothing in it is below.
    Directory {
        is_new: bool,
    },
    Link(Vec<u8>),
    Other,
}

/// A layer that is being put together.
pub struct Staged<'a, W> {
    below: Option<&'a Tree<'a>>,
    owner: Option<(u32, u32)>,
    mode: Option<Mode>,
    epoch: i64,
    /// By path; `/` is a zero byte here, so that directories come right before what is in them.
    nodes: BTreeMap<Vec<u8>, Node<'a>>,
    /// What has been written already.
    written: HashMap<Vec<u8>, There>,
    /// What was found below, of directories and places of files.
    known: HashMap<Vec<u8>, There>,
    is_changed: bool,
    out: Writer<W>,
    buffer: Vec<u8>,
}

fn key(path: &[u8]) -> Vec<u8> {
    let slash = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    path.iter().map(slash).collect()
}

/// The directory that a path is in, empty for the root.
fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or(0)]
}

/// The last name of a path.
pub fn file_name(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[slash.map_or(0, |slash| slash + 1)..]
}

impl<'a, W: Write> Staged<'a, W> {
    /// Starts with nothing.
    pub fn new(
        below: Option<&'a Tree<'a>>,
        owner: Option<(u32, u32)>,
        mode: Option<Mode>,
        epoch: i64,
        out: W,
    ) -> Self {
        Self {
            below,
            owner,
            mode,
            epoch,
            nodes: BTreeMap::new(),
            written: HashMap::new(),
            known: HashMap::new(),
            is_changed: false,
            out: Writer::new(out),
            buffer: vec![0; PIECE],
        }
    }

    /// Something with the owner and the mode that the plan says, else with its own.
    pub fn node(
        &self,
        body: Body<'a>,
        mode: u32,
        owner: Option<(u32, u32)>,
        modified: i64,
    ) -> Node<'a> {
        let mode = match (&self.mode, &body) {
            (None, _) | (_, Body::Link(_)) => mode,
            (Some(change), body) => change.apply(mode, matches!(body, Body::Directory { .. })),
        };
        Node {
            body,
            mode,
            owner: self.owner.or(owner).unwrap_or((0, 0)),
            modified: modified.min(self.epoch),
            xattrs: Cow::Borrowed(&[]),
        }
    }

    /// Where a file goes that has that name in a directory.
    pub fn place_file(&mut self, destination: &str, name: &[u8]) -> Result<Vec<u8>> {
        let is_directory = destination.ends_with('/') || destination.ends_with("/.");
        let names = components(destination);
        let above = match is_directory {
            true => names.len(),
            false => names.len().saturating_sub(1),
        };
        let above = self.resolve(names[..above].join("/").as_bytes())?;
        self.make_directories(&above)?;
        let path = self.resolve(names.join("/").as_bytes())?;
        let path = match self.look(&path)? {
            There::Directory { .. } if path.is_empty() => name.to_vec(),
            There::Directory { .. } => [&path[..], name].join(&b'/'),
            _ => path,
        };
        self.make_directories(parent(&path))?;
        Ok(path)
    }

    /// The directory whose content is added to, made if it is not there.
    pub fn place_directory(&mut self, destination: &str) -> Result<Vec<u8>> {
        let path = self.resolve(components(destination).join("/").as_bytes())?;
        self.make_directories(&path)?;
        Ok(path)
    }

    /// Whether that file has been put at a path and is there still.
    pub fn is_file_of(&self, path: &[u8], entry: &Entry) -> bool {
        let node = self.nodes.get(&key(path));
        node.is_some_and(
            |node| matches!(node.body, Body::File(_, there) if std::ptr::eq(there, entry)),
        )
    }

    /// Puts something at a path, whose directory is in the layer. Files replace what is no directory, directories add
    /// to directories.
    pub fn put(&mut self, path: Vec<u8>, mut node: Node<'a>) -> Result<()> {
        let there = self.look(&path)?;
        match (&mut node.body, there) {
            (Body::Directory { is_below }, There::Directory { is_new }) => *is_below = !is_new,
            (Body::Directory { .. }, There::Nothing) => {}
            (Body::Directory { .. }, _) => return Err(no_directory(&path)),
            (_, There::Directory { .. }) => {
                let message = format!("cannot replace to directory /{} with file", shown(&path));
                let error = bad_input(message);
                return Err(error
                    .hint("let the destination end with `/` to copy into it")
                    .into());
            }
            _ => {}
        }
        self.is_changed = true;
        self.nodes.insert(key(&path), node);
        Ok(())
    }

    /// Makes a directory with those above it; those that are below the layer are copied into it.
    fn make_directories(&mut self, path: &[u8]) -> Result<()> {
        let (mut known, mut missing) = (path, Vec::new());
        while !known.is_empty() && !self.is_in_layer(known) {
            missing.push(known);
            known = parent(known);
        }
        if !matches!(self.look(known)?, There::Directory { .. }) {
            return Err(no_directory(known));
        }
        missing
            .into_iter()
            .rev()
            .try_for_each(|path| self.make_directory(path))
    }

    fn is_in_layer(&self, path: &[u8]) -> bool {
        self.nodes.contains_key(&key(path)) || self.written.contains_key(path)
    }

    /// One that the layer does not have, in one that it has.
    fn make_directory(&mut self, path: &[u8]) -> Result<()> {
        let node = match self.look(path)? {
            There::Directory { .. } => self.copied(path)?,
            There::Nothing => {
                self.is_changed = true;
                Node {
                    body: Body::Directory { is_below: false },
                    mode: 0o755,
                    owner: self.owner.unwrap_or((0, 0)),
                    modified: self.epoch,
                    xattrs: Cow::Borrowed(&[]),
                }
            }
            _ => return Err(no_directory(path)),
        };
        self.nodes.insert(key(path), node);
        Ok(())
    }

    /// A directory below as it is.
    fn copied(&self, path: &[u8]) -> Result<Node<'a>> {
        let below = self.below.context("nothing is below")?;
        let failed = |errno| below.failed("open", path, errno);
        let held = below.open(path, OFlags::PATH | OFlags::DIRECTORY);
        let held = held.map_err(failed)?;
        let found = fstat(&held).map_err(failed)?;
        Ok(Node {
            body: Body::Directory { is_below: true },
            mode: found.st_mode & 0o7777,
            owner: below.owner(path, (found.st_uid, found.st_gid)),
            modified: found.st_mtime.min(self.epoch),
            xattrs: Cow::Owned(pack::attributes(&held, path)?),
        })
    }

    /// Follows all links in a path; what is not there stays as it is written.
    fn resolve(&mut self, path: &[u8]) -> Result<Vec<u8>> {
        check_length(path)?;
        let mut rest: Vec<Vec<u8>> = names(path);
        let mut here: Vec<u8> = Vec::new();
        // How long the path was when there was nothing: neither is there below it.
        let mut nothing = usize::MAX;
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == b".." {
                here.truncate(parent(&here).len());
                continue;
            }
            let length = here.len();
            if length > 0 {
                here.push(b'/');
            }
            here.extend(name);
            check_length(&here)?;
            if length >= nothing {
                continue;
            }
            nothing = usize::MAX;
            match self.look(&here)? {
                There::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        let message = format!("`/{}`: too many links", shown(path));
                        return Err(bad_input(message).into());
                    }
                    here.truncate(if target.starts_with(b"/") { 0 } else { length });
                    rest.extend(names(&target));
                }
                There::Nothing => nothing = here.len(),
                _ => {}
            }
        }
        Ok(here)
    }

    /// What is at a path whose directory has been looked at, without following it.
    fn look(&mut self, path: &[u8]) -> Result<There> {
        if let Some(node) = self.nodes.get(&key(path)) {
            return Ok(node.there());
        }
        if let Some(there) = self.written.get(path) {
            return Ok(there.clone());
        }
        if path.is_empty() {
            let is_new = self.below.is_none();
            return Ok(There::Directory { is_new });
        }
        let Some(below) = self.below else {
            return Ok(There::Nothing);
        };
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        // What the layer has put above it hides what is below, or is the same directory.
        let above = parent(path).to_vec();
        let there = match self.look(&above)? {
            There::Directory { is_new: false } => {
                find(below, path).map_err(|errno| below.failed("look up", path, errno))?
            }
            _ => There::Nothing,
        };
        if there != There::Nothing {
            self.known.insert(path.to_vec(), there.clone());
        }
        Ok(there)
    }

    /// Ends the layer; whether there is anything in it.
    pub fn finish(mut self) -> Result<bool> {
        if self.is_changed {
            self.flush(false)?;
        }
        self.out.finish()?;
        Ok(self.is_changed)
    }

    /// Writes what was put together so far, since something comes that cannot be sorted.
    fn flush(&mut self, remember: bool) -> Result<()> {
        for (key, node) in std::mem::take(&mut self.nodes) {
            let slash = |byte| if byte == 0 { b'/' } else { byte };
            let path: Vec<u8> = key.into_iter().map(slash).collect();
            if remember {
                self.written.insert(path.clone(), node.there());
            }
            self.write(path, node)?;
        }
        Ok(())
    }
}

/// Refuses a name that means something else in a layer.
pub fn check_name(path: &[u8]) -> Result<()> {
    if !file_name(path).starts_with(b".wh.") {
        return Ok(());
    }
    let message = format!(
        "`/{}` cannot be in a layer: a name that begins with `.wh.` means there that something is gone",
        shown(path)
    );
    Err(bad_input(message).hint("rename it, or leave it out").into())
}

/// Refuses a path that no system call would take: each name in it is a directory to be made.
fn check_length(path: &[u8]) -> Result<()> {
    if path.len() < PATH_MAX {
        return Ok(());
    }
    let message = format!(
        "a path of {} bytes is too long: it begins with `{}`",
        path.len(),
        shown(&path[..64])
    );
    let hint = format!("paths have at most {} bytes", PATH_MAX - 1);
    Err(bad_input(message).hint(hint).into())
}

fn no_directory(path: &[u8]) -> anyhow::Error {
    bad_input(format!("cannot copy to non-directory: /{}", shown(path))).into()
}

/// The names of a path, the first last.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/');
    let names = names.filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

/// What is at a path below a layer, on whose way there is no link.
fn find(below: &Tree<'_>, path: &[u8]) -> rustix::io::Result<There> {
    let held = below.open(parent(path), OFlags::PATH | OFlags::DIRECTORY)?;
    let name = file_name(path);
    let found = match statat(held.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(There::Nothing),
        found => found?,
    };
    Ok(match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => There::Directory { is_new: false },
        FileType::Symlink => There::Link(readlinkat(held, name, Vec::new())?.into_bytes()),
        _ => There::Other,
    })
}
