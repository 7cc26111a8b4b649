//! Work beside the schedule, in threads: each says how far it is, and rings.
//!
//! ```text
//! ask ─▶ lane ─ a place is free ─▶ thread ─ said, bell ─▶ hear
//! ```
//!
//! Nobody waits for a thread that is not wanted any more: it ends with the process.

use crate::build::context::Watch;
use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How often one says how far it is.
const PERIOD: Duration = Duration::from_millis(100);

/// What work takes its time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Servers.
    Net,
    /// Files of this machine.
    Files,
}

impl Lane {
    /// As many go on at once.
    fn width(self) -> usize {
        match self {
            Self::Net => 8,
            Self::Files => 2,
        }
    }
}

/// What a thread says.
pub enum Said<T> {
    /// So many bytes have come, of so many if that is known.
    Progress(u64, Option<u64>),
    /// What has come of it; it says no more.
    Ended(Result<T>),
}

/// What a thread does.
pub type Work<T> = Box<dyn FnOnce(Watch<'_>) -> Result<T> + Send>;

/// All of them, by the numbers that they were asked for with.
pub struct Gathering<T> {
    /// Readable when something was said.
    bell: Arc<OwnedFd>,
    say: Sender<(usize, Said<T>)>,
    said: Receiver<(usize, Said<T>)>,
    waiting: BTreeMap<Lane, VecDeque<(usize, Work<T>)>>,
    running: BTreeMap<usize, (Lane, JoinHandle<()>)>,
}

impl<T: Send + 'static> Gathering<T> {
    /// None yet.
    pub fn new() -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let (say, said) = channel();
        Ok(Self {
            bell: Arc::new(eventfd(0, flags).context("eventfd")?),
            say,
            said,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
        })
    }

    /// Has something done under a number that is nobody else's.
    pub fn ask(&mut self, number: usize, lane: Lane, work: Work<T>) -> Result<()> {
        let waiting = self.waiting.entry(lane).or_default();
        waiting.push_back((number, work));
        self.begin(lane)
    }

    fn begin(&mut self, lane: Lane) -> Result<()> {
        let busy = self.running.values().filter(|(busy, _)| *busy == lane);
        if busy.count() >= lane.width() {
            return Ok(());
        }
        let waiting = self.waiting.get_mut(&lane);
        let Some((number, work)) = waiting.and_then(VecDeque::pop_front) else {
            return Ok(());
        };
        let (say, bell) = (self.say.clone(), Arc::clone(&self.bell));
        let tell = move |said| {
            // Whoever has asked may have given up.
            let _ = say.send((number, said));
            let _ = rustix::io::write(&*bell, &1_u64.to_ne_bytes());
        };
        let run = move || {
            let last = Cell::new(Instant::now());
            let watch = |current, total| {
                if last.get().elapsed() >= PERIOD {
                    last.set(Instant::now());
                    tell(Said::Progress(current, total));
                }
            };
            let found = work(&watch);
            tell(Said::Ended(found));
        };
        let thread = Builder::new().name("gather".to_owned()).spawn(run);
        let thread = thread.context("start a thread")?;
        self.running.insert(number, (lane, thread));
        Ok(())
    }

    /// Whether something will be said.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// What was said since the last time.
    pub fn hear(&mut self) -> Result<Vec<(usize, Said<T>)>> {
        match rustix::io::read(&*self.bell, &mut [0; 8]) {
            Err(Errno::AGAIN | Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error).context("read an eventfd"),
        }
        let heard: Vec<_> = self.said.try_iter().collect();
        for (number, said) in &heard {
            if matches!(said, Said::Ended(_))
                && let Some((lane, thread)) = self.running.remove(number)
            {
                // Whoever needs to be alone in the process is, once he has heard all.
                let _ = thread.join();
                self.begin(lane)?;
            }
        }
        Ok(heard)
    }
}

impl<T> AsFd for Gathering<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
