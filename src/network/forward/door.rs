//! Ports of the host that somebody may knock at: sockets that are bound, and what to say when they cannot be.
//!
//! Invariant: a port that is here is nobody else's, in both families where it is for all addresses.

use super::inside::{Transport, attend};
use crate::error::{Error, Kind};
use crate::network::endpoint::Protocol;
use crate::sys::transparent;
use anyhow::Result;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with,
    sockopt,
};
use rustix::process::{Resource, getrlimit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

/// How many may have come before they are let in.
const BACKLOG: i32 = 4096;

/// Ports of the host that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Wanted {
    /// Of the host; `None`: all, of both families.
    pub address: Option<IpAddr>,
    /// First and last port of the host; `None`: any that is free. As many as of the container, or more where that is one.
    pub host: Option<(u16, u16)>,
    /// First and last port of the container.
    pub container: (u16, u16),
    /// TCP, UDP, or as root SCTP.
    pub protocol: Protocol,
}

/// A socket that is bound.
#[derive(Debug)]
pub struct Door {
    /// The socket; it does not block.
    pub socket: OwnedFd,
    /// What it is for. One of SCTP only keeps the port from others: the kernel's rules alone lead to the container, since
    /// bytes that are carried between two sockets lose the messages and streams that they belong to.
    pub protocol: Protocol,
    /// The address that was asked for.
    pub address: Option<IpAddr>,
    /// The port of the host.
    pub port: u16,
    /// The port of the container that it leads to.
    pub target: u16,
    /// How many are let in before others are served: more as long as more come, so that of single ones nobody has to ask
    /// whether there is another.
    pub patience: usize,
}

impl Door {
    /// Binds in the caller's network namespace; at port 0 any that is free.
    pub fn open(
        address: Option<IpAddr>,
        port: u16,
        protocol: Protocol,
        target: u16,
    ) -> Result<Self, Errno> {
        let socket = match address {
            Some(address) => bound(SocketAddr::new(address, port), protocol),
            // Where the host has no IPv6 there is nothing but IPv4 to be asked at.
            None => match bound((Ipv6Addr::UNSPECIFIED, port).into(), protocol) {
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                    bound((Ipv4Addr::UNSPECIFIED, port).into(), protocol)
                }
                result => result,
            },
        }?;
        let port = match port {
            0 => local_address(&socket)?.port(),
            port => port,
        };
        Ok(Self {
            socket,
            protocol,
            address,
            port,
            target,
            patience: 1,
        })
    }

    /// Whether nobody else can have that port.
    pub fn is_at(&self, address: Option<IpAddr>, port: u16, protocol: Protocol) -> bool {
        let everywhere =
            |address: Option<IpAddr>| address.is_none_or(|address| address.is_unspecified());
        (self.port, self.protocol) == (port, protocol)
            && (everywhere(address) || everywhere(self.address) || self.address == address)
    }

    /// How what comes there is carried, unless that is the kernel's work.
    pub fn transport(&self) -> Option<Transport> {
        match self.protocol {
            Protocol::Tcp => Some(Transport::Stream),
            Protocol::Udp => Some(Transport::Datagram),
            Protocol::Sctp => None,
        }
    }

    /// Who has come, if somebody has.
    pub fn accept(&self) -> Result<Option<(OwnedFd, SocketAddr)>, Errno> {
        accept(&self.socket)
    }
}

/// The next connection of a listening socket; it does not block.
pub fn accept(listener: &OwnedFd) -> Result<Option<(OwnedFd, SocketAddr)>, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let accepted = rustix::net::acceptfrom_with(listener, flags);
        return match accepted {
            Err(Errno::AGAIN) => Ok(None),
            // Whoever it was has gone already (accept(2), "Error handling").
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PERM | Errno::PROTO) => continue,
            Err(error) => Err(error),
            Ok((socket, from)) => {
                let from = from.ok_or(Errno::AFNOSUPPORT)?;
                Ok(Some((socket, canonical(from.try_into()?))))
            }
        };
    }
}

/// An address of IPv4 is one, whatever family the socket is of.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

/// The address that a socket has.
pub fn local_address(socket: &OwnedFd) -> Result<SocketAddr, Errno> {
    SocketAddr::try_from(getsockname(socket)?)
}

fn bound(address: SocketAddr, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let ipv6 = address.is_ipv6();
    let family = match ipv6 {
        true => AddressFamily::INET6,
        false => AddressFamily::INET,
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, None),
        Protocol::Udp => (SocketType::DGRAM, None),
        Protocol::Sctp => (SocketType::STREAM, Some(ipproto::SCTP)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, number)?;
    if ipv6 {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    match protocol {
        Protocol::Tcp => {
            // Connections of whoever had the port before may still be ending.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            // Connections inherit it.
            attend(&socket)?;
        }
        Protocol::Udp => transparent::tell_address(socket.as_fd(), ipv6)?,
        Protocol::Sctp => {}
    }
    bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// Who has a port already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder<'a> {
    /// The container that asks for it, by another of its ports.
    Itself,
    /// The container of that name.
    Container(&'a str),
    /// None that is known here.
    Unknown,
}

/// What to tell of a port that cannot be had.
pub fn refusal(
    address: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
    error: Errno,
    holder: Holder<'_>,
) -> Error {
    let at = SocketAddr::new(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port);
    let flag = match protocol {
        Protocol::Tcp => "tlnp",
        Protocol::Udp => "ulnp",
        Protocol::Sctp => "Slnp",
    };
    match error {
        Errno::ADDRINUSE => Error::new(
            Kind::Conflict,
            format!("Bind for {at} failed: port is already allocated"),
        )
        .hint(match holder {
            Holder::Itself => "it is published twice for this container: leave one of them out".to_owned(),
            Holder::Container(name) => {
                format!("container `{name}` has it: choose another port, or stop that")
            }
            Holder::Unknown => {
                format!("another program has it: `ss -{flag} 'sport = :{port}'` shows which")
            }
        }),
        Errno::ACCESS => Error::new(
            Kind::Denied,
            format!("Bind for {at} failed: ordinary users may not listen at ports this low"),
        )
        .hint(format!(
            "as root: `sysctl net.ipv4.ip_unprivileged_port_start={port}`; or let systemd listen, by a socket unit with \
             `ListenStream={port}` for the service that runs onggi; or publish a port from 1024 on"
        )),
        Errno::ADDRNOTAVAIL => Error::new(
            Kind::BadInput,
            format!("Bind for {at} failed: no interface has that address"),
        )
        .hint("`ip address` shows the host's; leave the address out to listen at all of them"),
        Errno::PROTONOSUPPORT => Error::new(
            Kind::Unsupported,
            format!("Bind for {at} failed: this kernel has no {}", protocol.word().to_uppercase()),
        )
        .hint("`modprobe sctp` loads it where it is a module"),
        Errno::MFILE => Error::new(
            Kind::Denied,
            format!(
                "Bind for {at} failed: each published port is an open file, and a process may have {} (RLIMIT_NOFILE)",
                getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
            ),
        )
        .hint("raise the limit (`ulimit -n`, LimitNOFILE= of a unit), or publish fewer ports"),
        error => Error::new(Kind::Denied, format!("Bind for {at} failed: {error}")),
    }
}
