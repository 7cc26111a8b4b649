//! A step of a build: a container that nobody sees. Who carries the step out plays its monitor and lives as long as it.
//!
//! ```text
//! make ─▶ start ─▶ watch, turn … ─▶ end ─▶ changes ─▶ (dropped) gone
//! ```
//!
//! It has a directory, a mark and a state like any container, and no record: so it is in no list, and the next command
//! sweeps what a killed process has left of it ([`super::remove::sweep`]). Its id says what it is ([`is_step`]).
//!
//! Not here: what a step is to do, and what becomes of its changes.

use super::engine::Engine;
use super::mount_point::{InUse, MountPoint, request};
use super::network::{self, Attachment};
use super::options::{NetworkMode, NetworkRequest, Options};
use super::record::{Directory, Program, Record, State, VERSION, now};
use super::resources::{Host, Resources};
use super::{cgroup, monitor, remove, root, settle, spec};
use crate::cgroup::Cgroup;
use crate::cgroup::placement::Placement;
use crate::id_mapping::Tier;
use crate::image::digest::Digest;
use crate::image::layer::changes::Overlay as Changed;
use crate::network::user::Client;
use crate::runtime::plan::Sources;
use crate::runtime::process::parent::{self, Connect, Started, Streams};
use crate::settings::Settings;
use crate::store::atomic::Durability;
use crate::store::id::random_hex;
use crate::store::lock::Lock;
use crate::sys::openat2::open_root;
use crate::sys::process::{Child, Identity};
use anyhow::{Context, Result};
use rustix::event::PollFd;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Ids of containers have 64 hexadecimal digits.
const PREFIX: &str = "step-";
/// The host name that programs have found in builds for years, always the same so that none gets into a layer.
pub const HOSTNAME: &str = "buildkitsandbox";

/// Whether this is no container but a step.
pub fn is_step(id: &str) -> bool {
    id.starts_with(PREFIX)
}

/// What is run, and on which files.
#[derive(Debug)]
pub struct Wanted {
    /// As those of a container; only what concerns how it runs counts.
    pub options: Options,
    /// What is run as whom, where.
    pub program: Program,
    /// Names of layers, lowest first.
    pub layers: Vec<String>,
    /// What is mounted: the target, whether it is read-only, and for memory how many bytes; all else comes as open
    /// [`Sources`].
    pub mounts: Vec<Mount>,
}

/// A mount of a step.
#[derive(Debug)]
pub struct Mount {
    /// Absolute and clean.
    pub target: String,
    /// Cannot be written.
    pub read_only: bool,
    /// Memory, of so many bytes at most, and not an open source.
    pub memory: Option<Option<u64>>,
}

/// Where the groups of steps lie, by the parent that was asked for: found once, since with systemd it takes long.
pub type Placements = BTreeMap<Option<String>, Placement>;

/// One that exists, until it is dropped.
pub struct Step<'a> {
    engine: &'a Engine,
    record: Record,
    directory: Directory,
    lock: Option<Lock>,
    network: Option<Attachment>,
    cgroup: Option<Cgroup>,
    in_use: Option<InUse>,
}

/// Where a process that carries out steps has to live for their networks, which it can reach as long as the second is kept.
pub fn home(engine: &Engine) -> Result<(Option<OwnedFd>, Option<Client>)> {
    let mut options = Options::default();
    network::choose(engine, &mut options, &Settings::load()?)?;
    network::beside(engine, &options, None)
}

impl<'a> Step<'a> {
    /// Makes its directories. The process must have one thread and be where a monitor lives.
    pub fn make(engine: &'a Engine, wanted: Wanted) -> Result<Self> {
        let record = record(engine, wanted)?;
        let directory = Directory::of(engine, &record.id);
        let mark = engine.paths.mark(&record.id);
        // Held until the directory has its own lock: no sweeper takes the mark of what is not there yet for a leftover.
        let beginning = loop {
            if let Some(lock) = Lock::try_make(&mark)? {
                break lock;
            }
            std::thread::yield_now();
        };
        let make = |path: &Path| {
            std::fs::create_dir(path).with_context(|| format!("create `{}`", path.display()))
        };
        make(directory.path())?;
        let step = Self {
            engine,
            lock: Some(Lock::directory(directory.path())?),
            record,
            directory,
            network: None,
            cgroup: None,
            in_use: None,
        };
        drop(beginning);
        if engine.copies().is_none() {
            make(&step.directory.file("upper"))?;
            make(&step.directory.file("work"))?;
        }
        Ok(step)
    }

    /// A directory of its own for whatever goes with it.
    pub fn scratch(&self, name: &str) -> Result<std::path::PathBuf> {
        let path = self.directory.file(name);
        std::fs::create_dir(&path).with_context(|| format!("create `{}`", path.display()))?;
        Ok(path)
    }

    /// Starts its program; `sources` are those of its mounts, by target. With a single id the caller answers for changes of
    /// owners.
    pub fn start(
        &mut self,
        sources: Sources,
        streams: &Streams,
        placements: &mut Placements,
    ) -> Result<Started> {
        let mut warnings = Vec::new();
        let parent = self.record.options.cgroups.parent.clone();
        let placement = match placements.remove(&parent) {
            Some(placement) => placement,
            None => cgroup::place(self.engine, &self.record, &mut warnings)?,
        };
        let placement = placements.entry(parent).or_insert(placement);
        let own = Identity::of(std::process::id() as i32)?;
        let mut state = State::beginning(own, 0);
        // Before there is a group, so that whoever comes after a killed process finds it.
        state.cgroup = placement.path();
        self.directory.write_state(&state, Durability::Volatile)?;
        self.network = Attachment::prepare(self.engine, &self.record, &[], &mut warnings)?;
        let network = self.network.as_ref();
        monitor::files::write(self.engine, &self.record, &self.directory, network)?;
        let (mut bundle, in_use) = monitor::prepare::bundle(
            self.engine,
            &self.record,
            &self.directory,
            placement,
            sources,
            &mut warnings,
        )?;
        self.in_use = Some(in_use);
        if self.engine.mapping.tier == Tier::Single {
            let filter = spec::recording_seccomp(&self.record.options, self.engine)?;
            bundle.seccomp = Some(filter);
        }
        self.cgroup = bundle.cgroup.as_ref().map(Cgroup::try_clone).transpose()?;
        let (engine, record) = (self.engine, &self.record);
        let mut connect = self
            .network
            .as_mut()
            .map(|network| |child: &Child| network.connect(engine, record, child));
        let connect = connect.as_mut().map(|connect| connect as &mut Connect<'_>);
        let mut started = parent::start(bundle, streams, connect)?;
        warnings.append(&mut started.warnings);
        started.warnings = warnings;
        let noted = Identity::of(started.child.pid).and_then(|identity| {
            state.program = Some(identity);
            self.directory.write_state(&state, Durability::Volatile)
        });
        if let Err(error) = noted {
            // Nobody would know of it.
            started.child.end();
            return Err(error);
        }
        Ok(started)
    }

    /// Adds what its network waits for.
    pub fn watch<'b>(&'b self, fds: &mut Vec<PollFd<'b>>) {
        if let Some(network) = &self.network {
            network.watch(fds);
        }
    }

    /// Something may have happened to that.
    pub fn turn(&mut self) {
        if let Some(network) = &mut self.network {
            network.turn(self.engine);
        }
    }

    /// Its program has ended: whoever is left in its group goes, and its network.
    pub fn end(&mut self) -> Result<()> {
        let network = self.network.take();
        if let Some(interfaces) = network.and_then(|network| network.end(self.engine)) {
            interfaces.leave();
        }
        self.cgroup.take().map_or(Ok(()), cgroup::end)
    }

    /// Where the overlay's changes lie; `None` where the step works on a copy of its files.
    pub fn upper(&self) -> Result<Option<OwnedFd>> {
        let path = self.directory.file("upper");
        match self.engine.copies() {
            Some(_) => Ok(None),
            None => open_root(&path)
                .map(Some)
                .with_context(|| format!("open `{}`", path.display())),
        }
    }

    /// Calls `look` with what is needed to tell what it has changed.
    pub fn changes<T>(
        &self,
        look: impl FnOnce(&Record, &Changed<'_>, &Path) -> Result<T>,
    ) -> Result<T> {
        root::with_changes(self.engine, &self.record, |overlay, upper| {
            look(&self.record, overlay, upper)
        })
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        let ended = self.end();
        self.in_use = None;
        let id = &self.record.id;
        if let Some(lock) = self.lock.take()
            && ended.is_ok()
            // What cannot be removed now is swept by the next command.
            && remove::remove_tree(self.engine, self.directory.path()).is_ok()
        {
            let _ = settle::unmark(self.engine, id);
            drop(lock);
        }
    }
}

fn record(engine: &Engine, wanted: Wanted) -> Result<Record> {
    let Wanted {
        mut options,
        program,
        layers,
        mounts,
    } = wanted;
    if options.resources != Resources::default() {
        options.resources.validate(&Host::detect()?, false)?;
        options.resources.complete();
    }
    // Nothing of it is worth a sync before it is a layer.
    options.auto_remove = true;
    if options.network != NetworkMode::Host {
        options.hostname = Some(HOSTNAME.to_owned());
    }
    network::choose(engine, &mut options, &Settings::load()?)?;
    Ok(Record {
        version: VERSION,
        id: format!("{PREFIX}{}", random_hex(32)?),
        name: "build".to_owned(),
        created: now(),
        image: Digest::of(b""),
        image_name: "a step of a build".to_owned(),
        layers,
        options,
        program,
        labels: BTreeMap::new(),
        mounts: mounts.into_iter().map(point).collect(),
        healthcheck: None,
        shell: Vec::new(),
    })
}

/// The network of that name, for [`Options::networks`].
pub fn network_named(name: &str) -> NetworkRequest {
    NetworkRequest {
        network: name.to_owned(),
        ..NetworkRequest::default()
    }
}

fn point(mount: Mount) -> MountPoint {
    let kind = match mount.memory {
        Some(_) => request::Kind::Tmpfs,
        None => request::Kind::Bind,
    };
    MountPoint {
        request: request::Request {
            kind,
            target: mount.target,
            read_only: mount.read_only,
            tmpfs_size: mount.memory.flatten(),
            ..request::Request::default()
        },
        ..MountPoint::default()
    }
}
