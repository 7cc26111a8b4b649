//! Nodes in parallel: one thread that waits for workers with poll(2) and gives each that is idle the next step.
//!
//! ```text
//! idle ─ inputs done ─▶ key ─ record ─▶ done                       (cached)
//!                        └─ lock of the key ─ worker ─▶ record ─▶ done
//! ```
//!
//! The first step that fails ends it: workers whose channel is dropped kill what they run.
//!
//! Invariant: a worker is started only when there is a step for it, so that what is cached costs no process.

use super::orders::{Orders, words};
use super::{Graph, NodeId, Operation};
use crate::build::cache::lock::StepLock;
use crate::build::cache::{Cache, Record};
use crate::build::failure::{Excerpt, Failure, LastLines};
use crate::build::report::Event;
use crate::build::source::Source;
use crate::build::vertex::Vertices;
use crate::build::worker::Worker;
use crate::build::worker::order::{Answer, Layer, Layers, Order, Select};
use crate::container::engine::Engine;
use crate::error::{Error, Kind};
use crate::image::digest::Digest;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
    /// What a worker still has to look at before that is known, the last one first.
    selections: Vec<Select>,
    /// What it has found.
    digests: Vec<Digest>,
}

/// A step that a worker has.
struct Job {
    task: Task,
    started: Instant,
    last_lines: LastLines,
    /// Its file goes when this is dropped.
    _lock: Option<StepLock>,
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
                self.vertices.tell(job.task.node, Event::Canceled);
            }
        }
        result.map(|()| state.progress)
    }

    fn go(&mut self, state: &mut State) -> Result<()> {
        loop {
            // What is cached may make more ready at once.
            while self.look(state)? {}
            let waits = self.assign(state)?;
            let busy = state.hands.iter().any(|hand| hand.job.is_some());
            if !busy && state.idle.is_empty() && state.tasks.is_empty() {
                return Ok(());
            }
            self.wait(state, waits)?;
        }
    }

    /// Looks for ready nodes in the cache; whether one of them is done now.
    fn look(&mut self, state: &mut State) -> Result<bool> {
        let mut found = false;
        for id in std::mem::take(&mut state.idle) {
            let inputs = self.graph.inputs(id);
            if inputs
                .iter()
                .all(|&input| state.progress.made(input).is_some())
            {
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
            };
            self.vertices.tell(id, Event::Started);
            self.vertices.tell(id, Event::Cached);
            state.progress.done[id] = Some(made);
            return Ok(true);
        }
        let (key, newest) = self
            .orders
            .key(id, self.graph, &state.progress, self.vertices)?;
        if node.cached
            && let Some(record) = self.cache.find(&key)?
        {
            self.vertices.tell(id, Event::Started);
            self.vertices.tell(id, Event::Cached);
            state.progress.done[id] = Some(made(record.layer, record.epoch));
            return Ok(true);
        }
        let epoch = self.orders.epoch(id, self.graph, &state.progress, newest);
        let mut selections = match node.cached {
            true => self.orders.selections(id, self.graph, &state.progress),
            false => Vec::new(),
        };
        selections.reverse();
        state.tasks.push(Task {
            node: id,
            key,
            by_layers: None,
            epoch,
            selections,
            digests: Vec::new(),
        });
        Ok(false)
    }

    /// Gives tasks to workers that are idle; whether one waits for another build.
    fn assign(&mut self, state: &mut State) -> Result<bool> {
        let mut waits = false;
        for task in std::mem::take(&mut state.tasks) {
            let free = state.hands.iter().position(|hand| hand.job.is_none());
            if free.is_none() && state.hands.len() >= self.jobs {
                state.tasks.push(task);
                continue;
            }
            let id = task.node;
            if !task.selections.is_empty() {
                self.look_at(state, free, task)
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
            if cached && let Some(record) = self.cache.find(&task.key)? {
                self.vertices.tell(id, Event::Started);
                self.vertices.tell(id, Event::Cached);
                if let Some(key) = &task.by_layers {
                    self.cache.add(key, &record)?;
                }
                state.progress.done[id] = Some(made(record.layer, record.epoch));
                while self.look(state)? {}
                continue;
            }
            if !self.orders.try_take(id, &self.graph.nodes[id])? {
                waits = true;
                state.tasks.push(task);
                continue;
            }
            self.give(state, free, task, lock)
                .map_err(|error| self.explain(id, error))?;
        }
        Ok(waits)
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
            task,
            started,
            last_lines: LastLines::default(),
            _lock: lock,
        });
        Ok(())
    }

    /// Has a worker look at what a step copies.
    fn look_at(&mut self, state: &mut State, free: Option<usize>, mut task: Task) -> Result<()> {
        let Some(select) = task.selections.pop() else {
            return Ok(());
        };
        let hand = self.hand(state, free)?;
        hand.worker.order(&Order::Select(Box::new(select)), &[])?;
        hand.job = Some(Job {
            task,
            started: Instant::now(),
            last_lines: LastLines::default(),
            _lock: None,
        });
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

    /// What a step copies is known, or part of it.
    fn selected(&mut self, mut task: Task, digest: Digest, state: &mut State) -> Result<()> {
        task.digests.push(digest);
        if task.selections.is_empty() {
            let (progress, digests) = (&state.progress, &task.digests);
            let orders = &self.orders;
            let key = orders.key_by_content(task.node, self.graph, progress, digests)?;
            task.by_layers = Some(std::mem::replace(&mut task.key, key));
        }
        state.tasks.push(task);
        Ok(())
    }

    /// Waits until a worker has something to say, and hears it.
    fn wait(&mut self, state: &mut State, waits: bool) -> Result<()> {
        let is_ready: Vec<bool> = {
            let busy = state.hands.iter().filter(|hand| hand.job.is_some());
            let mut polled: Vec<PollFd<'_>> = busy
                .map(|hand| PollFd::new(&hand.worker, PollFlags::IN))
                .collect();
            let look = waits.then_some(LOOK);
            let timeout = look.or(self.vertices.period()).map(|period| Timespec {
                tv_sec: period.as_secs().cast_signed(),
                tv_nsec: period.subsec_nanos().into(),
            });
            match poll(&mut polled, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => return Ok(()),
                polled => polled.context("poll workers")?,
            };
            polled.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        self.vertices.tick();
        let busy = (0..state.hands.len()).filter(|&hand| state.hands[hand].job.is_some());
        let busy: Vec<usize> = busy.collect();
        for (hand, _) in busy.into_iter().zip(is_ready).filter(|(_, ready)| *ready) {
            self.hear(state, hand)?;
        }
        Ok(())
    }

    fn hear(&mut self, state: &mut State, hand: usize) -> Result<()> {
        let Hand { worker, job } = &mut state.hands[hand];
        let Some(busy) = job else {
            return Ok(());
        };
        let id = busy.task.node;
        let answer = worker.receive().map_err(|error| self.explain(id, error))?;
        match answer {
            Answer::Output { error, bytes } => {
                busy.last_lines.add(&bytes);
                let bytes = bytes.as_slice();
                self.vertices.tell(id, Event::Output { error, bytes });
            }
            Answer::Warning(text) => self.vertices.tell(id, Event::Warning(&text)),
            Answer::Done(layer) => {
                if let Some(job) = job.take() {
                    let done = self.done(&job, layer, state);
                    done.map_err(|error| self.explain(id, error))?;
                }
            }
            Answer::Exited { code } => {
                let words = words(&self.graph.nodes[id]);
                let message =
                    format!("process \"{words}\" did not complete successfully: exit code: {code}");
                let lines = job.take().map(|job| job.last_lines).unwrap_or_default();
                return Err(self.failed(id, message, None, lines));
            }
            Answer::Failed { message, hint } => {
                let lines = job.take().map(|job| job.last_lines).unwrap_or_default();
                return Err(self.failed(id, message, hint, lines));
            }
            Answer::Selected { digest, .. } => {
                if let Some(job) = job.take() {
                    let selected = self.selected(job.task, digest, state);
                    selected.map_err(|error| self.explain(id, error))?;
                }
            }
        }
        Ok(())
    }

    fn done(&mut self, job: &Job, layer: Option<Layer>, state: &mut State) -> Result<()> {
        let Task {
            node: id,
            key,
            by_layers,
            epoch,
            ..
        } = &job.task;
        let name = &self.graph.nodes[*id].name;
        let record = Record::new(layer, *epoch, name, None);
        if !self.cache.add(key, &record)? {
            let message = "its layer was removed by another command before it could be used";
            return Err(Error::new(Kind::Conflict, message)
                .hint("build again")
                .into());
        }
        if let Some(key) = by_layers {
            self.cache.add(key, &record)?;
        }
        self.orders.finish(*id);
        self.vertices.tell(*id, Event::Done(job.started.elapsed()));
        state.progress.done[*id] = Some(made(record.layer, *epoch));
        Ok(())
    }

    /// An error of a step, with the step.
    fn explain(&mut self, id: NodeId, error: anyhow::Error) -> anyhow::Error {
        if error.is::<Failure>() {
            return error;
        }
        let hint = crate::error::hint(&error).map(str::to_owned);
        self.failed(id, format!("{error:#}"), hint, LastLines::default())
    }

    fn failed(
        &mut self,
        id: NodeId,
        message: String,
        hint: Option<String>,
        lines: LastLines,
    ) -> anyhow::Error {
        self.vertices.tell(id, Event::Failed(&message));
        let node = &self.graph.nodes[id];
        let excerpt = node.span.map(|span| Excerpt::new(self.file, span));
        Failure {
            step: node.name.clone(),
            last_lines: lines.finish(),
            excerpt: excerpt.unwrap_or_default(),
            message,
            hint,
        }
        .into()
    }
}

fn made(layer: Option<Layer>, epoch: i64) -> Made {
    let mut layers = Layers::default();
    if let Some(layer) = layer {
        layers.diff_ids.push(layer.diff_id);
        layers.names.push(layer.name);
    }
    Made { layers, epoch }
}
