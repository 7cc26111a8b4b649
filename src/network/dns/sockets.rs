//! The sockets of a resolver: the two that the container asks, and one for each question that is passed on.

use super::redirect;
use crate::network::resolv_conf::{RESOLVER, Server};
use crate::sys::namespace::inside_network;
use anyhow::{Context, Result, anyhow};
use rustix::io::Errno;
use rustix::net::sockopt::{set_ip_freebind, set_socket_reuseaddr};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, netdevice,
    socket_with,
};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The port of DNS.
pub const PORT: u16 = 53;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// Where a container asks, and the way back into its network namespace.
#[derive(Debug)]
pub struct Sockets {
    pub(super) udp: OwnedFd,
    pub(super) tcp: OwnedFd,
    namespace: OwnedFd,
}

impl Sockets {
    /// Opens them in the network namespace of the calling thread: 127.0.0.11, port 53. Its loopback interface need not be
    /// up yet.
    pub fn open() -> Result<Self> {
        Self::listen(PORT)
    }

    /// Likewise for a container that may listen on port 53 itself, because it exposes or publishes it. See [`redirect`]
    /// for the price.
    pub fn open_beside_a_server() -> Result<Self> {
        let sockets = Self::listen(0)?;
        let port = |socket: &OwnedFd| {
            let address = SocketAddr::try_from(getsockname(socket)?)?;
            Ok(address.port())
        };
        let ports = port(&sockets.udp).and_then(|udp| Ok((udp, port(&sockets.tcp)?)));
        let (udp, tcp) = ports.map_err(|errno: Errno| anyhow!("ask for a port: {errno}"))?;
        redirect::install(udp, tcp)
            .map_err(|refusal| anyhow!("lead port 53 of 127.0.0.11 to the resolver: {refusal}"))?;
        Ok(sockets)
    }

    fn listen(port: u16) -> Result<Self> {
        let namespace = "/proc/thread-self/ns/net";
        let namespace = std::fs::File::open(namespace)
            .with_context(|| format!("open `{namespace}`"))?
            .into();
        let context = |protocol: &str| format!("listen on {RESOLVER}:{port} ({protocol})");
        Ok(Self {
            udp: listening(SocketType::DGRAM, port).with_context(|| context("UDP"))?,
            tcp: listening(SocketType::STREAM, port).with_context(|| context("TCP"))?,
            namespace,
        })
    }

    /// The network namespace that they are in.
    pub fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

fn listening(kind: SocketType, port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    set_ip_freebind(&socket, true)?;
    if kind == SocketType::STREAM {
        // Connections of the container's last start may still be closing.
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(RESOLVER.into(), port))?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

/// A socket of that network namespace, or of ours, connected to a resolver or, if it is a stream, about to be.
pub fn connected(
    kind: SocketType,
    server: &Server,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd, Errno> {
    match namespace {
        None => connected_here(kind, server),
        Some(namespace) => inside_network(namespace, || connected_here(kind, server))
            .map_err(|_| Errno::HOSTUNREACH)?,
    }
}

fn connected_here(kind: SocketType, server: &Server) -> Result<OwnedFd, Errno> {
    let family = match server.address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None)?;
    let address = match (server.address, &server.scope) {
        (IpAddr::V6(address), Some(scope)) => {
            let interface = match scope.parse() {
                Ok(number) => number,
                Err(_) => netdevice::name_to_index(&socket, scope)?,
            };
            SocketAddrV6::new(address, PORT, 0, interface).into()
        }
        (address, _) => SocketAddr::new(address, PORT),
    };
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
