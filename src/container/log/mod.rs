//! The log of a container: what its program has written to standard output and standard error, kept in Docker's
//! own formats, so that Docker's tools read it. Not how it gets to attached clients, which is the monitor's.
//!
//! ```text
//! monitor ──chunk──▶ writer ──▶ lines ──line──▶ json_file ┐
//!                                               local     ├─▶ rotation ─▶ containers/ID/…  ─▶ reader ─▶ follow
//!                                               journald ─▶ the journal of the host         ─▶ journal
//! ```
//!
//! The only writer of a log is the monitor; readers take no lock. A file holds whole records except, after a power
//! cut, a torn last one, which the next writer cuts off and readers skip.

pub mod attributes;
pub mod config;
pub mod files;
pub mod follow;
pub mod frames;
pub mod journal;
pub mod journal_file;
pub mod journald;
pub mod json_file;
pub mod lines;
pub mod local;
pub mod reader;
pub mod rotation;
#[cfg(test)]
mod tests;
pub mod writer;

pub use super::monitor::channel::Stream;

use super::record::{Directory, Record};
use crate::paths;
use std::borrow::Cow;
use std::path::PathBuf;

/// One line of a log, or a piece of a line that is longer than [`lines::LONGEST`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Where the program wrote it.
    pub stream: Stream,
    /// With the newline, unless it is a piece of a longer line.
    pub line: Cow<'a, [u8]>,
    /// Labels and variables that `--log-opt labels=…,env=…` asked for, by key.
    pub attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// The newest file of a container's log; `None` when its driver has none.
pub fn path(record: &Record, directory: &Directory) -> Option<PathBuf> {
    match config::Driver::named(&record.options.log.driver) {
        Ok(config::Driver::JsonFile) => Some(paths::json_log_in(directory.path(), &record.id)),
        Ok(config::Driver::Local) => Some(paths::local_log_in(directory.path())),
        _ => None,
    }
}

/// Docker's word for a stream.
pub fn word(stream: Stream) -> &'static str {
    match stream {
        Stream::Output => "stdout",
        Stream::Error => "stderr",
    }
}

/// The stream that a word names.
fn stream_named(word: &[u8]) -> Option<Stream> {
    match word {
        b"stdout" => Some(Stream::Output),
        b"stderr" => Some(Stream::Error),
        _ => None,
    }
}
