//! What a build is asked for and what comes of it, as plain values.

use super::source::Diagnostic;
use super::verify::Difference;
use super::worker::order::{Layers, Network};
use crate::container::options::{ExtraHost, Ulimit};
use crate::container::resources::Resources;
use crate::image::config::Config;
use crate::image::digest::Digest;
use crate::image::hold::Hold;
use crate::image::platform::Platform;
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// `--allow security.insecure`.
    pub allow_insecure: bool,
    /// `--check`: checks are made that need base images, whether anything is built or not.
    pub check: bool,
    /// Everything is built a second time, from nothing, and compared.
    pub verify: bool,
    /// Docker's client configuration, for pulls.
    pub configuration: Option<PathBuf>,
    /// Further options of pulls, as on the command line.
    pub pull_options: Vec<String>,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
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
    /// Keeps their layers in the store until somebody else needs them.
    pub hold: Hold,
}
