//! What one description changes in a container's configuration.

use super::format;
use super::hook;
use crate::container::device::{self, Device, Rest};
use crate::error::{Error, Kind, bad_input};
use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};
use std::path::{Path, PathBuf};

/// The changes that come with a device.
#[derive(Debug)]
pub struct Edits {
    /// The device that was asked for, and the file that describes it.
    origin: String,
    edits: format::Edits,
}

impl Edits {
    pub(super) fn new(device: &str, file: &Path, edits: format::Edits) -> Self {
        let origin = format!("the CDI device `{device}` of `{}`", file.display());
        Self { origin, edits }
    }

    /// `KEY=VALUE`.
    pub fn environment(&self) -> &[String] {
        &self.edits.env
    }

    /// Groups that the program joins.
    pub fn groups(&self) -> &[u32] {
        &self.edits.additional_gids
    }

    /// Its nodes, with what the file leaves open taken from the host.
    pub fn devices(&self) -> Result<Vec<Device>> {
        let devices = self.edits.device_nodes.iter().map(device);
        devices
            .collect::<Result<_>>()
            .with_context(|| format!("add {}", self.origin))
    }

    /// Its mounts.
    pub fn mounts(&self) -> Vec<Mount> {
        let mount = |mount: &format::Mount| {
            let mut made = Mount::default();
            made.set_destination(PathBuf::from(&mount.container_path));
            made.set_source(Some(PathBuf::from(&mount.host_path)));
            let kind = mount.kind.clone().filter(|kind| !kind.is_empty());
            let mut options = mount.options.clone();
            let binds = |option: &String| ["bind", "rbind"].contains(&option.as_str());
            if kind.is_none() && !options.iter().any(binds) {
                options.push("bind".to_owned());
            }
            made.set_typ(Some(kind.unwrap_or_else(|| "bind".to_owned())));
            made.set_options(Some(options));
            made
        };
        self.edits.mounts.iter().map(mount).collect()
    }

    /// What its hooks would do to files; what cannot be done is refused.
    pub fn files(&self, rest: &mut Rest) -> Result<()> {
        let missing = if self.edits.intel_rdt.is_some() {
            Some("Intel's resource director")
        } else if !self.edits.net_devices.is_empty() {
            Some("network interfaces of the host")
        } else {
            None
        };
        if let Some(missing) = missing {
            let message = format!("{} needs {missing}, which is not supported", self.origin);
            return Err(Error::new(Kind::Unsupported, message).into());
        }
        for wanted in &self.edits.hooks {
            hook::apply(wanted, &self.origin, rest)?;
        }
        Ok(())
    }
}

fn device(node: &format::DeviceNode) -> Result<Device> {
    let host = PathBuf::from(node.host_path.as_ref().unwrap_or(&node.path));
    let major = node.major.unwrap_or(0);
    let mut made = LinuxDevice::default();
    made.set_path(PathBuf::from(&node.path));
    let complete = node.kind.is_some() && major != 0;
    if !complete {
        let metadata = std::fs::metadata(&host)
            .with_context(|| format!("failed to stat CDI host device `{}`", host.display()))?;
        made = device::node(Path::new(&node.path), &metadata)
            .ok_or_else(|| bad_input(format!("`{}` is not a device node", host.display())))?;
    }
    let kind = match node.kind.as_deref() {
        None | Some("") => made.typ(),
        Some("b") => LinuxDeviceType::B,
        Some("p") => {
            let message = format!("the pipe `{}` is no device that is supported", node.path);
            return Err(Error::new(Kind::Unsupported, message).into());
        }
        Some(_) => LinuxDeviceType::C,
    };
    if !complete && kind != made.typ() {
        let message = format!("`{}` is a device of another type", host.display());
        return Err(bad_input(message).into());
    }
    made.set_typ(kind);
    if major != 0 {
        made.set_major(major);
        made.set_minor(node.minor.unwrap_or(0));
    }
    // Unlike a device that a user names, one that is described belongs to root and is for everybody.
    made.set_file_mode(Some(node.file_mode.unwrap_or(0o666)));
    made.set_uid(Some(node.uid.unwrap_or(0)));
    made.set_gid(Some(node.gid.unwrap_or(0)));
    let access = match node.permissions.as_deref() {
        None | Some("") => "rwm",
        Some("none") => "",
        Some(letters) => letters,
    };
    Ok(Device {
        host,
        node: made,
        access: access.to_owned(),
    })
}
