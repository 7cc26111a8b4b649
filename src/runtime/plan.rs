//! The plan: everything about a container that can be decided before its first process exists, as data.
//!
//! [`Plan::new`] is pure: it reads a bundle's configuration (OCI runtime-spec, config.md and config-linux.md) and
//! refuses what it cannot do. Init ([`super::process::init`]) carries the plan out step by step.

use super::capabilities::{CapabilitySet, ProcessCapabilities};
use super::lsm::{self, Labels};
use super::mount_options::{self, MountOptions, Spread};
use super::namespaces::{self, Joined};
use super::net_devices::{self, NetDevice};
use super::resctrl;
use super::scheduling::Scheduling;
use super::seccomp::{self, Filter, Identity};
use crate::cgroup::Cgroup;
use crate::error::bad_input;
use crate::id_mapping::{IdMaps, Range, Tier};
use crate::sys::process::flags;
use anyhow::{Context, Result};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType};
use oci_spec::runtime::{Mount, PosixRlimit, PosixRlimitType, Process, Spec, State};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What the container's root file system is made of.
#[derive(Debug)]
pub enum Root {
    /// A directory of the host.
    Directory {
        /// Which.
        path: PathBuf,
        /// Whether device nodes in it can be opened, as far as its mount lets them.
        devices: bool,
    },
    /// Layers with a writable one on top.
    Overlay {
        /// Lower layers, uppermost first.
        lower: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// Scratch space of the overlay.
        work: PathBuf,
        /// Thrown away when the container ends, so never worth a sync.
        volatile: bool,
        /// Whether device nodes in it can be opened: those of the image, and those that the container makes.
        devices: bool,
        /// Whether the lower layers have the owners of the image, which the user namespace of the container is to show
        /// as its own; else they have those that it shows.
        mapped: bool,
    },
}

/// A user namespace below that of this process, which the container's other namespaces belong to.
#[derive(Debug)]
pub enum UserNamespace {
    /// A new one.
    New(IdMaps),
    /// One that somebody else has made.
    Path(PathBuf),
    /// One that is there, and who in it makes the container's root file system ([`IdMaps::owner`]).
    Held(OwnedFd, (u32, u32)),
}

/// A container's configuration and its root file system (runtime-spec, bundle.md).
#[derive(Debug)]
pub struct Bundle {
    /// config.json.
    pub spec: Spec,
    /// The root file system.
    pub root: Root,
    /// Further groups of the user by name or number, beside those of config.json, which knows only numbers.
    pub groups: Vec<String>,
    /// The user namespace, where that is not for the runtime to make; wins over the one in `spec`.
    pub user_namespace: Option<UserNamespace>,
    /// What the calling process may do: it is real root, or root of a user namespace.
    pub tier: Tier,
    /// Where it is born, made and limited already; `None`: where this process is.
    pub cgroup: Option<Cgroup>,
    /// What the seccomp agent, if there is one, is told of the container (runtime.md, "State").
    pub state: State,
    /// Already compiled, so that the default policy need not pass through its JSON form; wins over the one in `spec`.
    pub seccomp: Option<Filter>,
    /// What is made or changed in the root file system once everything is mounted.
    pub edits: Vec<FileEdit>,
    /// What the program gets from descriptor 3 on, as a service does (sd_listen_fds(3)), and what they are called.
    pub sockets: Sockets,
    /// Sources of mounts that are open already, by destination; they win over the ones in `spec`.
    pub sources: Sources,
}

/// Descriptors for a program, which is told of them as by a service manager (sd_listen_fds(3)).
#[derive(Debug, Default)]
pub struct Sockets {
    /// In order, from 3 on.
    pub descriptors: Vec<OwnedFd>,
    /// Their names, separated by colons; empty: they have none.
    pub names: String,
}

impl Sockets {
    /// What the calling process, which becomes the program, tells it of them.
    pub fn variables(&self) -> Vec<String> {
        let count = self.descriptors.len();
        if count == 0 {
            return Vec::new();
        }
        let names = (!self.names.is_empty()).then(|| format!("LISTEN_FDNAMES={}", self.names));
        let pid = std::process::id();
        let told = [format!("LISTEN_FDS={count}"), format!("LISTEN_PID={pid}")];
        told.into_iter().chain(names).collect()
    }
}

/// What is open already of the sources of mounts, by destination as config.json writes it: to compare paths part by part
/// takes longer than all else about many mounts.
pub type Sources = BTreeMap<OsString, Held>;

/// The source of a mount that is open already.
#[derive(Debug)]
pub enum Held {
    /// A file or directory in the mount namespace of this process, to be bound.
    Place(OwnedFd),
    /// A mount that is attached nowhere yet.
    Mount(OwnedFd),
}

/// A change of the container's own files, which devices may need beside their nodes and mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEdit {
    /// A symbolic link in the place of whatever file is there.
    SymbolicLink {
        /// What it says.
        target: PathBuf,
        /// Where it is.
        path: PathBuf,
    },
    /// The mode of something that is there.
    Mode {
        /// Where it is.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Shared libraries in these directories are found by the names that programs ask for (ldconfig(8)).
    Libraries {
        /// Where they are.
        directories: Vec<PathBuf>,
    },
}

/// One mount, ready to be made.
#[derive(Debug, PartialEq, Eq)]
pub struct MountStep {
    /// Where, below the container's root.
    pub target: PathBuf,
    /// What.
    pub source: Source,
    /// How.
    pub options: MountOptions,
}

impl MountStep {
    /// One mount of config.json.
    pub fn of(mount: &Mount) -> Result<Self> {
        let options = MountOptions::of(mount)?;
        let target = mount.destination().clone();
        let source = match (options.bind, mount.source()) {
            (Some(_), Some(path)) => Source::Bind { path: path.clone() },
            (Some(_), None) => {
                return Err(bad_input(format!(
                    "the bind mount at `{}` has no source",
                    target.display()
                ))
                .into());
            }
            (None, source) => {
                let kind = match mount.typ().as_deref() {
                    // Callers write that for either version.
                    Some("cgroup") => "cgroup2",
                    kind => kind.unwrap_or("none"),
                };
                let source = source.as_ref().map(|path| path.to_string_lossy());
                Source::Filesystem {
                    source: source.map_or(kind.to_owned(), Into::into),
                    kind: kind.to_owned(),
                }
            }
        };
        Ok(Self {
            target,
            source,
            options,
        })
    }
}

/// What is mounted.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A new file system.
    Filesystem {
        /// Its type.
        kind: String,
        /// What it lies on, or a mere name.
        source: String,
    },
    /// A file or directory of the host.
    Bind {
        /// Path on the host.
        path: PathBuf,
    },
}

/// A device node that the container gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    /// Path inside, absolute.
    pub path: PathBuf,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` with the permission bits.
    pub mode: u32,
    /// Device numbers.
    pub major: u32,
    /// Device numbers.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
}

/// The program and what it runs as.
#[derive(Debug)]
pub struct ProcessPlan {
    /// The program and its arguments.
    pub arguments: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// Where it starts; made if missing.
    pub working_directory: PathBuf,
    /// `user[:group]`, resolved inside the container; else the numbers.
    pub user: Result<String, (u32, u32)>,
    /// Further groups, by name or number.
    pub additional_groups: Vec<String>,
    /// Capabilities.
    pub capabilities: ProcessCapabilities,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// System-call filter.
    pub seccomp: Option<Filter>,
    /// Which ids there are: with a single one, becoming another user is a no-op.
    pub tier: Tier,
    /// On a pseudo-terminal, with its size in rows and columns.
    pub terminal: Option<(u16, u16)>,
    /// (resource, soft, hard).
    pub limits: Vec<(u32, u64, u64)>,
    /// proc_pid_oom_score_adj(5).
    pub oom_score_adjustment: Option<i32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Scheduler, I/O priority, processors, memory policy, personality.
    pub scheduling: Scheduling,
    /// AppArmor profile and SELinux context.
    pub labels: Labels,
    /// What it gets beside its streams.
    pub sockets: Sockets,
}

/// Everything that init does.
#[derive(Debug)]
pub struct Plan {
    /// Flags of [`crate::sys::process::flags`], of all that are new but the user namespace.
    pub namespaces: u64,
    /// Namespaces that are there already, and where.
    pub joined: Vec<(u64, PathBuf)>,
    /// The same once the parent has opened them.
    pub held: Vec<Joined>,
    /// Whether its network is made by somebody else while init makes the rest.
    pub awaits_network: bool,
    /// Network devices of the host that become its own.
    pub net_devices: Vec<NetDevice>,
    /// Its share of caches.
    pub resctrl: Option<resctrl::Group>,
    /// What the clocks of a new time namespace are ahead, as its `timens_offsets` takes it (time_namespaces(7)).
    pub time_offsets: String,
    /// Where its first process is born; its cgroup namespace has that as root.
    pub cgroup: Option<Cgroup>,
    /// The user namespace, if it is not that of this process.
    pub user: Option<UserNamespace>,
    /// Whether the container's root is not real root.
    pub user_namespace: bool,
    /// Root file system.
    pub root: Root,
    /// SELinux context of its files.
    pub mount_label: Option<String>,
    /// Mount it read-only at the end.
    pub read_only_root: bool,
    /// What becomes of later mounts below it.
    pub root_propagation: Option<Spread>,
    /// In order.
    pub mounts: Vec<MountStep>,
    /// Sources that are open, by destination.
    pub sources: Sources,
    /// What the parent has made of them for each of the mounts, attached nowhere yet.
    pub trees: Vec<Option<OwnedFd>>,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Changes of its files.
    pub edits: Vec<FileEdit>,
    /// Paths that read as empty.
    pub masked: Vec<PathBuf>,
    /// Paths that cannot be written.
    pub read_only: Vec<PathBuf>,
    /// Host name of a new UTS namespace.
    pub hostname: Option<String>,
    /// NIS domain name of a new UTS namespace.
    pub domainname: Option<String>,
    /// Files below `/proc` and what is written to them.
    pub sysctls: Vec<(String, String)>,
    /// The program.
    pub process: ProcessPlan,
}

impl Plan {
    /// Decides everything, or says what cannot be done.
    pub fn new(bundle: Bundle) -> Result<Self> {
        let Bundle {
            spec,
            root,
            groups,
            user_namespace,
            tier,
            cgroup,
            state,
            seccomp,
            edits,
            sockets,
            sources,
        } = bundle;
        let linux = spec
            .linux()
            .as_ref()
            .ok_or_else(|| bad_input("the configuration has no `linux` section"))?;
        lsm::require_selinux(linux.mount_label().as_deref())?;
        let wanted = linux.namespaces().as_deref().unwrap_or_default();
        let (namespaces, joined) = namespaces::of(wanted)?;
        let owned = joined.iter().fold(namespaces, |all, (flag, _)| all | flag);
        let user = user_namespace.or_else(|| user(linux, wanted));
        let resctrl = resctrl::of(linux, state.id())?;
        let process = spec
            .process()
            .as_ref()
            .ok_or_else(|| bad_input("the configuration has no `process` section"))?;
        let seccomp = filter(seccomp, linux, tier)?.map(|filter| filter.of_container(state));
        let mounts = spec
            .mounts()
            .iter()
            .flatten()
            .map(MountStep::of)
            .collect::<Result<_>>()?;
        let sysctls = linux
            .sysctl()
            .iter()
            .flatten()
            .map(|(key, value)| Ok((namespaces::sysctl(key, owned)?, value.clone())));
        let named = |value: &Option<String>, what| match (value, owned & flags::NEW_UTS) {
            (Some(_), 0) => Err(bad_input(format!(
                "a {what} needs a UTS namespace of its own"
            ))),
            _ => Ok(value.clone()),
        };
        let mut process_plan = ProcessPlan::new(process, groups, seccomp, tier)?;
        process_plan.scheduling.add_container(linux)?;
        process_plan.sockets = sockets;
        let paths =
            |paths: &Option<Vec<String>>| paths.iter().flatten().map(PathBuf::from).collect();
        Ok(Self {
            namespaces,
            joined,
            held: Vec::new(),
            awaits_network: false,
            net_devices: net_devices::of(linux, owned)?,
            resctrl,
            time_offsets: namespaces::time_offsets(linux, namespaces)?,
            cgroup,
            root,
            edits,
            mount_label: linux
                .mount_label()
                .clone()
                .filter(|label| !label.is_empty()),
            read_only_root: spec
                .root()
                .as_ref()
                .and_then(|root| root.readonly())
                .unwrap_or(false),
            root_propagation: linux
                .rootfs_propagation()
                .as_deref()
                .filter(|word| !word.is_empty())
                .map(mount_options::root_propagation)
                .transpose()?,
            mounts,
            sources,
            trees: Vec::new(),
            devices: linux
                .devices()
                .iter()
                .flatten()
                .map(device)
                .collect::<Result<_>>()?,
            masked: paths(linux.masked_paths()),
            read_only: paths(linux.readonly_paths()),
            hostname: named(spec.hostname(), "host name")?,
            domainname: named(spec.domainname(), "domain name")?,
            sysctls: sysctls.collect::<Result<_>>()?,
            process: process_plan,
            user_namespace: tier != Tier::Root || user.is_some(),
            user,
        })
    }
}

impl ProcessPlan {
    /// The `process` section of a configuration; `groups` and `seccomp` as in [`Bundle`].
    pub fn new(
        process: &Process,
        groups: Vec<String>,
        seccomp: Option<Filter>,
        tier: Tier,
    ) -> Result<Self> {
        let user = process.user();
        let terminal = process.terminal().unwrap_or(false).then(|| {
            process
                .console_size()
                .map_or((0, 0), |size| (size.height() as u16, size.width() as u16))
        });
        Ok(Self {
            arguments: process
                .args()
                .clone()
                .filter(|words| !words.is_empty())
                .ok_or_else(|| bad_input("no command specified"))?,
            environment: process.env().clone().unwrap_or_default(),
            working_directory: process.cwd().clone(),
            user: user.username().clone().ok_or((user.uid(), user.gid())),
            additional_groups: user
                .additional_gids()
                .iter()
                .flatten()
                .map(ToString::to_string)
                .chain(groups)
                .collect(),
            capabilities: match process.capabilities() {
                Some(capabilities) => {
                    ProcessCapabilities::from_oci(capabilities, CapabilitySet::known())
                }
                None => ProcessCapabilities::default(),
            },
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp,
            tier,
            terminal,
            limits: process.rlimits().iter().flatten().map(limit).collect(),
            oom_score_adjustment: process.oom_score_adj(),
            umask: user.umask().unwrap_or(0o022),
            scheduling: Scheduling::from_oci(process)?,
            labels: Labels::from_oci(process)?,
            sockets: Sockets::default(),
        })
    }
}

fn ranges(mappings: &Option<Vec<LinuxIdMapping>>) -> Vec<Range> {
    let range = |mapping: &LinuxIdMapping| Range {
        inside: mapping.container_id(),
        outside: mapping.host_id(),
        size: mapping.size(),
    };
    mappings.iter().flatten().map(range).collect()
}

/// That which was made already, else what the policy of the configuration says.
fn filter(made: Option<Filter>, linux: &Linux, tier: Tier) -> Result<Option<Filter>> {
    let identity = match tier {
        Tier::Single => Identity::Single,
        _ => Identity::Mapped,
    };
    Ok(match (made, linux.seccomp()) {
        (Some(filter), _) => Some(filter),
        (None, Some(policy)) => Some(seccomp::compile(policy, identity)?),
        (None, None) if tier == Tier::Single => Some(seccomp::no_op_filter()?),
        (None, None) => None,
    })
}

fn user(linux: &Linux, wanted: &[LinuxNamespace]) -> Option<UserNamespace> {
    let is_user = |namespace: &&LinuxNamespace| namespace.typ() == LinuxNamespaceType::User;
    let path = wanted.iter().find(is_user)?.path().clone();
    Some(match path {
        Some(path) => UserNamespace::Path(path),
        None => UserNamespace::New(IdMaps {
            uids: ranges(linux.uid_mappings()),
            gids: ranges(linux.gid_mappings()),
        }),
    })
}

fn device(device: &oci_spec::runtime::LinuxDevice) -> Result<Device> {
    use oci_spec::runtime::LinuxDeviceType;
    let path = device.path().clone();
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            let message = format!("the device `{}` cannot be of all types", path.display());
            return Err(bad_input(message).into());
        }
    };
    let is_pipe = kind == libc::S_IFIFO;
    let number = |value: i64| match is_pipe {
        true => Ok(0),
        false => u32::try_from(value)
            .with_context(|| format!("device number {value} of `{}`", path.display())),
    };
    Ok(Device {
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        major: number(device.major())?,
        minor: number(device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        path,
    })
}

/// (resource, soft, hard).
pub fn limit(limit: &PosixRlimit) -> (u32, u64, u64) {
    (limit_number(limit.typ()), limit.soft(), limit.hard())
}

/// The kernel's number of a resource limit.
pub fn limit_number(typ: PosixRlimitType) -> u32 {
    use PosixRlimitType as T;
    match typ {
        T::RlimitCpu => libc::RLIMIT_CPU,
        T::RlimitFsize => libc::RLIMIT_FSIZE,
        T::RlimitData => libc::RLIMIT_DATA,
        T::RlimitStack => libc::RLIMIT_STACK,
        T::RlimitCore => libc::RLIMIT_CORE,
        T::RlimitRss => libc::RLIMIT_RSS,
        T::RlimitNproc => libc::RLIMIT_NPROC,
        T::RlimitNofile => libc::RLIMIT_NOFILE,
        T::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        T::RlimitAs => libc::RLIMIT_AS,
        T::RlimitLocks => libc::RLIMIT_LOCKS,
        T::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        T::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        T::RlimitNice => libc::RLIMIT_NICE,
        T::RlimitRtprio => libc::RLIMIT_RTPRIO,
        T::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

/// The name of a resource limit as `--ulimit` has it.
pub fn limit_name(number: u32) -> &'static str {
    /// In the order of their numbers (asm-generic/resource.h).
    const NAMES: [&str; 16] = [
        "cpu",
        "fsize",
        "data",
        "stack",
        "core",
        "rss",
        "nproc",
        "nofile",
        "memlock",
        "as",
        "locks",
        "sigpending",
        "msgqueue",
        "nice",
        "rtprio",
        "rttime",
    ];
    NAMES.get(number as usize).unwrap_or(&"?")
}
