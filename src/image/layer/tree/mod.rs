//! The tree of a layer while it is being written: one member after another becomes an entry on the disk.
//!
//! Knows nothing of archives but their members, nothing of the journal but what it has to be told.
//!
//! Invariants. An entry is always made anew (`O_EXCL`), never written into: a hard link keeps what it had. What
//! a later member replaces is moved aside, not deleted, since the journal may need its content. Directories
//! are plain and writable until [`Tree::finish`] gives them their attributes, so that neither a setgid
//! directory, nor a default access list, nor a missing write permission has an effect on what is put in them.

mod attributes;
mod copy_up;
mod finish;
mod parent;
mod replaced;
mod whiteout;

pub use finish::Finished;

use super::archive::{Member, MemberKind};
use super::journal::Entry;
use super::lower::Lower;
use super::name::{self, Name, Request, join};
use super::{Devices, Rules, failed, refused};
use crate::error::bad_input;
use crate::paths;
use crate::store::tree::names;
use crate::sys::openat2::open_root;
use anyhow::{Context, Result};
pub use attributes::Attributes;
use parent::Directory;
use replaced::Replaced;
use rustix::fs::{
    AtFlags, Dev, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, renameat,
    statat, symlinkat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use whiteout::Form;

/// What directories are made with.
const DIRECTORY_MODE: u32 = 0o755;

/// A directory that will get its attributes at the end.
struct Pending {
    attributes: Attributes,
    opaque: bool,
}

/// A tree in the making.
pub struct Tree<'a> {
    rules: &'a Rules,
    lower: Lower<'a>,
    /// The layer's own directory, in which the tree lies.
    staging: OwnedFd,
    root: OwnedFd,
    /// Who owns what this process makes.
    identity: (u32, u32),
    umask: u32,
    /// Open directories, each below the one before it, by the name that led there.
    held: Vec<(Vec<u8>, Rc<Directory>)>,
    directories: BTreeMap<Vec<u8>, Pending>,
    /// Those that are on the disk.
    whiteouts: BTreeMap<Vec<u8>, Form>,
    /// Device nodes that the rules leave out.
    left_out: BTreeMap<Vec<u8>, ()>,
    replaced: Vec<Replaced>,
    /// How many entries the caller has been given.
    entries: usize,
    /// Whether the archive describes the root, so that the layers below need not.
    has_root_entry: bool,
    depends_on_parents: bool,
}

/// A file made for a member, to be filled.
pub struct NewFile {
    /// Open for writing.
    pub file: OwnedFd,
    path: Vec<u8>,
    attributes: Attributes,
    created: u32,
}

impl<'a> Tree<'a> {
    /// Makes `tree` in the directory.
    pub fn create(directory: &Path, parents: &'a [PathBuf], rules: &'a Rules) -> Result<Self> {
        let tree = directory.join(paths::LAYER_TREE);
        let in_tree = |errno: Errno| {
            anyhow::Error::from(std::io::Error::from(errno))
                .context(format!("create {}", tree.display()))
        };
        let staging = open_root(directory).map_err(in_tree)?;
        mkdirat(
            &staging,
            paths::LAYER_TREE,
            Mode::from_raw_mode(DIRECTORY_MODE),
        )
        .map_err(in_tree)?;
        let root = open_root(&tree).map_err(in_tree)?;
        for list in ["system.posix_acl_default", "system.posix_acl_access"] {
            // What the staging directory hands down must not reach the layer; mostly there is none.
            match rustix::fs::fremovexattr(&root, list) {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(errno) => return Err(in_tree(errno)),
            }
        }
        let stat = rustix::fs::fstat(&root).map_err(in_tree)?;
        let group = rustix::process::getegid();
        if stat.st_mode & 0o2000 != 0 || stat.st_gid != group.as_raw() {
            rustix::fs::fchown(&root, None, Some(group)).map_err(in_tree)?;
            rustix::fs::fchmod(&root, Mode::from_raw_mode(DIRECTORY_MODE)).map_err(in_tree)?;
        }
        let identity = (rustix::process::geteuid().as_raw(), group.as_raw());
        let mut tree = Self {
            rules,
            lower: Lower::new(parents, rules.xattrs),
            staging,
            root,
            identity,
            umask: umask()?,
            held: Vec::new(),
            directories: BTreeMap::new(),
            whiteouts: BTreeMap::new(),
            left_out: BTreeMap::new(),
            replaced: Vec::new(),
            entries: 0,
            has_root_entry: false,
            depends_on_parents: false,
        };
        tree.imply_root()?;
        Ok(tree)
    }

    /// Makes what the member asks for. `None`: nothing that the journal has to know.
    ///
    /// A file is still empty; the caller writes it and gives it to [`Tree::close`].
    pub fn place(&mut self, member: &Member) -> Result<Option<(Entry, Option<NewFile>)>> {
        let placed = match name::request(&member.name, self.rules)? {
            Request::Ignored => None,
            Request::Whiteout(name) => {
                self.whiteout(&name, member)?;
                None
            }
            Request::Opaque(name) => {
                self.opaque(&name, member)?;
                None
            }
            Request::Member(name) => self.member(&name, member)?,
        };
        self.entries += usize::from(placed.is_some());
        Ok(placed)
    }

    /// Moves all that is in a directory to the root.
    pub fn take_in(&self, from: &OwnedFd) -> Result<()> {
        for name in names(from.as_fd()).map_err(|errno| failed("read", b".", errno))? {
            renameat(from, &name, &self.root, &name)
                .map_err(|errno| failed("rename", &name, errno))?;
        }
        Ok(())
    }

    /// Gives a file its attributes, once its content is there.
    pub fn close(&self, file: NewFile) -> Result<()> {
        self.set_on_file(
            file.file.as_fd(),
            &file.path,
            &file.attributes,
            file.created,
        )
    }

    fn member(&mut self, name: &Name, member: &Member) -> Result<Option<(Entry, Option<NewFile>)>> {
        let attributes = Attributes::of(member, self.rules);
        let Some((directory, last)) = name.split() else {
            if member.kind != MemberKind::Directory {
                return Err(
                    refused(&member.name, "the root of a layer must be a directory").into(),
                );
            }
            self.set_pending(b"", attributes, false);
            self.has_root_entry = true;
            return Ok(Some((entry(b"", member), None)));
        };
        let parent = self.parent(directory, member.mtime)?;
        let path = join(&parent.path, last);
        let mut file = None;
        match member.kind {
            MemberKind::File => file = Some(self.file(&parent, last, &path, attributes)?),
            MemberKind::Directory => self.directory(&parent, last, &path, attributes)?,
            MemberKind::SymbolicLink => {
                if member.link.is_empty() {
                    return Err(refused(&member.name, "a symbolic link without a target").into());
                }
                self.make(&parent, &path, |fd| symlinkat(&*member.link, fd, last))?;
                self.set_on_name(parent.fd.as_fd(), last, &path, &attributes, None)?;
            }
            MemberKind::Fifo => self.node(&parent, last, &path, FileType::Fifo, 0, &attributes)?,
            MemberKind::Character if member.device == (0, 0) => {
                // To overlayfs this node means that there is nothing, whoever made it.
                self.whiteout(name, member)?;
                return Ok(None);
            }
            MemberKind::Character | MemberKind::Block => {
                if !self.may_make_device(member, &path)? {
                    self.leave_out(&parent, last, path)?;
                    return Ok(None);
                }
                let kind = if member.kind == MemberKind::Block {
                    FileType::BlockDevice
                } else {
                    FileType::CharacterDevice
                };
                let device = makedev(member.device.0, member.device.1);
                self.node(&parent, last, &path, kind, device, &attributes)?;
            }
            MemberKind::HardLink => {
                if !self.hard_link(&parent, last, &path, member)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some((entry(&path, member), file)))
    }

    fn file(
        &mut self,
        parent: &Directory,
        last: &[u8],
        path: &[u8],
        attributes: Attributes,
    ) -> Result<NewFile> {
        let created = if attributes.xattrs.is_empty() {
            attributes.mode & 0o777
        } else {
            0o600
        };
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.make(parent, path, |fd| {
            openat(fd, last, flags, Mode::from_raw_mode(created))
        })?;
        Ok(NewFile {
            file,
            path: path.to_vec(),
            attributes,
            created,
        })
    }

    fn directory(
        &mut self,
        parent: &Directory,
        last: &[u8],
        path: &[u8],
        attributes: Attributes,
    ) -> Result<()> {
        let make = || mkdirat(&parent.fd, last, Mode::from_raw_mode(DIRECTORY_MODE));
        let mut opaque = false;
        match make() {
            Err(Errno::EXIST) if self.directories.contains_key(path) => {}
            Err(Errno::EXIST) => {
                // What was there hid the lower layers' directory of this name, and is followed by a new one.
                self.make_room(path)?;
                make().map_err(|errno| failed("create the directory", path, errno))?;
                opaque = true;
            }
            result => {
                result.map_err(|errno| failed("create the directory", path, errno))?;
                // One that is a name is not in its way, and still hides.
                if self.whiteouts.contains_key(path) {
                    self.remove_whiteout(path)?;
                    opaque = true;
                }
            }
        }
        self.set_pending(path, attributes, opaque);
        Ok(())
    }

    fn node(
        &mut self,
        parent: &Directory,
        last: &[u8],
        path: &[u8],
        kind: FileType,
        device: Dev,
        attributes: &Attributes,
    ) -> Result<()> {
        let created = attributes.mode & 0o777;
        self.make(parent, path, |fd| {
            mknodat(fd, last, kind, Mode::from_raw_mode(created), device)
        })?;
        self.set_on_name(parent.fd.as_fd(), last, path, attributes, Some(created))
    }

    /// Makes another name of a file; `false` if that file is a device node that was left out.
    fn hard_link(
        &mut self,
        parent: &Directory,
        last: &[u8],
        path: &[u8],
        member: &Member,
    ) -> Result<bool> {
        let target = name::hard_link_target(&member.name, &member.link, self.rules)?;
        let missing = || {
            refused(
                &member.name,
                &format!(
                    "its link target `{}` does not exist",
                    super::shown(&member.link)
                ),
            )
        };
        let (directory, target_last) = target.split().ok_or_else(missing)?;
        let from = self.parent(directory, member.mtime)?;
        let from_path = join(&from.path, target_last);
        match statat(&from.fd, target_last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if self.whiteouts.contains_key(&from_path) => return Err(missing().into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(refused(&member.name, "its link target is a directory").into());
            }
            Ok(_) if from_path == path => return Ok(true),
            Ok(_) => {}
            Err(Errno::NOENT) if self.left_out.contains_key(&from_path) => {
                self.leave_out(parent, last, path.to_vec())?;
                return Ok(false);
            }
            Err(Errno::NOENT) if self.whiteouts.contains_key(&from_path) => {
                return Err(missing().into());
            }
            Err(Errno::NOENT) if self.copy_up(&from, target_last, &from_path)? => {}
            Err(Errno::NOENT) => return Err(missing().into()),
            Err(errno) => return Err(failed("look at", &from_path, errno)),
        }
        if from_path != path {
            self.make(parent, path, |fd| {
                linkat(&from.fd, target_last, fd, last, AtFlags::empty())
            })?;
        }
        Ok(true)
    }

    /// Makes an entry; whatever is at its place makes room.
    fn make<T>(
        &mut self,
        parent: &Directory,
        path: &[u8],
        make: impl Fn(&OwnedFd) -> rustix::io::Result<T>,
    ) -> Result<T> {
        let made = match make(&parent.fd) {
            Err(Errno::EXIST) => {
                self.make_room(path)?;
                make(&parent.fd)
            }
            result => result,
        };
        made.map_err(|errno| failed("create", path, errno))
    }

    fn may_make_device(&self, member: &Member, path: &[u8]) -> Result<bool> {
        match self.rules.devices {
            Devices::Make => Ok(true),
            Devices::Skip => Ok(false),
            Devices::Refuse if path.starts_with(b"dev/") => Ok(false),
            Devices::Refuse => Err(refused(
                &member.name,
                "a device node cannot be made by an ordinary user",
            )
            .hint("layer-devices=skip in the settings leaves device nodes out")
            .into()),
        }
    }

    fn leave_out(&mut self, parent: &Directory, last: &[u8], path: Vec<u8>) -> Result<()> {
        if statat(&parent.fd, last, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            self.make_room(&path)?;
        }
        self.left_out.insert(path, ());
        Ok(())
    }

    /// Notes what a directory will get; an opaque one stays so.
    fn set_pending(&mut self, path: &[u8], attributes: Attributes, opaque: bool) {
        let opaque = opaque
            || self
                .directories
                .get(path)
                .is_some_and(|pending| pending.opaque);
        self.directories
            .insert(path.to_vec(), Pending { attributes, opaque });
    }
}

fn entry(path: &[u8], member: &Member) -> Entry {
    Entry {
        path: PathBuf::from(OsString::from_vec(path.to_vec())),
        kind: member.kind,
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        size: member.size,
    }
}

/// The process's umask, read rather than set: umask(2) can only exchange it, for all threads.
fn umask() -> Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let value = value.and_then(|value| u32::from_str_radix(value.trim(), 8).ok());
    Ok(value.ok_or_else(|| bad_input("/proc/self/status has no umask"))?)
}
