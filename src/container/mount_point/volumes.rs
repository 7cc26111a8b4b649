//! The volumes of a container: made with it, and those that nobody has named removed with it.
//!
//! A volume without a name is called by the container's id and a number, hashed, so that whoever finds the leftovers of
//! a creation that was killed finds its volumes too.

use super::MountPoint;
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::record::Record;
use crate::container::volume as volume_of;
use crate::error::{self, Kind};
use crate::image::digest::Digest;
use crate::store::damage;
use crate::store::lock::Lock;
use crate::volume::{self, ANONYMOUS_LABEL, Wanted};
use anyhow::Result;
use std::collections::BTreeSet;

/// Volumes that were made for a container that does not exist yet; removed again unless it comes to exist.
#[derive(Debug)]
pub(in crate::container) struct New<'a> {
    engine: &'a Engine,
    names: Vec<String>,
}

impl<'a> New<'a> {
    /// None yet.
    pub fn none(engine: &'a Engine) -> Self {
        Self {
            engine,
            names: Vec::new(),
        }
    }

    /// The container exists.
    pub fn keep(&mut self) {
        self.names.clear();
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        let names: Vec<&str> = self.names.iter().rev().map(String::as_str).collect();
        remove_unused(self.engine, &names);
    }
}

/// Gives every volume of a container its name and makes what is missing. The locks keep them until the record is
/// there.
pub(in crate::container) fn make(
    engine: &Engine,
    record: &mut Record,
    new: &mut New<'_>,
) -> Result<Vec<Lock>> {
    let mut locks = Vec::new();
    let mut number = 0;
    for point in &mut record.mounts {
        if point.volume().is_none() {
            continue;
        }
        if point.request.source.is_empty() {
            point.request.source = anonymous_name(&record.id, number);
            number += 1;
        }
        let request = &point.request;
        let mut wanted = Wanted {
            name: request.source.clone(),
            driver: request.driver.clone(),
            options: request.driver_options.clone(),
            labels: request.labels.clone(),
        };
        if point.anonymous {
            wanted
                .labels
                .insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        locks.push(loop {
            let (volume, is_new) = volume_of::create(engine, &wanted)?;
            if is_new {
                new.names.push(volume.name.clone());
            }
            match volume::lock_shared(&engine.paths, &engine.mapping, &volume.name) {
                // Another command has just removed it.
                Err(error) if error::kind(&error) == Some(Kind::NotFound) => {}
                lock => break lock?,
            }
        });
    }
    Ok(locks)
}

fn anonymous_name(container: &str, number: usize) -> String {
    Digest::of(format!("{container}/{number}").as_bytes())
        .hex()
        .to_owned()
}

/// The volumes of a container that has gone which nobody has named: they go, unless another container has them.
pub(in crate::container) fn remove_anonymous(engine: &Engine, points: &[MountPoint]) {
    let anonymous = points.iter().filter(|point| point.anonymous);
    let names: Vec<&str> = anonymous.filter_map(MountPoint::volume).collect();
    remove_unused(engine, &names);
}

/// Those of a container that never came to exist.
pub(in crate::container) fn sweep(engine: &Engine, id: &str) {
    let names = (0..).map(|number| anonymous_name(id, number));
    let made: Vec<String> = names
        .take_while(|name| engine.paths.volume(name).exists())
        .collect();
    // The last first: whoever is killed meanwhile leaves no gap.
    let names: Vec<&str> = made.iter().rev().map(String::as_str).collect();
    remove_unused(engine, &names);
}

/// All that nobody holds at once, since the records of all containers are read for it; the others one by one.
fn remove_unused(engine: &Engine, names: &[&str]) {
    let stays = |name: &str, error: &anyhow::Error| {
        damage::note(format_args!("volume {name} stays"), error);
    };
    for batch in names.chunks(volume_of::BATCH) {
        let removed = volume_of::remove_free(engine, batch, &mut |name, removed| {
            if let Err(error) = removed {
                stays(name, &error);
            }
        });
        let held = removed.unwrap_or_else(|error| {
            batch.iter().for_each(|name| stays(name, &error));
            Vec::new()
        });
        for name in held {
            match volume_of::remove(engine, name, true) {
                // Another container has it.
                Err(error) if error::kind(&error) == Some(Kind::Conflict) => {}
                Err(error) => stays(name, &error),
                Ok(()) => {}
            }
        }
    }
}

/// The names of all volumes that containers have.
pub fn used(engine: &Engine) -> Result<BTreeSet<String>> {
    let records = list::records(engine)?;
    let points = records.iter().flat_map(|record| &record.mounts);
    Ok(points
        .filter_map(MountPoint::volume)
        .map(str::to_owned)
        .collect())
}
