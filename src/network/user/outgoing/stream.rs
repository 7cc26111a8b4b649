//! Connections of containers to the world. A container is not connected before the other side is:
//!
//! ```text
//! container            network process                          host's namespace
//!   SYN ─────────────▶ seen by packet(7), dropped by a rule
//!                      connect(2) ──────────────────────────▶  SYN
//!                                                         ◀──  SYN ACK, or RST, or nothing
//!                      connected: the container's SYN again, over `lo`
//!   ◀──────── SYN ACK  the listener's (TPROXY)
//!   ACK ─────────────▶ accept(2): both are carried from now on
//!   ◀── RST or ICMP    refused, unreachable
//! ```
//!
//! Whoever does not answer at all is waited for as long as the host's kernel does; the container's own kernel sends its
//! SYN again meanwhile, which is recognised. It counts: the first one may have been lost on its way to our listener, or a
//! program may have begun anew with the same port.

use super::{ATTEMPT, Around, Ears};
use crate::network::forward::events::{Key, Table, Token, Watch};
use crate::network::forward::inside::{Transport, make};
use crate::network::user::segment::Opening;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{connect, sockopt};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How many are taken before other things are done.
const PATIENCE: usize = 128;
/// How many connections of one container may be under way.
const MOST: usize = 1024;
/// How long a container may take to answer what its own kernel answers.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often is looked who has not.
const SWEEP: Duration = Duration::from_secs(1);

/// How long the listener is left alone when descriptors or memory ran out.
const PAUSE: Duration = Duration::from_millis(100);

type Name = (SocketAddr, SocketAddr);

/// Connections that are under way.
#[derive(Debug, Default)]
pub struct Attempts {
    attempts: Table<Attempt>,
    names: HashMap<Name, Key>,
    owned: HashMap<Key, usize>,
    sweep: Option<Instant>,
    /// Families whose listener is left alone until then, because descriptors or memory ran out.
    paused: Option<(Instant, [bool; 2])>,
}

#[derive(Debug)]
struct Attempt {
    name: Name,
    owner: Key,
    /// Towards the world.
    socket: OwnedFd,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The world has not answered; the container's packet.
    Connecting(Opening),
    /// The container's packet was sent again; when it should have been accepted.
    Sent(Instant),
}

impl Attempt {
    /// The container has said once more that it wants this.
    fn again(&mut self, opening: Opening, ears: &Ears) {
        match &mut self.state {
            State::Connecting(known) => *known = opening,
            State::Sent(_) => ears.send_packet(&opening.whole(), self.name.1.ip()),
        }
    }
}

impl Attempts {
    /// Containers have sent first segments.
    pub fn open(&mut self, ears: &Ears, buffer: &mut [u8], around: &mut Around<'_>) {
        // They are taken out of the kernel first: its queue is short, and what does not fit comes again after a second.
        let mut openings = VecDeque::new();
        for _ in 0..PATIENCE {
            match ears.openings.receive(buffer) {
                Ok(Some((length, interface))) => {
                    let opening = Opening::parse(&buffer[..length]);
                    // Rules come too late for these: whoever sends one may say that he is in another network.
                    let is_own = |opening: &Opening| {
                        let bridge = around.leases.interface(opening.from.ip());
                        bridge.is_some_and(|bridge| ears.openings.is_called(interface, bridge))
                    };
                    openings.extend(opening.filter(is_own));
                }
                Ok(None) => break,
                Err(_) => {}
            }
        }
        for opening in openings {
            if let Some(key) = self.names.get(&(opening.from, opening.to)) {
                if let Some(known) = self.attempts.get_mut(*key) {
                    known.again(opening, ears);
                }
                continue;
            }
            match around.way(opening.from, opening.to, Transport::Stream) {
                Ok((to, owner)) => self.begin(opening, to, owner, ears, around),
                Err(Some(error)) => fail(&opening, error, ears),
                Err(None) => {}
            }
        }
    }

    fn begin(
        &mut self,
        opening: Opening,
        to: SocketAddr,
        owner: Key,
        ears: &Ears,
        around: &mut Around<'_>,
    ) {
        let count = self.owned.entry(owner).or_default();
        let under_way = 2 * self.attempts.len();
        if *count >= MOST || !around.forwarder.has_room(owner, under_way, 2 * *count) {
            return;
        }
        let socket = make(Transport::Stream, to.is_ipv6()).and_then(|socket| {
            // Nobody else tells that the other side is gone.
            sockopt::set_socket_keepalive(&socket, true)?;
            match connect(&socket, &to) {
                Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
                Err(error) => Err(error),
            }
        });
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return fail(&opening, error, ears),
        };
        *count += 1;
        let name = (opening.from, opening.to);
        let key = self.attempts.insert(Attempt {
            name,
            owner,
            socket,
            state: State::Connecting(opening),
        });
        self.names.insert(name, key);
        if let Some(attempt) = self.attempts.get(key) {
            let token = Token::new(ATTEMPT, key);
            let watched =
                around
                    .forwarder
                    .events
                    .watch(attempt.socket.as_fd(), token, Watch::EdgeBoth);
            if watched.is_err() {
                self.remove(key);
            }
        }
    }

    /// The world has answered.
    pub fn handle(
        &mut self,
        token: Token,
        flags: EventFlags,
        all: &[Option<Ears>; 2],
        around: &mut Around<'_>,
    ) {
        let Some(attempt) = self.attempts.get_mut(token.key) else {
            return;
        };
        let Some(ears) = &all[usize::from(attempt.name.0.is_ipv6())] else {
            return;
        };
        if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
            return;
        }
        let State::Connecting(opening) = &attempt.state else {
            return;
        };
        match sockopt::socket_error(&attempt.socket).unwrap_or_else(Err) {
            Ok(()) => {
                let packet = opening.clone().whole();
                let ends = Instant::now() + HANDSHAKE;
                attempt.state = State::Sent(ends);
                // What it says from now on is for the pair that it will be one end of.
                let _ = around.forwarder.events.forget(attempt.socket.as_fd());
                ears.send_packet(&packet, attempt.name.1.ip());
                self.sweep.get_or_insert(ends);
            }
            Err(error) => {
                fail(opening, error, ears);
                self.remove(token.key);
            }
        }
    }

    /// Connections of containers have come about.
    pub fn join(&mut self, token: Token, ears: &Ears, around: &mut Around<'_>) {
        for _ in 0..PATIENCE {
            let (socket, from, to) = match ears.accept() {
                Ok(Some(accepted)) => accepted,
                Ok(None) => return,
                Err(_) => {
                    let _ =
                        around
                            .forwarder
                            .events
                            .change(ears.streams.as_fd(), token, Watch::Paused);
                    let (_, mut sides) = self.paused.unwrap_or((Instant::now(), [false; 2]));
                    sides[token.side] = true;
                    self.paused = Some((Instant::now() + PAUSE, sides));
                    return;
                }
            };
            let attempt = self
                .names
                .get(&(from, to))
                .copied()
                .and_then(|key| self.remove(key));
            match attempt {
                Some(attempt) => {
                    let forwarder = &mut *around.forwarder;
                    let _ = forwarder.streams.insert(
                        &forwarder.events,
                        socket,
                        attempt.socket,
                        attempt.owner,
                    );
                }
                // Nobody is on the other side any more.
                None => {
                    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
                }
            }
        }
    }

    /// Ends the attempts of an owner.
    pub fn cut(&mut self, owner: Key) {
        for key in self.attempts.keys(|attempt| attempt.owner == owner) {
            self.remove(key);
        }
        self.owned.remove(&owner);
    }

    /// The families whose listener is to be listened to again.
    pub fn resume(&mut self, now: Instant) -> [bool; 2] {
        let due = self.paused.take_if(|(end, _)| *end <= now);
        due.map_or([false; 2], |(_, sides)| sides)
    }

    /// Ends those whose container has given up; when to look next.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            let is_late =
                |attempt: &Attempt| matches!(attempt.state, State::Sent(ends) if ends <= now);
            for key in self.attempts.keys(is_late) {
                self.remove(key);
            }
            let sent = self
                .attempts
                .iter()
                .filter_map(|(_, attempt)| match attempt.state {
                    State::Sent(ends) => Some(ends),
                    State::Connecting(_) => None,
                });
            self.sweep = sent.min().map(|first| first.max(now + SWEEP));
        }
        let pause = self.paused.map(|(end, _)| end);
        self.sweep.into_iter().chain(pause).min()
    }

    fn remove(&mut self, key: Key) -> Option<Attempt> {
        let attempt = self.attempts.remove(key)?;
        self.names.remove(&attempt.name);
        if let Some(count) = self.owned.get_mut(&attempt.owner) {
            *count -= 1;
        }
        if self.attempts.is_empty() {
            self.names.shrink_to_fit();
            self.owned.clear();
        }
        Some(attempt)
    }
}

/// Tells a container that it is not connected, as the network would. What is only short here is not told: the
/// container's kernel tries again.
fn fail(opening: &Opening, error: Errno, ears: &Ears) {
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET => {
            ears.send_packet(&opening.refusal(), opening.from.ip());
        }
        error => ears.tell(&opening.quote(), opening.from.ip(), opening.to.ip(), error),
    }
}
