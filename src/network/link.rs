//! Messages of rtnetlink(7) that networks need: interfaces, their addresses and routes. Each function adds one message to
//! a batch; what an interface is for is decided by who calls.

use crate::error::{Error, Kind as ErrorKind};
use crate::sys::netlink::{Attributes, Batch, Family, Refusal, Socket, attribute, flags};
use anyhow::{Context, Result};
use ipnet::IpNet;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The longest name of an interface.
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// A hardware address of Ethernet.
pub type Mac = [u8; 6];

// Attributes of links that the C library does not name (linux/if_link.h).
const AF_SPEC: u16 = 26;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const VETH_INFO_PEER: u16 = 1;
const BRPORT_MODE: u16 = 4;
const BRPORT_ISOLATED: u16 = 33;
const MACVLAN_MODE: u16 = 1;
const IPVLAN_MODE: u16 = 1;
const IPVLAN_FLAGS: u16 = 2;
const VLAN_ID: u16 = 1;

/// What kind of interface is made, with what only that kind has.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// A bridge.
    Bridge,
    /// An interface that leads nowhere.
    Dummy,
    /// A pair; the other end is made in another namespace.
    Veth(Peer<'a>),
    /// With a MAC address of its own on the interface of that number; the mode is that of linux/if_link.h.
    Macvlan(u32, u32),
    /// With the MAC address of the interface of that number; mode and flags are those of linux/if_link.h.
    Ipvlan(u32, u16, u16),
    /// The frames of one 802.1q number of the interface of that number.
    Vlan(u32, u16),
}

impl Kind<'_> {
    /// The kernel's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Dummy => "dummy",
            Self::Veth(_) => "veth",
            Self::Macvlan(..) => "macvlan",
            Self::Ipvlan(..) => "ipvlan",
            Self::Vlan(..) => "vlan",
        }
    }
}

impl Kind<'_> {
    /// The name of the module that brings it.
    fn module(&self) -> &'static str {
        match self {
            Self::Vlan(..) => "8021q",
            kind => kind.word(),
        }
    }
}

/// The other end of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// The longest packet.
    pub mtu: Option<u32>,
    /// Where it is made.
    pub namespace: BorrowedFd<'a>,
}

/// What an interface is made with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// The longest packet.
    pub mtu: Option<u32>,
    /// Where it is made, unless where the socket is.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Makes an interface, which is down.
pub fn create(batch: &mut Batch, wanted: &Wanted<'_>, kind: &Kind<'_>) {
    let flags = flags::CREATE | flags::EXCL;
    batch.message(libc::RTM_NEWLINK, flags, &header(0, 0, 0), |link| {
        describe(link, wanted.name, wanted.mac, wanted.mtu);
        if let Some(namespace) = wanted.namespace {
            link.u32(libc::IFLA_NET_NS_FD, namespace.as_raw_fd() as u32);
        }
        if let Kind::Macvlan(parent, _) | Kind::Ipvlan(parent, ..) | Kind::Vlan(parent, _) = kind {
            link.u32(libc::IFLA_LINK, *parent);
        }
        link.nest(libc::IFLA_LINKINFO, |info| {
            info.text(INFO_KIND, kind.word());
            match kind {
                Kind::Bridge | Kind::Dummy => info,
                Kind::Veth(peer) => info.nest(INFO_DATA, |data| {
                    data.framed(VETH_INFO_PEER, &header(0, 0, 0), |link| {
                        describe(link, peer.name, peer.mac, peer.mtu);
                        link.u32(libc::IFLA_NET_NS_FD, peer.namespace.as_raw_fd() as u32);
                    });
                }),
                Kind::Macvlan(_, mode) => info.nest(INFO_DATA, |data| {
                    data.u32(MACVLAN_MODE, *mode);
                }),
                Kind::Ipvlan(_, mode, flags) => info.nest(INFO_DATA, |data| {
                    data.bytes(IPVLAN_MODE, &mode.to_ne_bytes())
                        .bytes(IPVLAN_FLAGS, &flags.to_ne_bytes());
                }),
                Kind::Vlan(_, id) => info.nest(INFO_DATA, |data| {
                    data.bytes(VLAN_ID, &id.to_ne_bytes());
                }),
            };
        });
    });
}

/// Which interface a message is about.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// By its number.
    Index(u32),
    /// By its name.
    Name(&'a str),
}

/// Gives one that is down another name.
pub fn rename(batch: &mut Batch, index: u32, name: &str) {
    change(batch, Which::Index(index), 0, |link| {
        link.text(libc::IFLA_IFNAME, name);
    });
}

/// Makes it a port of a bridge.
pub fn join_bridge(batch: &mut Batch, which: Which<'_>, bridge: u32) {
    change(batch, which, 0, |link| {
        link.u32(libc::IFLA_MASTER, bridge);
    });
}

/// Keeps a port of a bridge from exchanging frames with other ports that are isolated too.
pub fn isolate_port(batch: &mut Batch, which: Which<'_>) {
    change(batch, which, 0, |link| {
        link.nest(libc::IFLA_LINKINFO, |info| {
            info.text(INFO_SLAVE_KIND, "bridge")
                .nest(INFO_SLAVE_DATA, |data| {
                    data.bytes(BRPORT_ISOLATED, &[1]);
                });
        });
    });
}

/// Lets a port of a bridge get back what came from it.
pub fn reflect(batch: &mut Batch, which: Which<'_>) {
    change(batch, which, 0, |link| {
        link.nest(libc::IFLA_LINKINFO, |info| {
            info.text(INFO_SLAVE_KIND, "bridge")
                .nest(INFO_SLAVE_DATA, |data| {
                    data.bytes(BRPORT_MODE, &[1]);
                });
        });
    });
}

/// Has the kernel give it no link-local IPv6 address of its own accord, and so nothing to wait for.
pub fn no_automatic_address(batch: &mut Batch, which: Which<'_>) {
    change(batch, which, 0, |link| {
        link.nest(AF_SPEC, |families| {
            families.nest(libc::AF_INET6 as u16, |inet6| {
                inet6.bytes(INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
            });
        });
    });
}

/// Writes beside it whose it is, which `ip link` shows.
pub fn set_alias(batch: &mut Batch, which: Which<'_>, alias: &str) {
    change(batch, which, 0, |link| {
        link.bytes(libc::IFLA_IFALIAS, alias.as_bytes());
    });
}

/// Brings it up.
pub fn set_up(batch: &mut Batch, which: Which<'_>) {
    change(batch, which, libc::IFF_UP as u32, |_| {});
}

/// Removes it, and so the other end of a pair.
pub fn delete(batch: &mut Batch, which: Which<'_>) {
    about(batch, libc::RTM_DELLINK, 0, which, 0, |_| {});
}

/// Asks for it. The answer says what is true now: what was still to be done after a change of its carrier is done first.
pub fn get(batch: &mut Batch, which: Which<'_>) {
    const SKIP_STATISTICS: u32 = 1 << 3;
    about(batch, libc::RTM_GETLINK, 0, which, 0, |link| {
        link.u32(libc::IFLA_EXT_MASK, SKIP_STATISTICS);
    });
}

/// Gives it an address, which is valid at once: nobody is asked whether he has it (IFA_F_NODAD).
pub fn add_address(batch: &mut Batch, index: u32, address: IpNet) {
    let scope = match address.addr() {
        IpAddr::V6(address) if address.is_unicast_link_local() => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let mut header = [0; 8];
    header[0] = family(&address.addr());
    header[1] = address.prefix_len();
    header[3] = scope;
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let flags = flags::CREATE | flags::EXCL;
    batch.message(libc::RTM_NEWADDR, flags, &header, |message| {
        let octets = octets(&address.addr());
        message
            .bytes(libc::IFA_LOCAL, &octets)
            .bytes(libc::IFA_ADDRESS, &octets);
        match address {
            IpNet::V4(network) if network.prefix_len() < 31 => {
                message.bytes(libc::IFA_BROADCAST, &network.broadcast().octets());
            }
            IpNet::V4(_) => {}
            IpNet::V6(_) => {
                message.u32(libc::IFA_FLAGS, libc::IFA_F_NODAD);
            }
        }
    });
}

/// Has packets for an IPv6 address of the interface be its own at once. The kernel does that when it gets round to it, in a
/// work queue even where nobody is asked (ipv6/addrconf.c), and drops what comes before, the answer to the first question
/// for a neighbour among it. With IPv4 there is nothing to do.
pub fn own_at_once(batch: &mut Batch, index: u32, address: IpNet) {
    if let IpNet::V6(network) = address {
        let header = [
            libc::RT_TABLE_LOCAL,
            libc::RT_SCOPE_UNIVERSE,
            libc::RTN_LOCAL,
        ];
        route(
            batch,
            libc::AF_INET6 as u8,
            128,
            header,
            flags::EXCL,
            |message| {
                message
                    .bytes(libc::RTA_DST, &network.addr().octets())
                    .u32(libc::RTA_OIF, index);
            },
        );
    }
}

/// Tells which MAC address a neighbour has, so that nobody is asked before the first packet; whether it is still true is
/// found out later (NUD_STALE).
pub fn add_neighbour(batch: &mut Batch, index: u32, address: IpAddr, mac: Mac) {
    const DESTINATION: u16 = 1;
    const MAC: u16 = 2;
    const STALE: u16 = 4;
    let mut header = [0; 12];
    header[0] = family(&address);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&STALE.to_ne_bytes());
    let flags = flags::CREATE | flags::REPLACE;
    batch.message(libc::RTM_NEWNEIGH, flags, &header, |message| {
        message
            .bytes(DESTINATION, &octets(&address))
            .bytes(MAC, &mac);
    });
}

/// Leads packets for `destination` through it, by way of `gateway` if there is one.
pub fn add_route(batch: &mut Batch, index: u32, destination: IpNet, gateway: Option<IpAddr>) {
    lead(batch, index, destination, gateway, flags::EXCL);
}

/// The same, in place of the way that they have.
pub fn replace_route(batch: &mut Batch, index: u32, destination: IpNet, gateway: Option<IpAddr>) {
    lead(batch, index, destination, gateway, flags::REPLACE);
}

fn lead(batch: &mut Batch, index: u32, destination: IpNet, gateway: Option<IpAddr>, how: u16) {
    let scope = match gateway {
        Some(_) => libc::RT_SCOPE_UNIVERSE,
        None => libc::RT_SCOPE_LINK,
    };
    let length = destination.prefix_len();
    let family = family(&destination.addr());
    let header = [libc::RT_TABLE_MAIN, scope, libc::RTN_UNICAST];
    route(batch, family, length, header, how, |message| {
        if length > 0 {
            message.bytes(libc::RTA_DST, &octets(&destination.network()));
        }
        if let Some(gateway) = gateway {
            message.bytes(libc::RTA_GATEWAY, &octets(&gateway));
        }
        message.u32(libc::RTA_OIF, index);
    });
}

fn route(
    batch: &mut Batch,
    family: u8,
    length: u8,
    [table, scope, kind]: [u8; 3],
    how: u16,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    let by = libc::RTPROT_STATIC;
    let header = [family, length, 0, 0, table, by, scope, kind, 0, 0, 0, 0];
    let flags = flags::CREATE | how;
    batch.message(libc::RTM_NEWROUTE, flags, &header, attributes);
}

/// An interface as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its kind: `bridge`, `veth`; empty for real hardware.
    pub kind: String,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Whose it is, as [`set_alias`] wrote it.
    pub alias: String,
    /// Whether it is up.
    pub up: bool,
}

/// The addresses of one family of all interfaces in the namespace of the socket, as far as others may know of them
/// (rtnetlink(7), RTM_GETADDR).
pub fn addresses(socket: &Socket, ipv6: bool) -> Result<Vec<IpAddr>> {
    const HEADER: usize = 8;
    let mut header = [0; HEADER];
    header[0] = if ipv6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let mut question = Batch::default();
    question.message(libc::RTM_GETADDR, libc::NLM_F_DUMP as u16, &header, |_| {});
    let answers = socket.ask(&question).context("ask for all addresses")?;
    let address = |answer: &[u8]| {
        let found = answer.get(HEADER..)?;
        let is_of_all = answer[3] == libc::RT_SCOPE_UNIVERSE;
        let own = attribute(found, libc::IFA_LOCAL).or_else(|| attribute(found, libc::IFA_ADDRESS));
        let own = own.filter(|_| is_of_all)?;
        match ipv6 {
            true => <[u8; 16]>::try_from(own).ok().map(IpAddr::from),
            false => <[u8; 4]>::try_from(own).ok().map(IpAddr::from),
        }
    };
    Ok(answers
        .iter()
        .filter_map(|(_, answer)| address(answer))
        .collect())
}

/// The interface of a name in the namespace of the socket, if there is one.
pub fn find(socket: &Socket, name: &str) -> Result<Option<Link>> {
    let mut question = Batch::default();
    get(&mut question, Which::Name(name));
    let answers = match socket.ask(&question) {
        Err(refusal) if refusal.errno == Errno::NODEV => return Ok(None),
        answers => answers.with_context(|| format!("look for the interface `{name}`"))?,
    };
    Ok(answers.first().and_then(|(_, answer)| parse(answer)))
}

fn parse(answer: &[u8]) -> Option<Link> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?))
    };
    let found = answer.get(16..)?;
    let text = |value: &[u8]| {
        let value = value.strip_suffix(&[0]).unwrap_or(value);
        String::from_utf8_lossy(value).into_owned()
    };
    let info = attribute(found, libc::IFLA_LINKINFO).unwrap_or_default();
    Some(Link {
        index: word(4)?,
        kind: attribute(info, INFO_KIND).map(text).unwrap_or_default(),
        mac: attribute(found, libc::IFLA_ADDRESS).and_then(|mac| mac.try_into().ok()),
        alias: attribute(found, libc::IFLA_IFALIAS)
            .map(text)
            .unwrap_or_default(),
        up: word(8)? & libc::IFF_UP as u32 != 0,
    })
}

/// Why the kernel made no interface, in words that help.
pub fn refused(refusal: &Refusal, kind: &Kind<'_>) -> Error {
    let word = kind.word();
    match refusal.errno {
        Errno::OPNOTSUPP => {
            Error::new(ErrorKind::Unsupported, format!("this kernel has no {word}")).hint(format!(
                "load its module as root: modprobe {}",
                kind.module()
            ))
        }
        Errno::PERM | Errno::ACCESS => {
            let message = format!("make an interface of the kind {word}: {refusal}");
            Error::new(ErrorKind::Denied, message).hint(
                "it takes CAP_NET_ADMIN, which root of most containers and sandboxes lacks: give them that, or go \
                 without a network of its own: --network host, or --network none",
            )
        }
        Errno::INVAL if matches!(kind, Kind::Macvlan(..)) => {
            Error::new(ErrorKind::Conflict, refusal.to_string()).hint(
                "an interface with a macvlan in passthru mode is that container's alone: stop it, or use another parent",
            )
        }
        _ => Error::new(ErrorKind::Conflict, refusal.to_string()),
    }
}

/// Reads `02:42:ac:11:00:02`.
pub fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = Mac::default();
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// The link-local address that belongs to a MAC address (RFC 4291, appendix A).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    octets[8..].copy_from_slice(&[
        mac[0] ^ 2,
        mac[1],
        mac[2],
        0xff,
        0xfe,
        mac[3],
        mac[4],
        mac[5],
    ]);
    octets.into()
}

/// A socket for these messages in the caller's network namespace.
pub fn socket() -> Result<Socket, Refusal> {
    Socket::open(Family::Route)
}

fn describe(link: &mut Attributes<'_>, name: &str, mac: Option<Mac>, mtu: Option<u32>) {
    link.text(libc::IFLA_IFNAME, name);
    if let Some(mac) = mac {
        link.bytes(libc::IFLA_ADDRESS, &mac);
    }
    if let Some(mtu) = mtu {
        link.u32(libc::IFLA_MTU, mtu);
    }
}

fn change(
    batch: &mut Batch,
    which: Which<'_>,
    on: u32,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    about(batch, libc::RTM_NEWLINK, 0, which, on, attributes);
}

fn about(
    batch: &mut Batch,
    kind: u16,
    flags: u16,
    which: Which<'_>,
    on: u32,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    let index = match which {
        Which::Index(index) => index,
        Which::Name(_) => 0,
    };
    batch.message(kind, flags, &header(index, on, on), |link| {
        if let Which::Name(name) = which {
            link.text(libc::IFLA_IFNAME, name);
        }
        attributes(link);
    });
}

/// `struct ifinfomsg`.
fn header(index: u32, on: u32, changed: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&on.to_ne_bytes());
    header[12..].copy_from_slice(&changed.to_ne_bytes());
    header
}

fn family(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// An address as it is in a packet.
pub fn octets(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses() {
        let mac = parse_mac("02:42:ac:11:00:02").unwrap();
        assert_eq!(mac, [2, 0x42, 0xac, 0x11, 0, 2]);
        assert_eq!(link_local(mac).to_string(), "fe80::42:acff:fe11:2");
        for wrong in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:0:2",
            "zz:42:ac:11:00:02",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_found_and_others_are_not() {
        let socket = socket().unwrap();
        let found = find(&socket, "lo").unwrap().unwrap();
        assert_eq!(
            (found.index, found.kind.as_str(), found.mac),
            (1, "", Some([0; 6]))
        );
        assert_eq!(find(&socket, "no-such-one").unwrap(), None);
    }
}
