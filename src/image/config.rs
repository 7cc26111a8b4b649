//! The config of an image (OCI config.md, with Docker's fields beside it): what it was made for and of, and how
//! its program is started.
//!
//! Only for reading and for making new images: what was loaded stays on disk byte for byte, since its digest is
//! the image's id. Docker writes `null` where a field is empty; that reads as empty. A field of another type
//! than the specification says is an error.

use super::digest::Digest;
use super::platform::Platform;
use crate::error::bad_input;
use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// The whole config.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Config {
    /// As in GOARCH.
    #[serde(default, deserialize_with = "or_empty")]
    pub architecture: String,
    /// As in GOOS.
    #[serde(default, deserialize_with = "or_empty")]
    pub os: String,
    /// Of the architecture, as in `v7`.
    #[serde(
        default,
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(
        default,
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// Docker: what the maker had to say.
    #[serde(
        default,
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// Docker: which version made it.
    #[serde(
        default,
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub docker_version: String,
    /// How the program is started.
    #[serde(default, deserialize_with = "or_empty")]
    pub config: Execution,
    /// Its layers; must be there.
    pub rootfs: RootFs,
    /// One entry for each step that made it.
    #[serde(default, deserialize_with = "or_empty")]
    pub history: Vec<History>,
}

/// Execution parameters, the base of a container's own (config.md, "config").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// Docker: host name; empty is "made from the container's id".
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub hostname: String,
    /// Docker: NIS domain name.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub domainname: String,
    /// `user[:group]`, by name or number.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// `80/tcp` and the like.
    #[serde(with = "keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `KEY=VALUE`.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program with its first arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Arguments of the entrypoint, or the program where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Directories whose content outlives the container.
    #[serde(with = "keys", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Directory the program starts in.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Free words.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to end.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// Docker: seconds between that signal and SIGKILL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker: how to see whether it does its work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: the shell for the shell form of commands.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Docker: instructions for whoever builds on this image.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker, Windows only: the command is one escaped line.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub args_escaped: bool,
}

/// Docker's health check; durations in nanoseconds, 0 is "inherit".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long one may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long failures do not count after the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between two checks during that period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers by the digests of their uncompressed tars.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Lowest first.
    #[serde(default, deserialize_with = "or_empty")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        }
    }
}

impl RootFs {
    /// The chain ids of the layers, lowest first.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut ids: Vec<Digest> = Vec::new();
        for diff_id in &self.diff_ids {
            ids.push(chain_id(ids.last(), diff_id));
        }
        ids
    }
}

/// Names a layer together with all below it (config.md, "Layer ChainID").
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
    }
}

/// One step of making the image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// Who.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// What they had to say.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// The step made no layer.
    #[serde(
        deserialize_with = "or_empty",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub empty_layer: bool,
}

impl Config {
    /// Reads a config and checks what the types do not say: the kind of root file system and the times.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        // A list would do as well for the derived reader: it takes the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(bad_input("it is no JSON object").into());
        }
        let config: Self =
            serde_json::from_slice(bytes).map_err(|error| bad_input(error.to_string()))?;
        if config.rootfs.kind != "layers" {
            let kind = &config.rootfs.kind;
            return Err(bad_input(format!(
                "rootfs.type is `{kind}`, only `layers` is supported"
            ))
            .into());
        }
        for time in
            std::iter::once(&config.created).chain(config.history.iter().map(|step| &step.created))
        {
            parse_time(time.as_deref())?;
        }
        Ok(config)
    }

    /// When it was made, if it says so.
    pub fn created(&self) -> Option<Timestamp> {
        parse_time(self.created.as_deref()).ok().flatten()
    }

    /// What it was made for.
    pub fn platform(&self) -> Platform {
        Platform::new(&self.os, &self.architecture, &self.variant)
    }
}

/// Reads RFC 3339; absent and empty are "not said".
pub fn parse_time(text: Option<&str>) -> Result<Option<Timestamp>> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => match text.parse() {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(bad_input(format!("`{text}` is no time in the form of RFC 3339")).into()),
        },
    }
}

fn or_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A set that Go writes as an object with empty objects for values.
mod keys {
    use super::*;
    use serde::de::IgnoredAny;
    use serde_json::{Map, Value};

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map: Option<BTreeMap<String, IgnoredAny>> = Option::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }

    pub fn serialize<S: Serializer>(
        set: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|key| (key, Value::Object(Map::new()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_dockers_fields_are_read() {
        let text = r#"{"architecture":"arm","variant":"v7","os":"linux","created":"2023-01-03T00:58:00.044374661Z",
            "author":null,"container":"b2","history":null,"rootfs":{"type":"layers","diff_ids":null},
            "config":{"Hostname":"","User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":null,"Cmd":["/hello"],
            "Entrypoint":null,"Volumes":{"/data":{}},"Labels":null,"StopSignal":"SIGINT","OnBuild":["RUN x"],
            "Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000},"Unknown":7}}"#;
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(config.platform().to_string(), "linux/arm/v7");
        assert_eq!(
            config.config.cmd.as_deref(),
            Some(&["/hello".to_owned()][..])
        );
        assert!(
            config.config.exposed_ports.contains("80/tcp")
                && config.config.volumes.contains("/data")
        );
        assert_eq!(
            config.config.healthcheck.as_ref().unwrap().interval,
            5_000_000_000
        );
        let again: Execution =
            serde_json::from_value(serde_json::to_value(&config.config).unwrap()).unwrap();
        assert_eq!(again, config.config);
    }

    #[test]
    fn a_field_of_another_type_is_an_error_that_says_where() {
        for (text, part) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            ("{}", "missing field `rootfs`"),
            ("{\"os\":\"li", "EOF while parsing"),
            (
                r#"{"os":1}"#,
                "invalid type: integer `1`, expected a string",
            ),
            (r#"{"config":{"Env":"A=B"}}"#, "expected a sequence"),
            (r#"{"rootfs":{"type":"tree"}}"#, "rootfs.type is `tree`"),
            (
                r#"{"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#,
                "64 lower-case",
            ),
            (
                r#"{"created":"yesterday","rootfs":{"type":"layers"}}"#,
                "`yesterday` is no time",
            ),
            (r#"{"rootfs":{"type":"layers"}} {}"#, "trailing characters"),
        ] {
            let error = Config::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
