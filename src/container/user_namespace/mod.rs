//! The user namespace of a container, below that of the store (user_namespaces(7)), and the owners of its files.
//!
//! ```text
//! outside      user   subordinate ids …      root: all ids
//! store          0     1 … n                        0 …        what files of layers are stored with
//! container      u     0 … u-1, u+1 … n             …          what the container sees (here: keep-id)
//! ```
//!
//! Layers are stored with the ids of the image, and are shown to the container as its own: through mounts that map
//! owners where the kernel does that (mount_setattr(2)), else by a copy of each layer with its owners moved, made once
//! per layer and mapping and kept beside the layer, until containers are pruned and none has that mapping. What the
//! container writes is stored with the ids that the store calls its own, so that both are the same to whoever looks from
//! outside. With a single id there is nobody else to be,
//! and no copy.
//!
//! Invariant: a container's ids never change after it was made.

mod choose;
mod foreign;
mod mode;
mod ranges;

use super::engine::Engine;
use super::options::Options;
use super::record::Record;
use super::{list, root, size};
use crate::error::{Error, Kind};
use crate::id_mapping::{self, IdMaps, Range, Tier};
use crate::image::digest::Digest;
use crate::image::shared::hold_all;
use crate::image::shift::shift;
use crate::image::store::overlay_order;
use crate::paths::Paths;
use crate::runtime::plan;
use crate::store::directory::names_if_directory;
use crate::store::lock::Lock;
use crate::store::staging::{Staging, Trash};
use crate::store::{atomic, damage};
use crate::sys::mount;
use crate::sys::process;
use anyhow::{Context, Result};
use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub(super) use choose::choose;
pub use foreign::home;
pub use mode::UserNamespace;

/// A user namespace below that of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nested {
    /// Its ids; those outside are the store's.
    #[serde(flatten)]
    pub maps: IdMaps,
    /// How many levels below.
    pub depth: usize,
}

/// That of a container, if it has one.
pub fn nested<'a>(options: &'a Options, engine: &Engine) -> Option<Cow<'a, Nested>> {
    match (&options.nested, &options.userns) {
        (Some(nested), _) => Some(Cow::Borrowed(nested)),
        // Records of earlier versions do not have them.
        (None, UserNamespace::KeepId { .. }) if engine.mapping.tier != Tier::Root => {
            let mapping = &engine.mapping;
            let count = |ranges: &[Range]| ranges.iter().map(|range| range.size).sum();
            let maps = IdMaps {
                uids: ranges::keep(mapping.uid, count(&mapping.uids)),
                gids: ranges::keep(mapping.gid, count(&mapping.gids)),
            };
            Some(Cow::Owned(Nested { maps, depth: 1 }))
        }
        _ => None,
    }
}

/// The namespace to start a container in: a new one, or the one that it joins.
pub fn prepare(engine: &Engine, options: &Options) -> Result<Option<plan::UserNamespace>> {
    let Some(nested) = nested(options, engine) else {
        return Ok(None);
    };
    let namespace = match foreign::joined(engine, options, &nested)? {
        Some(joined) => joined,
        None => nested.maps.namespace()?,
    };
    let owner = nested.maps.owner();
    Ok(Some(plan::UserNamespace::Held(namespace, owner)))
}

/// Which owners a container's layers are to have, where they are not those of the image.
fn maps_of_layers(engine: &Engine, options: &Options) -> Option<IdMaps> {
    let nested = nested(options, engine).filter(|_| engine.mapping.tier != Tier::Single);
    Some(nested?.into_owned().maps)
}

/// The trees of a container's layers.
#[derive(Debug)]
pub struct Layers {
    /// Uppermost first.
    pub trees: Vec<PathBuf>,
    /// They have the owners of the image, and are to be seen through mounts that map these ([`mount::cover_mapped`]).
    pub mapped: bool,
}

/// The layers of a container that has such a user namespace.
///
/// The process must be in the store's user namespace and have one thread.
pub fn layers(
    engine: &Engine,
    record: &Record,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<Layers> {
    let layers = layers_of(engine, &record.options, &record.layers, namespace);
    layers.with_context(|| format!("use the image {}", record.image_name))
}

/// Likewise those of any image, lowest first, as such a container sees them.
pub fn layers_of(
    engine: &Engine,
    options: &Options,
    layers: &[String],
    namespace: Option<BorrowedFd<'_>>,
) -> Result<Layers> {
    // Nobody may take them away while they are used.
    hold_all(&engine.paths, layers)?;
    let keys = overlay_order(layers);
    let trees: Vec<PathBuf> = keys
        .iter()
        .map(|key| engine.paths.layer_tree(key))
        .collect();
    let Some(maps) = maps_of_layers(engine, options) else {
        return Ok(Layers {
            trees,
            mapped: false,
        });
    };
    if let Some(namespace) = namespace.filter(|_| !trees.is_empty())
        && can_map_all(engine, &trees, namespace)?
    {
        return Ok(Layers {
            trees,
            mapped: true,
        });
    }
    let trees = keys
        .iter()
        .map(|key| copied(engine, key, &maps))
        .collect::<Result<_>>()?;
    Ok(Layers {
        trees,
        mapped: false,
    })
}

/// Makes the copies of layers that a container needs, before it is started, and tells of each. What fails is tried
/// again by the start, which says why. The process must have one thread.
pub fn prepare_layers(engine: &Engine, record: &Record, tell: &mut dyn FnMut(&str)) -> Result<()> {
    if engine.copies().is_some() {
        return copy_root(engine, record, tell);
    }
    let Some(maps) = maps_of_layers(engine, &record.options) else {
        return Ok(());
    };
    let digest = digest(&maps)?;
    let keys = overlay_order(&record.layers).into_iter();
    let missing: Vec<&String> = keys
        .filter(|key| !engine.paths.layer_copy(key, &digest).exists())
        .collect();
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let (lines, line) = std::io::pipe().context("pipe")?;
    let mut line = Some(line);
    let copier = process::clone3(0, || {
        let mut line = line.take();
        let mut copy = || -> Result<()> {
            root::enter(engine)?;
            if can_map(
                engine,
                &engine.paths.layer_tree(first),
                maps.namespace()?.as_fd(),
            )? {
                return Ok(());
            }
            for (number, key) in missing.iter().enumerate() {
                if let Some(line) = &mut line {
                    let (number, count) = (number + 1, missing.len());
                    // To be heard is not what it is for.
                    let _ = writeln!(
                        line,
                        "copying layer {} for the ids of this container, once ({number}/{count})",
                        Paths::layer_key(key).get(..12).unwrap_or(key)
                    );
                }
                copied(engine, key, &maps)?;
            }
            Ok(())
        };
        u8::from(copy().is_err())
    })
    .context("fork")?;
    drop(line.take());
    for text in BufReader::new(lines).lines().map_while(std::io::Result::ok) {
        tell(&text);
    }
    copier.wait().context("wait for a child")?;
    Ok(())
}

/// Likewise where a container's root is a copy of all files of its image.
fn copy_root(engine: &Engine, record: &Record, tell: &mut dyn FnMut(&str)) -> Result<()> {
    tell("copying the files of the image for this container");
    let copier = process::clone3(0, || {
        let copied = root::enter(engine).and_then(|()| root::fill(engine, record));
        u8::from(copied.is_err())
    });
    copier
        .context("fork")?
        .wait()
        .context("wait for a child")
        .map(drop)
}

/// Whether the kernel maps owners for us in all these trees: one of each store is tried.
fn can_map_all(engine: &Engine, trees: &[PathBuf], namespace: BorrowedFd<'_>) -> Result<bool> {
    let store = |tree: &PathBuf| tree.ancestors().nth(2).map(Path::to_owned);
    for (index, tree) in trees.iter().enumerate() {
        let is_first = !trees[..index]
            .iter()
            .any(|other| store(other) == store(tree));
        if is_first && !can_map(engine, tree, namespace)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether some layers of an image lie in another store and cannot be shown with the owners that a container with these
/// options needs: an ordinary user cannot map them, and a copy of them lies in the own store.
pub fn needs_own_layers(engine: &Engine, options: &Options, layers: &[String]) -> bool {
    let is_nested = !matches!(options.userns, UserNamespace::Default | UserNamespace::Host)
        || !options.uidmap.is_empty()
        || !options.gidmap.is_empty()
        || options.subuid_name.is_some()
        || options.subgid_name.is_some();
    let elsewhere = |name: &String| engine.paths.is_elsewhere(name);
    is_nested && engine.mapping.tier == Tier::Subordinate && layers.iter().any(elsewhere)
}

/// Whether the kernel maps owners for us there: not in every file system, only for who has mounted that, and for
/// overlayfs since Linux 5.19.
fn can_map(engine: &Engine, tree: &Path, namespace: BorrowedFd<'_>) -> Result<bool> {
    let copy = mount::clone_tree(mount::open_source(tree)?.as_fd(), false);
    let copy = copy.with_context(|| format!("bind `{}`", tree.display()))?;
    if mount::map_ids(copy.as_fd(), namespace).is_err() {
        return Ok(false);
    }
    mount::apart(|| {
        mount::cover_mapped(tree, namespace)?;
        // Any other directory serves as the second layer, without which there is no overlay to read from.
        let layers = [tree, &engine.paths.containers()].map(mount::open_source);
        let layers = layers.into_iter().collect::<Result<Vec<_>>>()?;
        let user_xattrs = engine.mapping.tier != Tier::Root;
        Ok(mount::read_only_overlay(&layers, user_xattrs).is_ok())
    })
}

/// The copy of a layer, made if it is not there.
fn copied(engine: &Engine, key: &str, maps: &IdMaps) -> Result<PathBuf> {
    let place = engine.paths.layer_copy(key, &digest(maps)?);
    if place.exists() {
        return Ok(place);
    }
    if engine.paths.is_elsewhere(key) {
        let message = format!(
            "the layer `{}` is another store's, and the kernel cannot map its owners there",
            engine.paths.layer(key).display()
        );
        return Err(Error::new(Kind::Unsupported, message)
            .hint("onggi --root DIRECTORY save and onggi load bring the image into the own store")
            .into());
    }
    let staging = Staging::new(&engine.paths.staging())?;
    let copy = staging.path().join("tree");
    let mapping = &engine.mapping;
    shift(
        &engine.paths.layer_tree(key),
        &copy,
        &|uid| id_mapping::outside_or_nobody(&maps.uids, uid, |id| mapping.contains_uid(id)),
        &|gid| id_mapping::outside_or_nobody(&maps.gids, gid, |id| mapping.contains_gid(id)),
    )
    .with_context(|| format!("copy the layer {key} for the ids of the container"))?;
    // What a power cut leaves under that name would be taken for the layer.
    atomic::sync_file_system(&copy)?;
    match std::fs::rename(&copy, &place) {
        // Another container was faster, with the same result.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
            ) => {}
        result => result.with_context(|| format!("rename to `{}`", place.display()))?,
    }
    Ok(place)
}

/// Removes the copies of layers that no container needs any more, and tells the bytes of their files. What cannot be
/// removed is noted.
pub fn sweep_copies(engine: &Engine) -> u64 {
    let mut freed = 0;
    if let Err(error) = discard_copies(engine, &mut freed) {
        damage::note("copies of layers for the ids of containers stay", &error);
    }
    freed
}

fn discard_copies(engine: &Engine, freed: &mut u64) -> Result<()> {
    // Dropped last: the files go when others may go on.
    let mut trash = Trash::new(engine.paths.staging());
    // Whoever makes a container shares it until there is a record, and makes copies only then.
    let _lock = Lock::exclusive(&engine.paths.lock())?;
    let mut needed = BTreeSet::new();
    let mut are_old_needed = false;
    for record in list::records(engine)? {
        let options = &record.options;
        // One of an earlier version may still run from copies of that version.
        are_old_needed |=
            options.nested.is_none() && matches!(options.userns, UserNamespace::KeepId { .. });
        if let Some(nested) = nested(options, engine) {
            needed.insert(digest(&nested.maps)?);
        }
    }
    for layer in names_if_directory(&engine.paths.layers())? {
        let kept: Vec<PathBuf> = needed
            .iter()
            .map(|digest| engine.paths.layer_copy(&layer, digest))
            .collect();
        let directory = engine.paths.layer(&layer);
        for name in names_if_directory(&directory)? {
            let copy = directory.join(&name);
            let is_unneeded = (Paths::is_layer_copy(&name) && !kept.contains(&copy))
                || (Paths::is_old_layer_copy(&name) && !are_old_needed);
            if is_unneeded {
                *freed += size::sum(&copy).unwrap_or_default();
                trash.discard(&copy)?;
                atomic::sync_directory(&directory)?;
            }
        }
    }
    Ok(())
}

/// Short and the same for the same ids.
fn digest(maps: &IdMaps) -> Result<String> {
    Ok(Digest::of(&serde_json::to_vec(maps)?).hex()[..16].to_owned())
}

/// Gives the pipes among a program's streams to root of its user namespace, who gives them to the program's user.
pub fn give_streams(options: &Options, engine: &Engine, streams: &[OwnedFd]) -> Result<()> {
    let Some(nested) = nested(options, engine) else {
        return Ok(());
    };
    let (uid, gid) = nested.maps.owner_outside();
    for stream in streams {
        let kind = fstat(stream).context("fstat")?.st_mode;
        if FileType::from_raw_mode(kind) == FileType::Fifo {
            fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .context("give a pipe to the container")?;
        }
    }
    Ok(())
}
