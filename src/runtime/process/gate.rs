//! Between `create` and `start` (runtime-spec runtime.md): the first process of a container has become all that its
//! program is to be and waits, without its maker, for whoever starts it.
//!
//! ```text
//! create                     init                              start
//!   │◀──── Created ───────────│                                  │
//!   │ writes the record       │                                  │
//!   │───── Connected ────────▶│ from here on it is not alone     │
//!  ends                       │ accept                           │
//!                             │◀─────────── connect ─────────────│
//!                             │ startContainer hooks             │
//!                             │──── Failed, or end of file ─────▶│ execve succeeded
//! ```
//!
//! Whose maker is also who starts it hears of that by `Connected`, and tells how it went by the same channel.
//!
//! The socket lies where only the caller can reach it, and is open in init from the beginning: no path leads out of the
//! container.

use super::program::{self, Confined};
use super::{init, protocol};
use crate::runtime::plan::{Gate, Plan};
use crate::sys::descriptor;
use crate::sys::process::{self, Child};
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use std::os::fd::AsFd;

/// Lets the first process of a container, which listens at the other end of `channel`, become its program. Returns once that
/// has been executed, or the reason why not is known.
pub fn open(channel: &Channel, init: &Child) -> Result<()> {
    protocol::await_start(channel, init, None, &mut || Ok(()), protocol::PATIENCE).map(drop)
}

/// Tells the first process of a container that its maker, the calling process, starts it.
pub fn let_begin(channel: &Channel) -> Result<()> {
    protocol::send_connected(channel)
}

/// Closes all that is not needed any more: what it holds while it waits is within reach of whoever may trace it.
pub(super) fn leave_behind(plan: &Plan, gate: &Gate, maker: &Channel) -> Result<()> {
    let mut needed = vec![maker.as_fd()];
    needed.extend(gate.socket().map(AsFd::as_fd));
    needed.extend(plan.process.sockets.all());
    needed.extend(plan.hooks.files());
    descriptor::close_all_but(&needed).context("close_range")
}

/// Waits, then becomes the program. Failures before that are the maker's to hear, those after it the starter's.
pub(super) fn pass(
    plan: &Plan,
    gate: &Gate,
    confined: Confined,
    maker: &Channel,
) -> Result<std::convert::Infallible> {
    program::look_for(&plan.process, &confined)?;
    protocol::send_created(maker)?;
    // Nobody would ever start, or end, what is recorded nowhere.
    protocol::await_connected(maker)?;
    let connected = gate.socket().map(|listener| {
        // A filter may know no close_range(2) by now. What cannot be closed leads nowhere.
        let _ = descriptor::close(&[maker.as_fd()]);
        let Ok(starter) = listener.wait() else {
            process::exit_now(125)
        };
        starter
    });
    let starter = connected.as_ref().unwrap_or(maker);
    let Err(error) = init::become_program(plan, confined, starter);
    protocol::send_failure(starter, &error);
    process::exit_now(125)
}
