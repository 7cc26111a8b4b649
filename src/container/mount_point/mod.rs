//! The mounts of a container beside those that every one has: binds, volumes, memory, files of images.
//!
//! ```text
//! -v, --mount ──▶ Request ──create──▶ MountPoint (in the record) ──start──▶ Held descriptor + OCI mount ──▶ runtime
//! ```
//!
//! What was asked for ([`request`]) gets its names when the container is made ([`resolve`]). What has these names is
//! opened at each start ([`open`]), once for the mount itself: what the monitor has opened is what is mounted.

mod configuration;
pub mod describe;
mod fill;
mod open;
mod own_files;
mod ownership;
mod places;
pub mod request;
mod resolve;
pub mod volumes;

pub(super) use configuration::tmpfs_words;
pub(super) use fill::fill_new;
pub(super) use open::{InUse, Missing, enter, home, open, open_volume, takes_turns};
pub(super) use own_files::OWN_FILES;
pub(super) use ownership::announce;
pub use ownership::{fill, make_ready};
pub(super) use places::places;
pub use places::sweep;
pub(super) use resolve::resolve;

use super::engine::Engine;
use super::record::Record;
use super::user_namespace;
use crate::error::{self, Error};
use crate::id_mapping::Tier;
use crate::image::digest::Digest;
use crate::sys::descriptor;
use crate::volume;
use anyhow::Context;
use oci_spec::runtime::Mount;
use request::{Kind, Request, is_default};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One mount of a container, as its record keeps it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct MountPoint {
    /// What and where, with everything looked up: a volume has its name.
    #[serde(skip_serializing_if = "is_default")]
    pub request: Request,
    /// Which of [`super::options::Options::mounts`] it was.
    #[serde(skip_serializing_if = "is_default")]
    pub asked: Option<usize>,
    /// A volume that nobody has named: it goes with the last container that has it.
    #[serde(skip_serializing_if = "is_default")]
    pub anonymous: bool,
    /// Of files of an image: which one.
    #[serde(skip_serializing_if = "is_default")]
    pub image: Option<Digest>,
    /// Its layer directories, lowest first.
    #[serde(skip_serializing_if = "is_default")]
    pub layers: Vec<String>,
}

impl MountPoint {
    fn of(request: Request) -> Self {
        Self {
            anonymous: request.kind == Kind::Volume && request.source.is_empty(),
            request,
            ..Self::default()
        }
    }

    /// The name of the volume that it is of.
    pub fn volume(&self) -> Option<&str> {
        (self.request.kind == Kind::Volume).then_some(&self.request.source)
    }

    /// Where its files lie on the host; empty for memory and images.
    pub fn source(&self, engine: &Engine) -> PathBuf {
        match self.request.kind {
            Kind::Bind => PathBuf::from(&self.request.source),
            Kind::Volume => volume::data(&engine.paths, &self.request.source),
            Kind::Tmpfs | Kind::Image => PathBuf::new(),
        }
    }
}

/// Descriptors that a monitor has for other things than mounts, with some to spare.
const OTHERS: usize = 100;

/// Refuses more mounts than there can be descriptors: a mount is one until it is attached.
pub(super) fn check_count(points: &[MountPoint]) -> anyhow::Result<()> {
    let limit = descriptor::most().context("getrlimit")?;
    if (points.len() + OTHERS) as u64 <= limit {
        return Ok(());
    }
    let message = format!(
        "{} mounts need as many open files and {OTHERS} more, and this user may have {limit} (RLIMIT_NOFILE, hard)",
        points.len()
    );
    Err(Error::new(error::Kind::Denied, message)
        .hint("raise it: `ulimit -Hn` as root, `nofile` in /etc/security/limits.conf, or LimitNOFILE= of the systemd unit")
        .into())
}

/// The mounts that a record asks for, in the words of an OCI configuration.
pub(super) fn mounts(record: &Record, engine: &Engine) -> anyhow::Result<Vec<Mount>> {
    let nested = user_namespace::nested(&record.options, engine);
    let namespace = nested.as_ref().map(|nested| &nested.maps);
    let points = record.mounts.iter();
    let is_root = engine.mapping.tier == Tier::Root;
    points
        .map(|point| point.to_oci(point.source(engine), namespace, is_root))
        .collect()
}
