//! The monitor's side of a log. Nothing here fails once the log is open, and nothing waits for more than the disk:
//! whatever becomes of the log, the program goes on.

use super::config::{self, Driver};
use super::frames::Format;
use super::journald::Journal;
use super::lines::{Lines, Piece};
use super::rotation::RotatingFile;
use super::{Stream, attributes, json_file, local};
use crate::container::record::{Directory, Record};
use anyhow::{Context, Result};
use std::time::SystemTime;

/// An open log.
#[derive(Debug)]
pub struct Writer {
    lines: [Lines; 2],
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    JsonFile(RotatingFile, json_file::Encoder),
    Local(RotatingFile, local::Encoder),
    Journald(Journal),
}

impl Writer {
    /// Opens the log of a container; `None` when it keeps none.
    pub fn open(record: &Record, directory: &Directory) -> Result<Option<Self>> {
        let log = &record.options.log;
        let driver = Driver::named(&log.driver)?;
        let mut attributes = attributes::of(record, &log.options);
        let tag = log.options.get("tag").filter(|tag| !tag.is_empty());
        if let (Driver::JsonFile | Driver::Local, Some(tag)) = (driver, tag) {
            attributes.insert("tag".to_owned(), attributes::tag(record, tag));
        }
        let path = super::path(record, directory).unwrap_or_default();
        let sink = match driver {
            Driver::None => return Ok(None),
            Driver::JsonFile => {
                let limits = config::limits(log, driver)?;
                let file = RotatingFile::open(path, Format::JsonFile, limits)?;
                Sink::JsonFile(file, json_file::Encoder::new(&attributes))
            }
            Driver::Local => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)
                        .with_context(|| format!("create `{}`", parent.display()))?;
                }
                let limits = config::limits(log, driver)?;
                let file = RotatingFile::open(path, Format::Local, limits)?;
                Sink::Local(file, local::Encoder::new(&attributes))
            }
            Driver::Journald => {
                let template = tag.map_or("{{.ID}}", String::as_str);
                Sink::Journald(Journal::open(
                    record,
                    &attributes::tag(record, template),
                    &attributes,
                )?)
            }
        };
        Ok(Some(Self {
            lines: Default::default(),
            sink,
        }))
    }

    /// What the program has written to one of its streams.
    pub fn write(&mut self, stream: Stream, chunk: &[u8]) {
        self.sink.begin(stream);
        let sink = &mut self.sink;
        self.lines[stream as usize - 1].split(chunk, |line, piece| sink.line(line, piece));
        self.sink.end();
    }

    /// The program has ended: what has no newline is written as well.
    pub fn finish(&mut self) {
        for stream in [Stream::Output, Stream::Error] {
            self.sink.begin(stream);
            let sink = &mut self.sink;
            self.lines[stream as usize - 1].finish(|line, piece| sink.line(line, piece));
            self.sink.end();
        }
        if let Sink::JsonFile(file, _) | Sink::Local(file, _) = &mut self.sink {
            file.finish();
        }
    }
}

impl Sink {
    /// The lines that follow are of that stream and of now.
    fn begin(&mut self, stream: Stream) {
        let now = now();
        match self {
            Self::JsonFile(file, encoder) => {
                if let Some(text) = file.loss() {
                    encoder.begin(Stream::Error, now);
                    file.make_room();
                    encoder.line(&mut file.buffer, text.as_bytes(), None);
                }
                encoder.begin(stream, now);
            }
            Self::Local(file, encoder) => {
                if let Some(text) = file.loss() {
                    encoder.begin(Stream::Error, now);
                    file.make_room();
                    encoder.line(&mut file.buffer, text.as_bytes(), None);
                }
                encoder.begin(stream, now);
            }
            Self::Journald(journal) => journal.begin(stream),
        }
    }

    fn line(&mut self, line: &[u8], piece: Option<Piece<'_>>) {
        match self {
            Self::JsonFile(file, encoder) => {
                file.make_room();
                encoder.line(&mut file.buffer, line, piece);
            }
            Self::Local(file, encoder) => {
                file.make_room();
                encoder.line(&mut file.buffer, line, piece);
            }
            Self::Journald(journal) => journal.line(line, piece),
        }
    }

    fn end(&mut self) {
        if let Self::JsonFile(file, _) | Self::Local(file, _) = self {
            file.flush();
        }
    }
}

/// Nanoseconds since 1970; formats have 64 bits for them.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}
