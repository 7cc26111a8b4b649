//! How much a container has written: the files of its overlay's upper directory (`ps --size`). Not the layers
//! below, which belong to images.

use super::engine::Engine;
use super::record::Directory;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of the regular files that the container has made or changed, hard links counted once. An ordinary
/// user must be in the user namespace of the store.
pub fn written(engine: &Engine, id: &str) -> Result<u64> {
    sum(
        &Directory::of(engine, id).file("upper"),
        &mut BTreeSet::new(),
    )
}

/// What vanishes meanwhile counts nothing: the container may be running.
fn sum(directory: &Path, seen: &mut BTreeSet<(u64, u64)>) -> Result<u64> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries.with_context(|| format!("read `{}`", directory.display()))?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.with_context(|| format!("read `{}`", directory.display()))?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata.with_context(|| format!("stat `{}`", entry.path().display()))?,
        };
        if metadata.is_dir() {
            bytes += sum(&entry.path(), seen)?;
        } else if metadata.is_file()
            && (metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())))
        {
            bytes += metadata.len();
        }
    }
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
        assert_eq!(sum(directory.path(), &mut BTreeSet::new()).unwrap(), 100);
        assert_eq!(sum(&path("missing"), &mut BTreeSet::new()).unwrap(), 0);
    }
}
