//! What was selected: files with all that their layer will say of them, and where their content is. It goes from the
//! process that has selected to the one that writes the layer as a file.
//!
//! Invariant: the digest changes with everything that gets into the layer but times and the destination.

use crate::error::bad_input;
use crate::image::digest::Digest;
use anyhow::{Context, Result};
use rustix::fs::{FileType, MemfdFlags, Stat};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

/// The first bytes of a selection that is handed over.
const MAGIC: &[u8] = b"selection 1\n";

/// Files that are to be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// In the order of the sources.
    pub items: Vec<Item>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// What a source, or a match of a wildcard, stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The last name of the source; what a file is called in a directory.
    pub name: Vec<u8>,
    /// It is a directory, whose content is copied.
    pub is_directory: bool,
    /// Of a directory what is in it, each one after the directory that it is in; else one.
    pub entries: Vec<Entry>,
}

/// When something was changed: seconds since 1970 and nanoseconds.
pub type Time = (i64, u32);

/// Something that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root, without a link on the way.
    pub path: Box<[u8]>,
    /// So many of its first bytes are not seen at the destination.
    pub skip: usize,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes of a regular file.
    pub size: u64,
    /// When its content was changed.
    pub modified: Time,
    /// When anything of it was changed.
    pub changed: Time,
    /// The file system that it lies on, and its number there.
    pub identity: (u64, u64),
    /// Digest of the content of a regular file.
    pub content: Option<[u8; 32]>,
    /// Extended attributes that are copied.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Link(Box<[u8]>),
    /// Another name of the file that is the entry of this number of the same item.
    Same(usize),
    /// A named pipe.
    Fifo,
    /// A device: whether it is one of blocks, its numbers.
    Device(bool, u64),
}

impl Entry {
    /// What the destination sees of its path.
    pub fn relative(&self) -> &[u8] {
        &self.path[self.skip..]
    }

    /// Whether what is found there now is what was selected.
    pub fn is_still(&self, found: &Stat) -> bool {
        self.identity == (found.st_dev, found.st_ino)
            && self.size == size(found)
            && self.modified == modified(found)
            && self.changed == changed(found)
    }
}

/// Bytes of a regular file; 0 of anything else.
pub fn size(found: &Stat) -> u64 {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => found.st_size as u64,
        _ => 0,
    }
}

/// When the content was changed.
pub fn modified(found: &Stat) -> Time {
    (found.st_mtime, found.st_mtime_nsec as u32)
}

/// When anything was changed.
pub fn changed(found: &Stat) -> Time {
    (found.st_ctime, found.st_ctime_nsec as u32)
}

impl Selection {
    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.items.iter().flat_map(|item| &item.entries)
    }

    /// How many bytes their files have.
    pub fn size(&self) -> u64 {
        self.entries().map(|entry| entry.size).sum()
    }

    /// When the newest of them was changed, in seconds since 1970. Of directories only if there is nothing else:
    /// whatever is made in one and not selected changes its time.
    pub fn newest(&self) -> i64 {
        let newest = |directories: bool| {
            let entries = self.entries();
            let entries = entries.filter(move |entry| directories || entry.kind != Kind::Directory);
            entries.map(|entry| entry.modified.0).max()
        };
        newest(false).or_else(|| newest(true)).unwrap_or(0)
    }

    /// Of contents, modes, owners, names, links and attributes.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        let mut record = Vec::new();
        for item in &self.items {
            record.clear();
            put(&mut record, &item.name);
            record.push(u8::from(item.is_directory));
            put_number(&mut record, item.entries.len() as u64);
            hasher.update(&record);
            for entry in &item.entries {
                record.clear();
                let name = entry.relative();
                put(&mut record, if item.is_directory { name } else { b"" });
                put_kind(&mut record, &entry.kind);
                put_attributes(&mut record, entry);
                hasher.update(&record);
            }
        }
        Digest::from_hasher(hasher)
    }

    /// As a file that can be handed to another process.
    pub fn to_file(&self) -> Result<OwnedFd> {
        let mut bytes = MAGIC.to_vec();
        put_number(&mut bytes, self.items.len() as u64);
        for item in &self.items {
            put(&mut bytes, &item.name);
            bytes.push(u8::from(item.is_directory));
            put_number(&mut bytes, item.entries.len() as u64);
            for entry in &item.entries {
                put(&mut bytes, &entry.path);
                put_number(&mut bytes, entry.skip as u64);
                put_kind(&mut bytes, &entry.kind);
                put_attributes(&mut bytes, entry);
                for number in [entry.identity.0, entry.identity.1, entry.size] {
                    put_number(&mut bytes, number);
                }
                for (seconds, nanoseconds) in [entry.modified, entry.changed] {
                    put_number(&mut bytes, seconds as u64);
                    put_number(&mut bytes, u64::from(nanoseconds));
                }
            }
        }
        let file = rustix::fs::memfd_create("selection", MemfdFlags::CLOEXEC);
        let mut file = File::from(file.context("memfd_create")?);
        file.write_all(&bytes).context("write the selection")?;
        Ok(file.into())
    }

    /// Reads it again.
    pub fn from_file(file: impl AsFd) -> Result<Self> {
        let mut file = File::from(file.as_fd().try_clone_to_owned().context("dup")?);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .context("read the selection")?;
        let mut reader = Reader(&bytes);
        if reader.bytes(MAGIC.len())? != MAGIC {
            return Err(damaged().into());
        }
        let mut items = Vec::new();
        for _ in 0..reader.number()? {
            let name = reader.text()?.to_vec();
            let is_directory = reader.bytes(1)? != [0];
            let count = reader.number()?;
            let mut entries = Vec::with_capacity(usize::try_from(count)?.min(bytes.len() / 64));
            for _ in 0..count {
                entries.push(reader.entry()?);
            }
            items.push(Item {
                name,
                is_directory,
                entries,
            });
        }
        Ok(Self {
            items,
            warnings: Vec::new(),
        })
    }
}

fn damaged() -> crate::error::Error {
    bad_input("the list of selected files is damaged")
}

fn put_number(bytes: &mut Vec<u8>, number: u64) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text);
}

fn put_kind(bytes: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::File => bytes.push(0),
        Kind::Directory => bytes.push(1),
        Kind::Link(target) => {
            bytes.push(2);
            put(bytes, target);
        }
        Kind::Same(first) => {
            bytes.push(3);
            put_number(bytes, *first as u64);
        }
        Kind::Fifo => bytes.push(4),
        Kind::Device(is_block, number) => {
            bytes.push(if *is_block { 6 } else { 5 });
            put_number(bytes, *number);
        }
    }
}

fn put_attributes(bytes: &mut Vec<u8>, entry: &Entry) {
    for number in [entry.mode, entry.owner.0, entry.owner.1] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.push(u8::from(entry.content.is_some()));
    bytes.extend_from_slice(entry.content.as_ref().map_or(&[], |content| &content[..]));
    put_number(bytes, entry.xattrs.len() as u64);
    for (key, value) in &entry.xattrs {
        put(bytes, key);
        put(bytes, value);
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(8)?.try_into()?))
    }

    fn word(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into()?))
    }

    fn text(&mut self) -> Result<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length)?)
    }

    fn time(&mut self) -> Result<Time> {
        Ok((self.number()? as i64, u32::try_from(self.number()?)?))
    }

    fn kind(&mut self) -> Result<Kind> {
        Ok(match self.bytes(1)?[0] {
            0 => Kind::File,
            1 => Kind::Directory,
            2 => Kind::Link(self.text()?.into()),
            3 => Kind::Same(usize::try_from(self.number()?)?),
            4 => Kind::Fifo,
            block @ (5 | 6) => Kind::Device(block == 6, self.number()?),
            _ => return Err(damaged().into()),
        })
    }

    fn entry(&mut self) -> Result<Entry> {
        let path: Box<[u8]> = self.text()?.into();
        let skip = usize::try_from(self.number()?)?;
        if skip > path.len() {
            return Err(damaged().into());
        }
        let kind = self.kind()?;
        let (mode, owner) = (self.word()?, (self.word()?, self.word()?));
        let content = match self.bytes(1)? {
            [0] => None,
            _ => Some(self.bytes(32)?.try_into()?),
        };
        let mut xattrs = Vec::new();
        for _ in 0..self.number()? {
            xattrs.push((self.text()?.to_vec(), self.text()?.to_vec()));
        }
        let identity = (self.number()?, self.number()?);
        let size = self.number()?;
        Ok(Entry {
            path,
            skip,
            kind,
            mode,
            owner,
            size,
            modified: self.time()?,
            changed: self.time()?,
            identity,
            content,
            xattrs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection() -> Selection {
        let entry = |path: &str, kind| Entry {
            path: path.as_bytes().into(),
            skip: 4,
            kind,
            mode: 0o644,
            owner: (1, 2),
            size: 3,
            modified: (-4, 5),
            changed: (6, 7),
            identity: (8, 9),
            content: None,
            xattrs: vec![(b"user.a".to_vec(), b"b".to_vec())],
        };
        let file = Entry {
            content: Some([7; 32]),
            ..entry("src/file", Kind::File)
        };
        let entries = vec![
            file,
            entry("src/dir", Kind::Directory),
            entry("src/link", Kind::Link(b"../x".as_slice().into())),
            entry("src/same", Kind::Same(0)),
            entry("src/pipe", Kind::Fifo),
            entry("src/device", Kind::Device(true, 77)),
        ];
        let item = Item {
            name: b"src".to_vec(),
            is_directory: true,
            entries,
        };
        Selection {
            items: vec![item],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn what_is_handed_over_is_the_same_on_the_other_side() {
        let selection = selection();
        let file = selection.to_file().unwrap();
        assert_eq!(Selection::from_file(&file).unwrap(), selection);
        assert_eq!(Selection::from_file(&file).unwrap(), selection);
        let mut bytes = Vec::new();
        let mut cut = File::from(file);
        cut.seek(SeekFrom::Start(0)).unwrap();
        cut.read_to_end(&mut bytes).unwrap();
        for length in [0, 5, MAGIC.len(), bytes.len() - 1] {
            cut.set_len(length as u64).unwrap();
            assert!(Selection::from_file(&cut).is_err(), "{length}");
        }
    }

    #[test]
    fn the_digest_sees_all_but_times_and_where_files_lie() {
        let digest = selection().digest();
        let change = |change: &dyn Fn(&mut Entry)| {
            let mut changed = selection();
            changed.items[0].entries.iter_mut().for_each(change);
            changed.digest() == digest
        };
        assert!(change(&|entry| {
            (entry.modified, entry.changed) = ((1, 1), (2, 2));
            entry.identity = (0, 0);
            entry.path = [b"elsewhere/", &entry.path[..]].concat().into();
            entry.skip += 10;
        }));
        assert!(!change(&|entry| entry.mode = 0o600));
        assert!(!change(&|entry| entry.owner.1 = 0));
        assert!(!change(&|entry| entry.content = Some([1; 32])));
        assert!(!change(&|entry| entry.xattrs.clear()));
        assert!(!change(&|entry| entry.skip = 5));
        assert!(!change(&|entry| entry.kind = Kind::Fifo));
        assert_eq!(selection().newest(), -4);
    }
}
