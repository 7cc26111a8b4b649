//! Another root directory for a mount namespace (pivot_root(2), and what serves where the old root is a ramdisk).

use super::mount;
use anyhow::{Context, Result};
use std::path::Path;

/// Makes the current directory the root of this mount namespace and drops the old one
/// (pivot_root(2), "pivot_root(".", ".")").
pub fn pivot_to_current_directory() -> Result<()> {
    // Both at once: the old root lands on top of the new one, where it is reached as "." …
    rustix::process::pivot_root(".", ".").context("pivot_root")?;
    // … and taken off with everything below it. Without private propagation the host would lose its mounts too.
    rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH)
        .context("unmount the old root")?;
    rustix::process::chdir("/").context("chdir to the new root")
}

/// The same where the old root cannot be dropped, since it is the kernel's first ramdisk: the current directory, where
/// something is mounted, covers it (mount(2), `MS_MOVE`; chroot(2)), and what else was mounted on it is taken off. The
/// old root stays below: whoever may take mounts off inside finds its files.
pub fn move_current_directory() -> Result<()> {
    rustix::mount::mount_move(".", "/").context("move the new root over the old one")?;
    let process = procfs::process::Process::myself().context("open `/proc/self`")?;
    let mounts = process
        .mountinfo()
        .context("read `/proc/self/mountinfo`")?
        .0;
    // Until chroot(2) a path leads to the old root; those of the new one are in the list too, and nothing is there.
    for mount in mounts.iter().rev() {
        if mount.mount_point != Path::new("/") {
            let _ = mount::detach(&mount.mount_point);
        }
    }
    stay_below_current_directory()
}

/// Makes the current directory the root of this process and of those that come from it, in a mount namespace that others are
/// in too (chroot(2)): who may call that leaves it again.
pub fn stay_below_current_directory() -> Result<()> {
    rustix::process::chroot(".").context("chroot")?;
    rustix::process::chdir("/").context("chdir to the new root")
}
