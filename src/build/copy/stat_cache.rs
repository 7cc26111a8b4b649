//! What files of a context had for a digest when they were last read, by what fstat(2) says of them. As git's index, an
//! entry is worth something only if the file was not changed again within the same tick of the clock (racy-git.txt).
//!
//! Nothing needs it: a cache that is damaged or gone is an empty one.

use super::selection::{Entry, Time, changed, modified};
use crate::store::atomic::{self, Durability};
use anyhow::{Context, Result};
use rustix::fs::Stat;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"digests1";
/// Length of an entry in the file.
const LENGTH: usize = 84;
/// Times move on at least that often, where they are kept in nanoseconds (a tick of the slowest kernel is 10 ms).
const TICK: Duration = Duration::from_millis(20);
/// And where they are not (FAT has two seconds).
const COARSE_TICK: Duration = Duration::from_secs(2);
/// Entries that nobody has asked for are kept so many days.
const DAYS: u32 = 30;

/// A file at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    device: u64,
    inode: u64,
    size: u64,
    modified: Time,
    changed: Time,
}

impl Key {
    fn of(found: &Stat) -> Self {
        Self {
            device: found.st_dev,
            inode: found.st_ino,
            size: found.st_size as u64,
            modified: modified(found),
            changed: changed(found),
        }
    }

    fn of_entry(entry: &Entry) -> Self {
        Self {
            device: entry.identity.0,
            inode: entry.identity.1,
            size: entry.size,
            modified: entry.modified,
            changed: entry.changed,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    digest: [u8; 32],
    /// The day since 1970 when it was last asked for.
    used: u32,
}

/// Digests of files of one directory.
#[derive(Debug, Default)]
pub struct StatCache {
    path: PathBuf,
    known: HashMap<Key, Known>,
    has_new: bool,
    today: u32,
}

impl StatCache {
    /// Reads it.
    pub fn open(path: &Path) -> Self {
        let known = std::fs::read(path).ok().and_then(|bytes| parse(&bytes));
        Self {
            path: path.to_owned(),
            known: known.unwrap_or_default(),
            has_new: false,
            today: today(),
        }
    }

    /// The digest of a file, if nothing has happened to it since.
    pub fn find(&mut self, entry: &Entry) -> Option<[u8; 32]> {
        let known = self.known.get_mut(&Key::of_entry(entry))?;
        known.used = self.today;
        Some(known.digest)
    }

    /// Remembers one that was read after the time `begun`, unless the file may be changed once more without a trace.
    pub fn remember(&mut self, found: &Stat, digest: [u8; 32], begun: SystemTime) {
        let key = Key::of(found);
        let tick = match (key.modified.1, key.changed.1) {
            (0, 0) => COARSE_TICK,
            _ => TICK,
        };
        let last = key.modified.max(key.changed);
        let Ok(seconds) = u64::try_from(last.0) else {
            return;
        };
        let last = UNIX_EPOCH + Duration::new(seconds, last.1);
        if last + tick < begun {
            let used = self.today;
            self.known.insert(key, Known { digest, used });
            self.has_new = true;
        }
    }

    /// Writes it if there is something new.
    pub fn save(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.has_new) {
            return Ok(());
        }
        let oldest = self.today.saturating_sub(DAYS);
        self.known.retain(|_, known| known.used >= oldest);
        let mut bytes = Vec::with_capacity(MAGIC.len() + self.known.len() * LENGTH);
        bytes.extend_from_slice(MAGIC);
        for (key, known) in &self.known {
            for number in [key.device, key.inode, key.size] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for (seconds, nanoseconds) in [key.modified, key.changed] {
                bytes.extend_from_slice(&seconds.to_le_bytes());
                bytes.extend_from_slice(&nanoseconds.to_le_bytes());
            }
            bytes.extend_from_slice(&known.digest);
            bytes.extend_from_slice(&known.used.to_le_bytes());
        }
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("create `{}`", directory.display()))?;
        }
        atomic::write(&self.path, &bytes, Durability::Volatile)
    }
}

fn today() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| (now.as_secs() / 86_400) as u32)
}

fn parse(bytes: &[u8]) -> Option<HashMap<Key, Known>> {
    let entries = bytes.strip_prefix(MAGIC)?;
    if entries.len() % LENGTH != 0 {
        return None;
    }
    let mut known = HashMap::with_capacity(entries.len() / LENGTH);
    for entry in entries.chunks_exact(LENGTH) {
        let number = |at: usize| Some(u64::from_le_bytes(entry[at..at + 8].try_into().ok()?));
        let word = |at: usize| Some(u32::from_le_bytes(entry[at..at + 4].try_into().ok()?));
        let key = Key {
            device: number(0)?,
            inode: number(8)?,
            size: number(16)?,
            modified: (number(24)? as i64, word(32)?),
            changed: (number(36)? as i64, word(44)?),
        };
        let digest = entry[48..80].try_into().ok()?;
        known.insert(
            key,
            Known {
                digest,
                used: word(80)?,
            },
        );
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::stat;

    fn find(cache: &mut StatCache, found: &Stat) -> Option<[u8; 32]> {
        let entry = Entry {
            path: Box::default(),
            skip: 0,
            kind: super::super::selection::Kind::File,
            mode: 0,
            owner: (0, 0),
            size: found.st_size as u64,
            modified: modified(found),
            changed: changed(found),
            identity: (found.st_dev, found.st_ino),
            content: None,
            xattrs: Vec::new(),
        };
        cache.find(&entry)
    }

    #[test]
    fn files_are_known_until_they_are_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = (directory.path().join("a/cache"), directory.path().join("f"));
        std::fs::write(&file, "one").unwrap();
        let found = stat(&file).unwrap();
        let mut cache = StatCache::open(&path);
        // Read in the tick in which it was written: the next write may leave the same times.
        cache.remember(&found, [1; 32], SystemTime::now());
        assert_eq!(find(&mut cache, &found), None);
        let later = SystemTime::now() + Duration::from_secs(3);
        cache.remember(&found, [1; 32], later);
        assert_eq!(find(&mut cache, &found), Some([1; 32]));
        cache.save().unwrap();
        assert_eq!(find(&mut StatCache::open(&path), &found), Some([1; 32]));
        std::fs::write(&file, "two").unwrap();
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9))
            .unwrap();
        assert_eq!(
            find(&mut StatCache::open(&path), &stat(&file).unwrap()),
            None
        );
        for damage in [&b""[..], b"digests1x", b"other"] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(find(&mut StatCache::open(&path), &found), None);
        }
    }
}
