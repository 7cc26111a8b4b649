//! The lock of a step, by its key. Its file goes with its holder.

use crate::image::digest::Digest;
use crate::paths::Paths;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Proves that nobody else does that step at this moment.
#[derive(Debug)]
pub struct StepLock {
    path: PathBuf,
    _lock: Lock,
}

impl StepLock {
    /// `None` while somebody else does it.
    pub fn try_take(paths: &Paths, key: &Digest) -> Result<Option<Self>> {
        let path = paths.build_locks().join(key.hex());
        let lock = Lock::try_make(&path)?.filter(|lock| lock.is_of(&path));
        Ok(lock.map(|lock| Self { path, _lock: lock }))
    }

    /// Removes the files of holders that were killed.
    pub fn sweep(paths: &Paths) -> Result<()> {
        let directory = paths.build_locks();
        let context = || format!("read `{}`", directory.display());
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if let Some(lock) = Lock::try_file(&path)?.filter(|lock| lock.is_of(&path)) {
                drop(Self { path, _lock: lock });
            }
        }
        Ok(())
    }
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // One that stays is swept by a later build.
        let _ = std::fs::remove_file(&self.path);
    }
}
