//! `diff`: what a container has changed of its image. Takes no lock, and does not disturb a container that runs.

use super::engine::Engine;
use super::record::Record;
use super::root;
use crate::image::layer::changes::{Change, changes};
use anyhow::{Context, Result};

/// The changes, sorted by path. The process must have one thread.
pub fn of(engine: &Engine, record: &Record) -> Result<Vec<Change>> {
    root::enter(engine)?;
    root::with_changes(engine, record, |overlay, _| changes(overlay))
        .with_context(|| format!("compare container {} with its image", record.name))
}
