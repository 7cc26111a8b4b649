//! What the network namespace of a user has so that its containers' packets come to the network process.
//!
//! - Every address that is in none of the networks is its own (`local default dev lo`), so the kernel takes what is for
//!   the world as if it were for this machine, and our sockets can have those addresses.
//! - What says that it comes from another network than the one it comes from is dropped.
//! - First segments from containers are dropped; they are seen by packet(7) before that. One that is sent again by us
//!   comes by `lo` and is given to our listener, whatever its destination is (TPROXY).
//! - Datagrams are given to our socket; those of a flow that has sockets of its own go there.
//! - Echo requests are seen by raw sockets, and the kernel's own answers to them are dropped: it would answer for everybody.
//!
//! Rules are in hooks that see what is for this machine: bridged frames may pass the one before (br_netfilter).

use crate::network::forward::door::accept;
use crate::network::forward::inside::{Transport, attend, make};
use crate::network::nftables::rule::{Compare, Header, Meta, Rule, Verdict};
use crate::network::nftables::transaction::{At, Hook, Table, Transaction, priority};
use crate::sys::netlink::{Batch, Family, Socket, flags};
use crate::sys::packet::{self, Instruction, Packets};
use crate::sys::process::flags::NEW_NET;
use crate::sys::{namespace, transparent};
use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, sendto, socket_with,
    sockopt,
};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

/// Our table there.
const TABLE: Table<'static> = Table::inet("onggi_carry");
/// The port of our listeners. No client uses one this low, so it is in nobody's way.
const PORT: u16 = 1;
/// The mark of answers to echo requests that are ours.
const MARK: u32 = 0x6f6e_6767;
/// The number of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;
/// How many connections may be on their way through the listener.
const BACKLOG: i32 = 4096;
/// Types of ICMP (RFC 792, RFC 4443).
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// What listens there, of one family.
#[derive(Debug)]
pub struct Ears {
    /// Gets connections, each with the address that it was for.
    pub streams: OwnedFd,
    /// Gets datagrams, with the addresses that they were for.
    pub datagrams: OwnedFd,
    /// Gets echo requests, and sends messages of ICMP.
    pub icmp: OwnedFd,
    /// Gets first segments.
    pub openings: Packets,
    /// Sends packets with whatever header they have.
    pub raw: OwnedFd,
}

/// The namespace with what listens there.
#[derive(Debug)]
pub struct Prepared {
    /// The namespace.
    pub namespace: OwnedFd,
    /// By family: IPv4, and IPv6 where the kernel has it.
    pub ears: [Option<Ears>; 2],
}

/// Moves the calling thread into that network namespace, or a new one, and prepares it; one that was prepared before is
/// again as it should be.
pub fn enter(given: Option<OwnedFd>) -> Result<Prepared> {
    match &given {
        Some(given) => {
            namespace::join(given.as_fd(), NEW_NET).context("join the network namespace")?
        }
        None => namespace::unshare(NEW_NET).context("make a network namespace")?,
    }
    let namespace =
        File::open("/proc/thread-self/ns/net").context("open `/proc/thread-self/ns/net`")?;
    namespace::bring_loopback_up().context("bring the loopback interface up")?;
    set_kernel();
    let ears = [
        Some(Ears::open(false)?),
        has_ipv6().then(|| Ears::open(true)).transpose()?,
    ];
    route(ears[1].is_some())?;
    rules(given.is_none()).commit(&Socket::open(Family::Netfilter)?).context(
        "make the rules for connections of containers (nf_tables with `tproxy` and `fib` is needed)",
    )?;
    Ok(Prepared {
        namespace: namespace.into(),
        ears,
    })
}

/// Makes settings, routes and rules as they should be, in the namespace of the caller.
pub fn renew() -> Result<()> {
    set_kernel();
    route(has_ipv6())?;
    rules(false)
        .commit(&Socket::open(Family::Netfilter)?)
        .context("make the rules for connections of containers")
}

fn has_ipv6() -> bool {
    socket_with(
        AddressFamily::INET6,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .is_ok()
}

/// Settings of the kernel (ip-sysctl.rst) that make things better there; where /proc is not to be written, they are as
/// they are.
fn set_kernel() {
    for (file, value) in [
        // A new namespace may have inherited the host's settings.
        ("ipv4/ip_forward", "0"),
        ("ipv6/conf/all/forwarding", "0"),
        ("ipv6/conf/all/disable_ipv6", "0"),
        // Frames between two containers are none of our rules' business.
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
        // All addresses are local, but only those of interfaces are to be found on a link.
        ("ipv4/conf/all/arp_ignore", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/lo/rp_filter", "0"),
        // Thousands of short connections a second from one address to one port.
        ("ipv4/tcp_tw_reuse", "1"),
        // Here there is no way that is narrower than others: nothing to be probed or paced, as the host's choice may do.
        ("ipv4/tcp_congestion_control", "reno"),
        ("ipv4/ip_local_port_range", "1024 65535"),
    ] {
        let _ = std::fs::write(format!("/proc/sys/net/{file}"), value);
    }
}

/// `ip route add local default dev lo table main`, where the networks' own routes are narrower.
fn route(ipv6: bool) -> Result<()> {
    let mut batch = Batch::default();
    let families = [(libc::AF_INET, true), (libc::AF_INET6, ipv6)];
    for (family, _) in families.iter().filter(|(_, wanted)| *wanted) {
        let table = libc::RT_TABLE_MAIN;
        let (scope, kind) = (libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
        let header = [
            *family as u8,
            0,
            0,
            0,
            table,
            libc::RTPROT_STATIC,
            scope,
            kind,
            0,
            0,
            0,
            0,
        ];
        let flags = flags::CREATE | flags::REPLACE | flags::ACK;
        batch.message(libc::RTM_NEWROUTE, flags, &header, |route| {
            route.u32(libc::RTA_OIF, LOOPBACK);
        });
    }
    let socket = Socket::open(Family::Route)?;
    socket
        .apply(&batch)
        .context("route everything to the namespace itself")
}

/// Our table as it should be. In a new namespace there is none to be replaced: what deletes something waits, at the close of
/// its socket, until nobody can be looking at it any more (rcu_barrier), which is 10 ms and more.
fn rules(is_new: bool) -> Transaction<'static> {
    let loopback = LOOPBACK.to_ne_bytes();
    let outside = || {
        Rule::new()
            .meta(0, Meta::InputIndex)
            .compare(0, Compare::Unequal, &loopback)
    };
    let is_opening = |rule: Rule| {
        rule.meta(0, Meta::Protocol4)
            .compare(0, Compare::Equal, &[libc::IPPROTO_TCP as u8])
            .payload(0, Header::Transport, 13, 1)
            .mask(0, &[0x17])
            .compare(0, Compare::Equal, &[0x02])
    };
    let of = |rule: Rule, family: u8| {
        rule.meta(0, Meta::Family)
            .compare(0, Compare::Equal, &[family])
    };
    let given = |rule: Rule, family: u8| {
        rule.immediate(0, &PORT.to_be_bytes())
            .transparent_proxy(family, 0)
            .verdict(&Verdict::Accept)
    };
    let mut change = Transaction::new(TABLE);
    change.add_table();
    if !is_new {
        change.delete_table().add_table();
    }
    for (name, at) in [
        ("come", At::Prerouting),
        ("take", At::Input),
        ("send", At::Output),
    ] {
        let (kind, priority) = ("filter", priority::MANGLE);
        change.add_chain(name, Some(Hook { kind, at, priority }));
    }
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut forged = of(outside(), family);
        if family == libc::AF_INET6 as u8 {
            // Those of a link, and who has no address yet, are no source of anything that is carried.
            for first in [0xfe, 0] {
                forged =
                    forged
                        .payload(0, Header::Network, 8, 1)
                        .compare(0, Compare::Unequal, &[first]);
            }
        }
        let forged = forged.way_back(0).compare(0, Compare::Equal, &[0; 4]);
        change.add_rule("come", &forged.verdict(&Verdict::Drop));
        let again = Rule::new()
            .meta(0, Meta::InputIndex)
            .compare(0, Compare::Equal, &loopback);
        change.add_rule("come", &given(is_opening(of(again, family)), family));
        let datagram = of(outside(), family)
            .meta(0, Meta::Protocol4)
            .compare(0, Compare::Equal, &[libc::IPPROTO_UDP as u8])
            .destination_type(0)
            .compare(0, Compare::Equal, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
        change.add_rule("come", &given(datagram, family));
        let (protocol, reply) = match family == libc::AF_INET as u8 {
            true => (libc::IPPROTO_ICMP, ECHO_REPLY),
            false => (libc::IPPROTO_ICMPV6, ECHO_REPLY_V6),
        };
        let not_ours = of(Rule::new(), family)
            .meta(0, Meta::Protocol4)
            .compare(0, Compare::Equal, &[protocol as u8])
            .payload(0, Header::Transport, 0, 1)
            .compare(0, Compare::Equal, &[reply])
            .meta(0, Meta::Mark)
            .compare(0, Compare::Unequal, &MARK.to_ne_bytes());
        change.add_rule("send", &not_ours.verdict(&Verdict::Drop));
    }
    change.add_rule("take", &is_opening(outside()).verdict(&Verdict::Drop));
    change
}

impl Ears {
    fn open(ipv6: bool) -> Result<Self> {
        let place = match ipv6 {
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
        };
        let streams =
            transparent_socket(Transport::Stream, place).context("listen for connections")?;
        attend(&streams).context("setsockopt")?;
        listen(&streams, BACKLOG).context("listen for connections")?;
        let datagrams =
            transparent_socket(Transport::Datagram, place).context("listen for datagrams")?;
        transparent::tell_destination(datagrams.as_fd(), ipv6)
            .context("setsockopt IP_RECVORIGDSTADDR")?;
        let (protocol, filter) = match ipv6 {
            false => (packet::IPV4, &FIRST_SEGMENTS[..]),
            true => (packet::IPV6, &FIRST_SEGMENTS_V6[..]),
        };
        Ok(Self {
            streams,
            datagrams,
            icmp: icmp(ipv6).context("open a raw socket for ICMP")?,
            openings: Packets::open(protocol, filter).context("open a packet socket")?,
            raw: raw(ipv6, ipproto::RAW).context("open a raw socket")?,
        })
    }

    /// The next connection: its socket, who it is of, and whom it is for.
    pub fn accept(&self) -> Result<Option<(OwnedFd, SocketAddr, SocketAddr)>, Errno> {
        let Some((socket, from)) = accept(&self.streams)? else {
            return Ok(None);
        };
        let to = crate::network::forward::door::local_address(&socket)?;
        Ok(Some((socket, from, to)))
    }

    /// Sends a packet as it is; one that cannot be sent is lost, as packets are.
    pub fn send_packet(&self, packet: &[u8], to: IpAddr) {
        let _ = sendto(
            &self.raw,
            packet,
            rustix::net::SendFlags::DONTWAIT,
            &SocketAddr::new(to, 0),
        );
    }
}

fn transparent_socket(transport: Transport, place: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = make(transport, place.is_ipv6())?;
    if place.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    transparent::make_transparent(socket.as_fd(), place.is_ipv6())?;
    if transport == Transport::Stream {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &place)?;
    Ok(socket)
}

fn icmp(ipv6: bool) -> Result<OwnedFd, Errno> {
    let (protocol, request) = match ipv6 {
        false => (ipproto::ICMP, ECHO),
        true => (ipproto::ICMPV6, ECHO_V6),
    };
    let socket = raw(ipv6, protocol)?;
    transparent::filter_icmp(socket.as_fd(), ipv6, request)?;
    transparent::make_transparent(socket.as_fd(), ipv6)?;
    transparent::tell_address(socket.as_fd(), ipv6)?;
    transparent::mark(socket.as_fd(), MARK)?;
    Ok(socket)
}

fn raw(ipv6: bool, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let family = match ipv6 {
        false => AddressFamily::INET,
        true => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::RAW, flags, Some(protocol))
}

const fn step(code: u16, jump: (u8, u8), k: u32) -> Instruction {
    let (jt, jf) = jump;
    Instruction { code, jt, jf, k }
}

/// Operations of linux/bpf_common.h, put together.
const LOAD: u16 = 0x20;
const LOAD_TWO: u16 = 0x28;
const LOAD_ONE: u16 = 0x30;
const LOAD_ONE_BEHIND: u16 = 0x50;
const HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const IF_EQUAL: u16 = 0x15;
const IF_ANY: u16 = 0x45;
const RETURN: u16 = 0x06;
/// SKF_AD_OFF + SKF_AD_IFINDEX.
const INTERFACE: u32 = -0x1000i32 as u32 + 8;
/// All of the packet.
const WHOLE: u32 = 0x1_0000;

/// Lets first segments of IPv4 through that have not come by `lo`.
const FIRST_SEGMENTS: [Instruction; 12] = [
    step(LOAD, (0, 0), INTERFACE),
    step(IF_EQUAL, (9, 0), LOOPBACK),
    step(LOAD_ONE, (0, 0), 9),
    step(IF_EQUAL, (0, 7), libc::IPPROTO_TCP as u32),
    step(LOAD_TWO, (0, 0), 6),
    step(IF_ANY, (5, 0), 0x1fff),
    step(HEADER_LENGTH, (0, 0), 0),
    step(LOAD_ONE_BEHIND, (0, 0), 13),
    step(AND, (0, 0), 0x17),
    step(IF_EQUAL, (0, 1), 0x02),
    step(RETURN, (0, 0), WHOLE),
    step(RETURN, (0, 0), 0),
];

/// The same of IPv6. One that has further headers before the segment is not seen, and so it is dropped.
const FIRST_SEGMENTS_V6: [Instruction; 9] = [
    step(LOAD, (0, 0), INTERFACE),
    step(IF_EQUAL, (6, 0), LOOPBACK),
    step(LOAD_ONE, (0, 0), 6),
    step(IF_EQUAL, (0, 4), libc::IPPROTO_TCP as u32),
    step(LOAD_ONE, (0, 0), 53),
    step(AND, (0, 0), 0x17),
    step(IF_EQUAL, (0, 1), 0x02),
    step(RETURN, (0, 0), WHOLE),
    step(RETURN, (0, 0), 0),
];
