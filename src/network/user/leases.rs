//! Who is in the networks, and what may be reached from there.
//!
//! Invariant: a container reaches what is outside, and the host by its gateway; never the host's loopback, never another
//! network, and nothing at all from an internal one or with an address that was not leased, or to another network.

use super::protocol::Lease;
use crate::network::forward::events::Key;
use crate::network::link;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is carried to that place.
    Carry(SocketAddr),
    /// It is for the host itself, whose address is still to be found.
    Host,
    /// Nobody may go there, which is said.
    Prohibited,
    /// It is not of this world.
    Ignored,
}

/// All leases.
#[derive(Debug, Default)]
pub struct Leases {
    leases: Vec<(Key, Lease)>,
    sources: HashMap<IpAddr, usize>,
}

impl Leases {
    /// Adds one, known by a key.
    pub fn insert(&mut self, key: Key, lease: Lease) {
        self.leases.push((key, lease));
        self.order();
    }

    /// Takes that of an endpoint out.
    pub fn remove(&mut self, endpoint: &str) -> Option<Key> {
        let place = self
            .leases
            .iter()
            .position(|(_, lease)| lease.endpoint == endpoint)?;
        let (key, _) = self.leases.swap_remove(place);
        self.order();
        Some(key)
    }

    /// The lease of an endpoint.
    pub fn of(&self, endpoint: &str) -> Option<&Lease> {
        let mut leases = self.leases.iter().map(|(_, lease)| lease);
        leases.find(|lease| lease.endpoint == endpoint)
    }

    /// The bridge behind which somebody is.
    pub fn interface(&self, of: IpAddr) -> Option<&str> {
        let (_, lease) = self.leases.get(*self.sources.get(&of)?)?;
        Some(&lease.interface)
    }

    /// All networks.
    pub fn networks(&self) -> Vec<IpNet> {
        let mut networks: Vec<IpNet> = self
            .leases
            .iter()
            .flat_map(|(_, lease)| lease.subnets.iter().copied())
            .collect();
        networks.sort_unstable();
        networks.dedup();
        networks
    }

    fn order(&mut self) {
        self.sources.clear();
        for (place, (_, lease)) in self.leases.iter().enumerate() {
            self.sources
                .extend(lease.addresses.iter().map(|address| (*address, place)));
        }
    }

    /// What becomes of a connection of somebody, and whose it is.
    pub fn judge(&self, from: IpAddr, to: SocketAddr) -> (Verdict, Key) {
        let Some((key, lease)) = self
            .sources
            .get(&from)
            .and_then(|place| self.leases.get(*place))
        else {
            return (Verdict::Ignored, Key::default());
        };
        let address = to.ip();
        let verdict = if lease.internal {
            Verdict::Prohibited
        } else if lease.gateways.contains(&address) {
            Verdict::Host
        } else if self.is_inside(address) || !is_elsewhere(address) {
            Verdict::Ignored
        } else {
            Verdict::Carry(to)
        };
        (verdict, *key)
    }

    /// Whether an address is one of the networks'.
    fn is_inside(&self, address: IpAddr) -> bool {
        let mut subnets = self.leases.iter().flat_map(|(_, lease)| &lease.subnets);
        subnets.any(|subnet| subnet.contains(&address))
    }
}

/// Whether an address is one of a single machine that is not this one, as far as the address itself tells.
fn is_elsewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let first = address.octets()[0];
            !(address.is_loopback()
                || address.is_multicast()
                || address.is_broadcast()
                || first == 0)
        }
        IpAddr::V6(address) => {
            // `::`, `::1` and the forms of IPv4 that only mean something within a machine.
            let is_local = address.segments()[..5] == [0; 5];
            !(is_local || address.is_multicast() || address.is_unicast_link_local())
        }
    }
}

/// The address by which the host is known to others, of one family: the one that it would use to speak to them, or, where
/// there is no way to them, one of its interfaces. Nothing is sent to learn it.
pub fn own_address(ipv6: bool) -> Option<IpAddr> {
    let of_an_interface = || {
        let addresses = link::addresses(&link::socket().ok()?, ipv6).ok()?;
        addresses.into_iter().find(|address| !address.is_loopback())
    };
    address_towards_others(ipv6).or_else(of_an_interface)
}

fn address_towards_others(ipv6: bool) -> Option<IpAddr> {
    // Documentation has these to itself (RFC 5737, RFC 3849).
    let (any, far): (IpAddr, IpAddr) = match ipv6 {
        false => (
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        ),
        true => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::forward::events::Table;

    fn lease(network: u8, internal: bool) -> Lease {
        Lease {
            endpoint: format!("endpoint {network}"),
            addresses: vec![
                Ipv4Addr::new(10, 88, network, 2).into(),
                format!("fd00:{network}::2").parse().unwrap(),
            ],
            subnets: vec![
                format!("10.88.{network}.0/24").parse().unwrap(),
                format!("fd00:{network}::/64").parse().unwrap(),
            ],
            gateways: vec![
                Ipv4Addr::new(10, 88, network, 1).into(),
                format!("fd00:{network}::1").parse().unwrap(),
            ],
            internal,
            ..Lease::default()
        }
    }

    #[test]
    fn a_container_reaches_what_is_outside_and_the_host_by_its_gateway() {
        let mut keys = Table::default();
        let mut leases = Leases::default();
        let first = keys.insert(());
        leases.insert(first, lease(1, false));
        leases.insert(keys.insert(()), lease(2, false));
        leases.insert(keys.insert(()), lease(3, true));
        let carried = |to: &str| Verdict::Carry(to.parse().unwrap());
        for (from, to, expected) in [
            ("10.88.1.2", "192.0.2.7:80", carried("192.0.2.7:80")),
            (
                "10.88.1.2",
                "169.254.169.254:80",
                carried("169.254.169.254:80"),
            ),
            ("fd00:1::2", "[2001:db8::7]:80", carried("[2001:db8::7]:80")),
            ("10.88.1.2", "10.88.1.1:80", Verdict::Host),
            ("fd00:1::2", "[fd00:1::1]:80", Verdict::Host),
            // Not the own gateway.
            ("10.88.1.2", "10.88.2.1:80", Verdict::Ignored),
            ("10.88.1.2", "10.88.2.2:80", Verdict::Ignored),
            ("10.88.1.2", "10.88.1.9:80", Verdict::Ignored),
            ("fd00:1::2", "[fd00:2::2]:80", Verdict::Ignored),
            // Nobody that is known.
            ("10.88.1.3", "192.0.2.7:80", Verdict::Ignored),
            ("192.0.2.8", "192.0.2.7:80", Verdict::Ignored),
            ("10.88.3.2", "192.0.2.7:80", Verdict::Prohibited),
            ("10.88.3.2", "10.88.3.1:80", Verdict::Prohibited),
            ("10.88.1.2", "127.0.0.1:80", Verdict::Ignored),
            ("10.88.1.2", "127.8.9.1:80", Verdict::Ignored),
            ("10.88.1.2", "0.0.0.0:80", Verdict::Ignored),
            ("10.88.1.2", "0.1.2.3:80", Verdict::Ignored),
            ("10.88.1.2", "224.0.0.251:5353", Verdict::Ignored),
            ("10.88.1.2", "255.255.255.255:67", Verdict::Ignored),
            ("fd00:1::2", "[::1]:80", Verdict::Ignored),
            ("fd00:1::2", "[::]:80", Verdict::Ignored),
            ("fd00:1::2", "[::ffff:127.0.0.1]:80", Verdict::Ignored),
            ("fd00:1::2", "[::127.0.0.1]:80", Verdict::Ignored),
            ("fd00:1::2", "[fe80::1]:80", Verdict::Ignored),
            ("fd00:1::2", "[ff02::fb]:5353", Verdict::Ignored),
        ] {
            let (verdict, owner) = leases.judge(from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(verdict, expected, "{from} to {to}");
            assert!(owner == first || !from.contains("10.88.1.2"), "{from}");
        }
        assert_eq!(leases.remove("endpoint 1"), Some(first));
        let gone = leases.judge(
            "10.88.1.2".parse().unwrap(),
            "192.0.2.7:80".parse().unwrap(),
        );
        assert_eq!(gone.0, Verdict::Ignored);
        assert_eq!(leases.networks().len(), 4);
    }
}
