//! Nodes as orders for workers: what lies below is known by now, contexts are open, caches and secrets are at hand.

mod prepare;

use super::contexts::{Contexts, Missing};
use super::key::Keys;
use super::schedule::Progress;
use super::{Graph, MountSource, Node, NodeId, Operation, Part, Place, Run};
use crate::build::cache::mount::CacheMount;
use crate::build::dockerfile::instruction::Sharing;
use crate::build::order;
use crate::build::output::material::Material;
use crate::build::vertex::Vertices;
use crate::build::worker::order::{self as worker, Order, Select};
use crate::container::engine::Engine;
use crate::image::digest::Digest;
use anyhow::{Context, Result};
use prepare::Preparing;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What one build's steps have in common.
pub struct Orders<'a> {
    engine: &'a Engine,
    order: &'a order::Order,
    times: Times,
    /// Where files come from.
    pub contexts: Contexts<'a>,
    /// Directories of cache mounts by their keys ([`Keys::of_cache`]), locked while their step runs.
    mounts: BTreeMap<NodeId, BTreeMap<String, CacheMount>>,
    /// What nodes take from the net.
    materials: BTreeMap<NodeId, Vec<Material>>,
}

/// What decides how old everything is, seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// What the caller gave.
    pub asked: Option<i64>,
    /// That, or else when the main context was committed.
    pub given: Option<i64>,
}

/// An order with what goes with it.
pub struct Prepared {
    /// What the worker is asked for.
    pub order: Order,
    files: Vec<OwnedFd>,
}

impl Prepared {
    /// In the order of their numbers.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.files.iter().map(AsFd::as_fd).collect()
    }
}

impl<'a> Orders<'a> {
    /// For one build.
    pub fn new(
        engine: &'a Engine,
        order: &'a order::Order,
        times: Times,
        contexts: Contexts<'a>,
    ) -> Self {
        Self {
            engine,
            order,
            times,
            contexts,
            mounts: BTreeMap::new(),
            materials: BTreeMap::new(),
        }
    }
}

impl Orders<'_> {
    /// Whether what a node takes from contexts and from the net is here, see [`Contexts::has_files`].
    pub fn has_files(
        &mut self,
        node: &Node,
        is_ready: bool,
        vertices: &mut Vertices<'_>,
    ) -> Result<bool, Missing> {
        let Operation::Copy(copy) = &node.operation else {
            return Ok(true);
        };
        let mut all = true;
        for part in &copy.parts {
            all &= self.contexts.has_files(part, is_ready, vertices)?;
        }
        Ok(all)
    }

    /// The key of a node whose inputs are done and whose files are here, and the time of the newest of these (seconds since
    /// 1970).
    pub fn key(&mut self, id: NodeId, graph: &Graph, progress: &Progress) -> Result<(Digest, i64)> {
        let node = &graph.nodes[id];
        let mut newest = i64::MIN;
        let mut materials = Vec::new();
        let contexts = &self.contexts;
        let mut contents = |part: &Part| {
            if let Part::Files {
                place: Place::Node(_),
                ..
            } = part
            {
                return Ok(None);
            }
            let found = contexts.selected(part)?;
            newest = newest.max(found.newest);
            materials.extend(found.material.clone());
            Ok(Some(found.digest.clone()))
        };
        let key =
            Keys::of(self.order, self.times.asked, graph, progress).key(node, &mut contents)?;
        self.materials.insert(id, materials);
        Ok((key, newest))
    }

    /// What nodes take from elsewhere, the main context included, whatever of it they take.
    pub fn materials(&self, graph: &Graph, nodes: &BTreeSet<NodeId>) -> Vec<Material> {
        let mut found: BTreeSet<Material> = self.contexts.material().into_iter().collect();
        for id in nodes {
            found.extend(self.materials.get(id).into_iter().flatten().cloned());
            if let Operation::Image(base) = &graph.nodes[*id].operation {
                found.extend(base.material.clone());
            }
        }
        found.into_iter().collect()
    }

    /// The key of a node with the digests of what it copies from stages, as [`Orders::selections`] asked for them, instead
    /// of these stages' layers.
    pub fn key_by_content(
        &self,
        id: NodeId,
        graph: &Graph,
        progress: &Progress,
        digests: &[Digest],
    ) -> Result<Digest> {
        let mut digests = digests.iter();
        let mut contents = |part: &Part| match part {
            Part::Files {
                place: Place::Node(top),
                ..
            } => Ok(match is_made(graph, *top) {
                true => Some(json!(digests.next().context("find what was selected")?)),
                false => None,
            }),
            part => Ok(Some(self.contexts.selected(part)?.digest.clone())),
        };
        Keys::of(self.order, self.times.asked, graph, progress).key(&graph.nodes[id], &mut contents)
    }

    /// What a worker has to look at to tell what a node copies from stages. What it copies from images is told by their
    /// layers: these change with the image alone, and looking at all files twice costs more than it saves.
    pub fn selections(&self, id: NodeId, graph: &Graph, progress: &Progress) -> Vec<Select> {
        let Operation::Copy(copy) = &graph.nodes[id].operation else {
            return Vec::new();
        };
        let of_stages = copy.parts.iter().filter_map(|part| match part {
            Part::Files {
                place: Place::Node(top),
                selector,
                ..
            } if is_made(graph, *top) => Some(Select {
                layers: progress.layers(graph, *top),
                selector: selector.clone(),
            }),
            _ => None,
        });
        of_stages.collect()
    }

    /// When a step is: the newest of what it takes, seconds since 1970.
    pub fn epoch(&self, id: NodeId, graph: &Graph, progress: &Progress, newest: i64) -> i64 {
        if let Some(given) = self.times.given {
            return given;
        }
        let inputs = graph.inputs(id).into_iter();
        let of_inputs = inputs.map(|input| progress.epoch(graph, Some(input)));
        of_inputs
            .fold(progress.epoch(graph, None), i64::max)
            .max(newest)
    }

    /// Takes what a step must not share; `false` while others have it.
    pub fn try_take(&mut self, id: NodeId, graph: &Graph, progress: &Progress) -> Result<bool> {
        let Operation::Run(run) = &graph.nodes[id].operation else {
            return Ok(true);
        };
        let keys = Keys::of(self.order, self.times.asked, graph, progress);
        let mut taken = BTreeMap::new();
        for (key, (cache, sharing)) in caches(&keys, run) {
            match CacheMount::try_take(&self.engine.paths, cache, &key, sharing)? {
                Some(mount) => taken.insert(key, mount),
                // What was taken is given back: whoever waits holds nothing.
                None => return Ok(false),
            };
        }
        self.mounts.insert(id, taken);
        Ok(true)
    }

    /// Gives that back.
    pub fn finish(&mut self, id: NodeId) {
        self.mounts.remove(&id);
    }

    /// The order for a node.
    pub fn prepare(
        &mut self,
        id: NodeId,
        graph: &Graph,
        progress: &Progress,
        epoch: i64,
    ) -> Result<Prepared> {
        let node = &graph.nodes[id];
        let base = progress.layers(graph, node.below);
        let mut step = Preparing {
            orders: self,
            id,
            graph,
            progress,
            files: Vec::new(),
        };
        let order = match &node.operation {
            Operation::Run(run) => Order::Run(Box::new(step.run(run, base, epoch)?)),
            Operation::Copy(copy) => Order::Copy(Box::new(worker::Copy {
                base: (!copy.link).then_some(base),
                epoch,
                plan: step.plan(copy)?,
            })),
            Operation::Directory { path, owner } => Order::Directory {
                base,
                path: path.clone(),
                owner: owner.clone(),
                epoch,
            },
            Operation::Image(_) => return Err(anyhow::anyhow!("an image is no step")),
        };
        let files = step.files;
        Ok(Prepared { order, files })
    }
}

/// The caches of a step, each once however often it is mounted: nobody waits for himself.
fn caches<'a>(keys: &Keys<'_>, run: &'a Run) -> BTreeMap<String, (&'a str, Sharing)> {
    let mut caches = BTreeMap::new();
    for mount in &run.mounts {
        if let MountSource::Cache(cache) = &mount.source {
            let usual = (cache.id.as_str(), cache.sharing);
            let (_, strictest) = caches.entry(keys.of_cache(cache)).or_insert(usual);
            *strictest = (*strictest).max(cache.sharing);
        }
    }
    caches
}

/// Whether files are a step's, rather than an image's or none.
fn is_made(graph: &Graph, top: Option<NodeId>) -> bool {
    top.is_some_and(|top| !graph.nodes[top].is_image())
}

/// The words of a program on one line, for messages.
pub fn words(node: &Node) -> String {
    match &node.operation {
        Operation::Run(run) => run.words.join(" "),
        _ => node.name.clone(),
    }
}
