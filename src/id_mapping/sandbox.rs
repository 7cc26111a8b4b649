//! What another container, in which this program runs, takes from it: its filter of system calls (seccomp(2)). What
//! exactly that forbids is found by trying; here is what to say then.

use crate::error::{Error, Kind};
use crate::sys::seccomp;
use rustix::io::Errno;

/// Why a call is refused that the kernel allows.
pub const CAUSE: &str =
    "the seccomp filter of the container or sandbox that this runs in forbids it";

/// What to do about it, outside.
pub const HINT: &str = "run what is around with --security-opt seccomp=unconfined (Docker, podman, onggi), \
     seccompProfile Unconfined (Kubernetes), or a profile that allows clone, unshare, mount and pivot_root";

/// Whether somebody filters our system calls.
pub fn is_filtered() -> bool {
    seccomp::mode().is_ok_and(|mode| mode == 2)
}

/// Adds cause and hint to an error that a filter may have made.
pub fn explain(error: anyhow::Error) -> anyhow::Error {
    let refused = matches!(
        error.root_cause().downcast_ref(),
        Some(&(Errno::PERM | Errno::NOSYS))
    );
    match refused && is_filtered() {
        true => Error::new(Kind::Denied, format!("{error:#}: {CAUSE}"))
            .hint(HINT)
            .into(),
        false => error,
    }
}
