//! A connection whose other end cannot keep anybody waiting for ever.
//!
//! Each wait ends after [`SILENCE`], and all waits of a phase together after what the phase allows; bytes that go over
//! earn further time, so that a long transfer may go on and a trickle may not.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For a whole head, with the handshake of TLS before it.
pub const HEAD: Duration = Duration::from_secs(20);
/// Between two requests.
pub const IDLE: Duration = Duration::from_secs(75);
/// For a body, before what its bytes earn.
pub const TRANSFER: Duration = Duration::from_secs(60);
/// Until the other end has read what it was told last.
pub const FAREWELL: Duration = Duration::from_secs(2);
/// The longest that nothing at all may come or go.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that earn a second.
const RATE: u64 = 1024;
/// What can be earned at most.
const SAVINGS: Duration = Duration::from_secs(300);

/// A connection to a client.
pub enum Socket {
    /// TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Ends one or both directions; whoever waits there is woken.
    pub fn shutdown(&self, how: Shutdown) {
        // It fails where the other end was quicker.
        let _ = match self {
            Self::Tcp(socket) => socket.shutdown(how),
            Self::Unix(socket) => socket.shutdown(how),
        };
    }

    fn wait_at_most(&self, time: Duration) -> io::Result<()> {
        let time = Some(time);
        match self {
            Self::Tcp(socket) => socket
                .set_read_timeout(time)
                .and_then(|()| socket.set_write_timeout(time)),
            Self::Unix(socket) => socket
                .set_read_timeout(time)
                .and_then(|()| socket.set_write_timeout(time)),
        }
    }

    fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&mut &*socket).read(bytes),
            Self::Unix(socket) => (&mut &*socket).read(bytes),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => (&mut &*socket).write(bytes),
            Self::Unix(socket) => (&mut &*socket).write(bytes),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => match socket.peer_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("-"),
            },
            Self::Unix(_) => f.write_str("unix"),
        }
    }
}

/// How long the waits of a connection may still last.
pub struct Pace(Mutex<Instant>);

impl Pace {
    /// For a phase of that length.
    pub fn new(time: Duration) -> Self {
        Self(Mutex::new(Instant::now() + time))
    }

    /// Another phase begins.
    pub fn begin(&self, time: Duration) {
        *self.end() = Instant::now() + time;
    }

    fn end(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.end().saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(ErrorKind::TimedOut.into()),
            false => Ok(left.min(SILENCE).max(Duration::from_millis(1))),
        }
    }

    fn earn(&self, bytes: usize) {
        let mut end = self.end();
        let earned = *end + Duration::from_millis(bytes as u64 * 1000 / RATE);
        *end = earned.min(Instant::now() + SAVINGS).max(*end);
    }
}

/// A socket with a pace.
pub struct Paced {
    socket: Arc<Socket>,
    pace: Arc<Pace>,
}

impl Paced {
    /// Whoever else holds the two can end the connection, and begin another phase.
    pub fn new(socket: Arc<Socket>, pace: Arc<Pace>) -> Self {
        Self { socket, pace }
    }

    fn attempt(&self, mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        loop {
            self.socket.wait_at_most(self.pace.left()?)?;
            match call() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    self.pace.earn(*result.as_ref().unwrap_or(&0));
                    return result;
                }
            }
        }
    }
}

impl Read for Paced {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.attempt(|| self.socket.read(bytes))
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|| self.socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What requests come over: a socket, or TLS on one.
pub trait Wire: Read + Write {
    /// Tells the other end that nothing more comes, where the protocol has a word for it.
    fn farewell(&mut self) -> io::Result<()>;
}

impl Wire for Paced {
    fn farewell(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_and_bytes_earn_time() {
        let pace = Pace::new(Duration::ZERO);
        assert_eq!(pace.left().unwrap_err().kind(), ErrorKind::TimedOut);
        pace.earn(RATE as usize * 10);
        assert!(pace.left().unwrap() > Duration::from_secs(5));
        pace.earn(usize::try_from(RATE).unwrap() * 1_000_000);
        assert!(*pace.end() <= Instant::now() + SAVINGS);
        pace.begin(Duration::from_secs(3600));
        assert_eq!(pace.left().unwrap(), SILENCE);
    }

    #[test]
    fn silence_is_an_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let pace = Arc::new(Pace::new(Duration::from_millis(20)));
        let mut paced = Paced::new(Arc::new(Socket::Unix(ours)), pace.clone());
        let error = paced.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        pace.begin(TRANSFER);
        (&theirs).write_all(b"x").unwrap();
        assert_eq!(paced.read(&mut [0]).unwrap(), 1);
        let full = vec![0; 64 << 10];
        let socket = paced.socket.clone();
        socket.wait_at_most(Duration::from_millis(1)).unwrap();
        while socket.write(&full).is_ok() {}
        pace.begin(Duration::from_millis(20));
        let error = paced.write(&full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
