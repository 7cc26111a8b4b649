//! What stands in the way of a user namespace: found by trying, and named with what to do about it.

use super::sandbox;
use crate::error::{Error, Kind};
use crate::sys::namespace::{is_initial_user, unshare, write_map};
use crate::sys::process::{self, flags};
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::fmt;
use std::path::Path;

/// That no user namespace can be had here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    uid: u32,
    call: Call,
    errno: Errno,
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// To make one.
    Unshare,
    /// To be root in it.
    Map,
}

/// Added to the exit code of a child that got so far.
const MADE: u8 = 128;

impl Refusal {
    /// Tries it where the caller needs one and something hints at a refusal: it costs a process.
    pub(super) fn find(uid: u32) -> Result<Option<Self>> {
        if uid != 0 && !is_doubtful() {
            return Ok(None);
        }
        let child = process::clone3(0, || match attempt(uid) {
            Ok(()) => 0,
            Err((Call::Unshare, errno)) => errno.raw_os_error() as u8,
            Err((Call::Map, errno)) => errno.raw_os_error() as u8 | MADE,
        })
        .context("fork")?;
        let code = child.wait().context("wait for a child")?.code();
        let call = match code {
            0 => return Ok(None),
            MADE.. => Call::Map,
            _ => Call::Unshare,
        };
        let errno = Errno::from_raw_os_error(i32::from(code & !MADE));
        Ok(Some(Self { uid, call, errno }))
    }

    /// The same for whoever wants a container, with what to do about it.
    pub fn error(&self) -> anyhow::Error {
        match self.call {
            Call::Map if self.uid == 0 => of_map(
                self.uid,
                anyhow::Error::from(self.errno).context("write `uid_map`"),
            ),
            _ => refused(self.errno),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = match self.call {
            Call::Unshare => "unshare",
            Call::Map => "write `uid_map`",
        };
        write!(f, "{call}: {}", self.errno)
    }
}

/// Becomes root of a user namespace with a single id.
fn attempt(uid: u32) -> Result<(), (Call, Errno)> {
    unshare(flags::NEW_USER).map_err(|errno| (Call::Unshare, errno))?;
    let own = std::process::id() as i32;
    write_map(own, "uid_map", &format!("0 {uid} 1")).map_err(|error| {
        let errno = error.root_cause().downcast_ref().copied();
        (Call::Map, errno.unwrap_or(Errno::PERM))
    })
}

/// Whether something says that user namespaces are restricted for ordinary users.
fn is_doubtful() -> bool {
    is(LIMIT, "0")
        || is(SWITCH, "0")
        || is(APPARMOR, "1")
        || sandbox::is_filtered()
        // Whoever has made the one around may have limited those in it.
        || !is_initial_user()
        || !Path::new("/proc/self/ns/user").exists()
}

const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
const SWITCH: &str = "/proc/sys/kernel/unprivileged_userns_clone";
const APPARMOR: &str = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";

fn is(path: &str, value: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

/// Says what stands in the way of a map with a single id.
pub(super) fn of_map(uid: u32, error: anyhow::Error) -> anyhow::Error {
    match uid {
        // Since Linux 5.12.
        0 => Error::new(
            Kind::Denied,
            format!("{error:#}: root without CAP_SETFCAP cannot be root of a user namespace"),
        )
        .hint("run what is around with --cap-add SETFCAP, or as another user than root")
        .into(),
        // Who has made it has no power in it.
        _ if is(APPARMOR, "1") => refused(Errno::PERM),
        _ => error,
    }
}

/// Installs the AppArmor profile with which ordinary users may make user namespaces by this program.
pub const APPARMOR_SETUP: &str = "onggi system setup apparmor | sudo tee /etc/apparmor.d/onggi >/dev/null && \
     sudo apparmor_parser -r /etc/apparmor.d/onggi";

/// Says what stands in the way when clone3(2) or unshare(2) refuses a user namespace.
pub fn refused(error: Errno) -> anyhow::Error {
    let (cause, hint) = if is(LIMIT, "0") {
        (
            "user.max_user_namespaces is 0",
            "sudo sysctl user.max_user_namespaces=15000".to_owned(),
        )
    } else if is(SWITCH, "0") {
        (
            "kernel.unprivileged_userns_clone is 0",
            "sudo sysctl kernel.unprivileged_userns_clone=1".to_owned(),
        )
    } else if is(APPARMOR, "1") {
        (
            "AppArmor restricts user namespaces",
            format!("give this program the AppArmor profile it needs: {APPARMOR_SETUP}"),
        )
    } else if error == Errno::NOSPC || error == Errno::USERS {
        (
            "the limit of nested or counted user namespaces is reached",
            "sudo sysctl user.max_user_namespaces=15000".to_owned(),
        )
    } else if sandbox::is_filtered() {
        (sandbox::CAUSE, sandbox::HINT.to_owned())
    } else {
        (
            "the kernel, or the sandbox this runs in, does not allow it",
            "run outside the sandbox (or let it permit clone and unshare with CLONE_NEWUSER), or run as root".to_owned(),
        )
    };
    Error::new(
        Kind::Denied,
        format!("cannot create a user namespace: {error}: {cause}"),
    )
    .hint(hint)
    .into()
}
