//! How healthy a container says it is: `containers/ID/health.json`, which its monitor writes after each probe and
//! readers read. The only place where `ps` and `inspect` take it from; not the prober itself.

use super::engine::Engine;
use super::record::Directory;
use crate::store::damage;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;

/// What is known of a container that has a health check, with Docker's names of the fields.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, oldest first.
    pub log: Vec<Probe>,
}

/// One probe.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Probe {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 is healthy.
    pub exit_code: i32,
    /// What it wrote.
    pub output: String,
}

impl Health {
    /// As it stands in `Up 2 hours (…)`.
    pub fn words(&self) -> String {
        match self.status.as_str() {
            "starting" => "health: starting".to_owned(),
            status => status.to_owned(),
        }
    }
}

/// The health of a container; `None` where it has no check. What is damaged is noted and unknown.
pub fn read(engine: &Engine, id: &str) -> Option<Health> {
    let path = Directory::of(engine, id).file("health.json");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        text => text.with_context(|| format!("read `{}`", path.display())),
    };
    let health: Result<Health> = text.and_then(|text| {
        Ok(serde_json::from_slice(&text).map_err(|error| damage::damaged(&path, error))?)
    });
    health
        .map_err(|error| {
            damage::note(
                format_args!("the health of container {id} is unknown"),
                &error,
            )
        })
        .ok()
}
