//! What is on disk of a container: `container.json`, written when it is made, and `state.json`, written when its
//! life turns. Both are replaced whole.
//!
//! ```text
//! created ──start──▶ running ◀──pause──▶ paused
//!                       │ program ends
//!                       ├──by the restart policy──▶ restarting ──back-off──▶ running
//!                       ├──────────────────────────▶ exited ──start──▶ running
//!                       └──monitor killed, power cut──▶ exited (derived: nobody lives, no exit status)
//! ```
//!
//! `container.json` changes under `containers/ID/lock` (`rename`, `update`); `state.json` is written by the
//! monitor alone, or by whoever holds the container's lock when there is no monitor.

use super::cgroup;
use super::engine::Engine;
use super::mount_point::MountPoint;
use super::options::Options;
use crate::image::config::Healthcheck;
use crate::image::digest::Digest;
use crate::network::endpoint::Publication;
use crate::paths::RECORD_LOCK;
use crate::store::atomic::{self, Durability};
use crate::store::damage::damaged;
use crate::store::lock::Lock;
use crate::sys::identity;
use crate::sys::process::{Activity, Identity};
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The format version of both records.
pub const VERSION: u32 = 1;

/// `container.json`: what the container is, fixed at its creation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among containers.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// The image it was made from.
    pub image: Digest,
    /// The image as the caller named it.
    pub image_name: String,
    /// Layer directories, lowest first.
    pub layers: Vec<String>,
    /// What was asked for.
    #[serde(serialize_with = "without_defaults")]
    pub options: Options,
    /// What the program is, after the image had its say.
    pub program: Program,
    /// Labels of the image and of the options.
    pub labels: BTreeMap<String, String>,
    /// Its mounts, after the image and other containers had their say.
    #[serde(default)]
    pub mounts: Vec<MountPoint>,
    /// How to see whether it does its work, after the image had its say.
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    /// The shell for checks in shell form; empty: `/bin/sh -c`.
    #[serde(default)]
    pub shell: Vec<String>,
}

impl Record {
    /// The names of the volumes that it uses, each once.
    pub fn volumes(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.mounts.iter().filter_map(MountPoint::volume).collect();
        names.into_iter()
    }
}

/// The program of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// Words of the entrypoint.
    pub entrypoint: Vec<String>,
    /// Words of the command.
    pub command: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// Absolute.
    pub working_directory: String,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// Name or number.
    pub stop_signal: String,
}

impl Program {
    /// Entrypoint and command together.
    pub fn words(&self) -> Vec<String> {
        self.entrypoint
            .iter()
            .chain(&self.command)
            .cloned()
            .collect()
    }
}

/// `state.json`: what has become of it. Missing as long as it was never started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`].
    pub version: u32,
    /// The monitor.
    pub monitor: Identity,
    /// The program, by its number on the host.
    pub program: Option<Identity>,
    /// RFC 3339; empty if it never ran.
    pub started: String,
    /// RFC 3339; empty while it runs.
    pub finished: String,
    /// 128 + n for signal n; meaningful once `finished` is set.
    pub exit_code: u8,
    /// Why it could not be started.
    pub error: String,
    /// It has ended, and the monitor waits before it starts it again.
    #[serde(default)]
    pub restarting: bool,
    /// How often the restart policy has started it since a user did.
    #[serde(default)]
    pub restart_count: u32,
    /// The control group of its processes, below the mount of the hierarchy.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
    /// The out-of-memory killer has ended one of its processes since it was started.
    #[serde(default)]
    pub oom_killed: bool,
    /// A user wanted the last end (`stop`, `kill`): no restart policy but `always` starts it at the next boot.
    #[serde(default)]
    pub stopped: bool,
    /// The addresses in networks that it had when it ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Ports of the host that a program of others leads to it while it runs; those of networks are told by their endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Publication>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its program runs.
    Running,
    /// Its program is stopped by `pause`.
    Paused,
    /// Its program has ended and will be started again.
    Restarting,
    /// Its program has ended.
    Exited,
}

impl Status {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
        }
    }

    /// Whether it has processes.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Whether it has processes, or will have some soon without anybody's doing.
    pub fn is_active(self) -> bool {
        self.is_up() || self == Self::Restarting
    }
}

/// What a shell reports of a program that SIGKILL has ended.
const KILLED: u8 = 137;
/// Docker's code for a program that the end of the machine has ended.
const LOST: u8 = 255;

impl State {
    /// Of a container whose start begins now.
    pub fn beginning(monitor: Identity, restart_count: u32) -> Self {
        Self {
            version: VERSION,
            monitor,
            program: None,
            started: String::new(),
            finished: String::new(),
            exit_code: 0,
            error: String::new(),
            restarting: false,
            restart_count,
            cgroup: None,
            oom_killed: false,
            stopped: false,
            addresses: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// Until its program runs, a container stands where it stood before.
    pub fn after(self, before: &Self) -> Self {
        Self {
            started: before.started.clone(),
            finished: before.finished.clone(),
            exit_code: before.exit_code,
            oom_killed: before.oom_killed,
            addresses: before.addresses.clone(),
            ..self
        }
    }

    /// Of a container that was started, of which nothing else is known: its record of that cannot be read.
    fn lost(when: String) -> Self {
        Self {
            started: when.clone(),
            finished: when,
            exit_code: LOST,
            error: "the record of its state is damaged".to_owned(),
            ..Self::beginning(Identity::default(), 0)
        }
    }

    /// Derived from who lives, not from what was written last: a killed monitor or a power cut writes nothing.
    pub fn status(&self) -> Status {
        let ended = !self.finished.is_empty();
        match &self.program {
            Some(program) if !ended => match (program.activity(), &self.cgroup) {
                (Some(_), Some(path)) if cgroup::is_frozen(path) => Status::Paused,
                (Some(Activity::Stopped), None) => Status::Paused,
                (Some(_), _) => Status::Running,
                // It has just ended, and that is about to be written down.
                (None, _) if self.monitor.is_alive() => Status::Running,
                (None, _) => Status::Exited,
            },
            _ if self.restarting && self.monitor.is_alive() => Status::Restarting,
            None if self.started.is_empty() && !self.restarting => Status::Created,
            _ => Status::Exited,
        }
    }

    /// Whether it has processes, or will have some without anybody's doing, of what is seen now.
    pub fn has_processes(&self) -> bool {
        let program = self.program.as_ref();
        program.is_some_and(Identity::is_alive) || self.restarting && self.monitor.is_alive()
    }

    /// Whether the end of its last run was never written down, because whoever would have done that is gone.
    pub fn is_unsettled(&self) -> bool {
        let open = self.finished.is_empty() || self.restarting;
        open && !self.monitor.is_alive()
    }

    /// Writes down the end of a run that nobody has seen.
    pub fn settle(&mut self) {
        if self.finished.is_empty() {
            self.exit_code = self.code();
            self.finished = self.ended().unwrap_or_else(now);
        }
        self.restarting = false;
    }

    /// When it ended, RFC 3339; of an end that nobody has seen, when it must have been, where that is known: a run of an
    /// earlier boot was over when this one began.
    pub fn ended(&self) -> Option<String> {
        if !self.finished.is_empty() {
            return Some(self.finished.clone());
        }
        let is_over = !self.started.is_empty() && !self.monitor.is_of_this_boot();
        is_over.then(|| identity::boot_time().to_string())
    }

    /// The exit code; for an end that nobody has seen, what must have been its cause.
    pub fn code(&self) -> u8 {
        match self.finished.is_empty() && self.error.is_empty() {
            true if self.program.is_none() => 0,
            true if self.monitor.is_of_this_boot() => KILLED,
            true => LOST,
            false => self.exit_code,
        }
    }
}

/// Tells a record from one that has taken its place: each is a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    inode: u64,
    changed: (i64, i64),
}

/// The files of one container.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// That of a container of this store.
    pub fn of(engine: &Engine, id: &str) -> Self {
        Self {
            path: engine.paths.container(id),
        }
    }

    /// Itself; its flock is held by whoever changes the container, and by its monitor as long as that lives.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One of the files that are mounted into the container, or a directory of the overlay.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is a record, read or not: without it the container is half made or just going.
    pub fn exists(&self) -> bool {
        self.path.join("container.json").exists()
    }

    /// Whether the record is one that a power cut has left without content: it was not durable, and nobody was told
    /// of the container.
    pub fn was_never_written(&self) -> bool {
        self.is_blank("container.json")
    }

    /// Whether the state is such a one: the container was started, and nobody was promised that it would stay so.
    pub fn state_was_never_written(&self) -> bool {
        self.is_blank("state.json")
    }

    fn is_blank(&self, name: &str) -> bool {
        let bytes = std::fs::read(self.path.join(name));
        bytes.is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    }

    /// The record; `None` when the container is half made or just going.
    pub fn record(&self) -> Result<Option<Record>> {
        read(&self.path.join("container.json"))
    }

    /// Which record is there; `None` where there is none, or none that can be told.
    pub fn edition(&self) -> Option<Edition> {
        let found = std::fs::metadata(self.path.join("container.json")).ok()?;
        Some(Edition {
            inode: found.ino(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// The state; `None` when it was never started.
    pub fn state(&self) -> Result<Option<State>> {
        self.known(read(&self.path.join("state.json"))?)
    }

    /// What was read of the state. The files that a program finds in its `/etc` are written after the first state, so
    /// that whoever has them and no state has lost it; in a removal the record goes first.
    fn known(&self, state: Option<State>) -> Result<Option<State>> {
        match state {
            None if self.path.join("hosts").exists() && self.exists() => {
                // It may just have been started for the first time.
                let path = self.path.join("state.json");
                match read(&path)? {
                    None => Err(damaged(&path, "it is missing").into()),
                    state => Ok(state),
                }
            }
            state => Ok(state),
        }
    }

    /// What stands for a state that cannot be read: it has ended, when that file was last written, or where it is
    /// missing when it was last started.
    pub fn lost_state(&self) -> State {
        let written = std::fs::metadata(self.path.join("state.json"))
            .or_else(|_| std::fs::metadata(self.path.join("hosts")))
            .and_then(|file| file.modified())
            .ok()
            .and_then(|time| jiff::Timestamp::try_from(time).ok());
        State::lost(written.map_or_else(now, |time| time.to_string()))
    }

    /// Taken by whoever changes or removes the record of a container that exists.
    pub fn lock_record(&self) -> Result<Lock> {
        Lock::exclusive(&self.path.join(RECORD_LOCK))
    }

    /// Writes the record, which makes the container exist.
    pub fn write_record(&self, record: &Record, durability: Durability) -> Result<()> {
        atomic::write(
            &self.path.join("container.json"),
            &serde_json::to_vec(record)?,
            durability,
        )
    }

    /// Writes the state into the file that is there, for a disk that has no room for another one.
    pub fn overwrite_state(&self, state: &State) -> Result<()> {
        let path = self.path.join("state.json");
        let mut file = File::options()
            .write(true)
            .open(&path)
            .with_context(|| format!("open `{}`", path.display()))?;
        let bytes = serde_json::to_vec(state)?;
        file.write_all(&bytes)
            .and_then(|()| file.set_len(bytes.len() as u64))
            .and_then(|()| file.sync_all())
            .with_context(|| format!("write `{}`", path.display()))
    }

    /// Writes the state.
    pub fn write_state(&self, state: &State, durability: Durability) -> Result<()> {
        atomic::write(
            &self.path.join("state.json"),
            &serde_json::to_vec(state)?,
            durability,
        )
    }
}

/// The records of many containers, for whoever wants all: from the open directory of all containers each is two steps
/// away, and no file is asked for its size before it is read.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    directory: File,
    bytes: Vec<u8>,
}

impl Records {
    /// `None` where there never was a container.
    pub fn open(engine: &Engine) -> Result<Option<Self>> {
        let path = engine.paths.containers();
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            directory => Ok(Some(Self {
                directory: directory.with_context(|| format!("open `{}`", path.display()))?,
                path,
                bytes: Vec::with_capacity(16 << 10),
            })),
        }
    }

    /// As [`Directory::record`].
    pub fn record(&mut self, id: &str) -> Result<Option<Record>> {
        self.read(&format!("{id}/container.json"))
    }

    /// As [`Directory::state`].
    pub fn state(&mut self, id: &str) -> Result<Option<State>> {
        let state = self.read(&format!("{id}/state.json"))?;
        let path = self.path.join(id);
        Directory { path }.known(state)
    }

    fn read<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file =
            openat(&self.directory, name, flags, Mode::empty()).map_err(std::io::Error::from);
        self.bytes.clear();
        let bytes = file.and_then(|file| {
            loop {
                self.bytes.reserve(4 << 10);
                let room = self.bytes.capacity() - self.bytes.len();
                // A regular file gives all it has, so that less than there is room for is its end (read(2)).
                let space = rustix::buffer::spare_capacity(&mut self.bytes);
                if rustix::io::read(&file, space)? < room {
                    return Ok(&self.bytes[..]);
                }
            }
        });
        parse(&self.path.join(name), bytes)
    }
}

/// Of the options only those that were asked for, which are few: the others are the same when they are read, and
/// `ps` reads all records.
fn without_defaults<S: Serializer>(options: &Options, serializer: S) -> Result<S::Ok, S::Error> {
    let value = |options| serde_json::to_value(options).map_err(S::Error::custom);
    let (mut asked, defaults) = (value(options)?, value(&Options::default())?);
    if let Some(asked) = asked.as_object_mut() {
        asked.retain(|name, asked| defaults.get(name) != Some(asked));
    }
    asked.serialize(serializer)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = std::fs::read(path);
    parse(path, bytes)
}

/// `None` for a file that is not there.
fn parse<T: DeserializeOwned>(
    path: &Path,
    bytes: std::io::Result<impl AsRef<[u8]>>,
) -> Result<Option<T>> {
    match bytes {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        bytes => {
            let bytes = bytes.with_context(|| format!("read `{}`", path.display()))?;
            let parsed = serde_json::from_slice(bytes.as_ref());
            Ok(Some(parsed.map_err(|error| damaged(path, error))?))
        }
    }
}

/// Now, as Docker writes times.
pub fn now() -> String {
    jiff::Timestamp::now().to_string()
}
