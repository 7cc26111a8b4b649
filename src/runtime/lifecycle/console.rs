//! Where the controlling side of a container's terminal goes.

use super::foreground;
use crate::error::bad_input;
use crate::sys::socket;
use anyhow::{Context, Result};
use oci_spec::runtime::Process;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Who has it.
#[derive(Clone, Debug)]
pub enum Console {
    /// Whoever listens at that socket gets it (`--console-socket`).
    Socket(PathBuf),
    /// The calling process stays and passes everything on.
    Caller,
    /// Nobody: the caller goes.
    Nobody,
}

impl Console {
    /// Fails where a terminal has nobody, and where there is none for somebody who listens.
    pub(super) fn check(&self, process: Option<&Process>) -> Result<()> {
        let wanted = process.and_then(Process::terminal).unwrap_or(false);
        match (self, wanted) {
            (Self::Nobody, true) => Err(bad_input(
                "the process is to have a terminal, and nobody would have its other side",
            )
            .hint("name a socket with --console-socket, or run it without --detach")
            .into()),
            (Self::Socket(_), false) => Err(bad_input(
                "there is a console socket, and the process is to have no terminal",
            )
            .hint("set `process.terminal` in the configuration, or leave --console-socket out")
            .into()),
            _ => Ok(()),
        }
    }

    /// Hands it over; what stays is for the caller to relay.
    pub(super) fn take(&self, terminal: Option<OwnedFd>) -> Result<Option<foreground::Terminal>> {
        let Some(terminal) = terminal else {
            return Ok(None);
        };
        match self {
            Self::Socket(path) => {
                send(path, &terminal)?;
                Ok(None)
            }
            Self::Caller => foreground::Terminal::new(terminal).map(Some),
            Self::Nobody => Ok(None),
        }
    }
}

/// The message is not looked at by who receives it; runc sends the name of the terminal.
fn send(path: &Path, terminal: &OwnedFd) -> Result<()> {
    let path = std::path::absolute(path).context("find the current directory")?;
    socket::deliver(&path, b"/dev/ptmx", terminal.as_fd())
        .context("hand the terminal over to --console-socket")
}
