//! The options that `run` and `create` share, and how they become [`Options`].
//!
//! Values are checked where they are parsed (see [`value`]); what depends on several of them is checked in
//! [`CreateFlags::into_options`].

use super::health::HealthFlags;
use super::namespace::{ipc_mode, own_or_host, refuse_sysctls_of_the_host};
use super::network::NetworkFlags;
use super::resources::ResourceFlags;
use crate::cgroup::placement::Manager;
use crate::cli::Globals;
use crate::cli::value::{
    self, Pull, Stream, device, environment, mount, mount_point, network, security, tmpfs, volume,
};
use crate::container::mount_point::request::Request;
use crate::container::options::{
    Cgroups, DeviceMapping, DeviceRequest, ExtraHost, Log, Namespace, Options, RestartPolicy,
    Ulimit, UserNamespace,
};
use crate::container::resources::Resources;
use crate::error::{Error, bad_input};
use anyhow::Result;
use std::path::PathBuf;

/// Options of `run` and `create`.
#[derive(clap::Args)]
pub struct CreateFlags {
    /// Add a line to /etc/hosts (name:address)
    #[arg(long, value_parser = network::extra_host)]
    add_host: Vec<ExtraHost>,
    /// Add an OCI annotation
    #[arg(long, value_name = "map", value_parser = environment::annotation)]
    annotation: Vec<(String, String)>,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_parser = value::stream)]
    pub attach: Vec<Stream>,
    /// Give a capability
    #[arg(long, value_parser = security::capability)]
    cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_parser = security::capability)]
    cap_drop: Vec<String>,
    /// Who makes the cgroup: "systemd" or "cgroupfs"; where that cannot be it is an error
    #[arg(long, value_parser = value::cgroup_manager)]
    cgroup_manager: Option<Manager>,
    /// Make the cgroup in this one: a slice for systemd, else a path; no effect where there are no cgroups
    #[arg(long)]
    cgroup_parent: Option<String>,
    /// Whether to make a cgroup: "enabled" or "disabled"
    #[arg(long, value_parser = value::cgroups, default_value = "enabled", action = clap::ArgAction::Set)]
    cgroups: bool,
    /// Cgroup namespace: "private" or "host"
    #[arg(long)]
    cgroupns: Option<String>,
    /// Write the id of the container to this file
    #[arg(long)]
    pub cidfile: Option<PathBuf>,
    /// Look for descriptions of devices here (default /etc/cdi and /var/run/cdi)
    #[arg(long, value_name = "list")]
    cdi_spec_dir: Vec<PathBuf>,
    /// Give a device of the host (host[:container[:rwm]]), or one that is described (vendor.com/class=name)
    #[arg(long, value_parser = device::device)]
    device: Vec<device::Device>,
    /// Allow devices by number ("c 10:200 rwm")
    #[arg(long, value_parser = device::rule)]
    device_cgroup_rule: Vec<String>,
    /// Ask this name server
    #[arg(long, value_parser = network::name_server)]
    dns: Vec<String>,
    /// Set an option of the resolver
    #[arg(long, alias = "dns-opt", value_parser = network::resolver_option)]
    dns_option: Vec<String>,
    /// Search names in this domain
    #[arg(long, value_parser = network::search_domain)]
    dns_search: Vec<String>,
    /// NIS domain name of the container
    #[arg(long)]
    domainname: Option<String>,
    /// Run this instead of the image's entrypoint
    #[arg(long)]
    entrypoint: Option<String>,
    /// Set a variable (KEY=VALUE), or pass it on (KEY)
    #[arg(short, long, value_parser = environment::variable)]
    env: Vec<String>,
    /// Set the variables of a file
    #[arg(long)]
    env_file: Vec<PathBuf>,
    /// Give group ids inside those outside (inside:outside:size)
    #[arg(long)]
    gidmap: Vec<String>,
    /// Give GPUs: "all", a number, or "device=..."
    #[arg(long, value_name = "gpu-request", value_parser = device::gpus)]
    gpus: Vec<DeviceRequest>,
    /// Join another group
    #[arg(long)]
    group_add: Vec<String>,
    #[command(flatten)]
    health: HealthFlags,
    /// Host name of the container
    #[arg(short = 'h', long, value_parser = network::host_name)]
    hostname: Option<String>,
    /// Put an init before the program that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep stdin open
    #[arg(short, long)]
    pub interactive: bool,
    /// IPC namespace: "private", "none" or "host"
    #[arg(long)]
    ipc: Option<String>,
    /// Set a label
    #[arg(short, long, value_parser = environment::label)]
    label: Vec<(String, String)>,
    /// Set the labels of a file
    #[arg(long)]
    label_file: Vec<PathBuf>,
    /// Who keeps the log: "json-file", "local", "journald" or "none"
    #[arg(long)]
    log_driver: Option<String>,
    /// Set an option of the log driver (max-size=10m, ...)
    #[arg(long)]
    log_opt: Vec<String>,
    /// No effect: it exists in cgroup version 1 only
    #[arg(long, value_name = "int", value_parser = value::integer, hide = true)]
    memory_swappiness: Option<i64>,
    /// Mount a path of the host, a volume, memory or an image (type=bind,source=...,target=...)
    #[arg(long, value_name = "mount", value_parser = mount::mount)]
    mount: Vec<Request>,
    /// Name of the container
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    network: NetworkFlags,
    /// No effect: it exists in cgroup version 1 only
    #[arg(long, hide = true)]
    oom_kill_disable: bool,
    /// How soon it is killed when memory is short, from -1000 (never) to 1000
    #[arg(long, value_name = "int", value_parser = value::integer)]
    oom_score_adj: Option<i64>,
    /// PID namespace: a new one, or "host"
    #[arg(long)]
    pid: Option<String>,
    /// Take the image for this platform
    #[arg(long)]
    pub platform: Option<String>,
    /// Give all capabilities and all devices, confine nothing
    #[arg(long)]
    privileged: bool,
    /// Get the image first ("always", "missing", "newer", "never")
    #[arg(long, default_value = "missing", value_parser = value::pull)]
    pub pull: Pull,
    /// Say nothing of how the image is got
    #[arg(short, long)]
    pub quiet: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    resources: ResourceFlags,
    /// Start it again when it ends: "no", "on-failure[:max-retries]", "always", "unless-stopped"
    #[arg(long, default_value = "no", value_parser = value::restart_policy)]
    restart: RestartPolicy,
    /// Remove the container when it has ended
    #[arg(long)]
    rm: bool,
    /// Confine differently: no-new-privileges, seccomp=FILE, ...
    #[arg(long)]
    security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = value::bytes)]
    shm_size: Option<u64>,
    /// Signal that asks the program to end
    #[arg(long, value_parser = value::signal)]
    stop_signal: Option<String>,
    /// Seconds from that signal to SIGKILL
    #[arg(long, value_name = "int", value_parser = value::integer)]
    stop_timeout: Option<i64>,
    /// Limit what the container can write (size=10g)
    #[arg(long, value_parser = mount_point::storage_option)]
    storage_opt: Vec<(String, String)>,
    /// Take the group ids of this name in /etc/subgid
    #[arg(long)]
    subgidname: Option<String>,
    /// Take the user ids of this name in /etc/subuid
    #[arg(long)]
    subuidname: Option<String>,
    /// Set a kernel parameter that has a namespace
    #[arg(long, value_name = "map", value_parser = security::kernel_parameter)]
    sysctl: Vec<(String, String)>,
    /// Mount a file system in memory (/target:options)
    #[arg(long, value_parser = tmpfs::tmpfs)]
    tmpfs: Vec<(String, String)>,
    /// Give the program a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Give user ids inside those outside (inside:outside:size)
    #[arg(long)]
    uidmap: Vec<String>,
    /// Limit a resource of the program (name=soft:hard)
    #[arg(long, value_name = "ulimit", value_parser = security::ulimit)]
    ulimit: Vec<Ulimit>,
    /// Run as this user (name or uid, with :group)
    #[arg(short, long)]
    user: Option<String>,
    /// User namespace: "host", "auto", "keep-id", "nomap", "container:<name|id>" or "ns:<path>"
    #[arg(long, default_value = "", hide_default_value = true)]
    userns: UserNamespace,
    /// UTS namespace: a new one, or "host"
    #[arg(long)]
    uts: Option<String>,
    /// Pull the image, and insist on a signature by the key in this file, or else by one that the policy names
    #[arg(long, value_name = "file", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub verify: Option<String>,
    /// Mount a path of the host or a volume ([source:]target[:options])
    #[arg(short, long)]
    volume: Vec<String>,
    /// Who keeps the volumes: "local"
    #[arg(
        long,
        value_name = "string",
        default_value = "",
        hide_default_value = true
    )]
    volume_driver: String,
    /// Mount what these containers have mounted (container[:ro|rw])
    #[arg(long, value_parser = volume::volumes_from)]
    volumes_from: Vec<String>,
    /// Directory to start in
    #[arg(short, long)]
    workdir: Option<String>,
}

impl CreateFlags {
    /// The plain values; files are read and contradictions refused here. Some flags may stand before the command too.
    pub fn into_options(self, mut words: Vec<String>, globals: &Globals) -> Result<Options> {
        self.refuse_contradictions()?;
        let command = words.split_off(1);
        let (ipc, uts) = (ipc_mode(self.ipc)?, own_or_host("uts", self.uts)?);
        if uts == Namespace::Host && (self.hostname.is_some() || self.domainname.is_some()) {
            return Err(bad_input("conflicting options: hostname and the UTS mode").into());
        }
        let mut labels = environment::labels_of_files(&self.label_file)?;
        labels.extend(self.label);
        let (healthcheck, health_on_failure) = self.health.into_options()?;
        let (devices, device_requests) = devices(self.device, self.gpus);
        let memory = self.tmpfs.iter().map(|(target, _)| target.as_str());
        let mounts = mount_point::all(&self.volume, self.mount, memory, &self.volume_driver)?;
        let mut options = Options {
            image: words.remove(0),
            command,
            name: self.name.filter(|name| !name.is_empty()),
            auto_remove: self.rm,
            restart: self.restart,
            interactive: self.interactive,
            stdin_once: self.interactive && attaches(&self.attach, Stream::In),
            tty: self.tty,
            env: environment::variables(&self.env_file, self.env)?,
            working_dir: self.workdir.filter(|path| !path.is_empty()),
            user: self.user.filter(|user| !user.is_empty()),
            entrypoint: self.entrypoint,
            hostname: self.hostname.filter(|name| !name.is_empty()),
            domainname: self.domainname.filter(|name| !name.is_empty()),
            extra_hosts: self.add_host,
            dns: self.dns,
            dns_search: self.dns_search,
            dns_options: self.dns_option,
            labels,
            annotations: self.annotation.into_iter().collect(),
            read_only: self.read_only,
            tmpfs: self.tmpfs.into_iter().collect(),
            mounts,
            volumes_from: self.volumes_from,
            volume_driver: self.volume_driver,
            storage_size: mount_point::storage_size(&self.storage_opt)?,
            storage_options: self.storage_opt.into_iter().collect(),
            shm_size: self.shm_size.filter(|bytes| *bytes > 0),
            init: self.init,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            uts,
            ipc,
            pid: own_or_host("pid", self.pid)?,
            cgroupns: own_or_host("cgroupns", self.cgroupns)?,
            cgroups: Cgroups {
                disabled: !self.cgroups,
                manager: self.cgroup_manager.or(globals.cgroup_manager),
                parent: self.cgroup_parent.filter(|parent| !parent.is_empty()),
            },
            userns: self.userns,
            uidmap: self.uidmap,
            gidmap: self.gidmap,
            subuid_name: self.subuidname.filter(|name| !name.is_empty()),
            subgid_name: self.subgidname.filter(|name| !name.is_empty()),
            nested: None,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            security: security::security(&self.security_opt)?,
            privileged: self.privileged,
            devices,
            device_cgroup_rules: self.device_cgroup_rule,
            device_requests,
            cdi_spec_dirs: self.cdi_spec_dir,
            ulimits: self.ulimit,
            limits: self.resources.limits.unwrap_or_default(),
            resources: Resources {
                memory_swappiness: self.memory_swappiness,
                oom_kill_disable: self.oom_kill_disable,
                ..self.resources.into_resources()
            },
            oom_score_adj: self.oom_score_adj.unwrap_or_default(),
            sysctls: self.sysctl.into_iter().collect(),
            group_add: self.group_add,
            platform: self.platform,
            cidfile: self.cidfile,
            log: Log {
                driver: self.log_driver.unwrap_or_default(),
                options: self.log_opt.iter().map(|text| log_option(text)).collect(),
            },
            healthcheck,
            health_on_failure,
            ..Options::default()
        };
        self.network.into_options(&mut options)?;
        refuse_sysctls_of_the_host(&options)?;
        Ok(options)
    }

    fn refuse_contradictions(&self) -> Result<(), Error> {
        if self.rm && self.restart != RestartPolicy::No {
            return Err(bad_input(
                "conflicting options: cannot specify both --restart and --rm",
            ));
        }
        if let Some(directory) = self
            .workdir
            .as_ref()
            .filter(|path| !path.is_empty() && !path.starts_with('/'))
        {
            let message = format!(
                "the working directory '{directory}' is invalid, it needs to be an absolute path"
            );
            return Err(bad_input(message));
        }
        Ok(())
    }
}

/// `--device` and `--gpus`: those that are described are one request, as in Docker.
fn devices(
    devices: Vec<device::Device>,
    gpus: Vec<DeviceRequest>,
) -> (Vec<DeviceMapping>, Vec<DeviceRequest>) {
    let (mut mappings, mut names) = (Vec::new(), Vec::new());
    for device in devices {
        match device {
            device::Device::Mapping(mapping) => mappings.push(mapping),
            device::Device::Qualified(name) => names.push(name),
        }
    }
    let mut requests = gpus;
    if !names.is_empty() {
        requests.push(DeviceRequest {
            driver: "cdi".to_owned(),
            device_ids: names,
            ..DeviceRequest::default()
        });
    }
    (mappings, requests)
}

/// Without `-a`, all streams that there are.
pub fn attaches(attach: &[Stream], stream: Stream) -> bool {
    attach.is_empty() || attach.contains(&stream)
}

/// `--log-opt`: as in Docker, an option without a value has an empty one.
fn log_option(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.to_owned(), value.to_owned())
}
