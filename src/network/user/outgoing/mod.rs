//! What containers of a user send out of their networks: connections, datagrams and echo requests, carried by sockets of
//! the host's network namespace.

mod datagram;
mod echo;
mod stream;

use super::leases::{Leases, Verdict, own_address};
use super::namespace::Ears;
use super::segment;
use crate::network::forward::events::{Events, Key, Token, Watch};
use crate::network::forward::inside::Transport;
use crate::network::forward::{FOREIGN, Forwarder};
use crate::sys::transparent;
use anyhow::{Context, Result};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Instant;

/// Kinds of events; the side is the family.
const OPENINGS: u8 = FOREIGN;
const STREAMS: u8 = FOREIGN + 1;
const ATTEMPT: u8 = FOREIGN + 2;
const DATAGRAMS: u8 = FOREIGN + 3;
const ICMP: u8 = FOREIGN + 4;
const ECHO: u8 = FOREIGN + 5;
/// The first kind that is free.
pub const FREE: u8 = FOREIGN + 8;

/// All that is on its way out.
#[derive(Debug)]
pub struct Outgoing {
    ears: [Option<Ears>; 2],
    attempts: stream::Attempts,
    echoes: echo::Echoes,
    /// For one packet.
    buffer: Box<[u8]>,
}

/// The longest packet there is.
const LONGEST: usize = 64 * 1024;

/// What the others of the process have that is needed here.
#[derive(Debug)]
pub struct Around<'a> {
    /// Carries what is connected.
    pub forwarder: &'a mut Forwarder,
    /// Says what may be reached.
    pub leases: &'a Leases,
}

impl Around<'_> {
    /// Where a connection is to be carried to, and whose it is; or why it is not, `None` where nothing is said.
    fn way(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        transport: Transport,
    ) -> Result<(SocketAddr, Key), Option<Errno>> {
        let (verdict, owner) = self.leases.judge(from.ip(), to);
        match verdict {
            Verdict::Carry(to) => Ok((to, owner)),
            Verdict::Prohibited => Err(Some(Errno::ACCESS)),
            Verdict::Ignored => Err(None),
            Verdict::Host => {
                let published = self.forwarder.own(to.port(), transport);
                let host = published
                    .or_else(|| own_address(to.is_ipv6()))
                    .or_else(|| own_address(!to.is_ipv6()));
                match host {
                    Some(host) => Ok((SocketAddr::new(host, to.port()), owner)),
                    None => Err(Some(Errno::NETUNREACH)),
                }
            }
        }
    }
}

impl Outgoing {
    /// Listens to what comes out of the networks.
    pub fn new(ears: [Option<Ears>; 2], forwarder: &Forwarder) -> Result<Self> {
        for (side, ears) in ears.iter().enumerate() {
            let Some(ears) = ears else { continue };
            for (kind, descriptor) in [
                (OPENINGS, ears.openings.as_fd()),
                (STREAMS, ears.streams.as_fd()),
                (DATAGRAMS, ears.datagrams.as_fd()),
                (ICMP, ears.icmp.as_fd()),
            ] {
                let key = Key::default();
                let token = Token { kind, side, key };
                forwarder
                    .events
                    .watch(descriptor, token, Watch::Level)
                    .context("epoll_ctl")?;
            }
        }
        Ok(Self {
            ears,
            attempts: stream::Attempts::default(),
            echoes: echo::Echoes::default(),
            buffer: vec![0; LONGEST].into_boxed_slice(),
        })
    }

    /// Something has happened.
    pub fn handle(&mut self, token: Token, flags: EventFlags, around: &mut Around<'_>) {
        if token.kind == ATTEMPT {
            return self.attempts.handle(token, flags, &self.ears, around);
        }
        let Some(ears) = &self.ears[token.side] else {
            return;
        };
        match token.kind {
            OPENINGS => self.attempts.open(ears, &mut self.buffer, around),
            STREAMS => self.attempts.join(token, ears, around),
            DATAGRAMS => datagram::take(ears, around),
            ICMP => self.echoes.take(ears, &mut self.buffer, around),
            ECHO => self.echoes.answer(token, ears, &mut self.buffer),
            _ => {}
        }
    }

    /// Tells containers what became of datagrams that did not arrive.
    pub fn complain(&self, around: &mut Around<'_>) {
        for (name, error) in around.forwarder.datagrams.take_failures() {
            // Where it came in by a published port, the sender is elsewhere.
            let (Some(to), true) = (name.to, name.door == Key::default()) else {
                continue;
            };
            let quote = segment::datagram_quote(name.from, to);
            self.tell(&quote, name.from.ip(), to.ip(), error);
        }
    }

    fn tell(&self, quote: &[u8], whom: IpAddr, of: IpAddr, error: Errno) {
        if let Some(ears) = &self.ears[usize::from(whom.is_ipv6())] {
            ears.tell(quote, whom, of, error);
        }
    }

    /// Ends what belongs to an owner.
    pub fn cut(&mut self, owner: Key) {
        self.attempts.cut(owner);
        self.echoes.cut(owner);
    }

    /// Ends what was waited for too long; when to look next.
    pub fn expire(&mut self, now: Instant, events: &Events) -> Option<Instant> {
        for (side, due) in self.attempts.resume(now).into_iter().enumerate() {
            if let (true, Some(ears)) = (due, &self.ears[side]) {
                let (kind, key) = (STREAMS, Key::default());
                let token = Token { kind, side, key };
                let _ = events.change(ears.streams.as_fd(), token, Watch::Level);
            }
        }
        let times = [self.attempts.expire(now), self.echoes.expire(now)];
        times.into_iter().flatten().min()
    }
}

impl Ears {
    /// Tells somebody by ICMP that what he has sent did not arrive, on behalf of whom he has sent it to.
    fn tell(&self, quote: &[u8], whom: IpAddr, of: IpAddr, error: Errno) {
        if let Some(message) = segment::complaint(quote, error) {
            let _ = transparent::send(
                self.icmp.as_fd(),
                &message,
                SocketAddr::new(whom, 0),
                Some(of),
            );
        }
    }
}
