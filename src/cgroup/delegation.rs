//! A group given to somebody who may then make groups in it and move processes between them, and change no limit of it
//! (Documentation/admin-guide/cgroup-v2.rst, "Delegation").

use super::Cgroup;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Uid, chownat};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// The kernel's list of the files that belong to it, since Linux 4.15.
const FILES: &str = "/sys/kernel/cgroup/delegate";
/// What was on it first.
const FIRST: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives it to the user with this uid outside of any user namespace.
    pub fn give_to(&self, uid: u32) -> Result<()> {
        let files = std::fs::read_to_string(FILES).unwrap_or_else(|_| FIRST.to_owned());
        for file in std::iter::once(".").chain(files.lines()) {
            let owner = Some(Uid::from_raw(uid));
            match chownat(self.as_fd(), file, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
                // Of a controller that it does not have.
                Err(Errno::NOENT) => {}
                given => given.with_context(|| {
                    format!(
                        "give `{}` to user {uid}",
                        self.directory().join(file).display()
                    )
                })?,
            }
        }
        Ok(())
    }
}
