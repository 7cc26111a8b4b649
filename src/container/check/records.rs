//! What is inconsistent in the records, names and marks of containers.

use crate::container::engine::Engine;
use crate::container::list::{holder, ids, is_lost};
use crate::container::record::{Directory, Record, State};
use crate::container::{remove, settle};
use crate::image::check::{Finding, Repair};
use crate::paths::tree_in;
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a container may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What this file finds and mends.
pub const KINDS: &[&str] = &[
    "missing-directory",
    "half-container",
    "damaged-container",
    "lost-record",
    "damaged-state",
    "unsupervised",
    "unsettled",
    "leftover-container",
    "leftover-socket",
    "leftover-temporary",
    "lost-name",
    "stale-name",
    "stale-mark",
    "lost-layer",
];

/// Everything, without a lock.
pub fn look(engine: &Engine) -> Result<Vec<Finding>> {
    let paths = &engine.paths;
    let mut found = Vec::new();
    for directory in paths.directories() {
        if !directory.is_dir() {
            let repair = Repair::Does("makes it");
            found.push(Finding::new(
                "missing-directory",
                "",
                directory,
                "it is missing",
                repair,
            ));
        }
    }
    for id in ids(engine)? {
        found.extend(look_at_container(engine, &id, false)?);
    }
    for name in entries(&paths.names()) {
        found.extend(look_at_name(engine, &name));
    }
    for id in entries(&paths.pending()) {
        let mark = paths.mark(&id);
        if !paths.container(&id).exists() && !Lock::is_held(&mark) {
            let repair = Repair::Does("removes it");
            found.push(Finding::new(
                "stale-mark",
                &id,
                mark,
                "there is no such container",
                repair,
            ));
        }
    }
    Ok(found)
}

/// Mends one finding under the lock of its container, if it still holds there.
pub fn mend(engine: &Engine, finding: &Finding) -> Result<()> {
    let path = &finding.path;
    match finding.kind {
        "missing-directory" => {
            return std::fs::create_dir_all(path)
                .with_context(|| format!("create `{}`", path.display()));
        }
        "lost-record" => return end_unknown(engine, &finding.object),
        "stale-name" => {
            return match look_at_name(engine, &finding.object) {
                Some(_) => remove::absent(std::fs::remove_file(path), path),
                None => Ok(()),
            };
        }
        _ => {}
    }
    let id = &finding.object;
    let directory = Directory::of(engine, id);
    if !directory.path().exists() {
        return remove::absent(std::fs::remove_file(path), path);
    }
    let Some(lock) = Lock::try_directory(directory.path())? else {
        bail!("another command is changing container {id}");
    };
    if !look_at_container(engine, id, true)?.contains(finding) {
        return Ok(());
    }
    match finding.kind {
        "half-container" | "leftover-container" => remove::remove_locked(engine, id, &lock, false),
        "damaged-state" => directory.write_state(&directory.lost_state(), Durability::Durable),
        "unsupervised" | "unsettled" => settle_state(engine, &directory, id),
        "leftover-temporary" | "leftover-socket" => settle::tidy(&directory),
        "lost-name" => {
            let record = directory.record()?.context("it has no record")?;
            let link = engine.paths.names().join(&record.name);
            std::os::unix::fs::symlink(id, &link)
                .with_context(|| format!("create `{}`", link.display()))
        }
        _ => remove::absent(std::fs::remove_file(path), path),
    }
}

/// Ends what nobody supervises, writes the end down, and takes the mark away that leads there.
fn settle_state(engine: &Engine, directory: &Directory, id: &str) -> Result<()> {
    if let Some(state) = directory.state()? {
        settle::settle(directory, state)?;
    }
    settle::unmark(engine, id)
}

/// Ends a container that has lost its record, so that it is one that has ended without a record.
fn end_unknown(engine: &Engine, id: &str) -> Result<()> {
    let directory = Directory::of(engine, id);
    // What is marked and has neither record nor processes, the next command takes for half removed.
    settle::unmark(engine, id)?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(_lock) = Lock::try_directory(directory.path())? {
            return settle_state(engine, &directory, id);
        }
        match directory.state()? {
            Some(state) if state.has_processes() => remove::end(engine, id, &state, until)?,
            _ if Instant::now() > until => bail!("another command is changing container {id}"),
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The names in a directory; none where there is no directory.
fn entries(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// What is wrong with one container; `mine` when the caller holds its lock.
fn look_at_container(engine: &Engine, id: &str, mine: bool) -> Result<Vec<Finding>> {
    let directory = Directory::of(engine, id);
    let held = || !mine && Lock::is_held(directory.path());
    let mark = engine.paths.mark(id);
    let of = |kind, path, problem: &str, repair| Finding::new(kind, id, path, problem, repair);
    let removes = Repair::Does("removes it");
    let record = match directory.record() {
        Ok(Some(record)) => record,
        Ok(None) if is_lost(engine, id) => {
            let state = directory.state().ok().flatten();
            let runs = state.is_some_and(|state| state.has_processes());
            let (problem, repair) = match runs {
                true => (
                    "it is missing, and the container runs",
                    Repair::Does("ends its program and its monitor; what it has written stays"),
                ),
                false if held() => return Ok(Vec::new()),
                false => ("it is missing", removed_by_user(id)),
            };
            let path = directory.file("container.json");
            return Ok(vec![of("lost-record", path, problem, repair)]);
        }
        _ if !directory.path().exists() || held() => return Ok(Vec::new()),
        Err(error) if !(mark.exists() && directory.was_never_written()) => {
            let path = directory.file("container.json");
            let problem = format!("{error:#}");
            return Ok(vec![of(
                "damaged-container",
                path,
                &problem,
                removed_by_user(id),
            )]);
        }
        _ => {
            let problem = "it was never finished, or never quite removed";
            return Ok(vec![of(
                "half-container",
                directory.path().to_owned(),
                problem,
                removes,
            )]);
        }
    };
    let mut found = look_at_record(engine, id, &record);
    let state = directory.state();
    // The mark that leads to what is found otherwise goes with that.
    let mut marked = mark.exists() && !record.options.auto_remove;
    let supervised = |state: &State| state.monitor.is_alive();
    match &state {
        Err(error) => {
            let repair = match held() {
                false => Repair::Does("writes down that it has ended with code 255"),
                true => Repair::User("it is written again when the container ends".to_owned()),
            };
            let path = directory.file("state.json");
            found.push(of("damaged-state", path, &format!("{error:#}"), repair));
        }
        Ok(Some(state)) if state.status().is_up() && !supervised(state) => {
            let problem = "its monitor is gone and its program goes on";
            let repair = Repair::Does("ends it and writes that down");
            found.push(of(
                "unsupervised",
                directory.file("state.json"),
                problem,
                repair,
            ));
        }
        Ok(Some(_)) if record.options.auto_remove && !held() => {
            let problem = "it has ended and was to be removed then";
            found.push(of(
                "leftover-container",
                directory.path().to_owned(),
                problem,
                removes,
            ));
            return Ok(found);
        }
        Ok(Some(state)) if state.is_unsettled() && !held() => {
            let problem = "its monitor is gone and its end was not written down";
            let repair = Repair::Does("writes it down");
            marked = false;
            found.push(of(
                "unsettled",
                directory.file("state.json"),
                problem,
                repair,
            ));
        }
        _ => {}
    }
    if marked && !held() {
        let problem = "it is marked as half made or running, and is neither";
        found.push(of("stale-mark", mark, problem, removes.clone()));
    }
    if !held() {
        found.extend(look_at_leftovers(&directory, id));
    }
    Ok(found)
}

/// What killed processes have left beside the records.
fn look_at_leftovers(directory: &Directory, id: &str) -> Vec<Finding> {
    // A power cut may bring a socket back whose removal was not on the disk yet; the next start takes its place.
    let state = directory.state().unwrap_or_default();
    let is_of_this_boot = state.is_none_or(|state| state.monitor.is_of_this_boot());
    let left = |name: String| {
        let path = directory.file(&name);
        let (kind, problem) = match atomic::is_temporary(&name) {
            true => ("leftover-temporary", "a killed process left it"),
            false if is_of_this_boot && is_socket(&path) => {
                ("leftover-socket", "nobody listens there any more")
            }
            false => return None,
        };
        let removes = Repair::Does("removes it");
        Some(Finding::new(kind, id, path, problem, removes))
    };
    let names = entries(directory.path()).into_iter();
    names.filter_map(left).collect()
}

fn removed_by_user(id: &str) -> Repair {
    let id = &id[..12];
    Repair::User(format!("`onggi rm -f {id}` removes it with its files"))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata()
        .is_ok_and(|file| file.file_type().is_socket())
}

/// Whether what the record speaks of is there.
fn look_at_record(engine: &Engine, id: &str, record: &Record) -> Vec<Finding> {
    let mut found = Vec::new();
    let name = &record.name;
    match holder(engine, name) {
        Some(holder) if holder == id => {}
        Some(other) => {
            let problem = format!("its name `{name}` is that of container {}", &other[..12]);
            let repair = Repair::User(format!(
                "give it another: `onggi rename {} NAME`",
                &id[..12]
            ));
            let path = engine.paths.names().join(name);
            found.push(Finding::new("lost-name", id, path, problem, repair));
        }
        None => {
            let problem = format!("nothing leads from its name `{name}` to it");
            let path = engine.paths.names().join(name);
            found.push(Finding::new(
                "lost-name",
                id,
                path,
                problem,
                Repair::Does("makes the link again"),
            ));
        }
    }
    for layer in &record.layers {
        let tree = tree_in(&engine.paths.layer(layer));
        if !tree.is_dir() {
            let text = "take its image in again with `onggi load` or `onggi import`";
            let repair = Repair::User(text.to_owned());
            found.push(Finding::new(
                "lost-layer",
                id,
                tree,
                "it cannot start without this layer",
                repair,
            ));
        }
    }
    found
}

fn look_at_name(engine: &Engine, name: &str) -> Option<Finding> {
    let path = engine.paths.names().join(name);
    let problem = match holder(engine, name) {
        None => "it leads nowhere".to_owned(),
        Some(id) => match Directory::of(engine, &id).record() {
            Ok(Some(record)) if record.name != name => {
                format!("container {} has another name", &id[..12])
            }
            _ if engine.paths.container(&id).exists() => return None,
            _ => format!("there is no container {}", &id[..12]),
        },
    };
    let repair = Repair::Does("removes it");
    path.symlink_metadata()
        .is_ok()
        .then(|| Finding::new("stale-name", name, path, problem, repair))
}
