//! The filter at one container's interface: a table of the family `netdev` for the end that is in the namespace of the
//! networks, by which everything the container sends comes, forged or not, to whomever, before any bridge or route sees
//! it. It is the same where the kernel routes and where a process carries connections.
//!
//! ```text
//! out of the container   no own address ─▶ dropped; listed, learned ─▶ on; to whom has been heard ─▶ on; else prohibited
//! into the container     who has spoken to which port is remembered, as in `heard`
//! ```
//!
//! Connections to the container, and those whose address has been forgotten meanwhile, go on by `heard`: something has
//! come from there to this very port lately. That starts no connection of TCP, though.
//!
//! The table is there before the container can send and until its interface is gone, also where the process that keeps
//! the container is killed: what that leaves is swept. Since Linux 6.9 the kernel lets nobody else change it meanwhile,
//! however much he flushes.

use super::layout::{Version, protocol_and_port};
use super::refused;
use super::rule::{Compare, Header, Meta, Rule, Verdict};
use super::transaction::{Element, Field, Key, Set, Table, Transaction, socket};
use crate::network::egress::Policy;
use crate::network::link::octets;
use crate::network::record::Network;
use crate::sys::netlink::{Refusal, Socket};
use Field::{Ipv4, Ipv6, Port, Protocol};
use anyhow::{Context, Result};
use ipnet::IpNet;
use rustix::io::Errno;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses of the container.
const OWN: [Set; 2] = [Set::of("own4", &[Ipv4]), Set::of("own6", &[Ipv6])];
/// Subnets that it may reach.
const LISTED: [Set; 2] = [
    Set {
        ranges: true,
        ..Set::of("listed4", &[Ipv4])
    },
    Set {
        ranges: true,
        ..Set::of("listed6", &[Ipv6])
    },
];
/// Ports of subnets that it may reach.
const LISTED_PORTS: [Set; 2] = [
    Set {
        ranges: true,
        ..Set::of("listed_ports4", &[Ipv4, Protocol, Port])
    },
    Set {
        ranges: true,
        ..Set::of("listed_ports6", &[Ipv6, Protocol, Port])
    },
];
/// Addresses of names that it may reach.
const LEARNED: [Set; 2] = [
    Set {
        ends: true,
        ..Set::of("learned4", &[Ipv4])
    },
    Set {
        ends: true,
        ..Set::of("learned6", &[Ipv6])
    },
];
/// Ports of those.
const LEARNED_PORTS: [Set; 2] = [
    Set {
        ends: true,
        ..Set::of("learned_ports4", &[Ipv4, Protocol, Port])
    },
    Set {
        ends: true,
        ..Set::of("learned_ports6", &[Ipv6, Protocol, Port])
    },
];
/// Who has spoken to which port of the container.
const HEARD: [Set; 2] = [
    Set {
        ends: true,
        room: HEARD_MOST,
        ..Set::of("heard4", &[Ipv4, Protocol, Port])
    },
    Set {
        ends: true,
        room: HEARD_MOST,
        ..Set::of("heard6", &[Ipv6, Protocol, Port])
    },
];

/// As many connections as conntrack has room for by default on a large machine.
const HEARD_MOST: u32 = 262_144;

const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;
const SCTP: u8 = libc::IPPROTO_SCTP as u8;
/// What has ports at the beginning of its header.
const WITH_PORTS: [u8; 3] = [TCP, UDP, SCTP];

/// How long is remembered who has spoken: a connection that has only been begun, one that may have nothing to say but
/// its probes every two hours (tcp(7)), and what has no end.
const BEGUN: Duration = Duration::from_secs(60);
const CONNECTED: Duration = Duration::from_secs(3 * 60 * 60);
const DATAGRAM: Duration = Duration::from_secs(180);

const OUT: &str = "out";
const IN: &str = "in";

/// A filter. It stays when this is dropped, until it is [removed](Self::remove) or [swept](sweep).
#[derive(Debug)]
pub struct Filter {
    socket: Socket,
    table: String,
}

impl Filter {
    /// Puts one at an interface of the caller's network namespace: the other end of a container's, which has these
    /// addresses.
    pub fn install(
        interface: &str,
        network: &Network,
        own: &[IpAddr],
        policy: &Policy,
    ) -> Result<Self> {
        let filter = Self {
            socket: socket().map_err(refused)?,
            table: name(interface),
        };
        let made = match filter.make(interface, network, own, policy, true) {
            // A kernel that does not know tables of sockets which stay.
            Err(refusal) if matches!(refusal.errno, Errno::OPNOTSUPP | Errno::INVAL) => {
                filter.make(interface, network, own, policy, false)
            }
            made => made,
        };
        made.map_err(refused)
            .context("limit what the container may reach (nf_tables of Linux 5.16 is needed)")?;
        Ok(filter)
    }

    /// Removes it, once its interface is gone.
    pub fn remove(&self) -> Result<()> {
        delete(&self.socket, &self.table)
            .map_err(refused)
            .context("remove what has limited the container")
    }

    fn make(
        &self,
        interface: &str,
        network: &Network,
        own: &[IpAddr],
        policy: &Policy,
        is_owned: bool,
    ) -> Result<(), Refusal> {
        let mut change = Transaction::new(Table::device(&self.table));
        match is_owned {
            true => change.add_table_of_socket(),
            false => change.add_table(),
        };
        let sets = [
            &OWN,
            &LISTED,
            &LISTED_PORTS,
            &LEARNED,
            &LEARNED_PORTS,
            &HEARD,
        ];
        for set in sets.into_iter().flatten() {
            change.add_set(set);
        }
        for address in own {
            let key = Key::new().bytes(&octets(address));
            change.add(of(&OWN, address), &[key.into()]);
        }
        list(&mut change, policy);
        change
            .add_device_chain(OUT, interface, false)
            .add_device_chain(IN, interface, true);
        let subnets = network.subnets.iter().map(|subnet| subnet.subnet);
        for rule in out(&subnets.collect::<Vec<_>>()) {
            change.add_rule(OUT, &rule);
        }
        for rule in into() {
            change.add_rule(IN, &rule);
        }
        change.commit(&self.socket)
    }

    /// Lets these be reached for a time from now on, at some ports, or all (`None`).
    pub fn allow(&self, addresses: &[IpAddr], ports: &[Option<u16>], time: Duration) -> Result<()> {
        let mut change = Transaction::new(Table::device(&self.table));
        let is_whole = ports.contains(&None);
        for address in addresses {
            let key = Key::new().bytes(&octets(address));
            if is_whole {
                renew(&mut change, of(&LEARNED, address), key, time);
                continue;
            }
            for (port, protocol) in pairs(ports.iter().flatten()) {
                let key = key.clone().protocol(protocol).port(port);
                renew(&mut change, of(&LEARNED_PORTS, address), key, time);
            }
        }
        change
            .commit(&self.socket)
            .map_err(refused)
            .context("let the container reach what it has asked for")
    }
}

/// Removes the filter that a killed process has left for an interface, if there is one.
pub fn sweep(interface: &str) -> Result<()> {
    let swept = socket().and_then(|socket| delete(&socket, &name(interface)));
    swept
        .map_err(refused)
        .context("remove what has limited a container")
}

fn delete(socket: &Socket, table: &str) -> Result<(), Refusal> {
    let mut change = Transaction::new(Table::device(table));
    change.delete_table();
    match change.commit(socket) {
        Err(refusal) if refusal.errno == Errno::NOENT => Ok(()),
        result => result,
    }
}

fn name(interface: &str) -> String {
    format!("onggi_{interface}")
}

fn of<'a>(sets: &'a [Set; 2], address: &IpAddr) -> &'a Set {
    &sets[usize::from(address.is_ipv6())]
}

fn pairs<'a>(ports: impl Iterator<Item = &'a u16>) -> impl Iterator<Item = (u16, u8)> {
    ports.flat_map(|port| WITH_PORTS.map(|protocol| (*port, protocol)))
}

/// Adds an element whose time begins now: one that is there keeps its own, so it has to go first.
fn renew(change: &mut Transaction<'_>, set: &Set, key: Key, time: Duration) {
    let elements = [Element {
        key,
        ends_after: Some(time),
        ..Element::default()
    }];
    change
        .add(set, &elements)
        .delete(set, &elements)
        .add(set, &elements);
}

/// The elements of what is listed. Ranges of a set must not overlap, so those within others are left out.
fn list(change: &mut Transaction<'_>, policy: &Policy) {
    let nets = |wanted: Option<u16>| {
        let listed = policy.listed.iter();
        let fitting = listed.filter(move |(_, port)| *port == wanted);
        IpNet::aggregate(&fitting.map(|(net, _)| *net).collect())
    };
    let ends = |net: &IpNet| {
        [net.network(), net.broadcast()].map(|address| Key::new().bytes(&octets(&address)))
    };
    for net in nets(None) {
        let [key, last] = ends(&net);
        let element = Element {
            key,
            last: Some(last),
            ..Element::default()
        };
        change.add(of(&LISTED, &net.addr()), &[element]);
    }
    let mut ports: Vec<u16> = policy.listed.iter().filter_map(|(_, port)| *port).collect();
    ports.sort_unstable();
    ports.dedup();
    for (port, protocol) in pairs(ports.iter()) {
        for net in nets(Some(port)) {
            let [key, last] = ends(&net).map(|key| key.protocol(protocol).port(port));
            let element = Element {
                key,
                last: Some(last),
                ..Element::default()
            };
            change.add(of(&LISTED_PORTS, &net.addr()), &[element]);
        }
    }
}

/// Goes on only for frames of that type.
fn frames(kind: u16) -> Rule {
    let rule = Rule::new().meta(0, Meta::Protocol);
    rule.compare(0, Compare::Equal, &kind.to_be_bytes())
}

fn packets(version: Version) -> Rule {
    frames([libc::ETH_P_IP as u16, libc::ETH_P_IPV6 as u16][version as usize])
}

fn is_protocol(rule: Rule, number: u8) -> Rule {
    rule.meta(0, Meta::Protocol4)
        .compare(0, Compare::Equal, &[number])
}

/// Goes on only if one byte of the header of TCP, ICMP and their like is that.
fn has_byte(rule: Rule, at: u32, value: u8) -> Rule {
    rule.payload(0, Header::Transport, at, 1)
        .compare(0, Compare::Equal, &[value])
}

/// Goes on only for a segment that begins a connection.
fn begins(rule: Rule) -> Rule {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    is_protocol(rule, TCP)
        .payload(0, Header::Transport, 13, 1)
        .mask(0, &[SYN | ACK])
        .compare(0, Compare::Equal, &[SYN])
}

/// What the container sends.
fn out(subnets: &[IpNet]) -> Vec<Rule> {
    let mut rules = neighbourhood(subnets);
    for version in Version::BOTH {
        let at = version as usize;
        let address = version.registers();
        let to = || version.destination(packets(version), 0);
        rules.push(
            version
                .source(packets(version), 0)
                .lookup(0, OWN[at].name, false)
                .verdict(&Verdict::Drop),
        );
        for set in [&LISTED[at], &LEARNED[at]] {
            let rule = to().lookup(0, set.name, true);
            rules.push(rule.verdict(&Verdict::Accept));
        }
        for set in [&LISTED_PORTS[at], &LEARNED_PORTS[at]] {
            let rule = protocol_and_port(to(), address).lookup(0, set.name, true);
            rules.push(rule.verdict(&Verdict::Accept));
        }
        rules.push(begins(packets(version)).prohibit());
        // The port it comes from; of an answer to an echo request, its type and code.
        let heard = to()
            .meta(address, Meta::Protocol4)
            .payload(address + 1, Header::Transport, 0, 2)
            .lookup(0, HEARD[at].name, true);
        rules.push(heard.verdict(&Verdict::Accept));
        rules.push(packets(version).prohibit());
    }
    rules.push(Rule::new().verdict(&Verdict::Drop));
    rules
}

/// What it takes to be on a link at all (RFC 826, RFC 4861), and what no packet may look like.
fn neighbourhood(subnets: &[IpNet]) -> Vec<Rule> {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    const SENDER: u32 = 14;
    let arp = || frames(libc::ETH_P_ARP as u16).payload(0, Header::Network, SENDER, 4);
    let accept = |rule: Rule| rule.verdict(&Verdict::Accept);
    let mut rules = vec![
        accept(arp().lookup(0, OWN[0].name, true)),
        accept(arp().compare(0, Compare::Equal, &[0; 4])),
        // Options of IPv4 can name other places to go to.
        packets(Version::V4)
            .payload(0, Header::Network, 0, 1)
            .compare(0, Compare::Unequal, &[0x45])
            .verdict(&Verdict::Drop),
        // Who has no address yet may only ask whether it is free.
        Version::V6
            .source(packets(Version::V6), 0)
            .compare(0, Compare::Unequal, &[0; 16])
            .lookup(0, OWN[1].name, false)
            .verdict(&Verdict::Drop),
    ];
    let link = ["ff02::/16", "fe80::/10"].map(|net| net.parse::<IpNet>());
    let link = link.into_iter().flatten();
    for net in link.chain(subnets.iter().copied()) {
        let IpNet::V6(net) = net else { continue };
        for kind in [SOLICITATION, ADVERTISEMENT] {
            let rule = Version::V6.destination(packets(Version::V6), 0);
            let rule = rule.mask(0, &net.netmask().octets()).compare(
                0,
                Compare::Equal,
                &net.network().octets(),
            );
            let rule = is_protocol(rule, libc::IPPROTO_ICMPV6 as u8);
            rules.push(accept(has_byte(rule, 0, kind)));
        }
    }
    rules
}

/// What the container gets.
fn into() -> Vec<Rule> {
    let mut rules = Vec::new();
    for version in Version::BOTH {
        let heard = HEARD[version as usize].name;
        let address = version.registers();
        let from = |rule: Rule| version.source(rule, 0).meta(address, Meta::Protocol4);
        let port = |rule: Rule| from(rule).payload(address + 1, Header::Transport, 2, 2);
        let begun = port(begins(packets(version))).remember(0, heard, BEGUN, false);
        rules.push(begun.verdict(&Verdict::Accept));
        for (protocol, time) in [(TCP, CONNECTED), (SCTP, CONNECTED), (UDP, DATAGRAM)] {
            let rule = port(is_protocol(packets(version), protocol));
            rules.push(rule.remember(0, heard, time, true));
        }
        // Echo requests, and the type and code that their answers have.
        let (protocol, request, reply) = match version {
            Version::V4 => (libc::IPPROTO_ICMP, 8, 0),
            Version::V6 => (libc::IPPROTO_ICMPV6, 128, 129),
        };
        let rule = has_byte(is_protocol(packets(version), protocol as u8), 0, request);
        let rule = from(rule).immediate(address + 1, &[reply, 0, 0, 0]);
        rules.push(rule.remember(0, heard, DATAGRAM, true));
    }
    rules
}
