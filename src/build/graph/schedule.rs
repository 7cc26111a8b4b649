//! Nodes in parallel: one thread that waits for workers with poll(2) and gives each that is idle the next step.
//!
//! ```text
//! idle ─ inputs done ─▶ key ─ record ─▶ done                       (cached)
//!                        └─ lock of the key ─ worker ─▶ record ─▶ done
//! ```
//!
//! What another machine has done is done too, though its layer may not be here: that comes when somebody needs it
//! (`fetch`). What workers say is for `answer`.
//!
//! The first step that fails ends it: workers whose channel is dropped kill what they run.
//!
//! Invariant: a worker is started only when there is a step for it, so that what is cached costs no process.

mod answer;
mod fetch;

use super::orders::Orders;
use super::{Graph, NodeId, Operation};
use crate::build::cache::import::Imports;
use crate::build::cache::lock::StepLock;
use crate::build::cache::{Cache, Found};
use crate::build::failure::LastLines;
use crate::build::report::Event;
use crate::build::source::Source;
use crate::build::vertex::Vertices;
use crate::build::worker::Worker;
use crate::build::worker::order::{Layer, Layers, Order, Select};
use crate::container::engine::Engine;
use crate::error::{Error, Kind};
use crate::image::digest::Digest;
use anyhow::Result;
use fetch::Fetch;
use std::time::{Duration, Instant};

/// How often somebody else's step is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What has come of nodes.
#[derive(Debug, Default)]
pub struct Progress {
    done: Vec<Option<Made>>,
    /// Nothing is older, seconds since 1970.
    start: i64,
}

/// What has come of one.
#[derive(Clone, Debug)]
pub struct Made {
    /// What it puts on top; an image has many layers, and a step that has changed nothing has none.
    pub layers: Layers,
    /// When, seconds since 1970.
    pub epoch: i64,
    /// The keys of the step, that of its record last; an image has none.
    pub keys: Vec<Digest>,
}

impl Made {
    /// Whether its layers are in the store.
    pub fn is_here(&self) -> bool {
        self.layers.names.len() == self.layers.diff_ids.len()
    }
}

impl Progress {
    /// Nothing has come of any yet.
    pub fn new(graph: &Graph, start: i64) -> Self {
        Self {
            done: vec![None; graph.nodes.len()],
            start,
        }
    }

    /// What has come of a node, if it is done.
    pub fn made(&self, id: NodeId) -> Option<&Made> {
        self.done[id].as_ref()
    }

    /// The names of all layers that steps have made.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        let made = self.done.iter().flatten();
        made.flat_map(|made| &made.layers.names)
    }

    /// All layers from the lowest one up to those of a node, whose inputs are done.
    pub fn layers(&self, graph: &Graph, top: Option<NodeId>) -> Layers {
        let mut layers = Layers::default();
        for made in graph.stack(top).into_iter().filter_map(|id| self.made(id)) {
            layers.diff_ids.extend(made.layers.diff_ids.iter().cloned());
            layers.names.extend(made.layers.names.iter().cloned());
        }
        layers
    }

    /// When the newest of them was made, seconds since 1970.
    pub fn epoch(&self, graph: &Graph, top: Option<NodeId>) -> i64 {
        let made = graph.stack(top).into_iter().filter_map(|id| self.made(id));
        made.map(|made| made.epoch).fold(self.start, i64::max)
    }
}

/// A step that nobody has done before, as far as that is known.
struct Task {
    node: NodeId,
    key: Digest,
    /// The key by the layers that it copies from, where `key` is that by what they hold.
    by_layers: Option<Digest>,
    epoch: i64,
    /// What a worker still has to look at before that is known, the last one first; `None`: nobody has asked yet.
    selections: Option<Vec<Select>>,
    /// What it has found.
    digests: Vec<Digest>,
}

/// What a worker does.
enum Work {
    Step(Task),
    Layer(Fetch),
}

impl Work {
    fn node(&self) -> NodeId {
        match self {
            Self::Step(task) => task.node,
            Self::Layer(fetch) => fetch.node,
        }
    }
}

/// What a step came to before.
struct Known {
    made: Made,
    /// By a record of this store.
    is_ours: bool,
}

/// A step that a worker has.
struct Job {
    work: Work,
    started: Instant,
    last_lines: LastLines,
    /// Its file goes when this is dropped.
    _lock: Option<StepLock>,
}

impl Job {
    fn new(work: Work) -> Self {
        Self {
            work,
            started: Instant::now(),
            last_lines: LastLines::default(),
            _lock: None,
        }
    }
}

/// A worker with what it does.
struct Hand {
    worker: Worker,
    job: Option<Job>,
}

/// All that is needed to get nodes done.
pub struct Schedule<'a, 'b, 'c> {
    /// The store.
    pub engine: &'a Engine,
    /// The nodes.
    pub graph: &'a Graph,
    /// What is known already.
    pub cache: &'a Cache<'a>,
    /// What is known elsewhere.
    pub imports: &'a mut Imports,
    /// The nodes whose files are wanted in the end.
    pub tops: &'a [NodeId],
    /// How steps become orders, and what their files are.
    pub orders: &'a mut Orders<'b>,
    /// For messages.
    pub file: &'a Source,
    /// Who is told.
    pub vertices: &'a mut Vertices<'c>,
    /// How many steps run at once.
    pub jobs: usize,
}

/// How far it is.
struct State {
    progress: Progress,
    /// Not yet looked at.
    idle: Vec<NodeId>,
    tasks: Vec<Task>,
    hands: Vec<Hand>,
}

/// What has become of tasks.
struct Assigned {
    /// One waits for another build.
    waits: bool,
    /// One was found in the cache, so that others may be ready.
    found: bool,
}

impl State {
    /// A worker that has nothing to do.
    fn free(&self) -> Option<usize> {
        self.hands.iter().position(|hand| hand.job.is_none())
    }
}

impl Schedule<'_, '_, '_> {
    /// Does all nodes.
    pub fn run(mut self, start: i64) -> Result<Progress> {
        let mut state = State {
            progress: Progress::new(self.graph, start),
            idle: (0..self.graph.nodes.len()).collect(),
            tasks: Vec::new(),
            hands: Vec::new(),
        };
        for (id, node) in self.graph.nodes.iter().enumerate() {
            self.vertices.plan(id, &node.name, &self.graph.inputs(id));
        }
        let result = self.go(&mut state);
        if result.is_err() {
            for job in state.hands.iter().filter_map(|hand| hand.job.as_ref()) {
                self.vertices.tell(job.work.node(), Event::Canceled);
            }
            self.orders.contexts.cancel(self.vertices);
        }
        result.map(|()| state.progress)
    }

    fn go(&mut self, state: &mut State) -> Result<()> {
        loop {
            // What is cached may make more ready at once.
            while self.look(state)? || self.fetch(state)? {}
            let Assigned { waits, found } = self.assign(state)?;
            if found {
                continue;
            }
            let busy = state.hands.iter().any(|hand| hand.job.is_some());
            if busy || waits || self.orders.contexts.is_busy() {
                self.wait(state, waits)?;
            } else if state.idle.is_empty()
                && state.tasks.is_empty()
                && self.wanted(state).is_empty()
            {
                return Ok(());
            }
        }
    }

    /// Looks for ready nodes in the cache; whether one of them is done now.
    fn look(&mut self, state: &mut State) -> Result<bool> {
        let mut found = false;
        for id in std::mem::take(&mut state.idle) {
            let mut inputs = self.graph.inputs(id).into_iter();
            let is_ready = inputs.all(|input| state.progress.made(input).is_some());
            let has_files = self
                .orders
                .has_files(&self.graph.nodes[id], is_ready, self.vertices)
                .map_err(|missing| match missing.is_shown {
                    true => self.unshown(id, &missing.error),
                    false => self.explain(id, missing.error),
                })?;
            if is_ready && has_files {
                found |= self
                    .begin(id, state)
                    .map_err(|error| self.explain(id, error))?;
            } else {
                state.idle.push(id);
            }
        }
        Ok(found)
    }

    fn begin(&mut self, id: NodeId, state: &mut State) -> Result<bool> {
        let node = &self.graph.nodes[id];
        if let Operation::Image(base) = &node.operation {
            let made = Made {
                layers: base.layers.clone(),
                epoch: base.epoch,
                keys: Vec::new(),
            };
            self.vertices.tell(id, Event::Started);
            self.vertices.tell(id, Event::Cached);
            state.progress.done[id] = Some(made);
            return Ok(true);
        }
        let (key, newest) = self.orders.key(id, self.graph, &state.progress)?;
        if node.cached
            && let Some(known) = self.known(id, &key, &state.progress)?
        {
            self.vertices.tell(id, Event::Started);
            self.vertices.tell(id, Event::Cached);
            state.progress.done[id] = Some(known.made);
            return Ok(true);
        }
        let epoch = self.orders.epoch(id, self.graph, &state.progress, newest);
        state.tasks.push(Task {
            node: id,
            key,
            by_layers: None,
            epoch,
            selections: (!node.cached).then(Vec::new),
            digests: Vec::new(),
        });
        Ok(false)
    }

    /// What a step with that key has come to, here or elsewhere.
    fn known(&self, id: NodeId, key: &Digest, progress: &Progress) -> Result<Option<Known>> {
        if let Some(Found { key: own, record }) = self.cache.find(key)? {
            let mut keys = vec![key.clone(), own];
            keys.dedup();
            let made = made(record.layer, record.epoch, keys);
            return Ok(Some(Known {
                made,
                is_ours: true,
            }));
        }
        let Some(found) = self.imports.find(key) else {
            return Ok(None);
        };
        let mut layers = Layers::default();
        if let Some(diff_id) = &found.layer {
            let below = progress.layers(self.graph, self.graph.ground(id)).chain();
            let name = self.cache.layer(below.as_ref(), diff_id)?;
            layers.names.extend(name);
            layers.diff_ids.push(diff_id.clone());
        }
        let made = Made {
            layers,
            epoch: found.epoch,
            keys: found.keys.clone(),
        };
        Ok(Some(Known {
            made,
            is_ours: false,
        }))
    }

    /// Gives tasks to workers that are idle.
    fn assign(&mut self, state: &mut State) -> Result<Assigned> {
        let (mut waits, mut found) = (false, false);
        for mut task in std::mem::take(&mut state.tasks) {
            let free = state.free();
            let id = task.node;
            let is_full = free.is_none() && state.hands.len() >= self.jobs;
            if is_full || !self.has_inputs(id, &state.progress) {
                state.tasks.push(task);
                continue;
            }
            let (orders, progress) = (&self.orders, &state.progress);
            let selections = task.selections.get_or_insert_with(|| {
                let selections = orders.selections(id, self.graph, progress);
                selections.into_iter().rev().collect()
            });
            if let Some(select) = selections.pop() {
                self.look_at(state, free, task, select)
                    .map_err(|error| self.explain(id, error))?;
                continue;
            }
            let cached = self.graph.nodes[id].cached;
            let lock = match cached {
                true => StepLock::try_take(&self.engine.paths, &task.key)?,
                false => None,
            };
            if cached && lock.is_none() {
                waits = true;
                state.tasks.push(task);
                continue;
            }
            // Another build may have done it since.
            if cached && let Some(known) = self.known(id, &task.key, &state.progress)? {
                self.found(task, known, state)?;
                found = true;
                continue;
            }
            if !self.orders.try_take(id, self.graph, &state.progress)? {
                waits = true;
                state.tasks.push(task);
                continue;
            }
            self.give(state, free, task, lock)
                .map_err(|error| self.explain(id, error))?;
        }
        Ok(Assigned { waits, found })
    }

    fn found(&mut self, task: Task, known: Known, state: &mut State) -> Result<()> {
        let (id, mut made) = (task.node, known.made);
        self.vertices.tell(id, Event::Started);
        self.vertices.tell(id, Event::Cached);
        if let Some(by_layers) = task.by_layers {
            // What another machine has done serves only whoever asks for it.
            if known.is_ours {
                self.cache.alias(&by_layers, &task.key)?;
            }
            made.keys = vec![by_layers, task.key];
        }
        state.progress.done[id] = Some(made);
        Ok(())
    }

    fn give(
        &mut self,
        state: &mut State,
        free: Option<usize>,
        task: Task,
        lock: Option<StepLock>,
    ) -> Result<()> {
        let id = task.node;
        self.vertices.tell(id, Event::Started);
        let started = Instant::now();
        let progress = &state.progress;
        let prepared = self.orders.prepare(id, self.graph, progress, task.epoch)?;
        let hand = self.hand(state, free)?;
        hand.worker
            .order(&prepared.order, &prepared.descriptors())?;
        hand.job = Some(Job {
            work: Work::Step(task),
            started,
            last_lines: LastLines::default(),
            _lock: lock,
        });
        Ok(())
    }

    /// Has a worker look at what a step copies.
    fn look_at(
        &mut self,
        state: &mut State,
        free: Option<usize>,
        task: Task,
        select: Select,
    ) -> Result<()> {
        let hand = self.hand(state, free)?;
        hand.worker.order(&Order::Select(Box::new(select)), &[])?;
        hand.job = Some(Job::new(Work::Step(task)));
        Ok(())
    }

    /// A worker that is idle, started if there is none.
    fn hand<'s>(&mut self, state: &'s mut State, free: Option<usize>) -> Result<&'s mut Hand> {
        let hand = match free {
            Some(hand) => hand,
            None => {
                let beside = state.hands.first().map(|hand| &hand.worker);
                let worker = Worker::start(self.engine, beside)?;
                self.tell_mode(&worker);
                state.hands.push(Hand { worker, job: None });
                state.hands.len() - 1
            }
        };
        Ok(&mut state.hands[hand])
    }

    /// Says once how steps are carried out.
    fn tell_mode(&mut self, worker: &Worker) {
        let line = format!("[internal] mode: {}", worker.mode.describe(self.engine));
        if let (number, true) = self.vertices.same(&line) {
            self.vertices.tell_own(number, Event::Done(Duration::ZERO));
        }
    }
}

fn gone() -> anyhow::Error {
    let message = "its layer was removed by another command before it could be used";
    Error::new(Kind::Conflict, message)
        .hint("build again")
        .into()
}

fn made(layer: Option<Layer>, epoch: i64, keys: Vec<Digest>) -> Made {
    let mut layers = Layers::default();
    if let Some(layer) = layer {
        layers.diff_ids.push(layer.diff_id);
        layers.names.push(layer.name);
    }
    Made {
        layers,
        epoch,
        keys,
    }
}
