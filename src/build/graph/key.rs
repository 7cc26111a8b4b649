//! What a step depends on, as a digest. Contents count, times do not.
//!
//! Invariant: two steps with the same key come to the same layer, as far as their programs do.

use super::schedule::Progress;
use super::{
    CacheSource, Copy, Graph, Mount, MountSource, Node, NodeId, Operation, Part, Place, Run, Shown,
};
use crate::build::order::Order;
use crate::build::worker::order::Access;
use crate::image::digest::Digest;
use anyhow::Result;
use serde_json::{Value, json};

/// Of the form of keys; another one makes all records strangers.
const VERSION: u32 = 1;

/// What a key needs to know beside the graph.
pub struct Keys<'a> {
    /// All nodes.
    pub graph: &'a Graph,
    /// What has come of those that are done.
    pub progress: &'a Progress,
    /// The time that the caller gave, seconds since 1970. That of a commit is no part of what a step is: the next commit
    /// would find nothing.
    pub epoch: Option<i64>,
    /// What steps have in common.
    pub order: &'a Order,
}

/// Tells the digest of the files of a part; `None`: the layers that they are in are to stand for them.
pub type Contents<'a> = &'a mut dyn FnMut(&Part) -> Result<Option<Value>>;

impl<'a> Keys<'a> {
    /// Of a build that was ordered, at a time that was given.
    pub fn of(
        order: &'a Order,
        epoch: Option<i64>,
        graph: &'a Graph,
        progress: &'a Progress,
    ) -> Self {
        Self {
            graph,
            progress,
            epoch,
            order,
        }
    }

    /// The key of a node whose inputs are all done.
    pub fn key(&self, node: &Node, contents: Contents<'_>) -> Result<Digest> {
        let mut below = json!(self.chain(node.below));
        let operation = match &node.operation {
            Operation::Image(_) => json!("image"),
            Operation::Run(run) => self.run(run),
            Operation::Copy(copy) => {
                if copy.link {
                    below = json!("link");
                }
                self.copy(copy, contents)?
            }
            Operation::Directory { path, owner } => json!({"directory": path, "owner": owner}),
        };
        let whole = json!({
            "version": VERSION,
            "platform": node.platform.to_string(),
            "epoch": self.epoch,
            "below": below,
            "operation": operation,
        });
        Ok(Digest::of(&serde_json::to_vec(&whole)?))
    }

    /// All layers of a node by one digest.
    fn chain(&self, top: Option<NodeId>) -> Option<Digest> {
        self.progress.layers(self.graph, top).chain()
    }

    fn run(&self, run: &Run) -> Value {
        let mounts: Vec<Value> = run.mounts.iter().map(|mount| self.mount(mount)).collect();
        let network = run.network.as_ref().unwrap_or(&self.order.network);
        json!({
            "run": run.words,
            "script": run.script,
            "environment": run.environment,
            "directory": run.working_directory,
            "user": run.user,
            "mounts": mounts,
            "network": network,
            "hosts": self.order.hosts,
            "limits": self.order.ulimits,
            "shm": self.order.shm_size,
            "insecure": run.insecure,
            "devices": run.devices,
        })
    }

    /// What a mount is.
    fn mount(&self, mount: &Mount) -> Value {
        let source = self.source(&mount.source);
        json!({"target": mount.target, "source": source, "read_only": mount.read_only})
    }

    fn shown(&self, shown: &Shown) -> Value {
        json!({"files": self.chain(shown.top), "path": shown.path})
    }

    /// What a cache begins with, not what has come into it since.
    fn cache(&self, cache: &CacheSource) -> Value {
        let seed = cache.seed.as_ref().map(|seed| self.shown(seed));
        json!({"cache": cache.id, "seed": seed, "new": [cache.mode, cache.uid, cache.gid]})
    }

    /// What tells one cache from another.
    pub fn of_cache(&self, cache: &CacheSource) -> String {
        let is_usual = cache.seed.is_none() && cache.mode.or(cache.uid).or(cache.gid).is_none();
        match is_usual {
            true => cache.id.clone(),
            false => self.cache(cache).to_string(),
        }
    }

    /// What a mount shows.
    fn source(&self, source: &MountSource) -> Value {
        match source {
            MountSource::Bind(files) => json!({"bind": self.shown(files)}),
            MountSource::Cache(cache) => self.cache(cache),
            // What a secret is is nobody's business.
            MountSource::Tmpfs { size } => json!({"tmpfs": size}),
            MountSource::Secret {
                id,
                variable,
                file,
                access: Access { mode, uid, gid },
                ..
            } => {
                json!({"secret": id, "variable": variable, "file": file, "mode": mode, "owner": [uid, gid]})
            }
            MountSource::Agent {
                id,
                access: Access { mode, uid, gid },
                ..
            } => json!({"agent": id, "mode": mode, "owner": [uid, gid]}),
        }
    }

    fn copy(&self, copy: &Copy, contents: Contents<'_>) -> Result<Value> {
        let mut parts = Vec::new();
        for part in &copy.parts {
            parts.push(self.part(part, contents)?);
        }
        Ok(json!({
            "copy": parts,
            "destination": copy.destination,
            "owner": copy.owner,
            "mode": copy.mode,
        }))
    }

    fn part(&self, part: &Part, contents: Contents<'_>) -> Result<Value> {
        Ok(match part {
            Part::Files {
                place: Place::Context(_),
                selector,
                unpack,
            } => json!({"files": contents(part)?, "selector": selector, "unpack": unpack}),
            Part::Files {
                place: Place::Node(top),
                unpack,
                ..
            } => match contents(part)? {
                Some(digest) => json!({"selected": digest, "unpack": unpack}),
                None => self.layers(*top, part),
            },
            Part::Text { name, content } => json!({"text": content, "name": name}),
            Part::Remote(_) => json!(contents(part)?),
        })
    }

    /// Files by the layers that they are in, and which of them.
    fn layers(&self, top: Option<NodeId>, part: &Part) -> Value {
        match part {
            Part::Files {
                selector, unpack, ..
            } => json!({"layers": self.chain(top), "selector": selector, "unpack": unpack}),
            _ => Value::Null,
        }
    }
}
