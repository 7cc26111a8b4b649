//! From what was selected to the tar of a layer.
//!
//! What is already there is looked at only as far as it decides something: whether the destination is a directory,
//! where links on the way to it lead, what must not be replaced. Of directories that are there and get something in
//! them the layer has a copy, as overlayfs makes one, so that whoever unpacks it alone does not make up their modes.
//!
//! Invariant: the same selection, plan and files below give the same bytes.

use super::archive;
use super::mode::Mode;
use super::owner;
use super::plan::Part;
use super::select;
use super::selection::{Entry, Item, Kind, Selection};
use super::staged::{Body, Node, Staged, check_name};
use super::tree::{Tree, shown};
use crate::build::worker::order;
use anyhow::{Context, Result};

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// A layer that was written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Something is in it; without that nothing was copied.
    pub is_changed: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Writes a layer with a directory and those above it that are not there, which belong to `owner` (empty: root).
pub fn write_directory(
    path: &str,
    owner: &str,
    epoch: i64,
    below: &Tree<'_>,
    out: impl Write,
) -> Result<Written> {
    let owner = match owner {
        "" => None,
        text => Some(owner::parse(text, Some(below.root))?),
    };
    let mut staged = Staged::new(Some(below), owner, None, epoch, out);
    staged.place_directory(path)?;
    Ok(Written {
        is_changed: staged.finish()?,
        warnings: Vec::new(),
    })
}

/// A part with what was found.
enum Source<'a> {
    Files {
        tree: Tree<'a>,
        selection: Selection,
        unpack: bool,
    },
    Text(&'a str, &'a str),
    Download {
        file: &'a OwnedFd,
        name: &'a str,
        modified: i64,
        unpack: bool,
    },
}

/// Writes the layer of a `COPY` or `ADD`: `trees` are the roots of its [`Part::Layers`] in their order, `below` is that
/// of its base, `None` for `--link`.
pub fn write_layer(
    order: &order::Copy,
    descriptors: &[OwnedFd],
    trees: &[Tree<'_>],
    below: Option<&Tree<'_>>,
    out: impl Write,
) -> Result<Written> {
    let plan = &order.plan;
    let root = below.map(|below| below.root);
    let owner = plan.owner.as_deref();
    let owner = owner.map(|text| owner::parse(text, root)).transpose()?;
    let mode = plan.mode.as_deref().map(Mode::parse).transpose()?;
    let mut written = Written::default();
    let mut trees = trees.iter();
    let mut sources = Vec::with_capacity(plan.parts.len());
    for part in &plan.parts {
        sources.push(source(part, descriptors, &mut trees)?);
    }
    let mut staged = Staged::new(below, owner, mode, order.epoch, out);
    for source in &sources {
        match source {
            Source::Files {
                tree,
                selection,
                unpack,
            } => {
                written.warnings.extend(selection.warnings.iter().cloned());
                for item in &selection.items {
                    copy_item(&mut staged, &plan.destination, tree, item, *unpack)?;
                }
            }
            Source::Text(name, content) => {
                let path = staged.place_file(&plan.destination, name.as_bytes())?;
                let node = staged.node(Body::Bytes(content.as_bytes()), 0o644, None, order.epoch);
                staged.put(path, node)?;
            }
            Source::Download {
                file,
                name,
                modified,
                unpack,
            } => {
                if *unpack && let Some(stream) = archive::open(file)? {
                    let unpacked = staged.unpack(&plan.destination, stream);
                    unpacked.with_context(|| format!("unpack `{name}`"))?;
                    continue;
                }
                let path = staged.place_file(&plan.destination, name.as_bytes())?;
                let node = staged.node(Body::Whole(file), 0o600, None, *modified);
                staged.put(path, node)?;
            }
        }
    }
    written.is_changed = staged.finish()?;
    Ok(written)
}

fn source<'a>(
    part: &'a Part,
    descriptors: &'a [OwnedFd],
    trees: &mut std::slice::Iter<'_, Tree<'a>>,
) -> Result<Source<'a>> {
    let handed = |number: usize| {
        let descriptor = descriptors.get(number);
        descriptor.context("a descriptor of the order is missing")
    };
    Ok(match part {
        Part::Directory {
            descriptor,
            selection,
            unpack,
        } => Source::Files {
            tree: Tree::context(handed(*descriptor)?.as_fd(), None),
            selection: Selection::from_file(handed(*selection)?)?,
            unpack: *unpack,
        },
        Part::Layers { selector, .. } => {
            let tree = *trees.next().context("files of the order are missing")?;
            let selection = select::find(&tree, selector, None)?;
            Source::Files {
                tree,
                selection,
                unpack: false,
            }
        }
        Part::Text { name, content } => Source::Text(name, content),
        Part::Download {
            descriptor,
            name,
            modified,
            unpack,
        } => Source::Download {
            file: handed(*descriptor)?,
            name,
            modified: *modified,
            unpack: *unpack,
        },
    })
}

/// Puts a file, or what is in a directory, where it belongs.
fn copy_item<'a, W: Write>(
    staged: &mut Staged<'a, W>,
    destination: &str,
    tree: &Tree<'a>,
    item: &'a Item,
    unpack: bool,
) -> Result<()> {
    if !item.is_directory {
        for entry in &item.entries {
            if unpack && entry.kind == Kind::File {
                let is_unpacked = tree.read(entry, |file| {
                    let Some(stream) = archive::open(file)? else {
                        return Ok(false);
                    };
                    let unpacked = staged.unpack(destination, stream);
                    unpacked.with_context(|| format!("unpack `{}`", shown(&entry.path)))?;
                    Ok(true)
                });
                if is_unpacked? {
                    continue;
                }
            }
            let path = staged.place_file(destination, &item.name)?;
            put_entry(staged, tree, item, entry, path, b"")?;
        }
        return Ok(());
    }
    let directory = staged.place_directory(destination)?;
    for entry in &item.entries {
        let path = joined(&directory, entry.relative());
        put_entry(staged, tree, item, entry, path, &directory)?;
    }
    Ok(())
}

fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, name].join(&b'/'),
    }
}

fn put_entry<'a, W: Write>(
    staged: &mut Staged<'a, W>,
    tree: &Tree<'a>,
    item: &'a Item,
    entry: &'a Entry,
    path: Vec<u8>,
    directory: &[u8],
) -> Result<()> {
    check_name(&path)?;
    let body = match &entry.kind {
        Kind::File => Body::File(*tree, entry),
        Kind::Directory => Body::Directory { is_below: false },
        Kind::Link(target) => Body::Link(target),
        Kind::Same(first) => {
            let first = item.entries.get(*first).context("a link leads nowhere")?;
            let target = joined(directory, first.relative());
            match staged.is_file_of(&target, first) {
                true => Body::HardLink(target),
                false => Body::File(*tree, entry),
            }
        }
        Kind::Fifo => Body::Fifo,
        Kind::Device(is_block, number) => Body::Device(*is_block, *number),
    };
    let mut node: Node<'a> = staged.node(body, entry.mode, Some(entry.owner), entry.modified.0);
    node.xattrs = entry.xattrs.as_slice().into();
    staged.put(path, node)
}
