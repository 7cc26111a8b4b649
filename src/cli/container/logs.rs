//! `logs`: what the program of a container has written, from its log.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::Output;
use crate::cli::value::time;
use crate::container::list;
use crate::container::log::reader::{self, Receiver, Wanted};
use crate::container::log::{Entry, Stream};
use crate::container::record::Directory;
use crate::error::bad_input;
use anyhow::Result;
use jiff::Timestamp;
use std::ops::ControlFlow;

/// Bytes that are gathered before they are written.
const BLOCK: usize = 32 * 1024;

/// Options of `logs`.
#[derive(clap::Args)]
pub struct Logs {
    /// Show labels and variables that --log-opt has chosen
    #[arg(long)]
    details: bool,
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Show what was written from a time on (2013-01-02T13:23:37Z) or since then (42m)
    #[arg(long)]
    since: Option<String>,
    /// Show so many lines of the end
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Show what was written up to a time (2013-01-02T13:23:37Z) or until then (42m)
    #[arg(long)]
    until: Option<String>,
    #[arg(required = true)]
    container: String,
}

impl Verb for Logs {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let now = Timestamp::now();
        let point = |name: &str, text: Option<&String>, without: i64| match text {
            Some(text) if !text.is_empty() => time::time(text, now)
                .map(|time| i64::try_from(time.as_nanosecond()).unwrap_or(without))
                .map_err(|error| {
                    bad_input(format!("invalid value for \"{name}\": {}", error.message))
                }),
            _ => Ok(without),
        };
        let wanted = Wanted {
            since: point("since", self.since.as_ref(), i64::MIN)?,
            until: point("until", self.until.as_ref(), i64::MAX)?,
            // As in Docker, what is no number is `all`.
            tail: self.tail.parse().ok(),
            follow: self.follow,
        };
        let found = list::find(&engine, &self.container)?;
        let mut printer = Printer {
            output: &mut context.output,
            timestamps: self.timestamps,
            details: self.details,
            stream: Stream::Output,
            waiting: Vec::new(),
        };
        let directory = Directory::of(&engine, &found.record.id);
        let read = reader::read(&found, &directory, &wanted, &mut printer);
        printer.flush()?;
        read.map(|()| 0)
    }
}

/// Gives each entry to the stream that it came from.
struct Printer<'a> {
    output: &'a mut Output,
    timestamps: bool,
    details: bool,
    /// Of what is waiting.
    stream: Stream,
    waiting: Vec<u8>,
}

impl Printer<'_> {
    fn flush(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            match self.stream {
                Stream::Output => self.output.write(&waiting)?,
                Stream::Error => self.output.write_error(&waiting)?,
            }
        }
        self.waiting = waiting;
        self.waiting.clear();
        Ok(())
    }
}

impl Receiver for Printer<'_> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<ControlFlow<()>> {
        if entry.stream != self.stream || self.waiting.len() >= BLOCK {
            self.flush()?;
            self.stream = entry.stream;
        }
        if self.timestamps {
            let time = Timestamp::from_nanosecond(entry.time.into())?;
            self.waiting
                .extend_from_slice(format!("{time:.9} ").as_bytes());
        }
        if self.details {
            self.waiting.extend_from_slice(details(entry).as_bytes());
            self.waiting.push(b' ');
        }
        self.waiting.extend_from_slice(&entry.line);
        Ok(match self.output.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn damage(&mut self, what: &str) {
        // What was before it is shown before it.
        let _ = self.flush();
        self.output.warn(what);
    }

    fn pause(&mut self) -> Result<ControlFlow<()>> {
        self.flush()?;
        Ok(match self.output.is_closed() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }
}

/// `key=value,…` with both as in the query of a URL.
fn details(entry: &Entry<'_>) -> String {
    let mut pairs: Vec<_> = entry
        .attributes
        .iter()
        .map(|(key, value)| format!("{}={}", query(key), query(value)))
        .collect();
    pairs.sort();
    pairs.join(",")
}

/// As a query of a URL writes it (Go, url.QueryEscape).
fn query(text: &str) -> String {
    let mut written = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                written.push(byte.into())
            }
            b' ' => written.push('+'),
            _ => written.push_str(&format!("%{byte:02X}")),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::Capture;

    #[test]
    fn entries_are_shown_as_docker_does() {
        let entry = Entry {
            time: 1_500_000_000_120_000_000,
            stream: Stream::Output,
            line: b"hi\n"[..].into(),
            attributes: vec![("b".into(), "x y/é".into()), ("a".into(), "1".into())],
        };
        for (timestamps, details, expected) in [
            (false, false, "hi\n"),
            (true, false, "2017-07-14T02:40:00.120000000Z hi\n"),
            (false, true, "a=1,b=x+y%2F%C3%A9 hi\n"),
            (
                true,
                true,
                "2017-07-14T02:40:00.120000000Z a=1,b=x+y%2F%C3%A9 hi\n",
            ),
        ] {
            let (mut output, data, notes) = Capture::output();
            let mut printer = Printer {
                output: &mut output,
                timestamps,
                details,
                stream: Stream::Output,
                waiting: Vec::new(),
            };
            assert!(printer.entry(&entry).unwrap().is_continue());
            let error = Entry {
                stream: Stream::Error,
                line: b"no"[..].into(),
                attributes: Vec::new(),
                ..entry.clone()
            };
            assert!(printer.entry(&error).unwrap().is_continue());
            printer.flush().unwrap();
            assert_eq!(data.take(), expected);
            assert!(notes.take().ends_with("no"));
        }
    }
}
