//! Published ports: whoever connects to a port of the host is connected to a container, and bytes are carried between.
//!
//! ```text
//! host's namespace                          namespace of the networks
//! client ──▶ door (bound, listening) ──▶ socket with the client's address ──▶ container
//! ```
//!
//! Where the networks are in a namespace of their own ([`inside::Inside::Elsewhere`]) the socket towards the container
//! has the address and the port of the client, so that the container sees who it is: everything there that leads to no
//! network leads back to that namespace, and so do the answers. Clients whose address would not lead back (loopback,
//! link-local, one in a network there) have the address of the network's gateway instead.
//!
//! A [`Forwarder`] is one descriptor that is readable when there is something to do; nothing in it waits.

pub mod datagram;
pub mod door;
pub mod events;
pub mod inside;
pub mod stream;

pub use door::Wanted;

use crate::error::{Error, Kind};
use crate::network::endpoint::{Protocol, Publication};
use crate::sys::transparent;
use anyhow::{Context, Result};
use datagram::{Back, Datagrams, Name};
use door::{Door, Holder, refusal};
use events::{Events, Key, Table, Token, Watch};
use inside::{Inside, Transport};
use ipnet::IpNet;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{bind, connect, sockopt};
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use stream::Streams;

/// Kinds of events; whoever shares the descriptor has those from [`FOREIGN`] on.
const STREAM_DOOR: u8 = 0;
const DATAGRAM_DOOR: u8 = 1;
const STREAM: u8 = 2;
const DATAGRAM: u8 = 3;
/// The first kind that is not ours.
pub const FOREIGN: u8 = 16;

/// How many come in by one door before others are served.
const PATIENCE: usize = 64;
/// How long nobody is let in when descriptors or memory ran out.
const PAUSE: Duration = Duration::from_millis(100);
/// How often [`Forwarder::turn`] looks before its caller does something else.
const ROUNDS: usize = 8;

/// Where published ports lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// What it is known by: an endpoint's id.
    pub id: String,
    /// What a human calls it: the container's name.
    pub name: String,
    /// Its address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its address.
    pub ipv6: Option<Ipv6Addr>,
    /// The gateways of its network.
    pub gateways: Vec<IpAddr>,
}

/// Published ports of any number of containers.
#[derive(Debug)]
pub struct Forwarder {
    pub(super) events: Events,
    pub(super) inside: Inside,
    pub(super) streams: Streams,
    pub(super) datagrams: Datagrams,
    /// How many descriptors connections may take, so that there are some for other things.
    room: usize,
    /// Networks inside: clients from there are known by their gateways.
    pub(super) networks: Vec<IpNet>,
    targets: Table<Target>,
    doors: Table<(Door, Key)>,
    /// Doors at which nobody is let in for a while.
    paused: Vec<Key>,
    pause: Option<Instant>,
    happened: Vec<(Token, EventFlags)>,
}

impl Forwarder {
    /// No ports yet.
    pub fn new(inside: Inside) -> Result<Self> {
        Ok(Self {
            events: Events::new().context("epoll_create")?,
            inside,
            streams: Streams::new(STREAM),
            datagrams: Datagrams::new(DATAGRAM),
            room: room(),
            networks: Vec::new(),
            targets: Table::default(),
            doors: Table::default(),
            paused: Vec::new(),
            pause: None,
            happened: Vec::new(),
        })
    }

    /// Publishes ports of a container in the caller's network namespace, all or none.
    ///
    /// Errors: [`Kind::Conflict`] for a port that is taken, [`Kind::Denied`] for one that the caller may not have,
    /// [`Kind::Unsupported`] for a protocol that is not carried.
    pub fn publish(&mut self, target: Target, wanted: &[Wanted]) -> Result<Vec<Publication>> {
        let mut doors = Vec::new();
        let mut publications = Vec::new();
        for wanted in wanted {
            self.open(wanted, &mut doors, &mut publications)?;
        }
        let owner = self.enroll(target);
        for door in doors {
            let transport = door.transport();
            let key = self.doors.insert((door, owner));
            if let (Some(transport), Some((door, _))) = (transport, self.doors.get(key)) {
                let kind = match transport {
                    Transport::Stream => STREAM_DOOR,
                    Transport::Datagram => DATAGRAM_DOOR,
                };
                self.events
                    .watch(door.socket.as_fd(), Token::new(kind, key), Watch::Level)
                    .context("watch a published port")?;
            }
        }
        Ok(publications)
    }

    /// What a target and all that is carried for it is known by here, until [`Self::unpublish`].
    pub(super) fn enroll(&mut self, target: Target) -> Key {
        let known = self.targets.iter().find(|(_, known)| known.id == target.id);
        match known.map(|(key, _)| key) {
            Some(key) => key,
            None => self.targets.insert(target),
        }
    }

    /// Withdraws the ports of a target, and cuts what goes through them.
    pub fn unpublish(&mut self, id: &str) {
        for owner in self.targets.keys(|target| target.id == id) {
            for key in self.doors.keys(|(_, of)| *of == owner) {
                self.doors.remove(key);
            }
            self.streams.cut(owner);
            self.datagrams.cut(owner);
            self.targets.remove(owner);
        }
    }

    /// Whether there are descriptors for one more connection of an owner, where so many others are taken elsewhere, some
    /// of them his own. One who is not alone may have as many as he leaves to the others.
    pub(super) fn has_room(&self, owner: Key, elsewhere: usize, own: usize) -> bool {
        // Of each connection two sockets, and pipes of those that are busy.
        let taken = self.streams.len() * 3 + self.datagrams.len() * 2;
        let left = self
            .room
            .saturating_sub(taken + self.doors.len() + elsewhere);
        let own = self.streams.of(owner) * 3 + self.datagrams.of(owner) * 2 + own;
        left > 0 && (own < left || self.targets.len() == 1)
    }

    /// The address by which the host itself reaches a port that is published here, other than on loopback alone.
    pub fn own(&self, port: u16, transport: Transport) -> Option<IpAddr> {
        let mut doors = self.doors.iter().map(|(_, (door, _))| door);
        let is_wanted = |door: &&Door| {
            door.port == port
                && door.transport() == Some(transport)
                && door.address.is_none_or(|address| !address.is_loopback())
        };
        let door = doors.find(is_wanted)?;
        Some(match door.address {
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Some(address) if address.is_unspecified() && address.is_ipv4() => {
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            }
            Some(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Some(address) => address,
        })
    }

    /// Binds what one request asks for.
    fn open(
        &self,
        wanted: &Wanted,
        doors: &mut Vec<Door>,
        publications: &mut Vec<Publication>,
    ) -> Result<()> {
        if wanted.protocol == Protocol::Sctp && self.inside.is_transparent() {
            return Err(Error::new(
                Kind::Unsupported,
                format!(
                    "port {}/sctp cannot be published by an ordinary user",
                    wanted.container.0
                ),
            )
            .hint("publish it as root, or use the network of the host (`--network host`)")
            .into());
        }
        let (first, last) = wanted.container;
        for target in first..=last {
            let ports = match wanted.host {
                None => (0, 0),
                Some(host) if first == last => host,
                Some((host, _)) => {
                    let port = host.saturating_add(target - first);
                    (port, port)
                }
            };
            let door = self.open_one(wanted, ports, target, doors)?;
            add(publications, wanted, door.port, target);
            doors.push(door);
        }
        Ok(())
    }

    /// Binds the first port of a run that is free.
    fn open_one(
        &self,
        wanted: &Wanted,
        (first, last): (u16, u16),
        target: u16,
        own: &[Door],
    ) -> Result<Door> {
        let mut result = Err(Errno::INVAL);
        for port in first..=last {
            result = Door::open(wanted.address, port, wanted.protocol, target);
            if !matches!(result, Err(Errno::ADDRINUSE)) {
                break;
            }
        }
        result.map_err(|error| {
            let is_it = |door: &Door| door.is_at(wanted.address, first, wanted.protocol);
            let holder = match own.iter().any(is_it) {
                true => Holder::Itself,
                false => self.holder(is_it),
            };
            refusal(wanted.address, first, wanted.protocol, error, holder).into()
        })
    }

    /// Who has the port of a door.
    fn holder(&self, is_it: impl Fn(&Door) -> bool) -> Holder<'_> {
        let found = self.doors.iter().find(|(_, (door, _))| is_it(door));
        let target = found.and_then(|(_, (_, owner))| self.targets.get(*owner));
        target.map_or(Holder::Unknown, |target| Holder::Container(&target.name))
    }

    /// Does what there is to do, without waiting for more.
    pub fn turn(&mut self) -> Result<()> {
        let mut happened = std::mem::take(&mut self.happened);
        for _ in 0..ROUNDS {
            self.events
                .take(false, &mut happened)
                .context("epoll_wait")?;
            if happened.is_empty() && !self.streams.is_tired() {
                break;
            }
            for (token, flags) in happened.drain(..) {
                self.handle(token, flags);
            }
            self.streams.go_on(&self.events);
        }
        self.happened = happened;
        self.datagrams.take_failures();
        let next = self.expire(Instant::now());
        self.events.set_alarm(next).context("timerfd_settime")
    }

    /// Something has happened to what is ours.
    pub(super) fn handle(&mut self, token: Token, flags: EventFlags) {
        match token.kind {
            STREAM => self.streams.handle(&self.events, token, flags),
            DATAGRAM => {
                let doors = &self.doors;
                self.datagrams
                    .answer(token, flags, |key| doors.get(key).map(|(door, _)| door));
            }
            STREAM_DOOR => self.let_in(token),
            DATAGRAM_DOOR => self.take_in(token.key),
            _ => {}
        }
    }

    /// When [`Self::expire`] is to be called again.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.pause.is_some_and(|end| end <= now) {
            self.pause = None;
            for key in std::mem::take(&mut self.paused) {
                if let Some((door, _)) = self.doors.get(key) {
                    let token = Token::new(STREAM_DOOR, key);
                    let _ = self.events.change(door.socket.as_fd(), token, Watch::Level);
                }
            }
        }
        let tired = self.streams.is_tired().then_some(now);
        let times = [self.datagrams.expire(now), self.pause, tired];
        times.into_iter().flatten().min()
    }

    /// Connections have come.
    fn let_in(&mut self, token: Token) {
        let Some((door, owner)) = self.doors.get_mut(token.key) else {
            return;
        };
        let (owner, port, patience) = (*owner, door.target, door.patience);
        door.patience = (2 * patience).min(PATIENCE);
        for _ in 0..patience {
            if !self.has_room(owner, 0, 0) {
                return self.pause(token);
            }
            let Some((door, _)) = self.doors.get_mut(token.key) else {
                return;
            };
            match door.accept() {
                Ok(Some((socket, client))) => {
                    if self
                        .join(socket, client, owner, port)
                        .is_err_and(is_shortage)
                    {
                        return self.pause(token);
                    }
                }
                Ok(None) => {
                    door.patience = 1;
                    return;
                }
                Err(_) => return self.pause(token),
            }
        }
    }

    /// Lets nobody in for a while, instead of being told without end that somebody waits.
    fn pause(&mut self, token: Token) {
        if let Some((door, _)) = self.doors.get(token.key) {
            let _ = self
                .events
                .change(door.socket.as_fd(), token, Watch::Paused);
            self.paused.push(token.key);
            self.pause = Some(Instant::now() + PAUSE);
        }
    }

    /// Connects a client that has come, or resets its connection.
    fn join(
        &mut self,
        socket: OwnedFd,
        client: SocketAddr,
        owner: Key,
        port: u16,
    ) -> Result<(), Errno> {
        match self.reach(owner, client, port, Transport::Stream) {
            Ok(ahead) => {
                self.streams.insert(&self.events, socket, ahead, owner)?;
                Ok(())
            }
            Err(error) => {
                let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
                Err(error)
            }
        }
    }

    /// Datagrams have come.
    fn take_in(&mut self, key: Key) {
        for _ in 0..PATIENCE {
            let Some((door, owner)) = self.doors.get(key) else {
                return;
            };
            let (owner, port) = (*owner, door.target);
            let received = match self.datagrams.receive(&door.socket) {
                Ok(received) => received,
                Err(Errno::AGAIN) => return,
                // What an earlier answer was refused with.
                Err(_) => continue,
            };
            let client = door::canonical(received.from);
            let name = Name {
                door: key,
                from: client,
                to: received.address.map(|address| SocketAddr::new(address, 0)),
            };
            if !self.datagrams.contains(&name) {
                if !self.datagrams.has_room(owner) || !self.has_room(owner, 0, 0) {
                    continue;
                }
                let Ok(ahead) = self.reach(owner, client, port, Transport::Datagram) else {
                    continue;
                };
                let back = Back::Door(received.address);
                let begun = self
                    .datagrams
                    .insert(&self.events, name, ahead, back, owner, port);
                if begun.is_err() {
                    continue;
                }
            }
            self.datagrams.pass(&name, received.length);
        }
    }

    /// A socket that is connected to a container, or about to be, with the client's address where that leads back.
    fn reach(
        &mut self,
        owner: Key,
        client: SocketAddr,
        port: u16,
        transport: Transport,
    ) -> Result<OwnedFd, Errno> {
        let target = self.targets.get(owner).ok_or(Errno::NOENT)?;
        let (ipv4, ipv6) = (target.ipv4.map(IpAddr::V4), target.ipv6.map(IpAddr::V6));
        let address = match client.ip() {
            IpAddr::V4(_) => ipv4.or(ipv6),
            IpAddr::V6(_) => ipv6.or(ipv4),
        };
        let address = address.ok_or(Errno::HOSTUNREACH)?;
        let ahead = SocketAddr::new(address, port);
        let gateway = target
            .gateways
            .iter()
            .find(|gateway| gateway.is_ipv4() == address.is_ipv4());
        let gateway = gateway.map(|gateway| SocketAddr::new(*gateway, 0));
        if !self.inside.is_transparent() {
            return self.connected(None, ahead, transport);
        }
        if self.leads_back(client.ip()) && client.is_ipv4() == ahead.is_ipv4() {
            match self.connected(Some(client), ahead, transport) {
                // That very connection may still be ending (TIME-WAIT).
                Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) => {}
                result => return result,
            }
        }
        self.connected(gateway, ahead, transport)
    }

    fn connected(
        &mut self,
        from: Option<SocketAddr>,
        to: SocketAddr,
        transport: Transport,
    ) -> Result<OwnedFd, Errno> {
        let socket = self.inside.socket(transport, to.is_ipv6())?;
        if let Some(from) = from {
            match (from.port(), transport) {
                (0, Transport::Stream) => transparent::leave_port_open(socket.as_fd())?,
                // Those of streams have it, and datagrams to the same port must not come from the same one.
                (_, Transport::Stream) | (0, Transport::Datagram) => {}
                // A client may use its port towards several ports of ours.
                (_, Transport::Datagram) => sockopt::set_socket_reuseaddr(&socket, true)?,
            }
            bind(&socket, &from)?;
        }
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(error),
        }
    }

    /// Whether answers to an address come back to the namespace of the networks.
    fn leads_back(&self, client: IpAddr) -> bool {
        let reachable = match client {
            IpAddr::V4(address) => {
                !(address.is_loopback()
                    || address.is_link_local()
                    || address.is_unspecified()
                    || address.is_multicast()
                    || address.is_broadcast())
            }
            IpAddr::V6(address) => {
                !(address.is_loopback()
                    || address.is_unicast_link_local()
                    || address.is_unspecified()
                    || address.is_multicast())
            }
        };
        reachable
            && !self
                .networks
                .iter()
                .any(|network| network.contains(&client))
    }
}

impl AsFd for Forwarder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// How many descriptors connections may take: a quarter of a small limit is left to others, to sockets in stock and
/// monitors. The doors of a large range are not refused for that.
fn room() -> usize {
    const OTHERS: u64 = 4096;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit - (limit / 4).min(OTHERS)).unwrap_or(usize::MAX)
}

/// Whether waiting may help.
fn is_shortage(error: Errno) -> bool {
    matches!(
        error,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM
    )
}

/// Adds a port to the last run of ports, or begins another one.
fn add(publications: &mut Vec<Publication>, wanted: &Wanted, host: u16, container: u16) {
    if let Some(last) = publications.last_mut()
        && (last.address, last.protocol) == (wanted.address, wanted.protocol)
        && last.host.checked_add(last.count) == Some(host)
        && last.container.checked_add(last.count) == Some(container)
    {
        last.count += 1;
        return;
    }
    publications.push(Publication {
        address: wanted.address,
        host,
        container,
        count: 1,
        protocol: wanted.protocol,
    });
}

#[cfg(test)]
mod tests;
