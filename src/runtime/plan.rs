//! The plan: everything about a container that can be decided before its first process exists, as data.
//!
//! [`Plan::new`] is pure: it reads a bundle's configuration (OCI runtime-spec, config.md and config-linux.md) and
//! refuses what it cannot do. Init ([`super::process::init`]) carries the plan out step by step.

mod given;

pub use given::{Bundle, FileEdit, Gate, Held, Life, Root, Sockets, Sources, UserNamespace};

use super::annotations::Annotations;
use super::capabilities::{CapabilitySet, ProcessCapabilities};
use super::hooks::Hooks;
use super::lsm::{self, Labels};
use super::mount_options::{self, MountOptions, Spread};
use super::namespaces::{self, Joined};
use super::net_devices::{self, NetDevice};
use super::resctrl;
use super::scheduling::Scheduling;
use super::seccomp::{self, Filter, Identity};
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{IdMaps, Range, Tier};
use crate::sys::process::flags;
use anyhow::{Context, Result};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};
use oci_spec::runtime::{Mount, PosixRlimit, PosixRlimitType, Process};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

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
            _ if options.remount => Source::Remount,
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

    /// The same with paths of the host that lead below the container's root taken for what they are there, as runc does.
    /// `is_nested`: it has a user namespace of its own.
    fn inside(mut self, root: &Root, is_nested: bool) -> Self {
        let Root::Directory { path: root, .. } = root else {
            return self;
        };
        if let Source::Bind { path } = &self.source
            && let Some(path) = inside(path, root)
        {
            let root = root.clone();
            self.source = match is_nested && self.options.ids.is_some() {
                true => Source::Image { root, path },
                false => Source::Inside { path },
            };
        }
        self.target = inside(&self.target, root).unwrap_or(self.target);
        self
    }
}

/// What a path that lies lexically below a root is called there.
fn inside(path: &Path, root: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(root).ok()?;
    let mut parts = rest.components();
    let is_plain = parts.all(|part| matches!(part, Component::Normal(_)));
    (is_plain && root != Path::new("/")).then(|| Path::new("/").join(rest))
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
    /// What lies below the container's root by then: earlier mounts may have made it.
    Inside {
        /// Path in the container.
        path: PathBuf,
    },
    /// The same before anything is mounted there: in a user namespace of the container's own nobody can map its owners.
    Image {
        /// The container's root on the host.
        root: PathBuf,
        /// Path in the container.
        path: PathBuf,
    },
    /// Nothing: what is there already is changed; its file system too, unless it is bound.
    Remount,
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
    /// The program and its arguments; none where it is not to be started.
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
    /// It goes on when its maker has ended.
    pub outlives_maker: bool,
    /// It has the groups of its maker, and no others.
    pub keeps_groups: bool,
    /// It has the session keyring of its maker (keyrings(7)).
    pub keeps_keyring: bool,
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
    /// The mount option that takes it for new file systems.
    pub label_option: &'static str,
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
    /// See [`Life`].
    pub binds_inside: bool,
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
    /// Programs of the caller's that are run on the way.
    pub hooks: Hooks,
    /// See [`Bundle`].
    pub gate: Option<Gate>,
    /// Its root covers that of the caller, which is not dropped.
    pub moves_root: bool,
    /// See [`Life`].
    pub place: Option<PathBuf>,
    /// The program.
    pub process: ProcessPlan,
}

impl Plan {
    /// Whether its mounts are seen where its maker is.
    pub fn inherits_mounts(&self) -> bool {
        self.namespaces & flags::NEW_MOUNT == 0
    }

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
            life,
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
        let (namespaces, joined) = namespaces::of(wanted);
        let owned = joined.iter().fold(namespaces, |all, (flag, _)| all | flag);
        let user = user_namespace.or_else(|| user(linux));
        if user.is_some() && joined.iter().any(|(flag, _)| *flag == flags::NEW_MOUNT) {
            let message = "a container with a user namespace of its own cannot be put into a mount namespace that is there";
            return Err(Error::new(Kind::Unsupported, message).into());
        }
        let resctrl = resctrl::of(linux.intel_rdt().as_ref(), state.id())?;
        let mut nobody = Process::default();
        nobody.set_args(None);
        let process = spec.process().as_ref().unwrap_or(&nobody);
        let annotations = Annotations::of(spec.annotations())?;
        let hooks = Hooks::new(spec.hooks().as_ref(), &state)?;
        let seccomp =
            filter(seccomp, linux, tier, &annotations)?.map(|filter| filter.of_container(state));
        let mounts = mount_steps(spec.mounts(), &sources, &root, user.is_some())?;
        let named = |value, what| named(value, what, owned);
        let mut process_plan = ProcessPlan::new(process, groups, seccomp, tier)?;
        process_plan.scheduling.add_container(linux)?;
        process_plan.sockets = sockets;
        process_plan.outlives_maker = life.gate.is_some();
        process_plan.keeps_keyring = life.keeps_keyring;
        process_plan.keeps_groups = annotations.keeps_groups;
        let paths =
            |paths: &Option<Vec<String>>| paths.iter().flatten().map(PathBuf::from).collect();
        Ok(Self {
            namespaces,
            joined,
            held: Vec::new(),
            awaits_network: false,
            net_devices: net_devices::of(linux, owned)?,
            resctrl,
            time_offsets: namespaces::time_offsets(linux, &annotations.time_offsets, namespaces)?,
            cgroup,
            root,
            edits,
            mount_label: linux
                .mount_label()
                .clone()
                .filter(|label| !label.is_empty()),
            label_option: annotations.label_option.unwrap_or("context"),
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
            binds_inside: life.binds_inside,
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
            sysctls: sysctls(linux, owned)?,
            hooks,
            gate: life.gate,
            moves_root: life.moves_root,
            place: life.place,
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
            arguments: process.args().clone().unwrap_or_default(),
            environment: last_of_each(process.env().iter().flatten()),
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
            outlives_maker: false,
            keeps_groups: false,
            keeps_keyring: false,
        })
    }
}

/// Variables that are there once, with the value that was given last (environ(7) leaves open which one counts).
fn last_of_each<'a>(entries: impl DoubleEndedIterator<Item = &'a String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let name = |entry: &'a str| entry.split_once('=').map_or(entry, |(name, _)| name);
    let last = entries.rev().filter(|entry| seen.insert(name(entry)));
    let mut environment: Vec<_> = last.cloned().collect();
    environment.reverse();
    environment
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
fn filter(
    made: Option<Filter>,
    linux: &Linux,
    tier: Tier,
    annotations: &Annotations,
) -> Result<Option<Filter>> {
    let identity = match tier {
        Tier::Single => Identity::Single,
        _ => Identity::Mapped,
    };
    Ok(match (made, linux.seccomp()) {
        (Some(filter), _) => Some(filter),
        (None, Some(policy)) => {
            let mut policy = policy.clone();
            if policy.listener_path().is_none() {
                policy.set_listener_path(annotations.agent.clone());
            }
            if annotations.knows_calls {
                seccomp::require_known_calls(&policy)?;
            }
            Some(seccomp::compile(&policy, identity)?)
        }
        (None, None) if tier == Tier::Single => Some(seccomp::no_op_filter()?),
        (None, None) => None,
    })
}

fn named(value: &Option<String>, what: &str, owned: u64) -> Result<Option<String>> {
    match (value, owned & flags::NEW_UTS) {
        (Some(_), 0) => {
            let message = format!("a {what} needs a UTS namespace of its own");
            Err(bad_input(message).into())
        }
        _ => Ok(value.clone()),
    }
}

fn mount_steps(
    mounts: &Option<Vec<Mount>>,
    sources: &Sources,
    root: &Root,
    is_nested: bool,
) -> Result<Vec<MountStep>> {
    let step = |mount: &Mount| {
        let step = MountStep::of(mount)?;
        // What is open is what is meant.
        Ok(match sources.contains_key(step.target.as_os_str()) {
            true => step,
            false => step.inside(root, is_nested),
        })
    };
    mounts.iter().flatten().map(step).collect()
}

/// Kernel parameters that belong to the `owned` namespaces, by file.
fn sysctls(linux: &Linux, owned: u64) -> Result<Vec<(String, String)>> {
    let all = linux.sysctl().iter().flatten();
    all.map(|(key, value)| Ok((namespaces::sysctl(key, owned)?, value.clone())))
        .collect()
}

/// The user namespace that a configuration wants; `None`: that of the caller.
pub fn user(linux: &Linux) -> Option<UserNamespace> {
    let mut wanted = linux.namespaces().iter().flatten();
    let user = wanted.find(|namespace| namespace.typ() == LinuxNamespaceType::User)?;
    Some(match user.path() {
        Some(path) => UserNamespace::Path(path.clone()),
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
