//! Changes of the container's own files that devices need. Every path is resolved inside the root ([`super::resolve`]):
//! the image decides what lies on the way.

use super::libraries;
use super::resolve::{Kind, make};
use crate::runtime::plan::FileEdit;
use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags, statx, symlinkat, unlinkat};
use rustix::io::Errno;
use std::fs::Permissions;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes the changes, in order.
pub fn apply(root: BorrowedFd<'_>, edits: &[FileEdit]) -> Result<()> {
    for edit in edits {
        match edit {
            FileEdit::SymbolicLink { target, path } => link(root, target, path)
                .with_context(|| format!("link `{}` to `{}`", path.display(), target.display()))?,
            FileEdit::Mode { path, mode } => change_mode(root, path, *mode)
                .with_context(|| format!("change the mode of `{}`", path.display()))?,
            FileEdit::Libraries { directories } => libraries::announce(root, directories)?,
        }
    }
    Ok(())
}

/// Makes a link in the place of whatever file is there.
pub(super) fn link(root: BorrowedFd<'_>, target: &Path, path: &Path) -> Result<()> {
    let name = path.file_name().context("it has no name")?;
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = make(root, parent, Kind::Directory)?;
    match symlinkat(target, &directory, name) {
        Err(Errno::EXIST) => {
            unlinkat(&directory, name, AtFlags::empty())?;
            Ok(symlinkat(target, &directory, name)?)
        }
        made => Ok(made?),
    }
}

/// What is not there needs no mode, and what is mounted there belongs to the host.
fn change_mode(root: BorrowedFd<'_>, path: &Path, mode: u32) -> Result<()> {
    let opened = open_in_root(
        root,
        path.as_os_str().as_bytes(),
        OFlags::PATH,
        Mode::empty(),
    );
    let file = match opened {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    let found = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(());
    }
    // A descriptor that was opened as a mere place has no other way to chmod(2) before Linux 6.6.
    let place = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(std::fs::set_permissions(
        place,
        Permissions::from_mode(mode),
    )?)
}
