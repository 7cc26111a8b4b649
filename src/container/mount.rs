//! `mount`: the root file system of a container at a path of the host, for whoever wants to look at it with the
//! host's programs.
//!
//! | container | root | in `onggi unshare` |
//! |---|---|---|
//! | runs | the mount that its program has, without what is mounted in it | read-only, as below |
//! | does not run | its overlay; a start goes on with this very mount | image and changes, read-only |
//!
//! Invariant: at most one writable overlay of a container exists. In `onggi unshare` nobody outside would know of a
//! second one, so it is read-only there.

use super::engine::Engine;
use super::list::Container;
use super::record::{Record, State};
use super::root;
use crate::error::{Error, Kind};
use crate::id_mapping::Tier;
use crate::store::directory;
use crate::sys::mount as sys;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A container with the path where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its id.
    pub id: String,
    /// Where.
    pub path: PathBuf,
}

/// Mounts a container, unless it is mounted; gives the path.
pub fn mount(engine: &Engine, container: &Container) -> Result<PathBuf> {
    check_place(engine, "mount")?;
    let record = &container.record;
    if let Some(path) = mounted(engine, &record.id) {
        return Ok(path);
    }
    let context = || format!("mount container {}", record.name);
    let (view, _lock) = view(engine, container).with_context(context)?;
    let path = make_place(engine, &record.id).with_context(context)?;
    let place = sys::open_source(&path)?;
    sys::attach(view.as_fd(), place.as_fd()).with_context(context)?;
    super::event::container(engine, record, "mount", &[]);
    Ok(path)
}

/// Undoes [`mount`]; false if there was nothing to undo. With `force` also while somebody uses it.
pub fn umount(engine: &Engine, record: &Record, force: bool) -> Result<bool> {
    check_place(engine, "umount")?;
    let Some(path) = mounted(engine, &record.id) else {
        return Ok(false);
    };
    let flags = match force {
        true => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        false => UnmountFlags::NOFOLLOW,
    };
    match unmount(&path, flags) {
        Err(Errno::BUSY) => {
            let message = format!("container {} is used at `{}`", record.name, path.display());
            return Err(Error::new(Kind::Conflict, message)
                .hint("leave that directory, or --force")
                .into());
        }
        result => result.with_context(|| format!("unmount `{}`", path.display()))?,
    }
    super::remove::absent(std::fs::remove_dir(&path), &path)?;
    super::event::container(engine, record, "unmount", &[]);
    Ok(true)
}

/// Undoes the mount of a container that is going.
pub(super) fn release(engine: &Engine, id: &str) {
    if let Some(path) = mounted(engine, id) {
        // Whoever uses it keeps what is open. What cannot be undone is in nobody's way: the path has the id.
        let _ = unmount(&path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&path);
    }
}

/// Where a container is mounted in this mount namespace.
pub fn mounted(engine: &Engine, id: &str) -> Option<PathBuf> {
    let path = engine.paths.mounts().join(id);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let found = statx(CWD, &path, flags, StatxFlags::empty()).ok()?;
    found
        .stx_attributes
        .contains(StatxAttributes::MOUNT_ROOT)
        .then_some(path)
}

/// All containers that are mounted in this mount namespace, by id.
pub fn list(engine: &Engine) -> Result<Vec<Mounted>> {
    check_place(engine, "mount")?;
    let ids = directory::names(&engine.paths.mounts())?.into_iter();
    let found = ids.filter_map(|id: String| {
        let path = mounted(engine, &id)?;
        Some(Mounted { id, path })
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// What an ordinary user mounts is seen in the mount namespace only in which it was mounted.
fn check_place(engine: &Engine, command: &str) -> Result<()> {
    if !engine.mapping.needs_user_namespace() {
        return Ok(());
    }
    let message = format!(
        "`{command}` needs a mount namespace of yours: an ordinary user cannot mount for all"
    );
    Err(Error::new(Kind::Denied, message)
        .hint(format!("within `onggi unshare`, as in: onggi unshare sh -c 'ls \"$(onggi {command} CONTAINER)\"'"))
        .into())
}

/// What is to be mounted, and what has to be held until it is.
fn view(
    engine: &Engine,
    container: &Container,
) -> Result<(OwnedFd, Option<crate::store::lock::Lock>)> {
    let record = &container.record;
    if engine.mapping.tier != Tier::Root {
        return Ok((root::merged_overlay(engine, record)?, None));
    }
    if let Some(view) = of_program(container.state.as_ref())? {
        return Ok((view, None));
    }
    let lock = root::lock(engine, record)?.ok_or_else(|| root::busy(record))?;
    Ok((root::writable_overlay(engine, record)?, Some(lock)))
}

/// The root mount of a program that runs.
fn of_program(state: Option<&State>) -> Result<Option<OwnedFd>> {
    let Some(program) = state
        .filter(|state| state.status().is_up())
        .and_then(|state| state.program.as_ref())
    else {
        return Ok(None);
    };
    let path = format!("/proc/{}/ns/mnt", program.pid);
    let namespace = std::fs::File::open(&path);
    if !program.is_alive() {
        return Ok(None);
    }
    let namespace = namespace.with_context(|| format!("open `{path}`"))?;
    sys::root_of(namespace.as_fd()).map(Some)
}

/// Makes the directory to mount on. The run root may lie in `/tmp`, where it may be somebody else's.
fn make_place(engine: &Engine, id: &str) -> Result<PathBuf> {
    let place = engine.paths.mounts().join(id);
    let context = |path: &Path| format!("create `{}`", path.display());
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(&place)
        .with_context(|| context(&place))?;
    let run = engine.paths.run();
    let owner =
        std::fs::symlink_metadata(run).with_context(|| format!("stat `{}`", run.display()))?;
    if owner.uid() != rustix::process::geteuid().as_raw() || !owner.is_dir() {
        let message = format!("`{}` belongs to somebody else", run.display());
        return Err(Error::new(Kind::Denied, message)
            .hint("set XDG_RUNTIME_DIR, or name a directory with --runroot")
            .into());
    }
    Ok(place)
}
