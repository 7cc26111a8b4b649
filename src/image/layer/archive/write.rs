//! Writing a tar stream member by member, in the dialect that every reader of layers knows: ustar, with a PAX
//! extended header for whatever does not fit (pax(1), "pax Extended Header"; sparse files as GNU tar's PAX 1.0).
//!
//! The mirror of the reader: what [`super::Archive`] reads back is the same [`Member`].
//!
//! Invariant: a member's content has the length that its header says, whatever the caller has given.

use super::header::BLOCK;
use super::{Member, MemberKind, Segment, padding};
use anyhow::{Context, Result};
use rustix::fs::Timespec;
use std::io::{BufWriter, Write};
use std::os::fd::OwnedFd;

/// The largest number that eleven octal digits hold.
const MAX_SIZE: u64 = 0o77_777_777_777;
/// The largest number that seven octal digits hold.
const MAX_ID: u32 = 0o7_777_777;
const MAX_NAME: usize = 100;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What files are packed into: the bytes of the tar stream, and what of them stands for which file.
pub trait Sink: Write {
    /// The header of the member was written, which is this entry on the disk.
    fn entry(&mut self, _entry: &OwnedFd, _member: &Member) -> Result<()> {
        Ok(())
    }

    /// The entry of that name is none that an archive can hold.
    fn left_out(&mut self, _name: &[u8]) {}

    /// The next bytes, which the member's file has at `offset`.
    fn content(&mut self, _offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).context("write the archive")
    }
}

impl<W: Write> Sink for BufWriter<W> {}
impl Sink for &mut dyn Write {}

/// A tar stream on its way out.
pub struct Writer<W> {
    out: W,
    /// Without extended headers.
    length: u64,
    /// What the header of the current member has promised and is still to come.
    content: u64,
    padding: u64,
}

impl<W: Write> Writer<W> {
    /// Starts with nothing.
    pub fn new(out: W) -> Self {
        Self {
            out,
            length: 0,
            content: 0,
            padding: 0,
        }
    }

    /// Begins a member; its content, if it has any, comes by [`Writer::data`].
    pub fn member(&mut self, member: &Member) -> Result<()> {
        self.finish_member()?;
        let mut name = member.name.clone();
        if member.kind == MemberKind::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let map = member.sparse.as_deref().map(sparse_map);
        let stored = match (&member.sparse, &map) {
            (Some(segments), Some(map)) => {
                map.len() as u64 + segments.iter().map(|segment| segment.length).sum::<u64>()
            }
            _ => member.size,
        };
        let records = records(member, &name, stored);
        if !records.is_empty() {
            let before = self.length;
            let mut header = Header::new(b'x', 0o644, records.len() as u64);
            header.text(0, MAX_NAME, b"PaxHeaders");
            self.put(&header.finished())?;
            self.put(&records)?;
            self.put(&ZEROS[..padding(records.len() as u64) as usize])?;
            self.length = before;
        }
        self.put(&ustar(member, &name, stored).finished())?;
        self.content = stored;
        self.padding = padding(stored);
        match map {
            Some(map) => self.data(&map),
            None => Ok(()),
        }
    }

    /// The next bytes of the member's content; those beyond its length are left out.
    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let length =
            usize::try_from(self.content).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.content -= length as u64;
        self.put(&bytes[..length])
    }

    /// How many bytes the current member still lacks.
    pub fn missing(&self) -> u64 {
        self.content
    }

    /// Ends the stream; gives back what it was written to, and its length in bytes without extended
    /// headers: it does not depend on what the clock showed when a file was written.
    pub fn finish(mut self) -> Result<(W, u64)> {
        self.finish_member()?;
        self.put(&[ZEROS; 2].concat())?;
        self.out.flush().context("write the archive")?;
        Ok((self.out, self.length))
    }

    /// A file that turned out shorter than it was is filled up with zeros.
    fn finish_member(&mut self) -> Result<()> {
        let mut left = self.content + self.padding;
        (self.content, self.padding) = (0, 0);
        while left > 0 {
            let length = left.min(BLOCK as u64);
            self.put(&ZEROS[..length as usize])?;
            left -= length;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        self.out.write_all(bytes).context("write the archive")
    }
}

impl<W: Sink> Writer<W> {
    /// What it is written to.
    pub fn sink(&mut self) -> &mut W {
        &mut self.out
    }

    /// Likewise, of bytes that a file has at `offset`.
    pub fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let length =
            usize::try_from(self.content).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.content -= length as u64;
        self.length += length as u64;
        self.out.content(offset, &bytes[..length])
    }
}

/// The map of a sparse file (PAX 1.0) as it stands before the content.
fn sparse_map(segments: &[Segment]) -> Vec<u8> {
    let mut map = format!("{}\n", segments.len());
    for segment in segments {
        map.push_str(&format!("{}\n{}\n", segment.offset, segment.length));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// The extended header of a member; empty where the plain one says it all.
fn records(member: &Member, name: &[u8], stored: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if member.sparse.is_some() {
        push(&mut records, b"GNU.sparse.major", b"1");
        push(&mut records, b"GNU.sparse.minor", b"0");
        push(&mut records, b"GNU.sparse.name", name);
        push(
            &mut records,
            b"GNU.sparse.realsize",
            member.size.to_string().as_bytes(),
        );
    } else if !fits(name) {
        push(&mut records, b"path", name);
    }
    if !fits(&member.link) {
        push(&mut records, b"linkpath", &member.link);
    }
    if stored > MAX_SIZE {
        push(&mut records, b"size", stored.to_string().as_bytes());
    }
    for (key, id) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if id > MAX_ID {
            push(&mut records, key, id.to_string().as_bytes());
        }
    }
    let seconds = u64::try_from(member.mtime.tv_sec);
    if member.mtime.tv_nsec != 0
        || seconds.is_err()
        || seconds.is_ok_and(|seconds| seconds > MAX_SIZE)
    {
        push(&mut records, b"mtime", time(member.mtime).as_bytes());
    }
    for (key, value) in &member.xattrs {
        push(&mut records, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    records
}

fn fits(name: &[u8]) -> bool {
    name.len() <= MAX_NAME && name.is_ascii()
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// `[-]SECONDS[.FRACTION]`.
fn time(time: Timespec) -> String {
    let nanoseconds = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let (seconds, fraction) = (
        nanoseconds.unsigned_abs() / 1_000_000_000,
        nanoseconds.unsigned_abs() % 1_000_000_000,
    );
    match fraction {
        0 => format!("{sign}{seconds}"),
        _ => format!("{sign}{seconds}.{fraction:09}")
            .trim_end_matches('0')
            .to_owned(),
    }
}

fn ustar(member: &Member, name: &[u8], stored: u64) -> Header {
    let flag = match member.kind {
        MemberKind::File => b'0',
        MemberKind::HardLink => b'1',
        MemberKind::SymbolicLink => b'2',
        MemberKind::Character => b'3',
        MemberKind::Block => b'4',
        MemberKind::Directory => b'5',
        MemberKind::Fifo => b'6',
    };
    let mut header = Header::new(flag, member.mode, stored);
    header.text(0, MAX_NAME, name);
    header.octal(108, 8, u64::from(member.uid));
    header.octal(116, 8, u64::from(member.gid));
    header.octal(136, 12, u64::try_from(member.mtime.tv_sec).unwrap_or(0));
    header.text(157, MAX_NAME, &member.link);
    header.octal(329, 8, u64::from(member.device.0));
    header.octal(337, 8, u64::from(member.device.1));
    header
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(flag: u8, mode: u32, size: u64) -> Self {
        let mut header = Self(ZEROS);
        header.octal(100, 8, u64::from(mode & 0o7777));
        for place in [108, 116, 329, 337] {
            header.octal(place, 8, 0);
        }
        header.octal(124, 12, size);
        header.octal(136, 12, 0);
        header.0[156] = flag;
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header
    }

    /// What is too long is cut off: the extended header has it whole.
    fn text(&mut self, place: usize, length: usize, text: &[u8]) {
        let length = length.min(text.len());
        self.0[place..place + length].copy_from_slice(&text[..length]);
    }

    /// What is too large becomes zero: the extended header has it.
    fn octal(&mut self, place: usize, length: usize, value: u64) {
        let digits = format!("{value:0width$o}", width = length - 1);
        let digits = match digits.len() < length {
            true => digits,
            false => "0".repeat(length - 1),
        };
        self.0[place..place + length - 1].copy_from_slice(digits.as_bytes());
    }

    fn finished(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.0[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Archive;
    use super::*;

    fn member(name: &str, kind: MemberKind) -> Member {
        Member {
            name: name.as_bytes().to_vec(),
            link: Vec::new(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            },
            device: (0, 0),
            size: 0,
            sparse: None,
            xattrs: Vec::new(),
        }
    }

    fn cases() -> Vec<(Member, Vec<u8>)> {
        let plain = |name: &str, kind| (member(name, kind), Vec::new());
        let with = |change: &dyn Fn(&mut Member)| {
            let mut member = member("file", MemberKind::File);
            change(&mut member);
            (member, Vec::new())
        };
        let time =
            |tv_sec, tv_nsec| with(&move |member| member.mtime = Timespec { tv_sec, tv_nsec });
        let mut cases = vec![
            plain("dir/", MemberKind::Directory),
            plain(&format!("{}/", "d/".repeat(90)), MemberKind::Directory),
            plain("pipe", MemberKind::Fifo),
            plain(&"long/".repeat(60), MemberKind::Directory),
            plain(&"a".repeat(100), MemberKind::File),
            plain(&"a".repeat(101), MemberKind::File),
            plain("name with \u{e9} and \n", MemberKind::File),
            time(0, 1),
            time(-2, 500_000_000),
            time(-1, 0),
            time(1 << 40, 999_999_999),
            with(&|member| (member.uid, member.gid) = (u32::MAX - 1, 1 << 21)),
            with(&|member| member.mode = 0o7755),
            with(&|member| {
                member.xattrs = vec![
                    (b"user.a".to_vec(), b"x\0=\n".to_vec()),
                    (b"security.capability".to_vec(), vec![0; 90]),
                ];
            }),
            with(&|member| (member.kind, member.device) = (MemberKind::Block, (8, 1 << 19))),
            with(&|member| (member.kind, member.link) = (MemberKind::HardLink, b"dir/x".to_vec())),
            with(&|member| {
                (member.kind, member.link) = (MemberKind::SymbolicLink, vec![b'l'; 300])
            }),
        ];
        for length in [1, 511, 512, 513, 100_000] {
            let mut file = member("content", MemberKind::File);
            file.size = length as u64;
            cases.push((file, vec![7; length]));
        }
        let mut sparse = member("sparse", MemberKind::File);
        let runs = [(4096, 10), (1 << 33, 600), (1 << 34, 0)];
        sparse.size = 1 << 34;
        sparse.sparse = Some(
            runs.map(|(offset, length)| Segment { offset, length })
                .to_vec(),
        );
        cases.push((sparse, vec![9; 610]));
        cases
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = Writer::new(Vec::new());
        for (member, content) in cases() {
            writer.member(&member).unwrap();
            writer.data(&content).unwrap();
            assert_eq!(writer.missing(), 0);
        }
        let (bytes, length) = writer.finish().unwrap();
        assert!(length % 512 == 0 && length < bytes.len() as u64);
        let mut archive = Archive::new(&bytes[..]);
        for (expected, content) in cases() {
            let found = archive.next_member().unwrap().unwrap();
            assert_eq!(format!("{found:?}"), format!("{expected:?}"));
            let mut read = Vec::new();
            loop {
                let piece = archive.data().unwrap().to_vec();
                if piece.is_empty() {
                    break;
                }
                archive.consume(piece.len());
                read.extend(piece);
            }
            assert!(read == content, "{expected:?}");
        }
        assert!(archive.next_member().unwrap().is_none());
    }

    #[test]
    fn content_has_the_length_that_was_promised() {
        let mut file = member("file", MemberKind::File);
        file.size = 5;
        for content in [&b""[..], b"1234567"] {
            let mut writer = Writer::new(Vec::new());
            writer.member(&file).unwrap();
            writer.data(content).unwrap();
            let (bytes, _) = writer.finish().unwrap();
            assert_eq!(bytes.len(), 2048);
            let shown = &content[..content.len().min(5)];
            assert_eq!(&bytes[512..512 + shown.len()], shown);
            assert!(bytes[512 + shown.len()..].iter().all(|byte| *byte == 0));
        }
    }
}
