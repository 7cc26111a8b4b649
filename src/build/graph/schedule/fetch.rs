//! Layers of steps that another machine has done: each comes when somebody needs its files, through a worker that believes
//! nothing of it but its digests.
//!
//! ```text
//! done elsewhere ─ a step above or the end needs it ─▶ below it all is here ─▶ pipe ─▶ worker ─▶ here
//!                                                       └─ nobody has it, or it is damaged ─▶ idle: it is done again
//! ```
//!
//! Invariant: a step is given to a worker only when the layers of all its inputs are here. So nothing that a worker has in its
//! hands stands on a step that is done again.

use super::{Job, Progress, Schedule, State, Work, gone};
use crate::build::cache::Record;
use crate::build::cache::import::{Blob, Broken};
use crate::build::graph::NodeId;
use crate::build::report::Event;
use crate::build::worker::order::{Layer, Order};
use crate::image::digest::Digest;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::os::fd::AsFd;

/// A layer on its way.
pub(super) struct Fetch {
    pub(super) node: NodeId,
    diff_id: Digest,
    blob: Blob,
    broken: Broken,
}

impl Schedule<'_, '_, '_> {
    /// Whether the files of all that a node needs are here.
    pub(super) fn has_inputs(&self, id: NodeId, progress: &Progress) -> bool {
        let inputs = self.graph.inputs(id);
        inputs.iter().all(|&input| is_here(input, progress))
    }

    /// Has layers fetched that are waited for; whether some step has to be done again, since nobody has its layer.
    pub(super) fn fetch(&mut self, state: &mut State) -> Result<bool> {
        for id in self.wanted(state) {
            let below = self.graph.ground(id);
            let mut stack = self.graph.stack(below).into_iter();
            if !stack.all(|below| is_here(below, &state.progress)) {
                continue;
            }
            let made = state.progress.made(id);
            let diff_id = made.and_then(|made| made.layers.diff_ids.first().cloned());
            let Some(blob) = diff_id
                .as_ref()
                .and_then(|diff_id| self.imports.blob(diff_id))
            else {
                self.undo(id, state);
                return Ok(true);
            };
            let free = state.free();
            if free.is_none() && state.hands.len() >= self.jobs {
                break;
            }
            let diff_id = diff_id.context("find a layer")?;
            let order = Order::Layer {
                base: state.progress.layers(self.graph, below),
                diff_id: diff_id.clone(),
                blob: blob.descriptor.digest.clone(),
                size: blob.descriptor.size,
            };
            let hand = self.hand(state, free)?;
            let (reader, broken) = blob.fetch()?;
            hand.worker.order(&order, &[reader.as_fd()])?;
            hand.job = Some(Job::new(Work::Layer(Fetch {
                node: id,
                diff_id,
                blob,
                broken,
            })));
        }
        Ok(false)
    }

    /// The nodes whose layers are needed now, are not here and not on their way.
    pub(super) fn wanted(&self, state: &State) -> BTreeSet<NodeId> {
        let tasks = state.tasks.iter();
        let mut wanted: BTreeSet<NodeId> = tasks
            .flat_map(|task| self.graph.inputs(task.node))
            .collect();
        if state.idle.is_empty() && state.tasks.is_empty() {
            let tops = self.tops.iter();
            wanted.extend(tops.flat_map(|&top| self.graph.stack(Some(top))));
        }
        for job in state.hands.iter().filter_map(|hand| hand.job.as_ref()) {
            wanted.remove(&job.work.node());
        }
        wanted.retain(|&id| state.progress.made(id).is_some_and(|made| !made.is_here()));
        wanted
    }

    /// One is here.
    pub(super) fn fetched(
        &mut self,
        fetch: &Fetch,
        layer: Option<Layer>,
        state: &mut State,
    ) -> Result<()> {
        let id = fetch.node;
        let layer = layer.context("take in a layer")?;
        // It may have been taken back meanwhile.
        let is_wanted = |made: &&mut super::Made| made.layers.diff_ids.contains(&fetch.diff_id);
        let below = state.progress.layers(self.graph, self.graph.ground(id));
        let Some(made) = state.progress.done[id].as_mut().filter(is_wanted) else {
            return Ok(());
        };
        made.layers.names = vec![layer.name.clone()];
        let name = &self.graph.nodes[id].name;
        let record = Record::new(Some(layer), made.epoch, name, None);
        if !self.cache.keep_imported(below.chain().as_ref(), &record)? {
            return Err(gone());
        }
        let size = fetch.blob.descriptor.size;
        let event = Event::Progress {
            item: &fetch.blob.descriptor.digest.to_string(),
            current: size,
            total: Some(size),
            done: true,
        };
        self.vertices.tell(id, event);
        Ok(())
    }

    /// One is not what it should be.
    pub(super) fn spoilt(&mut self, fetch: &Fetch, message: &str) {
        let why = match fetch.broken.take() {
            Some(error) => format!("{error:#}"),
            None => message.to_owned(),
        };
        let digest = &fetch.blob.descriptor.digest;
        let cache = &fetch.blob.cache;
        let warning = format!("the layer {digest} of the cache {cache} cannot be used: {why}");
        self.vertices.tell(fetch.node, Event::Warning(&warning));
        self.imports.spoilt(&fetch.diff_id, &fetch.blob);
    }

    /// Takes back that a step is done, and what stands on it.
    fn undo(&mut self, id: NodeId, state: &mut State) {
        let made = state.progress.done[id].take();
        for diff_id in made.iter().flat_map(|made| &made.layers.diff_ids) {
            self.imports.lose(diff_id);
        }
        let mut undone = BTreeSet::from([id]);
        for above in id + 1..self.graph.nodes.len() {
            let stands = || self.graph.stack(Some(above)).contains(&id);
            if state.progress.made(above).is_some() && stands() {
                state.progress.done[above] = None;
                undone.insert(above);
            }
        }
        // What waits has a key that speaks of them.
        state.tasks.retain(|task| {
            let mut inputs = self.graph.inputs(task.node).into_iter();
            let stays = !inputs.any(|input| undone.contains(&input));
            if !stays {
                undone.insert(task.node);
            }
            stays
        });
        state.idle.extend(undone);
    }
}

fn is_here(id: NodeId, progress: &Progress) -> bool {
    progress.made(id).is_some_and(super::Made::is_here)
}
