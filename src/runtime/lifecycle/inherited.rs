//! The mounts of a container without a mount namespace of its own (config-linux.md, "Namespaces"). They are made in that of
//! whoever creates it, and outlive its processes.
//!
//! Its root is mounted in the directory of its state, all else below that: so they are its own whoever else has the same root
//! file system, and are found without being written down.

use crate::paths::bundle::ROOTFS;
use crate::sys::mount;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Makes the place where its root is to be mounted.
pub fn place(directory: &Path) -> Result<PathBuf> {
    let place = directory.join(ROOTFS);
    DirBuilder::new()
        .mode(0o700)
        .create(&place)
        .with_context(|| format!("create `{}`", place.display()))?;
    Ok(place)
}

/// Takes off what is mounted there, unless there is nothing, or somebody has done so.
pub fn take_off(directory: &Path) -> Result<()> {
    let place = directory.join(ROOTFS);
    let say = || format!("unmount `{}`", place.display());
    loop {
        match mount::is_mount_point(&place) {
            Ok(false) | Err(Errno::NOENT) => return Ok(()),
            found => found.with_context(say)?,
        };
        mount::detach(&place).with_context(say)?;
    }
}
