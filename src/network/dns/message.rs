//! DNS messages as bytes (RFC 1035 section 4, RFC 6891 for EDNS): just what a forwarder has to read, and answers.
//!
//! It copies nothing that it does not need and follows compression pointers only backwards, so that no message can keep
//! it busy. What it cannot read is `None`, never a panic: everything here is written by strangers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Length of the header.
pub const HEADER: usize = 12;
/// What a datagram may hold when its asker does not say otherwise.
pub const UDP_LIMIT: usize = 512;
/// What a datagram can hold.
const UDP_MOST: usize = 65507;
/// What every resolver of today takes in one datagram, and what we say that we take.
const EDNS_LIMIT: u16 = 1232;

const LONGEST_NAME: usize = 255;
/// As many as such a name can have labels.
const MOST_POINTERS: usize = 127;
const CLASS_INTERNET: u16 = 1;

/// Types of records.
pub mod kind {
    #![allow(missing_docs)]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const PTR: u16 = 12;
    pub const MX: u16 = 15;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
    pub const OPT: u16 = 41;
    pub const ANY: u16 = 255;
}

/// How it went (RFC 1035 section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// There is such a name, even if it has no such record.
    NoError = 0,
    /// The query cannot be read.
    FormatError = 1,
    /// The answer could not be found out; it may be another time.
    ServerFailure = 2,
    /// There is no such name.
    NoSuchName = 3,
    /// Something else than a query.
    NotImplemented = 4,
}

/// The first question of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// In lower case, without the last dot; a byte that is no printable character, a dot inside of a label and a
    /// backslash are `\DDD` (RFC 1035 section 5.1).
    pub name: String,
    /// See [`kind`].
    pub kind: u16,
    class: u16,
    /// Where it ends in the message.
    pub end: usize,
}

impl Question {
    /// Of a query or a reply that has exactly one.
    pub fn read(message: &[u8]) -> Option<Self> {
        if message.len() < HEADER || number(message, 4)? != 1 {
            return None;
        }
        let (name, end) = name(message, HEADER)?;
        Some(Self {
            name,
            kind: number(message, end)?,
            class: number(message, end + 2)?,
            end: end + 4,
        })
    }

    /// Whether it asks for something of the Internet, not of the server itself (class CHAOS).
    pub fn is_internet(&self) -> bool {
        self.class == CLASS_INTERNET || self.class == kind::ANY
    }
}

/// The number that answers carry too.
pub fn id(message: &[u8]) -> Option<u16> {
    number(message, 0)
}

/// Gives it another one.
pub fn set_id(message: &mut [u8], id: u16) {
    message[..2].copy_from_slice(&id.to_be_bytes());
}

/// Whether it is an answer.
pub fn is_reply(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// Whether it is a plain query (OPCODE 0).
pub fn is_query(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0xf8 == 0)
}

/// The bits of RCODE that are in the header.
pub fn code(message: &[u8]) -> Option<u8> {
    message.get(3).map(|flags| flags & 0xf)
}

/// Whether more of it is to be had by TCP.
pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// Whether it has no question: so some servers refuse.
pub fn is_without_question(message: &[u8]) -> bool {
    message.len() >= HEADER && number(message, 4) == Some(0)
}

/// The size of datagrams that the asker takes, if it knows EDNS (RFC 6891 section 6.2.3).
pub fn edns(message: &[u8], question: &Question) -> Option<usize> {
    let mut at = question.end;
    for _ in 0..count(message)? {
        let record = Record::read(message, at)?;
        if record.kind == kind::OPT {
            return Some(usize::from(record.class).clamp(UDP_LIMIT, UDP_MOST));
        }
        at = record.data.end;
    }
    None
}

/// How many records there are behind the question.
fn count(message: &[u8]) -> Option<usize> {
    let of = |at| number(message, at).map(usize::from);
    Some(of(6)? + of(8)? + of(10)?)
}

/// Whether all records that a reply says it has can be read.
pub fn is_readable(reply: &[u8], question: &Question) -> bool {
    let mut at = question.end;
    let mut next = || {
        let record = Record::read(reply, at)?;
        at = record.data.end;
        record.is_readable(reply).then_some(())
    };
    count(reply).is_some_and(|count| (0..count).all(|_| next().is_some()))
}

/// A record, by where it is.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where its name begins.
    owner: usize,
    kind: u16,
    class: u16,
    ttl: u32,
    data: Range<usize>,
}

impl Record {
    fn read(message: &[u8], at: usize) -> Option<Self> {
        let fields = skip_name(message, at)?;
        let data = fields + 10;
        let end = data + usize::from(number(message, fields + 8)?);
        let high = number(message, fields + 4)?;
        (end <= message.len()).then_some(Self {
            owner: at,
            kind: number(message, fields)?,
            class: number(message, fields + 2)?,
            ttl: u32::from(high) << 16 | u32::from(number(message, fields + 6)?),
            data: data..end,
        })
    }

    /// Addresses as long as they are, and all names that may have pointers (RFC 3597 section 4).
    fn is_readable(&self, message: &[u8]) -> bool {
        let behind = |start| name(message, start).map(|(_, end)| end);
        let start = self.data.start;
        let end = match self.kind {
            kind::A => Some(start + 4),
            kind::AAAA => Some(start + 16),
            kind::NS | kind::CNAME | kind::PTR => behind(start),
            kind::MX => behind(start + 2),
            kind::SRV => behind(start + 6),
            kind::SOA => behind(start).and_then(behind).map(|end| end + 20),
            _ => Some(self.data.end),
        };
        behind(self.owner).is_some() && end == Some(self.data.end)
    }

    fn address(&self, message: &[u8]) -> Option<IpAddr> {
        let data = message.get(self.data.clone())?;
        match self.kind {
            kind::A => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
            kind::AAAA => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
            _ => None,
        }
    }
}

/// The addresses that a reply gives to its question's name or to those that it is another name of, and the seconds that
/// all of it holds. `None`: it cannot be read.
pub fn addresses(reply: &[u8], question: &Question) -> Option<(Vec<IpAddr>, u32)> {
    let mut names = vec![question.name.clone()];
    let (mut addresses, mut ttl) = (Vec::new(), u32::MAX);
    let mut at = question.end;
    for _ in 0..number(reply, 6)? {
        let record = Record::read(reply, at)?;
        at = record.data.end;
        if !matches!(record.kind, kind::A | kind::AAAA | kind::CNAME) {
            continue;
        }
        if !names.contains(&name(reply, record.owner)?.0) {
            continue;
        }
        ttl = ttl.min(record.ttl);
        match record.address(reply) {
            Some(address) => addresses.push(address),
            None if record.kind == kind::CNAME && names.len() < 32 => {
                names.push(name(reply, record.data.start)?.0);
            }
            None => {}
        }
    }
    Some((addresses, ttl))
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR.
    Name(String),
}

/// An answer of ours to a query.
pub struct Answer<'a> {
    /// The message that is answered.
    pub query: &'a [u8],
    /// Its question, if it could be read.
    pub question: Option<&'a Question>,
    /// How it went.
    pub code: Code,
    /// All about the name that was asked for.
    pub records: &'a [Data],
    /// Seconds that they may be remembered.
    pub ttl: u32,
}

impl Answer<'_> {
    /// In at most that many bytes: what has no room is left out, and the asker told to use TCP (TC).
    pub fn write(&self, limit: usize) -> Vec<u8> {
        const REPLY: u8 = 0x80;
        const TRUNCATED: u8 = 0x02;
        const RECURSION_AVAILABLE: u8 = 0x80;
        // OPCODE and RD are repeated.
        let flags = REPLY | self.query.get(2).map_or(0, |flags| flags & 0x79);
        let mut bytes = Vec::with_capacity(UDP_LIMIT.min(limit));
        bytes.extend_from_slice(self.query.get(..2).unwrap_or(&[0, 0]));
        bytes.extend_from_slice(&[flags, RECURSION_AVAILABLE | self.code as u8]);
        bytes.extend_from_slice(&[0; 8]);
        let mut has_edns = false;
        if let Some(question) = self.question {
            bytes.extend_from_slice(&self.query[HEADER..question.end]);
            bytes[5] = 1;
            has_edns = edns(self.query, question).is_some();
        }
        let room = limit.saturating_sub(if has_edns { 11 } else { 0 });
        let mut count = 0_u16;
        for record in self.records {
            let before = bytes.len();
            write_record(&mut bytes, record, self.ttl);
            if bytes.len() > room || count == u16::MAX {
                bytes.truncate(before);
                bytes[2] |= TRUNCATED;
                break;
            }
            count += 1;
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        if has_edns {
            bytes.push(0);
            bytes.extend_from_slice(&kind::OPT.to_be_bytes());
            bytes.extend_from_slice(&EDNS_LIMIT.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
            bytes[11] = 1;
        }
        bytes
    }
}

/// That reply without its records, for an asker whose buffer it does not fit: it shall use TCP.
pub fn truncated(reply: &[u8], question: &Question) -> Vec<u8> {
    let mut bytes = reply[..question.end.min(reply.len())].to_vec();
    bytes[2] |= 0x02;
    bytes[6..HEADER].fill(0);
    bytes
}

/// The owner is the question's name, by a pointer to it.
fn write_record(bytes: &mut Vec<u8>, record: &Data, ttl: u32) {
    let kind = match record {
        Data::Address(IpAddr::V4(_)) => kind::A,
        Data::Address(IpAddr::V6(_)) => kind::AAAA,
        Data::Name(_) => kind::PTR,
    };
    bytes.extend_from_slice(&[0xc0, HEADER as u8]);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&CLASS_INTERNET.to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    let length = bytes.len();
    bytes.extend_from_slice(&[0, 0]);
    match record {
        Data::Address(IpAddr::V4(address)) => bytes.extend_from_slice(&address.octets()),
        Data::Address(IpAddr::V6(address)) => bytes.extend_from_slice(&address.octets()),
        Data::Name(name) => write_name(bytes, name),
    }
    let written = (bytes.len() - length - 2) as u16;
    bytes[length..length + 2].copy_from_slice(&written.to_be_bytes());
}

/// Labels that are too long are cut, and what makes the name too long is left out: names of containers and networks are
/// checked before they get here.
fn write_name(bytes: &mut Vec<u8>, name: &str) {
    let start = bytes.len();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        if bytes.len() - start + label.len() + 2 > LONGEST_NAME {
            break;
        }
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
}

/// The name at that place as in [`Question::name`], and where what follows it begins.
fn name(message: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut end, mut length) = (String::new(), None, 0);
    let (mut at, mut earliest, mut pointers) = (start, start, 0);
    loop {
        let head = *message.get(at)?;
        match head {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(head))?;
                length += label.len() + 1;
                if length >= LONGEST_NAME {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                label.iter().for_each(|byte| push_byte(&mut text, *byte));
                at += 1 + label.len();
            }
            0xc0.. => {
                let target = usize::from(number(message, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                // Each one leads further back than all before, so they come to an end.
                if target >= earliest || target < HEADER || pointers == MOST_POINTERS {
                    return None;
                }
                (at, earliest, pointers) = (target, target, pointers + 1);
            }
            _ => return None,
        }
    }
}

fn push_byte(text: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => {}
        byte if byte.is_ascii_graphic() => {
            text.push(byte.to_ascii_lowercase() as char);
            return;
        }
        _ => {}
    }
    text.push('\\');
    for digit in [byte / 100, byte / 10 % 10, byte % 10] {
        text.push((b'0' + digit) as char);
    }
}

fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            head @ 1..=63 => at += 1 + usize::from(head),
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = digits.split('.');
        for octet in octets.iter_mut().rev() {
            let label = labels.next()?;
            let is_number = label.bytes().all(|byte| byte.is_ascii_digit());
            *octet = label.parse().ok().filter(|_| is_number)?;
        }
        return labels.next().is_none().then(|| octets.into());
    }
    let mut value = 0_u128;
    let mut labels = name.strip_suffix(".ip6.arpa")?.split('.');
    for place in 0..32 {
        let label = labels.next().filter(|label| label.len() == 1)?;
        value |= u128::from(u8::from_str_radix(label, 16).ok()?) << (4 * place);
    }
    let address = Ipv6Addr::from(value);
    labels.next().is_none().then(|| address.into())
}

#[cfg(test)]
mod tests;
