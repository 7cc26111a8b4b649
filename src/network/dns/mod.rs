//! The resolver of one container: it answers the names of the containers in its networks from what lives there now, and
//! passes all other questions on.
//!
//! ```text
//! container's network namespace          the process that keeps the container (its own namespace: the host's)
//!   program ── 127.0.0.11:53 udp, tcp ──▶ Resolver ──▶ zone: live endpoints of the networks
//!                                            │
//!                                            ├──▶ the host's resolvers, from the host's namespace (systemd-resolved's
//!                                            │    127.0.0.53 answers), as /etc/resolv.conf says at that moment
//!                                            └──▶ or those of --dns, from the container's namespace
//! ```
//!
//! All of it is one epoll(7) descriptor for a loop that waits for other things too: [`Resolver::as_fd`] is readable when
//! [`Resolver::turn`] has something to do, which never waits. There is no thread, and while nothing is asked no timer.
//!
//! Answers about containers have a TTL of 0: they are made from live state in microseconds, and whatever remembered them
//! would go on naming a container that is gone. They are no authority for anything else: what is no name of ours is
//! forwarded as it came, with its EDNS options (RFC 6891), under a random number and from a random port (RFC 5452), by
//! datagrams or, for who asks by TCP, by TCP (RFC 7766).
//!
//! Where nothing can be forwarded (all networks are internal) and where the egress policy forbids a name, there is no
//! such name (NXDOMAIN): programs take that for an answer, while SERVFAIL lets musl's wait until its time is up.

mod directory;
mod exchange;
pub mod message;
mod redirect;
mod resolver;
mod sockets;
mod stream;
mod zone;

pub use directory::Directory;
pub use resolver::Resolver;
pub use sockets::Sockets;

use super::endpoint::Endpoint;
use super::resolv_conf::Server;
use anyhow::Result;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// What the resolver of a container has to know of it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The networks whose names it answers, the most important first: those that users have made. Empty: it forwards
    /// everything, as on the default bridge.
    pub networks: Vec<Zone>,
    /// Names that this container alone has for others (`--link`).
    pub links: Vec<Link>,
    /// Resolvers that were asked for (`--dns`), asked from the container's network namespace. Empty: those of the host.
    pub servers: Vec<Server>,
    /// Options that were asked for (`--dns-option`): `timeout:N`, `attempts:N` and `rotate` count here. Empty: those of
    /// the host.
    pub options: Vec<String>,
    /// The container has a way out: what is no container's name is forwarded.
    pub forwards: bool,
}

/// A network by its id and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// 64 hexadecimal digits.
    pub id: String,
    /// What may stand behind the names of containers.
    pub name: String,
}

/// Another name for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The new name.
    pub name: String,
    /// Name or whole id of the container.
    pub target: String,
}

/// Who lives in the networks: a [`Directory`], or any function from a network's id to its live endpoints.
pub trait Names {
    /// Shows those that may live.
    fn visit(&self, network: &str, show: &mut dyn FnMut(&Endpoint));

    /// Whether one of these does; asked before its address is given to anyone.
    fn is_live(&self, _: &Endpoint) -> bool {
        true
    }
}

impl<F: Fn(&str) -> Vec<Endpoint>> Names for F {
    fn visit(&self, network: &str, show: &mut dyn FnMut(&Endpoint)) {
        self(network).iter().for_each(show);
    }
}

/// What a container may find out and reach, other containers not excepted.
pub trait Egress {
    /// Whether it may ask for this name: lower case, no dot at the end.
    fn allows(&self, name: &str) -> bool;

    /// Whether that may be an address of it. A name of the Internet that leads into the host's own networks is an attack
    /// (DNS rebinding), so that only public addresses are accepted unless told otherwise.
    fn accepts(&self, _name: &str, address: IpAddr) -> bool {
        is_public(address)
    }

    /// Called before the container gets to know these addresses; if it fails, it does not.
    fn learned(&mut self, name: &str, addresses: &[IpAddr], ttl: Duration) -> Result<()>;

    /// The same for those of another container, which are its own however private they are.
    fn met(&mut self, name: &str, addresses: &[IpAddr]) -> Result<()>;
}

/// Whether an address is none of the host, its links, private networks or groups (RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, third, _] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_protocol = first == 192 && second == 0 && third == 0;
            let is_benchmark = first == 198 && second & 0xfe == 18;
            !(first == 0
                || first >= 240
                || is_shared
                || is_protocol
                || is_benchmark
                || address.is_loopback()
                || address.is_private()
                || address.is_link_local()
                || address.is_multicast()
                || address.is_documentation())
        }
        IpAddr::V6(address) => is_public_ipv6(address),
    }
}

/// An address that carries an IPv4 address is as public as that: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
fn is_public_ipv6(address: Ipv6Addr) -> bool {
    let words = address.segments();
    let carried = |at: usize| {
        let bits = u32::from(words[at]) << 16 | u32::from(words[at + 1]);
        is_public(IpAddr::V4(bits.into()))
    };
    match words {
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => carried(6),
        [0x2002, ..] => carried(1),
        [0x2001, 0xdb8, ..] => false,
        // What is given out to the public begins with 001 (RFC 4291 section 2.4).
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for (address, expect) in [
            ("93.184.216.34", true),
            ("172.15.0.1", true),
            ("100.63.0.1", true),
            ("172.16.0.1", false),
            ("10.0.0.1", false),
            ("192.168.0.1", false),
            ("127.0.0.53", false),
            ("0.0.0.0", false),
            ("100.64.0.1", false),
            ("169.254.169.254", false),
            ("198.18.0.1", false),
            ("192.0.0.170", false),
            ("224.0.0.251", false),
            ("255.255.255.255", false),
            ("2606:2800::1", true),
            ("::ffff:93.184.216.34", true),
            ("64:ff9b::5db8:d822", true),
            ("2002:5db8:d822::1", true),
            ("::", false),
            ("::1", false),
            ("::10.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b:1::a00:1", false),
            ("2002:a00:1::1", false),
            ("2001:db8::1", false),
            ("fd00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::fb", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expect, "{address}");
        }
    }
}
