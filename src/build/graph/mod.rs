//! Stages and their instructions as a graph: nodes that make files, each with the nodes that it needs.
//!
//! ```text
//! stages ─ needed ─▶ base images ─ evaluate ─▶ nodes, one config for each target ─ schedule ─▶ layers
//! ```
//!
//! Instructions that make no files alter the config alone, and that is known before anything runs. What is not known is
//! which layers come of a node and when they were made: the history refers to nodes.
//!
//! Invariant: a node needs only nodes with smaller numbers.

pub mod base;
pub mod command;
pub mod contexts;
pub mod draft;
pub mod emulator;
pub mod evaluate;
pub mod files;
pub mod gather;
pub mod instruct;
pub mod key;
pub mod orders;
pub mod platform;
pub mod schedule;
pub mod scope;
pub mod selected;
pub mod stage;
pub mod wanted;

use super::context::address::Remote;
use super::copy::plan::Selector;
use super::source::Span;
use super::worker::order::{Access, Layers, Network};
use crate::build::dockerfile::instruction::Sharing;
use crate::build::output::material::Material;
use crate::image::platform::Platform;
use std::collections::BTreeSet;

/// A node by its number.
pub type NodeId = usize;

/// Something that makes files.
#[derive(Clone, Debug)]
pub struct Node {
    /// What progress calls it: `[builder 2/5] RUN make`.
    pub name: String,
    /// What its layer lies on; nothing for the first layer of `scratch`.
    pub below: Option<NodeId>,
    /// The machine it is made for.
    pub platform: Platform,
    /// What is done.
    pub operation: Operation,
    /// Where it stands in the Dockerfile.
    pub span: Option<Span>,
    /// What comes of it may be taken from the cache.
    pub cached: bool,
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Operation {
    /// An image that is here.
    Image(ImageBase),
    /// Runs a program.
    Run(Box<Run>),
    /// `COPY`, `ADD`.
    Copy(Box<Copy>),
    /// Makes a directory where there is none.
    Directory {
        /// Absolute and clean.
        path: String,
        /// As in the config.
        owner: String,
    },
}

/// The layers of an image.
#[derive(Clone, Debug)]
pub struct ImageBase {
    /// Lowest first.
    pub layers: Layers,
    /// When it was made, seconds since 1970.
    pub epoch: i64,
    /// What it is, for whoever asks what an image was made of.
    pub material: Option<Material>,
}

/// `RUN`, expanded.
#[derive(Clone, Debug)]
pub struct Run {
    /// Program and arguments.
    pub words: Vec<String>,
    /// A script that the words name: where it is seen, and what stands in it.
    pub script: Option<(String, String)>,
    /// `KEY=VALUE`, which are part of what the step is.
    pub environment: Vec<String>,
    /// Likewise, which are not: how to get out into the net.
    pub proxies: Vec<String>,
    /// Absolute.
    pub working_directory: String,
    /// As in the config.
    pub user: String,
    /// In their order.
    pub mounts: Vec<Mount>,
    /// `--network`; `None`: as the caller says.
    pub network: Option<Network>,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`.
    pub devices: Vec<String>,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// What a node has come to, with all below it; nothing: `scratch`.
    Node(Option<NodeId>),
    /// A context by its name; the main one is the empty string.
    Context(String),
}

/// `RUN --mount`, expanded.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Absolute and clean.
    pub target: String,
    /// What is there.
    pub source: MountSource,
    /// Cannot be written.
    pub read_only: bool,
}

/// Files of a node. Those of a context have a node of their own: a step never has the caller's directory.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whose; nothing: `scratch`.
    pub top: Option<NodeId>,
    /// Where they lie in it, absolute.
    pub path: String,
}

/// What a mount shows.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// Files of a stage, an image or a context.
    Bind(Shown),
    /// A directory that outlives the build.
    Cache(CacheSource),
    /// Memory.
    Tmpfs {
        /// Bytes.
        size: Option<u64>,
    },
    /// A file with a secret in it.
    Secret {
        /// What the caller calls it.
        id: String,
        /// A variable that it is put into beside, or instead of, the file.
        variable: Option<String>,
        /// Whether the file is wanted.
        file: bool,
        /// It must be there.
        required: bool,
        /// Whose it is.
        access: Access,
    },
    /// The socket of an agent.
    Agent {
        /// What the caller calls it.
        id: String,
        /// It must be there.
        required: bool,
        /// Whose it is.
        access: Access,
    },
}

/// A directory that outlives the build.
#[derive(Clone, Debug)]
pub struct CacheSource {
    /// What it is called.
    pub id: String,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// What a new one begins with.
    pub seed: Option<Shown>,
    /// Permission bits of a new one, where they are said.
    pub mode: Option<u32>,
    /// Its owner, likewise.
    pub uid: Option<u32>,
    /// Its group, likewise.
    pub gid: Option<u32>,
}

/// `COPY` or `ADD`, expanded.
#[derive(Clone, Debug)]
pub struct Copy {
    /// What lies below does not matter.
    pub link: bool,
    /// In their order.
    pub parts: Vec<Part>,
    /// Absolute, with a slash at its end where it was written with one.
    pub destination: String,
    /// `--chown`.
    pub owner: Option<String>,
    /// `--chmod`.
    pub mode: Option<String>,
}

/// Files from one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Those that a selector means.
    Files {
        /// Whose.
        place: Place,
        /// Which.
        selector: Selector,
        /// Archives are unpacked.
        unpack: bool,
    },
    /// A file that stands in the Dockerfile.
    Text {
        /// Its name.
        name: String,
        /// What is in it.
        content: String,
    },
    /// A file, or a repository.
    Remote(FromNet),
}

/// What an `ADD` takes from the net.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FromNet {
    /// Where it is.
    pub address: Remote,
    /// What it must be.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_directory: bool,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// By number.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// Adds one.
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The nodes that make up the files of `top`, lowest first.
    pub fn stack(&self, top: Option<NodeId>) -> Vec<NodeId> {
        let below = |id: &NodeId| self.nodes[*id].below;
        let mut stack: Vec<NodeId> = std::iter::successors(top, below).collect();
        stack.reverse();
        stack
    }

    /// All nodes that some need, with themselves.
    pub fn needed(&self, tops: &[NodeId]) -> BTreeSet<NodeId> {
        let (mut needed, mut open) = (BTreeSet::new(), tops.to_vec());
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                open.extend(self.nodes[id].below);
                open.extend(self.inputs(id));
            }
        }
        needed
    }

    /// What the layer of one lies on, as far as it matters to it.
    pub fn ground(&self, id: NodeId) -> Option<NodeId> {
        let node = &self.nodes[id];
        let link = matches!(&node.operation, Operation::Copy(copy) if copy.link);
        if link { None } else { node.below }
    }

    /// The nodes that one needs before it can begin.
    pub fn inputs(&self, id: NodeId) -> Vec<NodeId> {
        let node = &self.nodes[id];
        let tops: Vec<NodeId> = match &node.operation {
            Operation::Image(_) | Operation::Directory { .. } => Vec::new(),
            Operation::Run(run) => run.mounts.iter().filter_map(Mount::top).collect(),
            Operation::Copy(copy) => copy.parts.iter().filter_map(Part::top).collect(),
        };
        let mut inputs = self.stack(self.ground(id));
        for top in tops {
            inputs.extend(self.stack(Some(top)));
        }
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }
}

impl Node {
    /// Whether it is an image that was there before.
    pub fn is_image(&self) -> bool {
        matches!(self.operation, Operation::Image(_))
    }
}

impl Mount {
    fn top(&self) -> Option<NodeId> {
        match &self.source {
            MountSource::Bind(shown) => shown.top,
            MountSource::Cache(cache) => cache.seed.as_ref().and_then(|shown| shown.top),
            _ => None,
        }
    }
}

impl Part {
    fn top(&self) -> Option<NodeId> {
        match self {
            Part::Files {
                place: Place::Node(top),
                ..
            } => *top,
            Part::Files { .. } | Part::Text { .. } | Part::Remote(_) => None,
        }
    }
}
