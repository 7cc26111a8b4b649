//! A layer of an overlay's upper directory: its files become the layer's tree as they are, by renaming them. They are read
//! once, for the digest of the tar stream that they would be.
//!
//! ```text
//! upper ─▶ packer ─▶ sha256, journal
//!   └─ rename ─▶ DIRECTORY/tree
//! ```
//!
//! What comes of it is what [`super::unpack()`] makes of that stream. So what only the overlay needed goes before: its own
//! attributes, copies of what is below, places to mount on, opaque directories, which become whiteouts.
//!
//! Nobody may write to the upper directory any more. It is hostile: nothing in it is reached by links.

use super::archive::{Member, Sink};
use super::changes::{Change, ChangeKind};
use super::journal::{Entry, Writer};
use super::name::split;
use super::pack::{Owner, Packer, attribute_names, magic_link, open_directory};
use super::recorded::{Notes, OWNER};
use super::tree::{Attributes, Tree};
use super::{MemberKind, Owners, Rules, Unpacked, failed};
use crate::image::digest::Digest;
use crate::paths;
use crate::store::tree;
use crate::sys::openat2::open_beneath;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mknodat, removexattr, unlinkat, utimensat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What becomes a layer.
pub struct Adopted<'a> {
    /// The upper directory, on the file system of the layer.
    pub upper: &'a Path,
    /// All its changes, sorted.
    pub changes: &'a [Change],
    /// What it has beside them, which goes.
    pub rest: &'a [Vec<u8>],
    /// No time is later, in seconds since 1970.
    pub latest: Option<i64>,
    /// As [`Packer::new`] has it.
    pub owner: Owner<'a>,
    /// What is recorded with a single id.
    pub notes: &'a Notes,
}

/// Makes `tree` and `journal` in `directory`, an empty one; gives what is to be told to the user.
///
/// `parents` are the trees of the layers below, lowest first. Nothing is synced to the disk. After an error
/// the directory holds a part of the layer and is to be thrown away, and so is the upper one.
pub fn adopt(
    adopted: Adopted<'_>,
    directory: &Path,
    parents: &[PathBuf],
    rules: &Rules,
) -> Result<(Unpacked, Vec<String>)> {
    let upper = open_directory(adopted.upper)?;
    let tree = Tree::create(directory, parents, rules)?;
    let recorder = Recorder {
        hasher: Sha256::new(),
        journal: Writer::create(directory.join(paths::LAYER_JOURNAL))?,
        size: 0,
        run: None,
        latest: adopted.latest,
        directories: Vec::new(),
        left_out: Vec::new(),
    };
    let mut packer = Packer::new(recorder, adopted.owner);
    packer.set_latest(adopted.latest);
    if rules.owners == Owners::SingleId {
        packer.heed_recorded_owners(adopted.notes);
    }
    packer.changes(&upper, adopted.changes)?;
    let (mut recorder, warnings) = packer.into_sink()?;
    recorder.end_run()?;
    for path in adopted.rest.iter().chain(&recorder.left_out) {
        remove(&upper, path)?;
    }
    let deleted = adopted.changes.iter();
    for change in deleted.filter(|change| change.kind == ChangeKind::Deleted) {
        whiteout(&upper, &change.path)?;
    }
    // Now nothing is made or removed in them any more.
    for (path, attributes) in &recorder.directories {
        let directory = open_beneath(
            &upper,
            path,
            OFlags::PATH | OFlags::DIRECTORY,
            Mode::empty(),
        );
        let directory = directory.map_err(|errno| failed("open", path, errno))?;
        set_time(&directory, path, attributes)?;
    }
    tree.take_in(&upper)?;
    let tar_size = recorder.journal.finish()?;
    let finished = tree.finish(directory)?;
    let diff_id = Digest::from_hasher(recorder.hasher);
    let unpacked = Unpacked {
        blob_digest: diff_id.clone(),
        diff_id,
        blob_size: tar_size,
        size: recorder.size,
        tar_size,
        depends_on_parents: finished.depends_on_parents,
        marked: finished.marked,
    };
    Ok((unpacked, warnings))
}

/// Hashes the stream and writes its journal, and makes entries what they are to be in a layer.
struct Recorder {
    hasher: Sha256,
    journal: Writer,
    size: u64,
    /// Bytes of the current file that the journal does not know yet: offset and length.
    run: Option<(u64, u64)>,
    latest: Option<i64>,
    /// They get their times at the end.
    directories: Vec<(Vec<u8>, Attributes)>,
    left_out: Vec<Vec<u8>>,
}

impl Recorder {
    fn end_run(&mut self) -> Result<()> {
        match self.run.take() {
            Some((offset, length)) => self.journal.data(offset, length),
            None => Ok(()),
        }
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.end_run()?;
        self.hasher.update(bytes);
        self.journal.raw(bytes)
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.raw(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Recorder {
    fn entry(&mut self, entry: &OwnedFd, member: &Member) -> Result<()> {
        self.journal.entry(&Entry {
            path: PathBuf::from(OsString::from_vec(member.name.clone())),
            kind: member.kind,
            mode: member.mode,
            uid: member.uid,
            gid: member.gid,
            size: member.size,
        })?;
        self.size = self.size.saturating_add(member.size);
        for name in attribute_names(entry, &member.name)? {
            let overlay = [&b"trusted.overlay."[..], b"user.overlay."];
            if name == OWNER.as_bytes() || overlay.iter().any(|prefix| name.starts_with(prefix)) {
                removexattr(magic_link(entry), &name)
                    .map_err(|errno| failed("remove an attribute of", &member.name, errno))?;
            }
        }
        let attributes = Attributes {
            mtime: member.mtime,
            ..Attributes::implied(member.mtime)
        };
        if member.kind == MemberKind::Directory {
            self.directories.push((member.name.clone(), attributes));
        } else if self
            .latest
            .is_some_and(|latest| member.mtime.tv_sec >= latest)
        {
            set_time(entry, &member.name, &attributes)?;
        }
        Ok(())
    }

    fn left_out(&mut self, name: &[u8]) {
        self.left_out.push(name.to_vec());
    }

    fn content(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        let length = bytes.len() as u64;
        self.run = match self.run {
            Some((start, so_far)) if start + so_far == offset => Some((start, so_far + length)),
            _ => {
                self.end_run()?;
                (length > 0).then_some((offset, length))
            }
        };
        Ok(())
    }
}

fn set_time(entry: &OwnedFd, path: &[u8], attributes: &Attributes) -> Result<()> {
    utimensat(entry, "", &attributes.timestamps(), AtFlags::EMPTY_PATH)
        .map_err(|errno| failed("set the time of", path, errno))
}

/// The directory that a path is in, and its name there.
fn parent<'a>(upper: &OwnedFd, path: &'a [u8]) -> Result<(OwnedFd, &'a [u8]), Errno> {
    let (above, last) = split(path).unwrap_or_default();
    let above = if above.is_empty() { b"." } else { above };
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    Ok((open_beneath(upper, above, flags, Mode::empty())?, last))
}

fn remove(upper: &OwnedFd, path: &[u8]) -> Result<()> {
    let attempt = || {
        let (parent, last) = parent(upper, path)?;
        match unlinkat(&parent, last, AtFlags::empty()) {
            Err(Errno::ISDIR) => tree::remove_at(parent.as_fd(), last),
            result => result,
        }
    };
    match attempt() {
        // It was in a directory that is gone.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(failed("remove", path, errno)),
    }
}

fn whiteout(upper: &OwnedFd, path: &[u8]) -> Result<()> {
    let attempt = || {
        let (parent, last) = parent(upper, path)?;
        mknodat(parent, last, FileType::CharacterDevice, Mode::empty(), 0)
    };
    match attempt() {
        // The kernel has made it.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("create the whiteout", path, errno)),
    }
}

/// Takes an upper directory out of its container, into a directory on its way to be a layer: `None` if that is on another
/// file system, or another mount.
pub fn take(upper: &Path, directory: &Path) -> Result<Option<PathBuf>> {
    let place = directory.join(paths::LAYER_REPLACED);
    match std::fs::rename(upper, &place) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(None),
        renamed => renamed
            .with_context(|| format!("rename `{}` to `{}`", upper.display(), place.display()))
            .map(|()| Some(place)),
    }
}
