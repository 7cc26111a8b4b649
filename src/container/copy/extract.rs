//! From a tar stream to files below a directory.
//!
//! The stream is hostile, and so is whoever may change the directory meanwhile. Every file is made anew by its name
//! in a directory that is held, and gets its attributes by its own descriptor: whatever is put in its place
//! meanwhile gets none of them.
//!
//! Directories that are there already stay as they are. New ones get their attributes at the end, when nothing is
//! put in them any more.

use crate::container::root::Owners;
use crate::error::bad_input;
use crate::image::layer::{Archive, Member, MemberKind};
use crate::store::tree;
use crate::sys::openat2::{open_beneath, open_in_root};
use anyhow::{Context, Result, anyhow};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat,
    fstat, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};

/// Whom files are given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// To whom the stream names.
    Keep,
    /// To root of the container.
    Root,
    /// To root of a container that has no other id: they are made so.
    Single,
    /// To whoever makes them.
    Caller,
}

/// Where paths may lead.
pub enum Scope {
    /// Below a directory of the host, without following a symbolic link.
    Beneath(OwnedFd),
    /// Anywhere in a container, as a program in it would be led.
    Root {
        /// The container's root.
        root: OwnedFd,
        /// Where names begin.
        directory: OwnedFd,
        /// How the container's ids are stored.
        owners: Owners,
    },
}

/// Makes files.
pub struct Extractor {
    scope: Scope,
    ids: Ids,
    overwrite: bool,
    /// The destination itself gets the attributes that the stream has for it.
    with_destination: bool,
    /// A stream of no bytes is none.
    never_empty: bool,
    /// The directory of the last member: the next one mostly lies there too.
    held: Option<(Vec<u8>, OwnedFd)>,
    /// New directories with what they are to get.
    pending: Vec<(Made, Member)>,
    warnings: Vec<String>,
}

/// A directory that gets its attributes at the end, by its name, and what it must still be.
struct Made {
    path: Vec<u8>,
    device: u64,
    inode: u64,
}

impl Made {
    fn of(directory: &OwnedFd, path: &[u8]) -> Result<Self> {
        let stat = fstat(directory).context("fstat")?;
        Ok(Self {
            path: path.to_vec(),
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

impl Extractor {
    /// With `overwrite`, files and directories take each other's places.
    pub fn new(scope: Scope, ids: Ids, overwrite: bool) -> Self {
        Self {
            scope,
            ids,
            overwrite,
            with_destination: false,
            never_empty: false,
            held: None,
            pending: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// What the stream has for the destination itself (`./`) is not passed over.
    pub fn with_destination(mut self) -> Self {
        self.with_destination = true;
        self
    }

    /// A stream that has not even the end of an archive, as of a command that has failed, is an error.
    pub fn never_empty(mut self) -> Self {
        self.never_empty = true;
        self
    }

    /// Makes all that the stream has; gives what the user should know.
    pub fn extract(&mut self, stream: impl BufRead) -> Result<Vec<String>> {
        let mut archive = Archive::new(stream);
        let mut is_empty = self.never_empty;
        while let Some(member) = archive.next_member().context("read the archive")? {
            archive.raw().clear();
            is_empty = false;
            let name = clean(&member.name)?;
            let mut content = Content {
                archive: &mut archive,
            };
            self.member(&name, &member, &mut content)
                .with_context(|| format!("create `{}`", shown(&name)))?;
            content.skip().context("read the archive")?;
        }
        if is_empty && archive.raw().is_empty() {
            let error = bad_input("the archive is cut off: there is nothing of it");
            return Err(error
                .hint("see whether what was to write it has failed")
                .into());
        }
        while archive.tail().context("read the archive")? {
            archive.raw().clear();
        }
        self.finish_directories()?;
        Ok(std::mem::take(&mut self.warnings))
    }

    fn member<R: BufRead>(
        &mut self,
        name: &[u8],
        member: &Member,
        content: &mut Content<'_, R>,
    ) -> Result<()> {
        let Some((directory, last)) = split(name) else {
            // The destination itself, which is there.
            return match member.kind {
                MemberKind::Directory if self.with_destination => {
                    let held = self.open_directory(b"").context("openat")?;
                    self.pending.push((Made::of(&held, name)?, member.clone()));
                    Ok(())
                }
                MemberKind::Directory => Ok(()),
                _ => Err(bad_input("the destination is a directory").into()),
            };
        };
        let parent = self.parent(directory)?;
        if member.kind == MemberKind::HardLink && clean(&member.link)? == name {
            // It is there, or is an error; but it must not make room for itself.
            return statat(&parent, last, AtFlags::SYMLINK_NOFOLLOW)
                .map(drop)
                .context("statat");
        }
        if !self.make_room(&parent, last, name, member.kind)? {
            return Ok(());
        }
        match member.kind {
            MemberKind::Directory => {
                mkdirat(&parent, last, Mode::RWXU).context("mkdirat")?;
                let made = hold(&parent, last)?;
                self.pending.push((Made::of(&made, name)?, member.clone()));
                return Ok(());
            }
            MemberKind::File => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file =
                    openat(&parent, last, flags, Mode::RUSR | Mode::WUSR).context("openat")?;
                let mut file = std::fs::File::from(file);
                content.write(member, &mut file)?;
                return self.give_attributes(&file.into(), member);
            }
            MemberKind::HardLink => return self.hard_link(&parent, last, member),
            MemberKind::SymbolicLink => {
                symlinkat(&*member.link, &parent, last).context("symlinkat")?
            }
            MemberKind::Fifo => {
                mknodat(&parent, last, FileType::Fifo, Mode::RUSR, 0).context("mkfifo")?
            }
            MemberKind::Character | MemberKind::Block => {
                if !self.device(&parent, last, name, member)? {
                    return Ok(());
                }
            }
        }
        let made = hold(&parent, last)?;
        self.give_attributes(&made, member)
    }

    /// The directory that a member lies in; what is missing of it is made.
    fn parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        if let Some((held, fd)) = &self.held
            && held == path
        {
            return fd.try_clone().context("duplicate a descriptor");
        }
        let directory = match self.open_directory(path) {
            Err(Errno::NOENT) => {
                let (above, last) = split(path).context("the destination is gone")?;
                let parent = self.parent(above)?;
                match mkdirat(&parent, last, Mode::from(0o755)) {
                    Err(Errno::EXIST) => {
                        return Err(bad_input(format!(
                            "`{}` is a link that leads nowhere",
                            shown(path)
                        ))
                        .into());
                    }
                    made => made.context("mkdirat")?,
                }
                self.open_directory(path)
            }
            opened => opened,
        };
        let directory = match directory {
            Err(Errno::NOTDIR) => {
                let message = format!("`{}` is not a directory", shown(path));
                return Err(bad_input(message).into());
            }
            Err(Errno::LOOP | Errno::XDEV) if matches!(self.scope, Scope::Beneath(_)) => {
                let message = format!(
                    "`{}` is a symbolic link, which is not followed",
                    shown(path)
                );
                return Err(bad_input(message).into());
            }
            opened => opened.with_context(|| format!("open `{}`", shown(path)))?,
        };
        let copy = directory.try_clone().context("duplicate a descriptor")?;
        self.held = Some((path.to_vec(), copy));
        Ok(directory)
    }

    fn open_directory(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if path.is_empty() { b"." } else { path };
        match &self.scope {
            Scope::Beneath(directory) => open_beneath(directory, path, flags, Mode::empty()),
            Scope::Root {
                root, directory, ..
            } => self.walk(root, directory, path, flags),
        }
    }

    /// Names begin at `directory`, links at `root`: the kernel can resolve in one of them only. So names are followed
    /// beneath the directory as long as there is no link on the way, and from the root where one is absolute.
    fn walk(
        &self,
        root: &OwnedFd,
        directory: &OwnedFd,
        path: &[u8],
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        match open_beneath(directory, path, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NOTDIR) => {}
            result => return result,
        }
        let mut here = directory.try_clone().map_err(|_| Errno::MFILE)?;
        let mut rest: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if name == b".." {
                // At the root this is the root itself.
                if !super::place::is_same(&here, root)? {
                    here = openat(&here, "..", step | OFlags::DIRECTORY, Mode::empty())?;
                }
                continue;
            }
            let next = openat(&here, &*name, step, Mode::empty())?;
            match FileType::from_raw_mode(fstat(&next)?.st_mode) {
                FileType::Directory => here = next,
                FileType::Symlink => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                    if target.as_bytes().starts_with(b"/") {
                        here = open_in_root(root, b"/", step | OFlags::DIRECTORY, Mode::empty())?;
                    }
                    rest.extend(components(target.as_bytes()));
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        Ok(here)
    }

    /// Frees the name for a member; false if it is a directory that is there already.
    fn make_room(
        &mut self,
        parent: &OwnedFd,
        last: &[u8],
        name: &[u8],
        kind: MemberKind,
    ) -> Result<bool> {
        let stat = match statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(true),
            stat => stat.context("statat")?,
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let wants_directory = kind == MemberKind::Directory;
        let (there, wanted) = (shown(name), shown(name));
        match (is_directory, wants_directory) {
            (true, true) => return Ok(false),
            (false, false) => unlinkat(parent, last, AtFlags::empty()).context("unlinkat")?,
            (true, false) if !self.overwrite => {
                let message = format!(
                    "cannot overwrite directory \"{there}\" with non-directory \"{wanted}\""
                );
                return Err(bad_input(message).hint("--overwrite does it").into());
            }
            (false, true) if !self.overwrite => {
                let message = format!(
                    "cannot overwrite non-directory \"{there}\" with directory \"{wanted}\""
                );
                return Err(bad_input(message).hint("--overwrite does it").into());
            }
            (true, false) => {
                self.held = None;
                tree::remove_at(parent, last).context("remove the directory")?;
            }
            (false, true) => unlinkat(parent, last, AtFlags::empty()).context("unlinkat")?,
        }
        Ok(true)
    }

    fn hard_link(&mut self, parent: &OwnedFd, last: &[u8], member: &Member) -> Result<()> {
        let target = clean(&member.link)?;
        let (directory, target_last) =
            split(&target).ok_or_else(|| bad_input("a hard link cannot lead to a directory"))?;
        let from = self.parent(directory)?;
        linkat(&from, target_last, parent, last, AtFlags::empty())
            .with_context(|| format!("link to `{}`", shown(&target)))
    }

    /// False if it was left out.
    fn device(
        &mut self,
        parent: &OwnedFd,
        last: &[u8],
        name: &[u8],
        member: &Member,
    ) -> Result<bool> {
        let kind = match member.kind {
            MemberKind::Block => FileType::BlockDevice,
            _ => FileType::CharacterDevice,
        };
        // On the host it would be the host's device, in the hands of whoever the mode lets use it.
        if self.ids == Ids::Caller {
            self.warnings
                .push(format!("`{}` is a device and was left out", shown(name)));
            return Ok(false);
        }
        match mknodat(
            parent,
            last,
            kind,
            Mode::RUSR,
            makedev(member.device.0, member.device.1),
        ) {
            Err(Errno::PERM) => {
                self.warnings.push(format!(
                    "`{}` is a device, which only real root can make, and was left out",
                    shown(name)
                ));
                Ok(false)
            }
            made => made.context("mknodat").map(|()| true),
        }
    }

    fn finish_directories(&mut self) -> Result<()> {
        for (id, member) in std::mem::take(&mut self.pending).into_iter().rev() {
            // Whatever else is there by now was not made here.
            let Ok(directory) = self.open_directory(&id.path) else {
                continue;
            };
            let stat = fstat(&directory).context("fstat")?;
            if (stat.st_dev, stat.st_ino) == (id.device, id.inode) {
                self.give_attributes(&directory, &member)
                    .with_context(|| format!("create `{}`", shown(&id.path)))?;
            }
        }
        Ok(())
    }

    /// In this order: a change of the owner takes set-user-ID and capabilities away, and everything changes times.
    fn give_attributes(&self, file: &OwnedFd, member: &Member) -> Result<()> {
        // By the magic link, since most calls refuse a descriptor that is only held; it leads to this very file.
        let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
        let archived = (member.uid, member.gid);
        if let Some((uid, gid)) = self.owner(archived)? {
            let chowned = chownat(
                file,
                "",
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::EMPTY_PATH,
            );
            match chowned {
                Err(Errno::INVAL) => {
                    let message = format!(
                        "its owner {}:{} does not exist in this user namespace",
                        archived.0, archived.1
                    );
                    let hint = "map more ids: a longer range in /etc/subuid and /etc/subgid";
                    return Err(bad_input(message).hint(hint).into());
                }
                chowned => chowned.context("chown")?,
            }
        }
        let keeps_owner = match self.ids {
            Ids::Keep => true,
            Ids::Root | Ids::Single => archived == (0, 0),
            Ids::Caller => false,
        };
        let is_link = member.kind == MemberKind::SymbolicLink;
        for (name, value) in &member.xattrs {
            let is_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            let is_owners =
                name == b"security.capability" || name.starts_with(b"system.posix_acl_");
            if is_link || !(is_users || is_owners && keeps_owner) {
                continue;
            }
            match rustix::fs::setxattr(&magic, name, value, XattrFlags::empty()) {
                // Where the file system or the kind of file has none, there is nothing to keep.
                Err(Errno::NOTSUP | Errno::PERM) if is_users => {}
                result => result.with_context(|| format!("set the attribute `{}`", shown(name)))?,
            }
        }
        if !is_link {
            let mask = if keeps_owner { 0o7777 } else { 0o1777 };
            chmod(&magic, Mode::from_raw_mode(member.mode & mask)).context("chmod")?;
        }
        let time = Timespec {
            tv_sec: member.mtime.tv_sec.clamp(-(1 << 55), 1 << 55),
            tv_nsec: member.mtime.tv_nsec,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(file, "", &times, AtFlags::EMPTY_PATH).context("utimensat")
    }

    /// Whom a file is given to, if it has to be.
    fn owner(&self, archived: (u32, u32)) -> Result<Option<(u32, u32)>> {
        let stored = |ids| match &self.scope {
            Scope::Root { owners, .. } => owners.stored(ids),
            Scope::Beneath(_) => Ok(ids),
        };
        Ok(match self.ids {
            Ids::Keep => Some(stored(archived)?),
            Ids::Root => Some(stored((0, 0))?),
            Ids::Single | Ids::Caller => None,
        })
    }
}

/// The content of a member.
struct Content<'a, R> {
    archive: &'a mut Archive<R>,
}

impl<R: BufRead> Content<'_, R> {
    fn write(&mut self, member: &Member, file: &mut std::fs::File) -> Result<()> {
        let Some(segments) = &member.sparse else {
            return self.run(member.size, file);
        };
        for segment in segments {
            file.seek(SeekFrom::Start(segment.offset))
                .context("lseek")?;
            self.run(segment.length, file)?;
        }
        file.set_len(member.size).context("ftruncate")
    }

    fn run(&mut self, mut left: u64, file: &mut std::fs::File) -> Result<()> {
        while left > 0 {
            let piece = self.archive.data().context("read the archive")?;
            if piece.is_empty() {
                return Err(anyhow!("the archive ends too early"));
            }
            let length = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
            file.write_all(&piece[..length]).context("write")?;
            self.archive.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// Passes over what was not written.
    fn skip(&mut self) -> Result<()> {
        loop {
            let length = self.archive.data()?.len();
            if length == 0 {
                return Ok(());
            }
            self.archive.consume(length);
        }
    }
}

fn hold(parent: &OwnedFd, last: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, last, flags, Mode::empty()).context("openat")
}

/// A member's name below the destination: without `.` and empty components; one that leads out is refused.
fn clean(name: &[u8]) -> Result<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                let message = format!(
                    "the archive has `{}`, which leads out of the destination",
                    shown(name)
                );
                return Err(bad_input(message).into());
            }
            component => kept.push(component),
        }
    }
    Ok(kept.join(&b'/'))
}

fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    })
}

/// The components of a path, the first one last.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}
