//! What the calling process was given to pass on, from descriptor 3 on (sd_listen_fds(3)).

use crate::runtime::plan::Sockets;
use crate::sys::descriptor;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::os::fd::{OwnedFd, RawFd};

/// `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;

/// Those of `LISTEN_FDS`, and of the next `preserved` ones those that are open, at the numbers that they have.
///
/// Errors: the variables speak to this very process, of a descriptor that is not there.
pub(super) fn sockets(preserved: usize) -> Result<Sockets> {
    let descriptors = listening()?;
    let start = FIRST + descriptors.len() as RawFd;
    let end = usize::try_from(start)
        .unwrap_or_default()
        .saturating_add(preserved);
    let open = match preserved {
        0 => Vec::new(),
        _ => numbers().context("list the open descriptors")?,
    };
    let is_asked_for = |number: &RawFd| *number >= start && (*number as usize) < end;
    let mut untold = Vec::new();
    for number in open.into_iter().filter(is_asked_for) {
        match descriptor::duplicate(number) {
            Ok(copy) => untold.push((number, copy)),
            // This program's own, or that of the listing.
            Err(Errno::BADF) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("pass descriptor {number} on"));
            }
        }
    }
    Ok(Sockets {
        descriptors,
        names: std::env::var("LISTEN_FDNAMES").unwrap_or_default(),
        untold,
    })
}

/// What `LISTEN_FDS` speaks of. Where it is meant for another process, as it is in the environment of all that a service
/// has started, there is nothing; where it does not say for whom, it counts only if all are there.
fn listening() -> Result<Vec<OwnedFd>> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    let count: usize = number("LISTEN_FDS").unwrap_or(0);
    let named = std::env::var_os("LISTEN_PID").is_some();
    let is_ours = number("LISTEN_PID") == Some(std::process::id() as usize);
    if named && !is_ours {
        return Ok(Vec::new());
    }
    let copy = |number| {
        let what = || format!("pass descriptor {number} on, which LISTEN_FDS={count} speaks of");
        descriptor::duplicate(number).with_context(what)
    };
    match (FIRST..).take(count).map(copy).collect() {
        Err(_) if !is_ours => Ok(Vec::new()),
        copied => copied,
    }
}

/// All that are open, in order.
fn numbers() -> std::io::Result<Vec<RawFd>> {
    let entries = std::fs::read_dir("/proc/self/fd")?;
    let names = entries.map(|entry| Ok(entry?.file_name()));
    let mut numbers = names
        .filter_map(|name: std::io::Result<_>| {
            name.map(|name| name.to_str()?.parse().ok()).transpose()
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}
