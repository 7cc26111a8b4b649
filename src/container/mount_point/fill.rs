//! The first use of a volume: what the image has at its place is copied into it, while it is empty.

use super::MountPoint;
use super::open::{mapped, open_volume};
use crate::container::engine::Engine;
use crate::container::record::Record;
use crate::container::root::{self, Owners};
use crate::container::user_namespace;
use crate::store::atomic::Durability;
use crate::sys::openat2;
use crate::volume;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Fills what is empty; `warnings` gets what could not be copied as it is. Needs [`root::enter`].
pub(in crate::container) fn fill_new(
    engine: &Engine,
    record: &Record,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let mut image = None;
    for point in points(record) {
        let name = &point.request.source;
        if !may_be_empty(engine, name)? {
            continue;
        }
        let image = match &mut image {
            Some(image) => image,
            None => image.insert(root::merged(engine, record)?),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let target = &point.request.target;
        let source = match openat2::open_in_root(&*image, target.as_bytes(), flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            found => found.with_context(|| format!("open `{target}` of the image"))?,
        };
        let lock = volume::lock_shared(&engine.paths, &engine.mapping, name)?;
        let found = volume::find(&engine.paths, name)?;
        let opened = open_volume(engine, name)?;
        if !volume::fill::is_due(&engine.paths, &found, &opened)? {
            drop((lock, opened));
            volume::mount::release(&engine.paths, name)?;
            continue;
        }
        // Only now: somebody may read from what is in it for as long as he likes.
        drop(lock);
        let lock = volume::lock_exclusive(&engine.paths, &engine.mapping, name)?;
        let durability = match point.anonymous && record.options.auto_remove {
            true => Durability::Volatile,
            false => Durability::Durable,
        };
        let owners = owners(engine, record, opened.place.as_fd())?;
        let owner = |owner| owners.inside(owner);
        let filled = volume::fill::fill(
            &engine.paths,
            &found,
            &opened,
            source.as_fd(),
            &owner,
            durability,
            &lock,
        )?;
        warnings.extend(filled.into_iter().flatten());
        drop(opened);
        volume::mount::release(&engine.paths, name)?;
    }
    Ok(())
}

/// Whether a volume may have to be filled, as far as the caller can see: what it may not look into has something.
pub(super) fn is_new(engine: &Engine, record: &Record) -> bool {
    points(record).any(|point| may_be_empty(engine, &point.request.source).unwrap_or(false))
}

/// The mounts whose volumes get what the image has there.
fn points(record: &Record) -> impl Iterator<Item = &MountPoint> {
    record.mounts.iter().filter(|point| {
        let request = &point.request;
        point.volume().is_some() && !request.no_copy && request.subpath.is_none()
    })
}

/// A look without a lock, since most volumes have something. What a device has is seen only once it is mounted.
fn may_be_empty(engine: &Engine, name: &str) -> Result<bool> {
    if volume::find(&engine.paths, name)?.source()?.is_some() {
        return Ok(true);
    }
    // In this order: while somebody fills it, it is not whole, whatever is there.
    Ok(volume::is_empty(&engine.paths, name)? || volume::fill::is_pending(&engine.paths, name))
}

/// How the owners of the image's files are written into a volume: as the container calls them where it sees the volume
/// through a mount that maps them, else as the store does.
fn owners(engine: &Engine, record: &Record, place: BorrowedFd<'_>) -> Result<Owners> {
    let Some(nested) = user_namespace::nested(&record.options, engine) else {
        return Ok(Owners::default());
    };
    let namespace = nested.maps.namespace()?;
    Ok(match mapped(engine, place, Some(namespace.as_fd()))? {
        Some(_) => Owners::of(engine, record),
        None => Owners::default(),
    })
}
