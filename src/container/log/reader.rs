//! Reading a log: which entries are wanted, and where among the files to begin. It goes backwards from the end to
//! find the last lines, and only forward after that. Not how an entry is shown.

use super::config::{self, Driver};
use super::files::{self, Backwards, LogFile};
use super::frames::{Format, Frame, Frames};
use super::{Entry, follow, journal};
use crate::container::list::Container;
use crate::container::record::Directory;
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Which entries are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Those from this time on, in nanoseconds since 1970.
    pub since: i64,
    /// Those up to this time.
    pub until: i64,
    /// So many of the last ones, before the times are looked at; `None`: all.
    pub tail: Option<u64>,
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            since: i64::MIN,
            until: i64::MAX,
            tail: None,
            follow: false,
        }
    }
}

/// Who is told what a log has.
pub trait Receiver {
    /// An entry that is wanted; `Break` when nobody listens any more.
    fn entry(&mut self, entry: &Entry<'_>) -> Result<ControlFlow<()>>;
    /// Something of the log cannot be read.
    fn damage(&mut self, what: &str);
    /// Nothing follows for now; `Break` as above.
    fn pause(&mut self) -> Result<ControlFlow<()>>;
}

/// Tells the receiver the log of a container.
pub fn read(
    container: &Container,
    directory: &Directory,
    wanted: &Wanted,
    to: &mut dyn Receiver,
) -> Result<()> {
    let record = &container.record;
    let driver = Driver::named(&record.options.log.driver)?;
    let format = match driver {
        Driver::JsonFile => Format::JsonFile,
        Driver::Local => Format::Local,
        Driver::Journald => return journal::read(container, directory, wanted, to),
        Driver::None => return Err(not_readable().into()),
    };
    let files = config::limits(&record.options.log, driver)?.files;
    let path = super::path(record, directory).unwrap_or_default();
    let log = Log {
        path,
        format,
        files,
    };
    let _ = match wanted.follow && container.status().is_active() {
        true => follow::follow(&log, directory, wanted, to)?,
        false => log.read(wanted, to)?,
    };
    Ok(())
}

fn not_readable() -> Error {
    Error::new(
        Kind::Conflict,
        "configured logging driver does not support reading",
    )
}

/// The files of one log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Of the newest one.
    pub path: PathBuf,
    /// How records lie in them.
    pub format: Format,
    /// How many there may be.
    pub files: u32,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Which of the files.
    pub file: usize,
    /// At which of its bytes.
    pub offset: u64,
    /// So many of its entries are not wanted.
    pub skip: u64,
}

impl Log {
    /// Tells what the files have now.
    fn read(&self, wanted: &Wanted, to: &mut dyn Receiver) -> Result<ControlFlow<()>> {
        let files = files::open_all(&self.path, self.files)?;
        let start = self.start(&files, wanted.tail)?;
        for (index, file) in files.iter().enumerate().skip(start.file) {
            let at = if index == start.file {
                start
            } else {
                Start::default()
            };
            // A program that writes as fast as it is read would have no end.
            let limit = match file.is_packed {
                true => u64::MAX,
                false => file.size.saturating_sub(at.offset),
            };
            let mut frames =
                Frames::new(file.bytes(at.offset)?.take(limit), self.format, at.offset);
            let mut skip = at.skip;
            loop {
                match step(&mut frames, &file.path, &mut skip, wanted, to)? {
                    Step::More => {}
                    Step::End => break,
                    Step::Stop => return Ok(ControlFlow::Break(())),
                }
            }
            let torn = frames.give_up();
            if torn > 0 {
                to.damage(&format!(
                    "the last record of `{}` is incomplete",
                    file.path.display()
                ));
            }
        }
        to.pause()
    }

    /// Where the last entries begin.
    pub fn start(&self, files: &[LogFile], tail: Option<u64>) -> Result<Start> {
        let Some(mut missing) = tail else {
            return Ok(Start::default());
        };
        let end = Start {
            file: files.len(),
            ..Start::default()
        };
        if missing == 0 {
            // To be followed from its end.
            return Ok(match files.last() {
                Some(file) => Start {
                    file: files.len() - 1,
                    offset: self.end(file)?,
                    skip: 0,
                },
                None => end,
            });
        }
        for (index, file) in files.iter().enumerate().rev() {
            let reading = || format!("read `{}`", file.path.display());
            if !file.is_packed
                && let Some((offset, found)) = self.back(file, missing).with_context(reading)?
            {
                if found == missing {
                    return Ok(Start {
                        file: index,
                        offset,
                        skip: 0,
                    });
                }
                missing -= found;
                continue;
            }
            // A packed file, or one with damage in it, has to be counted from its beginning.
            let all = self.count(file).with_context(reading)?;
            if all >= missing {
                return Ok(Start {
                    file: index,
                    offset: 0,
                    skip: all - missing,
                });
            }
            missing -= all;
        }
        Ok(Start::default())
    }

    /// Goes back up to so many records; `None` when there is something else among them.
    fn back(&self, file: &LogFile, wanted: u64) -> std::io::Result<Option<(u64, u64)>> {
        let mut back = Backwards::new(&file.file, self.format, self.end(file)?);
        let (mut offset, mut found) = (file.size, 0);
        while found < wanted {
            match back.previous()? {
                Some(start) => (offset, found) = (start, found + 1),
                None if offset == 0 || file.size == 0 => break,
                None => return Ok(None),
            }
        }
        Ok(Some((offset, found)))
    }

    /// Where the last whole record of a file ends, as far as that is cheap to know.
    fn end(&self, file: &LogFile) -> std::io::Result<u64> {
        if self.format == Format::Local || file.size == 0 {
            return Ok(file.size);
        }
        // What has no newline yet is going to have one.
        let mut end = file.size;
        let mut byte = [0];
        while end > 0 {
            std::os::unix::fs::FileExt::read_exact_at(&file.file, &mut byte, end - 1)?;
            if byte == *b"\n" {
                break;
            }
            end -= 1;
        }
        Ok(end)
    }

    fn count(&self, file: &LogFile) -> Result<u64> {
        let mut frames = Frames::new(file.bytes(0)?, self.format, 0);
        let mut count = 0;
        loop {
            match frames.next_frame()? {
                Frame::Entry(_) => count += 1,
                Frame::Damaged(_) => {}
                Frame::End(_) => return Ok(count),
            }
        }
    }
}

/// What became of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more.
    More,
    /// There is nothing more now.
    End,
    /// Nothing more is wanted.
    Stop,
}

/// Tells what comes next in a stream, if it is wanted.
pub fn step<R: Read>(
    frames: &mut Frames<R>,
    path: &Path,
    skip: &mut u64,
    wanted: &Wanted,
    to: &mut dyn Receiver,
) -> Result<Step> {
    let offset = frames.offset();
    match frames.next_frame() {
        Ok(Frame::Entry(_)) if *skip > 0 => *skip -= 1,
        // Lines of a log are in the order of time.
        Ok(Frame::Entry(entry)) if entry.time > wanted.until => return Ok(Step::Stop),
        Ok(Frame::Entry(entry)) => {
            if entry.time >= wanted.since && to.entry(&entry)?.is_break() {
                return Ok(Step::Stop);
            }
        }
        Ok(Frame::Damaged(length)) => {
            to.damage(&format!(
                "{length} bytes at {offset} of `{}` are damaged",
                path.display()
            ));
        }
        Ok(Frame::End(_)) => return Ok(Step::End),
        Err(error) => {
            to.damage(&format!(
                "`{}` cannot be read from {offset} on: {error}",
                path.display()
            ));
            return Ok(Step::End);
        }
    }
    Ok(Step::More)
}
