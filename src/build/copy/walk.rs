//! All that is below a directory and is to be copied, directories before what is in them, names in their order.

use super::crowd;
use super::filter::{Filter, Verdict};
use super::selection::{Entry, Kind, changed, modified, size};
use super::stat_cache::StatCache;
use super::tree::{Tree, shown};
use crate::build::pattern::Pattern;
use crate::image::layer::{check_depth, pack};
use anyhow::Result;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Names of a few hundred files come with one getdents64(2).
const NAMES: usize = 32 << 10;

/// Looks through directories.
pub struct Walk<'a> {
    /// Whose files they are.
    pub tree: &'a Tree<'a>,
    /// `--exclude`, of paths as the destination sees them.
    pub excluded: Option<&'a Filter<'a>>,
    /// `--parents`: only what fits this is meant.
    pub included: Option<Pattern>,
    /// Digests that need not be taken again.
    pub known: Option<&'a StatCache>,
    /// What was found.
    pub entries: Vec<Entry>,
    /// What the user should know.
    pub warnings: Vec<String>,
    skip: usize,
}

/// A directory that is open, with the names in it.
pub struct Directory {
    held: OwnedFd,
    path: Box<[u8]>,
    depth: usize,
    /// Everything in it is meant, as far as `included` goes.
    whole: bool,
    names: Names,
}

impl Directory {
    /// The names in it.
    pub fn names(&self) -> &Names {
        &self.names
    }
}

/// Names in their order, with what they are if the file system says it.
#[derive(Default)]
pub struct Names {
    text: Vec<u8>,
    all: Vec<Name>,
}

struct Name {
    /// Its first bytes, which tell most names apart.
    start: [u8; 8],
    /// Where it begins in the text.
    at: u32,
    length: u32,
    kind: FileType,
}

impl Names {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn get(&self, number: usize) -> (&[u8], FileType) {
        let name = &self.all[number];
        (name.within(&self.text), name.kind)
    }

    fn add(&mut self, name: &[u8], kind: FileType) {
        let mut start = [0; 8];
        let length = name.len().min(start.len());
        start[..length].copy_from_slice(&name[..length]);
        self.all.push(Name {
            start,
            at: self.text.len() as u32,
            length: name.len() as u32,
            kind,
        });
        self.text.extend_from_slice(name);
    }

    fn sort(&mut self) {
        let text = &self.text;
        self.all.sort_unstable_by(|one, other| {
            let starts = u64::from_be_bytes(one.start).cmp(&u64::from_be_bytes(other.start));
            starts.then_with(|| one.within(text).cmp(other.within(text)))
        });
    }
}

impl Name {
    fn within<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.at as usize..][..self.length as usize]
    }
}

/// What was found in a directory.
#[derive(Default)]
pub struct Found {
    /// Files and directories, in their order.
    pub kept: Vec<Kept>,
    /// Those of them that are directories.
    pub inner: Vec<Inner>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Something that is copied.
pub struct Kept {
    /// What goes into the selection.
    pub entry: Entry,
    /// There are other names of this file.
    pub has_links: bool,
    /// It is copied only if something below it is.
    pub is_pending: bool,
}

/// A directory whose content is still to be looked at.
pub struct Inner {
    above: Arc<Directory>,
    path: Box<[u8]>,
    whole: bool,
}

impl<'a> Walk<'a> {
    /// Starts with nothing.
    pub fn new(
        tree: &'a Tree<'a>,
        excluded: Option<&'a Filter<'a>>,
        known: Option<&'a StatCache>,
    ) -> Self {
        Self {
            tree,
            excluded,
            included: None,
            known,
            entries: Vec::new(),
            warnings: Vec::new(),
            skip: 0,
        }
    }

    /// Takes what is in the directory at `path`, a path without links.
    pub fn content(&mut self, path: &[u8]) -> Result<()> {
        let held = self.tree.open(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let held = held.map_err(|errno| self.tree.failed("open", path, errno))?;
        self.skip = if path.is_empty() { 0 } else { path.len() + 1 };
        let whole = self.included.is_none();
        let root = self.directory(held, path.into(), 0, whole)?;
        let found = crowd::look(self, root)?;
        (self.entries, self.warnings) = found;
        Ok(())
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
        let mut warnings = std::mem::take(&mut self.warnings);
        let entry = self.entry(held.as_fd(), name, path.into(), found, &mut warnings)?;
        self.entries.extend(entry);
        self.warnings = warnings;
        Ok(())
    }

    /// Opens a directory that was found, and reads its names.
    pub fn open(&self, inner: Inner) -> Result<Directory> {
        let Inner { above, path, whole } = inner;
        let name = match above.path.len() {
            0 => &path[..],
            length => &path[length + 1..],
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(&above.held, name, flags, Mode::empty());
        let held = held.map_err(|errno| self.tree.failed("open", &path, errno))?;
        self.directory(held, path, above.depth + 1, whole)
    }

    fn directory(
        &self,
        held: OwnedFd,
        path: Box<[u8]>,
        depth: usize,
        whole: bool,
    ) -> Result<Directory> {
        check_depth(depth, &path)?;
        let names = read(held.as_fd());
        let names = names.map_err(|errno| self.tree.failed("read", &path, errno))?;
        Ok(Directory {
            held,
            path,
            depth,
            whole,
            names,
        })
    }

    /// Looks at the name of that number in a directory.
    pub fn look(&self, directory: &Arc<Directory>, number: usize, out: &mut Found) -> Result<()> {
        let (name, kind) = directory.names.get(number);
        let path = match &*directory.path {
            b"" => name.into(),
            above => [above, name].join(&b'/').into_boxed_slice(),
        };
        let (mut found, mut kind) = (None, kind);
        if kind == FileType::Unknown {
            let Some(stat) = self.stat(&directory.held, name, &path)? else {
                return Ok(());
            };
            kind = FileType::from_raw_mode(stat.st_mode);
            found = Some(stat);
        }
        let mut whole = directory.whole;
        let is_directory = kind == FileType::Directory;
        let verdict = self.verdict(&path, is_directory, &mut whole);
        if verdict == Verdict::Pruned || (verdict == Verdict::Left && !is_directory) {
            return Ok(());
        }
        let found = match found {
            None => self.stat(&directory.held, name, &path)?,
            found => found,
        };
        let Some(found) = found else { return Ok(()) };
        let held = directory.held.as_fd();
        let Some(entry) = self.entry(held, name, path, &found, &mut out.warnings)? else {
            return Ok(());
        };
        if entry.kind == Kind::Directory {
            out.inner.push(Inner {
                above: Arc::clone(directory),
                path: entry.path.clone(),
                whole,
            });
        }
        out.kept.push(Kept {
            has_links: entry.kind == Kind::File && found.st_nlink > 1,
            is_pending: entry.kind == Kind::Directory && verdict != Verdict::Taken,
            entry,
        });
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

    /// What is said of a file; nothing where it is of no kind that can be copied.
    fn entry(
        &self,
        held: BorrowedFd<'_>,
        name: &[u8],
        path: Box<[u8]>,
        found: &Stat,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Entry>> {
        let failed = |verb: &str, errno| self.tree.failed(verb, &path, errno);
        let number = found.st_rdev;
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => {
                let target = readlinkat(held, name, Vec::new());
                let target = target.map_err(|errno| failed("read the link", errno))?;
                Kind::Link(target.into_bytes().into())
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Device(false, number),
            FileType::BlockDevice => Kind::Device(true, number),
            _ => {
                warnings.push(format!("`{}` is a socket and was left out", shown(&path)));
                return Ok(None);
            }
        };
        let mut xattrs = Vec::new();
        if self.tree.is_layers() {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = openat(held, name, flags, Mode::empty());
            let entry = entry.map_err(|errno| failed("open", errno))?;
            xattrs = pack::attributes(&entry, &path)?;
        }
        let mut entry = Entry {
            owner: self.tree.owner(&path, (found.st_uid, found.st_gid)),
            path,
            skip: self.skip,
            kind,
            mode: found.st_mode & 0o7777,
            size: size(found),
            modified: modified(found),
            changed: changed(found),
            identity: (found.st_dev, found.st_ino),
            content: None,
            xattrs,
        };
        if entry.kind == Kind::File {
            entry.content = self.known.and_then(|known| known.find(&entry));
        }
        Ok(Some(entry))
    }
}

fn read(held: BorrowedFd<'_>) -> rustix::io::Result<Names> {
    let mut buffer = [MaybeUninit::uninit(); NAMES];
    let mut names = Names::default();
    let mut directory = RawDir::new(held, &mut buffer);
    while let Some(entry) = directory.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.add(name, entry.file_type());
        }
    }
    names.sort();
    Ok(names)
}
