//! The file format of the Container Device Interface: JSON or YAML, read strictly. A field that is not known could be
//! the one without which the device does not work.

use crate::error::bad_input;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Versions of the specification that are understood.
const VERSIONS: [&str; 8] = [
    "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Specification {
    cdi_version: String,
    /// `vendor/class`.
    pub kind: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    pub devices: Vec<Device>,
    /// For each container that gets one of the devices.
    #[serde(default, deserialize_with = "nullable")]
    pub container_edits: Edits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Device {
    pub name: String,
    #[serde(default, deserialize_with = "nullable")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    pub container_edits: Edits,
}

/// What a container needs.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Edits {
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub device_nodes: Vec<DeviceNode>,
    #[serde(deserialize_with = "nullable")]
    pub net_devices: Vec<Value>,
    #[serde(deserialize_with = "nullable")]
    pub hooks: Vec<Hook>,
    #[serde(deserialize_with = "nullable")]
    pub mounts: Vec<Mount>,
    pub intel_rdt: Option<Value>,
    #[serde(deserialize_with = "nullable")]
    pub additional_gids: Vec<u32>,
}

/// A node in the container.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DeviceNode {
    pub path: String,
    #[serde(default)]
    pub host_path: Option<String>,
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub major: Option<i64>,
    #[serde(default)]
    pub minor: Option<i64>,
    #[serde(default)]
    pub file_mode: Option<u32>,
    #[serde(default)]
    pub permissions: Option<String>,
    #[serde(default)]
    pub uid: Option<u32>,
    #[serde(default)]
    pub gid: Option<u32>,
}

/// A mount in the container.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Mount {
    pub host_path: String,
    pub container_path: String,
    #[serde(default, deserialize_with = "nullable")]
    pub options: Vec<String>,
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// A program that a runtime with hooks would run.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Hook {
    pub hook_name: String,
    pub path: String,
    #[serde(default, deserialize_with = "nullable")]
    pub args: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub env: Vec<String>,
    #[serde(default)]
    pub timeout: Option<i64>,
}

/// Null stands for nothing.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a file; `None` if its name is not that of a description.
pub(super) fn read(path: &Path) -> Option<Result<Specification>> {
    let json = match path.extension()?.to_str()? {
        "json" => true,
        "yaml" => false,
        _ => return None,
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Some(Err(error.into())),
    };
    Some(parse(&text, json))
}

/// Reads and checks a text.
pub(super) fn parse(text: &str, json: bool) -> Result<Specification> {
    let specification: Specification = if json {
        serde_json::from_str(text)?
    } else {
        // The format's own readers know the modes of YAML 1.1, `0666`.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| bad_input(one_line(&error.to_string())))?
    };
    specification.check()?;
    Ok(specification)
}

/// The first line of a message that goes on with a picture of the place.
fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

impl Specification {
    fn check(&self) -> Result<()> {
        let version = self.cdi_version.trim_start_matches('v');
        let known = VERSIONS.iter().position(|known| *known == version);
        let known = known.with_context(|| format!("unknown CDI version `{}`", self.cdi_version))?;
        if !is_kind(&self.kind) {
            bail!("the kind `{}` is not `vendor/class`", self.kind);
        }
        if self.devices.is_empty() {
            bail!("it describes no device");
        }
        self.container_edits.check()?;
        for device in &self.devices {
            if !is_name(&device.name) {
                bail!("`{}` is no name of a device", device.name);
            }
            if device.container_edits == Edits::default() {
                bail!("the device `{}` changes nothing", device.name);
            }
            device
                .container_edits
                .check()
                .with_context(|| format!("the device `{}`", device.name))?;
            let same = self.devices.iter().filter(|one| one.name == device.name);
            if same.count() > 1 {
                bail!("there are two devices `{}`", device.name);
            }
        }
        let needed = VERSIONS.iter().position(|known| *known == self.needed());
        if needed > Some(known) {
            bail!("the spec version must be at least v{}", self.needed());
        }
        Ok(())
    }

    /// The first version that has all that is used.
    fn needed(&self) -> &'static str {
        let own = [&self.container_edits].into_iter();
        let of_devices = self.devices.iter().map(|device| &device.container_edits);
        let edits: Vec<&Edits> = own.chain(of_devices).collect();
        let any = |uses: fn(&Edits) -> bool| edits.iter().any(|edits| uses(edits));
        let class = self.kind.split('/').nth(1).unwrap_or_default();
        let annotated = self.devices.iter().any(|one| !one.annotations.is_empty());
        let number = |one: &Device| one.name.starts_with(|first: char| first.is_ascii_digit());
        if any(|edits| !edits.net_devices.is_empty()) {
            "1.1.0"
        } else if any(|edits| edits.intel_rdt.is_some() || !edits.additional_gids.is_empty()) {
            "0.7.0"
        } else if annotated || !self.annotations.is_empty() || class.contains('.') {
            "0.6.0"
        } else if self.devices.iter().any(number)
            || any(|edits| edits.device_nodes.iter().any(|one| one.host_path.is_some()))
        {
            "0.5.0"
        } else if any(|edits| edits.mounts.iter().any(|mount| mount.kind.is_some())) {
            "0.4.0"
        } else {
            "0.3.0"
        }
    }
}

impl Edits {
    fn check(&self) -> Result<()> {
        for entry in &self.env {
            if entry.find('=').is_none_or(|place| place == 0) {
                bail!("invalid environment variable `{entry}`");
            }
        }
        for node in &self.device_nodes {
            node.check()?;
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() || mount.container_path.is_empty() {
                bail!("a mount lacks its path");
            }
        }
        for hook in &self.hooks {
            let name = hook.hook_name.as_str();
            let known = [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ];
            if !known.contains(&name) {
                bail!("invalid hook name `{name}`");
            }
            if hook.path.is_empty() {
                bail!("the hook `{name}` lacks its path");
            }
        }
        Ok(())
    }
}

impl DeviceNode {
    fn check(&self) -> Result<()> {
        let path = &self.path;
        let kind = self.kind.as_deref().unwrap_or_default();
        let permissions = self.permissions.as_deref().unwrap_or_default();
        if path.is_empty() {
            bail!("a device node lacks its path");
        }
        if !["", "b", "c", "u", "p"].contains(&kind) {
            bail!("the node `{path}` has the unknown type `{kind}`");
        }
        if [self.major, self.minor]
            .iter()
            .flatten()
            .any(|number| *number < 0)
        {
            bail!("the node `{path}` has a negative number");
        }
        if permissions != "none" && permissions.chars().any(|one| !"rwm".contains(one)) {
            bail!("the node `{path}` has the unknown permissions `{permissions}`");
        }
        Ok(())
    }
}

/// `vendor/class`: both begin with a letter and end with a letter or digit.
pub(super) fn is_kind(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic()) && consists_of(part, "_-.")
    };
    text.split_once('/')
        .is_some_and(|(vendor, class)| part(vendor) && part(class))
}

/// The name of a device: begins and ends with a letter or digit.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && consists_of(text, "_-.:")
}

fn consists_of(text: &str, others: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || others.contains(letter))
}
