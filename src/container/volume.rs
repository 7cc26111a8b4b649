//! Volumes as far as containers come in: who uses one, removing those that nobody uses, and what is in one as an
//! archive.
//!
//! A volume is used by every container whose record names it, whether that runs or not. Whoever removes one holds its
//! lock while the records are read; see [`crate::volume`].

use super::copy::extract::{Extractor, Ids, Scope};
use super::engine::Engine;
use super::{disk, event, list, mount_point};
use crate::error::{Error, Kind, kind};
use crate::id_mapping::Tier;
use crate::image::compression;
use crate::image::layer::pack::Packer;
use crate::paths;
use crate::store::damage;
use crate::store::lock::Lock;
use crate::volume::{self, Volume, Wanted};
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, openat};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;

/// As many volumes are held at once while the records of containers are read for them.
pub(super) const BATCH: usize = 100;

/// A container that uses a volume.
#[derive(Clone, Debug)]
pub struct User {
    /// The container.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Docker's word for where it stands.
    pub status: &'static str,
    /// It has processes, or will have some without anybody's doing.
    pub active: bool,
}

/// The containers that use volumes, by the names of those; newest first.
pub fn users(engine: &Engine) -> Result<BTreeMap<String, Vec<User>>> {
    let mut users: BTreeMap<String, Vec<User>> = BTreeMap::new();
    for container in list::list(engine)? {
        let status = container.status();
        for name in container.record.volumes() {
            users.entry(name.to_owned()).or_default().push(User {
                id: container.record.id.clone(),
                name: container.record.name.clone(),
                status: status.word(),
                active: status.is_active(),
            });
        }
    }
    Ok(users)
}

/// Gives the volume of that name, which is made when it is not there; and whether that was so.
pub fn create(engine: &Engine, wanted: &Wanted) -> Result<(Volume, bool)> {
    let (made, is_new) = volume::create(&engine.paths, wanted)?;
    if is_new {
        event::volume(engine, &made.name, "create", &[]);
    }
    Ok((made, is_new))
}

/// Removes a volume that nobody uses; with `force` it is no mistake that there is none.
pub fn remove(engine: &Engine, name: &str, force: bool) -> Result<()> {
    match remove_named(engine, name) {
        Err(error) if force && kind(&error) == Some(Kind::NotFound) => Ok(()),
        removed => removed,
    }
}

fn remove_named(engine: &Engine, name: &str) -> Result<()> {
    let lock = volume::lock_exclusive(&engine.paths, &engine.mapping, name)?;
    let records = list::records(engine)?.into_iter();
    let users: Vec<(String, String)> = records
        .filter(|record| record.volumes().any(|used| used == name))
        .map(|record| (record.id, record.name))
        .collect();
    if !users.is_empty() {
        let ids: Vec<&str> = users.iter().map(|(id, _)| id.as_str()).collect();
        let names: Vec<&str> = users.iter().map(|(_, name)| name.as_str()).collect();
        let message = format!("remove {name}: volume is in use - [{}]", ids.join(", "));
        let hint = format!("remove its containers first: onggi rm {}", names.join(" "));
        return Err(Error::new(Kind::Conflict, message).hint(hint).into());
    }
    volume::remove(&engine.paths, &engine.mapping, name, &lock)?;
    event::volume(engine, name, "destroy", &[]);
    Ok(())
}

/// What a removal of unused volumes has done.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Names of the volumes that went.
    pub names: Vec<String>,
    /// Bytes of their files.
    pub reclaimed: u64,
    /// Why others stayed.
    pub failures: Vec<anyhow::Error>,
}

/// Removes those volumes that nobody uses, and tells `done` of each with the bytes that it had. Gives the names of those
/// that somebody is about to use, fill or remove.
pub(super) fn remove_free<'a>(
    engine: &Engine,
    names: &[&'a str],
    done: &mut dyn FnMut(&str, Result<u64>),
) -> Result<Vec<&'a str>> {
    let (mut free, mut held) = (Vec::new(), Vec::new());
    for name in names {
        let directory = engine.paths.volume(name);
        // Without waiting: who holds one may wait for another that is held here.
        match Lock::try_directory(&directory).ok().flatten() {
            Some(lock) if lock.is_of(&directory) => free.push((*name, lock)),
            _ if directory.exists() => held.push(*name),
            _ => {}
        }
    }
    let used = match free.is_empty() {
        true => return Ok(held),
        false => mount_point::volumes::used(engine)?,
    };
    for (name, lock) in free {
        if used.contains(name) {
            continue;
        }
        let found = volume::find(&engine.paths, name);
        let bytes = found.and_then(|found| size(engine, &found));
        let removed = volume::remove(&engine.paths, &engine.mapping, name, &lock);
        if removed.is_ok() {
            event::volume(engine, name, "destroy", &[]);
        }
        done(
            name,
            removed.map(|()| bytes.ok().flatten().unwrap_or_default()),
        );
    }
    Ok(held)
}

/// Removes the volumes that fit and that nobody uses. One that somebody is about to use, fill or remove is left alone;
/// one that cannot be removed does not keep the others. An ordinary user is in the store's user namespace.
pub fn prune(engine: &Engine, fits: impl Fn(&Volume) -> bool) -> Result<Pruned> {
    let mut pruned = Pruned::default();
    let fitting: Vec<Volume> = volume::list(&engine.paths)?
        .into_iter()
        .filter(fits)
        .collect();
    let names: Vec<&str> = fitting.iter().map(|found| found.name.as_str()).collect();
    for batch in names.chunks(BATCH) {
        remove_free(engine, batch, &mut |name, removed| match removed {
            Ok(bytes) => {
                pruned.reclaimed += bytes;
                pruned.names.push(name.to_owned());
            }
            Err(error) => pruned.failures.push(error),
        })?;
    }
    event::prune(engine, "volume", pruned.reclaimed);
    Ok(pruned)
}

/// Bytes that a volume takes on the disk, as `system df` counts them; `None` for one with a device, which is not ours to
/// count. An ordinary user is in the store's user namespace.
pub fn size(engine: &Engine, volume: &Volume) -> Result<Option<u64>> {
    match volume.source()? {
        Some(_) => Ok(None),
        None => disk::taken(&volume::data(&engine.paths, &volume.name)).map(Some),
    }
}

/// Takes what is in use of a volume, runs `act` with its directory, and lets go again. Afterwards an ordinary user is
/// where [`mount_point::enter`] leads.
fn with_files<T>(engine: &Engine, name: &str, act: impl FnOnce(OwnedFd) -> Result<T>) -> Result<T> {
    volume::find(&engine.paths, name)?;
    let _lock = volume::lock_shared(&engine.paths, &engine.mapping, name)?;
    mount_point::enter(engine, std::iter::once(name))?;
    let opened = mount_point::open_volume(engine, name)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(&opened.place, ".", flags, Mode::empty())
        .with_context(|| format!("open the files of volume {name}"))?;
    let done = act(directory);
    drop(opened);
    if let Err(error) = volume::mount::release(&engine.paths, name) {
        damage::note(format_args!("volume {name} stays mounted"), &error);
    }
    done
}

/// Writes the files of a volume, with the directory they are in, as a tar stream; gives what the user should know.
pub fn export(engine: &Engine, name: &str, out: &mut dyn Write) -> Result<Vec<String>> {
    let attempt = || {
        with_files(engine, name, |directory| {
            let out = BufWriter::with_capacity(1 << 20, out);
            let mut packer = Packer::new(out, Box::new(|_, owner| owner));
            packer.tree(directory, b".")?;
            Ok(packer.finish()?.1)
        })
    };
    attempt().with_context(|| format!("export volume {name}"))
}

/// What is in memory is gone with the last who uses it, which would be the import itself.
fn refuse_forgetful(engine: &Engine, volume: &Volume) -> Result<()> {
    let forgets = matches!(volume.source()?, Some(source) if source.is_memory());
    let name = &volume.name;
    if !forgets || volume::mount::is_used(&engine.paths, name) {
        return Ok(());
    }
    let message = format!(
        "volume {name} is in memory, and no running container uses it: what is put there would be lost at once"
    );
    Err(Error::new(Kind::Conflict, message)
        .hint(format!(
            "start a container with it first: onggi run -d -v {name}:/data IMAGE sleep infinity"
        ))
        .into())
}

/// Unpacks a tar stream, perhaps compressed, into a volume: what it has there of the same name is replaced. Gives what the
/// user should know.
pub fn import(engine: &Engine, name: &str, stream: File) -> Result<Vec<String>> {
    let attempt = || {
        refuse_forgetful(engine, &volume::find(&engine.paths, name)?)?;
        // Whoever writes the stream may be a container that has yet to be started, with this volume.
        let (compression, stream) = compression::peek(stream).context("read the archive")?;
        with_files(engine, name, |directory| {
            // Of two who replace what is there of the same name, each would find what the other has just made.
            let _importing =
                Lock::exclusive(&paths::volume_importing_in(&engine.paths.volume(name)))?;
            let ids = match engine.mapping.tier {
                Tier::Single => Ids::Single,
                _ => Ids::Keep,
            };
            let stream = BufReader::with_capacity(256 << 10, compression.unpack(stream)?);
            let extractor = Extractor::new(Scope::Beneath(directory), ids, true);
            let unpacked = extractor.with_destination().never_empty().extract(stream);
            unpacked.context("unpack the archive, whose beginning stays")
        })
    };
    attempt().with_context(|| format!("import into volume {name}"))
}
