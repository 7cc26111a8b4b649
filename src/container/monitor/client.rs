//! The client's side of a monitor: passes on input, signals and the terminal's size, and writes what comes back to
//! the caller's own streams.
//!
//! This is data of the container's on its way through, not output of ours, so it does not pass through
//! `cli::output`.

use super::channel::{CHUNK, Report, Request, Stream, Wants, receive_report};
use crate::container::control;
use crate::error::{Error, Kind};
use crate::sys::signal::SignalFd;
use crate::sys::socket::{Channel, MESSAGE_MAX};
use crate::sys::terminal::{self, RawMode};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// What of the container the caller wants.
#[derive(Clone, Debug, Default)]
pub struct Attach {
    /// The streams to pass on.
    pub wants: Wants,
    /// Pass on signals.
    pub signals: bool,
    /// The container has a pseudo-terminal.
    pub terminal: bool,
    /// The keys by which to leave it; they are looked for in what a terminal sends.
    pub detach_keys: Vec<u8>,
}

/// How it went with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs, and nobody wanted to stay.
    Started,
    /// Its program has ended with this code.
    Ended(u8),
    /// The caller has left by the detach keys.
    Detached,
    /// The caller got this signal, which was not to be passed on; the container goes on.
    Interrupted(i32),
}

impl Outcome {
    /// The exit code of `run` and `start`.
    pub fn code(self) -> u8 {
        match self {
            Self::Started | Self::Detached => 0,
            Self::Ended(code) => code,
            // A shell sees a death by the signal.
            Self::Interrupted(signal) => 128 + signal as u8,
        }
    }
}

/// Waits until the program runs; `warn` gets what is otherwise than was asked for.
pub fn await_start(channel: &Channel, warn: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        match receive_report(channel, &mut buffer)? {
            Some(Report::Warning(text)) => warn(&text),
            // It may have run and ended before anybody looked.
            Some(Report::Started | Report::Ended(_)) => return Ok(Outcome::Started),
            Some(Report::Failed(error)) => return Err(error),
            _ => return Err(gone()),
        }
    }
}

/// Attaches to the program of container `id`, which runs.
pub fn attach(channel: Channel, id: &str, attach: &Attach) -> Result<Outcome> {
    // A monitor that is gone is noticed when its report is awaited.
    let _ = Request::Attach(attach.wants).send(&channel);
    // It says at once that it runs. One that was stopped is told apart now: later nobody could interrupt us.
    if !channel.await_message(Some(Instant::now() + control::PATIENCE))? {
        return Err(control::silent(id).into());
    }
    follow(channel, attach, &mut |_| {})
}

/// Stays with a program to which the client is attached, until it has ended or the caller leaves; `warn` as in
/// [`await_start`].
pub fn follow(channel: Channel, attach: &Attach, warn: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let session = Session {
        channel,
        attach,
        signals: SignalFd::block_all()?,
        input: None,
        keys: KeyWatch::new(&attach.detach_keys),
        raw: None,
        lost: None,
        warn,
    };
    session.run(&mut vec![0; MESSAGE_MAX])
}

fn gone() -> anyhow::Error {
    Error::new(
        Kind::Conflict,
        "the container's monitor was killed, and the container with it",
    )
    .into()
}

struct Session<'a> {
    channel: Channel,
    attach: &'a Attach,
    signals: SignalFd,
    input: Option<Input>,
    keys: KeyWatch<'a>,
    raw: Option<RawMode>,
    /// Why output was lost, other than by a closed pipe.
    lost: Option<Errno>,
    warn: &'a mut dyn FnMut(&str),
}

/// Standard input while it lasts: the monitor takes one piece at a time.
#[derive(PartialEq, Eq)]
enum Input {
    Ready,
    Waiting,
    /// Until the monitor knows how to restore the terminal, should we be killed.
    TerminalHandedOver,
}

impl Session<'_> {
    fn run(mut self, buffer: &mut [u8]) -> Result<Outcome> {
        let stdin = rustix::stdio::stdin();
        if self.attach.terminal && self.attach.wants.input && rustix::termios::isatty(stdin) {
            let _ = Request::Terminal.send(&self.channel);
            self.input = Some(Input::TerminalHandedOver);
        } else if self.attach.wants.input {
            self.input = Some(Input::Ready);
        }
        self.resize()?;
        self.relay(stdin, buffer)
    }

    fn relay(&mut self, stdin: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Outcome> {
        loop {
            let mut fds = vec![
                PollFd::new(&self.channel, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            if self.input == Some(Input::Ready) {
                fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => result.context("poll")?,
            };
            let is_ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            let (reported, signalled, has_input) = (is_ready(0), is_ready(1), is_ready(2));
            if signalled && let Some(number) = self.pass_signals()? {
                return Ok(Outcome::Interrupted(number));
            }
            if has_input && self.pass_input(stdin, buffer)? {
                let _ = Request::Detach.send(&self.channel);
                return Ok(Outcome::Detached);
            }
            if reported && let Some(code) = self.take_report(buffer)? {
                return Ok(Outcome::Ended(code));
            }
        }
    }

    fn take_report(&mut self, buffer: &mut [u8]) -> Result<Option<u8>> {
        match receive_report(&self.channel, buffer)? {
            Some(Report::Ended(code)) => {
                return match self.lost {
                    None => Ok(Some(code)),
                    Some(error) => Err(error).context("write what the container prints"),
                };
            }
            Some(Report::Output(stream, bytes)) => {
                let (wanted, to) = match stream {
                    Stream::Output => (self.attach.wants.output, rustix::stdio::stdout()),
                    Stream::Error => (self.attach.wants.error, rustix::stdio::stderr()),
                };
                if wanted && let Err(error) = write_all(to, bytes) {
                    // As with a pipe between two local programs: the writer is told, and it is no error of ours.
                    let _ = Request::OutputClosed(stream).send(&self.channel);
                    if error != Errno::PIPE {
                        self.lost = Some(error);
                    }
                }
            }
            Some(Report::InputTaken) if self.input.is_some() => {
                if self.input == Some(Input::TerminalHandedOver) {
                    self.raw = Some(RawMode::enter(rustix::stdio::stdin())?);
                }
                self.input = Some(Input::Ready);
            }
            Some(Report::Warning(text)) => (self.warn)(&text),
            Some(Report::Failed(error) | Report::Refused(error)) => return Err(error),
            Some(Report::Started | Report::InputTaken | Report::Done | Report::Probed(_)) => {}
            None => return Err(gone()),
        }
        Ok(None)
    }

    /// Passes on what was typed; `true` when it was the keys by which to leave.
    fn pass_input(&mut self, stdin: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<bool> {
        let request = match rustix::io::read(stdin, &mut buffer[..CHUNK]) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // A terminal that is gone, or a descriptor that was never open, is the end of input.
            Ok(0) | Err(_) => {
                self.input = None;
                Request::InputEnd
            }
            Ok(length) if self.raw.is_some() => {
                let Some(typed) = self.keys.pass(&buffer[..length]) else {
                    return Ok(true);
                };
                if typed.is_empty() {
                    return Ok(false);
                }
                self.input = Some(Input::Waiting);
                let _ = Request::Input(&typed).send(&self.channel);
                return Ok(false);
            }
            Ok(length) => {
                self.input = Some(Input::Waiting);
                Request::Input(&buffer[..length])
            }
        };
        // A monitor that is gone is noticed when its report is awaited.
        let _ = request.send(&self.channel);
        Ok(false)
    }

    /// Passes signals on, or tells which one ends the client where they are not passed on.
    fn pass_signals(&mut self) -> Result<Option<i32>> {
        while let Some(number) = self.signals.next() {
            match number {
                libc::SIGWINCH => self.resize()?,
                // Ours, not the container's: about our own children, our own terminal, our own pipes.
                libc::SIGCHLD
                | libc::SIGPIPE
                | libc::SIGURG
                | libc::SIGTTIN
                | libc::SIGTTOU
                | libc::SIGTSTP => {}
                number if self.attach.signals => {
                    let _ = Request::Signal(number).send(&self.channel);
                }
                libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM => {
                    return Ok(Some(number));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn resize(&self) -> Result<()> {
        if self.attach.terminal
            && let Some((rows, columns)) = terminal::size(rustix::stdio::stdin())
        {
            let _ = Request::Resize(rows, columns).send(&self.channel);
        }
        Ok(())
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                // The caller's stream does not block; we do.
                let _ = poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Looks for the detach keys in what is typed. As much of it as may be their beginning is kept back until the next
/// key decides.
struct KeyWatch<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl<'a> KeyWatch<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Self { keys, matched: 0 }
    }

    /// What of it is for the program; `None` when the keys have been typed.
    fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(typed.len() + self.matched);
        for byte in typed {
            if self.keys.get(self.matched) != Some(byte) {
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return None;
                }
            } else {
                passed.push(*byte);
            }
        }
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_and_all_else_is_passed_on() {
        for (keys, pieces, expected) in [
            ("\x10\x11", &["a\x10", "\x11"][..], None),
            ("\x10\x11", &["a\x10", "b\x11"], Some("a\x10b\x11")),
            ("\x10\x11", &["\x10\x10\x11"], None),
            ("\x10\x11", &["\x10"], Some("")),
            ("", &["\x10\x11"], Some("\x10\x11")),
            ("xy", &["xxz"], Some("xxz")),
        ] {
            let mut watch = KeyWatch::new(keys.as_bytes());
            let passed: Option<Vec<Vec<u8>>> = pieces
                .iter()
                .map(|piece| watch.pass(piece.as_bytes()))
                .collect();
            let passed = passed.map(|pieces| String::from_utf8(pieces.concat()).unwrap());
            assert_eq!(passed.as_deref(), expected, "{keys:?} {pieces:?}");
        }
    }
}
