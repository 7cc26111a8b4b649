//! Where builds keep what later ones use again; the table of [`super`] says what guards it.

use super::Paths;
use std::path::{Path, PathBuf};

impl Paths {
    /// Digests of the files of build contexts.
    pub fn build_digests(&self) -> PathBuf {
        self.data.join("build").join("digests")
    }

    /// What builds have downloaded.
    pub fn build_downloads(&self) -> PathBuf {
        self.data.join("build").join("downloads")
    }

    /// What steps of builds came to.
    pub fn build_records(&self) -> PathBuf {
        self.data.join("build").join("cache")
    }

    /// Taken by who takes a step of a build.
    pub fn build_locks(&self) -> PathBuf {
        self.data.join("build").join("locks")
    }

    /// The directories of cache mounts.
    pub fn build_mounts(&self) -> PathBuf {
        self.data.join("build").join("mounts")
    }
}

/// In the place of a cache mount: its files.
pub const MOUNT_FILES: &str = "files";

/// The files of a cache mount.
pub fn mount_data_in(mount: &Path) -> PathBuf {
    mount.join(MOUNT_FILES)
}

/// What is known of a cache mount.
pub fn mount_record_in(mount: &Path) -> PathBuf {
    mount.join("mount.json")
}
