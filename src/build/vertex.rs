//! Numbers for whatever progress shows: steps that the builder adds by itself, and nodes of the graph.

use super::report::{Event, Reporter};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Gives numbers and passes events on.
pub struct Vertices<'a> {
    reporter: &'a mut dyn Reporter,
    next: usize,
    /// The numbers of nodes.
    nodes: Vec<usize>,
    /// Steps of the builder's own that may go on.
    own: Vec<(String, usize)>,
}

impl<'a> Vertices<'a> {
    /// None yet.
    pub fn new(reporter: &'a mut dyn Reporter) -> Self {
        Self {
            reporter,
            next: 0,
            nodes: Vec::new(),
            own: Vec::new(),
        }
    }

    /// A step of the builder's own: it begins now. The answer is its number.
    pub fn start(&mut self, name: &str) -> usize {
        let number = self.next;
        self.next += 1;
        self.reporter
            .tell(number, Event::Planned { name, inputs: &[] });
        self.reporter.tell(number, Event::Started);
        number
    }

    /// Likewise one that may come again: its number, and whether this is the first time.
    pub fn same(&mut self, name: &str) -> (usize, bool) {
        if let Some((_, number)) = self.own.iter().find(|(known, _)| known == name) {
            return (*number, false);
        }
        let number = self.start(name);
        self.own.push((name.to_owned(), number));
        (number, true)
    }

    /// Something about one of those.
    pub fn tell_own(&mut self, number: usize, event: Event<'_>) {
        self.reporter.tell(number, event);
    }

    /// The next node, which must come in their order.
    pub fn plan(&mut self, id: usize, name: &str, inputs: &[usize]) {
        debug_assert_eq!(id, self.nodes.len());
        let number = self.next;
        self.next += 1;
        let inputs: Vec<usize> = inputs.iter().map(|&input| self.nodes[input]).collect();
        self.nodes.push(number);
        let inputs = inputs.as_slice();
        self.reporter.tell(number, Event::Planned { name, inputs });
    }

    /// Waits until one of these has something to say, or until it is time to draw, or `timeout` is over: which ones have.
    pub fn wait(
        &mut self,
        descriptors: &[BorrowedFd<'_>],
        timeout: Option<Duration>,
    ) -> Result<Vec<bool>> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut polled: Vec<PollFd<'_>> = descriptors.iter().copied().map(readable).collect();
        let timeout = timeout.or(self.period()).map(|period| Timespec {
            tv_sec: period.as_secs().cast_signed(),
            tv_nsec: period.subsec_nanos().into(),
        });
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(vec![false; polled.len()]),
            polled => polled.context("poll")?,
        };
        self.tick();
        Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// How often [`Vertices::tick`] is wanted while nothing happens.
    pub fn period(&self) -> Option<Duration> {
        self.reporter.period()
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        self.reporter.tick();
    }

    /// All nodes come again, as steps of their own.
    pub fn again(&mut self) {
        self.nodes.clear();
    }

    /// Something about a node.
    pub fn tell(&mut self, id: usize, event: Event<'_>) {
        if let Some(&number) = self.nodes.get(id) {
            self.reporter.tell(number, event);
        }
    }
}
