//! What a network and an endpoint are in the sets of [`super::layout`], and in words.

use super::layout::{self, Version};
use super::transaction::{Element, Key, Set, Transaction, list};
use crate::network::endpoint::{Endpoint, Protocol, Publication};
use crate::network::forwarding::Closed;
use crate::network::options::{ICC, MASQUERADE};
use crate::network::record::{Driver, Network};
use crate::sys::netlink::{Refusal, Socket};
use std::collections::HashMap;
use std::net::IpAddr;

/// Elements of several sets.
#[derive(Debug, Default)]
pub struct Elements(Vec<(&'static Set, Vec<Element>)>);

impl Elements {
    fn push(&mut self, set: &'static Set, element: Element) {
        match self.0.iter_mut().find(|(found, _)| found.name == set.name) {
            Some((_, elements)) => elements.push(element),
            None => self.0.push((set, vec![element])),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those whose keys are in the table, as they are there, where `like` holds of what is here and what is there.
    pub fn present(
        &self,
        socket: &Socket,
        like: impl Fn(&Element, &Element) -> bool,
    ) -> Result<Self, Refusal> {
        let mut present = Self::default();
        for (set, elements) in &self.0 {
            let wanted: HashMap<_, _> = elements.iter().map(|one| (&one.key, one)).collect();
            let found = list(socket, layout::TABLE, set)?
                .into_iter()
                .filter(|found| {
                    wanted
                        .get(&found.key)
                        .is_some_and(|wanted| like(wanted, found))
                });
            found.for_each(|found| present.push(set, found));
        }
        Ok(present)
    }

    /// Adds them.
    pub fn add(&self, transaction: &mut Transaction<'_>) {
        for (set, elements) in &self.0 {
            transaction.add(set, elements);
        }
    }

    /// Deletes them.
    pub fn delete(&self, transaction: &mut Transaction<'_>) {
        for (set, elements) in &self.0 {
            transaction.delete(set, elements);
        }
    }
}

/// How the containers of a network are reached from outside of this machine (Docker's `gateway_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Published ports, by addresses of this machine.
    Translated,
    /// That, and everything at their own addresses.
    Unprotected,
    /// Published ports, at their own addresses.
    Routed,
}

impl Mode {
    fn of(network: &Network, version: Version) -> Self {
        let number = ["4", "6"][version as usize];
        let name = format!("com.docker.network.bridge.gateway_mode_ipv{number}");
        match network.options.get(&name).map(String::as_str) {
            Some("routed") => Self::Routed,
            Some("nat-unprotected") => Self::Unprotected,
            _ => Self::Translated,
        }
    }
}

/// Those of a network.
pub fn of_network(network: &Network) -> Elements {
    let mut elements = Elements::default();
    let bridge = &network.interface;
    let key = || Key::new().interface(bridge);
    elements.push(&layout::BRIDGES, key().into());
    elements.push(&layout::WITHIN, key().interface(bridge).into());
    if network.is_off(ICC) {
        elements.push(&layout::SEPARATED, key().into());
    }
    if network.internal {
        elements.push(&layout::INTERNAL, key().into());
        return elements;
    }
    for version in Version::BOTH {
        let mode = Mode::of(network, version);
        if masquerades(network, version) {
            elements.push(&layout::MASQUERADED[version as usize], key().into());
        }
        if mode == Mode::Unprotected {
            elements.push(&layout::UNPROTECTED[version as usize], key().into());
        }
    }
    elements
}

/// Families that only go through this machine because we have switched that on.
pub fn of_closed(closed: Closed) -> Elements {
    let mut elements = Elements::default();
    for version in Version::BOTH
        .into_iter()
        .filter(|one| closed[*one as usize])
    {
        let family = Key::new().protocol(version.number());
        elements.push(&layout::CLOSED, family.into());
    }
    elements
}

fn masquerades(network: &Network, version: Version) -> bool {
    Mode::of(network, version) != Mode::Routed && !network.is_off(MASQUERADE)
}

/// Those of an endpoint.
pub fn of_endpoint(network: &Network, endpoint: &Endpoint) -> Elements {
    let mut elements = Elements::default();
    if network.internal || network.driver != Driver::Bridge {
        return elements;
    }
    for version in Version::BOTH {
        match Mode::of(network, version) {
            Mode::Routed => add_routed(&mut elements, endpoint, version),
            Mode::Translated | Mode::Unprotected => {
                add_translated(&mut elements, endpoint, version)
            }
        }
    }
    elements
}

/// All that an endpoint can have, whatever its network is.
pub fn of_unknown(endpoint: &Endpoint) -> Elements {
    let mut elements = Elements::default();
    for version in Version::BOTH {
        add_routed(&mut elements, endpoint, version);
        add_translated(&mut elements, endpoint, version);
    }
    elements
}

fn add_routed(elements: &mut Elements, endpoint: &Endpoint, version: Version) {
    let Some(address) = address(endpoint, version) else {
        return;
    };
    for publication in &endpoint.ports {
        for at in 0..publication.count {
            let key = Key::new().bytes(&address);
            let key = key.protocol(number(publication.protocol));
            let key = key.port(publication.container.wrapping_add(at));
            elements.push(&layout::ROUTED[version as usize], key.into());
        }
    }
}

fn add_translated(elements: &mut Elements, endpoint: &Endpoint, version: Version) {
    let Some(address) = address(endpoint, version) else {
        return;
    };
    if !endpoint.ports.is_empty() {
        let twice = Key::new().bytes(&address).bytes(&address);
        elements.push(&layout::REFLECTED[version as usize], twice.into());
    }
    for publication in &endpoint.ports {
        let Some(place) = place(publication, version) else {
            continue;
        };
        let (set, key) = match place {
            Place::Everywhere => (&layout::PUBLISHED_EVERYWHERE[version as usize], Key::new()),
            Place::At(own) => (
                &layout::PUBLISHED[version as usize],
                Key::new().bytes(&crate::network::link::octets(&own)),
            ),
        };
        let key = key.protocol(number(publication.protocol));
        for at in 0..publication.count {
            let value = Key::new().bytes(&address);
            let element = Element {
                key: key.clone().port(publication.host.wrapping_add(at)),
                value: Some(value.port(publication.container.wrapping_add(at))),
                ..Element::default()
            };
            elements.push(set, element);
        }
    }
}

enum Place {
    Everywhere,
    At(IpAddr),
}

/// Where of one family a port is published by rules; loopback addresses are served by a listener.
fn place(publication: &Publication, version: Version) -> Option<Place> {
    match publication.address {
        None => Some(Place::Everywhere),
        Some(address) if address.is_ipv4() != (version == Version::V4) => None,
        Some(address) if address.is_loopback() => None,
        Some(address) if address.is_unspecified() => Some(Place::Everywhere),
        Some(address) => Some(Place::At(address)),
    }
}

fn address(endpoint: &Endpoint, version: Version) -> Option<Vec<u8>> {
    match version {
        Version::V4 => endpoint.ipv4.map(|address| address.octets().to_vec()),
        Version::V6 => endpoint.ipv6.map(|address| address.octets().to_vec()),
    }
}

/// The number of a protocol in packets (IANA).
pub fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The rules of a network with bridge in words, one sentence each.
pub fn describe(network: &Network, endpoints: &[Endpoint]) -> Vec<String> {
    let mut words = Vec::new();
    let bridge = &network.interface;
    match network.is_off(ICC) {
        true => words.push(format!("{bridge}: containers do not reach each other")),
        false => words.push(format!("{bridge}: containers reach each other")),
    }
    words.push(format!(
        "{bridge}: nothing to or from other networks, but for published ports"
    ));
    if network.internal {
        words.push(format!("{bridge}: nothing to or from outside"));
        return words;
    }
    for version in Version::BOTH {
        let family = ["IPv4", "IPv6"][version as usize];
        let has = [network.has_ipv4(), network.has_ipv6()][version as usize];
        if !has {
            continue;
        }
        if masquerades(network, version) {
            words.push(format!(
                "{bridge}: {family} to outside leaves with the host's address"
            ));
        } else {
            words.push(format!(
                "{bridge}: {family} to outside leaves with the container's address"
            ));
        }
        words.push(match Mode::of(network, version) {
            Mode::Translated => {
                format!("{bridge}: {family} from outside reaches published ports of the host")
            }
            Mode::Unprotected => format!("{bridge}: {family} from outside reaches everything"),
            Mode::Routed => {
                format!("{bridge}: {family} from outside reaches published ports of containers")
            }
        });
    }
    for endpoint in endpoints {
        words.extend(
            endpoint
                .ports
                .iter()
                .map(|publication| describe_port(endpoint, publication)),
        );
    }
    words
}

fn describe_port(endpoint: &Endpoint, publication: &Publication) -> String {
    let run = |first: u16| match publication.count {
        1 => first.to_string(),
        count => format!("{first}-{}", u32::from(first) + u32::from(count) - 1),
    };
    let host = match publication.address {
        None => format!("*:{}", run(publication.host)),
        Some(IpAddr::V4(address)) => format!("{address}:{}", run(publication.host)),
        Some(IpAddr::V6(address)) => format!("[{address}]:{}", run(publication.host)),
    };
    let ipv4 = endpoint
        .ipv4
        .map(|address| format!("{address}:{}", run(publication.container)));
    let ipv6 = endpoint
        .ipv6
        .map(|address| format!("[{address}]:{}", run(publication.container)));
    let inside: Vec<String> = match publication.address {
        Some(IpAddr::V4(_)) => ipv4.into_iter().collect(),
        Some(IpAddr::V6(_)) => ipv6.into_iter().collect(),
        None => ipv4.into_iter().chain(ipv6).collect(),
    };
    let protocol = publication.protocol.word();
    format!(
        "{}: {host}/{protocol} leads to {}",
        endpoint.name,
        inside.join(" and ")
    )
}
