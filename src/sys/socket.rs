//! Messages between two processes of ours: a pair of `SOCK_SEQPACKET` sockets keeps each message whole and can
//! carry a descriptor (unix(7), SCM_RIGHTS).

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most that one message carries, in bytes.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// One end of a pair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What came out of a channel.
#[derive(Debug)]
pub enum Received {
    /// A message of this many bytes, maybe with a descriptor.
    Message(usize, Option<OwnedFd>),
    /// Nothing now; only on a non-blocking receive.
    Nothing,
    /// The other end is closed.
    Closed,
}

impl Channel {
    /// Two connected ends, both closed by execve(2).
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("socketpair")?;
        Ok((Self(one), Self(other)))
    }

    /// An end that was inherited.
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Sends one message made of `parts`; waits for room unless `wait` is false.
    pub fn send(
        &self,
        parts: &[&[u8]],
        descriptor: Option<BorrowedFd<'_>>,
        wait: bool,
    ) -> Result<(), Errno> {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let passed = descriptor.as_slice();
        if !passed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(passed));
        }
        let flags = if wait {
            SendFlags::NOSIGNAL
        } else {
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT
        };
        loop {
            match sendmsg(&self.0, &slices, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Takes the next message into `buffer`; waits for it unless `wait` is false.
    pub fn receive(&self, buffer: &mut [u8], wait: bool) -> Result<Received, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = if wait {
            RecvFlags::CMSG_CLOEXEC
        } else {
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT
        };
        let mut reset = false;
        let message = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(buffer)],
                &mut ancillary,
                flags,
            ) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                // The other side went without having read all of ours. The kernel says so before it gives what
                // came from there: its last words follow, then the end.
                Err(Errno::CONNRESET) if !reset => reset = true,
                Err(Errno::CONNRESET) => return Ok(Received::Closed),
                result => break result?,
            }
        };
        let mut descriptor = None;
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut passed) = part {
                descriptor = passed.next();
            }
        }
        // No message of ours is empty, so an empty one is the end.
        match message.bytes {
            0 => Ok(Received::Closed),
            length => Ok(Received::Message(length, descriptor)),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    /// A failure is sent by a side that does not read what it was sent and ends.
    #[test]
    fn last_words_are_heard_after_a_reset() {
        let (ours, theirs) = super::Channel::pair().unwrap();
        ours.send(&[b"unread"], None, true).unwrap();
        theirs.send(&[b"last"], None, true).unwrap();
        drop(theirs);
        let mut buffer = [0; 16];
        assert!(matches!(
            ours.receive(&mut buffer, true),
            Ok(super::Received::Message(4, None))
        ));
        assert!(matches!(
            ours.receive(&mut buffer, true),
            Ok(super::Received::Closed)
        ));
    }

    use super::*;

    #[test]
    fn messages_stay_whole_and_carry_descriptors() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&[b"ab", b"c"], Some(one.as_fd()), true).unwrap();
        one.send(&[b"d"], None, true).unwrap();
        let mut buffer = [0; 16];
        assert!(matches!(
            other.receive(&mut buffer, true).unwrap(),
            Received::Message(3, Some(_))
        ));
        assert_eq!(&buffer[..3], b"abc");
        assert!(matches!(
            other.receive(&mut buffer, false).unwrap(),
            Received::Message(1, None)
        ));
        assert!(matches!(
            other.receive(&mut buffer, false).unwrap(),
            Received::Nothing
        ));
        drop(one);
        assert!(matches!(
            other.receive(&mut buffer, true).unwrap(),
            Received::Closed
        ));
    }
}
