//! User namespaces that somebody else has made: those of other containers, and those behind a path.
//!
//! ```text
//! caller ─▶ user namespace of the store ─▶ … ─▶ the one that is joined
//!            root: that of the caller
//! ```
//!
//! A monitor of an ordinary user has a user namespace of the store for itself. One below that of another monitor can be
//! joined only from there, so that such a container's monitor lives where the other one does.

use super::{Nested, UserNamespace};
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::options::Options;
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::IdMaps;
use crate::runtime::process::exec::Target;
use crate::sys::namespace::{self, join, lineage};
use crate::sys::process::{self, flags};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The user namespaces from that of the store's files on down to one that is joined.
struct Chain {
    /// For an ordinary user: where the monitor has to live.
    store: Option<OwnedFd>,
    /// Below that, or below our own; the last one is the one that is meant.
    below: Vec<OwnedFd>,
}

/// What is known of the ids of the namespace behind a path; `None` where it is that of the store itself.
pub(super) fn look(engine: &Engine, path: &Path) -> Result<Option<Nested>> {
    let chain = Chain::of(engine, open(path)?)
        .with_context(|| format!("join the user namespace `{}`", path.display()))?;
    let Some(last) = chain.below.last() else {
        return Ok(None);
    };
    let maps = maps_of(chain.store.as_ref().map(AsFd::as_fd), last.as_fd())?;
    Ok(Some(Nested {
        maps,
        depth: chain.below.len(),
    }))
}

impl Chain {
    fn of(engine: &Engine, namespace: OwnedFd) -> Result<Self> {
        let mut below = lineage(namespace).context("it is not below that of the caller")?;
        if !engine.mapping.needs_user_namespace() {
            return Ok(Self { store: None, below });
        }
        if below.is_empty() {
            let message = "it is that of the caller, where an ordinary user is not root";
            return Err(Error::new(Kind::Denied, message).into());
        }
        let store = below.remove(0);
        let found = maps_of(None, store.as_fd())?;
        let mapping = &engine.mapping;
        if (&found.uids, &found.gids) != (&mapping.uids, &mapping.gids) {
            let message =
                "it does not have the ids of the store, to whom the files of images belong";
            return Err(bad_input(message)
                .hint("make it within `onggi unshare`")
                .into());
        }
        Ok(Self {
            store: Some(store),
            below,
        })
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    // Not waiting for somebody at the other end of what is no namespace at all.
    let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, how, Mode::empty())
        .with_context(|| format!("open `{}`", path.display()))?;
    if !namespace::is_of_kind(file.as_fd(), flags::NEW_USER) {
        let message = format!("`{}` is not the file of a user namespace", path.display());
        return Err(bad_input(message)
            .hint("that of a process is /proc/PID/ns/user")
            .into());
    }
    Ok(file)
}

/// The id maps of a namespace, as `outer` sees them, which is below our own; else as we do.
fn maps_of(outer: Option<BorrowedFd<'_>>, namespace: BorrowedFd<'_>) -> Result<IdMaps> {
    let (mut said, say) = std::io::pipe().context("pipe")?;
    let mut say = Some(say);
    let reader = process::clone3(0, || {
        let read = || -> Result<IdMaps> {
            // Whoever is root there must not look into our memory. Id maps can be read all the same.
            process::set_dumpable(false).context("prctl PR_SET_DUMPABLE")?;
            if let Some(outer) = outer {
                join(outer, flags::NEW_USER).context("join the user namespace of the store")?;
            }
            maps_from_here(namespace)
        };
        let (Ok(maps), Some(say)) = (read(), say.take()) else {
            return 1;
        };
        u8::from(serde_json::to_writer(say, &maps).is_err())
    })
    .context("fork")?;
    drop(say.take());
    let mut text = Vec::new();
    said.read_to_end(&mut text).context("read from a pipe")?;
    match reader.wait().context("wait for a child")?.code() {
        0 => serde_json::from_slice(&text).context("read the id maps"),
        _ => {
            let message = "its ids cannot be read: it belongs to somebody else";
            Err(Error::new(Kind::Denied, message).into())
        }
    }
}

fn maps_from_here(namespace: BorrowedFd<'_>) -> Result<IdMaps> {
    let (mut joined, tell) = std::io::pipe().context("pipe")?;
    let (mut wait, end) = std::io::pipe().context("pipe")?;
    let (mut tell, mut end) = (Some(tell), Some(end));
    let inside = process::clone3(0, || {
        drop(end.take());
        if process::set_dumpable(false).is_err() || join(namespace, flags::NEW_USER).is_err() {
            return 1;
        }
        drop(tell.take());
        u8::from(wait.read(&mut [0]).is_err())
    })
    .context("fork")?;
    drop(tell.take());
    let waited = joined.read(&mut [0]).context("read from a pipe");
    let maps = waited.and_then(|_| IdMaps::of_process(inside.pid));
    drop(end.take());
    match inside.wait().context("wait for a child")?.code() {
        0 => maps,
        _ => anyhow::bail!("it cannot be joined"),
    }
}

/// The namespace that a container joins, for its monitor; `None` where it joins none.
pub(super) fn joined(
    engine: &Engine,
    options: &Options,
    nested: &Nested,
) -> Result<Option<OwnedFd>> {
    match &options.userns {
        UserNamespace::Container(id) => {
            let target = target(engine, id)?;
            target.user_namespace(nested.depth).map(Some)
        }
        UserNamespace::Path(path) => {
            let namespace = open(path)?;
            let copy = namespace.try_clone().context("duplicate a descriptor")?;
            let is_same = lineage(copy)?.len() == nested.depth
                && maps_of(None, namespace.as_fd())? == nested.maps;
            if !is_same {
                let message = format!(
                    "the user namespace `{}` has other ids than when the container was made",
                    path.display()
                );
                return Err(Error::new(Kind::Conflict, message)
                    .hint("make the container again")
                    .into());
            }
            Ok(Some(namespace))
        }
        _ => Ok(None),
    }
}

/// Where the monitor of an ordinary user's container has to live, if not in a user namespace of its own.
pub fn home(engine: &Engine, options: &Options) -> Result<Option<OwnedFd>> {
    if !engine.mapping.needs_user_namespace() {
        return Ok(None);
    }
    match &options.userns {
        UserNamespace::Container(id) => target(engine, id)?.user_namespace(1).map(Some),
        UserNamespace::Path(path) => Ok(Chain::of(engine, open(path)?)?.store),
        _ => Ok(None),
    }
}

/// The first process of the container whose user namespace is meant, which has to run.
fn target(engine: &Engine, id: &str) -> Result<Target> {
    let container = list::find(engine, id)?;
    let state = container
        .state
        .as_ref()
        .filter(|state| state.status().is_up());
    if let Some(program) = state.and_then(|state| state.program.as_ref())
        && let Some(target) = Target::open(program)?
    {
        return Ok(target);
    }
    let name = container.record.name;
    let message = format!("container {name}, whose user namespace is to be joined, is not running");
    Err(Error::new(Kind::Conflict, message)
        .hint(format!("onggi start {name}"))
        .into())
}
