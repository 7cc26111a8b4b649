//! Echo requests of containers to the world (RFC 792, RFC 4443), sent by sockets that the kernel gives to ordinary users
//! whose group is in `net.ipv4.ping_group_range` (icmp(7)). Each container's identifier has a socket of its own, since
//! the kernel chooses the identifier there.

use super::{Around, ECHO, Ears};
use crate::network::forward::Forwarder;
use crate::network::forward::events::{Key, Table, Token, Watch};
use crate::network::user::leases::Verdict;
use crate::network::user::segment;
use crate::sys::transparent;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
const PATIENCE: usize = 64;
/// How many conversations one container may have.
const MOST: usize = 256;
/// How long one lives in which nothing is said.
const LIFE: Duration = Duration::from_secs(30);
const SWEEP: Duration = Duration::from_secs(1);

/// Conversations of requests and replies.
#[derive(Debug, Default)]
pub struct Echoes {
    echoes: Table<Echo>,
    names: HashMap<Name, Key>,
    sweep: Option<Instant>,
}

/// Who asks whom, by which identifier.
type Name = (IpAddr, IpAddr, [u8; 2]);

#[derive(Debug)]
struct Echo {
    name: Name,
    owner: Key,
    socket: OwnedFd,
    ends: Instant,
}

impl Echoes {
    /// Containers have sent requests.
    pub fn take(&mut self, ears: &Ears, buffer: &mut [u8], around: &mut Around<'_>) {
        for _ in 0..PATIENCE {
            let received = match transparent::receive(ears.icmp.as_fd(), buffer) {
                Ok(received) => received,
                Err(Errno::AGAIN) => return,
                Err(_) => continue,
            };
            let packet = &mut buffer[..received.length];
            let from = received.from.ip();
            // Raw sockets of IPv4 get the header too.
            let start = match from.is_ipv4() {
                true => usize::from(packet.first().copied().unwrap_or(0) & 15) * 4,
                false => 0,
            };
            let (Some(message), Some(to)) = (packet.get_mut(start..), received.address) else {
                continue;
            };
            if message.len() < HEADER {
                continue;
            }
            match around.leases.judge(from, SocketAddr::new(to, 0)) {
                // It is the host that was asked, and we are there.
                (Verdict::Host, _) => reply(ears, from, to, message),
                (Verdict::Carry(_), owner) => {
                    if let Err(error) = self.ask((from, to), owner, message, around.forwarder) {
                        let quote = segment::echo_quote(from, to, message);
                        ears.tell(&quote, from, to, error);
                    }
                }
                (Verdict::Prohibited, _) => {
                    let quote = segment::echo_quote(from, to, message);
                    ears.tell(&quote, from, to, Errno::ACCESS);
                }
                (Verdict::Ignored, _) => {}
            }
        }
    }

    fn ask(
        &mut self,
        (from, to): (IpAddr, IpAddr),
        owner: Key,
        message: &[u8],
        forwarder: &Forwarder,
    ) -> Result<(), Errno> {
        let name = (from, to, [message[4], message[5]]);
        let known = self
            .names
            .get(&name)
            .and_then(|key| self.echoes.get_mut(*key));
        if let Some(echo) = known {
            echo.ends = Instant::now() + LIFE;
            return put(&echo.socket, message);
        }
        let own = self.echoes.iter().filter(|(_, echo)| echo.owner == owner);
        let own = own.count();
        if own >= MOST || !forwarder.has_room(owner, self.echoes.len(), own) {
            return Ok(());
        }
        let (family, protocol) = match to.is_ipv4() {
            true => (AddressFamily::INET, ipproto::ICMP),
            false => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
        transparent::tell_errors(socket.as_fd(), to.is_ipv6())?;
        connect(&socket, &SocketAddr::new(to, 0))?;
        let ends = Instant::now() + LIFE;
        let key = self.echoes.insert(Echo {
            name,
            owner,
            socket,
            ends,
        });
        self.names.insert(name, key);
        self.sweep.get_or_insert(ends);
        let Some(echo) = self.echoes.get(key) else {
            return Ok(());
        };
        let side = usize::from(to.is_ipv6());
        let token = Token {
            kind: ECHO,
            side,
            key,
        };
        let socket = echo.socket.as_fd();
        forwarder.events.watch(socket, token, Watch::Level)?;
        put(&echo.socket, message)
    }

    /// A reply has come from the world.
    pub fn answer(&mut self, token: Token, ears: &Ears, buffer: &mut [u8]) {
        let Some(echo) = self.echoes.get_mut(token.key) else {
            return;
        };
        let (from, to, identifier) = echo.name;
        if let Some(error) = transparent::take_errors(echo.socket.as_fd()) {
            let mut asked = [0; HEADER];
            asked[0] = if to.is_ipv4() { 8 } else { 128 };
            asked[4..6].copy_from_slice(&identifier);
            ears.tell(&segment::echo_quote(from, to, &asked), from, to, error);
        }
        for _ in 0..PATIENCE {
            let length = match recv(&echo.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => length.min(buffer.len()),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                // It is told by the queue of errors.
                Err(_) => continue,
            };
            if length < HEADER {
                continue;
            }
            echo.ends = Instant::now() + LIFE;
            let message = &mut buffer[..length];
            message[4..6].copy_from_slice(&identifier);
            reply(ears, from, to, message);
        }
    }

    /// Ends the conversations of an owner.
    pub fn cut(&mut self, owner: Key) {
        for key in self.echoes.keys(|echo| echo.owner == owner) {
            self.remove(key);
        }
    }

    /// Ends what was quiet for too long; when to look next.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            for key in self.echoes.keys(|echo| echo.ends <= now) {
                self.remove(key);
            }
            let first = self.echoes.iter().map(|(_, echo)| echo.ends).min();
            self.sweep = first.map(|first| first.max(now + SWEEP));
        }
        self.sweep
    }

    fn remove(&mut self, key: Key) {
        if let Some(echo) = self.echoes.remove(key) {
            self.names.remove(&echo.name);
        }
    }
}

/// Sends a reply to `whom` on behalf of `of`: a message with identifier, sequence number and what the request had.
fn reply(ears: &Ears, whom: IpAddr, of: IpAddr, message: &mut [u8]) {
    let kind = match whom.is_ipv4() {
        true => 0,
        false => 129,
    };
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    // The kernel does it for IPv6.
    if whom.is_ipv4() {
        let sum = segment::checksum(&[message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let _ = transparent::send(
        ears.icmp.as_fd(),
        message,
        SocketAddr::new(whom, 0),
        Some(of),
    );
}

fn put(to: &OwnedFd, message: &[u8]) -> Result<(), Errno> {
    match send(to, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(()),
        Err(error) => Err(error),
    }
}
