//! The mounts of a container without a mount namespace of its own (config-linux.md, "Namespaces"). They are made in that of
//! whoever creates it, and outlive its processes: its root is mounted on its own directory, all else below that.
//!
//! Invariant: nothing is taken off but what was mounted for a container.

use crate::sys::mount;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Where a root file system is to be mounted, and what was there before.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    before: u64,
}

impl Place {
    /// Nothing of the container is mounted there yet.
    pub fn of(root: &Path) -> Result<Self> {
        let before = at(root)?;
        let root = root.to_owned();
        Ok(Self { root, before })
    }

    /// The container does not come to be.
    pub fn clear(self) -> Result<()> {
        match at(&self.root)? == self.before {
            true => Ok(()),
            false => detach(&self.root),
        }
    }
}

/// The mount that the root of a process is.
pub fn mount_of(pid: i32) -> Result<u64> {
    at(Path::new(&format!("/proc/{pid}/root")))
}

/// Takes off what was mounted for a container that is no more, unless somebody has done so.
pub fn take_off(root: &Path, mount: u64) -> Result<()> {
    match mount::number_at(root) {
        Ok(found) if found == mount => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("stat `{}`", root.display())),
    }
    detach(root)?;
    // runc takes off nothing, and so its callers unmount this very directory, which fails where nothing is mounted. What
    // they get for that shows nothing but the directory.
    let show = || format!("bind `{}`", root.display());
    if !mount::is_mount_point(root).with_context(show)? {
        let place = mount::open_source(root)?;
        let itself = mount::clone_tree(place.as_fd(), false).with_context(show)?;
        mount::attach(itself.as_fd(), place.as_fd()).with_context(show)?;
    }
    Ok(())
}

fn at(path: &Path) -> Result<u64> {
    mount::number_at(path).with_context(|| format!("stat `{}`", path.display()))
}

fn detach(root: &Path) -> Result<()> {
    mount::detach(root).with_context(|| format!("unmount `{}`", root.display()))
}
