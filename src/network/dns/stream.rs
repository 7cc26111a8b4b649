//! A client that asks by TCP: messages with their length before them, many at once if it likes (RFC 7766).

use super::exchange::RECEIVED;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long it may say nothing while nothing of it is open.
pub const IDLE: Duration = Duration::from_secs(10);

/// Questions of one client that are open at once; it is not read from while there are more, nor while it does not take
/// its answers.
const MOST_OPEN: usize = 64;

/// The client.
pub struct Stream {
    pub socket: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Questions that have no answer yet.
    pub open: usize,
    has_ended: bool,
    /// What it is registered for.
    pub interest: EventFlags,
    /// When it last did something.
    pub active: Instant,
}

impl Stream {
    /// Nothing has been read of it.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            input: Vec::new(),
            output: Vec::new(),
            open: 0,
            has_ended: false,
            interest: EventFlags::IN,
            active: Instant::now(),
        }
    }

    /// Reads once; false: the connection is broken.
    pub fn read(&mut self) -> bool {
        self.input.reserve(RECEIVED);
        match recv(
            &self.socket,
            spare_capacity(&mut self.input),
            RecvFlags::empty(),
        ) {
            Ok((0, _)) => self.has_ended = true,
            Ok(_) => self.active = Instant::now(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    /// The next whole question, if it is to be looked at now.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        if !self.takes_more() {
            return None;
        }
        let (length, rest) = self.input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let query = rest.get(..length)?.to_vec();
        self.input.drain(..2 + length);
        Some(query)
    }

    /// Adds an answer, and sends what can be sent; false: the connection is broken.
    pub fn answer(&mut self, message: &[u8]) -> bool {
        let length = message.len().min(usize::from(u16::MAX));
        self.output
            .extend_from_slice(&(length as u16).to_be_bytes());
        self.output.extend_from_slice(&message[..length]);
        self.write()
    }

    /// Sends what can be sent; false: the connection is broken.
    pub fn write(&mut self) -> bool {
        let mut sent = 0;
        let is_whole = loop {
            if sent == self.output.len() {
                break true;
            }
            match send(&self.socket, &self.output[sent..], SendFlags::NOSIGNAL) {
                Ok(length) => sent += length,
                Err(Errno::AGAIN) => break true,
                Err(Errno::INTR) => {}
                Err(_) => break false,
            }
        };
        if sent > 0 {
            self.active = Instant::now();
            self.output.drain(..sent);
        }
        is_whole
    }

    fn takes_more(&self) -> bool {
        self.open < MOST_OPEN && self.output.is_empty()
    }

    /// Whether nothing is to come from it, nor to go to it.
    pub fn is_done(&self) -> bool {
        self.has_ended && self.open == 0 && self.output.is_empty()
    }

    /// When it has been silent for too long; nobody is hurried while we owe him answers.
    pub fn deadline(&self) -> Option<Instant> {
        (self.open == 0).then(|| self.active + IDLE)
    }

    /// What is to be waited for. Buffers that are empty are given back.
    pub fn wanted(&mut self) -> EventFlags {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, !self.has_ended && self.takes_more());
        wanted.set(EventFlags::OUT, !self.output.is_empty());
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
        wanted
    }
}
