//! The journal of a layer: everything of its tar stream that the tree does not hold, and where the rest lies.
//!
//! A zstd stream of records. Each begins with a byte that says which; numbers are LEB128:
//!
//! | record | fields | means |
//! |---|---|---|
//! | 0 end | tar size | the stream was unpacked whole |
//! | 1 raw | length, bytes | these bytes come next |
//! | 2 entry | kind, mode, uid, gid, file size, length of path, path | an entry of the tree; the path has no links in it |
//! | 3 data | offset, length | these bytes of the last entry's file come next |
//!
//! Invariant: the raw bytes and the data, in order, are the tar stream.

use super::archive::MemberKind;
use super::disk_full;
use crate::error::bad_input;
use crate::image::digest::Digest;
use crate::paths;
use crate::sys::openat2::{open_beneath, open_root};
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Headers shrink by a factor of about twenty at any level; the first costs the least time.
const ZSTD_LEVEL: i32 = 1;
/// Raw bytes are gathered up to this many before they become a record.
const GATHERED: usize = 64 << 10;
const PIECE: usize = 256 << 10;
/// Longer raw records or paths are not written, so a longer one is damage.
const MAX_RECORD: u64 = 16 << 20;

const END: u8 = 0;
const RAW: u8 = 1;
const ENTRY: u8 = 2;
const DATA: u8 = 3;

/// An entry with the owner that the archive gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the tree, without symbolic links on the way.
    pub path: PathBuf,
    /// What it is; a hard link stands as what it is in the archive.
    pub kind: MemberKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length of a regular file in bytes.
    pub size: u64,
}

/// One record, as it is read.
pub(super) enum Record {
    /// The whole stream was unpacked; it had that many bytes.
    End(u64),
    /// Bytes of the stream.
    Raw(Vec<u8>),
    /// An entry of the tree.
    Entry(Entry),
    /// Bytes of the last entry's file.
    Data { offset: u64, length: u64 },
}

/// A journal being written.
pub(super) struct Writer {
    out: zstd::Encoder<'static, BufWriter<File>>,
    gathered: Vec<u8>,
    path: PathBuf,
    tar_size: u64,
}

impl Writer {
    /// Makes the file; it must not be there.
    pub fn create(path: PathBuf) -> Result<Self> {
        let attempt = || {
            File::create_new(&path)
                .and_then(|file| zstd::Encoder::new(BufWriter::new(file), ZSTD_LEVEL))
        };
        let out = attempt().map_err(|error| unwritable("create", &path, error))?;
        Ok(Self {
            out,
            gathered: Vec::with_capacity(GATHERED),
            path,
            tar_size: 0,
        })
    }

    /// Bytes of the stream that are kept here.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.tar_size += bytes.len() as u64;
        for piece in bytes.chunks(GATHERED) {
            if self.gathered.len() + piece.len() > GATHERED {
                self.flush_raw()?;
            }
            self.gathered.extend_from_slice(piece);
        }
        Ok(())
    }

    /// An entry that has come to be.
    pub fn entry(&mut self, entry: &Entry) -> Result<()> {
        let path = std::os::unix::ffi::OsStrExt::as_bytes(entry.path.as_os_str());
        let mut record = vec![ENTRY, kind_code(entry.kind)];
        for value in [
            u64::from(entry.mode),
            u64::from(entry.uid),
            u64::from(entry.gid),
            entry.size,
            path.len() as u64,
        ] {
            push_number(&mut record, value);
        }
        record.extend_from_slice(path);
        self.record(&record)
    }

    /// Bytes of the stream that are in the last entry's file.
    pub fn data(&mut self, offset: u64, length: u64) -> Result<()> {
        self.tar_size += length;
        let mut record = vec![DATA];
        push_number(&mut record, offset);
        push_number(&mut record, length);
        self.record(&record)
    }

    /// Writes the end; gives the length of the stream.
    pub fn finish(mut self) -> Result<u64> {
        let mut record = vec![END];
        push_number(&mut record, self.tar_size);
        self.record(&record)?;
        let Self {
            out,
            path,
            tar_size,
            ..
        } = self;
        out.finish()
            .and_then(|mut file| file.flush())
            .map_err(|error| unwritable("write", &path, error))?;
        Ok(tar_size)
    }

    fn record(&mut self, record: &[u8]) -> Result<()> {
        self.flush_raw()?;
        self.write(record)
    }

    fn flush_raw(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut head = vec![RAW];
        push_number(&mut head, self.gathered.len() as u64);
        self.write(&head)?;
        let gathered = std::mem::take(&mut self.gathered);
        self.write(&gathered)?;
        self.gathered = gathered;
        self.gathered.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|error| unwritable("write", &self.path, error))
    }
}

fn unwritable(verb: &str, path: &Path, error: io::Error) -> anyhow::Error {
    let doing = format!("{verb} {}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => disk_full(&doing).into(),
        _ => anyhow::Error::from(error).context(doing),
    }
}

/// The records of a journal, up to and with its end.
pub(super) struct Reader {
    input: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    path: PathBuf,
}

impl Reader {
    /// Opens the journal of a layer's directory.
    pub fn open(path: PathBuf) -> Result<Self> {
        let attempt = || File::open(&path).and_then(zstd::Decoder::new);
        let input = attempt().with_context(|| format!("open {}", path.display()))?;
        Ok(Self {
            input: BufReader::new(input),
            path,
        })
    }

    /// The next record; there is one until [`Record::End`].
    pub fn next(&mut self) -> Result<Record> {
        self.read()
            .with_context(|| format!("read {}", self.path.display()))
    }

    fn read(&mut self) -> io::Result<Record> {
        Ok(match self.byte()? {
            END => Record::End(self.number()?),
            RAW => Record::Raw(self.bytes()?),
            DATA => Record::Data {
                offset: self.number()?,
                length: self.number()?,
            },
            ENTRY => Record::Entry(Entry {
                kind: kind_of(self.byte()?).ok_or_else(damaged)?,
                mode: self.small()?,
                uid: self.small()?,
                gid: self.small()?,
                size: self.number()?,
                path: PathBuf::from(OsString::from_vec(self.bytes()?)),
            }),
            _ => return Err(damaged()),
        })
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.input.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn small(&mut self) -> io::Result<u32> {
        u32::try_from(self.number()?).map_err(|_| damaged())
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = Some(self.number()?)
            .filter(|length| *length <= MAX_RECORD)
            .ok_or_else(damaged)?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the journal is damaged")
}

fn push_number(record: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        record.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    record.push(value as u8);
}

const KINDS: [MemberKind; 7] = [
    MemberKind::File,
    MemberKind::Directory,
    MemberKind::HardLink,
    MemberKind::SymbolicLink,
    MemberKind::Character,
    MemberKind::Block,
    MemberKind::Fifo,
];

fn kind_code(kind: MemberKind) -> u8 {
    KINDS
        .iter()
        .position(|known| *known == kind)
        .unwrap_or_default() as u8
}

fn kind_of(code: u8) -> Option<MemberKind> {
    KINDS.get(usize::from(code)).copied()
}

/// Every entry of the layer in the directory, in the order of the archive; of two with one path the later counts.
///
/// Directories that the archive only implies are not among them, nor are whiteouts.
pub fn entries(directory: &Path) -> Result<impl Iterator<Item = Result<Entry>> + use<>> {
    let mut reader = Some(Reader::open(directory.join(paths::LAYER_JOURNAL))?);
    Ok(std::iter::from_fn(move || {
        loop {
            match reader.as_mut()?.next() {
                Ok(Record::Entry(entry)) => return Some(Ok(entry)),
                Ok(Record::End(_)) => return None,
                Ok(_) => {}
                Err(error) => {
                    reader = None;
                    return Some(Err(error));
                }
            }
        }
    }))
}

/// Streams the layer's tar again, byte for byte; returns its digest, which the caller compares with the diff id.
///
/// A file of the tree that is gone, is not a regular file any more or has another length is an error.
pub fn stream_tar(directory: &Path, out: &mut dyn Write) -> Result<Digest> {
    let mut reader = Reader::open(directory.join(paths::LAYER_JOURNAL))?;
    let mut content = Content::open(&directory.join(paths::LAYER_TREE))?;
    let mut hasher = Sha256::new();
    let mut streamed = 0;
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        streamed += bytes.len() as u64;
        out.write_all(bytes).context("write the tar of a layer")
    };
    loop {
        match reader.next()? {
            Record::Raw(bytes) => put(&bytes)?,
            Record::Entry(entry) => content.entry = Some((entry, None)),
            Record::Data { offset, length } => content.read(offset, length, &mut put)?,
            Record::End(tar_size) if tar_size == streamed => {
                return Ok(Digest::from_hasher(hasher));
            }
            Record::End(_) => {
                return Err(bad_input(format!(
                    "journal of {} does not add up",
                    directory.display()
                ))
                .into());
            }
        }
    }
}

/// Streams a part of the layer's tar. Nothing is compared with the diff id; what lies before the part is not read from
/// the tree.
pub fn stream_part(directory: &Path, part: Range<u64>, out: &mut dyn Write) -> Result<()> {
    let mut reader = Reader::open(directory.join(paths::LAYER_JOURNAL))?;
    let mut content = Content::open(&directory.join(paths::LAYER_TREE))?;
    let mut at = 0;
    let mut put = |bytes: &[u8]| out.write_all(bytes).context("write the tar of a layer");
    while at < part.end {
        match reader.next()? {
            Record::Raw(bytes) => {
                let wanted = within(&part, at, bytes.len() as u64);
                put(&bytes[usize::try_from(wanted.start)?..usize::try_from(wanted.end)?])?;
                at += bytes.len() as u64;
            }
            Record::Entry(entry) => content.entry = Some((entry, None)),
            Record::Data { offset, length } => {
                let wanted = within(&part, at, length);
                if !wanted.is_empty() {
                    let start = offset + wanted.start;
                    content.read(start, wanted.end - wanted.start, &mut put)?;
                }
                at += length;
            }
            Record::End(_) => return Err(damaged().into()),
        }
    }
    Ok(())
}

/// Which bytes of a piece of `length` bytes at `at` belong to the part, counted from the piece's start.
fn within(part: &Range<u64>, at: u64, length: u64) -> Range<u64> {
    let start = part.start.saturating_sub(at).min(length);
    start..part.end.saturating_sub(at).clamp(start, length)
}

/// Whether every byte of the layer's tar has its place: the journal is whole, and each file that it relies on is there
/// and as long as it was. The bytes themselves are for [`stream_tar`].
pub fn verify(directory: &Path) -> Result<()> {
    let mut reader = Reader::open(directory.join(paths::LAYER_JOURNAL))?;
    let mut content = Content::open(&directory.join(paths::LAYER_TREE))?;
    let mut counted = 0;
    loop {
        match reader.next()? {
            Record::Raw(bytes) => counted += bytes.len() as u64,
            Record::Entry(entry) => content.entry = Some((entry, None)),
            Record::Data { offset, length } => {
                content.read(offset, 0, &mut |_| Ok(()))?;
                counted += length;
            }
            Record::End(tar_size) if tar_size == counted => return Ok(()),
            Record::End(_) => return Err(damaged().into()),
        }
    }
}

/// The files of a tree, opened one after another.
pub(super) struct Content {
    tree: OwnedFd,
    tree_path: PathBuf,
    /// The entry that data records speak of, and its file once it is open.
    pub entry: Option<(Entry, Option<File>)>,
    buffer: Vec<u8>,
}

impl Content {
    /// Opens the tree.
    pub fn open(tree: &Path) -> Result<Self> {
        let fd = open_root(tree)
            .map_err(io::Error::from)
            .with_context(|| format!("open {}", tree.display()))?;
        Ok(Self {
            tree: fd,
            tree_path: tree.to_owned(),
            entry: None,
            buffer: vec![0; PIECE],
        })
    }

    /// Gives a part of the current entry's file to `put`.
    pub fn read(
        &mut self,
        offset: u64,
        length: u64,
        put: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let Some((entry, file)) = &mut self.entry else {
            return Err(damaged().into());
        };
        let shown = || self.tree_path.join(&entry.path).display().to_string();
        let file = match file {
            Some(file) => file,
            None => file
                .insert(open_file(&self.tree, entry).with_context(|| format!("open {}", shown()))?),
        };
        let (mut at, end) = (offset, offset.saturating_add(length));
        while at < end {
            let wanted = usize::try_from(end - at).map_or(PIECE, |rest| rest.min(PIECE));
            let piece = &mut self.buffer[..wanted];
            file.read_exact_at(piece, at)
                .with_context(|| format!("read {}", shown()))?;
            put(piece)?;
            at += wanted as u64;
        }
        Ok(())
    }
}

fn open_file(tree: &OwnedFd, entry: &Entry) -> io::Result<File> {
    let path = std::os::unix::ffi::OsStrExt::as_bytes(entry.path.as_os_str());
    // Without O_NONBLOCK a fifo put in the file's place would block for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(open_beneath(tree, path, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
        || stat.st_size as u64 != entry.size
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is not the one that was unpacked",
        ));
    }
    Ok(file)
}
