//! `storage.max-size`: when the images take more of the disk than they may, those that were not used for longest go.
//!
//! When an image was last used is the time of its directory: nothing is written for it but that, at most once a minute.
//!
//! Invariant: an image that a container was made from stays, and one that has just come or was used a moment ago.

use super::digest::Digest;
use super::remove::{self, Removal, Removed, Users};
use super::store::{self, Image};
use crate::paths::Paths;
use crate::store::tree;
use anyhow::{Context, Result};
use rustix::fs::{FileType, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How exactly the last use is known.
const PRECISION: Duration = Duration::from_secs(60);
/// Who brings an image in for a container makes that right after.
const RECENT: Duration = Duration::from_secs(10);

/// Notes that an image is used. One of another store has no such time here.
pub fn note_use(paths: &Paths, id: &Digest) {
    let directory = paths.image(id.hex());
    if last_use(&directory)
        .elapsed()
        .is_ok_and(|age| age > PRECISION)
    {
        // Without it the image only looks older than it is.
        let _ = File::open(directory).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn last_use(image: &Path) -> SystemTime {
    let metadata = std::fs::metadata(image);
    let time = metadata.and_then(|metadata| metadata.modified());
    time.unwrap_or(SystemTime::now())
}

/// What was done about it.
#[derive(Debug)]
pub struct Limited {
    /// Bytes that all images took.
    pub before: u64,
    /// Bytes that they take now.
    pub after: u64,
    /// The images that went.
    pub images: Vec<Image>,
    /// What that came to.
    pub removal: Removal,
}

/// Removes images until the rest takes no more than `max` bytes of the disk, as du(1) counts them; those of `keep` have
/// just come.
pub fn limit(paths: &Paths, max: u64, keep: &[Digest], users: Users) -> Result<Limited> {
    let sizes = sizes(&paths.layers())?;
    let mut limited = Limited {
        before: sizes.values().sum(),
        after: sizes.values().sum(),
        images: Vec::new(),
        removal: Removal::default(),
    };
    if limited.before <= max {
        return Ok(limited);
    }
    for image in choose(paths, &sizes, max, keep, users)? {
        let removal = remove::remove_unused(paths, &image, users)?;
        let is_it = |step: &Removed| matches!(step, Removed::Deleted(id) if *id == image.id);
        if removal.steps.iter().any(is_it) {
            limited.images.push(image);
        }
        limited.removal.add(removal);
    }
    limited.after = self::sizes(&paths.layers())?.values().sum();
    Ok(limited)
}

/// The unused images that are to go, the one that was not used for longest first. One whose layers others need gives
/// nothing back, and stays.
fn choose(
    paths: &Paths,
    sizes: &BTreeMap<String, u64>,
    max: u64,
    keep: &[Digest],
    users: Users,
) -> Result<Vec<Image>> {
    let mut staying = store::list_here(paths)?;
    staying.sort_by_key(|image| last_use(&paths.image(image.id.hex())));
    let mut going = Vec::new();
    let mut index = 0;
    while index < staying.len() && total(&staying, sizes) > max {
        let image = &staying[index];
        let age = last_use(&paths.image(image.id.hex())).elapsed();
        let is_recent = age.unwrap_or_default() < RECENT;
        if is_recent || keep.contains(&image.id) || !users(&image.id)?.is_empty() {
            index += 1;
        } else {
            going.push(staying.remove(index));
        }
    }
    let needed: BTreeSet<&str> = staying.iter().flat_map(keys).collect();
    going.retain(|image| keys(image).any(|key| sizes.contains_key(key) && !needed.contains(key)));
    Ok(going)
}

fn keys(image: &Image) -> impl Iterator<Item = &str> {
    image.layers.iter().map(|name| Paths::layer_key(name))
}

/// Bytes of the layers that some images have together.
fn total(images: &[Image], sizes: &BTreeMap<String, u64>) -> u64 {
    let keys: BTreeSet<&str> = images.iter().flat_map(keys).collect();
    keys.iter().filter_map(|key| sizes.get(*key)).sum()
}

/// Bytes of each layer with all that lies beside it.
fn sizes(layers: &Path) -> Result<BTreeMap<String, u64>> {
    let names = remove::file_names(layers)?.into_iter();
    names
        .map(|name| {
            let bytes = size(&layers.join(&name))?;
            Ok((name, bytes))
        })
        .collect()
}

fn size(directory: &Path) -> Result<u64> {
    let (mut blocks, mut linked) = (0, BTreeSet::new());
    let mut look = |found: &Stat| {
        let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
        if is_directory || found.st_nlink == 1 || linked.insert(found.st_ino) {
            blocks += found.st_blocks.cast_unsigned();
        }
        true
    };
    tree::walk(directory, &mut look).with_context(|| format!("read `{}`", directory.display()))?;
    Ok(blocks * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_noted_once_a_minute() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path(), "");
        let id = Digest::of(b"");
        // What is not here is no error.
        note_use(&paths, &id);
        let image = paths.image(id.hex());
        std::fs::create_dir_all(&image).unwrap();
        let now = SystemTime::now();
        for (age, is_noted) in [(30, false), (90, true)] {
            let time = now - Duration::from_secs(age);
            File::open(&image).unwrap().set_modified(time).unwrap();
            note_use(&paths, &id);
            assert_eq!(last_use(&image) >= now, is_noted, "{age}");
        }
    }
}
