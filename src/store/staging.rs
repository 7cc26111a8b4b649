//! Half-made things: a directory that a live lock owns. Its maker renames parts of it into place when they
//! are whole; whatever a killed maker leaves is swept by the next command that finds the lock free.

use super::{id, lock::Lock, tree};
use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A directory below `staging/`, removed with all it holds when dropped.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    _lock: Lock,
}

impl Staging {
    /// Makes one below `parent` (the store's staging directory), making `parent` too.
    pub fn new(parent: &Path) -> Result<Self> {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("create `{}`", parent.display()))?;
        loop {
            let path = parent.join(id::random_hex(16)?);
            std::fs::create_dir(&path).with_context(|| format!("create `{}`", path.display()))?;
            // A sweeper may take the lock, and the directory, between the two calls.
            match Lock::try_directory(&path) {
                Ok(Some(lock)) if path.exists() => {
                    return Ok(Self { path, _lock: lock });
                }
                Err(error) if path.exists() => return Err(error),
                _ => {}
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now is swept later.
        let _ = tree::remove(&self.path);
    }
}

/// Directories that are no longer wanted: each becomes one below `staging/`, out of sight at once, and its files go when
/// this is dropped. Nothing is made for it, so that things can be removed from a disk that is full.
#[derive(Debug)]
pub struct Trash {
    parent: PathBuf,
    discarded: Vec<(PathBuf, Option<Lock>)>,
}

impl Trash {
    /// For the store with that staging directory.
    pub fn new(parent: PathBuf) -> Self {
        Self {
            parent,
            discarded: Vec::new(),
        }
    }

    /// Takes a directory away; it is gone for good once that in which it was is synchronized.
    pub fn discard(&mut self, directory: &Path) -> Result<()> {
        // Without it a sweeper may be quicker, which does no harm.
        let lock = Lock::try_directory(directory).ok().flatten();
        self.take(directory, lock)
    }

    /// Likewise, unless somebody holds the lock of the directory, which the answer tells.
    pub fn discard_unless_held(&mut self, directory: &Path) -> Result<bool> {
        match Lock::try_directory(directory)? {
            Some(lock) => self.take(directory, Some(lock)).map(|()| true),
            None => Ok(false),
        }
    }

    fn take(&mut self, directory: &Path, lock: Option<Lock>) -> Result<()> {
        let context = || format!("remove `{}`", directory.display());
        let path = self.parent.join(id::random_hex(16)?);
        std::fs::create_dir_all(&self.parent).with_context(context)?;
        std::fs::rename(directory, &path).with_context(context)?;
        self.discarded.push((path, lock));
        Ok(())
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        for (path, _lock) in &self.discarded {
            // What cannot be removed now is swept later.
            let _ = tree::remove(path);
        }
    }
}

/// So long a command that is about something else removes what others have left; the rest goes with the next ones.
const BRIEFLY: Duration = Duration::from_millis(250);

/// Removes what dead makers left below `parent`, as far as that is quick.
pub fn sweep(parent: &Path) -> Result<()> {
    sweep_briefly(parent, &mut |path, until| remove(path, Some(until)))
}

/// Likewise; `remove` does it, until that time, while the lock is held.
pub fn sweep_briefly(
    parent: &Path,
    remove: &mut dyn FnMut(&Path, Instant) -> Result<()>,
) -> Result<()> {
    let until = Instant::now() + BRIEFLY;
    match sweep_by(parent, &mut |path| remove(path, until)) {
        Err(_) if Instant::now() >= until => Ok(()),
        swept => swept,
    }
}

/// Removes all that dead makers left below `parent`; `remove` does it, while the lock is held.
pub fn sweep_by(parent: &Path, remove: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    let entries = match std::fs::read_dir(parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read `{}`", parent.display()))?,
    };
    for entry in entries {
        let path = entry
            .with_context(|| format!("read `{}`", parent.display()))?
            .path();
        if let Ok(Some(_lock)) = Lock::try_directory(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(path: &Path, until: Option<Instant>) -> Result<()> {
    match tree::remove_until(path, until) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes one if its maker is dead.
pub fn sweep_one(path: &Path) -> Result<()> {
    match Lock::try_directory(path) {
        Ok(Some(_lock)) => remove(path, None),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_discarded_goes_when_the_trash_does() {
        let directory = tempfile::tempdir().unwrap();
        let (parent, old) = (
            directory.path().join("staging"),
            directory.path().join("old"),
        );
        std::fs::create_dir(&old).unwrap();
        std::fs::write(old.join("file"), b"x").unwrap();
        let mut trash = Trash::new(parent.clone());
        trash.discard(&old).unwrap();
        sweep(&parent).unwrap();
        assert!(!old.exists() && std::fs::read_dir(&parent).unwrap().count() == 1);
        drop(trash);
        assert!(std::fs::read_dir(&parent).unwrap().count() == 0);
    }

    #[test]
    fn sweep_takes_only_what_nobody_owns() {
        let directory = tempfile::tempdir().unwrap();
        let live = Staging::new(directory.path()).unwrap();
        let dead = directory.path().join("dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join("file"), b"x").unwrap();
        sweep(directory.path()).unwrap();
        assert!(live.path().exists() && !dead.exists());
        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }
}
