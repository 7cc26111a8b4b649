//! The table `inet onggi`: its sets, and rules that never change. What networks and containers are, their elements say.
//!
//! ```text
//! prerouting, output (nat)   a packet for an address of this machine that is published ─▶ the container
//! forward (filter)           replies, published ports, within a network ─▶ on; between networks, unpublished ─▶ dropped;
//!                            what has to do with no bridge ─▶ dropped, where it was not carried before us
//! postrouting (nat)          from a network to elsewhere, and back into it by a published port ─▶ our own address
//! ```
//!
//! Interfaces are known by name, so that elements can be there before and after them. Bridged frames may pass these chains
//! too (where br_netfilter is on): they are traffic within a network.

use super::rule::{Compare, Header, Meta, Rule, Verdict};
use super::transaction::{At, Field, Hook, Set, Table, Transaction, priority};

/// Ours; no other is ever changed.
pub const TABLE: Table<'static> = Table::inet("onggi");
/// The chain of published ports; it is called otherwise in each version of this layout, by which it is recognized.
pub const PORTS: &str = "ports_3";

use Field::{Interface, Ipv4, Ipv6, Port, Protocol};

/// All bridges.
pub const BRIDGES: Set = Set::of("bridges", &[Interface]);
/// Pairs of the same bridge twice: where packets stay within a network.
pub const WITHIN: Set = Set::of("within", &[Interface, Interface]);
/// Bridges whose containers do not reach each other.
pub const SEPARATED: Set = Set::of("separated", &[Interface]);
/// Bridges of internal networks.
pub const INTERNAL: Set = Set::of("internal", &[Interface]);
/// Families, by their numbers, that go through this machine only because we have switched that on.
pub const CLOSED: Set = Set::of("closed", &[Protocol]);
/// Bridges from which packets leave with our own address.
pub const MASQUERADED: [Set; 2] = [
    Set::of("masqueraded4", &[Interface]),
    Set::of("masqueraded6", &[Interface]),
];
/// Bridges to which packets of others are led whatever is published.
pub const UNPROTECTED: [Set; 2] = [
    Set::of("unprotected4", &[Interface]),
    Set::of("unprotected6", &[Interface]),
];
/// Ports of containers that are reached at their own address.
pub const ROUTED: [Set; 2] = [
    Set::of("routed4", &[Ipv4, Protocol, Port]),
    Set::of("routed6", &[Ipv6, Protocol, Port]),
];
/// Ports of one address of ours that lead to one of a container.
pub const PUBLISHED: [Set; 2] = [
    Set::map("published4", &[Ipv4, Protocol, Port], &[Ipv4, Port]),
    Set::map("published6", &[Ipv6, Protocol, Port], &[Ipv6, Port]),
];
/// Ports of all addresses of ours that lead to one of a container.
pub const PUBLISHED_EVERYWHERE: [Set; 2] = [
    Set::map("everywhere4", &[Protocol, Port], &[Ipv4, Port]),
    Set::map("everywhere6", &[Protocol, Port], &[Ipv6, Port]),
];

/// Addresses of containers that have published ports, twice: where what one sends comes back to itself.
pub const REFLECTED: [Set; 2] = [
    Set::of("reflected4", &[Ipv4, Ipv4]),
    Set::of("reflected6", &[Ipv6, Ipv6]),
];

/// One of the two families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

impl Version {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Its number of the kernel (NFPROTO_IPV4, NFPROTO_IPV6).
    pub fn number(self) -> u8 {
        [2, 10][self as usize]
    }

    /// How many registers of four bytes an address takes.
    pub fn registers(self) -> u32 {
        [1, 4][self as usize]
    }

    /// A rule for packets of it.
    pub fn rule(self) -> Rule {
        Rule::new()
            .meta(0, Meta::Family)
            .compare(0, Compare::Equal, &[self.number()])
    }

    /// Loads the source address.
    pub fn source(self, rule: Rule, register: u32) -> Rule {
        let offset = [12, 8][self as usize];
        rule.payload(register, Header::Network, offset, 4 * self.registers())
    }

    /// Loads the destination address.
    pub fn destination(self, rule: Rule, register: u32) -> Rule {
        let offset = [16, 24][self as usize];
        rule.payload(register, Header::Network, offset, 4 * self.registers())
    }
}

/// Goes on only if the connection has one of these bits of its status or state, which is in the register.
fn has_any(rule: Rule, bits: u32) -> Rule {
    rule.mask(0, &bits.to_ne_bytes())
        .compare(0, Compare::Unequal, &[0; 4])
}

/// Goes on only for connections whose destination was translated.
fn translated() -> Rule {
    const DESTINATION: u32 = 1 << 5;
    has_any(Rule::new().connection_status(0), DESTINATION)
}

/// Goes on only for packets of connections that are known.
pub fn known() -> Rule {
    const ESTABLISHED: u32 = 1 << 1;
    const RELATED: u32 = 1 << 2;
    has_any(Rule::new().connection_state(0), ESTABLISHED | RELATED)
}

/// Goes on only for packets that stay within a network.
fn within(rule: Rule) -> Rule {
    rule.meta(0, Meta::InputName)
        .meta(4, Meta::OutputName)
        .lookup(0, WITHIN.name, true)
}

fn from(rule: Rule, set: &Set, inside: bool) -> Rule {
    rule.meta(0, Meta::InputName).lookup(0, set.name, inside)
}

fn to(rule: Rule, set: &Set, inside: bool) -> Rule {
    rule.meta(0, Meta::OutputName).lookup(0, set.name, inside)
}

/// Adds the table with its sets, chains and rules; elements that are there stay.
pub fn write(transaction: &mut Transaction<'_>) {
    transaction.within(TABLE).add_table();
    let single = [&BRIDGES, &WITHIN, &SEPARATED, &INTERNAL, &CLOSED];
    let double = [
        &MASQUERADED,
        &UNPROTECTED,
        &ROUTED,
        &PUBLISHED,
        &PUBLISHED_EVERYWHERE,
        &REFLECTED,
    ];
    for set in single.into_iter().chain(double.into_iter().flatten()) {
        transaction.add_set(set);
    }
    let hook = |kind, at, priority| Some(Hook { kind, at, priority });
    transaction
        .add_chain(PORTS, None)
        .add_chain(
            "prerouting",
            hook("nat", At::Prerouting, priority::DESTINATION),
        )
        .add_chain("output", hook("nat", At::Output, priority::DESTINATION))
        .add_chain("forward", hook("filter", At::Forward, priority::FILTER))
        .add_chain(
            "postrouting",
            hook("nat", At::Postrouting, priority::SOURCE),
        )
        .flush_rules();
    let jump = Rule::new().verdict(&Verdict::Jump(PORTS.to_owned()));
    transaction
        .add_rule("prerouting", &jump)
        .add_rule("output", &jump);
    for (chain, rules) in [
        (PORTS, ports()),
        ("forward", forward()),
        ("postrouting", postrouting()),
    ] {
        for rule in rules {
            transaction.add_rule(chain, &rule);
        }
    }
}

/// Published ports. What is for loopback is not led away: a listener of ours has it.
fn ports() -> Vec<Rule> {
    let loopback4 = Version::V4.destination(Version::V4.rule(), 0);
    let loopback4 = loopback4
        .mask(0, &[255, 0, 0, 0])
        .compare(0, Compare::Equal, &[127, 0, 0, 0]);
    let loopback6 = Version::V6.destination(Version::V6.rule(), 0);
    let loopback6 = loopback6.compare(0, Compare::Equal, &std::net::Ipv6Addr::LOCALHOST.octets());
    let mut rules = vec![
        loopback4.verdict(&Verdict::Return),
        loopback6.verdict(&Verdict::Return),
    ];
    for version in Version::BOTH {
        let address = version.registers();
        let rule = version.destination(version.rule(), 0);
        let rule = protocol_and_port(rule, address);
        let into = address + 2;
        let map = PUBLISHED[version as usize].name;
        rules.push(
            rule.map(0, map, into)
                .destination(version.number(), into, into + address),
        );
    }
    for version in Version::BOTH {
        const LOCAL: u32 = libc::RTN_LOCAL as u32;
        let rule = version.rule().destination_type(0);
        let rule = rule.compare(0, Compare::Equal, &LOCAL.to_ne_bytes());
        let map = PUBLISHED_EVERYWHERE[version as usize].name;
        let rule = protocol_and_port(rule, 0).map(0, map, 2);
        rules.push(rule.destination(version.number(), 2, 2 + version.registers()));
    }
    rules
}

/// Loads the protocol, and the port it goes to.
pub fn protocol_and_port(rule: Rule, register: u32) -> Rule {
    rule.meta(register, Meta::Protocol4)
        .payload(register + 1, Header::Transport, 2, 2)
}

/// What goes through this machine.
fn forward() -> Vec<Rule> {
    let mut rules = vec![
        known().verdict(&Verdict::Accept),
        from(within(Rule::new()), &SEPARATED, false).verdict(&Verdict::Accept),
        // An internal network has no way to what others publish either.
        from(Rule::new(), &INTERNAL, true).verdict(&Verdict::Drop),
        to(Rule::new(), &INTERNAL, true).verdict(&Verdict::Drop),
        translated().verdict(&Verdict::Accept),
        to(from(Rule::new(), &BRIDGES, true), &BRIDGES, true).verdict(&Verdict::Drop),
    ];
    for version in Version::BOTH {
        let rule = protocol_and_port(version.destination(version.rule(), 0), version.registers());
        let rule = rule.lookup(0, ROUTED[version as usize].name, true);
        rules.push(rule.verdict(&Verdict::Accept));
        let rule = to(version.rule(), &UNPROTECTED[version as usize], true);
        rules.push(rule.verdict(&Verdict::Accept));
    }
    rules.push(to(Rule::new(), &BRIDGES, true).verdict(&Verdict::Drop));
    // A host that we have made a router is none but for bridges. Those of other programs have rules of their own, which may
    // count on that it is one.
    for end in [Meta::InputKind, Meta::OutputKind] {
        let mut kind = [0; 16];
        kind[..6].copy_from_slice(b"bridge");
        let rule = Rule::new().meta(0, end).compare(0, Compare::Equal, &kind);
        rules.push(rule.verdict(&Verdict::Accept));
    }
    let closed = Rule::new()
        .meta(0, Meta::Family)
        .lookup(0, CLOSED.name, true);
    rules.push(closed.verdict(&Verdict::Drop));
    rules
}

/// What leaves with our own address: what comes back into the network it came from, so that the answer comes back to us
/// too, and what leaves all networks. A bridged frame has come in by nowhere here, so what a container sends to a published
/// port of its own is known by its addresses too; the answer to another's finds its way as a bridged frame.
fn postrouting() -> Vec<Rule> {
    let mut rules = vec![within(translated()).masquerade()];
    for version in Version::BOTH {
        const DESTINATION: u32 = 1 << 5;
        let rule = has_any(version.rule().connection_status(0), DESTINATION);
        let rule = version.destination(version.source(rule, 0), version.registers());
        let rule = rule.lookup(0, REFLECTED[version as usize].name, true);
        rules.push(rule.masquerade());
        let rule = from(version.rule(), &MASQUERADED[version as usize], true);
        rules.push(to(rule, &BRIDGES, false).masquerade());
    }
    rules
}
