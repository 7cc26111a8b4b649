//! `create`: all of a container but its program (runtime.md, "Create").

use super::access::{self, Access};
use super::record::{self, Container, Containers, Record};
use super::sockets::sockets;
use super::{console::Console, delete, foreground, group, inherited, notify};
use crate::cgroup::placement::Manager;
use crate::error::{Error, Kind, kind};
use crate::id_mapping::Tier;
use crate::paths::bundle::{GATE, NOTIFY};
use crate::runtime::annotations::Annotations;
use crate::runtime::bundle::Opened;
use crate::runtime::device_nodes;
use crate::runtime::hooks::Hooks;
use crate::runtime::namespaces::inherits_mounts;
use crate::runtime::plan::{self, Bundle, Gate, Life, Root, UserNamespace};
use crate::runtime::process::exec::Nested;
use crate::runtime::process::parent::{self, Started, Streams};
use crate::runtime::scheduling::free_affinity_of;
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use crate::sys::process::{Child, Identity};
use crate::sys::socket::{self, Channel, Listener};
use crate::sys::{descriptor, namespace};
use anyhow::{Context, Result};
use oci_spec::runtime::{ContainerState, Linux, Process};
use std::fs::{DirBuilder, File, Metadata};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long somebody else may be at work under the same name.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked for beside the configuration.
#[derive(Debug)]
pub struct Order {
    /// What it is to be called.
    pub id: String,
    /// Where its terminal goes.
    pub console: Console,
    /// Gets the number of its first process.
    pub pid_file: Option<PathBuf>,
    /// Gets a descriptor of it (pidfd_open(2)).
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the program gets of those that are open, after those that a service manager has given.
    pub preserved: usize,
    /// Who makes its control group, and reads `cgroupsPath`; `None`: it has none.
    pub group_manager: Option<Manager>,
    /// It stays in the session keyring of the caller (keyrings(7)).
    pub keeps_keyring: bool,
    /// Its root covers the caller's instead of taking its place, which a ramdisk does not leave.
    pub moves_root: bool,
    /// How the calling process has come here.
    pub access: Access,
    /// The calling process starts it, too.
    pub starts: bool,
}

/// A container that was created.
#[derive(Debug)]
pub struct Created {
    /// It.
    pub container: Container,
    /// Its first process, a child of the calling one.
    pub child: Child,
    /// Its terminal, if that is for the calling process to relay.
    pub terminal: Option<foreground::Terminal>,
    /// Leads to the first process, if that is for the calling process to start.
    pub(super) starter: Option<Channel>,
}

/// Makes it. After an error nothing of it is left. The calling process must have one thread. `warnings` gets what is
/// otherwise than one would think, also then.
pub fn create(
    containers: &Containers,
    bundle: Opened,
    order: &Order,
    warnings: &mut Vec<String>,
) -> Result<Created> {
    record::check_id(&order.id)?;
    order.console.check(bundle.spec.process().as_ref())?;
    let _lock = claim(containers, &order.id, warnings)?;
    fill(containers, bundle, order, warnings)
        .inspect_err(|_| abandon(containers, &order.id, warnings))
}

/// Leaves nothing of one that could not be made. Why it could not is what counts.
pub(super) fn abandon(containers: &Containers, id: &str, warnings: &mut Vec<String>) {
    // Hooks that were run are followed by others, as at the end of one that was made (runtime.md, "Lifecycle").
    let failed = containers.remains(id).and_then(|left| delete::undo(&left));
    let failed = failed.unwrap_or_else(|error| vec![error]);
    warnings.extend(failed.iter().map(|error| format!("{error:#}")));
}

/// Makes the directory of a container, in the place of that of one whose maker was killed.
pub(super) fn claim(containers: &Containers, id: &str, warnings: &mut Vec<String>) -> Result<Lock> {
    let root = containers.paths.root();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o711);
    builder
        .create(root)
        .with_context(|| format!("create `{}`", root.display()))?;
    let directory = containers.paths.container(id);
    let taken = || {
        let message = format!("container with given ID already exists: `{id}`");
        Error::new(Kind::Conflict, message).hint("`delete` removes one that has stopped")
    };
    let start = Instant::now();
    loop {
        let is_new = match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let found = directory.symlink_metadata();
                // A link would lead elsewhere.
                found.ok().filter(Metadata::is_dir).ok_or_else(taken)?;
                false
            }
            made => made
                .map(|()| true)
                .with_context(|| format!("create `{}`", directory.display()))?,
        };
        let lock = match Lock::try_directory(&directory) {
            // Who deletes it, or looks for one that was left, was faster.
            Err(_) if !directory.exists() => continue,
            // The children of a killed maker have its lock until they notice.
            Ok(None) if start.elapsed() < PATIENCE && !containers.paths.record(id).exists() => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            lock => lock?.ok_or_else(taken)?,
        };
        if !lock.is_of(&directory) {
            continue;
        }
        match containers.find(id) {
            Err(error) if kind(&error) == Some(Kind::NotFound) => {}
            _ => return Err(taken().into()),
        }
        if is_new {
            return Ok(lock);
        }
        let failed = delete::undo(&containers.remains(id)?)?;
        warnings.extend(failed.iter().map(|error| format!("{error:#}")));
    }
}

fn fill(
    containers: &Containers,
    bundle: Opened,
    order: &Order,
    warnings: &mut Vec<String>,
) -> Result<Created> {
    let Opened {
        directory,
        root,
        mut spec,
        ..
    } = bundle;
    let text = serde_json::to_vec(&spec)?;
    let mut record = Record::new(&order.id, directory, root.clone(), &spec)?;
    if order.access == Access::Entered {
        access::without_user_namespace(&mut spec);
    }
    record.user_namespace = spec.linux().as_ref().and_then(user_namespace);
    let annotations = Annotations::of(spec.annotations())?;
    warnings.extend(annotations.warnings.iter().cloned());
    if order.group_manager != Some(Manager::Systemd) {
        warnings.extend(annotations.of_scopes("--systemd-cgroup"));
    }
    let mut container = Container {
        paths: containers.paths.clone(),
        record,
    };
    let mut state = container.state();
    state.set_status(ContainerState::Creating);
    // Such as cannot be are found out while none is to be run at the end.
    Hooks::new(spec.hooks().as_ref(), &state)?;
    let group = group::make(&spec, &order.id, order.group_manager, &annotations)?;
    container.announce(&text, group.cgroup.as_ref())?;
    let is_open = group.filters_devices || device_nodes::all_are_allowed(&spec);
    if !is_open {
        device_nodes::close_bound(&mut spec);
        device_nodes::close_new(&mut spec);
    }
    let path = container.directory();
    let directory = File::open(&path).with_context(|| format!("open `{}`", path.display()))?;
    notify::offer(&mut spec, &path.join(NOTIFY))?;
    let binds_inside = order.access == Access::Entered && !access::needs_mounts(&spec);
    let inherits = spec.linux().as_ref().is_some_and(inherits_mounts);
    let place = inherits.then(|| inherited::place(&path)).transpose()?;
    let bundle = Bundle {
        root: Root::Directory {
            path: root,
            devices: is_open,
        },
        spec,
        groups: Vec::new(),
        user_namespace: None,
        tier: tier(),
        cgroup: group.cgroup,
        state,
        life: Life {
            gate: Some(match order.starts {
                true => Gate::Maker,
                false => Gate::Socket(Listener::bind(directory.as_fd(), GATE)?),
            }),
            keeps_keyring: order.keeps_keyring,
            moves_root: order.moves_root,
            place,
            binds_inside,
        },
        seccomp: None,
        edits: Vec::new(),
        sockets: sockets(order.preserved)?,
        sources: Default::default(),
    };
    let process = bundle.spec.process().as_ref();
    let streams = match process.and_then(Process::terminal) {
        // Whoever reads what the caller prints must not wait for the end of a container that prints elsewhere.
        Some(true) => nothing()?,
        _ => streams()?,
    };
    let manager = group::manager_inside(&bundle.spec);
    let mut started = parent::start(bundle, &streams, None)?;
    warnings.append(&mut started.warnings);
    let Child { pid, pidfd } = &started.child;
    let pidfd = pidfd.try_clone().map(|pidfd| Child { pid: *pid, pidfd });
    let mut receivers = order.pidfd_socket.iter().chain(&annotations.pidfd_receiver);
    let told = receivers.try_for_each(|path| hand_pidfd(path, &started.child, "standard"));
    let given = told.and_then(|()| match (container.cgroup()?, manager) {
        (Some(group), Some(uid)) => group.give_to(uid),
        _ => Ok(()),
    });
    container.record.init = Identity::of(*pid)?;
    given
        .and_then(|()| finish(container, started, order))
        .inspect_err(|_| {
            if let Ok(init) = pidfd {
                init.end();
            }
        })
}

/// Where it is, seen from here, if not here: one that cannot be opened or is none is found out at the start.
fn user_namespace(linux: &Linux) -> Option<Nested> {
    let user = plan::user(linux)?;
    let depth = match &user {
        UserNamespace::Path(path) => {
            let file = File::open(path).ok()?;
            namespace::lineage(file.into()).ok()?.len()
        }
        _ => 1,
    };
    let owner = user.owner();
    (depth > 0).then_some(Nested { depth, owner })
}

/// Once it waits at its gate.
fn finish(container: Container, mut started: Started, order: &Order) -> Result<Created> {
    let terminal = order.console.take(started.terminal.take())?;
    container.write()?;
    if let Some(path) = &order.pid_file {
        write_pid(path, started.child.pid)?;
    }
    free_affinity_of(started.child.pid);
    let starter = match order.starts {
        true => started.held.take(),
        false => started.let_go().map(|()| None)?,
    };
    Ok(Created {
        container,
        child: started.child,
        terminal,
        starter,
    })
}

/// Whole or not at all, as its readers wait for it to appear.
pub(super) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    atomic::write(path, pid.to_string().as_bytes(), Durability::Volatile)
}

/// To whoever listens there; `kind` is said beside, as runc has it: of a container's first process "standard", of a later
/// one "setns".
pub(super) fn hand_pidfd(path: &Path, child: &Child, kind: &str) -> Result<()> {
    let path = std::path::absolute(path).context("find the current directory")?;
    socket::deliver(&path, kind.as_bytes(), child.pidfd.as_fd())
        .context("hand over a descriptor of the process")
}

/// Root of another user namespace than the first one has not all ids, and no device nodes of its own.
pub(super) fn tier() -> Tier {
    match namespace::is_initial_user() {
        true => Tier::Root,
        false => Tier::Subordinate,
    }
}

fn nothing() -> Result<Streams> {
    let file = File::options().read(true).write(true).open("/dev/null");
    let file = OwnedFd::from(file.context("open `/dev/null`")?);
    let copy = || file.try_clone().context("duplicate a descriptor");
    Ok([copy()?, copy()?, copy()?])
}

/// The standard streams of the calling process.
pub(super) fn streams() -> Result<Streams> {
    let copy = |number| descriptor::duplicate(number).context("duplicate a standard stream");
    Ok([copy(0)?, copy(1)?, copy(2)?])
}
