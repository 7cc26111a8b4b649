//! What files of a context had for a digest when they were last read, by what fstat(2) says of them. As git's index, an
//! entry is worth something only if the file was not changed again within the same tick of the clock (racy-git.txt).
//!
//! ```text
//! MAGIC, then records in the order of their keys, numbers big-endian:
//! device 8  inode 8  size 8  modified 8+4  changed 8+4 │ digest 32 │ day of its last use 4
//! └────────────────────── key ───────────────────────┘
//! ```
//!
//! They are searched as they lie in the file, so that a large one takes no longer than to read it. Nothing needs it: a
//! cache that is damaged or gone is an empty one.

use super::selection::{Entry, Kind};
use crate::store::atomic::{self, Durability};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"digests2";
/// Times move on at least that often, where they are kept in nanoseconds (a tick of the slowest kernel is 10 ms).
const TICK: Duration = Duration::from_millis(20);
/// And where they are not (FAT has two seconds).
const COARSE_TICK: Duration = Duration::from_secs(2);
/// Entries that nobody has asked for are kept so many days.
const DAYS: u32 = 30;
/// The day of the last use is not written anew before that many.
const REFRESH_DAYS: u32 = 7;

const KEY: usize = 48;
const DIGEST: usize = 32;

/// A file at a time, and what it had for a digest.
type Record = [u8; KEY + DIGEST + 4];

/// Digests of files of one directory.
#[derive(Debug, Default)]
pub struct StatCache {
    path: PathBuf,
    /// As they are in the file.
    records: Vec<Record>,
    /// Something was found whose last use is long ago.
    is_old: AtomicBool,
    is_changed: bool,
    today: u32,
}

impl StatCache {
    /// Reads it.
    pub fn open(path: &Path) -> Self {
        let records = std::fs::read(path).ok().and_then(|bytes| {
            let (records, rest) = bytes.strip_prefix(MAGIC)?.as_chunks();
            rest.is_empty().then(|| records.to_vec())
        });
        Self {
            path: path.to_owned(),
            records: records.unwrap_or_default(),
            today: today(),
            ..Self::default()
        }
    }

    /// The digest of a file, if nothing has happened to it since.
    pub fn find(&self, entry: &Entry) -> Option<[u8; DIGEST]> {
        let record = &self.records[self.position(&key(entry)).ok()?];
        let (digest, used) = record[KEY..].split_first_chunk()?;
        let used = u32::from_be_bytes(used.try_into().ok()?);
        if used.saturating_add(REFRESH_DAYS) < self.today {
            self.is_old.store(true, Ordering::Relaxed);
        }
        Some(*digest)
    }

    fn position(&self, key: &[u8; KEY]) -> Result<usize, usize> {
        let file = file(key);
        self.records.binary_search_by(|record| {
            let other = self::file(record).cmp(&file);
            other.then_with(|| record[..KEY].cmp(key))
        })
    }

    /// Whether something was found that will be forgotten soon.
    pub fn is_old(&self) -> bool {
        self.is_old.load(Ordering::Relaxed)
    }

    /// Remembers files whose digests were found here, or taken after the time `begun`, but for those which may be
    /// changed once more without a trace; forgets what has not been used for long.
    pub fn remember<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>, begun: SystemTime) {
        let files = entries.filter(|entry| entry.kind == Kind::File && is_settled(entry, begun));
        let mut records: Vec<Record> = files
            .filter_map(|entry| Some(record(entry, &entry.content?, self.today)))
            .collect();
        records.sort_unstable();
        records.dedup_by(|one, other| one[..KEY] == other[..KEY]);
        let oldest = self.today.saturating_sub(DAYS).to_be_bytes();
        self.records.retain(|record| {
            let is_renewed = records.binary_search_by_key(&file(record), |new| file(new));
            record[KEY + DIGEST..] >= oldest[..] && is_renewed.is_err()
        });
        records.append(&mut self.records);
        records.sort_unstable();
        self.records = records;
        self.is_old = AtomicBool::new(false);
        self.is_changed = true;
    }

    /// Writes it if there is something new.
    pub fn save(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("create `{}`", directory.display()))?;
        }
        let bytes = [MAGIC, self.records.as_flattened()].concat();
        atomic::write(&self.path, &bytes, Durability::Volatile)
    }
}

fn today() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| (now.as_secs() / 86_400) as u32)
}

/// Whether a change after the time `begun` would be seen in its times.
fn is_settled(entry: &Entry, begun: SystemTime) -> bool {
    let tick = match (entry.modified.1, entry.changed.1) {
        (0, 0) => COARSE_TICK,
        _ => TICK,
    };
    let last = entry.modified.max(entry.changed);
    let Ok(seconds) = u64::try_from(last.0) else {
        return false;
    };
    let last = UNIX_EPOCH.checked_add(Duration::new(seconds, last.1) + tick);
    last.is_some_and(|last| last < begun)
}

fn key(entry: &Entry) -> [u8; KEY] {
    let mut key = [0; KEY];
    let numbers = [entry.identity.0, entry.identity.1, entry.size];
    for (place, number) in key.chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    for (place, time) in key[24..]
        .chunks_exact_mut(12)
        .zip([entry.modified, entry.changed])
    {
        place[..8].copy_from_slice(&time.0.to_be_bytes());
        place[8..].copy_from_slice(&time.1.to_be_bytes());
    }
    key
}

/// Device and inode.
fn file(key: &[u8]) -> u128 {
    key.first_chunk()
        .map_or(0, |file| u128::from_be_bytes(*file))
}

fn record(entry: &Entry, digest: &[u8; DIGEST], day: u32) -> Record {
    let mut record = [0; KEY + DIGEST + 4];
    record[..KEY].copy_from_slice(&key(entry));
    record[KEY..KEY + DIGEST].copy_from_slice(digest);
    record[KEY + DIGEST..].copy_from_slice(&day.to_be_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::super::selection::{changed, modified};
    use super::*;
    use rustix::fs::{Stat, stat};

    fn entry(found: &Stat) -> Entry {
        Entry {
            path: Box::default(),
            skip: 0,
            kind: Kind::File,
            mode: 0,
            owner: (0, 0),
            size: found.st_size as u64,
            modified: modified(found),
            changed: changed(found),
            identity: (found.st_dev, found.st_ino),
            content: Some([1; 32]),
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn files_are_known_until_they_are_changed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, file) = (directory.path().join("a/cache"), directory.path().join("f"));
        std::fs::write(&file, "one").unwrap();
        let found = entry(&stat(&file).unwrap());
        let mut cache = StatCache::open(&path);
        // Read in the tick in which it was written: the next write may leave the same times.
        cache.remember([&found].into_iter(), SystemTime::now());
        assert_eq!(cache.find(&found), None);
        let later = SystemTime::now() + Duration::from_secs(3);
        cache.remember([&found].into_iter(), later);
        assert_eq!(cache.find(&found), Some([1; 32]));
        cache.save().unwrap();
        assert_eq!(StatCache::open(&path).find(&found), Some([1; 32]));
        std::fs::write(&file, "two").unwrap();
        std::fs::File::open(&file)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(9))
            .unwrap();
        let changed = entry(&stat(&file).unwrap());
        assert_eq!(StatCache::open(&path).find(&changed), None);
        for damage in [&b""[..], b"digests2x", b"other"] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(StatCache::open(&path).find(&found), None);
        }
    }

    #[test]
    fn every_part_of_a_key_tells_files_apart() {
        let directory = tempfile::tempdir().unwrap();
        let found = entry(&stat(directory.path()).unwrap());
        let mut cache = StatCache::open(&directory.path().join("cache"));
        let later = SystemTime::now() + Duration::from_secs(3);
        cache.remember([&found].into_iter(), later);
        let changes: [fn(&mut Entry); 7] = [
            |entry| entry.identity.0 += 1,
            |entry| entry.identity.1 += 1,
            |entry| entry.size += 1,
            |entry| entry.modified.0 += 1,
            |entry| entry.modified.1 ^= 1,
            |entry| entry.changed.0 += 1,
            |entry| entry.changed.1 ^= 1,
        ];
        let others = changes.map(|change| {
            let mut other = found.clone();
            change(&mut other);
            other.content = Some([2; 32]);
            other
        });
        assert!(others.iter().all(|other| cache.find(other).is_none()));
        cache.remember(others.iter(), later);
        assert!(
            others
                .iter()
                .all(|other| cache.find(other) == other.content)
        );
        // What the same file was earlier it will never be again.
        assert_eq!(cache.find(&found), None);
    }

    #[test]
    fn what_is_used_is_kept_and_the_rest_goes_after_a_month() {
        let directory = tempfile::tempdir().unwrap();
        let first = entry(&stat(directory.path()).unwrap());
        let second = Entry {
            identity: (first.identity.0, first.identity.1 + 1),
            ..first.clone()
        };
        let path = directory.path().join("cache");
        let mut cache = StatCache::open(&path);
        let later = SystemTime::now() + Duration::from_secs(3);
        cache.remember([&first, &second].into_iter(), later);
        cache.today += REFRESH_DAYS;
        assert!(cache.find(&first).is_some() && !cache.is_old());
        cache.today += 1;
        assert!(cache.find(&first).is_some() && cache.is_old());
        cache.remember([&first].into_iter(), later);
        assert!(cache.find(&first).is_some() && !cache.is_old());
        cache.today += DAYS - REFRESH_DAYS;
        cache.remember([&first].into_iter(), later);
        assert!(cache.find(&first).is_some() && cache.find(&second).is_none());
        cache.save().unwrap();
        let kept = std::fs::metadata(&path).unwrap().len();
        assert_eq!(kept as usize, MAGIC.len() + size_of::<Record>());
    }
}
