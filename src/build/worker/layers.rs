//! The files of layers, merged, as mounts that are attached nowhere; where there are no overlays, as copies.
//!
//! What is in them is hostile: a path in them never leads out of them.

use super::mounts::part_of;
use crate::container::engine::Engine;
use crate::container::options::Options;
use crate::container::root::{self, layer_owners, open_all};
use crate::container::user_namespace::layers_of;
use crate::id_mapping::Tier;
use crate::image::shift::merge;
use crate::store::staging::Staging;
use crate::sys::mount::{self, Attributes};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// In a directory for copies: all files of some layers.
const WHOLE: &str = "whole";

/// All of them, by their names in the store, lowest first; not to be written.
fn merged(engine: &Engine, names: &[String]) -> Result<OwnedFd> {
    let trees = trees(engine, names)?;
    let trees = open_all(&trees)?;
    match &trees[..] {
        [] => mount::new_filesystem("tmpfs", "tmpfs", &[], Attributes::MOUNT_ATTR_RDONLY),
        [tree] => mount::read_only_copy(tree.as_fd()).context("bind the layer"),
        trees => mount::read_only_overlay(trees, engine.mapping.tier != Tier::Root),
    }
}

/// Copies them to a directory that is not there yet, where nothing can be mounted over them.
pub fn copy(engine: &Engine, names: &[String], to: &Path) -> Result<()> {
    let mut trees = trees(engine, names)?;
    trees.reverse();
    merge(&trees, engine.marks(), to).context("copy the files of layers")
}

/// The files of layers, to be read.
pub struct Files {
    root: OwnedFd,
    /// Where they are copied to.
    _copy: Option<Staging>,
    /// Whom they belong to, where the disk does not know it.
    owners: Option<HashMap<Vec<u8>, (u32, u32)>>,
}

impl Files {
    /// Those of layers by their names in the store, lowest first.
    pub fn open(engine: &Engine, names: &[String]) -> Result<Self> {
        let (held, copied) = match engine.merges_by_copies() {
            false => (merged(engine, names)?, None),
            true => {
                let staging = Staging::new(&engine.paths.staging())?;
                let root = staging.path().join(WHOLE);
                copy(engine, names, &root)?;
                (mount::open_source(&root)?, Some(staging))
            }
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&held, ".", flags, Mode::empty()).context("open merged layers")?;
        let owners = match engine.mapping.tier {
            Tier::Single => Some(layer_owners(engine, names)?),
            _ => None,
        };
        Ok(Self {
            root,
            _copy: copied,
            owners,
        })
    }

    /// The owner of a file, for its path and its owner on the disk.
    pub fn owner(&self, path: &[u8], found: (u32, u32)) -> (u32, u32) {
        let known = self.owners.as_ref().and_then(|owners| owners.get(path));
        known.copied().unwrap_or(found)
    }

    /// Their root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// What lies at a path in them, which may be a link. If it is `writable`, what is written goes to `scratch`, an empty directory
/// of ours.
pub fn part(
    engine: &Engine,
    names: &[String],
    path: &str,
    scratch: &Path,
    is_writable: bool,
) -> Result<OwnedFd> {
    let whole = match (engine.copies(), is_writable) {
        (None, false) => merged(engine, names)?,
        (None, true) => writable(engine, names, scratch)?,
        (Some(_), _) => {
            let root = scratch.join(WHOLE);
            copy(engine, names, &root)?;
            let root = mount::open_source(&root)?;
            mount::clone_tree(root.as_fd(), false).context("bind copied layers")?
        }
    };
    match path.trim_matches('/') {
        "" | "." => Ok(whole),
        path => part_of(&whole, path.as_bytes(), Attributes::empty()),
    }
}

fn writable(engine: &Engine, names: &[String], scratch: &Path) -> Result<OwnedFd> {
    for name in ["upper", "work"] {
        let path = scratch.join(name);
        std::fs::create_dir(&path).with_context(|| format!("create `{}`", path.display()))?;
    }
    root::overlay(engine, &trees(engine, names)?, scratch, true)
}

/// Uppermost first.
pub fn trees(engine: &Engine, names: &[String]) -> Result<Vec<PathBuf>> {
    Ok(layers_of(engine, &Options::default(), names, None)?.trees)
}
