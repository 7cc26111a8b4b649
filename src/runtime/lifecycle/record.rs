//! What is remembered of a container, and what it does now.

use crate::cgroup::{Cgroup, parents};
use crate::error::{Error, Kind, bad_input, kind, not_found};
use crate::paths::bundle::BundlePaths;
use crate::runtime::process::exec::Nested;
use crate::store::atomic::{self, Durability};
use crate::store::{directory, record};
use crate::sys::process::{Child, Identity, boot_id, send_signal};
use anyhow::{Context, Result};
use jiff::Timestamp;
use oci_spec::runtime::{Hooks, LinuxIntelRdt, LinuxNamespaceType, Spec, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Of the format.
const VERSION: u32 = 1;
/// The longest id: it is the name of a directory.
const LONGEST_ID: usize = 255;

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits to be started.
    Created,
    /// Its program runs.
    Running,
    /// All its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word of the runtime-spec, or runc's.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// What is remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// Of the configuration.
    pub oci_version: String,
    /// Its name.
    pub id: String,
    /// The directory of the bundle.
    pub bundle: PathBuf,
    /// Its root file system.
    pub rootfs: PathBuf,
    /// Of the configuration.
    pub annotations: HashMap<String, String>,
    /// When it was created (RFC 3339).
    pub created: String,
    /// Its first process.
    pub init: Identity,
    /// The uid of who has created it.
    pub owner: u32,
    /// Its control group, below the root of the hierarchy; `None`: that of who has created it.
    pub cgroup: Option<PathBuf>,
    /// Who acts in its user namespace ([`crate::id_mapping::IdMaps::owner`]), where it has one of its own.
    pub user_namespace: Option<Nested>,
}

impl Record {
    /// That of a new container, which has no process yet.
    pub fn new(id: &str, bundle: PathBuf, rootfs: PathBuf, spec: &Spec) -> Result<Self> {
        Ok(Self {
            version: VERSION,
            oci_version: spec.version().clone(),
            id: id.to_owned(),
            bundle,
            rootfs,
            annotations: spec.annotations().clone().unwrap_or_default(),
            created: Timestamp::now().to_string(),
            init: Identity {
                boot_id: boot_id()?.to_owned(),
                ..Identity::default()
            },
            owner: rustix::process::geteuid().as_raw(),
            cgroup: None,
            user_namespace: None,
        })
    }
}

/// All containers of one state root.
#[derive(Clone, Debug)]
pub struct Containers {
    /// Where they lie.
    pub paths: BundlePaths,
}

impl Containers {
    /// The names of all that are there, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let mut ids = directory::names_if_directory(self.paths.root())?;
        ids.sort();
        Ok(ids)
    }

    /// The one with that name.
    ///
    /// Errors: there is none, or it is half made, or damaged.
    pub fn find(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        let path = self.paths.record(id);
        let mut read = record::read(&path, &path, VERSION);
        // One that is being made has no state that could be told; by now it may be made, with the record first.
        let is_there =
            matches!(read, Ok(None)) && self.init(id).is_some_and(|init| init.is_alive());
        if is_there {
            read = record::read(&path, &path, VERSION);
        }
        let record = match read {
            Ok(None) if is_there => {
                Err(unreadable(id, format!("`{}` is missing", path.display())).into())
            }
            Ok(found) => found.ok_or_else(|| missing(id).into()),
            Err(error) if kind(&error) == Some(Kind::BadInput) => {
                Err(unreadable(id, error.to_string()).into())
            }
            Err(error) => Err(error),
        };
        Ok(Container {
            paths: self.paths.clone(),
            record: record?,
        })
    }

    /// The first process, as it is remembered apart from the record.
    fn init(&self, id: &str) -> Option<Identity> {
        let target = std::fs::read_link(self.paths.init(id)).ok()?;
        serde_json::from_slice(target.as_os_str().as_bytes()).ok()
    }

    /// What is known of one without its record; enough to undo it.
    pub(super) fn remains(&self, id: &str) -> Result<Container> {
        let early = std::fs::read(self.paths.making(id)).ok();
        let mut record = match early.and_then(|text| serde_json::from_slice(&text).ok()) {
            Some(record) => record,
            None => Record::new(id, PathBuf::new(), PathBuf::new(), &Spec::default())?,
        };
        if let Some(init) = self.init(id) {
            record.init = init;
        }
        Ok(Container {
            paths: self.paths.clone(),
            record,
        })
    }
}

/// The error for one that is not there.
pub(super) fn missing(id: &str) -> Error {
    not_found(format!("container `{id}` does not exist"))
}

fn unreadable(id: &str, why: String) -> Error {
    bad_input(format!(
        "container `{id}` cannot be used: {why}: `delete --force {id}` removes it"
    ))
}

/// Fails for a name that is none, or that leads somewhere.
pub(super) fn check_id(id: &str) -> Result<(), Error> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_+-.".contains(letter);
    let invalid = |hint: String| bad_input(format!("invalid container id: `{id}`")).hint(hint);
    let is_name = !id.is_empty() && id.chars().all(is_letter);
    match id {
        "." | ".." => Err(invalid("it names a directory".to_owned())),
        _ if !is_name => Err(invalid(
            "letters, digits and `_`, `+`, `-`, `.` make an id".to_owned(),
        )),
        _ if id.len() > LONGEST_ID => Err(invalid(format!(
            "an id has at most {LONGEST_ID} characters, and this has {}",
            id.len()
        ))),
        _ => Ok(()),
    }
}

/// The parts of a configuration that count after `create`.
#[derive(Default, Deserialize)]
pub(super) struct Later {
    pub hooks: Option<Hooks>,
    #[serde(default)]
    pub linux: LaterLinux,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LaterLinux {
    pub intel_rdt: Option<LinuxIntelRdt>,
}

/// One container.
#[derive(Debug)]
pub struct Container {
    pub(super) paths: BundlePaths,
    /// What is remembered of it.
    pub record: Record,
}

impl Container {
    pub(super) fn directory(&self) -> PathBuf {
        self.paths.container(&self.record.id)
    }

    /// What it does.
    pub fn status(&self) -> Result<Status> {
        if !self.record.init.is_alive() {
            return Ok(Status::Stopped);
        }
        // Also one that waits to be started.
        if let Some(group) = self.cgroup()?
            && group.is_frozen()?
        {
            return Ok(Status::Paused);
        }
        Ok(match self.paths.gate(&self.record.id).exists() {
            true => Status::Created,
            false => Status::Running,
        })
    }

    /// The number of its first process; 0 when that has ended.
    pub fn pid(&self) -> i32 {
        match self.record.init.is_alive() {
            true => self.record.init.pid,
            false => 0,
        }
    }

    /// Its control group, if it has one that is still there.
    pub fn cgroup(&self) -> Result<Option<Cgroup>> {
        match &self.record.cgroup {
            Some(path) if self.record.init.is_of_this_boot() => Cgroup::open(path),
            _ => Ok(None),
        }
    }

    /// The same where something is to be done with it; `what` says what.
    pub fn needed_cgroup(&self, what: &str) -> Result<Cgroup> {
        self.cgroup()?.ok_or_else(|| {
            let message =
                format!("cannot {what} the container: it has no control group of version 2");
            Error::new(Kind::Denied, message).into()
        })
    }

    /// The configuration as it was when the container was created.
    pub fn spec(&self) -> Result<Spec> {
        self.configuration()
    }

    /// What of it is needed once the container is made: to read the rest takes several times as long.
    pub(super) fn later(&self) -> Result<Later> {
        self.configuration()
    }

    fn configuration<T: DeserializeOwned>(&self) -> Result<T> {
        let path = self.paths.configuration(&self.record.id);
        let text = std::fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read `{}`", path.display()))
    }

    /// What hooks and agents are told of it, without status and pid.
    pub(super) fn state(&self) -> State {
        state(&self.record)
    }

    /// Remembers what is known of it before there is a process; `configuration` is that of the bundle. After an error its control
    /// group, which nobody else knows of, is gone.
    pub(super) fn announce(&mut self, configuration: &[u8], group: Option<&Cgroup>) -> Result<()> {
        self.record.cgroup = group.map(|group| group.path().to_owned());
        self.note(configuration).inspect_err(|_| {
            if let Some(Ok(group)) = group.map(Cgroup::try_clone) {
                let _ = parents::end(group);
            }
        })
    }

    fn note(&self, configuration: &[u8]) -> Result<()> {
        let id = &self.record.id;
        let record = serde_json::to_vec(&self.record)?;
        // In this order: who finds the hooks of a configuration finds what they are told, too.
        for (path, text) in [
            (self.paths.making(id), record.as_slice()),
            (self.paths.configuration(id), configuration),
        ] {
            std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
        }
        Ok(())
    }

    pub(super) fn write(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.record)?;
        // State of this boot: nothing of it is worth a sync.
        atomic::write(
            &self.paths.record(&self.record.id),
            &text,
            Durability::Volatile,
        )?;
        let path = self.paths.init(&self.record.id);
        symlink(serde_json::to_string(&self.record.init)?, &path)
            .with_context(|| format!("create `{}`", path.display()))
    }

    /// The first process, held.
    pub(super) fn init(&self) -> Option<Child> {
        let pidfd = self.record.init.open()?;
        let pid = self.record.init.pid;
        Some(Child { pid, pidfd })
    }

    /// Sends a signal to its first process, or to all of them.
    ///
    /// Errors: it has ended, unless all are meant (with the words that callers look for).
    pub fn kill(&self, signal: i32, all: bool) -> Result<()> {
        if all {
            return self.kill_all(signal);
        }
        if signal == libc::SIGKILL
            && !self.has_own_pids()?
            && let Some(group) = self.cgroup()?
            && group.is_populated()?
        {
            return group.kill();
        }
        let gone = || Error::new(Kind::Conflict, "container not running");
        if self.status()? == Status::Stopped {
            return Err(gone().into());
        }
        let init = self.init().ok_or_else(gone)?;
        send_signal(init.pidfd.as_fd(), signal).with_context(|| format!("send signal {signal}"))
    }

    /// Whether all its processes end with the first one.
    fn has_own_pids(&self) -> Result<bool> {
        let spec = self.spec()?;
        let namespaces = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_ref());
        let mut pids = namespaces.into_iter().flatten();
        Ok(pids.any(|one| one.typ() == LinuxNamespaceType::Pid && one.path().is_none()))
    }

    fn kill_all(&self, signal: i32) -> Result<()> {
        for pid in self.processes()? {
            if let Some(child) = Identity::of(pid).ok().and_then(|one| one.open()) {
                // It may have ended by itself.
                let _ = send_signal(child.as_fd(), signal);
            }
        }
        Ok(())
    }

    /// The numbers of all its processes.
    pub fn processes(&self) -> Result<Vec<i32>> {
        if let Some(group) = self.cgroup()? {
            let pids = group.processes()?;
            return Ok(pids);
        }
        let found = crate::runtime::processes::of(&self.record.init)?;
        Ok(found.iter().map(|process| process.stat.pid).collect())
    }
}

pub(super) fn state(record: &Record) -> State {
    let mut state = State::default();
    state
        .set_version(record.oci_version.clone())
        .set_id(record.id.clone())
        .set_bundle(record.bundle.clone())
        .set_annotations(Some(record.annotations.clone()));
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_somewhere_are_none() {
        for (id, is_name) in [
            ("web-1.2_3+4", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            ("a\0", false),
            (&"x".repeat(256), false),
        ] {
            assert_eq!(check_id(id).is_ok(), is_name, "{id}");
        }
    }
}
