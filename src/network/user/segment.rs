//! Packets that are read and made by hand: the first segment of a connection (RFC 9293), the answer that refuses it, and
//! what ICMP says of one that does not arrive (RFC 792, RFC 4443).

use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FLAG_SYN: u8 = 2;
const FLAG_RST: u8 = 4;
const FLAG_ACK: u8 = 16;
/// What counts when a segment is asked whether it is the first one: the bits of ECN do not.
const FLAGS: u8 = FLAG_SYN | FLAG_RST | FLAG_ACK | 1;
const IPV6_HEADER: usize = 40;

/// A packet that asks for a connection, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    packet: Vec<u8>,
    /// Where the segment begins.
    segment: usize,
    /// Who asks.
    pub from: SocketAddr,
    /// Whom.
    pub to: SocketAddr,
}

impl Opening {
    /// Reads a packet of IPv4 or IPv6; `None` for anything else than a whole first segment right behind the header.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (segment, length, source, destination) = match packet.first()? >> 4 {
            4 => ipv4(packet)?,
            6 => ipv6(packet)?,
            _ => return None,
        };
        let packet = packet.get(..length)?;
        let tcp = packet.get(segment..)?;
        if tcp.len() < 20 || tcp[13] & FLAGS != FLAG_SYN {
            return None;
        }
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Some(Self {
            from: SocketAddr::new(source, port(0)),
            to: SocketAddr::new(destination, port(2)),
            packet: packet.to_vec(),
            segment,
        })
    }

    /// The packet with the checksum that its sender has left to a network card.
    pub fn whole(mut self) -> Vec<u8> {
        seal(
            &mut self.packet[self.segment..],
            16,
            self.from.ip(),
            self.to.ip(),
            TCP,
        );
        self.packet
    }

    /// The packet that refuses it.
    pub fn refusal(&self) -> Vec<u8> {
        let tcp = &self.packet[self.segment..];
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let header = usize::from(tcp[12] >> 4) * 4;
        let carried = tcp.len().saturating_sub(header) as u32;
        let mut answer = [0; 20];
        answer[0..2].copy_from_slice(&self.to.port().to_be_bytes());
        answer[2..4].copy_from_slice(&self.from.port().to_be_bytes());
        let acknowledged = sequence.wrapping_add(1).wrapping_add(carried);
        answer[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        answer[12] = 5 << 4;
        answer[13] = FLAG_RST | FLAG_ACK;
        seal(&mut answer, 16, self.to.ip(), self.from.ip(), TCP);
        let mut packet = header_of(self.to.ip(), self.from.ip(), TCP, answer.len());
        packet.extend_from_slice(&answer);
        packet
    }

    /// What a message of ICMP quotes.
    pub fn quote(&self) -> Vec<u8> {
        self.packet[..self.packet.len().min(self.segment + 20)].to_vec()
    }
}

/// Where the payload of a whole packet begins, where it ends, from whom to whom it goes.
fn ipv4(packet: &[u8]) -> Option<(usize, usize, IpAddr, IpAddr)> {
    let header = usize::from(packet[0] & 15) * 4;
    let fixed = packet.get(..20)?;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff;
    if header < 20 || length < header || fragment != 0 || fixed[9] != TCP {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    Some((header, length, address(12).into(), address(16).into()))
}

fn ipv6(packet: &[u8]) -> Option<(usize, usize, IpAddr, IpAddr)> {
    let fixed = packet.get(..IPV6_HEADER)?;
    let length = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if fixed[6] != TCP {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = fixed[at..at + 16].try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    Some((IPV6_HEADER, IPV6_HEADER + length, address(8)?, address(24)?))
}

/// The header of a packet with that much behind it.
fn header_of(from: IpAddr, to: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    const HOPS: u8 = 64;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&((20 + length) as u16).to_be_bytes());
            header[8] = HOPS;
            header[9] = protocol;
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            let sum = checksum(&[&header]);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (from, to) => {
            let mut header = vec![0; IPV6_HEADER];
            header[0] = 6 << 4;
            header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
            header[6] = protocol;
            header[7] = HOPS;
            header[8..24].copy_from_slice(&octets(from));
            header[24..40].copy_from_slice(&octets(to));
            header
        }
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Writes the checksum of a segment at `at` of it, which covers the addresses too (RFC 9293, 3.1; RFC 8200, 8.1).
fn seal(segment: &mut [u8], at: usize, from: IpAddr, to: IpAddr, protocol: u8) {
    segment[at..at + 2].fill(0);
    let length = (segment.len() as u32).to_be_bytes();
    let numbers = [&length[..], &[0, 0, 0, protocol]].concat();
    // The zeroes and ones before an address of IPv4 would count, so it stands alone.
    let sum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            checksum(&[&from.octets(), &to.octets(), &numbers, segment])
        }
        (from, to) => checksum(&[&octets(from), &octets(to), &numbers, segment]),
    };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071; only the last part may have an odd length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// What ICMP calls a failure to reach somebody: type and code for IPv4, for IPv6; `None` where nothing is said, so that
/// whoever waits goes on waiting.
fn unreachable(error: Errno) -> Option<((u8, u8), (u8, u8))> {
    match error {
        Errno::CONNREFUSED => Some(((3, 3), (1, 4))),
        Errno::HOSTUNREACH | Errno::HOSTDOWN => Some(((3, 1), (1, 3))),
        Errno::NETUNREACH | Errno::NETDOWN | Errno::AFNOSUPPORT => Some(((3, 0), (1, 0))),
        Errno::ACCESS | Errno::PERM => Some(((3, 13), (1, 1))),
        _ => None,
    }
}

/// The message of ICMP that tells the sender of a packet why it did not arrive. The checksum of IPv6's is the kernel's.
pub fn complaint(quote: &[u8], error: Errno) -> Option<Vec<u8>> {
    let is_ipv4 = quote.first()? >> 4 == 4;
    let (ipv4, ipv6) = unreachable(error)?;
    let (kind, code) = if is_ipv4 { ipv4 } else { ipv6 };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(quote);
    if is_ipv4 {
        let sum = checksum(&[&message]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    Some(message)
}

/// The beginning of a datagram that somebody has sent, for ICMP to quote.
pub fn datagram_quote(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    const HEADER: u16 = 8;
    let mut quote = header_of(from.ip(), to.ip(), UDP, HEADER.into());
    quote.extend_from_slice(&from.port().to_be_bytes());
    quote.extend_from_slice(&to.port().to_be_bytes());
    quote.extend_from_slice(&HEADER.to_be_bytes());
    quote.extend_from_slice(&[0, 0]);
    quote
}

/// The beginning of an echo request that somebody has sent, for ICMP to quote.
pub fn echo_quote(from: IpAddr, to: IpAddr, message: &[u8]) -> Vec<u8> {
    let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
    let mut quote = header_of(from, to, protocol, message.len());
    quote.extend_from_slice(&message[..message.len().min(8)]);
    quote
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SYN of a kernel with the checksum left to the card, ECN asked for.
    fn opening(ipv6: bool, data: &[u8]) -> Vec<u8> {
        let (from, to): (IpAddr, IpAddr) = match ipv6 {
            false => ([10, 88, 0, 2].into(), [192, 0, 2, 7].into()),
            true => ("fd00::2".parse().unwrap(), "2001:db8::7".parse().unwrap()),
        };
        let mut tcp = vec![0; 20];
        tcp[0..4].copy_from_slice(&[0xd1, 0x30, 0, 80]);
        tcp[4..8].copy_from_slice(&0xffff_ffffu32.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = FLAG_SYN | 0xc0;
        tcp[16..18].copy_from_slice(&[0x0c, 0x8a]);
        tcp.extend_from_slice(data);
        let mut packet = header_of(from, to, TCP, tcp.len());
        packet.extend_from_slice(&tcp);
        packet
    }

    #[test]
    fn an_opening_is_read_made_whole_and_refused() {
        for ipv6 in [false, true] {
            for data in [&b""[..], b"odd"] {
                let packet = opening(ipv6, data);
                let header = if ipv6 { 40 } else { 20 };
                let read = Opening::parse(&packet).unwrap();
                assert_eq!((read.from.port(), read.to.port()), (0xd130, 80));
                assert!(!read.to.ip().is_loopback() && read.to.is_ipv6() == ipv6);
                let refusal = read.refusal();
                let tcp = &refusal[header..];
                assert_eq!(tcp[..4], [0, 80, 0xd1, 0x30]);
                assert_eq!(tcp[13], FLAG_RST | FLAG_ACK);
                assert_eq!(tcp[8..12], (data.len() as u32).to_be_bytes());
                assert_eq!(sum_of(&refusal, header), 0);
                let whole = read.whole();
                assert_eq!(whole.len(), packet.len());
                assert_eq!(sum_of(&whole, header), 0);
            }
        }
    }

    /// The checksum of a segment that is right is zero.
    fn sum_of(packet: &[u8], header: usize) -> u16 {
        let addresses = if header == 20 { 12..20 } else { 8..40 };
        let segment = &packet[header..];
        let length = (segment.len() as u16).to_be_bytes();
        checksum(&[&packet[addresses], &length, &[0, TCP], segment])
    }

    #[test]
    fn what_is_no_opening_is_not_read() {
        for ipv6 in [false, true] {
            let good = opening(ipv6, b"");
            for length in 0..good.len() {
                assert_eq!(Opening::parse(&good[..length]), None, "{length}");
            }
            let flags = if ipv6 { 53 } else { 33 };
            for wrong in [
                0,
                FLAG_ACK,
                FLAG_SYN | FLAG_ACK,
                FLAG_SYN | FLAG_RST,
                FLAG_SYN | 1,
            ] {
                let mut packet = good.clone();
                packet[flags] = wrong;
                assert_eq!(Opening::parse(&packet), None, "{wrong}");
            }
            let mut packet = good.clone();
            packet[if ipv6 { 6 } else { 9 }] = UDP;
            assert_eq!(Opening::parse(&packet), None);
        }
        let mut fragment = opening(false, b"");
        fragment[6] = 0x20;
        assert_eq!(Opening::parse(&fragment), None);
    }
}
