//! Packets as they come from the interfaces of the caller's network namespace (packet(7)), those that a filter of the
//! kernel lets through (linux/filter.h, classic BPF).
//!
//! Invariant: a socket receives nothing before it has its filter.

#![allow(unsafe_code)]

use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One instruction of a filter.
pub type Instruction = libc::sock_filter;

/// The protocol of Ethernet frames that carry IPv4.
pub const IPV4: u16 = libc::ETH_P_IP as u16;
/// That of those that carry IPv6.
pub const IPV6: u16 = libc::ETH_P_IPV6 as u16;

/// A socket of family AF_PACKET without link headers.
#[derive(Debug)]
pub struct Packets(OwnedFd);

impl Packets {
    /// Receives packets of that protocol of Ethernet that the filter lets through, from all interfaces (CAP_NET_RAW).
    pub fn open(protocol: u16, filter: &[Instruction]) -> Result<Self, Errno> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain integers; protocol 0 receives nothing.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if socket == -1 {
            return Err(super::last_error());
        }
        // SAFETY: just made, owned by nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the option reads the program and its instructions, which outlive the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                size_of_val(&program) as u32,
            )
        };
        if result == -1 {
            return Err(super::last_error());
        }
        // SAFETY: all-zero is a valid `sockaddr_ll`: integers.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        // SAFETY: the call reads an address of that size, which outlives it.
        let result = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        match result {
            -1 => Err(super::last_error()),
            _ => Ok(Self(socket)),
        }
    }

    /// Takes a packet from its network header on; how long it is and by which interface it has come, or `None` when there
    /// is none now. What does not fit is lost.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<(usize, u32)>, Errno> {
        // SAFETY: all-zero is a valid `sockaddr_ll`: integers.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut size = size_of_val(&from) as u32;
        // SAFETY: buffer and address outlive the call and are as long as it is told.
        let length = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                (&raw mut from).cast(),
                &raw mut size,
            )
        };
        match usize::try_from(length) {
            Ok(length) => Ok(Some((length, from.sll_ifindex as u32))),
            Err(_) => match super::last_error() {
                Errno::AGAIN => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Whether an interface of the socket's network namespace has that name (netdevice(7), SIOCGIFNAME).
    pub fn is_called(&self, interface: u32, name: &str) -> bool {
        let found = rustix::net::netdevice::index_to_name_inlined(&self.0, interface);
        found.is_ok_and(|found| found.as_str() == name)
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
