//! How much a container has written: the files of its overlay's upper directory (`ps --size`). Not the layers
//! below, which belong to images.

use super::engine::Engine;
use super::record::Directory;
use crate::store::tree;
use anyhow::{Context, Result};
use rustix::fs::{FileType, Stat};
use std::collections::BTreeSet;
use std::path::Path;

/// Bytes of the regular files that the container has made or changed, hard links counted once. An ordinary
/// user must be in the user namespace of the store.
pub fn written(engine: &Engine, id: &str) -> Result<u64> {
    sum(&Directory::of(engine, id).file("upper"))
}

/// Bytes of the regular files in a directory, likewise. A file may claim to be as long as 64 bits allow, and there may be several.
pub(super) fn sum(directory: &Path) -> Result<u64> {
    let (mut bytes, mut seen) = (0_u64, BTreeSet::new());
    let mut look = |found: &Stat| {
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if is_file && (found.st_nlink == 1 || seen.insert((found.st_dev, found.st_ino))) {
            bytes = bytes.saturating_add(found.st_size.cast_unsigned());
        }
        true
    };
    tree::walk(directory, &mut look).with_context(|| format!("read `{}`", directory.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once_and_links_lead_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("d")).unwrap();
        std::fs::write(path("d/a"), [0; 100]).unwrap();
        std::fs::hard_link(path("d/a"), path("b")).unwrap();
        std::os::unix::fs::symlink("/", path("l")).unwrap();
        assert_eq!(sum(directory.path()).unwrap(), 100);
        assert_eq!(sum(&path("missing")).unwrap(), 0);
    }

    #[test]
    fn lengths_without_sense_do_not_overflow() {
        // Not every file system takes such a length.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        for name in ["a", "b", "c"] {
            let file = std::fs::File::create(directory.path().join(name)).unwrap();
            file.set_len(i64::MAX as u64).unwrap();
        }
        assert_eq!(sum(directory.path()).unwrap(), u64::MAX);
    }
}
