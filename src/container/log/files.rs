//! The files of a log as a reader finds them: which there are, in which order, and which of them it has seen. The
//! writer may rotate them at any moment; what is open stays readable.
//!
//! A file is known again by its inode, and once it is packed by the time of its last change, which packing keeps.

use super::frames::Format;
use super::local::LONGEST_RECORD;
use anyhow::{Context, Result};
use std::borrow::Borrow;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How often a set of files that changes while it is opened is opened again.
const ATTEMPTS: usize = 1000;
/// Bytes that are looked at once on the way back.
const BLOCK: usize = 64 * 1024;

/// The file that was rotated so often.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    suffixed(path, &format!(".{number}"))
}

/// The same, packed.
pub fn packed(path: &Path, number: u32) -> PathBuf {
    suffixed(path, &format!(".{number}.gz"))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One file of a log.
#[derive(Debug)]
pub struct LogFile {
    /// Where it was found.
    pub path: PathBuf,
    /// Open for reading.
    pub file: File,
    /// It is packed with gzip (RFC 1952).
    pub is_packed: bool,
    inode: (u64, u64),
    /// Bytes, when it was opened.
    pub size: u64,
}

impl LogFile {
    /// `None` when it is not there.
    fn open(path: PathBuf, is_packed: bool) -> Result<Option<Self>> {
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("open `{}`", path.display()))?,
        };
        let found = file
            .metadata()
            .with_context(|| format!("stat `{}`", path.display()))?;
        Ok(Some(Self {
            is_packed,
            inode: (found.dev(), found.ino()),
            size: found.len(),
            path,
            file,
        }))
    }

    /// Whether its path still leads to it.
    pub fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode)
    }

    /// Whether it is that file, before or after it was packed.
    pub fn is_same(&self, other: &Self) -> bool {
        let changed = |file: &Self| file.file.metadata().and_then(|found| found.modified()).ok();
        self.inode == other.inode
            || (self.is_packed != other.is_packed
                && changed(self).is_some()
                && changed(self) == changed(other))
    }

    /// Its bytes from `offset` of the file on, unpacked. A packed file begins at its beginning.
    pub fn bytes(&self, offset: u64) -> Result<Box<dyn Read>> {
        let file = self
            .file
            .try_clone()
            .with_context(|| format!("duplicate `{}`", self.path.display()))?;
        Ok(match self.is_packed {
            true => Box::new(flate2::read::MultiGzDecoder::new(At::new(file, 0))),
            false => Box::new(At::new(file, offset)),
        })
    }
}

/// A file read from an offset of its own, so that it can be shared.
pub struct At<F> {
    file: F,
    offset: u64,
}

impl<F: Borrow<File>> At<F> {
    /// Reads from there on.
    pub fn new(file: F, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl<F: Borrow<File>> Read for At<F> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.borrow().read_at(to, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// All files of a log, oldest first, as they were at one moment.
pub fn open_all(path: &Path, files: u32) -> Result<Vec<LogFile>> {
    let mut found = Vec::new();
    for _ in 0..ATTEMPTS {
        found.clear();
        for number in (1..files).rev() {
            // While a file is being packed both are there; the packed one may not be whole before the other goes.
            let plain = LogFile::open(numbered(path, number), false)?;
            found.extend(match plain {
                Some(plain) => Some(plain),
                None => LogFile::open(packed(path, number), true)?,
            });
        }
        let newest = LogFile::open(path.to_owned(), false)?;
        // Between two steps of a rotation there is no newest one, though there are older ones.
        let is_whole = newest.is_some() || found.is_empty();
        found.extend(newest);
        if is_whole && are_all(&found, path, files) {
            return Ok(found);
        }
        std::thread::yield_now();
    }
    // A crash in the middle of a rotation has left it without a newest one.
    Ok(found)
}

/// Whether these files are in place, and no other is: one that was between two names may have been missed.
fn are_all(found: &[LogFile], path: &Path, files: u32) -> bool {
    let there = (1..files).rev().filter_map(|number| {
        [numbered(path, number), packed(path, number)]
            .iter()
            .find_map(|path| std::fs::metadata(path).ok())
    });
    let there = there.chain(std::fs::metadata(path).ok());
    there
        .map(|file| (file.dev(), file.ino()))
        .eq(found.iter().map(|file| file.inode))
}

/// Where the last record of a file of that size begins, as far as its end can tell.
pub fn last_record(file: &File, format: Format, size: u64) -> io::Result<Option<u64>> {
    let mut back = Backwards::new(file, format, size);
    back.previous()
}

/// Finds the beginnings of records from the end on, without reading what is before them.
pub struct Backwards<'a> {
    file: &'a File,
    format: Format,
    /// Of the record that was found last.
    start: u64,
    block: Vec<u8>,
    /// Offset of `block` in the file.
    block_start: u64,
}

impl<'a> Backwards<'a> {
    /// From the end, which is at `size`.
    pub fn new(file: &'a File, format: Format, size: u64) -> Self {
        Self {
            file,
            format,
            start: size,
            block: Vec::new(),
            block_start: size,
        }
    }

    /// Where the record before the last one found begins; `None` when there is none, or when its end is damaged.
    pub fn previous(&mut self) -> io::Result<Option<u64>> {
        let start = match self.format {
            Format::JsonFile => self.line()?,
            Format::Local => self.frame()?,
        };
        if let Some(start) = start {
            self.start = start;
        }
        Ok(start)
    }

    fn line(&mut self) -> io::Result<Option<u64>> {
        // The byte before the beginning is the end of the line that is looked for.
        let Some(mut end) = self.start.checked_sub(1) else {
            return Ok(None);
        };
        if self.byte(end)? != Some(b'\n') {
            return Ok(None);
        }
        while end > 0 {
            self.load(end)?;
            let part = &self.block[..(end - self.block_start) as usize];
            if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
                return Ok(Some(self.block_start + at as u64 + 1));
            }
            end = self.block_start;
        }
        Ok(Some(0))
    }

    fn frame(&mut self) -> io::Result<Option<u64>> {
        let Some(at) = self.start.checked_sub(4) else {
            return Ok(None);
        };
        let length = self.length(at)?;
        let Some(start) = at.checked_sub(u64::from(length) + 4) else {
            return Ok(None);
        };
        let is_one = (8..=LONGEST_RECORD as u32).contains(&length) && self.length(start)? == length;
        Ok(is_one.then_some(start))
    }

    fn length(&mut self, at: u64) -> io::Result<u32> {
        let mut length = [0; 4];
        for (index, byte) in length.iter_mut().enumerate() {
            *byte = self.byte(at + index as u64)?.unwrap_or(0);
        }
        Ok(u32::from_be_bytes(length))
    }

    fn byte(&mut self, at: u64) -> io::Result<Option<u8>> {
        self.load(at + 1)?;
        Ok(self.block.get((at - self.block_start) as usize).copied())
    }

    /// Makes `block` hold the byte before `end`.
    fn load(&mut self, end: u64) -> io::Result<()> {
        let held = self.block_start..self.block_start + self.block.len() as u64;
        if held.contains(&(end - 1)) {
            return Ok(());
        }
        self.block_start = end.saturating_sub(BLOCK as u64);
        self.block.resize((end - self.block_start) as usize, 0);
        let mut read = 0;
        while read < self.block.len() {
            match self
                .file
                .read_at(&mut self.block[read..], self.block_start + read as u64)?
            {
                0 => break,
                length => read += length,
            }
        }
        self.block.truncate(read);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_are_found_from_the_end() {
        for long in [1, BLOCK - 3, BLOCK, 3 * BLOCK] {
            let mut file = tempfile::tempfile().unwrap();
            let lines = [vec![b'a'; 5], vec![b'b'; long], vec![b'c'; 7]];
            let text = lines
                .iter()
                .flat_map(|line| [line, &b"\n"[..]].concat())
                .collect::<Vec<_>>();
            file.write_all(&text).unwrap();
            let mut back = Backwards::new(&file, Format::JsonFile, text.len() as u64);
            let found: Vec<_> = std::iter::from_fn(|| back.previous().unwrap()).collect();
            assert_eq!(found, [6 + long as u64 + 1, 6, 0]);
        }
    }

    #[test]
    fn a_rotated_set_is_opened_oldest_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert!(open_all(&path, 3).unwrap().is_empty());
        for path in [
            path.clone(),
            numbered(&path, 1),
            numbered(&path, 2),
            packed(&path, 2),
            numbered(&path, 3),
        ] {
            std::fs::write(path, "x").unwrap();
        }
        let found: Vec<_> = open_all(&path, 3)
            .unwrap()
            .into_iter()
            .map(|file| file.path)
            .collect();
        assert_eq!(found, [numbered(&path, 2), numbered(&path, 1), path]);
    }
}
