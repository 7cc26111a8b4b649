//! What a build is asked for and what comes of it, as plain values.

use super::cache::portable::Steps;
use super::output::material::Material;
use super::source::Diagnostic;
use super::verify::Difference;
use super::worker::order::{Layers, Network};
use crate::container::options::{ExtraHost, Ulimit};
use crate::container::resources::Resources;
use crate::error::{Error, bad_input};
use crate::image::config::Config;
use crate::image::digest::Digest;
use crate::image::hold::Hold;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::registry::Options;
use anyhow::{Context, Result};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What steps may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// `security.insecure`: all privileges of whoever builds.
    pub insecure: bool,
    /// `network.host`: the network of the host, with all that listens on its loopback interface alone.
    pub host_network: bool,
}

/// The argument, and the variable of the environment, that says how old everything is to be.
/// <https://reproducible-builds.org/specs/source-date-epoch/>
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A time that an image can have been made at, in seconds since 1970.
pub fn seconds(text: &str) -> Result<i64, Error> {
    let seconds = text.parse().ok();
    let seconds = seconds.filter(|&seconds| Timestamp::from_second(seconds).is_ok());
    seconds.ok_or_else(|| {
        bad_input(format!(
            "`{text}` is no number of seconds from 1970 to a time before the year 10000"
        ))
    })
}

/// What [`EPOCH`] says, nothing if it is empty.
pub fn epoch(text: &str) -> Result<Option<i64>, Error> {
    match text {
        "" => Ok(None),
        text => match seconds(text) {
            Ok(seconds) => Ok(Some(seconds)),
            Err(error) => Err(bad_input(format!("{EPOCH}: {}", error.message))),
        },
    }
}

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// A directory, an address, or `-` for standard input.
    pub context: String,
    /// `--file`; `-` for standard input.
    pub dockerfile: Option<String>,
    /// `--build-context`: name → directory, address, `docker-image://…`, `oci-layout://…`.
    pub contexts: BTreeMap<String, String>,
    /// `--target`: the name of a stage or its number; the last one otherwise.
    pub target: Option<String>,
    /// `--build-arg`, those taken from the environment with their values.
    pub arguments: BTreeMap<String, String>,
    /// `--platform`; none: this machine's.
    pub platforms: Vec<Platform>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--pull`: base images are looked for in their registries even if they are here.
    pub pull: bool,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages.
    pub no_cache_filter: Vec<String>,
    /// `SOURCE_DATE_EPOCH` of the environment, seconds since 1970; a build argument of that name wins.
    pub epoch: Option<i64>,
    /// How many steps run at the same time; `None`: as many as there are processors.
    pub jobs: Option<usize>,
    /// `--network`: of `RUN` steps that do not say.
    pub network: Network,
    /// `--add-host`.
    pub hosts: Vec<ExtraHost>,
    /// Where descriptions of devices lie, absolute; none: the usual places.
    pub device_directories: Vec<PathBuf>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--memory` and its kin.
    pub resources: Resources,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// `--ssh`: the sockets of agents, by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// `--allow`.
    pub allowed: Entitlements,
    /// `--check`: checks are made that need base images, whether anything is built or not.
    pub check: bool,
    /// Everything is built a second time, from nothing, and compared.
    pub verify: bool,
    /// Docker's client configuration, for pulls.
    pub configuration: Option<PathBuf>,
    /// Further options of pulls, as on the command line.
    pub pull_options: Vec<String>,
    /// `--cache-from`.
    pub cache_from: Vec<CacheSource>,
    /// `--cache-to type=inline`: the config of the image says what its steps have come to.
    pub inline_cache: bool,
}

/// A cache that another machine may have written.
#[derive(Clone, Debug)]
pub enum CacheSource {
    /// In a registry: a cache, or an image that holds one.
    Registry {
        /// With tag or digest.
        name: Reference,
        /// As it was written.
        typed: String,
        /// How that registry is spoken to.
        options: Box<Options>,
    },
    /// In a directory, as an OCI layout.
    Local {
        /// Where.
        path: PathBuf,
        /// What it is called there.
        tag: String,
        /// What it is, instead of what it is called.
        digest: Option<Digest>,
    },
}

impl fmt::Display for CacheSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { name, .. } => formatter.write_str(&name.canonical()),
            Self::Local { path, .. } => write!(formatter, "local:{}", path.display()),
        }
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl Secret {
    /// What it is; as with BuildKit, nothing at all for a variable that is not set.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => {
                let bytes = std::fs::read(path);
                bytes.with_context(|| format!("read the secret `{}`", path.display()))
            }
            Self::Variable(name) => Ok(std::env::var_os(name).unwrap_or_default().into_vec()),
        }
    }
}

/// An image as far as a build makes it: layers that are in the store, and a config.
#[derive(Debug)]
pub struct Built {
    /// What it is for.
    pub platform: Platform,
    /// Its layers.
    pub layers: Layers,
    /// Its config.
    pub config: Config,
    /// The same as it is written; its digest is the image's id.
    pub bytes: Vec<u8>,
    /// Seconds since 1970: when it was made.
    pub epoch: i64,
    /// What it was made of.
    pub materials: Vec<Material>,
}

impl Built {
    /// The image's id.
    pub fn id(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}

/// What came of a build.
#[derive(Debug)]
pub struct Outcome {
    /// One image for each platform that was asked for, in that order.
    pub images: Vec<Built>,
    /// What the checks have found, in the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// Where a second build differs, if one was asked for.
    pub differences: Vec<Difference>,
    /// This process is root of the store's user namespace now.
    pub entered: bool,
    /// What its steps have come to, for other machines.
    pub steps: Steps,
    /// Keeps their layers in the store until somebody else needs them.
    pub hold: Hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_time() {
        assert_eq!(epoch("").unwrap(), None);
        assert_eq!(epoch("12").unwrap(), Some(12));
        assert_eq!(epoch("-1").unwrap(), Some(-1));
        for wrong in ["now", "9223372036854775807", "300000000000", "1.5"] {
            assert!(epoch(wrong).is_err(), "{wrong}");
        }
    }
}
