//! Pairs of connected sockets between which bytes are carried both ways: what comes in at one end goes out at the other.
//!
//! Small amounts are read and written; what fills the buffer goes on by splice(2) through a pipe, without being copied.
//!
//! - The end of one direction is passed on as such (shutdown(2)), the other direction goes on.
//! - A reset, a failed connect(2), any error at one end is a reset at the other one.
//!
//! Invariant: nothing waits. A direction stops when its source has nothing or its target takes nothing, and goes on with
//! the event that says otherwise (edge-triggered epoll(7)).

use super::events::{Events, Key, Table, Token, Watch};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// What is read at once; more than that is worth a pipe.
const BUFFER: usize = 64 * 1024;
/// What a pipe takes; the most that fs.pipe-max-size allows a user who has changed nothing.
const PIPE: usize = 1024 * 1024;
/// Pipes that are kept for the next ones.
const SPARE_PIPES: usize = 4;
/// How many times a direction is served before others are.
const PATIENCE: usize = 16;

/// All pairs.
#[derive(Debug)]
pub struct Streams {
    kind: u8,
    pairs: Table<Pair>,
    buffer: Box<[u8]>,
    pipes: Vec<Pipe>,
    /// Pairs that could go on, but others had to be served first.
    again: VecDeque<Key>,
}

#[derive(Debug)]
struct Pair {
    ends: [OwnedFd; 2],
    /// The way from each end to the other one.
    ways: [Way; 2],
    owner: Key,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Whether the source may have something.
    readable: bool,
    /// Whether the target may take something.
    writable: bool,
    /// Whether the source is known to have closed, so that there is an end to be read.
    closing: bool,
    held: Held,
    /// Whether much comes.
    bulk: bool,
    /// Whether the end was read, and whether it was passed on.
    ended: bool,
    shut: bool,
}

/// What was read and could not be written.
#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Bytes(Vec<u8>, usize),
    Piped(Pipe, usize),
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// How a direction has stopped.
#[derive(PartialEq, Eq)]
enum Stop {
    /// Until the next event.
    Waiting,
    /// Because it was its turn long enough.
    Tired,
}

impl Streams {
    /// None yet; their events are of that kind.
    pub fn new(kind: u8) -> Self {
        Self {
            kind,
            pairs: Table::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            pipes: Vec::new(),
            again: VecDeque::new(),
        }
    }

    /// Carries between two sockets from now on; the second may still be connecting. Both do not block.
    pub fn insert(
        &mut self,
        events: &Events,
        first: OwnedFd,
        second: OwnedFd,
        owner: Key,
    ) -> Result<Key, Errno> {
        let mut ways = [Way::default(), Way::default()];
        // Whoever has connected has mostly something to say, and whom we connect to is mostly there already.
        (ways[0].readable, ways[0].writable) = (true, true);
        let pair = Pair {
            ends: [first, second],
            ways,
            owner,
        };
        let key = self.pairs.insert(pair);
        let pair = self.pairs.get(key).ok_or(Errno::NOENT)?;
        for (side, end) in pair.ends.iter().enumerate() {
            let token = Token {
                kind: self.kind,
                side,
                key,
            };
            if let Err(error) = events.watch(end.as_fd(), token, Watch::Edge) {
                self.reset(key);
                return Err(error);
            }
        }
        self.serve(key);
        Ok(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether that pair is still there.
    pub fn contains(&self, key: Key) -> bool {
        self.pairs.get(key).is_some()
    }

    /// Resets all pairs of an owner.
    pub fn cut(&mut self, owner: Key) {
        for key in self.pairs.keys(|pair| pair.owner == owner) {
            self.reset(key);
        }
    }

    /// Something has happened to one end.
    pub fn handle(&mut self, token: Token, flags: EventFlags) {
        let Some(pair) = self.pairs.get_mut(token.key) else {
            return;
        };
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let (from, to) = (token.side, 1 - token.side);
        if broken || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
            pair.ways[from].readable = true;
            pair.ways[from].closing |= broken || flags.contains(EventFlags::RDHUP);
        }
        if broken || flags.contains(EventFlags::OUT) {
            pair.ways[to].writable = true;
        }
        // Its end was read, so no read will tell that it is gone altogether.
        let deaf = broken && pair.ways[from].ended && !pair.ways[to].shut;
        if deaf {
            self.reset(token.key);
        } else {
            self.serve(token.key);
        }
    }

    /// Whether [`Self::go_on`] has something to do.
    pub fn is_tired(&self) -> bool {
        !self.again.is_empty()
    }

    /// Serves those that had to stop for others.
    pub fn go_on(&mut self) {
        for key in std::mem::take(&mut self.again) {
            self.serve(key);
        }
    }

    fn serve(&mut self, key: Key) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        let mut tired = false;
        for side in [0, 1] {
            let way = &mut pair.ways[side];
            let (from, to) = (&pair.ends[side], &pair.ends[1 - side]);
            match way.carry(from, to, &mut self.buffer, &mut self.pipes) {
                Ok(stop) => tired |= stop == Stop::Tired,
                Err(_) => return self.reset(key),
            }
        }
        if pair.ways.iter().all(|way| way.shut) {
            self.remove(key);
        } else if tired && !self.again.contains(&key) {
            self.again.push_back(key);
        }
    }

    /// Tells both ends that it was no orderly end (tcp(7), RST instead of FIN).
    fn reset(&mut self, key: Key) {
        if let Some(pair) = self.pairs.get(key) {
            for end in &pair.ends {
                let _ = sockopt::set_socket_linger(end, Some(Duration::ZERO));
            }
        }
        self.remove(key);
    }

    fn remove(&mut self, key: Key) {
        let Some(pair) = self.pairs.remove(key) else {
            return;
        };
        for way in pair.ways {
            if let Held::Piped(pipe, 0) = way.held {
                keep(&mut self.pipes, pipe);
            }
        }
    }
}

impl Way {
    fn carry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        buffer: &mut [u8],
        pipes: &mut Vec<Pipe>,
    ) -> Result<Stop, Errno> {
        for _ in 0..PATIENCE {
            if !self.flush(to, pipes)? {
                return Ok(Stop::Waiting);
            }
            if self.ended {
                if !self.shut {
                    self.shut = true;
                    pass_end(to)?;
                }
                return Ok(Stop::Waiting);
            }
            if !self.readable {
                return Ok(Stop::Waiting);
            }
            match self.bulk {
                true => self.fill_pipe(from, pipes)?,
                false => self.fill_buffer(from, to, buffer)?,
            }
        }
        Ok(Stop::Tired)
    }

    /// Writes what is held; whether nothing is held any more.
    fn flush(&mut self, to: &OwnedFd, pipes: &mut Vec<Pipe>) -> Result<bool, Errno> {
        loop {
            let written = match &self.held {
                Held::Nothing => return Ok(true),
                Held::Piped(_, 0) => {
                    if !self.bulk
                        && let Held::Piped(pipe, _) = std::mem::take(&mut self.held)
                    {
                        keep(pipes, pipe);
                    }
                    return Ok(true);
                }
                _ if !self.writable => return Ok(false),
                Held::Bytes(bytes, start) => put(to, &bytes[*start..]),
                Held::Piped(pipe, length) => splice(
                    &pipe.read,
                    None,
                    to,
                    None,
                    *length,
                    SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
                ),
            };
            let written = match written {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    return Ok(false);
                }
                result => result?,
            };
            match &mut self.held {
                Held::Nothing => {}
                Held::Bytes(bytes, start) => {
                    *start += written;
                    if *start == bytes.len() {
                        self.held = Held::Nothing;
                    }
                }
                Held::Piped(_, length) => *length -= written,
            }
        }
    }

    /// Reads once and writes what it was.
    fn fill_buffer(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        buffer: &mut [u8],
    ) -> Result<(), Errno> {
        let length = match recv(from, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => return Ok(()),
            Err(Errno::AGAIN) => {
                self.readable = false;
                return Ok(());
            }
            Ok((0, _)) => {
                self.ended = true;
                return Ok(());
            }
            result => result?.0,
        };
        if length < buffer.len() {
            // The source is empty now, and its next bytes are an event; an end that has come already is none.
            self.readable = self.closing;
        } else {
            self.bulk = true;
        }
        let written = match self.writable {
            false => 0,
            true => match put(to, &buffer[..length]) {
                Err(Errno::AGAIN | Errno::INTR) => 0,
                result => result?,
            },
        };
        if written < length {
            self.writable = false;
            self.held = Held::Bytes(buffer[written..length].to_vec(), 0);
        }
        Ok(())
    }

    /// Moves into a pipe what there is.
    fn fill_pipe(&mut self, from: &OwnedFd, pipes: &mut Vec<Pipe>) -> Result<(), Errno> {
        if !matches!(self.held, Held::Piped(..)) {
            match pipes.pop().map_or_else(Pipe::new, Ok) {
                Ok(pipe) => self.held = Held::Piped(pipe, 0),
                // No descriptors are left: bytes are copied then.
                Err(_) => {
                    self.bulk = false;
                    return Ok(());
                }
            }
        }
        let Held::Piped(pipe, held) = &mut self.held else {
            return Ok(());
        };
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(from, None, &pipe.write, None, PIPE, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                self.readable = false;
                self.bulk = false;
            }
            Ok(0) => {
                self.ended = true;
                self.bulk = false;
            }
            result => *held = result?,
        }
        Ok(())
    }
}

impl Pipe {
    fn new() -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user may have so many pages in pipes (pipe(7), pipe-user-pages-soft); a small pipe carries as well.
        let _ = fcntl_setpipe_size(&read, PIPE);
        Ok(Self { read, write })
    }
}

fn keep(pipes: &mut Vec<Pipe>, pipe: Pipe) {
    if pipes.len() < SPARE_PIPES {
        pipes.push(pipe);
    }
}

fn put(to: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}

/// Sends FIN. One that has gone meanwhile needs none, and says itself how.
fn pass_end(to: &OwnedFd) -> Result<(), Errno> {
    match shutdown(to, Shutdown::Write) {
        Err(Errno::NOTCONN) => Ok(()),
        result => result,
    }
}
