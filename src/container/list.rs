//! Looking at containers: finding one by what a user calls it, and telling what state it is in. Takes no lock, so
//! that it answers whatever else hangs.

use super::engine::Engine;
use super::record::{Directory, Record, Records, State, Status};
use crate::error::{Error, bad_input, not_found};
use crate::image::digest::Digest;
use crate::image::remove::User;
use crate::store::{damage, directory};
use anyhow::{Context, Result, anyhow};

/// A container with its state.
#[derive(Clone, Debug)]
pub struct Container {
    /// What it is.
    pub record: Record,
    /// What has become of it; `None` if it was never started.
    pub state: Option<State>,
}

impl Container {
    /// Where it stands now.
    pub fn status(&self) -> Status {
        self.state.as_ref().map_or(Status::Created, State::status)
    }
}

/// All containers, newest first. One whose record is damaged is left out and noted.
pub fn list(engine: &Engine) -> Result<Vec<Container>> {
    let ids = ids(engine)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = ids
        .len()
        .div_ceil(threads.min(MOST_THREADS))
        .max(LEAST_SHARE);
    let mut containers = match ids.len() <= share {
        true => read_all(engine, &ids)?,
        false => std::thread::scope(|scope| {
            let shares = ids.chunks(share);
            let threads: Vec<_> = shares
                .map(|share| scope.spawn(|| read_all(engine, share)))
                .collect();
            let read = threads.into_iter().map(|thread| {
                let stopped = |_| anyhow!("a thread that read containers has stopped");
                thread.join().map_err(stopped).flatten()
            });
            let shares = read.collect::<Result<Vec<_>>>()?;
            Ok::<_, anyhow::Error>(shares.into_iter().flatten().collect())
        })?,
    };
    containers.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    Ok(containers)
}

/// The records of all containers, for whom it will not do to leave one out: one that is damaged is an error.
pub(super) fn records(engine: &Engine) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for id in ids(engine)? {
        let record = known(engine, &id, Directory::of(engine, &id).record());
        records.extend(record.with_context(|| format!("read the record of container {id}"))?);
    }
    Ok(records)
}

/// So many threads read at most: more wait for the directory they share.
const MOST_THREADS: usize = 4;
/// For fewer containers than this a thread of their own costs more than it saves.
const LEAST_SHARE: usize = 100;

fn read_all(engine: &Engine, ids: &[String]) -> Result<Vec<Container>> {
    let mut containers = Vec::with_capacity(ids.len());
    let Some(mut records) = Records::open(engine)? else {
        return Ok(containers);
    };
    for id in ids {
        let record = records.record(id);
        match with_state(engine, id, record, || records.state(id)) {
            Ok(found) => containers.extend(found),
            Err(error) => damage::note(format_args!("container {} is left out", &id[..12]), &error),
        }
    }
    Ok(containers)
}

/// The container that is meant by an exact name, a whole id or a prefix of one that no other has.
pub fn find(engine: &Engine, name: &str) -> Result<Container> {
    // The record that tells whether the link is right is the one that is wanted.
    if is_name(name)
        && let Some(id) = holder(engine, name)
        && let Some(found) = read(engine, &id)?
        && found.record.name == name
    {
        return Ok(found);
    }
    let id = find_id(engine, name)?;
    read(engine, &id)?.ok_or_else(|| missing(name).into())
}

/// Whether it can be that of a link or a directory.
fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

fn missing(name: &str) -> Error {
    not_found(format!("No such container: {name}"))
}

/// The id of that container, whose record may be damaged.
pub fn find_id(engine: &Engine, name: &str) -> Result<String> {
    let missing = || missing(name);
    if !is_name(name) {
        return Err(missing().into());
    }
    if let Some(id) = holder(engine, name)
        && is_called(engine, &id, name)
    {
        return Ok(id);
    }
    let fitting: Vec<String> = ids(engine)?
        .into_iter()
        .filter(|id| id.starts_with(name))
        .filter(|id| Directory::of(engine, id).exists() || is_lost(engine, id))
        .collect();
    match fitting.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(missing().into()),
        _ => Err(bad_input(format!("multiple IDs found with provided prefix: {name}")).into()),
    }
}

/// Whether it exists and does not say that its name is another one: a killed `rename` leaves such a link.
fn is_called(engine: &Engine, id: &str, name: &str) -> bool {
    match known(engine, id, Directory::of(engine, id).record()) {
        Ok(record) => record.is_some_and(|record| record.name == name),
        Err(_) => true,
    }
}

/// The containers that were made from an image or mount it, for whoever wants to remove that.
pub fn users(engine: &Engine, image: &Digest) -> Result<Vec<User>> {
    let used = list(engine)?.into_iter().filter(|container| {
        let record = &container.record;
        let mut mounted = record
            .mounts
            .iter()
            .filter_map(|point| point.image.as_ref());
        record.image == *image || mounted.any(|mounted| mounted == image)
    });
    Ok(used
        .map(|container| User {
            running: container.status().is_active(),
            container: container.record.id,
        })
        .collect())
}

/// The id of the container that has a name: where the link of that name leads.
pub(super) fn holder(engine: &Engine, name: &str) -> Option<String> {
    let id = std::fs::read_link(engine.paths.names().join(name)).ok()?;
    id.into_os_string()
        .into_string()
        .ok()
        .filter(|id| id.len() == 64)
}

/// The ids of all container directories, half-made ones among them.
pub(super) fn ids(engine: &Engine) -> Result<Vec<String>> {
    let mut ids = directory::names(&engine.paths.containers())?;
    ids.retain(|name| name.len() == 64);
    Ok(ids)
}

/// What was read of a record, where none is a record that is lost, if there is a container all the same.
pub(super) fn known(
    engine: &Engine,
    id: &str,
    record: Result<Option<Record>>,
) -> Result<Option<Record>> {
    match record? {
        None if is_lost(engine, id) => {
            let path = Directory::of(engine, id).file("container.json");
            Err(damage::damaged(&path, "it is missing").into())
        }
        record => Ok(record),
    }
}

/// Whether a container has lost its record: it was started, and nobody is removing it. One that is half made has no
/// state, one that is half removed has a mark and no processes.
pub(super) fn is_lost(engine: &Engine, id: &str) -> bool {
    let directory = Directory::of(engine, id);
    // In this order: a removal makes the mark before it takes the record, and takes the mark after the state.
    if directory.exists() {
        return false;
    }
    let is_marked = engine.paths.mark(id).exists();
    match directory.state() {
        Ok(state) => state.is_some_and(|state| !is_marked || state.has_processes()),
        Err(_) => !is_marked,
    }
}

fn read(engine: &Engine, id: &str) -> Result<Option<Container>> {
    let directory = Directory::of(engine, id);
    with_state(engine, id, directory.record(), || directory.state())
}

fn with_state(
    engine: &Engine,
    id: &str,
    record: Result<Option<Record>>,
    state: impl FnOnce() -> Result<Option<State>>,
) -> Result<Option<Container>> {
    let Some(record) = known(engine, id, record)? else {
        return Ok(None);
    };
    // Its program cannot be found without it, but what it is, and what it has written, is all there.
    let state = state().unwrap_or_else(|error| {
        damage::note(
            format_args!("the state of container {} is lost", &id[..12]),
            &error,
        );
        Some(Directory::of(engine, id).lost_state())
    });
    Ok(Some(Container { record, state }))
}
