//! Changing how much of the host a container may take, and what is done when its program ends. The record changes, and
//! the cgroup of a container that runs; where one of both cannot be, the other stays as it was.

use super::engine::Engine;
use super::naming::current;
use super::options::RestartPolicy;
use super::record::{Directory, Record};
use super::resources::{Enforcement, Host, Resources};
use super::{cgroup, spec};
use crate::cgroup::resources::{self, Setting};
use crate::cgroup::{Cgroup, ROOT, placement};
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
    let written = settings(&old, engine)?;
    let mut wanted = settings(&new, engine).with_context(refused)?;
    wanted.retain(|setting| !written.contains(setting));
    let limited = limit(&directory, &new, &wanted).with_context(refused)?;
    if let Err(error) = directory.write_record(&new, Durability::Durable) {
        limited.undo();
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

/// What the limits of a container come to in its cgroup.
fn settings(record: &Record, engine: &Engine) -> Result<Vec<Setting>> {
    let spec = spec::build(record, engine)?;
    let limits = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref());
    limits.map_or_else(|| Ok(Vec::new()), resources::settings)
}

/// What was done to a cgroup.
#[derive(Default)]
struct Limited {
    cgroup: Option<Cgroup>,
    /// How it was before.
    before: Vec<Setting>,
    warnings: Vec<String>,
}

impl Limited {
    /// As far as that is possible: what cannot be written again was not written either.
    fn undo(&self) {
        for setting in &self.before {
            if let Some(cgroup) = &self.cgroup {
                let _ = cgroup.write(&setting.file, &setting.value);
            }
        }
    }
}

/// Changes the cgroup of a container that runs.
fn limit(directory: &Directory, record: &Record, wanted: &[Setting]) -> Result<Limited> {
    let state = directory.state()?.filter(|state| state.status().is_up());
    let (Some(first), Some(state)) = (wanted.first(), state) else {
        return Ok(Limited::default());
    };
    let best_effort = record.options.limits == Enforcement::BestEffort;
    let Some(group) = cgroup::of(&state)? else {
        let reason = "the container runs without a control group of its own";
        let error = resources::missing(first.controller, Path::new(ROOT), reason);
        if !best_effort {
            return Err(error.into());
        }
        return Ok(Limited {
            warnings: vec![error.message],
            ..Limited::default()
        });
    };
    let controllers: Vec<&str> = wanted
        .iter()
        .map(|setting| setting.controller.name())
        .collect();
    placement::enable_above(&group, &controllers)?;
    let mut limited = Limited {
        before: before(&group, wanted)?,
        cgroup: Some(group),
        warnings: Vec::new(),
    };
    let group = limited.cgroup.as_ref().context("there is no group")?;
    match resources::apply(group, wanted, best_effort) {
        Ok(said) => limited.warnings = said.into_iter().map(|error| error.message).collect(),
        Err(error) => {
            limited.undo();
            return Err(error);
        }
    }
    Ok(limited)
}

/// What the files hold that are about to be written. Those with a line for each device are left out: what they were is
/// not what would be written.
fn before(group: &Cgroup, wanted: &[Setting]) -> Result<Vec<Setting>> {
    let mut before = Vec::new();
    for setting in wanted {
        if let Some(value) = group.read(&setting.file)?
            && value.lines().count() <= 1
            && !value.contains(':')
        {
            // An empty write(2) would write nothing.
            let value = match value.trim_end() {
                "" => "\n".to_owned(),
                value => value.to_owned(),
            };
            before.push(Setting {
                value,
                ..setting.clone()
            });
        }
    }
    Ok(before)
}
