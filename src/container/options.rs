//! What a caller asks of a container, as plain values: the waist between the command line (or an API) and
//! everything below. Field names follow Docker's API; nothing here knows flags or files.

use super::mount_point::request::Request;
use super::resources::{Enforcement, Resources};
pub use super::user_namespace::{Nested, UserNamespace};
use crate::cgroup::placement::Manager;
use crate::image::config::Healthcheck;
use crate::network::endpoint::Protocol;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Everything that `create` and `run` take.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Reference, id or prefix of the image, as the caller wrote it.
    pub image: String,
    /// The words after the image.
    pub command: Vec<String>,
    /// `None`: a name is made up.
    pub name: Option<String>,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// What is done when the program ends by itself.
    pub restart: RestartPolicy,
    /// Keep standard input open.
    pub interactive: bool,
    /// Close it when the client that was attached to it leaves.
    pub stdin_once: bool,
    /// Give it a pseudo-terminal.
    pub tty: bool,
    /// Rows and columns of that terminal from the beginning: set later, it would be a change, of which the program may
    /// have been told already when it first looks.
    pub console_size: Option<(u16, u16)>,
    /// `KEY=VALUE`, in order; later ones win. Variables taken from the caller are already resolved.
    pub env: Vec<String>,
    /// Directory to start in; made if missing.
    pub working_dir: Option<String>,
    /// `user[:group]`, by name or number.
    pub user: Option<String>,
    /// `Some("")` clears the entrypoint of the image, and its command with it.
    pub entrypoint: Option<String>,
    /// Host name in a UTS namespace of its own.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// `name:address`, checked by the caller.
    pub extra_hosts: Vec<ExtraHost>,
    /// Name servers for `/etc/resolv.conf`; empty: those of the host.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Resolver options.
    pub dns_options: Vec<String>,
    /// Labels; they win over those of the image.
    pub labels: BTreeMap<String, String>,
    /// OCI annotations.
    pub annotations: BTreeMap<String, String>,
    /// Mount the root file system read-only.
    pub read_only: bool,
    /// Target → mount options, as in `--tmpfs /run:size=1m`.
    pub tmpfs: BTreeMap<String, String>,
    /// Binds, volumes, memory and files of images, in order. In a record they stand among its mounts
    /// ([`super::mount_point::describe::requests`]).
    #[serde(skip_serializing)]
    pub mounts: Vec<Request>,
    /// Containers whose mounts it gets too, `ID[:ro|:rw]`.
    pub volumes_from: Vec<String>,
    /// Who keeps the volumes that it names; empty: `local`.
    pub volume_driver: String,
    /// Of its root file system, as in `size=10G`.
    pub storage_options: BTreeMap<String, String>,
    /// Bytes that its `size` means.
    pub storage_size: Option<u64>,
    /// Bytes of `/dev/shm`; `None`: 64 MiB.
    pub shm_size: Option<u64>,
    /// Put our own small init before the program.
    pub init: bool,
    /// Signal that asks the program to end, as written (`TERM`, `SIGTERM`, `15`).
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL.
    pub stop_timeout: Option<i64>,
    /// Which network namespace.
    pub network: NetworkMode,
    /// The networks that one of its own is in; the first gives it the names and addresses that go without one. Creation
    /// puts the default one here where none is named.
    pub networks: Vec<NetworkRequest>,
    /// The name of the one that it has left last, where it is in none any more but may come into others again.
    pub last_network: Option<String>,
    /// Ports of the host that lead into it.
    pub ports: Vec<PortRequest>,
    /// Publish all ports that are exposed.
    pub publish_all: bool,
    /// Ports that are exposed beside those of the image, as in `80/tcp`, each by itself.
    pub exposed: Vec<String>,
    /// Containers that it finds by further names on the default network, `NAME:ALIAS`.
    pub links: Vec<String>,
    /// What it may reach: `HOST[:PORT]` each; `None`: everything; empty: nothing (`deny`).
    pub egress: Option<Vec<String>>,
    /// Which UTS namespace.
    pub uts: Namespace,
    /// Which IPC namespace.
    pub ipc: Namespace,
    /// Which PID namespace.
    pub pid: Namespace,
    /// Which cgroup namespace.
    pub cgroupns: Namespace,
    /// Its control group.
    pub cgroups: Cgroups,
    /// Which user namespace.
    pub userns: UserNamespace,
    /// Entries of the map of user ids, as in `--uidmap`.
    pub uidmap: Vec<String>,
    /// Those of group ids.
    pub gidmap: Vec<String>,
    /// Whose line in `/etc/subuid` has the user ids.
    pub subuid_name: Option<String>,
    /// Whose line in `/etc/subgid` has the group ids.
    pub subgid_name: Option<String>,
    /// What the creation has made of these; `None`: the ids are those of the store.
    pub nested: Option<Nested>,
    /// Capabilities to add, upper case with `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to drop, likewise.
    pub cap_drop: Vec<String>,
    /// What is relaxed or tightened.
    pub security: Security,
    /// All capabilities, all devices, no seccomp, nothing masked.
    pub privileged: bool,
    /// Devices of the host.
    pub devices: Vec<DeviceMapping>,
    /// Docker's `TYPE MAJOR:MINOR ACCESS`, checked by the caller.
    pub device_cgroup_rules: Vec<String>,
    /// Devices that specifications of the Container Device Interface describe.
    pub device_requests: Vec<DeviceRequest>,
    /// Where those lie, absolute; later ones win; empty: the usual places.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Resource limits of the process (setrlimit(2)).
    pub ulimits: Vec<Ulimit>,
    /// Limits of all processes together (cgroups(7)).
    pub resources: Resources,
    /// What is done about a limit that cannot be applied.
    pub limits: Enforcement,
    /// How soon the kernel kills it when memory is short, from -1000 to 1000 (proc_pid_oom_score_adj(5)); 0: as it would
    /// the caller.
    pub oom_score_adj: i64,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Additional groups, by name or number.
    pub group_add: Vec<String>,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// Where to write the id; must not exist.
    pub cidfile: Option<PathBuf>,
    /// How to see whether it does its work; what it leaves open is taken from the image.
    pub healthcheck: Option<Healthcheck>,
    /// What is done when it does not.
    pub health_on_failure: HealthAction,
    /// What becomes of the program's output.
    pub log: Log,
}

impl Options {
    /// Descriptions of devices are looked for in these directories before those that are named already; all are seen
    /// from the current directory, which nobody has who starts the container later.
    pub fn look_for_devices(&mut self, directories: &[PathBuf]) -> Result<()> {
        let own = std::mem::take(&mut self.cdi_spec_dirs);
        for path in directories.iter().chain(&own) {
            let found = std::path::absolute(path)
                .with_context(|| format!("find the current directory for `{}`", path.display()))?;
            self.cdi_spec_dirs.push(found);
        }
        Ok(())
    }
}

/// `--log-driver` and `--log-opt`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Log {
    /// Docker's name of the driver; empty before creation: that of the settings.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// `--health-on-failure`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum HealthAction {
    /// It is shown as unhealthy.
    #[default]
    None,
    /// Its program is killed; the restart policy decides what comes next.
    Kill,
    /// It is stopped and started again.
    Restart,
    /// It is stopped.
    Stop,
}

/// `--restart`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It stays ended.
    #[default]
    No,
    /// It is started again when it fails.
    OnFailure {
        /// So often at most; 0: without end.
        maximum: u32,
    },
    /// It is started again, and after a reboot whatever it was then.
    Always,
    /// Likewise, unless a user has stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// Docker's word for it, without the number.
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// Docker's `MaximumRetryCount`.
    pub fn maximum(self) -> u32 {
        match self {
            Self::OnFailure { maximum } => maximum,
            _ => 0,
        }
    }
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// IPv4 or IPv6 address, or `host-gateway`.
    pub address: String,
}

/// A namespace of its own, or the host's.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// A new one.
    #[default]
    Private,
    /// That of the caller.
    Host,
    /// `--ipc none`: a new one without `/dev/shm`.
    None,
}

/// `--network` where it is no network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// A namespace of its own, in [`Options::networks`].
    #[default]
    Private,
    /// That of the caller.
    Host,
    /// One of its own, with loopback only.
    None,
    /// That of a container: its id after creation.
    Container(String),
    /// One that is there.
    Path(PathBuf),
    /// One of its own that slirp4netns(1) connects; its options.
    Slirp4netns(Vec<String>),
    /// One of its own that passt(1) connects; its options.
    Pasta(Vec<String>),
}

impl NetworkMode {
    /// Whether the container has a network namespace that nobody had before it.
    pub fn is_own(&self) -> bool {
        !matches!(self, Self::Host | Self::Container(_) | Self::Path(_))
    }
}

/// What a container asks of a network.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct NetworkRequest {
    /// Name, id or prefix; its name after creation.
    pub network: String,
    /// Its id after creation.
    pub id: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6: Option<Ipv6Addr>,
    /// Addresses of the link that are added (`--link-local-ip`).
    pub link_local: Vec<IpAddr>,
    /// A fixed MAC address.
    pub mac: Option<String>,
    /// The name of its interface.
    pub interface: Option<String>,
    /// The network with the highest gives it the default route.
    pub gateway_priority: i32,
    /// Containers that it finds by further names there, `NAME:ALIAS`.
    pub links: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// `--publish`: runs of ports.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct PortRequest {
    /// Of the host; `None`: all.
    pub address: Option<IpAddr>,
    /// First and last port of the host; `None`: any that is free. As many as of the container, or more where that is one.
    pub host: Option<(u16, u16)>,
    /// First and last port of the container.
    pub container: (u16, u16),
    /// What has these ports.
    pub protocol: Protocol,
}

/// Which control group a container gets.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Cgroups {
    /// `--cgroups disabled`: that of whoever starts it.
    pub disabled: bool,
    /// Who makes it; `None`: whoever is there.
    pub manager: Option<Manager>,
    /// In which one: a slice for systemd, else a path.
    pub parent: Option<String>,
}

/// `--security-opt`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// The filter for system calls.
    pub seccomp: Seccomp,
    /// `systempaths=unconfined`: nothing masked, nothing made read-only.
    pub system_paths_unconfined: bool,
    /// `mask=PATH:…`: more that reads as empty.
    pub mask: Vec<String>,
    /// `unmask=PATH:…`: patterns of what is neither hidden nor read-only after all, or `ALL`.
    pub unmask: Vec<String>,
    /// `apparmor=PROFILE`.
    pub apparmor: Option<String>,
    /// `label=…` values, kept as given; they matter on SELinux hosts only.
    pub label: Vec<String>,
}

/// Which seccomp policy.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    /// Docker's default policy.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A policy in Docker's JSON format, the text itself.
    Policy(String),
}

/// `--device` with a path.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeviceMapping {
    /// A node, a directory of nodes, or a link to one of both.
    pub host: PathBuf,
    /// Where the container sees it, absolute.
    pub container: PathBuf,
    /// Some of `rwm`.
    pub access: String,
}

/// `--gpus`, and `--device` with a qualified name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct DeviceRequest {
    /// `cdi`: the ids are qualified names; `nvidia`, `amd`; empty: whose GPUs there are.
    pub driver: String,
    /// How many; -1: all; 0: those that the ids name.
    pub count: i64,
    /// Which.
    pub device_ids: Vec<String>,
    /// What they have to be able to do: any of these sets of words.
    pub capabilities: Vec<Vec<String>>,
    /// For the driver.
    pub options: BTreeMap<String, String>,
}

/// One resource limit.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Ulimit {
    /// Name without `RLIMIT_`, lower case, as in `nofile`.
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}
