//! A connection to a D-Bus peer: a socket, who we are, messages with a deadline (D-Bus Specification,
//! "Authentication Protocol", "Message Protocol").
//!
//! It blocks and has no thread. The other side is another program: what it sends is checked, what is too long to
//! concern us is passed over without taking memory, and silence is an error.

use super::address::{Address, Name};
use super::message::{Call, FIXED, Kind, Message};
use crate::error::{Error, Kind as Failure};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with, sockopt,
};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long the other side may take for an answer where something depends on it.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of a message that is kept. Answers have hundreds; signals of others may have many.
const KEPT: usize = 64 * 1024;
/// How many bytes are asked of the kernel at once.
const CHUNK: usize = 4096;

/// What the other side says instead of doing it.
#[derive(Debug)]
pub struct Refusal {
    /// The error's name, as `org.freedesktop.DBus.Error.AccessDenied`.
    pub name: String,
    /// One line for people, maybe empty.
    pub text: String,
}

/// An open connection whose other side knows who we are.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// The socket's name, for messages.
    name: String,
    /// How long the other side may take for an answer.
    patience: Duration,
    /// What has come and is not read yet.
    received: Vec<u8>,
    /// That of the last call.
    serial: u32,
}

impl Connection {
    /// Connects and authenticates as `uid`, which is the kernel's opinion of us outside of user namespaces;
    /// `None` when nobody listens there for us.
    pub fn open(address: &Address, uid: u32, patience: Duration) -> Result<Option<Self>> {
        let name = match &address.name {
            Name::Path(path) => path.display().to_string(),
            Name::Abstract(name) => format!("@{}", name.escape_ascii()),
        };
        let socket =
            reach(&address.name, patience).with_context(|| format!("connect to `{name}`"))?;
        let Some(socket) = socket else {
            return Ok(None);
        };
        Self::authenticate(socket, name, uid, patience).map(Some)
    }

    /// The same with a socket that is connected already.
    pub(super) fn authenticate(
        socket: OwnedFd,
        name: String,
        uid: u32,
        patience: Duration,
    ) -> Result<Self> {
        let mut connection = Self {
            socket,
            name,
            patience,
            received: Vec::new(),
            serial: 0,
        };
        // EXTERNAL: the kernel tells the other side the uid, which only compares. The identity is the decimal
        // number with each of its digits in hexadecimal. What follows is sent without waiting for the answer.
        let digits = uid
            .to_string()
            .bytes()
            .map(|digit| format!("{digit:x}"))
            .collect::<String>();
        let hello = format!("\0AUTH EXTERNAL {digits}\r\nBEGIN\r\n");
        connection.send(hello.as_bytes())?;
        let until = connection.deadline();
        let line = loop {
            if let Some(end) = connection
                .received
                .windows(2)
                .position(|two| two == b"\r\n")
            {
                break connection.received.drain(..end + 2).collect::<Vec<u8>>();
            }
            let name = &connection.name;
            ensure!(
                connection.received.len() < CHUNK,
                "`{name}` does not speak D-Bus"
            );
            ensure!(connection.fill(until)?, connection.silent());
        };
        if line.starts_with(b"OK ") {
            return Ok(connection);
        }
        let said = line.trim_ascii().escape_ascii();
        let message = format!(
            "`{}` does not take us for the user {uid}: {said}",
            connection.name
        );
        Err(Error::new(Failure::Denied, message).into())
    }

    /// The socket's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends calls in one go; the serial of the first, after which they count up.
    pub fn call_all(&mut self, calls: &[Call<'_>]) -> Result<u32> {
        let first = self.serial + 1;
        let mut bytes = Vec::new();
        for call in calls {
            self.serial += 1;
            bytes.extend(call.message(self.serial).bytes());
        }
        self.send(&bytes)?;
        Ok(first)
    }

    /// Calls a method and waits for its answer; signals that come before are dropped.
    pub fn call(&mut self, call: Call<'_>) -> Result<Result<Message, Refusal>> {
        let serial = self.call_all(&[call])?;
        self.answer(serial)
    }

    /// Waits for the answer to the call with that serial; whatever comes before is dropped.
    pub fn answer(&mut self, serial: u32) -> Result<Result<Message, Refusal>> {
        let until = self.deadline();
        loop {
            let message = self.receive(until)?.ok_or_else(|| self.silent())?;
            if message.reply_serial != serial {
                continue;
            }
            match message.kind {
                Kind::Return => return Ok(Ok(message)),
                Kind::Error => return Ok(Err(refusal(message))),
                _ => {}
            }
        }
    }

    /// The next message; `None` when that time has come first.
    pub fn receive(&mut self, until: Instant) -> Result<Option<Message>> {
        let wrong = |name: &str| format!("read from `{name}`");
        loop {
            let Some(fixed) = self.received.first_chunk::<FIXED>() else {
                match self.fill(until)? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let (length, kind) = Message::length(fixed).with_context(|| wrong(&self.name))?;
            if length > KEPT {
                let name = &self.name;
                ensure!(
                    kind != Kind::Return && kind != Kind::Error,
                    "`{name}` answers with {length} bytes"
                );
                self.skip(length, until)?;
                continue;
            }
            if self.received.len() < length {
                match self.fill(until)? {
                    true => continue,
                    false => return Ok(None),
                }
            }
            let message =
                Message::parse(&self.received[..length]).with_context(|| wrong(&self.name))?;
            self.received.drain(..length);
            return Ok(Some(message));
        }
    }

    fn skip(&mut self, mut length: usize, until: Instant) -> Result<()> {
        loop {
            let here = length.min(self.received.len());
            self.received.drain(..here);
            length -= here;
            if length == 0 {
                return Ok(());
            }
            ensure!(self.fill(until)?, self.silent());
        }
    }

    /// Reads what there is, at least one byte; false when that time has come first.
    fn fill(&mut self, until: Instant) -> Result<bool> {
        let mut chunk = [0; CHUNK];
        loop {
            match recv(&self.socket, &mut chunk, RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => {
                    bail!("`{}` has closed the connection", self.name)
                }
                Ok((_, length)) => {
                    self.received.extend_from_slice(&chunk[..length]);
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !self.wait(until)? => return Ok(false),
                Err(Errno::AGAIN) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("read from `{}`", self.name));
                }
            }
        }
    }

    /// Waits until there is something to read; false when that time has come first.
    fn wait(&self, until: Instant) -> Result<bool> {
        let left =
            Timespec::try_from(until.saturating_duration_since(Instant::now())).context("poll")?;
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left)) {
            Ok(0) => Ok(false),
            Ok(_) | Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error).context("poll"),
        }
    }

    /// When what is asked for now should have been answered.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// The other side has taken longer than that.
    pub fn silent(&self) -> anyhow::Error {
        let message = format!(
            "`{}` has not answered within {} s",
            self.name,
            self.patience.as_secs()
        );
        Error::new(Failure::Denied, message).into()
    }

    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(length) => bytes = &bytes[length..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(self.silent()),
                Err(error) => {
                    return Err(error).with_context(|| format!("write to `{}`", self.name));
                }
            }
        }
        Ok(())
    }
}

/// A connected socket; `None` when nobody is there.
fn reach(name: &Name, patience: Duration) -> Result<Option<OwnedFd>> {
    let address = match name {
        Name::Path(path) => SocketAddrUnix::new(path.as_path()),
        Name::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
    }?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // It holds for connect(2) too, which waits where too many others do.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(patience))?;
    loop {
        match connect(&socket, &address) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            // What we may not enter is another user's: variables outlive su(1).
            Err(Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED | Errno::ACCESS) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    // Process ids are numbers of our pid namespace, and would mean other processes to a manager outside of it, as
    // that of a host which has shared its /run with a container. The kernel shows such a peer as 0.
    let peer = getsockopt(&socket, PeerCredentials).context("getsockopt SO_PEERCRED")?;
    Ok((peer.pid() != 0).then_some(socket))
}

fn refusal(message: Message) -> Refusal {
    let text = message.first_text().unwrap_or_default();
    Refusal {
        text: text.replace(char::is_control, " "),
        name: message.error,
    }
}
