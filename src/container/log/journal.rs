//! Reading a log back from the journal: the entries of a container in all files of the journal, in the order of time.
//! Without libsystemd and journalctl; who may read the journal is the host's to say.

use super::follow::{Watch, goes_on};
use super::journal_file::JournalFile;
use super::reader::{Receiver, Wanted};
use super::{Entry, Stream};
use crate::container::list::Container;
use crate::container::record::Directory;
use crate::error::{Error, Kind};
use anyhow::Result;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Below each of these there is one directory per machine.
const DIRECTORIES: [&str; 2] = ["/run/log/journal", "/var/log/journal"];
/// How long the journal is given to write what it was sent last.
const SETTLED: Duration = Duration::from_millis(300);
/// Fields that are the same for many lines are kept, so many at most.
const KEPT: usize = 1024;

/// Tells the receiver what the journal has of a container.
pub fn read(
    container: &Container,
    directory: &Directory,
    wanted: &Wanted,
    to: &mut dyn Receiver,
) -> Result<()> {
    let mut journal = Journal {
        field: format!("CONTAINER_ID_FULL={}", container.record.id),
        files: HashMap::new(),
    };
    let follows = wanted.follow && container.status().is_active();
    let places = directories();
    let watch = match follows {
        true => Some(Watch::new(
            std::iter::once(directory.path()).chain(places.iter().map(PathBuf::as_path)),
        )?),
        false => None,
    };
    let mut tail = wanted.tail;
    let mut has_ended = false;
    loop {
        let state = directory.state()?;
        let found = journal.news(&places, tail.take(), to)?;
        if journal.tell(&found, wanted, to)?.is_break() || to.pause()?.is_break() {
            return Ok(());
        }
        let Some(watch) = &watch else { return Ok(()) };
        match state.filter(goes_on) {
            Some(state) if !watch.wait(&state, wanted.until)? => return Ok(()),
            Some(_) => {}
            None if has_ended => return Ok(()),
            None => {
                has_ended = true;
                std::thread::sleep(SETTLED);
            }
        }
    }
}

fn directories() -> Vec<PathBuf> {
    let listed = DIRECTORIES
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok());
    listed
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

struct Journal {
    /// What all entries of the container have.
    field: String,
    files: HashMap<[u8; 16], Read>,
}

struct Read {
    path: PathBuf,
    file: JournalFile,
    /// How many of its entries are known already.
    known: u64,
    fields: HashMap<u64, Vec<u8>>,
}

/// Time, number, file and place of entries, in this order.
type Found = Vec<(u64, u64, [u8; 16], u64)>;

impl Journal {
    /// The entries that have come since the last call; the last `tail` of them.
    fn news(
        &mut self,
        places: &[PathBuf],
        tail: Option<u64>,
        to: &mut dyn Receiver,
    ) -> Result<Found> {
        let mut found = Vec::new();
        let mut refused = None;
        let listed = places
            .iter()
            .filter_map(|place| std::fs::read_dir(place).ok());
        for path in listed.flatten().flatten().map(|entry| entry.path()) {
            let is_journal = path
                .extension()
                .is_some_and(|extension| extension == "journal" || extension == "journal~");
            if !is_journal {
                continue;
            }
            match self.news_of(&path, tail) {
                Ok(entries) => found.extend(entries),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => refused = Some(path),
                // It was just being removed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => to.damage(&format!("`{}`: {error}", path.display())),
            }
        }
        if let Some(path) = refused.filter(|_| self.files.is_empty()) {
            return Err(Error::new(
                Kind::Denied,
                format!("the journal may not be read: `{}`", path.display()),
            )
            .hint("join the group systemd-journal, or run it as root")
            .into());
        }
        found.sort();
        if let Some(tail) = tail {
            let first = found
                .len()
                .saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
            found.drain(..first);
        }
        Ok(found)
    }

    fn news_of(&mut self, path: &Path, tail: Option<u64>) -> io::Result<Found> {
        let Some(file) = JournalFile::open(path)? else {
            return Ok(Vec::new());
        };
        let id = file.id;
        let read = self.files.entry(id).or_insert_with(|| Read {
            path: path.to_owned(),
            file,
            known: 0,
            fields: HashMap::new(),
        });
        let Some(field) = read.file.find(self.field.as_bytes())? else {
            return Ok(Vec::new());
        };
        let entries = read.file.entries(field, read.known)?;
        read.known += entries.len() as u64;
        let wanted = usize::try_from(tail.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for offset in &entries[entries.len().saturating_sub(wanted)..] {
            let entry = read.file.entry(*offset)?;
            found.push((entry.time, entry.number, id, *offset));
        }
        Ok(found)
    }

    fn tell(
        &mut self,
        found: &Found,
        wanted: &Wanted,
        to: &mut dyn Receiver,
    ) -> Result<ControlFlow<()>> {
        for (time, _, id, offset) in found {
            let Some(read) = self.files.get_mut(id) else {
                continue;
            };
            let fields = match read.fields_of(*offset) {
                Ok(fields) => fields,
                Err(error) => {
                    to.damage(&format!("`{}`: {error}", read.path.display()));
                    continue;
                }
            };
            let Some(entry) = entry(&fields, *time) else {
                continue;
            };
            if entry.time > wanted.until {
                return Ok(ControlFlow::Break(()));
            }
            if entry.time >= wanted.since && to.entry(&entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Read {
    fn fields_of(&mut self, entry: u64) -> io::Result<Vec<Vec<u8>>> {
        let mut fields = Vec::new();
        for offset in self.file.entry(entry)?.fields {
            let field = match self.fields.get(&offset) {
                Some(known) => known.clone(),
                None => {
                    let field = self.file.field(offset)?;
                    if self.fields.len() < KEPT && !field.starts_with(b"MESSAGE=") {
                        self.fields.insert(offset, field.clone());
                    }
                    field
                }
            };
            fields.push(field);
        }
        Ok(fields)
    }
}

/// `None` for what is no line of a program.
fn entry(fields: &[Vec<u8>], received: u64) -> Option<Entry<'_>> {
    let (mut line, mut stream, mut is_piece) = (None, Stream::Output, false);
    let mut time = i64::try_from(received).ok()?.saturating_mul(1000);
    let mut attributes = Vec::new();
    for field in fields {
        let at = field.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (str::from_utf8(&field[..at]).ok()?, &field[at + 1..]);
        match name {
            "MESSAGE" => line = Some(value),
            "PRIORITY" if value == b"3" => stream = Stream::Error,
            "CONTAINER_PARTIAL_MESSAGE" => is_piece = value == b"true",
            "SYSLOG_TIMESTAMP" => {
                let written = str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.parse::<jiff::Timestamp>().ok());
                time = written
                    .and_then(|time| i64::try_from(time.as_nanosecond()).ok())
                    .unwrap_or(time);
            }
            "PRIORITY" | "IMAGE_NAME" => {}
            name if ["_", "CONTAINER_", "SYSLOG_"]
                .iter()
                .any(|known| name.starts_with(known)) => {}
            name => attributes.push((name.into(), String::from_utf8_lossy(value))),
        }
    }
    let line = line?;
    Some(Entry {
        time,
        stream,
        line: match is_piece {
            true => line.into(),
            false => [line, b"\n"].concat().into(),
        },
        attributes,
    })
}
