//! The file that a log is written to, and its rotation: `NAME` is the newest, `NAME.1` the one before, and so on, as
//! in Docker. It knows records as bytes only.
//!
//! A crash leaves the files as they are: at worst the last record is torn, and the next writer cuts it off. A full
//! disk costs the records of that time: a record that does not fit is taken back whole, and the count of those that
//! are lost is kept until there is room to say so.

use super::config::Limits;
use super::files::{self, At};
use super::frames::{Format, Frame, Frames};
use crate::sys::descriptor;
use crate::sys::process::{self, Child};
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of records that are written at once. Not more, since the monitor of each container has such a buffer.
const BUFFER: usize = 32 * 1024;
/// How long a rotation waits for a reader that is a whole set of files behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// A log's newest file, open for writing.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    limits: Limits,
    file: File,
    /// Of what is in the file.
    size: u64,
    /// Whole records that are not in the file yet.
    pub buffer: Vec<u8>,
    /// How many records those are.
    buffered: u64,
    lost: Lost,
    compressor: Option<Child>,
}

/// Records that could not be written.
#[derive(Debug, Default)]
struct Lost {
    count: u64,
    reason: String,
    /// A record that says so is in the buffer.
    is_announced: bool,
}

impl RotatingFile {
    /// Opens the file, or makes it, and cuts off what a crash has left of a last record.
    pub fn open(path: PathBuf, format: Format, limits: Limits) -> Result<Self> {
        let _ = std::fs::remove_file(fresh(&path));
        let file = open(&path, false).with_context(|| format!("open `{}`", path.display()))?;
        let size = repair(&file, format).with_context(|| format!("mend `{}`", path.display()))?;
        Ok(Self {
            path,
            limits,
            file,
            size,
            buffer: Vec::new(),
            buffered: 0,
            lost: Lost::default(),
            compressor: None,
        })
    }

    /// What to tell in a record of its own before anything else, if records were lost.
    pub fn loss(&mut self) -> Option<String> {
        (self.lost.count > 0).then(|| {
            self.lost.is_announced = true;
            format!(
                "onggi: {} lines are missing in this log: {}",
                self.lost.count, self.lost.reason
            )
        })
    }

    /// To be called before each record is put into the buffer.
    pub fn make_room(&mut self) {
        if self.size + self.buffer.len() as u64 >= self.limits.size {
            self.flush();
            // What cannot be rotated grows.
            let _ = self.rotate();
        } else if self.buffer.len() >= BUFFER {
            self.flush();
        }
        self.buffered += 1;
    }

    /// Writes what is in the buffer.
    pub fn flush(&mut self) {
        if !self.buffer.is_empty() {
            match self.file.write_all(&self.buffer) {
                Ok(()) => {
                    self.size += self.buffer.len() as u64;
                    if self.lost.is_announced {
                        self.lost = Lost::default();
                    }
                }
                Err(error) => {
                    self.lost.count += self.buffered - u64::from(self.lost.is_announced);
                    self.lost.reason = error.to_string();
                    self.lost.is_announced = false;
                    // A part of it may have found room.
                    let _ = self.file.set_len(self.size);
                }
            }
            self.buffer.clear();
            self.buffered = 0;
            self.buffer.shrink_to(2 * BUFFER);
        }
        if let Some(child) = &self.compressor
            && child.has_ended_within(Duration::ZERO)
        {
            self.await_compressor();
        }
    }

    /// The log is complete.
    pub fn finish(&mut self) {
        self.flush();
        self.await_compressor();
    }

    fn await_compressor(&mut self) {
        if let Some(child) = self.compressor.take() {
            // Whether it has packed the file or not: a reader takes either.
            let _ = child.wait();
        }
    }

    /// Moves the files on by one and begins a new one, which is there before the first is moved: when there is no
    /// room for it, all stays as it is.
    fn rotate(&mut self) -> io::Result<()> {
        let found = self.file.metadata()?.len();
        if found < self.limits.size {
            // Somebody has emptied it meanwhile, which is what people do to logs.
            self.size = found;
            return Ok(());
        }
        if self.limits.files == 1 {
            self.file.set_len(0)?;
            self.size = 0;
            return Ok(());
        }
        self.await_compressor();
        let new = open(&fresh(&self.path), true)?;
        let oldest = self.limits.files - 1;
        wait_for_reader(&files::numbered(&self.path, oldest));
        remove(&files::packed(&self.path, oldest))?;
        for number in (1..oldest).rev() {
            rename(
                &files::packed(&self.path, number),
                &files::packed(&self.path, number + 1),
            )?;
            rename(
                &files::numbered(&self.path, number),
                &files::numbered(&self.path, number + 1),
            )?;
        }
        if oldest > 1 || self.limits.compress {
            remove(&files::packed(&self.path, 1))?;
        }
        rename(&self.path, &files::numbered(&self.path, 1))?;
        rename(&fresh(&self.path), &self.path)?;
        self.file = new;
        self.size = 0;
        if self.limits.compress {
            self.compress();
        }
        Ok(())
    }

    /// Packs the newest full file in a child, so that the program does not wait for it. A child that cannot be
    /// started leaves the file as it is.
    fn compress(&mut self) {
        let from = files::numbered(&self.path, 1);
        let to = files::packed(&self.path, 1);
        self.compressor = process::clone3(0, || {
            // It must keep nothing open of what is the monitor's: pipes, the lock.
            let packed = descriptor::close_from(0).is_ok() && pack(&from, &to).is_ok();
            u8::from(!packed)
        })
        .ok();
    }
}

/// Under its packed name there is never less than all of it. The time of its last change is what readers know it
/// by again.
pub(super) fn pack(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let changed = source.metadata()?.modified()?;
    let fresh = fresh(to);
    let mut encoder =
        flate2::write::GzEncoder::new(open(&fresh, true)?, flate2::Compression::fast());
    let packed = io::copy(&mut &source, &mut encoder)
        .and_then(|_| encoder.finish())
        .and_then(|file| file.set_modified(changed))
        .and_then(|()| std::fs::rename(&fresh, to))
        .and_then(|()| {
            wait_for_reader(from);
            std::fs::remove_file(from)
        });
    if packed.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    packed
}

fn open(path: &Path, empty: bool) -> io::Result<File> {
    // Appending: what others cut off does not leave a hole.
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)?;
    if empty {
        file.set_len(0)?;
    }
    Ok(file)
}

fn fresh(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    absent(std::fs::rename(from, to))
}

fn remove(path: &Path) -> io::Result<()> {
    absent(std::fs::remove_file(path))
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A follower holds a shared lock on the file that it reads. One that still reads the file which is about to go
/// would miss what comes after that, so it gets some time. One that is stopped costs no more than that once: the file
/// that it holds is gone after it.
fn wait_for_reader(file: &Path) {
    let Ok(file) = File::open(file) else { return };
    let start = std::time::Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        && start.elapsed() < PATIENCE
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Cuts off what follows the last whole record; tells the size of the rest.
fn repair(file: &File, format: Format) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if ends_whole(file, format, size)? {
        return Ok(size);
    }
    let mut frames = Frames::new(At::new(file, 0), format, 0);
    let mut good = 0;
    loop {
        match frames.next_frame()? {
            Frame::Entry(_) => good = frames.offset(),
            Frame::Damaged(_) => {}
            Frame::End(_) => break,
        }
    }
    file.set_len(good)?;
    Ok(good)
}

/// Whether the last bytes are the end of a record, which is the rule.
fn ends_whole(file: &File, format: Format, size: u64) -> io::Result<bool> {
    let Some(start) = files::last_record(file, format, size)? else {
        return Ok(size == 0);
    };
    let mut frames = Frames::new(At::new(file, start), format, start);
    Ok(matches!(frames.next_frame()?, Frame::Entry(_)) && frames.offset() == size)
}
