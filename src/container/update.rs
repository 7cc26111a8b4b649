//! Changing how much of the host a container may take, and what is done when its program ends. The record changes, and
//! the cgroup of a container that is up, where all that was named is written, whatever the record had before: an update
//! between two runs has changed the record only. Where one of both cannot be, the other stays as it was.

use super::cgroup;
use super::engine::Engine;
use super::naming::current;
use super::options::RestartPolicy;
use super::record::{Directory, Record};
use super::resources::{Enforcement, Host, Resources};
use crate::cgroup::resources::{self, Setting};
use crate::cgroup::{Cgroup, ROOT};
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
    let mut limited = Limited {
        before: before(&group, wanted)?,
        cgroup: Some(group),
        warnings: Vec::new(),
    };
    let group = limited.cgroup.as_ref().context("there is no group")?;
    match resources::apply(group, wanted, best_effort, user) {
        Ok(said) => limited.warnings = said.into_iter().map(|error| error.message).collect(),
        Err(error) => {
            limited.undo();
            return Err(error);
        }
    }
    Ok(limited)
}

/// What the files hold that are about to be written, as it is written again.
fn before(group: &Cgroup, wanted: &[Setting]) -> Result<Vec<Setting>> {
    let mut before = Vec::new();
    for setting in wanted {
        let mut setting = setting.clone();
        let mut held = group.read(&setting.file)?;
        if held.is_none() && setting.file == "io.bfq.weight" {
            // Then [`resources::apply`] writes this one.
            setting.file = "io.weight".to_owned();
            held = group.read(&setting.file)?;
        }
        if let Some(value) = held.and_then(|held| undoing(&setting, &held)) {
            before.push(Setting { value, ..setting });
        }
    }
    Ok(before)
}

/// What is written to undo a setting of a file that held that. Where a file has a line for each device, a setting
/// changes one of them; only of some files it is known how such a line is taken away again.
fn undoing(setting: &Setting, held: &str) -> Option<String> {
    let key = match setting.value.split_once(' ') {
        Some((device, _)) if device.contains(':') => device,
        _ => "default",
    };
    let mut lines = held.lines();
    let line = lines.find(|line| line.split(' ').next() == Some(key));
    match (line, setting.file.as_str()) {
        (Some(line), _) => Some(line.to_owned()),
        (None, "io.max") => Some(format!("{key} rbps=max wbps=max riops=max wiops=max")),
        (None, "io.weight" | "io.bfq.weight") if key != "default" => Some(format!("{key} default")),
        // An empty write(2) would write nothing.
        (None, _) if held.trim_end().is_empty() => Some("\n".to_owned()),
        (None, _) if held.lines().count() == 1 => Some(held.trim_end().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::resources::Controller;

    #[test]
    fn each_setting_is_undone_by_what_was() {
        for (file, value, held, expected) in [
            ("memory.max", "5", "max\n", Some("max")),
            ("cpu.max", "5 100", "max 100000\n", Some("max 100000")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            ("cpuset.cpus", "0", "", Some("\n")),
            (
                "io.max",
                "8:0 rbps=5",
                "",
                Some("8:0 rbps=max wbps=max riops=max wiops=max"),
            ),
            (
                "io.max",
                "8:0 rbps=5",
                "8:16 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=2 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=2 wbps=max riops=max wiops=max"),
            ),
            (
                "io.weight",
                "5",
                "default 100\n8:0 50\n",
                Some("default 100"),
            ),
            (
                "io.bfq.weight",
                "8:0 5",
                "default 100\n8:0 50\n",
                Some("8:0 50"),
            ),
            (
                "io.bfq.weight",
                "8:16 5",
                "default 100\n",
                Some("8:16 default"),
            ),
            ("io.bfq.weight", "5", "100\n", Some("100")),
            (
                "rdma.max",
                "mlx4_0 hca_object=1",
                "mlx4_0 a=1\nmlx5_0 a=1\n",
                None,
            ),
        ] {
            let setting = Setting {
                controller: Controller::of_file(file).unwrap(),
                file: file.to_owned(),
                value: value.to_owned(),
                spares: false,
            };
            assert_eq!(
                undoing(&setting, held).as_deref(),
                expected,
                "{file} {value} {held:?}"
            );
        }
    }
}
