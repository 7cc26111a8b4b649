//! Looking at containers: finding one by what a user calls it, and telling what state it is in. Takes no lock, so
//! that it answers whatever else hangs.

use super::engine::Engine;
use super::record::{Directory, Record, State, Status};
use crate::error::{bad_input, not_found};
use crate::image::digest::Digest;
use crate::image::remove::User;
use anyhow::{Context, Result};

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

/// All containers, newest first.
pub fn list(engine: &Engine) -> Result<Vec<Container>> {
    let mut containers = Vec::new();
    for id in ids(engine)? {
        containers.extend(read(engine, &id)?);
    }
    containers.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    Ok(containers)
}

/// The container that is meant by an exact name, a whole id or a prefix of one that no other has.
pub fn find(engine: &Engine, name: &str) -> Result<Container> {
    let missing = || not_found(format!("No such container: {name}"));
    if name.is_empty() || name.contains('/') {
        return Err(missing().into());
    }
    if let Some(id) = holder(engine, name)
        && let Some(found) = read(engine, &id)?
    {
        return Ok(found);
    }
    let fitting: Vec<String> = ids(engine)?
        .into_iter()
        .filter(|id| id.starts_with(name))
        .collect();
    match fitting.as_slice() {
        [id] => read(engine, id)?.ok_or_else(|| missing().into()),
        [] => Err(missing().into()),
        _ => Err(bad_input(format!("multiple IDs found with provided prefix: {name}")).into()),
    }
}

/// The containers that were made from an image, for whoever wants to remove that.
pub fn users(engine: &Engine, image: &Digest) -> Result<Vec<User>> {
    let used = list(engine)?
        .into_iter()
        .filter(|container| container.record.image == *image);
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
    let directory = engine.paths.containers();
    let entries =
        std::fs::read_dir(&directory).with_context(|| format!("read `{}`", directory.display()))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string()));
    let names: std::io::Result<Vec<_>> = names.collect();
    let names = names.with_context(|| format!("read `{}`", directory.display()))?;
    Ok(names
        .into_iter()
        .flatten()
        .filter(|name| name.len() == 64)
        .collect())
}

fn read(engine: &Engine, id: &str) -> Result<Option<Container>> {
    let directory = Directory::of(engine, id);
    let Some(record) = directory.record()? else {
        return Ok(None);
    };
    Ok(Some(Container {
        record,
        state: directory.state()?,
    }))
}
