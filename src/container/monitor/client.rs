//! The client's side of a monitor: passes on input, signals and the terminal's size, and writes what comes back to
//! the caller's own streams.
//!
//! This is data of the container's on its way through, not output of ours, so it does not pass through
//! `cli::output`.

use super::channel::{CHUNK, Report, Request, Stream, receive_report};
use crate::error::{Error, Kind};
use crate::sys::signal::SignalFd;
use crate::sys::socket::{Channel, MESSAGE_MAX};
use crate::sys::terminal::{self, RawMode};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// What of the container the caller wants.
#[derive(Clone, Debug, Default)]
pub struct Attach {
    /// Pass on standard input.
    pub input: bool,
    /// Show standard output.
    pub output: bool,
    /// Show standard error.
    pub error: bool,
    /// Pass on signals.
    pub signals: bool,
    /// The container has a pseudo-terminal.
    pub terminal: bool,
}

/// Waits until the program runs, and until it has ended if `attach` says so: then its exit code.
pub fn follow(channel: Channel, attach: Option<&Attach>) -> Result<Option<u8>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let Some(attach) = attach else {
        return match receive_report(&channel, &mut buffer)? {
            Some(Report::Started) => Ok(None),
            Some(Report::Failed(error)) => Err(error),
            _ => Err(gone()),
        };
    };
    // Whoever stays to the end hears of a failure as well without waiting for the start.
    let signals = SignalFd::block_all()?;
    let session = Session {
        channel,
        attach,
        signals,
        input: None,
        raw: None,
        lost: None,
    };
    session.run(&mut buffer).map(Some)
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
    raw: Option<RawMode>,
    /// Why output was lost, other than by a closed pipe.
    lost: Option<Errno>,
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
    fn run(mut self, buffer: &mut [u8]) -> Result<u8> {
        let stdin = rustix::stdio::stdin();
        if self.attach.terminal && self.attach.input && rustix::termios::isatty(stdin) {
            let _ = Request::Terminal.send(&self.channel);
            self.input = Some(Input::TerminalHandedOver);
        } else if self.attach.input {
            self.input = Some(Input::Ready);
        }
        self.resize()?;
        self.relay(stdin, buffer)
    }

    fn relay(&mut self, stdin: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<u8> {
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
                // The container goes on; a shell sees a death by the signal.
                return Ok(128 + number as u8);
            }
            if has_input {
                self.pass_input(stdin, buffer)?;
            }
            if reported && let Some(code) = self.take_report(buffer)? {
                return Ok(code);
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
                    Stream::Output => (self.attach.output, rustix::stdio::stdout()),
                    Stream::Error => (self.attach.error, rustix::stdio::stderr()),
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
            Some(Report::Failed(error)) => return Err(error),
            Some(Report::Started | Report::InputTaken) => {}
            None => return Err(gone()),
        }
        Ok(None)
    }

    fn pass_input(&mut self, stdin: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<()> {
        let request = match rustix::io::read(stdin, &mut buffer[..CHUNK]) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            // A terminal that is gone, or a descriptor that was never open, is the end of input.
            Ok(0) | Err(_) => {
                self.input = None;
                Request::InputEnd
            }
            Ok(length) => {
                self.input = Some(Input::Waiting);
                Request::Input(&buffer[..length])
            }
        };
        // A monitor that is gone is noticed when its report is awaited.
        let _ = request.send(&self.channel);
        Ok(())
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
