//! What a container may reach (`--egress`): addresses, subnets and names that are listed; all else it may not.
//!
//! ```text
//! program ─ asks 127.0.0.11 ─▶ Gate: names that are listed only, and only public addresses of them, which are
//!    │                           told to the filters before they are told to the program
//!    └─ sends ─▶ its interface's end outside: a Filter lets pass what is listed or was told (nftables::egress)
//! ```
//!
//! Invariant: what the program knows by itself does not help it. An address that is not listed and that no listed name
//! has led to since its time was up is reached by nothing it can send.

use super::dns::{Egress, is_public};
use super::nftables::egress::Filter;
use super::record::Network;
use crate::error::{Error, bad_input};
use anyhow::Result;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long an address of a name may be reached: as long as its TTL, within these. Who has just been told needs a moment
/// to connect.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A list of what may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names, and `*.` with a domain for those below it; with their ports, or all.
    names: Vec<(String, Option<u16>)>,
    /// Addresses with their ports, or all.
    pub(super) listed: Vec<(IpNet, Option<u16>)>,
}

impl Policy {
    /// Of `HOST[:PORT]` each, where IPv6 with a port stands in brackets; names in small letters.
    pub fn parse(destinations: &[String]) -> Result<Self, Error> {
        let mut policy = Self::default();
        for text in destinations {
            if let Some(subnet) = subnet(text) {
                policy.listed.push((subnet, None));
                continue;
            }
            let wrong = || bad_input(format!("{text:?} is nothing that can be reached"));
            let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
                Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
                None => (text.as_str(), None),
            };
            let bare = host
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            match (subnet(bare.unwrap_or(host)), bare) {
                (Some(subnet), _) => policy.listed.push((subnet, port)),
                (None, Some(_)) => return Err(wrong()),
                (None, None) => policy.names.push((host.to_owned(), port)),
            }
        }
        Ok(policy)
    }

    /// The ports that may be reached at the addresses of a name; none if the name is not listed.
    fn ports(&self, name: &str) -> Vec<Option<u16>> {
        let is = |listed: &str| match listed.strip_prefix('*') {
            Some(domain) => name.len() > domain.len() && name.ends_with(domain),
            None => name == listed,
        };
        let fitting = self.names.iter().filter(|(listed, _)| is(listed));
        fitting.map(|(_, port)| *port).collect()
    }

    fn is_listed(&self, address: IpAddr) -> bool {
        let mut listed = self.listed.iter();
        listed.any(|(subnet, _)| subnet.contains(&address))
    }
}

fn subnet(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse()
        .ok()
        .map(|net: IpNet| net.trunc())
        .or_else(address)
}

/// A container with a list can only be in networks whose other end is here.
pub fn needs_bridge(network: &Network) -> Error {
    let message = format!(
        "network {}: what a container may reach by a {} network cannot be limited",
        network.name,
        network.driver.word()
    );
    bad_input(message).hint("use a bridge network with --egress")
}

/// The policy of a container's resolver.
#[derive(Debug)]
pub struct Gate {
    /// What is listed.
    pub policy: Policy,
    /// Of all its interfaces.
    pub filters: Vec<Arc<Filter>>,
}

impl Gate {
    fn allow(&self, name: &str, addresses: &[IpAddr], ttl: Duration) -> Result<()> {
        let time = ttl.clamp(SHORTEST, LONGEST);
        let ports = self.policy.ports(name);
        let mut filters = self.filters.iter();
        filters.try_for_each(|filter| filter.allow(addresses, &ports, time))
    }
}

impl Egress for Gate {
    fn allows(&self, name: &str) -> bool {
        !self.policy.ports(name).is_empty()
    }

    fn accepts(&self, _: &str, address: IpAddr) -> bool {
        is_public(address) || self.policy.is_listed(address)
    }

    fn learned(&mut self, name: &str, addresses: &[IpAddr], ttl: Duration) -> Result<()> {
        // Private ones are reached as they are listed, not as the name is.
        let public = addresses.iter().copied().filter(|one| is_public(*one));
        self.allow(name, &public.collect::<Vec<_>>(), ttl)
    }

    fn met(&mut self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        self.allow(name, addresses, SHORTEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(texts: &[&str]) -> Policy {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Policy::parse(&texts).unwrap()
    }

    #[test]
    fn names_are_those_that_are_listed() {
        let policy = policy(&["example.com:443", "example.com:80", "*.example.org", "db"]);
        for (name, ports) in [
            ("example.com", &[Some(443), Some(80)][..]),
            ("www.example.com", &[]),
            ("badexample.com", &[]),
            ("a.example.org", &[None]),
            ("a.b.example.org", &[None]),
            ("example.org", &[]),
            (".example.org", &[]),
            ("badexample.org", &[]),
            ("db", &[None]),
            ("", &[]),
        ] {
            assert_eq!(policy.ports(name), ports, "{name}");
        }
    }

    #[test]
    fn addresses_are_listed_with_and_without_ports() {
        let policy = policy(&[
            "10.1.2.3/8",
            "192.0.2.1:53",
            "fd00::1",
            "[fd00::/16]:80",
            "[fd01::1]",
        ]);
        let expected = [
            ("10.0.0.0/8", None),
            ("192.0.2.1/32", Some(53)),
            ("fd00::1/128", None),
            ("fd00::/16", Some(80)),
            ("fd01::1/128", None),
        ];
        let expected = expected.map(|(net, port)| (net.parse::<IpNet>().unwrap(), port));
        assert_eq!(policy.listed, expected);
        assert!(policy.is_listed("10.255.0.1".parse().unwrap()));
        assert!(!policy.is_listed("11.0.0.1".parse().unwrap()));
    }

    #[test]
    fn names_do_not_lead_into_private_networks_that_are_not_listed() {
        let gate = Gate {
            policy: policy(&["example.com", "10.1.0.0/16:80"]),
            filters: Vec::new(),
        };
        for (address, accepted) in [
            ("93.184.216.34", true),
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::ffff:10.2.2.3", false),
        ] {
            assert_eq!(
                gate.accepts("example.com", address.parse().unwrap()),
                accepted
            );
        }
    }
}
