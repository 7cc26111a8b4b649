//! Taking containers away: on request, when a `--rm` container ends, and what killed processes have left.

use super::cgroup;
use super::control;
use super::engine::Engine;
use super::list::{self, holder};
use super::monitor::channel::Order;
use super::record::{Directory, Edition, Record, State};
use super::{monitors, mount_point, network, quota, settle, size};
use crate::error::{Error, Kind};
use crate::paths::RECORD_LOCK;
use crate::store::atomic::Durability;
use crate::store::lock::Lock;
use crate::store::{damage, directory, staging, tree};
use crate::sys::process::Activity;
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a container that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Removes a container; a running one only by `force`, which kills it. `volumes`: those that nobody has named go too.
pub fn remove(engine: &Engine, id: &str, force: bool, volumes: bool) -> Result<()> {
    sweep(engine)?;
    let directory = Directory::of(engine, id);
    let until = Instant::now() + PATIENCE;
    loop {
        match Lock::try_directory(directory.path()) {
            Ok(Some(lock)) => {
                if !force {
                    // One that is damaged may still hold what somebody wants.
                    list::known(engine, id, directory.record())?;
                }
                return remove_locked(engine, id, &lock, volumes);
            }
            Ok(None) => {}
            // It was to go when it ends, it was swept, or another command was quicker.
            Err(_) if !directory.path().exists() => return Ok(()),
            Err(error) => return Err(error),
        }
        // Looked at in every turn: another command may be starting it just now.
        match Holder::of(engine, id, &directory)? {
            Holder::Monitor { word, .. } if !force => {
                return Err(refusal(&directory, id, word).into());
            }
            Holder::Monitor { state, .. } => end(engine, id, &state, until)?,
            // Another command, or a monitor that is about to let go.
            Holder::Other if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Holder::Other => {
                let message = format!("container {id} is being changed by another command");
                return Err(Error::new(Kind::Conflict, message).hint("try again").into());
            }
        }
    }
}

/// Who holds the lock of a container.
enum Holder {
    /// A monitor whose container is up, or will be; Docker's word for that.
    Monitor {
        state: Box<State>,
        word: &'static str,
    },
    Other,
}

impl Holder {
    fn of(engine: &Engine, id: &str, directory: &Directory) -> Result<Self> {
        let state = match directory.state() {
            Ok(state) => state,
            // One whose state cannot be read still has a monitor, which takes its program along.
            Err(_) => {
                let monitor = monitors::of_container(engine, id)?;
                return Ok(monitor.map_or(Self::Other, |monitor| Self::Monitor {
                    state: Box::new(State {
                        monitor,
                        ..directory.lost_state()
                    }),
                    word: "running",
                }));
            }
        };
        let state = state.filter(|state| state.status().is_active());
        Ok(state.map_or(Self::Other, |state| Self::Monitor {
            word: state.status().word(),
            state: Box::new(state),
        }))
    }
}

fn refusal(directory: &Directory, id: &str, word: &str) -> Error {
    let record = directory.record().unwrap_or_default();
    let name = record.map_or(id.to_owned(), |record| format!("/{}", record.name));
    let why = match word {
        "paused" => "paused and must be unpaused first".to_owned(),
        word => format!("{word}: stop the container before removing or force remove"),
    };
    let message = format!("cannot remove container \"{name}\": container is {why}");
    Error::new(Kind::Conflict, message).hint("onggi rm -f kills and removes it")
}

/// Ends a container by its monitor; a monitor that does nothing any more is ended with it.
pub(super) fn end(engine: &Engine, id: &str, state: &State, until: Instant) -> Result<()> {
    let is_stopped = state.monitor.activity() == Some(Activity::Stopped);
    if !is_stopped
        && Instant::now() < until
        && let Ok(Some(mut contact)) = control::give(engine, id, Order::Stop(libc::SIGKILL))
        && contact.await_end(Some(until))?.is_some()
    {
        return Ok(());
    }
    if is_stopped || Instant::now() >= until {
        settle::end_process(&state.monitor)?;
        return settle::end_program(state);
    }
    // It has no door yet, or none any more.
    std::thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// Removes a container whose lock is held; `volumes` as in [`remove`], which those that go by themselves always mean.
pub fn remove_locked(engine: &Engine, id: &str, lock: &Lock, volumes: bool) -> Result<()> {
    remove_known(engine, id, None, lock, volumes)
}

/// The same for whoever has read its record, which may be long and is read again only if it is not that one any more.
pub(super) fn remove_read(
    engine: &Engine,
    record: &Record,
    edition: Option<Edition>,
    lock: &Lock,
) -> Result<()> {
    let known = edition.map(|edition| (record, edition));
    remove_known(engine, &record.id, known, lock, false)
}

fn remove_known(
    engine: &Engine,
    id: &str,
    known: Option<(&Record, Edition)>,
    _lock: &Lock,
    volumes: bool,
) -> Result<()> {
    let directory = Directory::of(engine, id);
    // Whoever has ever changed the record has left its lock.
    let may_have_two_names = directory.file(RECORD_LOCK).exists();
    // A rename or an update must not bring the record back. Where the disk has no room for the lock, they fail anyway.
    let record_lock = directory.lock_record().ok();
    let edition = directory.edition();
    let is_there = |(_, read): &(_, Edition)| edition.is_some_and(|there| there == *read);
    let read;
    let record = match known.filter(is_there) {
        Some((record, _)) => Some(record),
        // A damaged one is as good as none: it goes, and its names are looked for.
        None => {
            read = directory.record().unwrap_or_default();
            read.as_ref()
        }
    };
    let volumes = volumes || record.is_some_and(|record| record.options.auto_remove);
    // Without a record that says so, only those of a container that never came to exist are nobody's.
    let exists = record.is_some() || directory.file("container.json").exists();
    let keeps_volumes = !volumes && exists && !directory.was_never_written();
    let keeps_volumes = note_removal(&engine.paths.mark(id), keeps_volumes)?;
    if let Ok(Some(state)) = directory.state() {
        if state.is_unsettled() {
            settle::end_program(&state)?;
        }
        // One that stayed at the end of its run would be nobody's without the record.
        cgroup::of(&state)?.map_or(Ok(()), cgroup::end)?;
    }
    // The record first: without it the container no longer exists, and the mark leads the next sweep to the rest.
    let path = directory.file("container.json");
    absent(std::fs::remove_file(&path), &path)?;
    match record {
        Some(record) if !may_have_two_names => release_name(engine, &record.name, id)?,
        // A killed `rename` leaves two; those of a damaged record are unknown.
        _ => release_names(engine, id)?,
    }
    super::mount::release(engine, id);
    if let Some(record) = record {
        quota::release(&directory, record);
    }
    // Whoever has waited for it finds no record. On FUSE and NFS a file that is open stays in its directory.
    drop(record_lock);
    remove_tree(engine, directory.path())?;
    match record {
        _ if keeps_volumes => {}
        Some(record) => mount_point::volumes::remove_anonymous(engine, &record.mounts),
        None => mount_point::volumes::sweep(engine, id),
    }
    settle::unmark(engine, id)?;
    if let Some(record) = record {
        super::event::container(engine, record, "destroy", &[]);
    }
    Ok(())
}

/// In the mark of a container that is being removed: its volumes stay.
const KEEPS_VOLUMES: &[u8] = b"keeps volumes\n";

/// Makes the mark of a container that is being removed, or finds that of a removal that was killed; tells whether its
/// volumes stay.
fn note_removal(mark: &Path, keeps_volumes: bool) -> Result<bool> {
    if keeps_volumes_by(mark) {
        return Ok(true);
    }
    if mark.exists() && !keeps_volumes {
        return Ok(false);
    }
    let content = if keeps_volumes { KEEPS_VOLUMES } else { b"" };
    match std::fs::write(mark, content) {
        // To remove is what helps against a full disk; the mark matters only if this process is killed meanwhile.
        Err(error) if is_full(&error) => {}
        made => made.with_context(|| format!("create `{}`", mark.display()))?,
    }
    Ok(keeps_volumes)
}

fn keeps_volumes_by(mark: &Path) -> bool {
    std::fs::read(mark).is_ok_and(|content| content == KEEPS_VOLUMES)
}

/// Removes the half-made images and layers of commands that were killed, however long that takes, and tells the bytes of
/// their files. What cannot be removed is noted.
pub fn sweep_staging(engine: &Engine) -> u64 {
    let mut freed = 0;
    let mut remove = |path: &Path| {
        let bytes = size::sum(path).unwrap_or_default();
        remove_tree(engine, path)?;
        freed += bytes;
        Ok(())
    };
    note_staying(staging::sweep_by(&engine.paths.staging(), &mut remove));
    freed
}

/// Likewise, as far as that is quick.
pub fn sweep_staging_briefly(engine: &Engine) {
    let mut remove = |path: &Path, until| remove_tree_until(engine, path, Some(until));
    note_staying(staging::sweep_briefly(&engine.paths.staging(), &mut remove));
}

fn note_staying(swept: Result<()>) {
    if let Err(error) = swept {
        damage::note("half-made images stay", &error);
    }
}

/// Removes what has come of blobs that nobody downloads any more, and tells its bytes. What cannot be removed is noted.
pub fn sweep_downloads(engine: &Engine) -> u64 {
    crate::image::download::sweep(&engine.paths, std::time::Duration::ZERO).unwrap_or_else(
        |error| {
            damage::note("unfinished downloads stay", &error);
            0
        },
    )
}

/// Puts in order what killed processes have left: half-made images, containers that are half made or half removed, those that were
/// to go when they end, and those of whose end nobody knows. What cannot be put in order is noted, and in nobody's
/// way.
pub fn sweep(engine: &Engine) -> Result<()> {
    sweep_staging_briefly(engine);
    for id in directory::names(&engine.paths.pending())? {
        if let Err(error) = sweep_one(engine, &id) {
            damage::note(format_args!("what is left of container {id} stays"), &error);
        }
    }
    Ok(())
}

fn sweep_one(engine: &Engine, id: &str) -> Result<()> {
    let directory = Directory::of(engine, id);
    // Its maker holds it until there is a directory to hold.
    let Some(_mark) = Lock::try_file(&engine.paths.mark(id))? else {
        return Ok(());
    };
    if !directory.path().exists() {
        release_names(engine, id)?;
        if !keeps_volumes_by(&engine.paths.mark(id)) {
            mount_point::volumes::sweep(engine, id);
        }
        return settle::unmark(engine, id);
    }
    let Ok(Some(lock)) = Lock::try_directory(directory.path()) else {
        return Ok(());
    };
    network::sweep(engine)?;
    let record = match directory.record() {
        Ok(Some(record)) => record,
        Err(error) if !directory.was_never_written() => return Err(error),
        _ => return remove_locked(engine, id, &lock, false),
    };
    match directory.state() {
        // Killed after the record was written, which is when it came to exist, or while it ran.
        Ok(Some(state)) if !record.options.auto_remove => {
            settle::settle(&directory, state)?;
            settle::unmark(engine, id)
        }
        Err(_) if !record.options.auto_remove && directory.state_was_never_written() => {
            directory.write_state(&directory.lost_state(), Durability::Durable)?;
            settle::tidy(&directory)?;
            settle::unmark(engine, id)
        }
        Ok(None) | Err(_) if !record.options.auto_remove => {
            settle::tidy(&directory)?;
            settle::unmark(engine, id)
        }
        // One that was made and never started waits for its start.
        Ok(None) => settle::tidy(&directory),
        _ => remove_locked(engine, id, &lock, false),
    }
}

/// The names of a container that is gone, looked for among all.
fn release_names(engine: &Engine, id: &str) -> Result<()> {
    for name in directory::names(&engine.paths.names())? {
        release_name(engine, &name, id)?;
    }
    Ok(())
}

fn release_name(engine: &Engine, name: &str, id: &str) -> Result<()> {
    if holder(engine, name).is_some_and(|holder| holder == id) {
        let path = engine.paths.names().join(name);
        absent(std::fs::remove_file(&path), &path)?;
    }
    Ok(())
}

/// Removes a directory with all it holds. Files may belong to ids that only the store's user namespace has, and
/// an overlay leaves a directory that not even its owner may enter: then a child that is root there does it.
pub(super) fn remove_tree(engine: &Engine, path: &Path) -> Result<()> {
    remove_tree_until(engine, path, None)
}

/// Likewise, as much of it as can go until then; an error if that was not all.
fn remove_tree_until(engine: &Engine, path: &Path, until: Option<Instant>) -> Result<()> {
    let Err(error) = tree::remove_until(path, until) else {
        return Ok(());
    };
    if !engine.mapping.needs_user_namespace() {
        return absent(Err(error), path);
    }
    match engine
        .mapping
        .within(|| absent(tree::remove_until(path, until), path))
    {
        Ok(()) => Ok(()),
        Err(_) => absent(Err(error), path),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// That something is gone already is as good.
pub(super) fn absent(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("remove `{}`", path.display())),
    }
}
