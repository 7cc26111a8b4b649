//! Sockets that speak from addresses which are not the machine's own, and datagrams that tell where they were going to
//! (ip(7): IP_TRANSPARENT, IP_RECVORIGDSTADDR, IP_PKTINFO; ipv6(7) likewise).
//!
//! Invariant: a control message is read only as far as the kernel has written it.

#![allow(unsafe_code)]

use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// linux/in6.h; the libc crate lacks these.
const IPV6_TRANSPARENT: libc::c_int = 75;
const IPV6_ORIGDSTADDR: libc::c_int = 74;
/// linux/icmp.h, linux/icmpv6.h: both are number 1 of their levels.
const ICMP_FILTER: libc::c_int = 1;

/// Room for the two control messages of a datagram, aligned as they have to be.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// What is known of a datagram that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// How many bytes of it are in the buffer.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Where it was sent to, for sockets with [`tell_destination`].
    pub destination: Option<SocketAddr>,
    /// The same without the port, for sockets with [`tell_address`].
    pub address: Option<IpAddr>,
}

/// Lets a socket be bound to any address, and take what TPROXY gives it (CAP_NET_ADMIN or CAP_NET_RAW).
pub fn make_transparent(socket: BorrowedFd<'_>, ipv6: bool) -> Result<(), Errno> {
    match ipv6 {
        false => set(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1),
        true => set(socket, libc::IPPROTO_IPV6, IPV6_TRANSPARENT, 1),
    }
}

/// Lets [`receive`] tell address and port that a datagram was sent to, before TPROXY.
pub fn tell_destination(socket: BorrowedFd<'_>, ipv6: bool) -> Result<(), Errno> {
    match ipv6 {
        false => set(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1),
        true => set(socket, libc::IPPROTO_IPV6, IPV6_ORIGDSTADDR, 1),
    }
}

/// Lets [`receive`] tell the address that a datagram was sent to; both families of a socket that has both.
pub fn tell_address(socket: BorrowedFd<'_>, ipv6: bool) -> Result<(), Errno> {
    if ipv6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    }
    // A socket of IPv6 that also has IPv4 takes it, any other does not know it.
    match set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1) {
        Err(_) if ipv6 => Ok(()),
        result => result,
    }
}

/// Lets a raw socket of ICMP receive messages of that type only (raw(7); icmpv6's filter is one bit for each type).
pub fn filter_icmp(socket: BorrowedFd<'_>, ipv6: bool, kind: u8) -> Result<(), Errno> {
    if !ipv6 {
        // A set bit hides a type; there are 32.
        let hidden = !(1u32 << (kind & 31));
        return set(socket, libc::SOL_RAW, ICMP_FILTER, hidden as i32);
    }
    let mut hidden = [u32::MAX; 8];
    hidden[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    // SAFETY: the option reads 32 bytes, which outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMP_FILTER,
            hidden.as_ptr().cast(),
            size_of_val(&hidden) as u32,
        )
    };
    checked(result as isize).map(|_| ())
}

/// Marks what a socket sends, for rules to know it by (socket(7), SO_MARK; CAP_NET_ADMIN).
pub fn mark(socket: BorrowedFd<'_>, mark: u32) -> Result<(), Errno> {
    set(socket, libc::SOL_SOCKET, libc::SO_MARK, mark as i32)
}

/// Lets connect(2) choose the port of a socket that is bound to an address only, so that as many connections as there
/// are ports go to each destination (ip(7), IP_BIND_ADDRESS_NO_PORT).
pub fn leave_port_open(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Has the errors that ICMP reports of a socket's datagrams told, also those that may pass (ip(7), IP_RECVERR). They have
/// to be [taken](take_errors).
pub fn tell_errors(socket: BorrowedFd<'_>, ipv6: bool) -> Result<(), Errno> {
    match ipv6 {
        false => set(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        true => set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Empties the queue of errors of a socket (recv(2), MSG_ERRQUEUE); the first of them.
pub fn take_errors(socket: BorrowedFd<'_>) -> Option<Errno> {
    let first = rustix::net::sockopt::socket_error(socket).unwrap_or_else(Err);
    let flags = rustix::net::RecvFlags::ERRQUEUE | rustix::net::RecvFlags::DONTWAIT;
    while rustix::net::recv(socket, &mut [0; 1], flags).is_ok() {}
    first.err()
}

/// Takes a datagram (recvmsg(2)) without waiting.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid `sockaddr_storage`: integers and arrays of them.
    let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut control = Control([0; 128]);
    // SAFETY: all-zero is a valid `msghdr`: integers and null pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of_val(&from) as u32;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: everything that the message points to outlives the call and is as long as it says.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let length = checked(result)?;
    let mut received = Received {
        length,
        from: address_of(&from).ok_or(Errno::AFNOSUPPORT)?,
        destination: None,
        address: None,
    };
    // SAFETY: the kernel has filled the message in; the macros walk what it has written, and each payload is read
    // without assuming its alignment and only as the type that its level and number stand for.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(found) = header.as_ref() {
            let data = libc::CMSG_DATA(header);
            match (found.cmsg_level, found.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) => {
                    received.destination =
                        Some(ipv4(&data.cast::<libc::sockaddr_in>().read_unaligned()));
                }
                (libc::IPPROTO_IPV6, IPV6_ORIGDSTADDR) => {
                    received.destination =
                        Some(ipv6(&data.cast::<libc::sockaddr_in6>().read_unaligned()));
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    received.address =
                        Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    received.address = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(received)
}

/// Sends a datagram (sendmsg(2)) without waiting, from that address where one is given; its family is that of the
/// socket.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Result<(), Errno> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let (mut name, length) = storage(to);
    let mut control = Control([0; 128]);
    // SAFETY: all-zero is a valid `msghdr`: integers and null pointers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = length;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(from) = from {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        message.msg_controllen = put_source(&message, from) as _;
    }
    // SAFETY: everything that the message points to outlives the call and is as long as it says; the kernel reads only.
    let result = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    checked(result).map(|_| ())
}

/// Writes the control message that names the source; how long it is.
fn put_source(message: &libc::msghdr, from: IpAddr) -> usize {
    // SAFETY: the message has room for the longest of these headers with its payload, both of which are plain data.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        let data = libc::CMSG_DATA(header);
        let size = match from {
            IpAddr::V4(address) => {
                let mut info: libc::in_pktinfo = std::mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from_ne_bytes(address.octets());
                data.cast::<libc::in_pktinfo>().write_unaligned(info);
                (*header).cmsg_level = libc::IPPROTO_IP;
                (*header).cmsg_type = libc::IP_PKTINFO;
                size_of_val(&info)
            }
            IpAddr::V6(address) => {
                let mut info: libc::in6_pktinfo = std::mem::zeroed();
                info.ipi6_addr.s6_addr = address.octets();
                data.cast::<libc::in6_pktinfo>().write_unaligned(info);
                (*header).cmsg_level = libc::IPPROTO_IPV6;
                (*header).cmsg_type = libc::IPV6_PKTINFO;
                size_of_val(&info)
            }
        };
        (*header).cmsg_len = libc::CMSG_LEN(size as u32) as _;
        libc::CMSG_SPACE(size as u32) as usize
    }
}

fn ipv4(raw: &libc::sockaddr_in) -> SocketAddr {
    let address = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
    SocketAddrV4::new(address, u16::from_be(raw.sin_port)).into()
}

fn ipv6(raw: &libc::sockaddr_in6) -> SocketAddr {
    let address = Ipv6Addr::from(raw.sin6_addr.s6_addr);
    SocketAddrV6::new(address, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into()
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let start = &raw const *storage;
    match i32::from(storage.ss_family) {
        // SAFETY: the family says which type the kernel has written; a storage is as large and as aligned as each.
        libc::AF_INET => Some(ipv4(unsafe { &*start.cast() })),
        // SAFETY: as above.
        libc::AF_INET6 => Some(ipv6(unsafe { &*start.cast() })),
        _ => None,
    }
}

fn storage(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: all-zero is a valid `sockaddr_storage`: integers and arrays of them.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let start = &raw mut storage;
    let length = match address {
        SocketAddr::V4(address) => {
            // SAFETY: a storage is as large and as aligned as each type of address; zeroes are valid in all.
            let raw: &mut libc::sockaddr_in = unsafe { &mut *start.cast() };
            raw.sin_family = libc::AF_INET as u16;
            raw.sin_port = address.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let raw: &mut libc::sockaddr_in6 = unsafe { &mut *start.cast() };
            raw.sin6_family = libc::AF_INET6 as u16;
            raw.sin6_port = address.port().to_be();
            raw.sin6_addr.s6_addr = address.ip().octets();
            raw.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as u32)
}

fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: the option reads an integer, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as u32,
        )
    };
    checked(result as isize).map(|_| ())
}

fn checked(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| super::last_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_datagram_tells_where_it_was_sent_to_and_the_answer_comes_from_there() {
        for (any, asked) in [
            ("0.0.0.0", "127.0.0.5"),
            ("[::]", "::1"),
            ("[::]", "127.0.0.5"),
        ] {
            let server = UdpSocket::bind(format!("{any}:0")).unwrap();
            tell_address(server.as_fd(), any == "[::]").unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            let client = match asked {
                IpAddr::V4(_) => UdpSocket::bind("127.0.0.9:0").unwrap(),
                IpAddr::V6(_) => UdpSocket::bind("[::1]:0").unwrap(),
            };
            let port = server.local_addr().unwrap().port();
            client.connect(SocketAddr::new(asked, port)).unwrap();
            client.send(b"question").unwrap();
            let mut buffer = [0; 64];
            let received = receive(server.as_fd(), &mut buffer).unwrap();
            assert_eq!(&buffer[..received.length], b"question");
            assert_eq!(
                received.from.ip().to_canonical(),
                client.local_addr().unwrap().ip()
            );
            assert_eq!(received.address.unwrap().to_canonical(), asked);
            // A connected client hears only answers from where it has sent to.
            send(server.as_fd(), b"answer", received.from, received.address).unwrap();
            let length = client.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"answer");
        }
    }

    #[test]
    fn nothing_is_not_waited_for() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let result = receive(socket.as_fd(), &mut [0; 8]);
        assert_eq!(result.unwrap_err(), Errno::AGAIN);
    }
}
