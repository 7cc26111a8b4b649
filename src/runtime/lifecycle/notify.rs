//! A container tells the service manager of who starts it that it is ready (sd_notify(3)), where `NOTIFY_SOCKET` names one.
//!
//! ```text
//! create   makes a directory, which the container sees at /run/notify, and tells it of a socket there
//! start    listens at that socket, starts the container and waits for READY=1
//! service manager ◀── READY=1, MAINPID=… ── start ◀── whatever a container writes
//! ```
//!
//! Nothing of what a container writes goes on, but that it is ready.

use super::record::Container;
use crate::paths::bundle::NOTIFY;
use crate::systemd::Notifier;
use anyhow::{Context, Result};
use oci_spec::runtime::{Mount, Spec};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where a container finds the directory.
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
const VARIABLE: &str = "NOTIFY_SOCKET=";
/// No message that tells of readiness is longer; the rest of one is cut off.
const LONGEST: usize = 4096;

/// Lets a container that is to be made with that configuration tell somebody, unless there is nobody, or the configuration
/// sees to it by itself.
pub(super) fn offer(spec: &mut Spec, directory: &Path) -> Result<()> {
    let Some(mut process) = spec.process().clone() else {
        return Ok(());
    };
    let mut variables = process.env().clone().unwrap_or_default();
    let has_own = variables.iter().any(|entry| entry.starts_with(VARIABLE));
    if has_own || !Notifier::is_there() {
        return Ok(());
    }
    let say = || format!("create `{}`", directory.display());
    DirBuilder::new()
        .mode(0o755)
        .create(directory)
        .with_context(say)?;
    // Also for those in the container who are not root, whatever the caller's umask.
    std::fs::set_permissions(directory, Permissions::from_mode(0o755)).with_context(say)?;
    let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
    let mut mount = Mount::default();
    mount
        .set_destination(INSIDE.into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(directory.to_owned()))
        .set_options(Some(options.map(str::to_owned).to_vec()));
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    variables.push(format!("{VARIABLE}{INSIDE}/{SOCKET}"));
    process.set_env(Some(variables));
    spec.set_process(Some(process));
    Ok(())
}

/// What a container that is being started will be heard by.
#[derive(Debug)]
pub struct Readiness {
    socket: UnixDatagram,
    manager: Notifier,
}

impl Readiness {
    /// Listens for a container whose maker has let it tell; `None` where it was not, or nobody is to be told.
    ///
    /// Errors: the service manager cannot be reached.
    pub(super) fn of(container: &Container) -> Result<Option<Self>> {
        let path = container.directory();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match openat(CWD, path.join(NOTIFY), flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.with_context(|| format!("open `{NOTIFY}` of `{}`", path.display()))?,
        };
        let Some(manager) = Notifier::connect()? else {
            return Ok(None);
        };
        // An address holds no more than 107 bytes of path (unix(7)).
        let name = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
        let listen = || {
            match std::fs::remove_file(&name) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let socket = UnixDatagram::bind(&name)?;
            std::fs::set_permissions(&name, Permissions::from_mode(0o777))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = listen().context("listen for the container's readiness")?;
        Ok(Some(Self { socket, manager }))
    }

    /// Whether the container has said that it is ready; what else it has said by now is gone.
    pub(super) fn has_come(&self) -> bool {
        let mut message = [0; LONGEST];
        while let Ok(length) = self.socket.recv(&mut message) {
            let mut lines = message[..length].split(|byte| *byte == b'\n');
            if lines.any(|line| line == b"READY=1") {
                return true;
            }
        }
        false
    }

    /// Passes it on; `main` is the process that the service manager is to watch from then on, if that is not the caller.
    pub(super) fn tell(&self, main: Option<i32>) -> Result<()> {
        let main = main.map(|pid| format!("MAINPID={pid}\n"));
        self.manager
            .tell(&format!("READY=1\n{}", main.unwrap_or_default()))
    }

    /// Waits until the container is ready, and passes that on; or until it has ended.
    pub fn wait(&self, container: &Container) -> Result<()> {
        let Some(init) = container.init() else {
            return Ok(());
        };
        loop {
            let mut ready = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&init.pidfd, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                result => drop(result.context("poll")?),
            }
            let has_ended = !ready[1].revents().is_empty();
            if self.has_come() {
                return self.tell(Some(init.pid));
            }
            if has_ended {
                return Ok(());
            }
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
