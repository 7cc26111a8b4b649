//! A caller that stays: it passes signals and a terminal on, and ends as the program does.

use super::notify::Readiness;
use crate::sys::process::{Child, Ended};
use crate::sys::signal::SignalFd;
use crate::sys::terminal::{self, RawMode};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, write};
use rustix::stdio::{stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The controlling side of a program's terminal, and the caller's own in raw mode.
#[derive(Debug)]
pub struct Terminal {
    controller: OwnedFd,
    /// `None` where the caller has no terminal.
    _raw: Option<RawMode>,
    input_is_open: bool,
}

impl Terminal {
    pub(super) fn new(controller: OwnedFd) -> Result<Self> {
        let raw = match rustix::termios::isatty(stdin()) {
            true => Some(RawMode::enter(stdin())?),
            false => {
                // No terminal needs them, and whoever reads lines does not expect them.
                terminal::end_lines_without_return(controller.as_fd())?;
                None
            }
        };
        let terminal = Self {
            controller,
            _raw: raw,
            input_is_open: true,
        };
        terminal.resize();
        Ok(terminal)
    }

    fn resize(&self) {
        if let Some(size) = terminal::size(stdin()) {
            // The program may have ended.
            let _ = terminal::set_size(self.controller.as_fd(), size);
        }
    }

    /// Passes on what the caller types.
    fn pass_input(&mut self) -> Result<()> {
        self.input_is_open = pass(stdin(), self.controller.as_fd())?;
        if !self.input_is_open {
            /// What Ctrl-D types: a terminal has no other end.
            const END: &[u8] = &[4];
            let _ = write(&self.controller, END);
        }
        Ok(())
    }
}

/// Waits for the end of a child, with its terminal if it has one. Signals to the calling process are passed on from
/// here on; those that it has blocked before are not lost. When the program is ready, `readiness` is passed on.
pub fn attend(
    child: &Child,
    mut terminal: Option<Terminal>,
    signals: &SignalFd,
    mut readiness: Option<Readiness>,
) -> Result<Ended> {
    loop {
        let none = PollFlags::empty();
        let mut ready = vec![
            PollFd::new(&child.pidfd, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        let input = stdin();
        if let Some(terminal) = &terminal {
            let wanted = if terminal.input_is_open {
                PollFlags::IN
            } else {
                none
            };
            ready.push(PollFd::new(&terminal.controller, PollFlags::IN));
            ready.push(PollFd::from_borrowed_fd(input, wanted));
        }
        ready.extend(
            readiness
                .iter()
                .map(|socket| PollFd::new(socket, PollFlags::IN)),
        );
        match poll(&mut ready, None) {
            Err(Errno::INTR) => continue,
            result => drop(result.context("poll")?),
        }
        let ready: Vec<PollFlags> = ready.iter().map(PollFd::revents).collect();
        if let Some(terminal) = &mut terminal {
            if !ready[2].is_empty() {
                pass(terminal.controller.as_fd(), stdout())?;
            }
            if terminal.input_is_open && !ready[3].is_empty() {
                terminal.pass_input()?;
            }
        }
        if readiness.as_ref().is_some_and(Readiness::has_come)
            && let Some(readiness) = readiness.take()
        {
            // A service manager that is gone by now is no reason to leave the program alone.
            let _ = readiness.tell(None);
        }
        while let Some(signal) = signals.next() {
            match (signal, &terminal) {
                (libc::SIGWINCH, Some(terminal)) => terminal.resize(),
                // What the kernel says of our own children and terminal.
                (libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU | libc::SIGURG, _) => {}
                (signal, _) => drop(child.kill(signal)),
            }
        }
        if !ready[0].is_empty() {
            let ended = child.wait().context("wait for the program")?;
            if let Some(terminal) = &terminal {
                // What it has printed last.
                while pass(terminal.controller.as_fd(), stdout())? {}
            }
            return Ok(ended);
        }
    }
}

/// Copies once; `false` at the end. A terminal whose other side is closed says EIO.
fn pass(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool> {
    let mut buffer = [0; 16 << 10];
    let length = match read(from, &mut buffer) {
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        Err(Errno::IO) | Ok(0) => return Ok(false),
        length => length.context("read a terminal")?,
    };
    let mut left = &buffer[..length];
    while !left.is_empty() {
        match write(to, left) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads any more.
            Err(Errno::PIPE | Errno::IO) => return Ok(false),
            written => left = &left[written.context("write to a terminal")?..],
        }
    }
    Ok(true)
}
