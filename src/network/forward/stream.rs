//! Pairs of connected sockets between which bytes are carried both ways: what comes in at one end goes out at the other.
//!
//! Small amounts are read and written; what fills the buffer goes on by splice(2) through a pipe, without being copied.
//!
//! - The end of one direction is passed on as such (shutdown(2)), the other direction goes on.
//! - A reset, a failed connect(2), any error at one end is a reset at the other one.
//!
//! Invariant: nothing waits. A direction stops when its source has nothing or its target takes nothing, and goes on with
//! the event that says otherwise (edge-triggered epoll(7)).
//!
//! Most connections are short: what they cost is system calls, packets and those who are woken by them. So nothing is
//! asked that an event has told or will tell, and the last bytes go in one packet with the end that follows them.

use super::events::{Events, Key, Table, Token, Watch};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
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
    owned: HashMap<Key, usize>,
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
    /// Whether the second end is connected for sure.
    reached: bool,
    /// Of which ends is told that they take more.
    heard: [bool; 2],
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Whether the source may have something.
    readable: bool,
    /// Whether the target may take something.
    writable: bool,
    held: Held,
    /// Whether much comes.
    bulk: bool,
    /// Whether what was read need not be all there was, even if the buffer was not filled.
    thorough: bool,
    /// Whether the end follows what can be read.
    ending: bool,
    /// Whether the target has been sent something, and whether it sends small messages at once.
    begun: bool,
    prompt: bool,
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
    /// Because all was passed on but the end.
    Ended,
}

impl Streams {
    /// None yet; their events are of that kind.
    pub fn new(kind: u8) -> Self {
        Self {
            kind,
            pairs: Table::default(),
            owned: HashMap::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            pipes: Vec::new(),
            again: VecDeque::new(),
        }
    }

    /// Carries between two sockets from now on, of which the first was accepted; the second may still be connecting. Both
    /// do not block, and the first one sends small messages at once (tcp(7), TCP_NODELAY).
    pub fn insert(
        &mut self,
        events: &Events,
        first: OwnedFd,
        second: OwnedFd,
        owner: Key,
    ) -> Result<Key, Errno> {
        // What has come already is an event, and where nothing can be written yet, that is said when it is tried.
        let way = |prompt| Way {
            writable: true,
            prompt,
            ..Way::default()
        };
        let pair = Pair {
            ends: [first, second],
            ways: [way(false), way(true)],
            owner,
            reached: false,
            heard: [false; 2],
        };
        let key = self.pairs.insert(pair);
        *self.owned.entry(owner).or_default() += 1;
        let pair = self.pairs.get(key).ok_or(Errno::NOENT)?;
        for (side, end) in pair.ends.iter().enumerate() {
            let kind = self.kind;
            let token = Token { kind, side, key };
            if let Err(error) = events.watch(end.as_fd(), token, Watch::Edge) {
                self.reset(key);
                return Err(error);
            }
        }
        Ok(key)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// How many of them an owner has.
    pub(super) fn of(&self, owner: Key) -> usize {
        self.owned.get(&owner).copied().unwrap_or(0)
    }

    /// Resets all pairs of an owner.
    pub fn cut(&mut self, owner: Key) {
        for key in self.pairs.keys(|pair| pair.owner == owner) {
            self.reset(key);
        }
    }

    /// Something has happened to one end.
    pub fn handle(&mut self, events: &Events, token: Token, flags: EventFlags) {
        let Some(pair) = self.pairs.get_mut(token.key) else {
            return;
        };
        let broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let (from, to) = (token.side, 1 - token.side);
        if broken || flags.intersects(EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP) {
            pair.ways[from].readable = true;
        }
        pair.reached |= from == 1 && !broken;
        pair.ways[from].thorough |= broken || flags.intersects(EventFlags::PRI | EventFlags::RDHUP);
        pair.ways[from].ending = !broken && flags.contains(EventFlags::RDHUP);
        if broken || flags.contains(EventFlags::OUT) {
            pair.ways[to].writable = true;
        }
        // Its end was read, so no read will tell that it is gone altogether.
        let deaf = broken && pair.ways[from].ended && !pair.ways[to].shut;
        if deaf {
            self.reset(token.key);
        } else {
            self.serve(events, token.key);
        }
    }

    /// Whether [`Self::go_on`] has something to do.
    pub fn is_tired(&self) -> bool {
        !self.again.is_empty()
    }

    /// Serves those that had to stop for others.
    pub fn go_on(&mut self, events: &Events) {
        for key in std::mem::take(&mut self.again) {
            self.serve(events, key);
        }
    }

    fn serve(&mut self, events: &Events, key: Key) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        let mut tired = false;
        for side in [0, 1] {
            let other = 1 - side;
            // Whoever has nothing to say any more is told by close(2) that the other side has not either.
            let is_last = pair.ways[other].shut;
            let way = &mut pair.ways[side];
            let (from, to) = (&pair.ends[side], &pair.ends[other]);
            match way.carry(from, to, &mut self.buffer, &mut self.pipes) {
                Ok(Stop::Ended) if is_last => way.shut = true,
                // What is still connecting would be disconnected by shutdown(2).
                Ok(Stop::Ended) if other == 1 && !pair.reached => way.writable = false,
                Ok(Stop::Ended) => match pass_end(to) {
                    Ok(()) => way.shut = true,
                    Err(_) => return self.reset(key),
                },
                Ok(stop) => tired |= stop == Stop::Tired,
                Err(_) => return self.reset(key),
            }
            if !way.writable && !std::mem::replace(&mut pair.heard[other], true) {
                let (kind, side) = (self.kind, other);
                let token = Token { kind, side, key };
                if events.change(to.as_fd(), token, Watch::EdgeBoth).is_err() {
                    return self.reset(key);
                }
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
        if let Entry::Occupied(mut count) = self.owned.entry(pair.owner) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
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
            if self.ended && self.writable && !self.shut {
                return Ok(Stop::Ended);
            }
            if self.ended || !self.readable {
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
                Held::Bytes(bytes, start) => put(to, &bytes[*start..], false),
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
        let is_full = length == buffer.len();
        self.bulk |= is_full;
        // What comes later is an event. But recv(2) stops before an urgent byte too, and the end is no event again.
        self.readable = is_full || self.thorough;
        let written = match self.writable {
            false => 0,
            true => {
                // The first one waits for none before it, and many a connection has no second one.
                if std::mem::replace(&mut self.begun, true) && !self.prompt {
                    self.prompt = true;
                    let _ = sockopt::set_tcp_nodelay(to, true);
                }
                match put(to, &buffer[..length], self.ending) {
                    Err(Errno::AGAIN | Errno::INTR) => 0,
                    result => result?,
                }
            }
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
            // Nothing, or an urgent byte, which splice(2) does not pass: recv(2) tells.
            Err(Errno::AGAIN) => self.bulk = false,
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

/// Sends what there is; with what `follows` in one packet, if it fits.
fn put(to: &OwnedFd, bytes: &[u8], follows: bool) -> Result<usize, Errno> {
    let mut flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, follows);
    send(to, bytes, flags)
}

/// Sends FIN. One that has gone meanwhile needs none, and says itself how.
fn pass_end(to: &OwnedFd) -> Result<(), Errno> {
    match shutdown(to, Shutdown::Write) {
        Err(Errno::NOTCONN) => Ok(()),
        result => result,
    }
}
