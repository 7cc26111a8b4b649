//! Copying a directory with all that is in it: owners, modes, times, extended attributes, hard links, holes, devices.
//!
//! The source is an image's and hostile, but nobody changes it meanwhile. Not here: where the copy goes, and what
//! becomes of a half one.
//!
//! Invariant: every name is looked up in a directory that is held, and none is followed; only regular files and
//! directories are opened. Depth costs no descriptors: the way up is `..`.

use super::tree;
use anyhow::{Context, Result, anyhow};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chmodat, chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr, fremovexattr,
    fsetxattr, fstat, ftruncate, futimens, ioctl_ficlone, lgetxattr, linkat, llistxattr, lsetxattr,
    mkdirat, mknodat, openat, readlinkat, seek, statat, symlinkat, utimensat,
};
use rustix::io::{Errno, pread, pwrite};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The owner of a copy for that of its original.
pub type Owner<'a> = &'a dyn Fn((u32, u32)) -> (u32, u32);

/// How much is read at once where the kernel does not copy by itself, in bytes.
const PIECE: usize = 256 << 10;
/// The kernel allows no more for a list of names or for a value (xattr(7)).
const MAX_ATTRIBUTE: usize = 64 << 10;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What the kernel is asked to do with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Share the blocks (ioctl_ficlone(2)).
    Clone,
    /// Copy in the kernel (copy_file_range(2)).
    Range,
    /// Neither: the two lie on different file systems.
    Write,
}

/// A copy in the making.
pub struct Copier<'a> {
    owner: Owner<'a>,
    /// Holds another name for each file that may have several.
    links: BorrowedFd<'a>,
    /// Device and inode of the original → that name.
    linked: HashMap<(u64, u64), String>,
    /// Who owns what this process makes.
    identity: (u32, u32),
    way: Way,
    buffer: Vec<u8>,
    list: Vec<u8>,
    value: Vec<u8>,
    warnings: Vec<String>,
}

/// A directory whose entries are being copied.
struct Level {
    name: Vec<u8>,
    names: Vec<Vec<u8>>,
    stat: Stat,
    /// Device and inode of the copy.
    copy: (u64, u64),
}

impl<'a> Copier<'a> {
    /// `links` is an empty directory on the file system of the copy.
    pub fn new(links: BorrowedFd<'a>, owner: Owner<'a>) -> Self {
        Self {
            owner,
            links,
            linked: HashMap::new(),
            identity: (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
            way: Way::Clone,
            buffer: Vec::new(),
            list: vec![0; MAX_ATTRIBUTE],
            value: vec![0; MAX_ATTRIBUTE],
            warnings: Vec::new(),
        }
    }

    /// Copies all that is in a directory to an empty one, and its attributes. Gives what the user should know.
    pub fn directory(
        mut self,
        source: BorrowedFd<'_>,
        copy: BorrowedFd<'_>,
    ) -> Result<Vec<String>> {
        let open = |directory: BorrowedFd<'_>| openat(directory, ".", DIRECTORY, Mode::empty());
        let mut here = (open(source).context("open")?, open(copy).context("open")?);
        let mut levels = vec![Level::of(Vec::new(), &here)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                let done = levels.pop().context("no directory is left")?;
                self.directory_attributes(&done, &here)
                    .with_context(|| failure(&levels, &done.name))?;
                if let Some(above) = levels.last() {
                    here = climb(&here, above).with_context(|| failure(&levels, b".."))?;
                }
                continue;
            };
            let below = self
                .entry(&here, &name)
                .with_context(|| failure(&levels, &name))?;
            if let Some(below) = below {
                here = below;
                let level =
                    Level::of(name.clone(), &here).with_context(|| failure(&levels, &name))?;
                levels.push(level);
            }
        }
        Ok(self.warnings)
    }

    /// Copies one entry; a directory is opened on both sides.
    fn entry(
        &mut self,
        here: &(OwnedFd, OwnedFd),
        name: &[u8],
    ) -> Result<Option<(OwnedFd, OwnedFd)>> {
        let (source, copy) = here;
        let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW).context("stat")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            mkdirat(copy, name, Mode::RWXU).context("mkdir")?;
            let open =
                |parent: &OwnedFd| openat(parent, name, DIRECTORY, Mode::empty()).context("open");
            return Ok(Some((open(source)?, open(copy)?)));
        }
        let identity = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(known) = self.linked.get(&identity)
        {
            linkat(self.links, known, copy, name, AtFlags::empty()).context("link")?;
            return Ok(None);
        }
        match kind {
            FileType::RegularFile => self.file(here, name, &stat)?,
            FileType::Symlink => {
                let target = readlinkat(source, name, Vec::new()).context("readlink")?;
                symlinkat(target, copy, name).context("symlink")?;
                self.node_attributes(here, name, &stat)?;
            }
            kind => {
                match mknodat(copy, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev) {
                    Err(Errno::PERM) => {
                        let name = String::from_utf8_lossy(name);
                        self.warnings.push(format!(
                            "`{}` is a device, which only real root can make, and was left out",
                            name.escape_debug()
                        ));
                        return Ok(None);
                    }
                    made => made.context("mknod")?,
                }
                self.node_attributes(here, name, &stat)?;
            }
        }
        if stat.st_nlink > 1 {
            let known = self.linked.len().to_string();
            linkat(copy, name, self.links, &known, AtFlags::empty()).context("link")?;
            self.linked.insert(identity, known);
        }
        Ok(None)
    }

    fn file(
        &mut self,
        (source, copy): &(OwnedFd, OwnedFd),
        name: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        // Should it have become a pipe, this does not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let original = openat(source, name, flags, Mode::empty()).context("open")?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(copy, name, flags, Mode::RUSR | Mode::WUSR).context("create")?;
        self.content(&original, &file, stat).context("copy")?;
        self.own(stat, |uid, gid| fchown(&file, uid, gid))?;
        self.extended(original.as_fd(), file.as_fd())?;
        fchmod(&file, Mode::from_raw_mode(stat.st_mode)).context("chmod")?;
        futimens(&file, &times(stat)).context("utimensat")
    }

    /// What lies beside holes is copied; a length without blocks would else be written as zeros.
    fn content(&mut self, original: &OwnedFd, file: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        let size = stat.st_size.cast_unsigned();
        if size == 0 {
            return Ok(());
        }
        if self.way == Way::Clone {
            if ioctl_ficlone(file, original).is_ok() {
                return Ok(());
            }
            self.way = Way::Range;
        }
        if stat.st_blocks.cast_unsigned() * 512 >= size {
            return self.run(original, file, 0, size);
        }
        ftruncate(file, size)?;
        let mut at = 0;
        while at < size {
            at = match seek(original, SeekFrom::Data(at)) {
                // Nothing but a hole is left.
                Err(Errno::NXIO) => return Ok(()),
                // It does not tell holes.
                Err(Errno::INVAL) => return self.run(original, file, at, size),
                found => found?,
            };
            let end = seek(original, SeekFrom::Hole(at))?;
            self.run(original, file, at, end)?;
            at = end;
        }
        Ok(())
    }

    /// Copies what lies between two offsets. The offset of neither descriptor counts: looking for holes moves that of the
    /// original.
    fn run(
        &mut self,
        original: &OwnedFd,
        file: &OwnedFd,
        start: u64,
        end: u64,
    ) -> Result<(), Errno> {
        let (mut from, mut to) = (start, start);
        while self.way == Way::Range && from < end {
            let length = usize::try_from(end - from).unwrap_or(usize::MAX);
            match copy_file_range(original, Some(&mut from), file, Some(&mut to), length) {
                Ok(0) => return Err(Errno::IO),
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                    self.way = Way::Write;
                }
                copied => drop(copied?),
            }
        }
        if from == end {
            return Ok(());
        }
        self.buffer.resize(PIECE, 0);
        while from < end {
            let wanted = usize::try_from(end - from).map_or(PIECE, |left| left.min(PIECE));
            let length = pread(original, &mut self.buffer[..wanted], from)?;
            if length == 0 {
                return Err(Errno::IO);
            }
            let mut written = 0;
            while written < length {
                let place = from + written as u64;
                written += pwrite(file, &self.buffer[written..length], place)?;
            }
            from += length as u64;
        }
        Ok(())
    }

    fn own(
        &self,
        stat: &Stat,
        chown: impl FnOnce(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
    ) -> Result<()> {
        let (uid, gid) = (self.owner)((stat.st_uid, stat.st_gid));
        if (uid, gid) == self.identity {
            return Ok(());
        }
        chown(Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .with_context(|| format!("give it to {uid}:{gid}"))
    }

    /// Of what cannot be opened: there is no call for it that takes a name in a directory (before Linux 6.13).
    fn node_attributes(
        &mut self,
        (source, copy): &(OwnedFd, OwnedFd),
        name: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        self.own(stat, |uid, gid| {
            chownat(copy, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        })?;
        let path = |directory: &OwnedFd| {
            [
                format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(),
                name,
            ]
            .concat()
        };
        let (from, to) = (path(source), path(copy));
        let list = match llistxattr(&*from, &mut self.list) {
            Err(Errno::NOTSUP) => 0,
            length => length.context("listxattr")?,
        };
        for attribute in kept(&self.list[..list]) {
            let length = lgetxattr(&*from, attribute, &mut self.value).context("getxattr")?;
            let value = translated(attribute, &self.value[..length], self.owner);
            set(
                attribute,
                lsetxattr(&*to, attribute, &value, XattrFlags::empty()),
            )?;
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode);
            chmodat(copy, name, mode, AtFlags::empty()).context("chmod")?;
        }
        utimensat(copy, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).context("utimensat")
    }

    /// After all else: what is put in a directory changes its time, and may inherit from it.
    fn directory_attributes(
        &mut self,
        level: &Level,
        (source, copy): &(OwnedFd, OwnedFd),
    ) -> Result<()> {
        self.own(&level.stat, |uid, gid| fchown(copy, uid, gid))?;
        self.extended(source.as_fd(), copy.as_fd())?;
        fchmod(copy, Mode::from_raw_mode(level.stat.st_mode)).context("chmod")?;
        futimens(copy, &times(&level.stat)).context("utimensat")
    }

    fn extended(&mut self, source: BorrowedFd<'_>, copy: BorrowedFd<'_>) -> Result<()> {
        let list = match flistxattr(source, &mut self.list) {
            Err(Errno::NOTSUP) => 0,
            length => length.context("listxattr")?,
        };
        for attribute in kept(&self.list[..list]) {
            let length = fgetxattr(source, attribute, &mut self.value).context("getxattr")?;
            let value = translated(attribute, &self.value[..length], self.owner);
            set(
                attribute,
                fsetxattr(copy, attribute, &value, XattrFlags::empty()),
            )?;
        }
        Ok(())
    }
}

impl Level {
    fn of(name: Vec<u8>, (source, copy): &(OwnedFd, OwnedFd)) -> Result<Self> {
        Ok(Self {
            name,
            names: tree::names(source.as_fd()).context("read a directory")?,
            stat: fstat(source).context("fstat")?,
            copy: identity(&fstat(copy).context("fstat")?),
        })
    }
}

/// To the directories above, which must still be those that this came from.
fn climb((source, copy): &(OwnedFd, OwnedFd), above: &Level) -> Result<(OwnedFd, OwnedFd)> {
    let open = |below: &OwnedFd| openat(below, "..", DIRECTORY, Mode::empty()).context("open");
    let (source, copy) = (open(source)?, open(copy)?);
    let found = (
        fstat(&source).context("fstat")?,
        fstat(&copy).context("fstat")?,
    );
    if identity(&found.0) != identity(&above.stat) || identity(&found.1) != above.copy {
        return Err(anyhow!("it was moved while it was copied"));
    }
    Ok((source, copy))
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Gives a directory the extended attributes of another, and owner, mode and times that this had when it was looked at.
pub fn attributes(source: BorrowedFd<'_>, stat: &Stat, copy: BorrowedFd<'_>) -> Result<()> {
    let mut copier = Copier::new(source, &|owner| owner);
    // Whoever owns the copy, it may be somebody else than this process.
    fchown(
        copy,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
    .context("chown")?;
    copier.extended(source, copy)?;
    fchmod(copy, Mode::from_raw_mode(stat.st_mode)).context("chmod")?;
    futimens(copy, &times(stat)).context("utimensat")
}

/// Takes the access lists away that a directory has from the one it lies in: they would reach all that is put in it.
pub fn forget_inherited(directory: BorrowedFd<'_>) -> Result<()> {
    for list in ["system.posix_acl_default", "system.posix_acl_access"] {
        match fremovexattr(directory, list) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error).with_context(|| format!("remove `{list}`")),
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

/// The attributes of a list that a copy gets: labels of security modules belong to the host, and those of overlayfs
/// to the layers.
fn kept(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0).filter(|name| {
        let is_overlays =
            name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        let is_files = [&b"user."[..], b"trusted.", b"system.posix_acl_"]
            .iter()
            .any(|kind| name.starts_with(kind));
        !is_overlays && (is_files || *name == b"security.capability")
    })
}

fn set(name: &[u8], result: Result<(), Errno>) -> Result<()> {
    match result {
        // A file system without them, or a user namespace without those whom a list names: only what a program may
        // rely on is worth failing for.
        Err(Errno::NOTSUP | Errno::INVAL | Errno::PERM) if name != b"security.capability" => Ok(()),
        result => result.with_context(|| format!("set `{}`", String::from_utf8_lossy(name))),
    }
}

/// An access list with the ids of the copy (acl(5); `linux/posix_acl_xattr.h`: a version, then tag, permissions and id
/// of each entry); anything else as it is.
fn translated(name: &[u8], value: &[u8], owner: Owner<'_>) -> Vec<u8> {
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    let mut value = value.to_vec();
    if !name.starts_with(b"system.posix_acl_") || value.len() < 4 {
        return value;
    }
    for entry in value[4..].chunks_exact_mut(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let new = match tag {
            USER => owner((id, 0)).0,
            GROUP => owner((0, id)).1,
            _ => continue,
        };
        entry[4..].copy_from_slice(&new.to_le_bytes());
    }
    value
}

/// Where it failed.
fn failure(levels: &[Level], name: &[u8]) -> String {
    let mut path: Vec<&[u8]> = levels.iter().skip(1).map(|level| &*level.name).collect();
    path.push(name);
    let path = path.join(&b'/');
    format!("copy `{}`", String::from_utf8_lossy(&path).escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn files_with_holes_are_the_same_in_every_way() {
        const MIB: u64 = 1 << 20;
        // Where data begins in files of 4 MiB: 300 KiB each time, more than a piece.
        let files: [(&str, &[u64]); 5] = [
            ("first", &[0]),
            ("first-and-last", &[0, 2 * MIB]),
            ("middle", &[MIB]),
            ("last", &[4 * MIB - (300 << 10)]),
            ("none", &[]),
        ];
        for way in [Way::Clone, Way::Range, Way::Write] {
            let place = tempfile::tempdir().unwrap();
            let [source, copy, links] = ["source", "copy", "links"].map(|name| {
                std::fs::create_dir(place.path().join(name)).unwrap();
                rustix::fs::open(place.path().join(name), DIRECTORY, Mode::empty()).unwrap()
            });
            let data: Vec<u8> = (0..300u32 << 10).map(|at| (at % 251) as u8 + 1).collect();
            let path = |of: &str, name: &str| place.path().join(of).join(name);
            for (name, starts) in files {
                let file = std::fs::File::create(path("source", name)).unwrap();
                file.set_len(4 * MIB).unwrap();
                for start in starts {
                    file.write_all_at(&data, *start).unwrap();
                }
            }
            std::fs::write(path("source", "dense"), &data).unwrap();
            let mut copier = Copier::new(links.as_fd(), &|owner| owner);
            copier.way = way;
            copier.directory(source.as_fd(), copy.as_fd()).unwrap();
            for name in files.map(|(name, _)| name).into_iter().chain(["dense"]) {
                let [original, copied] =
                    ["source", "copy"].map(|of| std::fs::read(path(of, name)).unwrap());
                assert!(original == copied, "{name}, {way:?}");
                let blocks = path("copy", name).metadata().unwrap().blocks();
                assert!(name == "dense" || blocks * 512 < 2 * MIB, "{name}, {way:?}");
            }
        }
    }
}
