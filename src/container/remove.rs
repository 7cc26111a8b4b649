//! Taking containers away: on request, when a `--rm` container ends, and what killed processes have left.

use super::engine::Engine;
use super::list::holder;
use super::monitors;
use super::record::{Directory, State};
use crate::error::{Error, Kind};
use crate::store::damage;
use crate::store::lock::Lock;
use crate::sys::process;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::Path;

/// Removes a container; a running one only by `force`, which kills it.
pub fn remove(engine: &Engine, id: &str, force: bool) -> Result<()> {
    sweep(engine)?;
    let directory = Directory::of(engine, id);
    let lock = match Lock::try_directory(directory.path())? {
        Some(lock) => lock,
        None => {
            // One whose state cannot be read still has a monitor, which holds the lock and takes its program along.
            let running = match directory.state() {
                Ok(state) => state.filter(|state| state.status().is_active()),
                Err(_) => monitors::of_container(engine, id)?.map(|monitor| State {
                    program: Some(monitor),
                    ..directory.lost_state()
                }),
            };
            if let Some(state) = running {
                if !force {
                    let message = format!(
                        "cannot remove container \"{id}\": container is running: stop the container before removing or force remove"
                    );
                    return Err(Error::new(Kind::Conflict, message)
                        .hint("onggi rm -f kills and removes it")
                        .into());
                }
                if let Some(pidfd) = state.program.as_ref().and_then(|program| program.open()) {
                    // It may end by itself just now, which is as good.
                    let _ = process::send_signal(std::os::fd::AsFd::as_fd(&pidfd), libc::SIGKILL);
                }
            }
            // Its monitor, or another command, is about to let go.
            Lock::directory(directory.path())?
        }
    };
    remove_locked(engine, id, lock)
}

/// Removes a container whose lock is held.
pub fn remove_locked(engine: &Engine, id: &str, lock: Lock) -> Result<()> {
    let directory = Directory::of(engine, id);
    let mark = engine.paths.pending().join(id);
    if !mark.exists() {
        std::fs::write(&mark, b"").with_context(|| format!("create `{}`", mark.display()))?;
    }
    // A damaged one is as good as none: it goes, and its names are looked for.
    let record = directory.record().unwrap_or_default();
    // The record first: without it the container no longer exists, and the mark leads the next sweep to the rest.
    let path = directory.file("container.json");
    absent(std::fs::remove_file(&path), &path)?;
    match &record {
        Some(record) => release_name(engine, &record.name, id)?,
        None => release_names(engine, id)?,
    }
    remove_tree(engine, directory.path())?;
    absent(std::fs::remove_file(&mark), &mark)?;
    drop(lock);
    if let Some(record) = &record {
        super::event::container(engine, record, "destroy", &[]);
    }
    Ok(())
}

/// Takes away what killed processes have left: containers that are half made or half removed, and those that were
/// to go when they end. What cannot be taken away is noted, and in nobody's way.
pub fn sweep(engine: &Engine) -> Result<()> {
    let pending = engine.paths.pending();
    let marks = match std::fs::read_dir(&pending) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        marks => marks.with_context(|| format!("read `{}`", pending.display()))?,
    };
    for entry in marks {
        let Ok(id) = entry.context("read a directory")?.file_name().into_string() else {
            continue;
        };
        if let Err(error) = sweep_one(engine, &id) {
            damage::note(format_args!("what is left of container {id} stays"), &error);
        }
    }
    Ok(())
}

fn sweep_one(engine: &Engine, id: &str) -> Result<()> {
    let directory = Directory::of(engine, id);
    let mark = engine.paths.pending().join(id);
    if !directory.path().exists() {
        release_names(engine, id)?;
        return absent(std::fs::remove_file(&mark), &mark);
    }
    let Ok(Some(lock)) = Lock::try_directory(directory.path()) else {
        return Ok(());
    };
    match directory.record() {
        // Killed after the record was written, which is when it came to exist.
        Ok(Some(record)) if !record.options.auto_remove => {
            absent(std::fs::remove_file(&mark), &mark)
        }
        // One that was made and never started waits for its start.
        Ok(Some(_)) if matches!(directory.state(), Ok(None)) => Ok(()),
        // Also one whose record is damaged: nobody was promised what is marked.
        _ => remove_locked(engine, id, lock),
    }
}

/// The names of a container whose record is gone: looked for among all.
fn release_names(engine: &Engine, id: &str) -> Result<()> {
    let names = engine.paths.names();
    let entries = match std::fs::read_dir(&names) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read `{}`", names.display()))?,
    };
    for entry in entries {
        if let Ok(name) = entry.context("read a directory")?.file_name().into_string() {
            release_name(engine, &name, id)?;
        }
    }
    Ok(())
}

fn release_name(engine: &Engine, name: &str, id: &str) -> Result<()> {
    let path = engine.paths.names().join(name);
    if holder(engine, name).is_some_and(|holder| holder == id) {
        absent(std::fs::remove_file(&path), &path)?;
    }
    Ok(())
}

/// Removes a directory with all it holds. Files may belong to ids that only the store's user namespace has, and
/// an overlay leaves a directory that not even its owner may enter: then a child that is root there does it.
fn remove_tree(engine: &Engine, path: &Path) -> Result<()> {
    let Err(error) = std::fs::remove_dir_all(path) else {
        return Ok(());
    };
    if !engine.mapping.needs_user_namespace() {
        return absent(Err(error), path);
    }
    let child = process::clone3(0, || {
        let removed = engine
            .mapping
            .enter()
            .and_then(|()| absent(std::fs::remove_dir_all(path), path));
        u8::from(removed.is_err())
    })
    .context("fork")?;
    match child.wait().context("wait for the removal")?.code() {
        0 => Ok(()),
        _ => absent(Err(error), path),
    }
}

/// That something is gone already is as good.
pub(super) fn absent(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("remove `{}`", path.display())),
    }
}
