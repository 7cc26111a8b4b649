//! Following a log while its container lives: what is there, then what comes, across rotations and restarts, until
//! the container ends or is removed. It sleeps until the kernel tells of a change (inotify(7), pidfd_open(2)).
//!
//! Whoever follows holds a shared lock on the newest file that it knows of. The writer gives it a moment before it
//! removes that file, so that no file between it and the newest is missed. A reader that is stopped does not stop
//! the container: it is told that lines are missing.

use super::files::{self, LogFile};
use super::frames::Frames;
use super::reader::{Log, Receiver, Start, Step, Wanted, step};
use crate::container::record::{Directory, State};
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io::Read;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// After so many bytes it is looked whether the log was rotated.
const LOOK: u64 = 64 * 1024;

/// Tells the receiver the log until its container ends.
pub fn follow(
    log: &Log,
    directory: &Directory,
    wanted: &Wanted,
    to: &mut dyn Receiver,
) -> Result<ControlFlow<()>> {
    let watch = Watch::new(
        [Some(directory.path()), log.path.parent()]
            .into_iter()
            .flatten(),
    )?;
    let mut tail = Tail::new(log, wanted)?;
    loop {
        // Looked at first: what was written before the end is there after it.
        let state = directory.state()?;
        if tail.catch_up(wanted, to)?.is_break() || to.pause()?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(state) = state.filter(goes_on) else {
            tail.finish(to);
            return Ok(ControlFlow::Continue(()));
        };
        if !watch.wait(&state, wanted.until)? {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Whether somebody is there who may write to the log.
pub fn goes_on(state: &State) -> bool {
    (state.finished.is_empty() || state.restarting) && state.monitor.is_alive()
}

/// Where a follower stands.
struct Tail<'a> {
    log: &'a Log,
    current: Option<Current>,
    /// Files after the current one.
    next: VecDeque<LogFile>,
}

struct Current {
    file: LogFile,
    frames: Frames<Box<dyn Read>>,
    skip: u64,
}

impl<'a> Tail<'a> {
    fn new(log: &'a Log, wanted: &Wanted) -> Result<Self> {
        let files = files::open_all(&log.path, log.files)?;
        let start = log.start(&files, wanted.tail)?;
        let mut tail = Self {
            log,
            current: None,
            next: files.into_iter().skip(start.file).collect(),
        };
        if let Some(newest) = tail.next.back() {
            hold(newest);
        }
        tail.advance(start)?;
        Ok(tail)
    }

    /// Goes on with the next file.
    fn advance(&mut self, start: Start) -> Result<()> {
        self.current = match self.next.pop_front() {
            None => None,
            Some(file) => Some(Current {
                frames: Frames::new(file.bytes(start.offset)?, self.log.format, start.offset),
                skip: start.skip,
                file,
            }),
        };
        Ok(())
    }

    /// Tells everything that is there.
    fn catch_up(&mut self, wanted: &Wanted, to: &mut dyn Receiver) -> Result<ControlFlow<()>> {
        if self.current.is_none() {
            self.look(to)?;
            self.advance(Start::default())?;
        }
        let mut looked = 0;
        while let Some(current) = &mut self.current {
            // Nothing is written to a file any more once there is a newer one.
            let is_complete = !self.next.is_empty();
            match step(
                &mut current.frames,
                &current.file.path,
                &mut current.skip,
                wanted,
                to,
            )? {
                Step::Stop => return Ok(ControlFlow::Break(())),
                Step::More => {
                    let offset = current.frames.offset();
                    if offset.abs_diff(looked) >= LOOK {
                        looked = offset;
                        self.look(to)?;
                    }
                }
                Step::End if is_complete => {
                    self.finish(to);
                    self.advance(Start::default())?;
                }
                Step::End => {
                    self.look(to)?;
                    if self.next.is_empty() && !self.start_over()? {
                        break;
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// What is left of the current file will never be a whole record.
    fn finish(&mut self, to: &mut dyn Receiver) {
        if let Some(current) = &mut self.current
            && current.frames.give_up() > 0
        {
            to.damage(&format!(
                "the last record of `{}` is incomplete",
                current.file.path.display()
            ));
        }
    }

    /// Takes the files that have come since.
    fn look(&mut self, to: &mut dyn Receiver) -> Result<()> {
        let newest = self
            .next
            .back()
            .or(self.current.as_ref().map(|current| &current.file));
        if newest.is_some_and(LogFile::is_in_place) {
            return Ok(());
        }
        let mut files = files::open_all(&self.log.path, self.log.files)?;
        if let Some(newest) = newest {
            match files.iter().position(|file| file.is_same(newest)) {
                Some(known) => drop(files.drain(..=known)),
                None => to.damage(&format!(
                    "`{}` was rotated faster than it was read: lines are missing here",
                    self.log.path.display()
                )),
            }
            if let Some(file) = files.last() {
                hold(file);
                // Fails as little as taking it has.
                let _ = flock(&newest.file, FlockOperation::Unlock);
            }
        } else if let Some(file) = files.last() {
            hold(file);
        }
        self.next.extend(files);
        Ok(())
    }

    /// A file that has been emptied, by somebody or because it is the only one, is read from its beginning again.
    fn start_over(&mut self) -> Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        let size = current.file.file.metadata().context("stat the log")?.len();
        if current.file.is_packed || size >= current.frames.offset() {
            return Ok(false);
        }
        current.frames = Frames::new(current.file.bytes(0)?, self.log.format, 0);
        Ok(true)
    }
}

/// Asks the writer not to remove a file before the next one was seen; without it that is only likelier.
fn hold(file: &LogFile) {
    let _ = flock(&file.file, FlockOperation::NonBlockingLockShared);
}

/// What tells of changes.
pub struct Watch {
    events: OwnedFd,
}

impl Watch {
    /// Of what is in these directories.
    pub fn new<'a>(directories: impl Iterator<Item = &'a Path>) -> Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|error| {
            Error::new(Kind::Denied, format!("inotify_init: {error}"))
                .hint("too many programs of this user watch files: raise the sysctl fs.inotify.max_user_instances")
        })?;
        let changes = WatchFlags::MODIFY
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE_SELF;
        for watched in directories {
            match inotify::add_watch(&events, watched, changes) {
                // What is just being removed is found out later; what may not be read is not there.
                Ok(_) | Err(Errno::NOENT | Errno::ACCESS) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("watch `{}`", watched.display()));
                }
            }
        }
        Ok(Self { events })
    }

    /// Sleeps until something has changed; `false` when the time is over that entries are wanted of.
    pub fn wait(&self, state: &State, until: i64) -> Result<bool> {
        // One that has ended just now is found out when the state is read again.
        let Some(monitor) = state.monitor.open() else {
            return Ok(true);
        };
        let left = i128::from(until) - jiff::Timestamp::now().as_nanosecond();
        let left = Duration::from_nanos(u64::try_from(left.max(0))?);
        let timeout = (until != i64::MAX)
            .then(|| Timespec::try_from(left))
            .transpose()?;
        let mut fds = [
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(&monitor, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
        // What exactly has changed does not matter: everything is looked at.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.events, &mut buffer);
        while events.next().is_ok() {}
        Ok(true)
    }
}
