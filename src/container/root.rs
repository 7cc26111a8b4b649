//! The root file system of a container, seen from outside.
//!
//! | view | of | shows | may be written |
//! |---|---|---|---|
//! | [`running`] | a container that runs | all that its program sees: volumes, tmpfs, `/proc` | yes |
//! | [`writable`] | one that does not | image and changes; its lock is held meanwhile | yes |
//! | [`merged`] | any | image and changes, nothing that is mounted in it | no |
//!
//! A view is a descriptor. Nothing is mounted anywhere that another process could see, and nothing is left when
//! the descriptor is closed. What is in it is hostile: paths are resolved by [`crate::sys::openat2`] only.

use super::engine::Engine;
use super::record::{Directory, Record, State};
use super::user_namespace::{self, Layers};
use crate::error::{Error, Kind};
use crate::id_mapping::{self, IdMaps, Mapping, NOBODY, Tier, outside_or_nobody};
use crate::image::layer::changes::Overlay as Changed;
use crate::image::layer::entries;
use crate::image::layer::pack::{Owner, open_directory};
use crate::image::shift::merge;
use crate::store::atomic;
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use crate::sys::mount::{self, Overlay};
use crate::sys::namespace::unshare;
use crate::sys::process::flags;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is made to mount something on when a container starts; the image need not have it, nor get it.
const MOUNT_POINTS: [&str; 7] = [
    "dev",
    "etc",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// Moves the calling process, which must have one thread, to where the files of containers can be reached and
/// overlays be mounted. For root it is there already.
pub fn enter(engine: &Engine) -> Result<()> {
    if engine.mapping.needs_user_namespace() {
        engine.mapping.enter()?;
        unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
    }
    Ok(())
}

/// The root directory of a container's program, if that runs. To be called before [`enter`]: only who has made the
/// container's namespaces may look into them (ptrace(2), "Ptrace access mode checking").
pub fn running(state: Option<&State>) -> Result<Option<OwnedFd>> {
    let Some(state) = state.filter(|state| state.status().is_up()) else {
        return Ok(None);
    };
    let Some(program) = &state.program else {
        return Ok(None);
    };
    let path = format!("/proc/{}/root", program.pid);
    let opened = rustix::fs::open(
        &path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    // Looked at after opening: only then was it the root of that very process.
    if !program.is_alive() {
        return Ok(None);
    }
    opened.map(Some).with_context(|| format!("open `{path}`"))
}

/// A container that does not run, to be changed; `None` when somebody else has it: it may have been started.
pub fn lock(engine: &Engine, record: &Record) -> Result<Option<Lock>> {
    Lock::try_directory(Directory::of(engine, &record.id).path())
}

/// Image and changes of a container whose lock is held, to be read and written. Needs [`enter`].
pub fn writable(engine: &Engine, record: &Record, _lock: &Lock) -> Result<OwnedFd> {
    if let Some(path) = super::mount::mounted(engine, &record.id) {
        return browse(mount::open_source(&path)?.as_fd());
    }
    let mounted = writable_overlay(engine, record)?;
    browse(mounted.as_fd())
}

/// The overlay itself, detached.
pub(super) fn writable_overlay(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    let directory = Directory::of(engine, &record.id);
    if is_copy(&directory) {
        fill(engine, record)?;
        let copy = mount::open_source(&directory.file("upper"))?;
        return mount::clone_tree(copy.as_fd(), false).context("bind the container's root");
    }
    with_layers(engine, record, |trees| {
        give_attributes(&directory, trees.first(), Ok)?;
        overlay(engine, trees, directory.path(), false)
    })
}

/// An overlay of `trees`, uppermost first, under `upper` and `work` of a directory; a `volatile` one is not to outlive
/// the machine.
pub fn overlay(
    engine: &Engine,
    trees: &[PathBuf],
    directory: &Path,
    volatile: bool,
) -> Result<OwnedFd> {
    let lower = open_all(trees)?;
    let upper = mount::open_source(&directory.join("upper"))?;
    let work = mount::open_source(&directory.join("work"))?;
    if lower.is_empty() {
        return mount::clone_tree(upper.as_fd(), false).context("bind the upper directory");
    }
    let overlay = Overlay {
        lower: &lower,
        upper: upper.as_fd(),
        work: work.as_fd(),
        user_xattrs: engine.mapping.tier != Tier::Root,
        label: None,
        volatile,
    };
    overlay.mount()
}

/// What [`give_attributes`] makes of a container that is about to start with these layers.
pub fn prepare_upper(engine: &Engine, record: &Record, layers: &Layers) -> Result<()> {
    let owners = Owners::of(engine, record);
    let seen = |owner| match layers.mapped {
        true => owners.stored(owner),
        false => Ok(owner),
    };
    give_attributes(
        &Directory::of(engine, &record.id),
        layers.trees.first(),
        seen,
    )
}

/// An overlay shows its root with the owner and the mode of the upper directory: those of the image, then, of which
/// `seen` tells what they are to be.
fn give_attributes(
    directory: &Directory,
    top: Option<&PathBuf>,
    seen: impl Fn((u32, u32)) -> Result<(u32, u32), Error>,
) -> Result<()> {
    let Some(top) = top else { return Ok(()) };
    let upper = directory.file("upper");
    let stat = |path: &PathBuf| {
        std::fs::metadata(path).with_context(|| format!("stat `{}`", path.display()))
    };
    let (wanted, found) = (stat(top)?, stat(&upper)?);
    let (uid, gid) = seen((wanted.uid(), wanted.gid()))?;
    if (uid, gid) != (found.uid(), found.gid()) {
        std::os::unix::fs::chown(&upper, Some(uid), Some(gid))
            .with_context(|| format!("change the owner of `{}`", upper.display()))?;
    }
    if wanted.mode() != found.mode() {
        std::fs::set_permissions(&upper, wanted.permissions())
            .with_context(|| format!("change the mode of `{}`", upper.display()))?;
    }
    Ok(())
}

/// Image and changes of a container, to be read, whatever its state. Needs [`enter`].
///
/// The upper directory is read as one more layer, so that no lock is needed. What a running container changes
/// meanwhile may or may not be seen.
pub fn merged(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    browse(merged_overlay(engine, record)?.as_fd())
}

/// The read-only overlay itself, detached.
pub(super) fn merged_overlay(engine: &Engine, record: &Record) -> Result<OwnedFd> {
    let directory = Directory::of(engine, &record.id);
    if is_copy(&directory) {
        fill(engine, record)?;
        let copy = mount::open_source(&directory.file("upper"))?;
        return mount::read_only_copy(copy.as_fd()).context("bind the container's root");
    }
    with_layers(engine, record, |layers| {
        let mut trees = vec![Directory::of(engine, &record.id).file("upper")];
        trees.extend_from_slice(layers);
        match &open_all(&trees)?[..] {
            [upper] => mount::read_only_copy(upper.as_fd()).context("bind the upper directory"),
            layers => mount::read_only_overlay(layers, engine.mapping.tier != Tier::Root),
        }
    })
}

/// Whether a container's root is a copy of its image's files ([`super::file_system`]): one with an overlay has a work
/// directory from its beginning to its end.
pub fn is_copy(directory: &Directory) -> bool {
    !directory.file("work").exists()
}

/// Makes the copy, if it is not there. Needs [`enter`].
pub fn fill(engine: &Engine, record: &Record) -> Result<()> {
    let root = Directory::of(engine, &record.id).file("upper");
    if root.exists() {
        return Ok(());
    }
    let staging = Staging::new(&engine.paths.staging())?;
    let copy = staging.path().join("root");
    with_layers(engine, record, |layers| {
        let trees: Vec<PathBuf> = layers.iter().rev().cloned().collect();
        merge(&trees, engine.marks(), &copy)
    })
    .with_context(|| format!("copy the files of the image for container {}", record.name))?;
    if !record.options.auto_remove {
        // What a power cut leaves under that name would be taken for the whole.
        atomic::sync_file_system(&copy)?;
    }
    match std::fs::rename(&copy, &root) {
        // Somebody else was faster.
        Err(_) if root.exists() => Ok(()),
        renamed => renamed.with_context(|| format!("rename to `{}`", root.display())),
    }
}

/// A descriptor to read names from, of a mount or a directory that is only held.
fn browse(held: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(held, ".", flags, Mode::empty()).context("open the container's root")
}

/// Directories to be mounted.
pub fn open_all(paths: &[PathBuf]) -> Result<Vec<OwnedFd>> {
    paths.iter().map(|path| mount::open_source(path)).collect()
}

/// Calls `look` with the trees of a container's layers, uppermost first, which have the owners that what the container
/// has written has: perhaps only in this very call, whose mounts nobody else sees.
///
/// The process must be in the store's user namespace and have one thread.
fn with_layers<T>(
    engine: &Engine,
    record: &Record,
    look: impl FnOnce(&[PathBuf]) -> Result<T>,
) -> Result<T> {
    let namespace = user_namespace::nested(&record.options, engine)
        .map(|nested| nested.maps.namespace())
        .transpose()?;
    let layers = user_namespace::layers(engine, record, namespace.as_ref().map(AsFd::as_fd))?;
    match namespace.filter(|_| layers.mapped) {
        None => look(&layers.trees),
        Some(namespace) => mount::apart(|| {
            for tree in &layers.trees {
                mount::cover_mapped(tree, namespace.as_fd())?;
            }
            look(&layers.trees)
        }),
    }
}

/// Calls `look` with what is needed to tell a container's changes from its image. Needs [`enter`].
pub fn with_changes<T>(
    engine: &Engine,
    record: &Record,
    look: impl FnOnce(&Changed<'_>, &Path) -> Result<T>,
) -> Result<T> {
    let upper = Directory::of(engine, &record.id).file("upper");
    let whole = is_copy(&Directory::of(engine, &record.id));
    if whole {
        fill(engine, record)?;
    }
    with_layers(engine, record, |layers| {
        let parents: Vec<PathBuf> = layers.iter().rev().cloned().collect();
        let overlay = Changed {
            upper: &upper,
            parents: &parents,
            xattrs: engine.marks(),
            whole,
            ignored: &MOUNT_POINTS,
        };
        look(&overlay, &upper)
    })
}

/// How the owners of files on the disk are called in the container, and the reverse; by default the same.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// And the ids that the store has.
    maps: Option<(IdMaps, Mapping)>,
}

impl Owners {
    /// Those of a container.
    pub fn of(engine: &Engine, record: &Record) -> Self {
        let nested = user_namespace::nested(&record.options, engine);
        Self {
            maps: nested.map(|nested| (nested.into_owned().maps, engine.mapping.clone())),
        }
    }

    /// From the disk, as the store's user namespace sees it, to the container.
    pub fn inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        self.maps.as_ref().map_or((uid, gid), |(maps, _)| {
            (
                id_mapping::inside(&maps.uids, uid).unwrap_or(NOBODY),
                id_mapping::inside(&maps.gids, gid).unwrap_or(NOBODY),
            )
        })
    }

    /// From the container to the disk.
    pub fn stored(&self, (uid, gid): (u32, u32)) -> Result<(u32, u32), Error> {
        match &self.maps {
            None => Ok((uid, gid)),
            // There is nobody else.
            Some((_, store)) if store.tier == Tier::Single => Ok((0, 0)),
            Some((maps, store)) => Ok((
                outside_or_nobody(&maps.uids, uid, |id| store.contains_uid(id))?,
                outside_or_nobody(&maps.gids, gid, |id| store.contains_gid(id))?,
            )),
        }
    }
}

/// The owners for an archive of the whole root file system. With a single id the disk does not know them: what the
/// image has is what the image said, everything else belongs to who the container thinks it is.
pub fn archive_owners(engine: &Engine, record: &Record) -> Result<Owner<'static>> {
    let owners = Owners::of(engine, record);
    if engine.mapping.tier != Tier::Single {
        return Ok(Box::new(move |_, found| owners.inside(found)));
    }
    let known = layer_owners(engine, &record.layers)?;
    Ok(Box::new(move |path, found| {
        known
            .get(path)
            .copied()
            .unwrap_or_else(|| owners.inside(found))
    }))
}

/// The owners of the files of layers, lowest first, as their archives have them.
pub fn layer_owners(engine: &Engine, layers: &[String]) -> Result<HashMap<Vec<u8>, (u32, u32)>> {
    let mut known = HashMap::new();
    for key in layers {
        for entry in entries(&engine.paths.layer(key))? {
            let entry = entry?;
            known.insert(
                entry.path.as_os_str().as_bytes().to_vec(),
                (entry.uid, entry.gid),
            );
        }
    }
    Ok(known)
}

/// Opens a container's upper directory.
pub fn open_upper(upper: &Path) -> Result<OwnedFd> {
    open_directory(upper)
}

/// The error when a container is between two states for too long.
pub fn busy(record: &Record) -> Error {
    let message = format!(
        "container {} is being changed by another command",
        record.id
    );
    Error::new(Kind::Conflict, message).hint("try again")
}
