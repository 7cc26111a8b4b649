//! Unpacking a blob: one thread inflates, the other takes the tar apart and writes.
//!
//! ```text
//! inflater: blob ─▶ sha256 ─▶ inflate ═══ full pieces ═══▶ writer: sha256 ─▶ archive ─▶ tree, journal
//!                                     ◀══ used pieces ═══
//! ```
//!
//! Invariant: at most [`PIECES`] pieces exist, whatever the blob inflates to.

use super::archive::{Archive, Member, MemberKind, Segment};
use super::compression::Inflated;
use super::journal::Writer;
use super::tree::{Finished, NewFile, Tree};
use super::{Rules, Unpacked, failed};
use crate::error::bad_input;
use crate::image::digest::Digest;
use crate::paths;
use anyhow::{Context, Result};
use rustix::fs::{SeekFrom, ftruncate, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// Length of a piece of the tar stream in bytes.
const PIECE: usize = 256 << 10;
/// How many pieces may wait for the writer.
const PIECES: usize = 16;

/// A piece of the tar stream; only the first `length` bytes are of it.
struct Piece {
    bytes: Vec<u8>,
    length: usize,
}

/// What the inflater knows at its end.
struct Inflation {
    size: u64,
    digest: Option<Digest>,
}

/// Unpacks a layer into `directory`, an empty one, and makes `tree` and `journal` in it.
///
/// `parents` are the trees of the layers below, lowest first. Nothing is synced to the disk. After an error
/// the directory holds a part of the layer and is to be thrown away.
pub fn unpack(
    blob: impl Read + Send,
    directory: &Path,
    parents: &[PathBuf],
    rules: &Rules,
) -> Result<Unpacked> {
    let (full, pieces) = sync_channel(PIECES);
    let (used, again) = channel();
    std::thread::scope(|scope| {
        let inflater = std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || inflate(blob, rules.max_bytes, &full, &again))
            .context("start a thread")?;
        let written = write(Stream::new(pieces, used), directory, parents, rules);
        let inflation = inflater
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // When the inflater fails, what the writer says is a consequence. When the writer fails, the inflater
        // only stops.
        let inflation = inflation?;
        let (diff_id, size, tar_size, finished) = written?;
        Ok(Unpacked {
            blob_digest: inflation.digest.unwrap_or_else(|| diff_id.clone()),
            diff_id,
            blob_size: inflation.size,
            size,
            tar_size,
            depends_on_parents: finished.depends_on_parents,
            marked: finished.marked,
        })
    })
}

/// Sends the tar stream in pieces until it ends or nobody wants more.
fn inflate(
    blob: impl Read,
    max_bytes: u64,
    full: &SyncSender<Piece>,
    again: &Receiver<Vec<u8>>,
) -> Result<Inflation> {
    let mut inflated = Inflated::new(blob)?;
    let mut sum = 0u64;
    loop {
        let mut bytes = again.try_recv().unwrap_or_else(|_| vec![0; PIECE]);
        let length = inflated.fill(&mut bytes)?;
        sum += length as u64;
        if sum > max_bytes {
            let message = format!("layer inflates to more than {max_bytes} bytes");
            return Err(bad_input(message)
                .hint("a higher layer-max-bytes in the settings lets it in")
                .into());
        }
        let ended = length < bytes.len();
        let wanted = length == 0 || full.send(Piece { bytes, length }).is_ok();
        if ended || !wanted {
            let (size, digest) = inflated.into_blob().finish();
            return Ok(Inflation { size, digest });
        }
    }
}

/// The tar stream at the writer's end, hashed as it comes.
struct Stream {
    pieces: Receiver<Piece>,
    used: Sender<Vec<u8>>,
    current: Piece,
    position: usize,
    hasher: Sha256,
}

impl Stream {
    fn new(pieces: Receiver<Piece>, used: Sender<Vec<u8>>) -> Self {
        let current = Piece {
            bytes: Vec::new(),
            length: 0,
        };
        Self {
            pieces,
            used,
            current,
            position: 0,
            hasher: Sha256::new(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.length
            && let Ok(next) = self.pieces.recv()
        {
            self.hasher.update(&next.bytes[..next.length]);
            self.position = 0;
            let before = std::mem::replace(&mut self.current, next).bytes;
            if !before.is_empty() {
                // The inflater may be through already.
                let _ = self.used.send(before);
            }
        }
        Ok(&self.current.bytes[self.position..self.current.length])
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

/// Writes tree and journal; gives diff id, sum of the files, length of the stream, what the tree is like.
fn write(
    stream: Stream,
    directory: &Path,
    parents: &[PathBuf],
    rules: &Rules,
) -> Result<(Digest, u64, u64, Finished)> {
    let mut archive = Archive::new(stream);
    let mut tree = Tree::create(directory, parents, rules)?;
    let mut journal = Writer::create(directory.join(paths::LAYER_JOURNAL))?;
    let size = write_members(&mut archive, &mut tree, &mut journal)?;
    let digest = Digest::from_hasher(archive.into_source().hasher);
    let tar_size = journal.finish()?;
    Ok((digest, size, tar_size, tree.finish(directory)?))
}

fn write_members<R: BufRead>(
    archive: &mut Archive<R>,
    tree: &mut Tree<'_>,
    journal: &mut Writer,
) -> Result<u64> {
    let mut size = 0u64;
    while let Some(member) = archive.next_member()? {
        keep_raw(archive, journal)?;
        if let Some((entry, file)) = tree.place(&member)? {
            journal.entry(&entry)?;
            if let Some(file) = file {
                write_content(archive, journal, &member, &file)?;
                tree.close(file)?;
                size = size.saturating_add(member.size);
            }
        }
        // The content of what does not become a file: whiteouts, lists of names.
        loop {
            let content = archive.data()?;
            let length = content.len();
            if length == 0 {
                break;
            }
            journal.raw(content)?;
            archive.consume(length);
        }
    }
    while archive.tail()? {
        keep_raw(archive, journal)?;
    }
    keep_raw(archive, journal)?;
    Ok(size)
}

fn keep_raw<R: BufRead>(archive: &mut Archive<R>, journal: &mut Writer) -> Result<()> {
    journal.raw(archive.raw())?;
    archive.raw().clear();
    Ok(())
}

/// Writes a file, and says in the journal where its content is.
fn write_content<R: BufRead>(
    archive: &mut Archive<R>,
    journal: &mut Writer,
    member: &Member,
    file: &NewFile,
) -> Result<()> {
    debug_assert_eq!(member.kind, MemberKind::File);
    let failed = |errno| failed("write", &member.name, errno);
    let Some(segments) = &member.sparse else {
        let whole = Segment {
            offset: 0,
            length: member.size,
        };
        return write_segment(archive, journal, member, file, whole);
    };
    for segment in segments.iter().filter(|segment| segment.length > 0) {
        seek(&file.file, SeekFrom::Start(segment.offset)).map_err(failed)?;
        write_segment(archive, journal, member, file, *segment)?;
    }
    ftruncate(&file.file, member.size).map_err(failed)
}

fn write_segment<R: BufRead>(
    archive: &mut Archive<R>,
    journal: &mut Writer,
    member: &Member,
    file: &NewFile,
    segment: Segment,
) -> Result<()> {
    let mut left = segment.length;
    while left > 0 {
        let content = archive.data()?;
        let length = usize::try_from(left).map_or(content.len(), |left| left.min(content.len()));
        match rustix::io::write(&file.file, &content[..length]) {
            Ok(written) => {
                archive.consume(written);
                left -= written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("write", &member.name, errno)),
        }
    }
    if segment.length > 0 {
        journal.data(segment.offset, segment.length)
    } else {
        Ok(())
    }
}
