//! The monitor's loop: between the program's streams and the client, until the program has ended and everything it
//! wrote has been passed on. It sleeps in poll(2) and wakes for nothing but data.

use super::Pipes;
use super::channel::{self, CHUNK, Next, Request, Stream};
use crate::runtime::process::parent::Started;
use crate::sys::process::Ended;
use crate::sys::socket::{Channel, MESSAGE_MAX};
use crate::sys::terminal::{self, Settings};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Runs until the program has ended. The channel is taken away when the client is gone.
pub fn run(channel: &mut Option<Channel>, started: Started, pipes: Pipes) -> Result<Ended> {
    let Started { child, terminal } = started;
    let mut relay = Relay {
        outputs: [
            Output::new(Stream::Output, pipes.output),
            Output::new(Stream::Error, pipes.error),
        ],
        input: pipes.input,
        waiting_input: Vec::new(),
        input_ended: false,
        callers_terminal: None,
        channel,
        buffer: vec![0; MESSAGE_MAX],
    };
    if let Some(controller) = terminal {
        relay.input = Some(controller.try_clone().context("duplicate the terminal")?);
        relay.outputs[0].source = Some(controller);
    }
    relay.make_nonblocking()?;
    let mut ended = None;
    while ended.is_none() || !relay.is_drained() {
        relay.wait(ended.is_none().then_some(&child.pidfd))?;
        if ended.is_none() && relay.has_ended(&child.pidfd)? {
            ended = Some(child.wait().context("wait for the container")?);
            relay.input = None;
        }
        relay.take_requests(&child)?;
        relay.pass_input();
        relay.pass_output(ended.is_some())?;
    }
    ended.context("the container has not ended")
}

struct Relay<'a> {
    outputs: [Output; 2],
    input: Option<OwnedFd>,
    waiting_input: Vec<u8>,
    input_ended: bool,
    /// That of a client which may be killed while it is raw.
    callers_terminal: Option<Settings>,
    channel: &'a mut Option<Channel>,
    buffer: Vec<u8>,
}

struct Output {
    stream: Stream,
    source: Option<OwnedFd>,
    /// Read, and not yet taken by the client.
    waiting: Vec<u8>,
}

impl Output {
    fn new(stream: Stream, source: Option<OwnedFd>) -> Self {
        Self {
            stream,
            source,
            waiting: Vec::new(),
        }
    }
}

impl Relay<'_> {
    fn make_nonblocking(&self) -> Result<()> {
        let sources = self
            .outputs
            .iter()
            .filter_map(|output| output.source.as_ref());
        for descriptor in sources.chain(&self.input) {
            rustix::io::ioctl_fionbio(descriptor, true).context("make a pipe non-blocking")?;
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        self.outputs
            .iter()
            .all(|output| output.source.is_none() && output.waiting.is_empty())
    }

    /// Sleeps until something can be done.
    fn wait(&self, child: Option<&OwnedFd>) -> Result<()> {
        let mut fds = Vec::with_capacity(5);
        if let Some(child) = child {
            fds.push(PollFd::new(child, PollFlags::IN));
        }
        if let Some(channel) = &*self.channel {
            let full = self.outputs.iter().any(|output| !output.waiting.is_empty());
            fds.push(PollFd::new(
                channel,
                if full {
                    PollFlags::IN | PollFlags::OUT
                } else {
                    PollFlags::IN
                },
            ));
        }
        for output in &self.outputs {
            if let Some(source) = output.source.as_ref().filter(|_| output.waiting.is_empty()) {
                fds.push(PollFd::new(source, PollFlags::IN));
            }
        }
        if let Some(input) = self
            .input
            .as_ref()
            .filter(|_| !self.waiting_input.is_empty())
        {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        match poll(&mut fds, None) {
            Err(Errno::INTR) => Ok(()),
            result => result.map(|_| ()).context("poll"),
        }
    }

    fn has_ended(&self, child: &OwnedFd) -> Result<bool> {
        let mut fds = [PollFd::new(child, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(&mut fds, Some(&now)).context("poll")? > 0)
    }

    fn take_requests(&mut self, child: &crate::sys::process::Child) -> Result<()> {
        loop {
            let Some(channel) = &*self.channel else {
                return Ok(());
            };
            match channel::receive_request(channel, &mut self.buffer) {
                Ok(Next::Nothing) => return Ok(()),
                Ok(Next::Message(Request::Input(bytes), _)) => {
                    self.waiting_input.extend_from_slice(bytes)
                }
                Ok(Next::Message(Request::Terminal, terminal)) => {
                    self.callers_terminal = terminal.map(Settings::of).transpose()?;
                    self.tell_input_taken();
                }
                Ok(Next::Message(Request::InputEnd, _)) => self.end_input(),
                Ok(Next::Message(Request::Signal(number), _)) => {
                    // It may have ended just now.
                    let _ = child.kill(number);
                }
                Ok(Next::Message(Request::Resize(rows, columns), _)) => {
                    if let Some(terminal) = self.outputs[0]
                        .source
                        .as_ref()
                        .filter(|terminal| rustix::termios::isatty(terminal))
                    {
                        terminal::set_size(terminal.as_fd(), (rows, columns))?;
                    }
                }
                Ok(Next::Message(Request::OutputClosed(stream), _)) => {
                    // The program gets SIGPIPE, as from a local pipe.
                    let output = &mut self.outputs[stream as usize - 1];
                    (output.source, output.waiting) = (None, Vec::new());
                    if self.input.as_ref().is_some_and(rustix::termios::isatty) {
                        // The last of our side: the program's terminal hangs up.
                        self.input = None;
                    }
                }
                // The container lives on without its client, whose terminal it leaves as it was.
                Ok(Next::Closed) | Err(_) => {
                    *self.channel = None;
                    self.callers_terminal.take().inspect(Settings::restore);
                }
            }
        }
    }

    /// A terminal is told of the end by its end-of-file key; a pipe is closed once what waits for it is written.
    fn end_input(&mut self) {
        const END_OF_TRANSMISSION: u8 = 4;
        match self.input.as_ref().is_some_and(rustix::termios::isatty) {
            true => self.waiting_input.push(END_OF_TRANSMISSION),
            false => self.input_ended = true,
        }
    }

    fn pass_input(&mut self) {
        if self.waiting_input.is_empty() {
            if self.input_ended {
                self.input = None;
            }
            return;
        }
        let Some(input) = &self.input else {
            self.waiting_input.clear();
            return self.tell_input_taken();
        };
        match rustix::io::write(input, &self.waiting_input) {
            Ok(written) => drop(self.waiting_input.drain(..written)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody reads it: what comes is thrown away, as with a pipe whose reader is gone.
            Err(_) => {
                self.input = None;
                self.waiting_input.clear();
            }
        }
        if self.waiting_input.is_empty() {
            self.tell_input_taken();
            if self.input_ended {
                self.input = None;
            }
        }
    }

    fn tell_input_taken(&self) {
        if let Some(channel) = &*self.channel {
            // A client that is gone is noticed when its requests are taken.
            let _ = channel::send_input_taken(channel);
        }
    }

    fn pass_output(&mut self, ended: bool) -> Result<()> {
        for output in &mut self.outputs {
            while output.waiting.is_empty()
                && let Some(source) = &output.source
            {
                match rustix::io::read(source, &mut self.buffer[..CHUNK]) {
                    Ok(length @ 1..) => {
                        let Some(channel) = &*self.channel else {
                            continue;
                        };
                        match channel::send_output(channel, output.stream, &self.buffer[..length]) {
                            Ok(()) => {}
                            Err(Errno::AGAIN) => {
                                output.waiting.extend_from_slice(&self.buffer[..length])
                            }
                            Err(_) => *self.channel = None,
                        }
                    }
                    // Whoever still holds the other end after the container's end will not be waited for.
                    Err(Errno::AGAIN) if !ended => break,
                    Err(Errno::INTR) => {}
                    // A terminal whose last user is gone answers EIO.
                    Ok(_) | Err(_) => output.source = None,
                }
            }
            if !output.waiting.is_empty() {
                let Some(channel) = &*self.channel else {
                    output.waiting.clear();
                    continue;
                };
                match channel::send_output(channel, output.stream, &output.waiting) {
                    Ok(()) => output.waiting.clear(),
                    Err(Errno::AGAIN) => {}
                    Err(_) => *self.channel = None,
                }
            }
        }
        Ok(())
    }
}
