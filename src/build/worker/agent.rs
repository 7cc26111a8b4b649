//! The socket of an agent in a step (`RUN --mount=type=ssh`): a child of the worker takes its connections and passes them
//! on to the agent of the host. So the agent has to do with the user who builds, whoever the program is.

use super::mounts::{hardened, part_of};
use crate::error::bad_input;
use crate::sys::process::{self, Child};
use crate::sys::{descriptor, mount};
use anyhow::{Context, Result};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Who passes connections on, until it is dropped.
#[derive(Debug)]
pub struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A socket in memory that leads to that of the host; `give` gives it a mode and an owner.
pub fn open(
    path: &str,
    give: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
) -> Result<(OwnedFd, Agent)> {
    const NAME: &str = "agent";
    let memory = mount::new_filesystem("ramfs", "ramfs", &[], hardened())?;
    let place = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", memory.as_raw_fd()));
    let agent = listen(path, &place)?;
    give(mount::open_source(&place)?.as_fd())?;
    let tree = part_of(&memory, NAME.as_bytes(), hardened())?;
    Ok((tree, agent))
}

/// Makes the socket at `place`.
pub fn listen(path: &str, place: &Path) -> Result<Agent> {
    let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        let message = format!("no agent listens at `{path}`");
        return Err(bad_input(message)
            .hint("start one: eval $(ssh-agent)")
            .into());
    }
    let listener = UnixListener::bind(place).context("make the agent's socket")?;
    let path = Path::new(path).to_owned();
    let child = process::clone3(0, || pass_on(&listener, &path)).context("start a process")?;
    Ok(Agent(child))
}

/// Takes one connection after the other, for ever.
fn pass_on(listener: &UnixListener, path: &Path) -> u8 {
    // What else is open here keeps locks and channels of the worker.
    let alone = descriptor::close_all_but(&[listener.as_fd()]).is_ok();
    let killed = rustix::process::Signal::KILL;
    let ends = rustix::process::set_parent_process_death_signal(Some(killed)).is_ok();
    if !alone || !ends {
        return 1;
    }
    loop {
        let Ok((inside, _)) = listener.accept() else {
            return 1;
        };
        // The program finds its connection closed.
        let Ok(outside) = UnixStream::connect(path) else {
            continue;
        };
        for (from, to) in [(&inside, &outside), (&outside, &inside)] {
            if let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) {
                let copy = move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                };
                let _ = std::thread::Builder::new().spawn(copy);
            }
        }
    }
}
