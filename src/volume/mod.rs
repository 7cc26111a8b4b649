//! Volumes: directories of files that outlive the containers that use them, by name.
//!
//! ```text
//! volumes/NAME/volume.json   what it is
//! volumes/NAME/_data         its files, or where its device is mounted while somebody uses it ([`mount`])
//! ```
//!
//! Not here: who uses a volume (that is in the records of containers), and where a container sees it.
//!
//! Invariants. A volume is renamed into place whole and renamed away whole. Whoever makes a container that names a
//! volume holds [`lock_shared`] until the container's record is written; who removes one holds [`lock_exclusive`]
//! and looks at the records then: no container ever names a volume that is gone. Whoever gets either lock finds a
//! volume that is filled whole or not at all ([`fill`]).

pub mod fill;
pub mod mount;
pub mod name;
pub mod options;

use crate::error::{self, Error, Kind, not_found};
use crate::id_mapping::Mapping;
use crate::paths::{self, Paths};
use crate::store::atomic::{self, Durability};
use crate::store::damage::{self, damaged};
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use crate::store::{directory, id, record, tree};
use anyhow::{Context, Result};
use options::Source;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, mkdirat, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The format version of `volume.json`.
pub const VERSION: u32 = 1;
/// The one driver there is.
pub const LOCAL: &str = "local";
/// Of the directory of a new volume's files.
const DATA_MODE: u32 = 0o755;
/// Docker's label of volumes that nobody has named.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// `volume.json`: what a volume is, fixed when it is made.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Volume {
    /// [`VERSION`].
    pub version: u32,
    /// Unique among volumes.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// [`LOCAL`].
    pub driver: String,
    /// Of the driver ([`options`]).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// What its maker wrote on it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Nobody has named it: it goes with its container.
    #[serde(default)]
    pub anonymous: bool,
}

impl Volume {
    /// What is mounted at its files while somebody uses it; `None` for a plain directory.
    pub fn source(&self) -> Result<Option<Source>> {
        options::parse(&self.options)
    }
}

/// A volume that is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Empty: one is found, and nobody has named it.
    pub name: String,
    /// Empty: [`LOCAL`].
    pub driver: String,
    /// Of the driver; with none, those of a volume that is there already are taken as they are.
    pub options: BTreeMap<String, String>,
    /// For a volume that has to be made.
    pub labels: BTreeMap<String, String>,
}

/// Gives the volume of that name, which is made when it is not there; and whether that was so.
///
/// An existing one with another driver or other options is a conflict.
pub fn create(paths: &Paths, wanted: &Wanted) -> Result<(Volume, bool)> {
    let attempt = || {
        let made = prepare(wanted)?;
        if !wanted.name.is_empty()
            && let Some(found) = known(paths, &wanted.name)?
        {
            return fitting(found, wanted).map(|found| (found, false));
        }
        if write(paths, &made)? {
            return Ok((made, true));
        }
        let found = find(paths, &made.name)?;
        fitting(found, wanted).map(|found| (found, false))
    };
    attempt().with_context(|| match &*wanted.name {
        "" => "create a volume".to_owned(),
        name => format!("create {name}"),
    })
}

/// Checks what is asked for.
fn prepare(wanted: &Wanted) -> Result<Volume> {
    let anonymous = wanted.name.is_empty();
    let name = match anonymous {
        true => id::random_hex(64)?,
        false => wanted.name.clone(),
    };
    name::check(&name)?;
    let driver = match &*wanted.driver {
        "" | LOCAL => LOCAL.to_owned(),
        other => {
            let message =
                format!("error looking up volume plugin {other}: plugin \"{other}\" not found");
            let hint = "`local` is the only driver; its options type, device and o mount what the kernel can";
            return Err(not_found(message).hint(hint).into());
        }
    };
    options::parse(&wanted.options)?;
    let mut labels = wanted.labels.clone();
    if anonymous {
        labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
    }
    Ok(Volume {
        version: VERSION,
        name,
        created: jiff::Timestamp::now().to_string(),
        driver,
        options: wanted.options.clone(),
        anonymous: labels.contains_key(ANONYMOUS_LABEL),
        labels,
    })
}

fn fitting(found: Volume, wanted: &Wanted) -> Result<Volume> {
    let same_driver = wanted.driver.is_empty() || wanted.driver == found.driver;
    let same_options = wanted.options.is_empty() || wanted.options == found.options;
    if same_driver && same_options {
        return Ok(found);
    }
    let what = if same_driver { "options" } else { "driver" };
    let message = format!("conflict: volume name must be unique: it is there with other {what}");
    let hint = format!(
        "`onggi volume inspect {}` shows it; take another name, or remove it first",
        found.name
    );
    Err(Error::new(Kind::Conflict, message).hint(hint).into())
}

/// Makes the volume as it stands in the record; `false` when another command was quicker.
fn write(paths: &Paths, volume: &Volume) -> Result<bool> {
    let volumes = paths.volumes();
    // A store of an earlier version has none.
    std::fs::create_dir_all(&volumes).with_context(|| format!("create `{}`", volumes.display()))?;
    let staging = Staging::new(&paths.staging())?;
    let made = paths::staged_volume(staging.path());
    let data = paths::volume_data_in(&made);
    make_directory(&made, 0o700)?;
    make_directory(&data, DATA_MODE)?;
    atomic::write(
        &paths::volume_record_in(&made),
        &serde_json::to_vec_pretty(volume)?,
        Durability::Durable,
    )?;
    let place = paths.volume(&volume.name);
    match renameat_with(CWD, &made, CWD, &place, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => return Ok(false),
        // NFS and FUSE do not know the flag; a directory does not replace one that has something in it.
        Err(Errno::INVAL) => match std::fs::rename(&made, &place) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => return Ok(false),
            renamed => renamed.with_context(|| format!("rename to `{}`", place.display()))?,
        },
        renamed => renamed.with_context(|| format!("rename to `{}`", place.display()))?,
    }
    atomic::sync_directory(&volumes)?;
    Ok(true)
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    let context = || format!("create `{}`", path.display());
    mkdirat(CWD, path, Mode::from_raw_mode(mode)).with_context(context)?;
    // Whatever the umask is.
    std::fs::set_permissions(path, Permissions::from_mode(mode)).with_context(context)
}

/// Writes the record of a volume anew that is damaged, with nothing that its files do not tell. The caller holds
/// [`lock_exclusive`].
pub fn repair(paths: &Paths, name: &str) -> Result<Volume> {
    let volume = Volume {
        name: name.to_owned(),
        ..prepare(&Wanted::default())?
    };
    let volume = Volume {
        anonymous: false,
        labels: BTreeMap::new(),
        ..volume
    };
    let record = paths::volume_record_in(&paths.volume(name));
    atomic::write(
        &record,
        &serde_json::to_vec_pretty(&volume)?,
        Durability::Durable,
    )?;
    Ok(volume)
}

/// Why nobody can tell what a volume is, which [`repair`] would mend; `None` also for what only cannot be read now, or by
/// this version.
pub fn damage(paths: &Paths, name: &str) -> Option<anyhow::Error> {
    let error = read(paths, name).err()?;
    (error::kind(&error) == Some(Kind::BadInput)).then_some(error)
}

/// The volume of that name.
pub fn find(paths: &Paths, name: &str) -> Result<Volume> {
    known(paths, name)?.ok_or_else(|| missing(name).into())
}

/// Docker's words.
pub fn missing(name: &str) -> Error {
    not_found(format!("get {name}: no such volume"))
        .hint("`onggi volume ls` lists those that are there")
}

/// Whether there is one, which may be damaged.
pub fn exists(paths: &Paths, name: &str) -> bool {
    name::check(name).is_ok() && paths.volume(name).is_dir()
}

fn known(paths: &Paths, name: &str) -> Result<Option<Volume>> {
    match exists(paths, name) {
        true => read(paths, name),
        false => Ok(None),
    }
}

/// Fails for one that is damaged; `None` when it is removed meanwhile.
fn read(paths: &Paths, name: &str) -> Result<Option<Volume>> {
    let directory = paths.volume(name);
    let path = paths::volume_record_in(&directory);
    match record::read::<Volume>(&directory, &path, VERSION)? {
        Some(other) if other.name != name => {
            Err(damaged(&path, format!("it is that of `{}`", other.name)).into())
        }
        found => Ok(found),
    }
}

/// The names of all volumes, damaged ones among them, sorted.
pub fn names(paths: &Paths) -> Result<Vec<String>> {
    let mut names = directory::names(&paths.volumes())?;
    names.retain(|name| name::check(name).is_ok());
    names.sort();
    Ok(names)
}

/// All volumes by name. One whose record is damaged is left out and noted.
pub fn list(paths: &Paths) -> Result<Vec<Volume>> {
    let mut volumes = Vec::new();
    for name in names(paths)? {
        match read(paths, &name) {
            Ok(found) => volumes.extend(found),
            Err(error) => damage::note(format_args!("volume {name} is left out"), &error),
        }
    }
    Ok(volumes)
}

/// Where the files of a volume lie, or its device is mounted.
pub fn data(paths: &Paths, name: &str) -> PathBuf {
    paths::volume_data_in(&paths.volume(name))
}

/// What to say of a volume whose directory of files, which is `error`, cannot be opened.
fn without_files(paths: &Paths, name: &str, error: Errno) -> anyhow::Error {
    let path = data(paths, name);
    let message = format!("the files of volume {name} are lost: `{}`", path.display());
    match error {
        Errno::NOENT | Errno::NOTDIR => not_found(format!("{message}: {error}"))
            .hint(format!(
                "put them back from a copy; or `onggi system check --repair` makes the volume empty, \
                 `onggi volume rm {name}` removes it"
            ))
            .into(),
        _ => anyhow::Error::from(error).context(format!("open `{}`", path.display())),
    }
}

/// Opens the directory of a volume's files, or what is mounted there (`O_PATH`).
fn open_files(paths: &Paths, name: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(data(paths, name), flags, Mode::empty())
        .map_err(|error| without_files(paths, name, error))
}

/// Whether a volume has nothing in it, as far as the caller may see.
pub fn is_empty(paths: &Paths, name: &str) -> Result<bool> {
    let mut entries = std::fs::read_dir(data(paths, name)).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        without_files(paths, name, errno)
    })?;
    Ok(entries.next().is_none())
}

/// What has become of the directory of a volume's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// It is there.
    There,
    /// It was removed.
    Gone,
    /// Something else has its name.
    Other,
}

/// Looks for the directory of a volume's files.
pub fn files(paths: &Paths, name: &str) -> Files {
    let data = data(paths, name);
    match (data.is_dir(), data.symlink_metadata()) {
        (true, _) => Files::There,
        (false, Err(error)) if error.kind() == ErrorKind::NotFound => Files::Gone,
        (false, _) => Files::Other,
    }
}

/// Makes the directory of the files of a volume that has lost it, empty.
pub fn make_files(paths: &Paths, name: &str) -> Result<()> {
    // Not as one of the other two: what a killed command has left of filling it cannot be put in order without it.
    let _lock = locked(paths, name, Lock::directory)?;
    match files(paths, name) {
        Files::Gone => make_directory(&data(paths, name), DATA_MODE),
        Files::There | Files::Other => Ok(()),
    }
}

/// Keeps a volume from being filled or removed; waits for who does either. What a killed command has left of filling
/// it is put in order first.
pub fn lock_shared(paths: &Paths, mapping: &Mapping, name: &str) -> Result<Lock> {
    loop {
        let lock = locked(paths, name, Lock::shared_directory)?;
        if !fill::is_pending(paths, name) {
            return Ok(lock);
        }
        drop(lock);
        lock_exclusive(paths, mapping, name)?;
    }
}

/// To fill or remove a volume; waits for all who hold it. Likewise.
pub fn lock_exclusive(paths: &Paths, mapping: &Mapping, name: &str) -> Result<Lock> {
    let lock = locked(paths, name, Lock::directory)?;
    fill::settle(paths, mapping, name)?;
    Ok(lock)
}

/// A volume that was removed and made anew while this waited is locked again.
fn locked(paths: &Paths, name: &str, lock: fn(&Path) -> Result<Lock>) -> Result<Lock> {
    let directory = paths.volume(name);
    while exists(paths, name) {
        match lock(&directory) {
            Ok(lock) if lock.is_of(&directory) => return Ok(lock),
            Err(error) if exists(paths, name) => return Err(error),
            _ => {}
        }
    }
    Err(missing(name).into())
}

/// Removes a volume, damaged or not, with its files. The caller holds [`lock_exclusive`] and knows that nobody uses it.
pub fn remove(paths: &Paths, mapping: &Mapping, name: &str, _lock: &Lock) -> Result<()> {
    mount::unmount(paths, name)?;
    let staging = paths.staging();
    std::fs::create_dir_all(&staging).with_context(|| format!("create `{}`", staging.display()))?;
    let gone = staging.join(id::random_hex(16)?);
    let directory = paths.volume(name);
    let context = || format!("remove `{}`", directory.display());
    // Out of sight at once; the lock goes along, so that no sweeper is in the way.
    std::fs::rename(&directory, &gone).with_context(context)?;
    atomic::sync_directory(&paths.volumes())?;
    remove_tree(mapping, &gone).with_context(context)
}

/// Files may belong to ids that only the store's user namespace has.
fn remove_tree(mapping: &Mapping, path: &Path) -> Result<()> {
    match tree::remove(path) {
        Err(error) if mapping.needs_user_namespace() => mapping
            .within(|| Ok(tree::remove(path)?))
            .map_err(|_| error.into()),
        removed => Ok(removed?),
    }
}

#[cfg(test)]
mod tests;
