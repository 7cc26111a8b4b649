//! Which container has which name. A name is a link in `names/` whose target is the container's id: only one maker
//! can win it, and it is there whole or not at all. What the record says is the truth; a link that leads to a
//! container of another name was left by a killed `rename` and counts for nothing.

use super::control;
use super::engine::Engine;
use super::list::{Container, holder};
use super::name;
use super::options::NetworkMode;
use super::record::{Directory, Record};
use super::remove::absent;
use crate::error::{Error, Kind, bad_input, not_found};
use crate::store::atomic::{self, Durability};
use anyhow::{Context, Result};
use std::io::ErrorKind;

/// Takes a name for a container; `false` when another has it.
pub fn claim(engine: &Engine, name: &str, id: &str) -> Result<bool> {
    let path = engine.paths.names().join(name);
    for _ in 0..2 {
        // A link comes to exist with its content at once; a file could be found empty.
        match std::os::unix::fs::symlink(id, &path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("create `{}`", path.display()));
            }
        }
        match holder(engine, name) {
            // A rename that was killed has left it, in one direction or the other.
            Some(holder) if holder == id => return Ok(true),
            _ if is_taken(engine, name)? => return Ok(false),
            _ => {}
        }
        absent(std::fs::remove_file(&path), &path)?;
    }
    Ok(false)
}

/// Whether the link of a name leads to a container that has it, or is just about to.
fn is_taken(engine: &Engine, name: &str) -> Result<bool> {
    // A maker that was killed leaves a name without a container; the sweep has removed the container by now.
    let Some(id) = holder(engine, name).filter(|id| engine.paths.container(id).exists()) else {
        return Ok(false);
    };
    let directory = Directory::of(engine, &id);
    let has_it = || {
        directory.record().map_or(true, |record| {
            record.is_none_or(|record| record.name == name)
        })
    };
    // A rename writes the record after the link.
    Ok(has_it() || directory.lock_record().map(|_lock| has_it())?)
}

/// Docker's words for a name that is taken.
pub fn taken(engine: &Engine, name: &str) -> Error {
    let holder = holder(engine, name).unwrap_or_default();
    Error::new(
        Kind::Conflict,
        format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
        ),
    )
}

/// Gives a container another name.
pub fn rename(engine: &Engine, container: &Container, new: &str) -> Result<()> {
    let id = &container.record.id;
    let directory = Directory::of(engine, id);
    // As in Docker, a leading slash is not part of the name.
    let new = new.strip_prefix('/').unwrap_or(new);
    name::validate(new)?;
    let lock = directory.lock_record()?;
    let mut record = current(&directory, id)?;
    if record.name == new {
        return Err(
            bad_input("Renaming a container with the same name as its current name").into(),
        );
    }
    if !claim(engine, new, id)? {
        return Err(taken(engine, new).into());
    }
    let old = std::mem::replace(&mut record.name, new.to_owned());
    let [old_link, new_link] = [&old, &record.name].map(|name| engine.paths.names().join(name));
    let written = directory.write_record(&record, Durability::Durable);
    if let Err(error) = written {
        // It may be written and only not durable; then both links stay, of which the record says which counts.
        if current(&directory, id).is_ok_and(|record| record.name == old) {
            let _ = std::fs::remove_file(&new_link);
        }
        return Err(error);
    }
    absent(std::fs::remove_file(&old_link), &old_link)?;
    atomic::sync_directory(&engine.paths.names())?;
    super::event::container(engine, &record, "rename", &[("oldName", &old)]);
    drop(lock);
    let is_found_by_name = record.options.network == NetworkMode::Private;
    match is_found_by_name && container.status().is_active() {
        true => control::rename_in_networks(engine, id),
        false => Ok(()),
    }
}

/// The record of a container, of which only the id is known.
pub(super) fn current(directory: &Directory, id: &str) -> Result<Record> {
    let missing = || not_found(format!("No such container: {id}"));
    Ok(directory.record()?.ok_or_else(missing)?)
}
