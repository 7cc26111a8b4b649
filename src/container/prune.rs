//! Removing all containers that do not run.

use super::engine::Engine;
use super::list::{self, Container};
use super::{event, remove, size};
use crate::error::{Kind, kind};
use anyhow::Result;

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Ids of the containers that went.
    pub ids: Vec<String>,
    /// Bytes of the files they had written.
    pub reclaimed: u64,
    /// Why others stayed.
    pub failures: Vec<anyhow::Error>,
}

/// Removes the containers that fit and do not run. One that is started or removed by somebody else meanwhile is left
/// alone; one that cannot be removed does not keep the others.
pub fn prune(engine: &Engine, fits: impl Fn(&Container) -> bool) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    for container in list::list(engine)? {
        if container.status().is_active() || !fits(&container) {
            continue;
        }
        let id = container.record.id;
        let written = size::written(engine, &id).unwrap_or_default();
        match remove::remove(engine, &id, false, false) {
            Ok(()) => {
                pruned.reclaimed += written;
                pruned.ids.push(id);
            }
            Err(error) if matches!(kind(&error), Some(Kind::Conflict | Kind::NotFound)) => {}
            Err(error) => pruned
                .failures
                .push(error.context(format!("remove container {id}"))),
        }
    }
    event::prune(engine, "container", pruned.reclaimed);
    Ok(pruned)
}
