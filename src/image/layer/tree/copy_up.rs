//! Bringing a file of a lower layer into this one, with all it has, so that it can get another hard link here.

use super::super::lower::Found;
use super::super::{failed, refused};
use super::attributes::is_let_in;
use super::parent::Directory;
use super::{NewFile, Tree};
use crate::image::layer::archive::MemberKind;
use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, OFlags, SeekFrom, readlinkat, symlinkat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

impl Tree<'_> {
    /// `false` if the lower layers have nothing at the path.
    pub fn copy_up(&mut self, parent: &Directory, last: &[u8], path: &[u8]) -> Result<bool> {
        let (layer, stat) = match self.find_below(path)? {
            Found::Nothing => return Ok(false),
            Found::Directory(_) => {
                return Err(refused(path, "a hard link cannot lead to a directory").into());
            }
            Found::Other(layer, stat) => (layer, stat),
        };
        self.depends_on_parents = true;
        let full = self.lower.full(layer, path);
        let mut attributes = self
            .lower
            .attributes(layer, path)
            .map_err(|errno| failed("look at", path, errno))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let member_kind = if kind == FileType::RegularFile {
            MemberKind::File
        } else {
            MemberKind::Fifo
        };
        attributes
            .xattrs
            .retain(|(name, _)| is_let_in(name, member_kind, self.rules));
        match kind {
            FileType::RegularFile => {
                let file = self.file(parent, last, path, attributes)?;
                rustix::fs::open(
                    &full,
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )
                .and_then(|source| copy(&source, &file, stat.st_size as u64))
                .map_err(|errno| failed("copy up", path, errno))?;
                self.close(file)?;
            }
            FileType::Symlink => {
                let target = readlinkat(CWD, &full, Vec::new())
                    .map_err(|errno| failed("read the link", path, errno))?;
                self.make(parent, path, |fd| symlinkat(&*target, fd, last))?;
                self.set_on_name(parent.fd.as_fd(), last, path, &attributes, None)?;
            }
            kind => self.node(parent, last, path, kind, stat.st_rdev, &attributes)?,
        }
        Ok(true)
    }
}

/// Copies the parts that are no holes.
fn copy(source: &OwnedFd, into: &NewFile, size: u64) -> rustix::io::Result<()> {
    rustix::fs::ftruncate(&into.file, size)?;
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            // Nothing but a hole is left.
            Err(Errno::NXIO) => return Ok(()),
            result => result?,
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(at))?;
        let mut into_at = at;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            if rustix::fs::copy_file_range(
                source,
                Some(&mut at),
                &into.file,
                Some(&mut into_at),
                length,
            )? == 0
            {
                return Err(Errno::IO);
            }
        }
    }
}
