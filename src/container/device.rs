//! The devices of a container: those that its options name and those that specifications of the Container Device
//! Interface ([`super::cdi`]) describe become nodes or mounts, and rules for the filter of its control group.
//!
//! What the host has is looked at here, at each start; nothing is made.

use super::cdi;
use super::create;
use super::options::{DeviceMapping, Options};
use crate::cgroup::devices::{everybodys, rule};
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::Tier;
use crate::runtime::plan::FileEdit;
use anyhow::{Context, Result};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespaceType, Mount, Process, Spec,
};
use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// What the container makes of `/dev` itself, wherever nodes of these names come from.
const OWN: [&str; 12] = [
    "pts", "shm", "mqueue", "fd", "console", "null", "zero", "full", "random", "urandom", "tty",
    "ptmx",
];

/// One device that a container gets.
#[derive(Debug)]
pub struct Device {
    /// Where the host has it.
    pub host: PathBuf,
    /// What the container gets, with its own path.
    pub node: LinuxDevice,
    /// Some of `rwm`; with none of them it is there and cannot be opened.
    pub access: String,
}

/// What does not fit into a configuration.
#[derive(Debug, Default)]
pub struct Rest {
    /// Files that are made or changed in the container's root.
    pub edits: Vec<FileEdit>,
    /// What is not as it was asked for.
    pub warnings: Vec<String>,
}

/// Adds the devices to a configuration that is otherwise complete.
pub fn add(spec: &mut Spec, options: &Options, tier: Tier) -> Result<Rest> {
    let mut devices = Vec::new();
    if options.privileged {
        devices = host_devices();
    }
    for mapping in &options.devices {
        devices.extend(find(mapping)?);
    }
    let mut rest = Rest::default();
    let edits = cdi::resolve(&options.device_requests, &options.cdi_spec_dirs)?;
    for edits in &edits {
        devices.extend(edits.devices()?);
        edits.files(&mut rest)?;
        add_process(spec, edits)?;
        add_mounts(spec, edits.mounts());
    }
    // As in Docker, the last one that is to be at a place is.
    let mut kept: Vec<Device> = Vec::new();
    for device in devices {
        kept.retain(|known| known.node.path() != device.node.path());
        kept.push(device);
    }
    set_rules(spec, rules(options, &kept)?);
    place(spec, kept, tier);
    Ok(rest)
}

/// Nodes are made; where nobody may make them, in a user namespace, those of the host are bound.
fn place(spec: &mut Spec, devices: Vec<Device>, tier: Tier) {
    let Some(mut linux) = spec.linux().clone() else {
        return;
    };
    let mut namespaces = linux.namespaces().iter().flatten();
    let bound = tier != Tier::Root || namespaces.any(|one| one.typ() == LinuxNamespaceType::User);
    if bound {
        add_mounts(spec, devices.iter().map(bind).collect());
        linux.set_devices(Some(Vec::new()));
    } else {
        linux.set_devices(Some(devices.into_iter().map(|one| one.node).collect()));
    }
    spec.set_linux(Some(linux));
}

/// Lets nodes in `/dev` be opened, where a filter decides which.
pub fn open_nodes(spec: &mut Spec) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in &mut mounts {
        if mount.destination() == Path::new("/dev") {
            let mut options = mount.options().clone().unwrap_or_default();
            options.retain(|option| option != "nodev");
            mount.set_options(Some(options));
        }
    }
    spec.set_mounts(Some(mounts));
}

/// A mount that nothing can be run from; what the node itself allows stays.
fn bind(device: &Device) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(device.node.path().clone());
    mount.set_typ(Some("bind".to_owned()));
    mount.set_source(Some(device.host.clone()));
    let options = ["bind", "nosuid", "noexec"].map(str::to_owned);
    mount.set_options(Some(options.to_vec()));
    mount
}

/// Behind all others; what was to be at the same place is not.
fn add_mounts(spec: &mut Spec, new: Vec<Mount>) {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for mount in new {
        mounts.retain(|known| known.destination() != mount.destination());
        mounts.push(mount);
    }
    spec.set_mounts(Some(mounts));
}

fn add_process(spec: &mut Spec, edits: &cdi::Edits) -> Result<()> {
    let mut process: Process = spec.process().clone().context("there is no process")?;
    let mut environment = process.env().clone().unwrap_or_default();
    for entry in edits.environment() {
        create::set(&mut environment, entry);
    }
    process.set_env(Some(environment));
    let mut user = process.user().clone();
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    let wanted = edits.groups().iter().filter(|group| **group != 0);
    for group in wanted {
        if !groups.contains(group) {
            groups.push(*group);
        }
    }
    user.set_additional_gids(Some(groups));
    process.set_user(user);
    spec.set_process(Some(process));
    Ok(())
}

fn set_rules(spec: &mut Spec, rules: Vec<LinuxDeviceCgroup>) {
    let Some(mut linux) = spec.linux().clone() else {
        return;
    };
    let mut resources = linux.resources().clone().unwrap_or_default();
    resources.set_devices(Some(rules));
    linux.set_resources(Some(resources));
    spec.set_linux(Some(linux));
}

/// What the processes of a container may do with which devices; later rules win.
fn rules(options: &Options, devices: &[Device]) -> Result<Vec<LinuxDeviceCgroup>> {
    if options.privileged {
        return Ok(vec![rule(true, None, -1, -1, "rwm")]);
    }
    let mut rules = vec![rule(false, None, -1, -1, "rwm")];
    rules.extend(everybodys());
    rules.extend(devices.iter().map(|device| {
        let node = &device.node;
        let (major, minor) = (node.major(), node.minor());
        rule(true, Some(node.typ()), major, minor, &device.access)
    }));
    for text in &options.device_cgroup_rules {
        rules.push(written_rule(text)?);
    }
    Ok(rules)
}

/// `TYPE MAJOR:MINOR ACCESS`.
fn written_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || bad_input(format!("invalid device cgroup format '{text}'"));
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let [kind, major, minor, access] = words[..] else {
        return Err(wrong().into());
    };
    let number = |word: &str| match word {
        "*" => Ok(-1),
        word => word.parse().map_err(|_| wrong()),
    };
    let kind = match kind {
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => LinuxDeviceType::A,
    };
    Ok(rule(
        true,
        Some(kind),
        number(major)?,
        number(minor)?,
        access,
    ))
}

/// What is told of rules that the kernel cannot be made to keep to.
pub fn unenforced(options: &Options, why: &str) -> Vec<String> {
    if options.privileged {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    if !options.device_cgroup_rules.is_empty() {
        warnings.push(format!(
            "--device-cgroup-rule has no effect: {why}; a container has the devices that --device names"
        ));
    }
    let restricted = options
        .devices
        .iter()
        .filter(|device| !device.access.contains('r') || !device.access.contains('w'));
    warnings.extend(restricted.map(|device| {
        format!(
            "the access `{}` to `{}` is not enforced: {why}; the permissions of the file decide",
            device.access,
            device.container.display()
        )
    }));
    warnings
}

/// The node that is named, or all below the directory that is.
fn find(mapping: &DeviceMapping) -> Result<Vec<Device>> {
    let refused = |why: &str| {
        let path = mapping.host.display();
        Error::new(
            Kind::NotFound,
            format!(
                "error gathering device information while adding custom device \"{path}\": {why}"
            ),
        )
    };
    let resolved = std::fs::canonicalize(&mapping.host);
    let resolved = resolved.map_err(|error| refused(&reason(&error)))?;
    let metadata = std::fs::metadata(&resolved).map_err(|error| refused(&reason(&error)))?;
    let device = |host: PathBuf, container: &Path, metadata: &Metadata| {
        let node = node(container, metadata)?;
        let access = mapping.access.clone();
        Some(Device { host, node, access })
    };
    if !metadata.is_dir() {
        let found = device(resolved, &mapping.container, &metadata);
        return Ok(vec![found.ok_or_else(|| refused("not a device node"))?]);
    }
    let below = nodes_below(&resolved).into_iter();
    let found: Vec<Device> = below
        .filter_map(|(host, metadata)| {
            let name = host.strip_prefix(&resolved).ok()?;
            let container = mapping.container.join(name);
            (!is_own(&container)).then_some(())?;
            device(host, &container, &metadata)
        })
        .collect();
    match found.is_empty() {
        true => Err(refused("not a device node").into()),
        false => Ok(found),
    }
}

/// The kernel's words without its number.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

/// Whether the container has something of its own there.
fn is_own(path: &Path) -> bool {
    let name = path
        .strip_prefix("/dev")
        .ok()
        .and_then(|name| name.iter().next());
    name.is_some_and(|name| OWN.iter().any(|own| name == *own))
}

/// Every device node of the host, for `--privileged`.
fn host_devices() -> Vec<Device> {
    let nodes = nodes_below(Path::new("/dev")).into_iter();
    nodes
        .filter(|(path, _)| !is_own(path))
        .filter_map(|(host, metadata)| {
            let node = node(&host, &metadata)?;
            let access = "rwm".to_owned();
            Some(Device { host, node, access })
        })
        .collect()
}

/// All device nodes below a directory, in order; links are not followed.
fn nodes_below(directory: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        // What cannot be read is not the caller's to give away.
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = std::fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                directories.push(path);
            } else if kind(&metadata).is_some() {
                found.push((path, metadata));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Character or block device; `None` for everything else.
pub fn kind(metadata: &Metadata) -> Option<LinuxDeviceType> {
    use std::os::unix::fs::FileTypeExt;
    match metadata.file_type() {
        kind if kind.is_char_device() => Some(LinuxDeviceType::C),
        kind if kind.is_block_device() => Some(LinuxDeviceType::B),
        _ => None,
    }
}

/// The node that the container gets for one of the host.
pub fn node(path: &Path, metadata: &Metadata) -> Option<LinuxDevice> {
    use std::os::unix::fs::MetadataExt;
    let mut device = LinuxDevice::default();
    device.set_path(path.to_owned());
    device.set_typ(kind(metadata)?);
    device.set_major(i64::from(rustix::fs::major(metadata.rdev())));
    device.set_minor(i64::from(rustix::fs::minor(metadata.rdev())));
    device.set_file_mode(Some(metadata.mode() & 0o7777));
    device.set_uid(Some(metadata.uid()));
    device.set_gid(Some(metadata.gid()));
    Some(device)
}
