//! What a service is told by systemd when it is started, and what it tells back: sockets that are open already
//! (sd_listen_fds(3)) and how far it is (sd_notify(3)).
//!
//! Not here: scopes and cgroups, which are made over D-Bus in `cgroup::systemd`.

use crate::error::bad_input;
use crate::sys::descriptor;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The first descriptor that is handed over.
const FIRST: RawFd = 3;

/// The sockets that were opened for this process, none where it was not started by one. To be asked once: they belong
/// to the caller from then on.
pub fn sockets() -> Result<Vec<OwnedFd>> {
    let variable = |name: &str| std::env::var(name).ok();
    let number = count(
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
        std::process::id(),
    )?;
    (FIRST..FIRST + number)
        .map(|socket| descriptor::inherited(socket).context("take over the sockets of LISTEN_FDS"))
        .collect()
}

/// How many there are for the process `own`; variables for another were inherited by mistake.
fn count(pid: Option<&str>, number: Option<&str>, own: u32) -> Result<RawFd> {
    let (Some(pid), Some(number)) = (pid, number) else {
        return Ok(0);
    };
    if pid.parse() != Ok(own) {
        return Ok(0);
    }
    let parsed = number.parse().ok();
    let plausible = parsed.filter(|number| (0..=1024).contains(number));
    Ok(plausible
        .ok_or_else(|| bad_input(format!("LISTEN_FDS is no number of sockets: {number:?}")))?)
}

/// Tells the service manager, if there is one, something like `READY=1`.
pub fn notify(state: &str) -> Result<()> {
    match Notifier::connect()? {
        Some(manager) => manager.tell(state),
        None => Ok(()),
    }
}

/// A service manager that wants to be told something (sd_notify(3)).
#[derive(Debug)]
pub struct Notifier(UnixDatagram);

impl Notifier {
    /// Whether there is one.
    pub fn is_there() -> bool {
        named().is_some()
    }

    /// The one that `NOTIFY_SOCKET` names; `None` where that is not set.
    ///
    /// Errors: nobody listens there.
    pub fn connect() -> Result<Option<Self>> {
        let Some(name) = named() else {
            return Ok(None);
        };
        let connect = || {
            let bytes = std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str());
            let address = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            Ok::<_, std::io::Error>(socket)
        };
        let socket = connect()
            .with_context(|| format!("reach the service manager at NOTIFY_SOCKET {name:?}"))?;
        Ok(Some(Self(socket)))
    }

    /// Tells it something.
    pub fn tell(&self, state: &str) -> Result<()> {
        let told = self.0.send(state.as_bytes());
        told.context("tell the service manager").map(drop)
    }
}

fn named() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_others_are_left_alone() {
        for (pid, number, expected) in [
            (None, None, Some(0)),
            (Some("7"), None, Some(0)),
            (Some("7"), Some("2"), Some(2)),
            (Some("8"), Some("2"), Some(0)),
            (Some("7"), Some("two"), None),
            (Some("7"), Some("-1"), None),
            (Some("7"), Some("9999999"), None),
        ] {
            assert_eq!(count(pid, number, 7).ok(), expected, "{pid:?} {number:?}");
        }
    }
}
