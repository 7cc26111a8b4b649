//! Changing how much of the host a container may take, and what is done when its program ends. The record changes, and
//! the cgroup of a container that is up, where all that was named is written, whatever the record had before: an update
//! between two runs has changed the record only. Where one of both cannot be, the other stays as it was.

use super::cgroup;
use super::engine::Engine;
use super::naming::current;
use super::options::RestartPolicy;
use super::record::{Directory, Record};
use super::resources::{Enforcement, Host, Resources};
use crate::cgroup::ROOT;
use crate::cgroup::resources::{self, Before, Setting};
use crate::error::{Error, Kind};
use crate::store::atomic::Durability;
use anyhow::{Context, Result};
use std::path::Path;

/// What is to be otherwise; what is not asked for stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// What is done when the program ends; the monitor reads it when that happens.
    pub restart: Option<RestartPolicy>,
    /// Limits.
    pub resources: Resources,
    /// What is done about a limit that cannot be applied.
    pub limits: Option<Enforcement>,
}

/// Changes a container; the answer is what is otherwise than was asked for.
pub fn update(engine: &Engine, id: &str, change: &Change) -> Result<Vec<String>> {
    change.resources.validate(&Host::detect()?, true)?;
    let directory = Directory::of(engine, id);
    let _lock = directory.lock_record()?;
    let old = current(&directory, id)?;
    let refused = || format!("Cannot update container {id}");
    let new = changed(&old, change).with_context(refused)?;
    let named = new.options.resources.named(&change.resources).to_oci();
    let wanted = named.and_then(|named| match named {
        Some(named) => resources::settings(&named),
        None => Ok(Vec::new()),
    });
    let wanted = wanted.with_context(refused)?;
    let user = cgroup::user(engine);
    let limited = limit(&directory, &new, &wanted, user).with_context(refused)?;
    if let Err(error) = directory.write_record(&new, Durability::Durable) {
        if let Some(before) = &limited.before {
            before.restore();
        }
        return Err(error).with_context(refused);
    }
    super::event::container(engine, &new, "update", &[]);
    Ok(limited.warnings)
}

fn changed(old: &Record, change: &Change) -> Result<Record, Error> {
    let mut new = old.clone();
    let options = &mut new.options;
    options.resources.update(&change.resources)?;
    if let Some(policy) = change.restart {
        if options.auto_remove && policy != RestartPolicy::No {
            let message =
                "Restart policy cannot be updated because AutoRemove is enabled for the container";
            return Err(Error::new(Kind::Conflict, message));
        }
        options.restart = policy;
    }
    options.limits = change.limits.unwrap_or(options.limits);
    Ok(new)
}

/// What was done to a cgroup.
#[derive(Default)]
struct Limited {
    before: Option<Before>,
    warnings: Vec<String>,
}

/// Changes the cgroup of a container that runs.
fn limit(
    directory: &Directory,
    record: &Record,
    wanted: &[Setting],
    user: Option<u32>,
) -> Result<Limited> {
    let state = directory.state()?.filter(|state| state.status().is_up());
    let (Some(first), Some(state)) = (wanted.first(), state) else {
        return Ok(Limited::default());
    };
    let best_effort = record.options.limits == Enforcement::BestEffort;
    let Some(group) = cgroup::of_running(&state)? else {
        let reason = "the container runs without a control group of its own";
        let error = resources::missing(first.controller, Path::new(ROOT), reason, user);
        if !best_effort {
            return Err(error.into());
        }
        return Ok(Limited {
            warnings: vec![error.message],
            ..Limited::default()
        });
    };
    cgroup::enable_above(&group, wanted)?;
    let before = Before::of(group, wanted)?;
    match resources::apply(&before.group, wanted, best_effort, user) {
        Ok(said) => Ok(Limited {
            before: Some(before),
            warnings: said.into_iter().map(|error| error.message).collect(),
        }),
        Err(error) => {
            before.restore();
            Err(error)
        }
    }
}
