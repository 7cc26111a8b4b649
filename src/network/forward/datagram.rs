//! Datagrams that are carried between two sides. They have no connections, so whoever sends one from an address that
//! was quiet begins a flow, which ends when neither side says anything for a while.
//!
//! Invariant: a flow has sockets of its own towards whom it leads to, so that the answers are known by where they come
//! in. Nothing waits: what cannot be sent now is lost, as datagrams are.

use super::door::Door;
use super::events::{Events, Key, Table, Token, Watch};
use crate::sys::transparent;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// The longest there is.
const LONGEST: usize = 64 * 1024;
/// How many of one flow are carried before others are.
const PATIENCE: usize = 64;
/// How many flows one container may have.
const MOST: usize = 4096;
/// How long a flow lives without anything said: a question, a conversation, one about names.
const FRESH: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(180);
const NAMES: Duration = Duration::from_secs(5);
/// How often is looked who has gone.
const SWEEP: Duration = Duration::from_secs(1);
/// The port of name servers.
const DOMAIN: u16 = 53;

/// What a flow is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Where it came in: a door, or none on the way out.
    pub door: Key,
    /// Who began.
    pub from: SocketAddr,
    /// Whom he has spoken to, as far as that is more than the door.
    pub to: Option<SocketAddr>,
}

/// How answers go back to who began.
#[derive(Debug)]
pub enum Back {
    /// By the socket of the door, from the address that was spoken to.
    Door(Option<IpAddr>),
    /// By a connected socket.
    Socket(OwnedFd),
}

/// All flows.
#[derive(Debug)]
pub struct Datagrams {
    kind: u8,
    flows: Table<Flow>,
    names: HashMap<Name, Key>,
    owned: HashMap<Key, usize>,
    buffer: Box<[u8]>,
    /// When is looked next who has gone.
    sweep: Option<Instant>,
    /// Who is to be told that his datagrams do not arrive, and why.
    failures: Vec<(Name, Errno)>,
}

#[derive(Debug)]
struct Flow {
    name: Name,
    /// Towards whom it leads to; connected.
    ahead: OwnedFd,
    back: Back,
    owner: Key,
    life: Duration,
    ends: Instant,
}

impl Datagrams {
    /// None yet; their events are of that kind.
    pub fn new(kind: u8) -> Self {
        Self {
            kind,
            flows: Table::default(),
            names: HashMap::new(),
            owned: HashMap::new(),
            buffer: vec![0; LONGEST].into_boxed_slice(),
            sweep: None,
            failures: Vec::new(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// How many of them an owner has.
    pub(super) fn of(&self, owner: Key) -> usize {
        self.owned.get(&owner).copied().unwrap_or(0)
    }

    /// The next datagram of a socket, which [`Self::pass`] sends on.
    pub fn receive(&mut self, socket: &OwnedFd) -> Result<transparent::Received, Errno> {
        transparent::receive(socket.as_fd(), &mut self.buffer)
    }

    /// Whether there is a flow of that name.
    pub fn contains(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    /// Whether an owner may have one more.
    pub fn has_room(&self, owner: Key) -> bool {
        self.of(owner) < MOST
    }

    /// A flow begins; `port` is the one that it leads to.
    pub fn insert(
        &mut self,
        events: &Events,
        name: Name,
        ahead: OwnedFd,
        back: Back,
        owner: Key,
        port: u16,
    ) -> Result<(), Errno> {
        let life = match port {
            DOMAIN => NAMES,
            _ => FRESH,
        };
        let now = Instant::now();
        let key = self.flows.insert(Flow {
            name,
            ahead,
            back,
            owner,
            life,
            ends: now + life,
        });
        *self.owned.entry(owner).or_default() += 1;
        self.names.insert(name, key);
        let sweep = now + life;
        self.sweep = Some(self.sweep.map_or(sweep, |planned| planned.min(sweep)));
        let Some(flow) = self.flows.get(key) else {
            return Ok(());
        };
        let mut result = events.watch(flow.ahead.as_fd(), self.token(key, 0), Watch::Level);
        if let (Ok(()), Back::Socket(back)) = (result, &flow.back) {
            result = events.watch(back.as_fd(), self.token(key, 1), Watch::Level);
        }
        if result.is_err() {
            self.remove(key);
        }
        result
    }

    fn token(&self, key: Key, side: usize) -> Token {
        Token {
            kind: self.kind,
            side,
            key,
        }
    }

    /// Sends what was received last on in the flow of that name.
    pub fn pass(&mut self, name: &Name, length: usize) {
        let Some(flow) = self
            .names
            .get(name)
            .and_then(|key| self.flows.get_mut(*key))
        else {
            return;
        };
        flow.ends = Instant::now() + flow.life;
        let bytes = &self.buffer[..length];
        if let Err(error) = put(&flow.ahead, bytes) {
            self.failures.push((*name, error));
            // It may have been that of an earlier one, which is told only once.
            let _ = put(&flow.ahead, bytes);
        }
    }

    /// Something has come in at a socket of a flow; the doors are where answers go out.
    pub fn answer<'d>(
        &mut self,
        token: Token,
        flags: EventFlags,
        door: impl Fn(Key) -> Option<&'d Door>,
    ) {
        let Some(flow) = self.flows.get_mut(token.key) else {
            return;
        };
        if flags.contains(EventFlags::ERR)
            && token.side == 0
            && let Some(error) = transparent::take_errors(flow.ahead.as_fd())
        {
            self.failures.push((flow.name, error));
        }
        let mut heard = false;
        for _ in 0..PATIENCE {
            let source = match (token.side, &flow.back) {
                (1, Back::Socket(back)) => back,
                _ => &flow.ahead,
            };
            let length = match recv(source, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => length.min(self.buffer.len()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    // An answer by ICMP: nobody is there, or the way is closed.
                    if token.side == 0 {
                        self.failures.push((flow.name, error));
                    }
                    continue;
                }
            };
            heard = true;
            let bytes = &self.buffer[..length];
            let _ = match (token.side, &flow.back) {
                (1, _) => put(&flow.ahead, bytes),
                (_, Back::Socket(back)) => put(back, bytes),
                (_, Back::Door(address)) => match door(flow.name.door) {
                    Some(door) => transparent::send(
                        door.socket.as_fd(),
                        bytes,
                        mapped(flow.name.from, *address),
                        *address,
                    ),
                    None => Ok(()),
                },
            };
        }
        if heard {
            if token.side == 0 && flow.life == FRESH {
                flow.life = ANSWERED;
            }
            flow.ends = Instant::now() + flow.life;
        }
    }

    /// Whom to tell of what since the last time.
    pub fn take_failures(&mut self) -> Vec<(Name, Errno)> {
        std::mem::take(&mut self.failures)
    }

    /// Ends the flows of an owner.
    pub fn cut(&mut self, owner: Key) {
        for key in self.flows.keys(|flow| flow.owner == owner) {
            self.remove(key);
        }
        self.owned.remove(&owner);
    }

    /// Ends what was quiet for too long; when to look next.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            for key in self.flows.keys(|flow| flow.ends <= now) {
                self.remove(key);
            }
            let first = self.flows.iter().map(|(_, flow)| flow.ends).min();
            self.sweep = first.map(|first| first.max(now + SWEEP));
        }
        self.sweep
    }

    fn remove(&mut self, key: Key) {
        let Some(flow) = self.flows.remove(key) else {
            return;
        };
        self.names.remove(&flow.name);
        if let Some(count) = self.owned.get_mut(&flow.owner) {
            *count -= 1;
        }
        if self.flows.is_empty() {
            self.names.shrink_to_fit();
            self.owned.clear();
        }
    }
}

/// A client as a socket of the address's family knows it.
fn mapped(client: SocketAddr, address: Option<IpAddr>) -> SocketAddr {
    match (client.ip(), address) {
        (IpAddr::V4(ip), Some(IpAddr::V6(_))) => (ip.to_ipv6_mapped(), client.port()).into(),
        _ => client,
    }
}

fn put(to: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    match send(to, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        // Datagrams are lost where there is no room.
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(()),
        Err(error) => Err(error),
    }
}
