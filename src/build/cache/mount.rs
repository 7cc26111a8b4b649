//! Directories that outlive builds (`RUN --mount=type=cache`), by the digest of their id, and of what they begin with where that
//! is something.
//!
//! Invariant: one is removed only by who has it for himself ([`Lock`]), and never by a path that a step could have
//! replaced: what a step writes lies below a directory of ours that it does not see.

use crate::build::dockerfile::instruction::Sharing;
use crate::image::digest::Digest;
use crate::paths::{Paths, mount_record_in};
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

/// So many steps have one of their own at the same time, at most.
const MOST_PRIVATE: usize = 1000;

/// One that is in use.
#[derive(Debug)]
pub struct CacheMount {
    /// Its place, in which its files are ([`mount_data_in`](crate::paths::mount_data_in)) once the first step has made them.
    pub directory: OwnedFd,
    _lock: Lock,
}

/// What is known of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MountRecord {
    /// What it is called.
    pub id: String,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it was last used, seconds since 1970.
    pub last_used: Option<i64>,
    /// How often.
    pub uses: u64,
}

impl CacheMount {
    /// Takes the place of that id and that key, making it; `None` while somebody else has it who does not share it.
    pub fn try_take(paths: &Paths, id: &str, key: &str, sharing: Sharing) -> Result<Option<Self>> {
        let key = Digest::of(key.as_bytes()).hex().to_owned();
        match sharing {
            Sharing::Private => {
                for number in 0..MOST_PRIVATE {
                    let name = match number {
                        0 => key.clone(),
                        number => format!("{key}-{number}"),
                    };
                    if let Some(taken) = Self::one(paths, id, &name, false)? {
                        return Ok(Some(taken));
                    }
                }
                Ok(None)
            }
            sharing => Self::one(paths, id, &key, sharing == Sharing::Shared),
        }
    }

    fn one(paths: &Paths, id: &str, name: &str, shares: bool) -> Result<Option<Self>> {
        let place = paths.build_mounts().join(name);
        loop {
            std::fs::create_dir_all(&place)
                .with_context(|| format!("create `{}`", place.display()))?;
            let lock = match shares {
                true => Lock::try_shared_directory(&place),
                false => Lock::try_directory(&place),
            };
            let lock = match lock {
                Ok(Some(lock)) => lock,
                Ok(None) => return Ok(None),
                // Removed in between.
                Err(_) if !place.exists() => continue,
                Err(error) => return Err(error),
            };
            if !lock.is_of(&place) {
                continue;
            }
            note(&place, id)?;
            let directory =
                File::open(&place).with_context(|| format!("open `{}`", place.display()))?;
            return Ok(Some(Self {
                directory: directory.into(),
                _lock: lock,
            }));
        }
    }
}

/// What is known of the one at a place.
pub fn record(place: &Path) -> Option<MountRecord> {
    let bytes = std::fs::read(mount_record_in(place)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn note(place: &Path, id: &str) -> Result<()> {
    let now = Timestamp::now().as_second();
    let mut known = record(place).unwrap_or(MountRecord {
        id: id.to_owned(),
        created: now,
        last_used: None,
        uses: 0,
    });
    known.last_used = Some(now);
    known.uses += 1;
    let bytes = serde_json::to_vec(&known)?;
    atomic::write(&mount_record_in(place), &bytes, Durability::Volatile)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_is_what_its_words_say() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path(), directory.path().join("run"));
        let take = |id: &str, sharing| CacheMount::try_take(&paths, id, id, sharing).unwrap();
        let first = take("a", Sharing::Shared).unwrap();
        assert!(take("a", Sharing::Shared).is_some());
        assert!(take("a", Sharing::Locked).is_none() && take("b", Sharing::Locked).is_some());
        let other = take("a", Sharing::Private).unwrap();
        let inode = |mount: &CacheMount| rustix::fs::fstat(&mount.directory).unwrap().st_ino;
        assert_ne!(inode(&first), inode(&other));
        let first_inode = inode(&first);
        drop(first);
        let alone = take("a", Sharing::Locked).unwrap();
        assert_eq!(inode(&alone), first_inode);
        assert!(take("a", Sharing::Shared).is_none());
        let place = paths.build_mounts().join(Digest::of(b"a").hex());
        assert_eq!(
            record(&place).map(|record| (record.id, record.uses)),
            Some(("a".to_owned(), 3))
        );
    }
}
