//! Requests to the kernel over netlink(7): links, addresses and routes (rtnetlink(7)) and packet rules (nfnetlink).
//!
//! ```text
//! Batch: message, message, …   ──one send(2)──▶ kernel works on it at once ──▶ answers, there when send(2) returns
//! message: length kind flags sequence port │ fixed header of the kind │ attributes
//! attribute: length kind │ value, or attributes
//! ```
//!
//! A [`Batch`] is only bytes and can be compared in tests; a [`Socket`] belongs to the network namespace it was opened in,
//! whoever uses it (see [`super::namespace::inside_network`]). Nothing here knows what a message means.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

/// Of `struct nlmsghdr`.
const HEADER: usize = 16;
/// What one receive takes; the kernel makes dumps in pieces of at most this.
const PIECE: usize = 32 * 1024;
/// The words of an error (linux/netlink.h).
const NLMSGERR_ATTR_MSG: u16 = 1;
/// Set where the value of an attribute is attributes (NLA_F_NESTED).
const NESTED: u16 = 1 << 15;

/// Flags of a message (netlink(7)).
pub mod flags {
    /// Answer even when all is well.
    pub const ACK: u16 = libc::NLM_F_ACK as u16;
    /// Make it if there is none.
    pub const CREATE: u16 = libc::NLM_F_CREATE as u16;
    /// Fail if there is one.
    pub const EXCL: u16 = libc::NLM_F_EXCL as u16;
    /// Change the one that is there.
    pub const REPLACE: u16 = libc::NLM_F_REPLACE as u16;
    /// Put it behind the others.
    pub const APPEND: u16 = libc::NLM_F_APPEND as u16;
    /// All that there are.
    pub const DUMP: u16 = libc::NLM_F_DUMP as u16;
}

/// Which part of the kernel a socket talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// Packet rules: nfnetlink.
    Netfilter,
}

/// Messages that are sent together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Adds a message: its fixed header, then what `attributes` writes. Its sequence number is how many were before it.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        let flags = flags | libc::NLM_F_REQUEST as u16;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.count.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        pad(&mut self.bytes);
        attributes(&mut Attributes(&mut self.bytes));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.count += 1;
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes they are.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes attributes at the end of a message.
#[derive(Debug)]
pub struct Attributes<'a>(&'a mut Vec<u8>);

impl<'a> Attributes<'a> {
    /// Writes at the end of `bytes`.
    pub fn to(bytes: &'a mut Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Attributes that were written before.
    pub fn raw(&mut self, attributes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(attributes);
        self
    }

    /// Any value.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.0
            .extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        pad(self.0);
        self
    }

    /// A text, which ends with a zero byte.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// A number in the byte order of the machine, as rtnetlink(7) has them.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in the byte order of networks, as nfnetlink has them.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Attributes. They can be at most 65,531 bytes; more is a fault of the caller.
    pub fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Attributes<'_>)) -> &mut Self {
        self.framed(kind | NESTED, &[], write)
    }

    /// A fixed header and attributes behind it, as the other end of a pair of interfaces has.
    pub fn framed(
        &mut self,
        kind: u16,
        header: &[u8],
        write: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let start = self.0.len();
        self.bytes(kind, header);
        write(&mut Attributes(self.0));
        let length = u16::try_from(self.0.len() - start).expect("an attribute is below 64 KiB");
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// The attributes in `bytes`, which the kernel has written. What is cut off ends them.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        // The two high bits are flags, the rest is the kind (NLA_TYPE_MASK).
        Some((kind & 0x3fff, value))
    })
}

/// The value of one kind of attribute.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)?
        .1
        .into()
}

/// Why the kernel did not do one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which one, from 0; the number of messages where the batch as a whole was refused.
    pub message: usize,
    /// The kind of failure.
    pub errno: Errno,
    /// What the kernel says to it in words, where it does.
    pub text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text.is_empty() {
            true => write!(f, "{}", self.errno),
            false => write!(f, "{}: {}", self.errno, self.text.trim_end_matches('.')),
        }
    }
}

impl std::error::Error for Refusal {}

/// A netlink socket of the network namespace that the thread was in which opened it.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one.
    pub fn open(family: Family) -> Result<Self, Refusal> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )
        .map_err(whole)?;
        // Errors come with words, and without a copy of the message, which may be long.
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            set(&socket, libc::SOL_NETLINK, option, 1).map_err(whole)?;
        }
        Ok(Self(socket))
    }

    /// Has the kernel do all messages, and tells the first that it refused. Whether it does the others is a matter of the
    /// family: rules all or none, links each for itself.
    pub fn apply(&self, batch: &Batch) -> Result<(), Refusal> {
        self.apply_unless(batch, &[])
    }

    /// Like [`Self::apply`], where a refusal for one of some reasons is as good as success.
    pub fn apply_unless(&self, batch: &Batch, good: &[Errno]) -> Result<(), Refusal> {
        if batch.is_empty() {
            return Ok(());
        }
        self.transmit(batch)?;
        let mut buffer = vec![0; PIECE];
        let mut refusal: Option<Refusal> = None;
        loop {
            // The kernel has worked on all of it before send(2) returned, so the answers are all there.
            let length = match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => return refusal.map_or(Ok(()), Err),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(refusal.unwrap_or(whole(errno))),
                Ok((_, length)) => length.min(buffer.len()),
            };
            let refusals = messages(&buffer[..length])
                .filter_map(|message| message.outcome()?.err())
                .filter(|found| !good.contains(&found.errno));
            refusal = refusal
                .into_iter()
                .chain(refusals)
                .min_by_key(|found| found.message);
        }
    }

    /// Sends one question and returns the answers: the kind of each and what follows the message's header.
    pub fn ask(&self, question: &Batch) -> Result<Vec<(u16, Vec<u8>)>, Refusal> {
        self.transmit(question)?;
        let mut buffer = vec![0; PIECE];
        let mut answers = Vec::new();
        loop {
            let length = match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(whole(errno)),
                Ok((_, length)) => length.min(buffer.len()),
            };
            for message in messages(&buffer[..length]) {
                if let Some(outcome) = message.outcome() {
                    return outcome.map(|()| answers);
                }
                if message.kind == libc::NLMSG_DONE as u16 {
                    return Ok(answers);
                }
                answers.push((message.kind, message.payload.to_vec()));
                if message.flags & libc::NLM_F_MULTI as u16 == 0 {
                    return Ok(answers);
                }
            }
        }
    }

    fn transmit(&self, batch: &Batch) -> Result<(), Refusal> {
        loop {
            match send(&self.0, &batch.bytes, SendFlags::empty()) {
                Err(Errno::INTR) => {}
                // Longer than the buffer for sending, which only the administrator can make longer than usual.
                Err(Errno::MSGSIZE) => {
                    let size = (batch.bytes.len() * 2) as i32;
                    set(&self.0, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size).map_err(whole)?;
                }
                result => return result.map(|_| ()).map_err(whole),
            }
        }
    }
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: the value is an int that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

fn whole(errno: Errno) -> Refusal {
    Refusal {
        message: usize::MAX,
        errno,
        text: String::new(),
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    /// `Some` for an answer that ends one message of a batch.
    fn outcome(&self) -> Option<Result<(), Refusal>> {
        if self.kind != libc::NLMSG_ERROR as u16 {
            return None;
        }
        let errno = self.payload.get(..4).and_then(|word| word.try_into().ok());
        let errno = errno.map_or(-libc::EIO, i32::from_ne_bytes);
        if errno == 0 {
            return Some(Ok(()));
        }
        // Behind the number comes the header of the message that it is about, then attributes, the words among them.
        let words = self.payload.get(4 + HEADER..).unwrap_or_default();
        let text = match self.flags & libc::NLM_F_ACK_TLVS as u16 {
            0 => None,
            _ => attribute(words, NLMSGERR_ATTR_MSG),
        };
        let text = text.unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Err(Refusal {
            message: self.sequence as usize,
            errno: Errno::from_raw_os_error(-errno),
            text: String::from_utf8_lossy(text).into_owned(),
        }))
    }
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let found = Message {
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
            sequence: u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?),
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some(found)
    })
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut batch = Batch::default();
        batch.message(16, flags::ACK, &[7; 5], |attributes| {
            attributes.text(3, "eth0").nest(18, |nested| {
                nested.u32(1, 5).be32(2, 5);
            });
        });
        batch.message(17, 0, &[], |_| {});
        let read: Vec<_> = messages(&batch.bytes).collect();
        assert_eq!(
            read.iter()
                .map(|m| (m.kind, m.flags, m.sequence))
                .collect::<Vec<_>>(),
            [(16, 5, 0), (17, 1, 1)]
        );
        // The fixed header is padded to a multiple of four.
        let found: Vec<_> = attributes(&read[0].payload[8..]).collect();
        assert_eq!(found[0], (3, &b"eth0\0"[..]));
        assert_eq!(attribute(found[1].1, 2), Some(&[0, 0, 0, 5][..]));
        assert_eq!(attribute(found[1].1, 1), Some(&5u32.to_ne_bytes()[..]));
    }

    #[test]
    fn what_is_cut_off_ends_it() {
        for rubbish in [&[][..], &[4], &[0, 0, 1, 0, 9], &[200, 0, 1, 0, 9]] {
            assert!(attributes(rubbish).count() <= 1, "{rubbish:?}");
            assert_eq!(messages(rubbish).count(), 0);
        }
    }

    #[test]
    fn the_kernel_says_why_it_refuses() {
        // RTM_GETLINK for an interface that there is not.
        let socket = Socket::open(Family::Route).unwrap();
        let mut batch = Batch::default();
        batch.message(libc::RTM_GETLINK, 0, &[0; 16], |attributes| {
            attributes.text(libc::IFLA_IFNAME, "no-such-one");
        });
        let refusal = socket.ask(&batch).unwrap_err();
        assert_eq!((refusal.message, refusal.errno), (0, Errno::NODEV));
    }
}
