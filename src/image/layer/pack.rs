//! From files to a tar stream: single entries, whole trees, and the changes of a container as a layer.
//!
//! The tree is hostile and may change meanwhile: every entry is first opened without following it and without
//! any effect (`O_PATH`), looked at, and only a regular file or a directory is then opened for reading, by that
//! very descriptor. Nothing is ever reached by a path of more than one component.
//!
//! Not here: where the tree lies, and what becomes of the stream.

use super::archive::{Member, MemberKind, Segment, Sink, Writer};
use super::changes::{Change, ChangeKind};
use super::name::{WHITEOUT, join, split};
use super::recorded::{Notes, OWNER};
use super::{check_depth, shown};
use crate::error::bad_input;
use crate::store::tree;
use crate::sys::openat2::open_beneath;
use anyhow::{Context, Result};
use rustix::fs::{
    FileType, Mode, OFlags, SeekFrom, Stat, Timespec, fstat, fstatfs, openat, readlinkat, seek,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Files in more pieces are stored whole, holes as zeros.
const MAX_SEGMENTS: usize = 1 << 16;
/// Unless that is more than so many times what they hold: a hostile one would be written without end.
const MOST_ZEROS: u64 = 16;
/// Files up to this length, in bytes, may be all holes.
const SMALL: u64 = 64 << 20;
const PIECE: usize = 256 << 10;
/// The kernel allows no more for a list of names or for a value (xattr(7)).
const MAX_ATTRIBUTE: usize = 64 << 10;

/// The owner in the archive for a path of the tree and its owner there.
pub type Owner<'a> = Box<dyn Fn(&[u8], (u32, u32)) -> (u32, u32) + Send + 'a>;

/// The first name of a file in the archive, and its owner.
type First = (Vec<u8>, (u32, u32));

/// Files on their way into a tar stream.
pub struct Packer<'a, W> {
    out: Writer<W>,
    owner: Owner<'a>,
    /// Files with several names, by device and inode.
    linked: HashMap<(u64, u64), First>,
    warnings: Vec<String>,
    buffer: Vec<u8>,
    /// No time is later, in seconds since 1970.
    latest: Option<i64>,
    /// Owners are recorded.
    recorded: Option<&'a Notes>,
}

impl<'a, W: Sink> Packer<'a, W> {
    /// Owners go through `owner`.
    pub fn new(out: W, owner: Owner<'a>) -> Self {
        Self {
            out: Writer::new(out),
            owner,
            linked: HashMap::new(),
            warnings: Vec::new(),
            buffer: vec![0; PIECE],
            latest: None,
            recorded: None,
        }
    }

    /// From now on owners are those that are recorded, where any are.
    pub fn heed_recorded_owners(&mut self, notes: &'a Notes) {
        self.recorded = Some(notes);
    }

    /// From now on later times become this one, in seconds since 1970.
    pub fn set_latest(&mut self, latest: Option<i64>) {
        self.latest = latest;
    }

    /// Packs what is already held (`O_PATH`), with all below it, as `name`. False if it is nothing that an archive
    /// can hold.
    pub fn tree(&mut self, entry: OwnedFd, name: &[u8]) -> Result<bool> {
        self.descend(entry, name, 0)
    }

    /// Packs what is in a directory, but not the directory.
    pub fn content(&mut self, directory: &OwnedFd, name: &[u8]) -> Result<()> {
        self.below(directory, name, 0)
    }

    /// A whiteout of `name` (OCI image-spec, layer.md "Whiteouts").
    pub fn whiteout(&mut self, name: &[u8]) -> Result<()> {
        let (directory, last) = split(name).unwrap_or_default();
        let member = Member {
            name: join(directory, &[WHITEOUT, last].concat()),
            ..plain(MemberKind::File)
        };
        self.out.member(&member)
    }

    /// Packs the changes of an overlay's upper directory as a layer. What vanishes meanwhile is not in it.
    pub fn changes(&mut self, upper: &OwnedFd, changes: &[Change]) -> Result<()> {
        for Change { path, kind } in changes {
            if *kind == ChangeKind::Deleted {
                self.whiteout(path)?;
                continue;
            }
            let (directory, last) = split(path).unwrap_or_default();
            if last.starts_with(WHITEOUT) {
                let message = format!(
                    "`/{}` cannot be in a layer: a name that begins with `.wh.` means there that something is gone",
                    shown(path)
                );
                return Err(bad_input(message).hint("rename or remove it").into());
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let above = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            match open_beneath(upper, above, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                opened => {
                    let parent = opened.map_err(|errno| failed("open", path, errno))?;
                    if let Some(entry) = hold(parent.as_fd(), last, path)? {
                        self.entry(&entry, path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the stream: what it was written to, and what to tell the user.
    pub fn into_sink(self) -> Result<(W, Vec<String>)> {
        Ok((self.out.finish()?.0, self.warnings))
    }

    /// Ends the stream: its length in bytes without extended headers, and what to tell the user.
    pub fn finish(self) -> Result<(u64, Vec<String>)> {
        Ok((self.out.finish()?.1, self.warnings))
    }

    fn descend(&mut self, entry: OwnedFd, name: &[u8], depth: usize) -> Result<bool> {
        check_depth(depth, name)?;
        match self.entry(&entry, name)? {
            Packed::Nothing => Ok(false),
            Packed::Entry => Ok(true),
            // Asked for by name, it is packed as far as it can be; met on the way, it is only a place to mount on.
            Packed::Directory(directory) if depth > 0 && is_made_up(&directory, name)? => Ok(true),
            Packed::Directory(directory) => {
                drop(entry);
                self.below(&directory, name, depth).map(|()| true)
            }
        }
    }

    fn below(&mut self, directory: &OwnedFd, name: &[u8], depth: usize) -> Result<()> {
        for last in names(directory).map_err(|errno| failed("read", name, errno))? {
            let name = join(name, &last);
            if let Some(entry) = hold(directory.as_fd(), &last, &name)? {
                self.descend(entry, &name, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Packs one entry without what is below it.
    fn entry(&mut self, entry: &OwnedFd, name: &[u8]) -> Result<Packed> {
        let stat = fstat(entry).map_err(|errno| failed("stat", name, errno))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let Some(kind) = member_kind(file_type) else {
            self.warnings
                .push(format!("`{}` is a socket and was left out", shown(name)));
            self.out.sink().left_out(name);
            return Ok(Packed::Nothing);
        };
        let (uid, gid) = (self.owner)(name, (stat.st_uid, stat.st_gid));
        let recorded = self.recorded.map(|notes| notes.of(entry));
        let recorded = recorded.unwrap_or_default();
        let (uid, gid) = (recorded.uid.unwrap_or(uid), recorded.gid.unwrap_or(gid));
        let mut member = Member {
            name: name.to_vec(),
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: self.time(&stat),
            ..plain(kind)
        };
        if kind != MemberKind::Directory && stat.st_nlink > 1 {
            if let Some((first, owner)) = self.linked.get(&(stat.st_dev, stat.st_ino)) {
                (member.kind, member.link) = (MemberKind::HardLink, first.clone());
                (member.uid, member.gid) = *owner;
                return self.member(entry, &member).map(|()| Packed::Entry);
            }
            self.linked
                .insert((stat.st_dev, stat.st_ino), (name.to_vec(), (uid, gid)));
        }
        member.xattrs = attributes(entry, name)?;
        match kind {
            MemberKind::File => self.file(entry, &stat, member)?,
            MemberKind::Directory => {
                self.member(entry, &member)?;
                return reopen(entry, OFlags::DIRECTORY)
                    .map(Packed::Directory)
                    .map_err(|errno| failed("open", name, errno));
            }
            MemberKind::SymbolicLink => {
                let target = readlinkat(entry, "", Vec::new());
                member.link = target
                    .map_err(|errno| failed("read the link", name, errno))?
                    .into_bytes();
                self.member(entry, &member)?;
            }
            _ => {
                if matches!(kind, MemberKind::Character | MemberKind::Block) {
                    member.device = (
                        rustix::fs::major(stat.st_rdev),
                        rustix::fs::minor(stat.st_rdev),
                    );
                }
                self.member(entry, &member)?;
            }
        }
        Ok(Packed::Entry)
    }

    fn member(&mut self, entry: &OwnedFd, member: &Member) -> Result<()> {
        self.out.member(member)?;
        self.out.sink().entry(entry, member)
    }

    fn time(&self, stat: &Stat) -> Timespec {
        match self.latest {
            Some(latest) if stat.st_mtime >= latest => Timespec {
                tv_sec: latest,
                tv_nsec: 0,
            },
            _ => Timespec {
                tv_sec: stat.st_mtime,
                tv_nsec: stat.st_mtime_nsec as _,
            },
        }
    }

    fn file(&mut self, entry: &OwnedFd, stat: &Stat, mut member: Member) -> Result<()> {
        let name = member.name.clone();
        let file = reopen(entry, OFlags::NONBLOCK).map_err(|errno| failed("open", &name, errno))?;
        member.size = stat.st_size as u64;
        let is_sparse = (stat.st_blocks as u64).saturating_mul(512) < member.size;
        if is_sparse {
            member.sparse =
                segments(&file, member.size).map_err(|errno| failed("read", &name, errno))?;
        }
        let held = (stat.st_blocks as u64).saturating_mul(512);
        if member.sparse.is_none() && is_next_to_nothing(held, member.size) {
            return Err(bad_input(format!(
                "`{}` is {} bytes long, holds {held}, and is in too many pieces to be stored without its holes",
                shown(&name),
                member.size
            ))
            .into());
        }
        self.member(entry, &member)?;
        let whole = vec![Segment {
            offset: 0,
            length: member.size,
        }];
        for segment in member.sparse.unwrap_or(whole) {
            self.copy(&file, segment, &name)?;
        }
        if self.out.missing() > 0 {
            self.warnings.push(format!(
                "`{}` shrank while it was read and was filled up with zeros",
                shown(&name)
            ));
        }
        Ok(())
    }

    fn copy(&mut self, file: &OwnedFd, segment: Segment, name: &[u8]) -> Result<()> {
        let (mut at, end) = (segment.offset, segment.offset + segment.length);
        while at < end {
            let length = usize::try_from(end - at).map_or(PIECE, |left| left.min(PIECE));
            match rustix::io::pread(file, &mut self.buffer[..length], at) {
                // The rest of this run is gone; those after it keep their places.
                Ok(0) if end - at <= self.out.missing() => {
                    self.buffer[..length].fill(0);
                    self.out.data(&self.buffer[..length])?;
                    at += length as u64;
                }
                Ok(read) => {
                    self.out.content(at, &self.buffer[..read])?;
                    at += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("read", name, errno)),
            }
        }
        Ok(())
    }
}

/// Holds an entry without following it and without any effect on it; `None` if it vanished since its name was read.
fn hold(parent: BorrowedFd<'_>, last: &[u8], name: &[u8]) -> Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, last, flags, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        result => result
            .map(Some)
            .map_err(|errno| failed("open", name, errno)),
    }
}

/// Whether what is in a directory is the kernel's answer to a question and no file (statfs(2)).
fn is_made_up(directory: &OwnedFd, name: &[u8]) -> Result<bool> {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    const CGROUP2: u64 = 0x6367_7270;
    const CGROUP: u64 = 0x0027_e0eb;
    const DEVPTS: u64 = 0x1cd1;
    const MQUEUE: u64 = 0x1980_0202;
    let found = fstatfs(directory).map_err(|errno| failed("statfs", name, errno))?;
    Ok([PROC, SYSFS, CGROUP2, CGROUP, DEVPTS, MQUEUE].contains(&(found.f_type as u64)))
}

/// What has been packed.
enum Packed {
    Nothing,
    Entry,
    Directory(OwnedFd),
}

fn plain(kind: MemberKind) -> Member {
    Member {
        name: Vec::new(),
        link: Vec::new(),
        kind,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        device: (0, 0),
        size: 0,
        sparse: None,
        xattrs: Vec::new(),
    }
}

fn member_kind(file_type: FileType) -> Option<MemberKind> {
    Some(match file_type {
        FileType::RegularFile => MemberKind::File,
        FileType::Directory => MemberKind::Directory,
        FileType::Symlink => MemberKind::SymbolicLink,
        FileType::CharacterDevice => MemberKind::Character,
        FileType::BlockDevice => MemberKind::Block,
        FileType::Fifo => MemberKind::Fifo,
        _ => return None,
    })
}

/// Opens what is already held by an `O_PATH` descriptor, and nothing else, for reading (proc_pid_fd(5)).
pub fn reopen(entry: &OwnedFd, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        magic_link(entry),
        OFlags::RDONLY | OFlags::CLOEXEC | flags,
        Mode::empty(),
    )
}

pub(super) fn magic_link(entry: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", entry.as_raw_fd())
}

/// The names in a directory, sorted, so that the same files give the same stream.
fn names(directory: &OwnedFd) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = tree::names(directory.as_fd())?;
    names.sort_unstable();
    Ok(names)
}

/// Whether nearly all of so long a file is holes.
fn is_next_to_nothing(held: u64, length: u64) -> bool {
    length > held.saturating_mul(MOST_ZEROS).max(SMALL)
}

/// The parts of a file that are no holes; `None` if there are too many.
fn segments(file: &OwnedFd, size: u64) -> rustix::io::Result<Option<Vec<Segment>>> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < size {
        let offset = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            // A file system that does not know holes.
            Err(Errno::INVAL) => return Ok(None),
            result => result?,
        };
        let end = seek(file, SeekFrom::Hole(offset))?.min(size);
        if offset >= size {
            break;
        }
        if segments.len() == MAX_SEGMENTS {
            return Ok(None);
        }
        segments.push(Segment {
            offset,
            length: end.saturating_sub(offset),
        });
        at = end;
    }
    if segments
        .last()
        .is_none_or(|last| last.offset + last.length < size)
    {
        // GNU tar takes the end of the last run for the end of the file.
        segments.push(Segment {
            offset: size,
            length: 0,
        });
    }
    Ok(Some(segments))
}

/// The extended attributes that mean the same elsewhere. Not overlayfs' own, and no labels of security modules.
pub fn attributes(entry: &OwnedFd, name: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = magic_link(entry);
    let mut found = Vec::new();
    let names = attribute_names(entry, name)?;
    for key in names.into_iter().filter(|key| is_carried(key)) {
        let mut value = Vec::with_capacity(MAX_ATTRIBUTE);
        match rustix::fs::getxattr(&path, &key, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => found.push((key, value)),
            Err(Errno::NODATA | Errno::NOTSUP | Errno::ACCESS) => {}
            Err(errno) => return Err(failed("read an attribute of", name, errno)),
        }
    }
    Ok(found)
}

/// The names of all its extended attributes.
pub(super) fn attribute_names(entry: &OwnedFd, name: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut list = Vec::with_capacity(MAX_ATTRIBUTE);
    match rustix::fs::listxattr(magic_link(entry), rustix::buffer::spare_capacity(&mut list)) {
        Err(Errno::NOTSUP | Errno::ACCESS) => return Ok(Vec::new()),
        result => result.map_err(|errno| failed("list the attributes of", name, errno))?,
    };
    let names = list.split(|byte| *byte == 0).filter(|key| !key.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// Whether an attribute is one of those.
pub fn is_carried(key: &[u8]) -> bool {
    let overlay = [&b"trusted.overlay."[..], b"user.overlay."];
    let carried = [&b"user."[..], b"trusted.", b"system.posix_acl_"];
    key == b"security.capability"
        || key != OWNER.as_bytes()
            && carried.iter().any(|prefix| key.starts_with(prefix))
            && !overlay.iter().any(|prefix| key.starts_with(prefix))
}

fn failed(verb: &str, name: &[u8], errno: Errno) -> anyhow::Error {
    anyhow::Error::from(std::io::Error::from(errno)).context(format!("{verb} `{}`", shown(name)))
}

/// A directory that the program itself names.
pub fn open_directory(path: &std::path::Path) -> Result<OwnedFd> {
    crate::sys::openat2::open_root(path).with_context(|| format!("open `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_all_holes_is_not_written_out() {
        for (held, length, refused) in [
            (0, SMALL, false),
            (0, SMALL + 1, true),
            (256 << 20, 4 << 30, false),
            (256 << 20, u64::MAX / 2, true),
        ] {
            assert_eq!(is_next_to_nothing(held, length), refused, "{length}");
        }
    }
}
