//! What a worker is asked for and what it answers, as it goes over its channel. Everything is expanded and looked up:
//! a worker knows no Dockerfile, no stages and no cache.

use crate::build::copy::plan::{Plan, Selector};
use crate::container::options::{ExtraHost, Ulimit};
use crate::container::resources::Resources;
use crate::image::config::chain_id;
use crate::image::digest::Digest;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Files that a step begins with: layers of the store, lowest first, with the ids that their tars have.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Layers {
    /// The digests of their tars.
    pub diff_ids: Vec<Digest>,
    /// Their names in the store.
    pub names: Vec<String>,
}

impl Layers {
    /// All of them by one digest.
    pub fn chain(&self) -> Option<Digest> {
        let above = |below: Option<Digest>, diff_id| Some(chain_id(below.as_ref(), diff_id));
        self.diff_ids.iter().fold(None, above)
    }
}

/// A step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Runs a program; what it has written becomes a layer.
    Run(Box<Run>),
    /// Makes a layer of files.
    Copy(Box<Copy>),
    /// Takes the digest of files of layers.
    Select(Box<Select>),
    /// Makes a directory with its parents, if it is not there (`WORKDIR`).
    Directory {
        /// Below it.
        base: Layers,
        /// Absolute and clean.
        path: String,
        /// `user[:group]` as in the image's config; empty: root.
        owner: String,
        /// Seconds since 1970: no file is later.
        epoch: i64,
    },
    /// Takes in a layer that another machine has made: its blob comes through the descriptor that was handed over.
    Layer {
        /// Below it.
        base: Layers,
        /// The digest of its tar.
        diff_id: Digest,
        /// The digest of the blob.
        blob: Digest,
        /// The length of that in bytes.
        size: u64,
    },
}

/// `RUN`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Below it.
    pub base: Layers,
    /// Program and arguments.
    pub words: Vec<String>,
    /// `KEY=VALUE`, whole.
    pub environment: Vec<String>,
    /// Absolute.
    pub working_directory: String,
    /// `user[:group]`, empty for root.
    pub user: String,
    /// In their order.
    pub mounts: Vec<Mount>,
    /// Where it is.
    pub network: Network,
    /// `--security=insecure`: all capabilities, no filter.
    pub insecure: bool,
    /// CDI names.
    pub devices: Vec<String>,
    /// Where descriptions of these lie, absolute; none: the usual places.
    pub device_directories: Vec<PathBuf>,
    /// `--add-host`.
    pub hosts: Vec<ExtraHost>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--memory` and its kin.
    pub resources: Resources,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
    /// Seconds since 1970: no file in the layer is later.
    pub epoch: i64,
}

/// The network of a step.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub enum Network {
    /// The default one.
    #[default]
    Default,
    /// Only loopback.
    None,
    /// The host's.
    Host,
    /// One by its name.
    Named(String),
}

/// What a step sees that does not get into its layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute and clean.
    pub target: String,
    /// What.
    pub source: Source,
    /// Cannot be written.
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// Files of layers. Where they may be written, what is written is gone with the step.
    Layers(Shown),
    /// A cache mount, whose place was handed over, locked as it has to be.
    Cache {
        /// The number of the descriptor.
        descriptor: usize,
        /// What it begins as, where it has no files yet.
        new: NewCache,
    },
    /// Memory, so many bytes at most; all of half the machine's without a number.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
    },
    /// A file that is never on a disk: a secret, or a program that stands in the Dockerfile.
    File {
        /// The number of the descriptor that it is read from.
        descriptor: usize,
        /// Whose it is.
        access: Access,
        /// Whether it may be a program.
        is_program: bool,
    },
    /// The socket of an agent, whose connections are passed on.
    Agent {
        /// The host's path of the socket.
        socket: String,
        /// Whose it is.
        access: Access,
    },
}

/// Files of layers, below a path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// Which.
    pub layers: Layers,
    /// Absolute in them.
    pub path: String,
}

/// Who may do what with a file of a step's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// What a new cache mount is. What is not said is as in its seed, or else 0755 and root's.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NewCache {
    /// The files that it begins with.
    pub seed: Option<Shown>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
}

/// `COPY`, `ADD`.
///
/// A worker calls `copy::write_layer(&order, &descriptors, &trees, below, out)`: `trees` has the merged root of each
/// [`Part::Layers`](crate::build::copy::plan::Part::Layers) in their order, `below` that of `base`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Copy {
    /// Below it; `None` for `--link`: what is there does not matter then.
    pub base: Option<Layers>,
    /// Seconds since 1970: no file in the layer is later.
    pub epoch: i64,
    /// What is copied where.
    pub plan: Plan,
}

/// Looks which files of layers a `COPY --from` means, and takes their digest: [`Answer::Selected`].
///
/// A worker calls `copy::select(&tree, &selector, …)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Select {
    /// Which layers.
    pub layers: Layers,
    /// Which files.
    pub selector: Selector,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The program has written this.
    Output {
        /// To standard error.
        error: bool,
        /// What.
        bytes: Vec<u8>,
    },
    /// To be told to the user.
    Warning(String),
    /// It is done: the layer that it has made, if anything has changed.
    Done(Option<Layer>),
    /// The files that were meant.
    Selected {
        /// Of contents, modes, owners, names, links and attributes, not of times.
        digest: Digest,
    },
    /// The program has ended like this.
    Exited {
        /// 128 + n for signal n.
        code: u8,
    },
    /// It could not be done.
    Failed {
        /// On one line.
        message: String,
        /// What to try.
        hint: Option<String>,
    },
}

/// A layer that was made and is in the store, taken in with [`crate::image::intake::Intake::cache_layers`]: it stays
/// although no image needs it yet.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Layer {
    /// The digest of its tar.
    pub diff_id: Digest,
    /// Its name in the store.
    pub name: String,
    /// Bytes of its files.
    pub size: u64,
}
