//! A resolver beside a program that listens on port 53 itself: whoever binds all addresses (`0.0.0.0`, `::`) would find
//! 127.0.0.11 taken. So the sockets have ports of their own, and nf_tables rules in the container's network namespace lead
//! there what is sent to port 53, as Docker does it for all containers. It costs the tracking of connections there.

use super::sockets::PORT;
use crate::network::nftables::rule::{Compare, Header, Meta, Rule};
use crate::network::nftables::transaction::{At, Hook, Table, Transaction, priority, socket};
use crate::network::resolv_conf::RESOLVER;
use crate::sys::netlink::Refusal;

/// In the container's network namespace; packets of IPv4 (NFPROTO_IPV4).
const TABLE: Table = Table {
    family: IPV4,
    name: "onggi_resolver",
};
const CHAIN: &str = "output";
const IPV4: u8 = 2;

/// Where the destination is in the header of IPv4.
const DESTINATION: u32 = 16;

/// Leads what is sent to the resolver to these ports of it, in the network namespace of the calling thread.
pub fn install(udp: u16, tcp: u16) -> Result<(), Refusal> {
    let hook = Hook {
        kind: "nat",
        at: At::Output,
        priority: priority::DESTINATION,
    };
    let mut transaction = Transaction::new(TABLE);
    transaction.add_table().add_chain(CHAIN, Some(hook));
    for (protocol, port) in [(libc::IPPROTO_UDP, udp), (libc::IPPROTO_TCP, tcp)] {
        let rule = Rule::new()
            .payload(0, Header::Network, DESTINATION, 4)
            .compare(0, Compare::Equal, &RESOLVER.octets())
            .meta(0, Meta::Protocol4)
            .compare(0, Compare::Equal, &[protocol as u8])
            .payload(0, Header::Transport, 2, 2)
            .compare(0, Compare::Equal, &PORT.to_be_bytes())
            .immediate(0, &RESOLVER.octets())
            .immediate(1, &port.to_be_bytes())
            .destination(IPV4, 0, 1);
        transaction.add_rule(CHAIN, &rule);
    }
    transaction.commit(&socket()?)
}
