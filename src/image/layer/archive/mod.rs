//! Reading a tar stream member by member, keeping every byte that is not content.
//!
//! Knows V7, ustar, star, GNU (long names, base 256, sparse) and PAX. Does not know layers, whiteouts or the
//! disk. References: pax(1), GNU tar "Standard", "Extensions"; where they differ or are silent it reads as
//! Go's archive/tar does, because that is what wrote and will read nearly every layer.
//!
//! ```text
//! next_member()   header blocks ─▶ raw          the caller takes `raw` away, then
//! data()          content ─▶ the caller         until it is empty, then
//! next_member()   padding, header blocks ─▶ raw ... None: end blocks ─▶ raw
//! tail()          whatever follows the end ─▶ raw, checked to be zeros or another archive
//! ```
//!
//! Invariant: `raw` and the content, in the order in which they are given out, are the stream.

mod header;
mod pax;
mod sparse;
mod write;

use crate::error::{Error, bad_input};
use anyhow::{Context, Result};
use header::{BLOCK, Dialect, Header};
use pax::Records;
use rustix::fs::Timespec;
pub use sparse::Segment;
use sparse::{ContentMap, PaxSparse};
use std::io::{BufRead, Read};
pub use write::{Sink, Writer};

/// The longest extended header or long name, in bytes; Go's reader has the same limit.
const MAX_EXTENSION: u64 = 1 << 20;

/// The end of an archive is read in pieces of that size.
const TAIL_PIECE: usize = 64 << 10;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file, also a "contiguous" one.
    File,
    /// A directory, also one with a GNU list of names.
    Directory,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// One member of the archive, with everything that its headers say.
#[derive(Clone, Debug)]
pub struct Member {
    /// The name as it is written.
    pub name: Vec<u8>,
    /// The target of a link, else empty.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification.
    pub mtime: Timespec,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Length of the file on disk in bytes, holes included.
    pub size: u64,
    /// Which parts of it the archive holds, if not all.
    pub sparse: Option<Vec<Segment>>,
    /// Extended attributes, unfiltered.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What extension members said about the next real one.
#[derive(Default)]
struct Extensions {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    any: bool,
}

/// A tar stream.
pub struct Archive<R> {
    source: R,
    raw: Vec<u8>,
    content: u64,
    padding: u64,
    /// A further archive stands behind the end of this one.
    is_followed: bool,
}

impl<R: BufRead> Archive<R> {
    /// Starts at the first header.
    pub fn new(source: R) -> Self {
        Self {
            source,
            raw: Vec::new(),
            content: 0,
            padding: 0,
            is_followed: false,
        }
    }

    /// Bytes passed since the caller last emptied this, which are not content.
    pub fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.raw
    }

    /// Gives the source back.
    pub fn into_source(self) -> R {
        self.source
    }

    /// The next member, or `None` at the end blocks or where the stream ends instead of a header.
    ///
    /// The content of the one before must have been read.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        debug_assert_eq!(self.content, 0);
        let padding = std::mem::take(&mut self.padding);
        self.keep(padding)?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header_block()? else {
                if extensions.any {
                    return Err(bad_input("the archive ends after an extended header").into());
                }
                return Ok(None);
            };
            let header = Header::new(&block)
                .map_err(|_| bad_input("this is no tar archive: wrong header checksum"))?;
            match header.flag() {
                b'x' => extensions.records = Records::parse(&self.extension(&header)?)?,
                b'L' => {
                    extensions.long_name = Some(header::text(&self.extension(&header)?).to_vec())
                }
                b'K' => {
                    extensions.long_link = Some(header::text(&self.extension(&header)?).to_vec())
                }
                // A global header is passed over, as Docker does: no layer writer uses one for anything but a comment.
                b'g' => {
                    Records::parse(&self.extension(&header)?)?;
                    continue;
                }
                _ => return self.member(&header, extensions).map(Some),
            }
            extensions.any = true;
        }
    }

    /// The next piece of the member's content; empty at its end. Sparse files: their segments one after another.
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.content == 0 {
            return Ok(&[]);
        }
        let piece = self.source.fill_buf().context("read the tar stream")?;
        if piece.is_empty() {
            return Err(truncated().into());
        }
        let length =
            usize::try_from(self.content).map_or(piece.len(), |content| content.min(piece.len()));
        Ok(&piece[..length])
    }

    /// Marks the first bytes of [`Archive::data`] as read.
    pub fn consume(&mut self, length: usize) {
        self.source.consume(length);
        self.content -= length as u64;
    }

    /// Reads on after the end; `true` as long as there is more. Zeros may follow the end blocks, or a whole
    /// further archive, which eStargz uses for its index: no reader looks into that one.
    pub fn tail(&mut self) -> Result<bool> {
        let start = self.raw.len();
        while self.raw.len() - start < TAIL_PIECE {
            let block = self.raw.len();
            self.source
                .by_ref()
                .take(BLOCK as u64)
                .read_to_end(&mut self.raw)
                .context("read the tar stream")?;
            let block = &self.raw[block..];
            if block.is_empty() {
                break;
            }
            if !self.is_followed && block.iter().any(|byte| *byte != 0) {
                self.is_followed = block
                    .try_into()
                    .is_ok_and(|block| Header::new(block).is_ok());
                if !self.is_followed {
                    let message = "the archive has something other than zeros after its end";
                    return Err(bad_input(message).into());
                }
            }
        }
        Ok(self.raw.len() > start)
    }

    /// A header block, or `None` at the end of the archive: two blocks of zeros, or no more bytes.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if second.iter().any(|byte| *byte != 0) => {
                Err(bad_input("the archive has a block of zeros between two members").into())
            }
            _ => Ok(None),
        }
    }

    /// One block, kept; `None` if the stream ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let start = self.raw.len();
        if self
            .source
            .fill_buf()
            .context("read the tar stream")?
            .is_empty()
        {
            return Ok(None);
        }
        self.keep(BLOCK as u64)?;
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.raw[start..]);
        Ok(Some(block))
    }

    /// Moves bytes from the stream to `raw`.
    fn keep(&mut self, mut length: u64) -> Result<()> {
        while length > 0 {
            let piece = self.source.fill_buf().context("read the tar stream")?;
            let taken =
                usize::try_from(length).map_or(piece.len(), |length| length.min(piece.len()));
            if taken == 0 {
                return Err(truncated().into());
            }
            self.raw.extend_from_slice(&piece[..taken]);
            self.source.consume(taken);
            length -= taken as u64;
        }
        Ok(())
    }

    /// The content of an extension member.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = length(header.size(), &header.name())?;
        if size > MAX_EXTENSION {
            return Err(bad_input(format!(
                "the archive has an extended header of {size} bytes, more than {MAX_EXTENSION}"
            ))
            .into());
        }
        let start = self.raw.len();
        self.keep(size)?;
        let content = self.raw[start..].to_vec();
        self.keep(padding(size))?;
        Ok(content)
    }

    fn member(&mut self, header: &Header<'_>, extensions: Extensions) -> Result<Member> {
        let records = &extensions.records;
        let owned = |value: &[u8]| value.to_vec();
        let sparse_name = records.get("GNU.sparse.name").map(owned);
        let name = extensions
            .long_name
            .or(sparse_name)
            .or_else(|| records.get("path").map(owned));
        let name = name.unwrap_or_else(|| header.name());
        let link = extensions
            .long_link
            .or_else(|| records.get("linkpath").map(owned))
            .unwrap_or_else(|| header.link());
        let kind = kind(header.flag(), &name)?;
        let implausible = |what: &str| refused(&name, what);
        let owner = |key: &str, field: Option<i64>| {
            let value = records
                .number(key)?
                .or(field.and_then(|value| u64::try_from(value).ok()));
            // The last 32-bit value means "leave as it is" to chown(2).
            let value = value
                .and_then(|value| u32::try_from(value).ok())
                .filter(|value| *value != u32::MAX);
            value
                .ok_or_else(|| implausible(&format!("its {key} is no number from 0 to 4294967294")))
        };
        let stored = match kind {
            MemberKind::File => records
                .number("size")?
                .map_or_else(|| length(header.size(), &name), Ok)?,
            MemberKind::Directory if header.flag() == b'D' => length(header.size(), &name)?,
            MemberKind::Directory if header.flag() != b'5' && header.size() != Some(0) => {
                return Err(implausible("a directory with a size").into());
            }
            // Whatever the field says: no content follows these.
            _ => 0,
        };
        if stored > i64::MAX as u64 {
            return Err(implausible("its size is implausible").into());
        }
        let device = match kind {
            MemberKind::Character | MemberKind::Block => device(header, &name)?,
            _ => (0, 0),
        };
        let seconds = header
            .mtime()
            .ok_or_else(|| implausible("its time is no number"))?;
        let mode = header
            .mode()
            .ok_or_else(|| implausible("its mode is no number"))?;
        let mut member = Member {
            kind,
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: owner("uid", header.uid())?,
            gid: owner("gid", header.gid())?,
            mtime: records.time("mtime")?.unwrap_or(Timespec {
                tv_sec: seconds,
                tv_nsec: 0,
            }),
            device,
            size: if kind == MemberKind::File { stored } else { 0 },
            sparse: None,
            xattrs: records.attributes()?,
            name,
            link,
        };
        (self.content, self.padding) = (stored, padding(stored));
        if kind == MemberKind::File {
            self.read_sparse(header, records, &mut member)?;
        }
        Ok(member)
    }

    /// Finds out whether the file is sparse, and reads the parts of the map that follow the header.
    fn read_sparse(
        &mut self,
        header: &Header<'_>,
        records: &Records,
        member: &mut Member,
    ) -> Result<()> {
        let mut segments = Vec::new();
        if header.flag() == b'S' {
            if header.dialect() != Dialect::Gnu {
                return Err(refused(&member.name, "a sparse file without the GNU magic").into());
            }
            let (pairs, mut more, size) = header.gnu_sparse();
            sparse::read_gnu(pairs, &mut segments)?;
            while more {
                let block = self.block()?.ok_or_else(truncated)?;
                sparse::read_gnu(&block[..504], &mut segments)?;
                more = block[504] != 0;
            }
            member.size = length(size, &member.name)?;
        } else {
            match sparse::read_pax(records)? {
                PaxSparse::No => return Ok(()),
                PaxSparse::Map(map) => segments = map,
                PaxSparse::MapInContent => {
                    let mut map = ContentMap::default();
                    loop {
                        if self.content < BLOCK as u64 {
                            return Err(refused(
                                &member.name,
                                "the map of the sparse file is cut off",
                            )
                            .into());
                        }
                        let block = self.block()?.ok_or_else(truncated)?;
                        self.content -= BLOCK as u64;
                        if let Some(complete) = map.feed(&block)? {
                            segments = complete;
                            break;
                        }
                    }
                }
            }
            let size = records
                .number("GNU.sparse.realsize")?
                .or(records.number("GNU.sparse.size")?);
            member.size =
                size.ok_or_else(|| refused(&member.name, "a sparse file without its size"))?;
        }
        if member.size > i64::MAX as u64 {
            return Err(refused(&member.name, "its size is implausible").into());
        }
        member.sparse = Some(sparse::checked(segments, member.size, self.content)?);
        Ok(())
    }
}

fn refused(name: &[u8], why: &str) -> Error {
    super::refused(name, why)
}

fn truncated() -> Error {
    bad_input("the archive is cut off: it ends within a member")
}

/// How many bytes fill the last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn length(field: Option<i64>, name: &[u8]) -> Result<u64, Error> {
    field
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| refused(name, "its size is implausible"))
}

fn device(header: &Header<'_>, name: &[u8]) -> Result<(u32, u32), Error> {
    let numbers = header
        .device()
        .and_then(|(major, minor)| Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?)));
    // 12 and 20 bits are what the kernel has (makedev(3) takes more).
    let numbers = numbers.filter(|(major, minor)| *major < 1 << 12 && *minor < 1 << 20);
    numbers.ok_or_else(|| refused(name, "its device number is implausible"))
}

fn kind(flag: u8, name: &[u8]) -> Result<MemberKind, Error> {
    Ok(match flag {
        // Before there was a flag for directories, a slash at the end said so.
        b'\0' | b'0' | b'7' if name.ends_with(b"/") => MemberKind::Directory,
        b'\0' | b'0' | b'7' | b'S' => MemberKind::File,
        b'1' => MemberKind::HardLink,
        b'2' => MemberKind::SymbolicLink,
        b'3' => MemberKind::Character,
        b'4' => MemberKind::Block,
        b'5' | b'D' => MemberKind::Directory,
        b'6' => MemberKind::Fifo,
        _ => {
            let flag = super::shown(&[flag]);
            return Err(refused(
                name,
                &format!("tar member type `{flag}` is not supported"),
            ));
        }
    })
}
