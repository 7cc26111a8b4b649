//! Cache mounts: the files of one are made by the first step that has it, of what it is to begin with.
//!
//! ```text
//! PLACE/files there? ─ no ─▶ step's scratch directory: copy the seed, mode, owner ─ renameat2(NOREPLACE) ─▶ PLACE/files
//! ```
//!
//! Invariant: what is at `PLACE/files` is whole. Of two steps that make it at the same time one finds the other's.

use super::mounts::{give, here};
use super::order::{Access, NewCache};
use crate::container::engine::Engine;
use crate::paths::MOUNT_FILES;
use crate::store::copy::Copier;
use crate::sys::openat2::open_beneath;
use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fstat, openat, renameat_with};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The files of a cache, and what is to be told to the user. `scratch` makes an empty directory on the same file system,
/// `seed` gives what a new one begins with.
pub fn files(
    engine: &Engine,
    place: BorrowedFd<'_>,
    new: &NewCache,
    scratch: &dyn Fn() -> Result<PathBuf>,
    seed: &mut dyn FnMut(&Path) -> Result<Option<OwnedFd>>,
) -> Result<(OwnedFd, Vec<String>)> {
    let place = here(place)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let files = || open_beneath(&place, MOUNT_FILES.as_bytes(), flags, Mode::empty());
    let mut warnings = Vec::new();
    let found = match files() {
        Err(Errno::NOENT) => {
            let made;
            (made, warnings) = make(engine, new, &scratch()?, seed).context("make its files")?;
            let to = MOUNT_FILES;
            match renameat_with(CWD, &made, &place, to, RenameFlags::NOREPLACE) {
                // Another step was quicker.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error).context("rename its files into place"),
            }
            files()
        }
        found => found,
    };
    Ok((found.context("open its files")?, warnings))
}

fn make(
    engine: &Engine,
    new: &NewCache,
    scratch: &Path,
    seed: &mut dyn FnMut(&Path) -> Result<Option<OwnedFd>>,
) -> Result<(PathBuf, Vec<String>)> {
    let make = |name: &str| {
        let path = scratch.join(name);
        std::fs::create_dir(&path).with_context(|| format!("create `{}`", path.display()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = openat(CWD, &path, flags, Mode::empty());
        let open = open.with_context(|| format!("open `{}`", path.display()))?;
        Ok::<_, anyhow::Error>((path, open))
    };
    let (path, files) = make(MOUNT_FILES)?;
    let mut usual = Access {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let mut warnings = Vec::new();
    let (begin, _) = make("seed")?;
    if let Some(seed) = seed(&begin)? {
        let (_, links) = make("links")?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let seed = openat(&seed, ".", flags, Mode::empty()).context("open what it begins with")?;
        let owner = |found| found;
        let copier = Copier::new(links.as_fd(), &owner);
        warnings = copier.directory(seed.as_fd(), files.as_fd())?;
        let found = fstat(&files).context("fstat")?;
        usual = Access::of(&found);
    }
    let access = Access {
        mode: new.mode.unwrap_or(usual.mode),
        uid: new.uid.unwrap_or(usual.uid),
        gid: new.gid.unwrap_or(usual.gid),
    };
    give(engine, files.as_fd(), access)?;
    Ok((path, warnings))
}
