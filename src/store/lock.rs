//! Locks by flock(2): they belong to an open file and die with the last process that holds it, so none is
//! ever left behind.

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Proves that nobody else holds the lock of that path exclusively.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits until the lock is ours alone; the file is made for it.
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::wait(open(path)?, path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody holds it exclusively; others may share it.
    pub fn shared(path: &Path) -> Result<Self> {
        Self::wait(open(path)?, path, FlockOperation::LockShared)
    }

    /// Waits until an existing directory is ours alone.
    pub fn directory(path: &Path) -> Result<Self> {
        Self::wait(open_directory(path)?, path, FlockOperation::LockExclusive)
    }

    /// Likewise, `None` when somebody else holds it.
    pub fn try_directory(path: &Path) -> Result<Option<Self>> {
        let operation = FlockOperation::NonBlockingLockExclusive;
        Self::attempt(open_directory(path)?, path, operation)
    }

    /// Waits until nobody has an existing directory for himself; others may share it.
    pub fn shared_directory(path: &Path) -> Result<Self> {
        Self::wait(open_directory(path)?, path, FlockOperation::LockShared)
    }

    /// Likewise, `None` when somebody has it for himself.
    pub fn try_shared_directory(path: &Path) -> Result<Option<Self>> {
        let operation = FlockOperation::NonBlockingLockShared;
        Self::attempt(open_directory(path)?, path, operation)
    }

    /// Whether the path still leads to what is locked: it may have been removed while this waited.
    pub fn is_of(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (held, found) = (self.file.metadata(), std::fs::metadata(path));
        let is_same = |held: &std::fs::Metadata, found: &std::fs::Metadata| {
            (held.dev(), held.ino()) == (found.dev(), found.ino())
        };
        matches!((held, found), (Ok(held), Ok(found)) if is_same(&held, &found))
    }

    /// Makes a file whose lock is ours alone from the start, unless somebody is quicker.
    pub fn try_make(path: &Path) -> Result<Option<Self>> {
        let made = Self::attempt(open(path)?, path, FlockOperation::NonBlockingLockExclusive)?;
        // A sweeper may have taken it away between the two calls.
        Ok(made.filter(|_| path.exists()))
    }

    /// The lock of a file that is there, `None` when it is gone or somebody else holds it.
    pub fn try_file(path: &Path) -> Result<Option<Self>> {
        // NFS wants it open for writing to give it to one alone (flock(2), "NFS details").
        match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            file => {
                let file = file.with_context(|| format!("open `{}`", path.display()))?;
                Self::attempt(file, path, FlockOperation::NonBlockingLockExclusive)
            }
        }
    }

    /// Likewise for a file, to be shared with others.
    pub fn try_shared(path: &Path) -> Result<Option<Self>> {
        Self::attempt(open(path)?, path, FlockOperation::NonBlockingLockShared)
    }

    /// Whether somebody holds the lock of a file or directory exclusively at this moment. One that is not there is
    /// held by nobody.
    pub fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else {
            return false;
        };
        matches!(
            Self::attempt(file, path, FlockOperation::NonBlockingLockShared),
            Ok(None)
        )
    }

    /// The lock of an open file, to be shared with others; `None` when somebody has it for himself.
    pub fn try_share(file: File, path: &Path) -> Result<Option<Self>> {
        Self::attempt(file, path, FlockOperation::NonBlockingLockShared)
    }

    /// The lock of a file that nobody else can have yet.
    pub fn of_new(file: File, path: &Path) -> Result<Self> {
        Self::wait(file, path, FlockOperation::LockExclusive)
    }

    fn attempt(file: File, path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("lock `{}`", path.display())),
        }
    }

    fn wait(file: File, path: &Path, operation: FlockOperation) -> Result<Self> {
        loop {
            match flock(&file, operation) {
                Err(Errno::INTR) => {}
                result => {
                    result.with_context(|| format!("lock `{}`", path.display()))?;
                    return Ok(Self { file });
                }
            }
        }
    }

    /// A lock that was handed over by the process that took it.
    pub fn inherited(descriptor: OwnedFd) -> Self {
        Self {
            file: descriptor.into(),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    options
        .open(path)
        .with_context(|| format!("open lock `{}`", path.display()))
}

fn open_directory(path: &Path) -> Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, path, flags, Mode::empty());
    Ok(opened
        .with_context(|| format!("open `{}`", path.display()))?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_while_it_lives() {
        let directory = tempfile::tempdir().unwrap();
        let held = Lock::directory(directory.path()).unwrap();
        assert!(Lock::try_directory(directory.path()).unwrap().is_none());
        drop(held);
        assert!(Lock::try_directory(directory.path()).unwrap().is_some());
        assert!(Lock::try_directory(&directory.path().join("none")).is_err());
        let path = directory.path().join("file");
        let shared = (Lock::shared(&path).unwrap(), Lock::shared(&path).unwrap());
        assert!(!Lock::is_held(&path) && Lock::try_shared(&path).unwrap().is_some());
        drop(shared);
        let _alone = Lock::exclusive(&path).unwrap();
        assert!(Lock::is_held(&path) && Lock::try_shared(&path).unwrap().is_none());
    }
}
