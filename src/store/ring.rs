//! A bounded log of lines that many processes write and read at once (`events`): two files, of which the older is
//! given up when the newer is full. Not for what must not be lost: nothing is fsynced, and a line that a crash tears
//! is skipped.
//!
//! ```text
//! append: open(O_APPEND), one write(2)        current ──full──▶ previous ──next time──▶ gone
//! ```
//!
//! Invariant: a line is written by one write(2) at the end of the file, so that lines of several writers never mix
//! and nobody needs a lock; only the turn-over takes one. A line begins and ends with a newline, so that a torn one
//! spoils no other.

use super::lock::Lock;
use crate::paths::{ring_current, ring_previous};
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes that a file holds at most.
const FILE_LIMIT: u64 = 1 << 20;
/// Bytes of the longest line; a longer one is refused.
pub const LINE_LIMIT: usize = 64 << 10;

/// The log in one directory.
#[derive(Clone, Debug)]
pub struct Ring {
    directory: PathBuf,
}

impl Ring {
    /// That of a directory, which the first line makes.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Adds lines, which hold no newlines themselves, at once: nothing comes between them.
    pub fn append<L: AsRef<[u8]>>(&self, lines: &[L]) -> Result<()> {
        let mut bytes = Vec::new();
        for line in lines.iter().map(AsRef::as_ref) {
            anyhow::ensure!(
                line.len() <= LINE_LIMIT,
                "a line of {} bytes is too long",
                line.len()
            );
            bytes.extend([b"\n", line, b"\n"].concat());
        }
        let path = ring_current(&self.directory);
        let mut file = self.open_for_append(&path)?;
        if size(&file, &path)? + bytes.len() as u64 > FILE_LIMIT {
            self.turn_over(bytes.len() as u64)?;
            file = self.open_for_append(&path)?;
        }
        file.write_all(&bytes)
            .with_context(|| format!("write `{}`", path.display()))
    }

    fn open_for_append(&self, path: &Path) -> Result<File> {
        let open = || File::options().append(true).create(true).open(path);
        let opened = match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.directory)
                    .with_context(|| format!("create `{}`", self.directory.display()))?;
                open()
            }
            opened => opened,
        };
        opened.with_context(|| format!("open `{}`", path.display()))
    }

    /// Gives up the older file, unless somebody else just did.
    fn turn_over(&self, wanted: u64) -> Result<()> {
        let _lock = Lock::directory(&self.directory)?;
        let path = ring_current(&self.directory);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.len() + wanted <= FILE_LIMIT => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            _ => std::fs::rename(&path, ring_previous(&self.directory))
                .with_context(|| format!("rename `{}`", path.display())),
        }
    }

    /// A reader that begins with the oldest line there is.
    pub fn read(&self) -> Result<Reader> {
        std::fs::create_dir_all(&self.directory)
            .with_context(|| format!("create `{}`", self.directory.display()))?;
        let watch =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("inotify_init1")?;
        // Before the first look, so that nothing happens between it and the first wait.
        inotify::add_watch(
            &watch,
            &self.directory,
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO,
        )
        .with_context(|| format!("watch `{}`", self.directory.display()))?;
        Ok(Reader {
            directory: self.directory.clone(),
            files: Vec::new(),
            watch,
        })
    }
}

fn size(file: &File, path: &Path) -> Result<u64> {
    let metadata = file.metadata();
    Ok(metadata
        .with_context(|| format!("stat `{}`", path.display()))?
        .len())
}

/// Reads lines as they come.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    /// Oldest first. A file stays open until it is read to its end and has no name any more.
    files: Vec<Part>,
    watch: OwnedFd,
}

#[derive(Debug)]
struct Part {
    file: File,
    path: PathBuf,
    inode: u64,
    rest: Vec<u8>,
}

impl Reader {
    /// The lines that have come since the last call, oldest first.
    pub fn lines(&mut self) -> Result<Vec<Vec<u8>>> {
        // The newer file first: one that becomes the older one meanwhile is then found twice, and not missed.
        let newer = self.open(ring_current(&self.directory))?;
        let older = self.open(ring_previous(&self.directory))?;
        for part in older.into_iter().chain(newer) {
            if self.files.iter().all(|known| known.inode != part.inode) {
                self.files.push(part);
            }
        }
        let mut lines = Vec::new();
        let mut kept = Vec::new();
        for mut part in self.files.drain(..) {
            part.file
                .read_to_end(&mut part.rest)
                .with_context(|| format!("read `{}`", part.path.display()))?;
            let end = part.rest.iter().rposition(|&byte| byte == b'\n');
            let rest = part.rest.split_off(end.map_or(0, |end| end + 1));
            let whole = std::mem::replace(&mut part.rest, rest);
            let found = whole.split(|&byte| byte == b'\n');
            lines.extend(found.filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
            if part
                .file
                .metadata()
                .is_ok_and(|metadata| metadata.nlink() > 0)
            {
                kept.push(part);
            }
        }
        self.files = kept;
        Ok(lines)
    }

    fn open(&self, path: PathBuf) -> Result<Option<Part>> {
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("open `{}`", path.display()))?,
        };
        let metadata = file
            .metadata()
            .with_context(|| format!("stat `{}`", path.display()))?;
        Ok(Some(Part {
            file,
            path,
            inode: metadata.ino(),
            rest: Vec::new(),
        }))
    }

    /// Waits until there may be more lines; no longer than until `deadline`, nor after the reader of `output` has
    /// gone.
    pub fn wait(&self, deadline: Option<Instant>, output: BorrowedFd<'_>) -> Result<Waited> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Waited::Passed);
            }
            let mut files = [
                PollFd::new(&self.watch, PollFlags::IN),
                PollFd::from_borrowed_fd(output, PollFlags::empty()),
            ];
            match poll(&mut files, left.map(timespec).as_ref()) {
                Err(Errno::INTR) | Ok(0) => continue,
                result => result.context("poll")?,
            };
            if files[1]
                .revents()
                .intersects(PollFlags::ERR | PollFlags::HUP)
            {
                return Ok(Waited::Closed);
            }
            // What has changed is seen by reading: the notes themselves say nothing more.
            while rustix::io::read(self.watch.as_fd(), &mut [0u8; 4096]).is_ok_and(|read| read > 0)
            {
            }
            return Ok(Waited::More);
        }
    }
}

fn timespec(left: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}

/// Why a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Something was written.
    More,
    /// The deadline has passed.
    Passed,
    /// Nobody reads the output any more.
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(reader: &mut Reader) -> Vec<String> {
        let lines = reader.lines().unwrap().into_iter();
        lines.map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn lines_come_in_order_and_once() {
        let directory = tempfile::tempdir().unwrap();
        let ring = Ring::new(directory.path().join("events"));
        ring.append(&[b"one"]).unwrap();
        let mut reader = ring.read().unwrap();
        assert_eq!(texts(&mut reader), ["one"]);
        assert!(texts(&mut reader).is_empty());
        ring.append(&[b"two"]).unwrap();
        let nothing = File::open("/dev/null").unwrap();
        assert_eq!(reader.wait(None, nothing.as_fd()).unwrap(), Waited::More);
        assert_eq!(texts(&mut reader), ["two"]);
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(
            reader.wait(Some(deadline), nothing.as_fd()).unwrap(),
            Waited::Passed
        );
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        assert_eq!(reader.wait(None, write.as_fd()).unwrap(), Waited::Closed);
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let ring = Ring::new(directory.path());
        ring.append(&[b"one"]).unwrap();
        let path = ring_current(directory.path());
        let mut file = File::options().append(true).open(path).unwrap();
        file.write_all(b"\nto").unwrap();
        let mut reader = ring.read().unwrap();
        assert_eq!(texts(&mut reader), ["one"]);
        ring.append(&[b"three"]).unwrap();
        assert_eq!(texts(&mut reader), ["to", "three"]);
    }

    #[test]
    fn it_is_bounded_and_a_reader_follows_the_turn_over() {
        let directory = tempfile::tempdir().unwrap();
        let ring = Ring::new(directory.path());
        let mut reader = ring.read().unwrap();
        let mut seen = Vec::new();
        let filler = "x".repeat(10_000);
        for number in 0..500 {
            ring.append(&[format!("{number} {filler}")]).unwrap();
            if number % 60 == 0 {
                seen.extend(texts(&mut reader));
            }
        }
        seen.extend(texts(&mut reader));
        let numbers: Vec<usize> = seen
            .iter()
            .map(|line| line.split_once(' ').unwrap().0.parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
        let bytes: u64 = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes > FILE_LIMIT && bytes <= 2 * FILE_LIMIT, "{bytes}");
        assert!(ring.append(&[vec![b'x'; LINE_LIMIT + 1]]).is_err());
    }

    #[test]
    fn writers_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let ring = Ring::new(directory.path());
        let mut reader = ring.read().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let ring = &ring;
                scope.spawn(move || {
                    for number in 0..100 {
                        ring.append(&[format!("{writer}-{number}-{}", "y".repeat(3000))])
                            .unwrap();
                    }
                });
            }
        });
        // 1.2 MB went through two files of 1 MiB: all of it is still there.
        let mut lines = texts(&mut reader);
        assert!(
            lines
                .iter()
                .all(|line| line.ends_with("-yyy") || line.len() > 3000)
        );
        lines.sort();
        lines.dedup();
        assert_eq!(lines.len(), 400);
    }
}
