//! What workers say, and what becomes of it.

use super::{Hand, Job, LOOK, Schedule, State, Task, Work, gone, made};
use crate::build::cache::Record;
use crate::build::failure::{Excerpt, Failure, LastLines};
use crate::build::graph::NodeId;
use crate::build::graph::orders::words;
use crate::build::report::Event;
use crate::build::worker::order::{Answer, Layer};
use crate::image::digest::Digest;
use anyhow::{Result, anyhow};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

impl Schedule<'_, '_, '_> {
    /// Waits until a worker, or what brings files, has something to say, and hears it.
    pub(super) fn wait(&mut self, state: &mut State, waits: bool) -> Result<()> {
        let busy = (0..state.hands.len()).filter(|&hand| state.hands[hand].job.is_some());
        let busy: Vec<usize> = busy.collect();
        let workers = busy.iter().map(|&hand| state.hands[hand].worker.as_fd());
        let contexts = self.orders.contexts.as_fd();
        let descriptors: Vec<BorrowedFd<'_>> = workers.chain([contexts]).collect();
        let is_ready = self.vertices.wait(&descriptors, waits.then_some(LOOK))?;
        for (hand, _) in busy.into_iter().zip(is_ready).filter(|(_, ready)| *ready) {
            self.hear(state, hand)?;
        }
        self.orders.contexts.hear(self.vertices)
    }

    fn hear(&mut self, state: &mut State, hand: usize) -> Result<()> {
        let Hand { worker, job } = &mut state.hands[hand];
        let Some(busy) = job else {
            return Ok(());
        };
        let id = busy.work.node();
        let answer = worker.receive().map_err(|error| self.explain(id, error))?;
        match answer {
            Answer::Output { error, bytes } => {
                busy.last_lines.add(&bytes);
                let bytes = bytes.as_slice();
                self.vertices.tell(id, Event::Output { error, bytes });
                Ok(())
            }
            Answer::Warning(text) => {
                self.vertices.tell(id, Event::Warning(&text));
                Ok(())
            }
            last => match job.take() {
                Some(job) => self
                    .ended(job, last, state)
                    .map_err(|error| self.explain(id, error)),
                None => Ok(()),
            },
        }
    }

    fn ended(&mut self, job: Job, answer: Answer, state: &mut State) -> Result<()> {
        let Job {
            work,
            started,
            last_lines,
            _lock,
        } = job;
        let id = work.node();
        match (work, answer) {
            (Work::Step(task), Answer::Done(layer)) => self.done(&task, started, layer, state),
            (Work::Step(task), Answer::Selected { digest }) => self.selected(task, digest, state),
            (Work::Layer(fetch), Answer::Done(layer)) => self.fetched(&fetch, layer, state),
            (Work::Layer(fetch), Answer::Failed { message, .. }) => {
                self.spoilt(&fetch, &message);
                Ok(())
            }
            (_, Answer::Failed { message, hint }) => {
                Err(self.failed(id, message, hint, last_lines))
            }
            (_, Answer::Exited { code }) => {
                let words = words(&self.graph.nodes[id]);
                let message =
                    format!("process \"{words}\" did not complete successfully: exit code: {code}");
                Err(self.failed(id, message, None, last_lines))
            }
            (_, answer) => Err(anyhow!("the worker said {answer:?}")),
        }
    }

    /// What a step copies is known, or part of it.
    fn selected(&mut self, mut task: Task, digest: Digest, state: &mut State) -> Result<()> {
        task.digests.push(digest);
        if task.selections.as_ref().is_none_or(Vec::is_empty) {
            let (progress, digests) = (&state.progress, &task.digests);
            let orders = &self.orders;
            let key = orders.key_by_content(task.node, self.graph, progress, digests)?;
            task.by_layers = Some(std::mem::replace(&mut task.key, key));
        }
        state.tasks.push(task);
        Ok(())
    }

    fn done(
        &mut self,
        task: &Task,
        started: Instant,
        layer: Option<Layer>,
        state: &mut State,
    ) -> Result<()> {
        let id = task.node;
        let node = &self.graph.nodes[id];
        let below = node.below.and_then(|below| state.progress.made(below));
        let parent = below.and_then(|below| below.keys.last().cloned());
        let record = Record::new(layer, task.epoch, &node.name, parent);
        let mut keys = vec![task.key.clone()];
        if let Some(by_layers) = &task.by_layers {
            keys.insert(0, by_layers.clone());
        }
        if !self.cache.add(&task.key, &record)? {
            return Err(gone());
        }
        if let Some(by_layers) = &task.by_layers {
            self.cache.alias(by_layers, &task.key)?;
        }
        self.orders.finish(id);
        self.vertices.tell(id, Event::Done(started.elapsed()));
        state.progress.done[id] = Some(made(record.layer, task.epoch, keys));
        Ok(())
    }

    /// An error of a step, with the step.
    pub(super) fn explain(&mut self, id: NodeId, error: anyhow::Error) -> anyhow::Error {
        if error.is::<Failure>() {
            return error;
        }
        self.vertices.tell(id, Event::Failed(&format!("{error:#}")));
        self.unshown(id, &error)
    }

    /// Likewise one that progress has shown elsewhere.
    pub(super) fn unshown(&self, id: NodeId, error: &anyhow::Error) -> anyhow::Error {
        let hint = crate::error::hint(error).map(str::to_owned);
        self.failure(id, format!("{error:#}"), hint, LastLines::default())
    }

    fn failed(
        &mut self,
        id: NodeId,
        message: String,
        hint: Option<String>,
        lines: LastLines,
    ) -> anyhow::Error {
        self.vertices.tell(id, Event::Failed(&message));
        self.failure(id, message, hint, lines)
    }

    fn failure(
        &self,
        id: NodeId,
        message: String,
        hint: Option<String>,
        lines: LastLines,
    ) -> anyhow::Error {
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
