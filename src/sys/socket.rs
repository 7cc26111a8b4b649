//! Messages between two processes of ours: `SOCK_SEQPACKET` sockets keep each message whole and can carry a
//! descriptor (unix(7), SCM_RIGHTS). Two ends are made as a pair, or meet at a path.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    connect, listen, recvmsg, sendmsg, socket_with, socketpair, sockopt,
};
use std::ffi::OsStr;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The most that one message carries, in bytes.
pub const MESSAGE_MAX: usize = 32 * 1024;
/// How long the other side may leave no room.
const PATIENCE: Duration = Duration::from_secs(10);

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

    /// Connects to a [`Listener`]; `None` when nobody listens there.
    pub fn connect(directory: BorrowedFd<'_>, name: &str) -> Result<Option<Self>> {
        match reach(directory, name, SocketType::SEQPACKET)? {
            Ok(socket) => Ok(Some(Self(socket))),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("connect to `{name}`")),
        }
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

    /// Waits until there is a message, or the other end is closed; `false` when that time has come first.
    pub fn await_message(&self, until: Option<Instant>) -> Result<bool> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // A wait that is too long for the kernel's clock is as good as one without end.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => {}
                result => return Ok(result.context("poll")? > 0),
            }
        }
    }

    /// Whether nobody holds the other end any more.
    pub fn is_closed(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default()))?;
        Ok(fds[0].revents().contains(PollFlags::HUP))
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

/// Whatever wants to talk to us comes here.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens in a directory under that name, in the place of one whose process is gone.
    pub fn bind(directory: BorrowedFd<'_>, name: &str) -> Result<Self> {
        let (socket, address) = endpoint(directory, name, SocketType::SEQPACKET)?;
        let _ = rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty());
        bind(&socket, &address).with_context(|| format!("bind the socket `{name}`"))?;
        // More than this many that come at once wait in connect(2).
        listen(&socket, 16).with_context(|| format!("listen at the socket `{name}`"))?;
        rustix::io::ioctl_fionbio(&socket, true).context("make the socket non-blocking")?;
        Ok(Self(socket))
    }

    /// Waits for somebody to come.
    ///
    /// Errors: there is no descriptor for whoever has come.
    pub fn wait(&self) -> Result<Channel> {
        loop {
            let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => {}
                result => drop(result.context("poll")?),
            }
            match accept_with(&self.0, SocketFlags::CLOEXEC) {
                Ok(accepted) => return Ok(Channel(accepted)),
                // It has left meanwhile.
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error).context("accept"),
            }
        }
    }

    /// Who has come, if somebody has.
    pub fn accept(&self) -> Option<Channel> {
        // One that has left meanwhile, or for whom there is no descriptor, is told so by its own end.
        let accepted = accept_with(&self.0, SocketFlags::CLOEXEC);
        accepted.ok().map(Channel)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Tells whoever listens at `path` one message with a descriptor, over a connection of its own (`SOCK_STREAM`).
///
/// Errors: nobody listens, or the listener takes nothing for some seconds.
pub fn deliver(path: &Path, message: &[u8], descriptor: BorrowedFd<'_>) -> Result<()> {
    let connected = || {
        let parent = path.parent().context("a socket has no name")?;
        let name = path.file_name().and_then(OsStr::to_str);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, parent, flags, Mode::empty())?;
        let name = name.context("a socket has no name")?;
        Ok::<_, anyhow::Error>(reach(directory.as_fd(), name, SocketType::STREAM)??)
    };
    let socket =
        connected().with_context(|| format!("connect to the socket `{}`", path.display()))?;
    let mut left = message;
    let mut passed = std::slice::from_ref(&descriptor);
    while !left.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !passed.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(passed));
        }
        let slices = [IoSlice::new(left)];
        match sendmsg(&socket, &slices, &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => {
                let sent =
                    result.with_context(|| format!("send to the socket `{}`", path.display()))?;
                // It has gone with the first byte.
                (left, passed) = (&left[sent..], &[]);
            }
        }
    }
    Ok(())
}

/// A socket that is connected to `name` in a directory, or why not.
fn reach(
    directory: BorrowedFd<'_>,
    name: &str,
    kind: SocketType,
) -> Result<Result<OwnedFd, Errno>> {
    let (socket, address) = endpoint(directory, name, kind)?;
    loop {
        match connect(&socket, &address) {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(|()| socket)),
        }
    }
}

/// A socket, and the address of `name` in a directory: through its descriptor, because an address holds no more
/// than 107 bytes of path (unix(7)).
fn endpoint(
    directory: BorrowedFd<'_>,
    name: &str,
    kind: SocketType,
) -> Result<(OwnedFd, SocketAddrUnix)> {
    let socket =
        socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).context("socket")?;
    // A listener that was stopped must not hold up whoever connects, nor whoever sends to it.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))
        .context("setsockopt SO_SNDTIMEO")?;
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    Ok((socket, SocketAddrUnix::new(path).context("name a socket")?))
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
    fn a_listener_takes_the_place_of_a_dead_one() {
        let directory = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(directory.path()).unwrap();
        let nobody = Channel::connect(directory.as_fd(), "door").unwrap();
        assert!(nobody.is_none());
        let first = Listener::bind(directory.as_fd(), "door").unwrap();
        assert!(first.accept().is_none());
        drop(first);
        assert!(
            Channel::connect(directory.as_fd(), "door")
                .unwrap()
                .is_none()
        );
        let second = Listener::bind(directory.as_fd(), "door").unwrap();
        let client = Channel::connect(directory.as_fd(), "door")
            .unwrap()
            .unwrap();
        let server = second.accept().unwrap();
        client.send(&[b"hello"], None, true).unwrap();
        let mut buffer = [0; 16];
        let received = server.receive(&mut buffer, true).unwrap();
        assert!(matches!(received, Received::Message(5, None)));
    }

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
