//! Settings: what an administrator or a user fixes for all commands. Not what a single command is told.
//!
//! Read from `/etc/onggi/settings.json`, then `$XDG_CONFIG_HOME/onggi/settings.json` (`~/.config/…`), then the
//! environment; later ones win. A setting `layer-max-bytes` is the JSON key of that name and the variable
//! `ONGGI_LAYER_MAX_BYTES`; a dot becomes `_` as well.

use crate::error::bad_input;
use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

/// All settings there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `layer-max-bytes`: the most that one layer may unpack to, in bytes.
    pub layer_max_bytes: u64,
    /// `layer-devices`: `refuse` or `skip` device nodes that may not be made.
    pub layer_skip_devices: bool,
    /// `layer-absolute-names`: `refuse`, or `accept` names that start with `/` as relative to the root.
    pub layer_absolute_names: bool,
    /// `log-driver`: who keeps the log of a container that names no driver.
    pub log_driver: String,
    /// `log-opts`: options of that driver, a JSON object of texts as in Docker's `daemon.json`.
    pub log_options: BTreeMap<String, String>,
    /// `cgroup-manager`: who makes the cgroup of a container that does not say; `auto`: whoever is there.
    pub cgroup_manager: String,
    /// `network`: the network of containers that name none.
    pub network: String,
    /// `storage.keep-blobs`: whether compressed layers are kept beside what was unpacked of them.
    pub keep_blobs: bool,
    /// `registry-timeout`: how long a registry may say nothing, in seconds.
    pub registry_timeout: Duration,
    /// `image-stores`: data directories of other stores whose images are used, in this order; in the variable separated
    /// by colons.
    pub image_stores: Vec<PathBuf>,
    /// `storage.max-size`: the most that the layers of all images may take, in bytes, before images that were not used
    /// for longest go.
    pub storage_max_size: Option<u64>,
    /// `default-address-pools`: where the subnets of networks come from that name none, as in Docker's `daemon.json`; a
    /// family that has none gets the usual ones.
    pub address_pools: Vec<AddressPool>,
}

/// A block of addresses that is given out in pieces.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressPool {
    /// All of it.
    pub base: IpNet,
    /// The length of the prefix of a piece.
    pub size: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layer_max_bytes: 64 << 30,
            layer_skip_devices: false,
            layer_absolute_names: false,
            log_driver: "json-file".to_owned(),
            log_options: BTreeMap::new(),
            cgroup_manager: "auto".to_owned(),
            network: "bridge".to_owned(),
            keep_blobs: false,
            registry_timeout: Duration::from_secs(60),
            image_stores: Vec::new(),
            storage_max_size: None,
            address_pools: Vec::new(),
        }
    }
}

impl Settings {
    /// What the files and the environment say.
    pub fn load() -> Result<Self> {
        let mut settings = Self::default();
        let mut files = vec![PathBuf::from("/etc/onggi/settings.json")];
        files.extend(user_directory().map(|directory| directory.join("onggi/settings.json")));
        for path in files {
            match std::fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                text => {
                    let text = text.with_context(|| format!("read `{}`", path.display()))?;
                    let values: Map<String, Value> =
                        serde_json::from_slice(&text).map_err(|error| {
                            bad_input(format!(
                                "`{}` is not a JSON object: {error}",
                                path.display()
                            ))
                        })?;
                    for (key, value) in values {
                        let value = match &value {
                            Value::String(text) => text.clone(),
                            Value::Array(texts) if texts.iter().all(Value::is_string) => {
                                let texts = texts.iter().filter_map(Value::as_str);
                                texts.collect::<Vec<_>>().join(":")
                            }
                            value => value.to_string(),
                        };
                        settings
                            .set(&key, &value)
                            .with_context(|| format!("read `{}`", path.display()))?;
                    }
                }
            }
        }
        for key in [
            "layer-max-bytes",
            "layer-devices",
            "layer-absolute-names",
            "log-driver",
            "log-opts",
            "cgroup-manager",
            "network",
            "registry-timeout",
            "storage.keep-blobs",
            "image-stores",
            "storage.max-size",
            "default-address-pools",
        ] {
            let variable = format!("ONGGI_{}", key.to_uppercase().replace(['-', '.'], "_"));
            if let Ok(value) = std::env::var(&variable) {
                settings
                    .set(key, &value)
                    .with_context(|| format!("read the variable `{variable}`"))?;
            }
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| {
            bad_input(format!("setting `{key}` is `{value}`, expected {expected}"))
        };
        match (key, value) {
            ("layer-max-bytes", _) => {
                self.layer_max_bytes = value.parse().map_err(|_| wrong("a number of bytes"))?
            }
            ("layer-devices", "refuse" | "skip") => self.layer_skip_devices = value == "skip",
            ("layer-devices", _) => return Err(wrong("`refuse` or `skip`").into()),
            ("layer-absolute-names", "refuse" | "accept") => {
                self.layer_absolute_names = value == "accept"
            }
            ("layer-absolute-names", _) => return Err(wrong("`refuse` or `accept`").into()),
            ("log-driver", _) => value.clone_into(&mut self.log_driver),
            ("log-opts", _) => {
                self.log_options = serde_json::from_str(value)
                    .map_err(|_| wrong("a JSON object of texts, as {\"max-size\":\"10m\"}"))?;
            }
            ("cgroup-manager", "auto" | "systemd" | "cgroupfs") => {
                value.clone_into(&mut self.cgroup_manager)
            }
            ("cgroup-manager", _) => {
                return Err(wrong("`auto`, `systemd` or `cgroupfs`").into());
            }
            ("network", "") => return Err(wrong("the name of a network, `none` or `host`").into()),
            ("network", _) => value.clone_into(&mut self.network),
            ("registry-timeout", _) => match value.parse() {
                Ok(seconds @ 1..) => self.registry_timeout = Duration::from_secs(seconds),
                _ => return Err(wrong("a number of seconds above 0").into()),
            },
            ("storage.keep-blobs", "true" | "false") => self.keep_blobs = value == "true",
            ("storage.keep-blobs", _) => return Err(wrong("`true` or `false`").into()),
            ("image-stores", _) => {
                let stores: Vec<PathBuf> = std::env::split_paths(value).collect();
                if !stores.iter().all(|store| store.is_absolute()) && !value.is_empty() {
                    return Err(wrong("absolute paths of directories").into());
                }
                self.image_stores = stores
                    .into_iter()
                    .filter(|store| store.is_absolute())
                    .collect();
            }
            ("storage.max-size", "") => self.storage_max_size = None,
            ("storage.max-size", _) => {
                let bytes = bytes(value).ok_or_else(|| wrong("a size, as 20GB or 20GiB"))?;
                self.storage_max_size = Some(bytes);
            }
            ("default-address-pools", _) => {
                self.address_pools = pools(value).ok_or_else(|| {
                    wrong("a JSON array of pools, as [{\"base\":\"10.10.0.0/16\",\"size\":24}]")
                })?;
            }
            _ => return Err(bad_input(format!("there is no setting `{key}`")).into()),
        }
        Ok(())
    }
}

/// Pools whose pieces are parts of them.
fn pools(text: &str) -> Option<Vec<AddressPool>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let pools: Vec<AddressPool> = serde_json::from_str(text).ok()?;
    let is_right = |pool: &AddressPool| {
        let pieces = pool.base.prefix_len()..=pool.base.max_prefix_len();
        pool.base == pool.base.trunc() && pieces.contains(&pool.size)
    };
    pools.iter().all(is_right).then_some(pools)
}

/// `500MB`, `20g`, `1.5TiB`: powers of 1000, those of 1024 where the unit has an `i`.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (unit, base) = match unit.strip_suffix('i') {
        Some(unit) => (unit, 1024f64),
        None => (unit, 1000f64),
    };
    let power = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|known| *known == unit)?;
    let bytes = number.parse::<f64>().ok()? * base.powi(i32::try_from(power).ok()?);
    (bytes >= 0.0 && bytes < u64::MAX as f64).then_some(bytes as u64)
}

fn user_directory() -> Option<PathBuf> {
    match std::env::var_os("XDG_CONFIG_HOME") {
        Some(directory) if !directory.is_empty() => Some(directory.into()),
        _ => std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("20GB", Some(20_000_000_000)),
            ("20g", Some(20_000_000_000)),
            ("1.5 MiB", Some(3 << 19)),
            ("4096", Some(4096)),
            ("0", Some(0)),
            ("GB", None),
            ("1XB", None),
            ("-1", None),
            ("1.2.3k", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn values_are_checked() {
        let mut settings = Settings::default();
        settings.set("layer-max-bytes", "10").unwrap();
        settings.set("layer-devices", "skip").unwrap();
        let pools = "[{\"base\":\"10.0.0.0/16\",\"size\":24},{\"base\":\"fd00::/48\",\"size\":64}]";
        settings.set("default-address-pools", pools).unwrap();
        assert_eq!(settings.address_pools.len(), 2);
        assert_eq!(
            (settings.layer_max_bytes, settings.layer_skip_devices),
            (10, true)
        );
        for (key, value) in [
            ("layer-max-bytes", "many"),
            ("layer-devices", "x"),
            ("log-opts", "{\"max-file\":3}"),
            ("cgroup-manager", "x"),
            ("registry-timeout", "0"),
            ("storage.keep-blobs", "yes"),
            ("image-stores", "relative"),
            ("storage.max-size", "much"),
            ("default-address-pools", "10.0.0.0/8"),
            (
                "default-address-pools",
                "[{\"base\":\"10.0.0.0/16\",\"size\":8}]",
            ),
            (
                "default-address-pools",
                "[{\"base\":\"10.0.0.1/16\",\"size\":24}]",
            ),
            ("default-address-pools", "[{\"base\":\"10.0.0.0/16\"}]"),
            ("nope", "1"),
        ] {
            assert!(settings.set(key, value).is_err(), "{key}");
        }
    }
}
