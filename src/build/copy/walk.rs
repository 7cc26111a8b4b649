//! All that is below a directory and is to be copied, directories before what is in them, names in their order.

use super::filter::{Filter, Verdict};
use super::selection::{Entry, Kind, changed, modified, size};
use super::tree::{Tree, shown};
use crate::build::pattern::Pattern;
use crate::image::layer::{check_depth, pack};
use anyhow::Result;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Names of a few hundred files come with one getdents64(2).
const NAMES: usize = 64 << 10;

/// Looks through directories.
pub struct Walk<'a> {
    /// Whose files they are.
    pub tree: &'a Tree<'a>,
    /// `--exclude`, of paths as the destination sees them.
    pub excluded: Option<&'a Filter<'a>>,
    /// `--parents`: only what fits this is meant.
    pub included: Option<Pattern>,
    /// What was found.
    pub entries: Vec<Entry>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Files with several names: file system and number → the first entry.
    linked: HashMap<(u64, u64), usize>,
    /// Directories that are copied if something below them is.
    pending: Vec<Entry>,
    names: Vec<u8>,
    skip: usize,
}

impl<'a> Walk<'a> {
    /// Starts with nothing.
    pub fn new(tree: &'a Tree<'a>, excluded: Option<&'a Filter<'a>>) -> Self {
        Self {
            tree,
            excluded,
            included: None,
            entries: Vec::new(),
            warnings: Vec::new(),
            linked: HashMap::new(),
            pending: Vec::new(),
            names: Vec::new(),
            skip: 0,
        }
    }

    /// Takes what is in the directory at `path`, a path without links.
    pub fn content(&mut self, path: &[u8]) -> Result<()> {
        let held = self.tree.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let held = held.map_err(|errno| self.tree.failed("open", path, errno))?;
        self.skip = if path.is_empty() { 0 } else { path.len() + 1 };
        self.directory(&held, &mut path.to_vec(), 0, self.included.is_none())
    }

    /// Takes the one file of that name in a directory; nothing where it is of no kind that can be copied.
    pub fn file(&mut self, path: &[u8], found: &Stat) -> Result<()> {
        let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let held = self.tree.open(directory, OFlags::PATH | OFlags::DIRECTORY);
        let held = held.map_err(|errno| self.tree.failed("open", path, errno))?;
        self.skip = path.len() - name.len();
        if let Some(entry) = self.entry(held.as_fd(), name, path, found)? {
            self.entries.push(entry);
        }
        Ok(())
    }

    /// `whole`: everything in it is meant, as far as `included` goes.
    fn directory(
        &mut self,
        held: &OwnedFd,
        path: &mut Vec<u8>,
        depth: usize,
        whole: bool,
    ) -> Result<()> {
        check_depth(depth, path)?;
        let names = self.read(held.as_fd());
        let names = names.map_err(|errno| self.tree.failed("read", path, errno))?;
        let length = path.len();
        for (name, kind) in names {
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            self.below(held, &name, kind, path, depth, whole)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn below(
        &mut self,
        held: &OwnedFd,
        name: &[u8],
        kind: FileType,
        path: &mut Vec<u8>,
        depth: usize,
        mut whole: bool,
    ) -> Result<()> {
        let mut found = None;
        let is_directory = match kind {
            FileType::Unknown => match self.stat(held, name, path)? {
                None => return Ok(()),
                Some(stat) => {
                    found = Some(stat);
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
            },
            kind => kind == FileType::Directory,
        };
        let verdict = self.verdict(path, is_directory, &mut whole);
        if verdict == Verdict::Pruned || (verdict == Verdict::Left && !is_directory) {
            return Ok(());
        }
        let found = match found {
            None => self.stat(held, name, path)?,
            found => found,
        };
        let Some(entry) = found
            .map(|found| self.entry(held.as_fd(), name, path, &found))
            .transpose()?
            .flatten()
        else {
            return Ok(());
        };
        if entry.kind != Kind::Directory {
            self.entries.append(&mut self.pending);
            self.remember(&entry, found);
            self.entries.push(entry);
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inner = openat(held, name, flags, Mode::empty());
        let inner = inner.map_err(|errno| self.tree.failed("open", path, errno))?;
        let pending = self.pending.len();
        self.pending.push(entry);
        if verdict == Verdict::Taken {
            self.entries.append(&mut self.pending);
        }
        self.directory(&inner, path, depth + 1, whole)?;
        self.pending.truncate(pending);
        Ok(())
    }

    /// What the context, `--exclude` and `--parents` say together.
    fn verdict(&self, path: &[u8], is_directory: bool, whole: &mut bool) -> Verdict {
        let relative = &path[self.skip..];
        let mut verdict = self.tree.verdict(path, is_directory);
        let mut also = |other: Verdict| match (verdict, other) {
            (Verdict::Pruned, _) | (_, Verdict::Pruned) => verdict = Verdict::Pruned,
            (_, Verdict::Left) => verdict = Verdict::Left,
            _ => {}
        };
        if let Some(excluded) = self.excluded {
            also(excluded(relative, is_directory));
        }
        if let (Some(pattern), false) = (&self.included, *whole) {
            let relative = String::from_utf8_lossy(relative);
            if pattern.covers(&relative) {
                *whole = true;
            } else if is_directory && pattern.reaches(&relative) {
                also(Verdict::Left);
            } else {
                also(Verdict::Pruned);
            }
        }
        verdict
    }

    /// What vanishes meanwhile was not there.
    fn stat(&self, held: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Option<Stat>> {
        match statat(held, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => found
                .map(Some)
                .map_err(|errno| self.tree.failed("stat", path, errno)),
        }
    }

    fn entry(
        &mut self,
        held: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        found: &Stat,
    ) -> Result<Option<Entry>> {
        let number = found.st_rdev;
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => {
                let target = readlinkat(held, name, Vec::new());
                let target =
                    target.map_err(|errno| self.tree.failed("read the link", path, errno))?;
                Kind::Link(target.into_bytes().into())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Device(false, number),
            FileType::BlockDevice => Kind::Device(true, number),
            _ => {
                let warning = format!("`{}` is a socket and was left out", shown(path));
                self.warnings.push(warning);
                return Ok(None);
            }
        };
        let first = match kind {
            Kind::File if found.st_nlink > 1 => {
                self.linked.get(&(found.st_dev, found.st_ino)).copied()
            }
            _ => None,
        };
        let mut xattrs = Vec::new();
        if self.tree.is_layers() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = openat(held, name, flags, Mode::empty());
            let entry = entry.map_err(|errno| self.tree.failed("open", path, errno))?;
            xattrs = pack::attributes(&entry, path)?;
        }
        Ok(Some(Entry {
            path: path.into(),
            skip: self.skip,
            kind: first.map_or(kind, Kind::Same),
            mode: found.st_mode & 0o7777,
            owner: self.tree.owner(path, (found.st_uid, found.st_gid)),
            size: size(found),
            modified: modified(found),
            changed: changed(found),
            identity: (found.st_dev, found.st_ino),
            content: None,
            xattrs,
        }))
    }

    /// The next name of the same file is one of this entry, which is about to be taken.
    fn remember(&mut self, entry: &Entry, found: Option<Stat>) {
        if entry.kind == Kind::File && found.is_some_and(|found| found.st_nlink > 1) {
            self.linked.insert(entry.identity, self.entries.len());
        }
    }

    /// The names in a directory, sorted, with what they are if the file system says it.
    fn read(&mut self, held: BorrowedFd<'_>) -> rustix::io::Result<Vec<(Vec<u8>, FileType)>> {
        self.names.clear();
        self.names.reserve(NAMES);
        let mut names = Vec::new();
        let mut directory = RawDir::new(held, self.names.spare_capacity_mut());
        while let Some(entry) = directory.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((name.to_vec(), entry.file_type()));
            }
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(names)
    }
}
