//! The files of an image, merged, as a tar archive or as plain files of the user's.
//!
//! What is in the image is hostile, and so may be what lies in the directory that the files go to: nothing is reached by a
//! path of more than one component, and no link is followed.
//!
//! Invariant: no file is written outside the directory that was named.

use crate::build::copy::shown;
use crate::build::order::Built;
use crate::build::worker::layers::Files;
use crate::container::engine::Engine;
use crate::image::layer::pack::{Owner, Packer};
use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Stat, Timestamps, UTIME_OMIT, fstat, linkat,
    mkdirat, openat, readlinkat, renameat_with, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Each level of directories holds two descriptors open.
const MAX_DEPTH: usize = 400;

/// What to keep of each permission: whoever gets the files must be able to use them.
const USABLE: u32 = 0o777;

/// Writes the archive; gives what the user should know. Needs [`crate::container::root::enter`].
pub fn archive(
    engine: &Engine,
    images: &[(String, &Built)],
    out: &mut (dyn Write + Send),
) -> Result<Vec<String>> {
    let opened: Vec<Files> = images
        .iter()
        .map(|(_, built)| Files::open(engine, &built.layers.names))
        .collect::<Result<_>>()?;
    let epoch = images.iter().map(|(_, built)| built.epoch).max();
    let owner: Owner = Box::new(|path, found| {
        let under = images.iter().zip(&opened).find_map(|((name, _), files)| {
            let path = match name.as_str() {
                "" => Some(path),
                name => path.strip_prefix(name.as_bytes())?.strip_prefix(b"/"),
            };
            Some((files, path?))
        });
        under.map_or(found, |(files, path)| files.owner(path, found))
    });
    let out: &mut dyn Write = out;
    let mut packer = Packer::new(out, owner);
    packer.set_latest(epoch);
    for ((name, _), files) in images.iter().zip(&opened) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match name.as_str() {
            "" => {
                let root = files.root().try_clone_to_owned();
                packer.content(&root.context("duplicate a descriptor")?, b"")?;
            }
            name => {
                let root = openat(files.root(), ".", flags, Mode::empty());
                packer.tree(root.context("open merged layers")?, name.as_bytes())?;
            }
        }
    }
    Ok(packer.finish()?.1)
}

/// Writes the files into a directory, which is made if it is not there; gives what the user should know. Needs
/// [`crate::container::root::enter`].
pub fn directory(engine: &Engine, images: &[(String, &Built)], path: &Path) -> Result<Vec<String>> {
    std::fs::create_dir_all(path).with_context(|| format!("create `{}`", path.display()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let target = opened.with_context(|| format!("open `{}`", path.display()))?;
    let mut warnings = Vec::new();
    for (name, built) in images {
        let files = Files::open(engine, &built.layers.names)?;
        let mut copy = Copy {
            target: target.as_fd(),
            linked: HashMap::new(),
            left_out: 0,
            epoch: built.epoch,
        };
        let context = || format!("write files to `{}`", path.display());
        match name.as_str() {
            "" => copy.below(files.root(), target.as_fd(), b"", 0),
            name => {
                let name = CString::new(name)?;
                let below = copy.make_directory(target.as_fd(), &name, name.as_bytes())?;
                copy.below(files.root(), below.as_fd(), name.as_bytes(), 0)
            }
        }
        .with_context(context)?;
        if copy.left_out > 0 {
            let message = "devices, pipes or sockets were left out";
            warnings.push(format!("{} {message}", copy.left_out));
        }
    }
    Ok(warnings)
}

/// Writes a file of ours into that directory, or one below it, instead of what is there.
pub fn write(path: &Path, below: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let target = opened.with_context(|| format!("open `{}`", path.display()))?;
    let context = || format!("write `{}/{below}/{name}`", path.display());
    let target = match below {
        "" => target,
        below => {
            openat(&target, below, flags | OFlags::NOFOLLOW, Mode::empty()).with_context(context)?
        }
    };
    let name = CString::new(name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    replace(target.as_fd(), &name, |to, name| {
        let made = openat(to, name, flags, Mode::from_raw_mode(0o644))?;
        Ok(File::from(made).write_all(bytes)?)
    })
    .with_context(context)
}

/// Makes something under another name and puts it in the place of what is there, which is never written to.
fn replace(
    to: BorrowedFd<'_>,
    name: &CString,
    make: impl FnOnce(BorrowedFd<'_>, &CString) -> Result<()>,
) -> Result<()> {
    let random = crate::store::id::random_hex(8)?;
    let other = CString::new(format!(".onggi-{random}"))?;
    let made = make(to, &other).and_then(|()| {
        let renamed = renameat_with(to, &other, to, name, RenameFlags::empty());
        match renamed {
            Err(Errno::ISDIR) => Err(crate::error::bad_input("a directory is in its place")
                .hint("remove it, or write elsewhere")
                .into()),
            renamed => Ok(renamed?),
        }
    });
    // Two names of one file are renamed to nothing at all (rename(2)), and what failed is not wanted.
    let _ = unlinkat(to, &other, AtFlags::empty());
    made
}

/// One image on its way.
struct Copy<'a> {
    target: BorrowedFd<'a>,
    /// Files with several names: device and inode → where the first was written.
    linked: HashMap<(u64, u64), Vec<u8>>,
    left_out: usize,
    /// No time is later, in seconds since 1970.
    epoch: i64,
}

impl Copy<'_> {
    fn below(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &[u8],
        depth: usize,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            let message = format!("`{}`: too many directories in one another", shown(path));
            return Err(crate::error::bad_input(message).into());
        }
        let entries = rustix::fs::Dir::read_from(from);
        let mut names = Vec::new();
        for entry in entries.with_context(|| format!("read `{}`", shown(path)))? {
            let entry = entry.with_context(|| format!("read `{}`", shown(path)))?;
            let name = entry.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let path = match path {
                b"" => name.to_bytes().to_vec(),
                path => [path, b"/", name.to_bytes()].concat(),
            };
            self.entry(from, to, &name, &path, depth)
                .with_context(|| format!("copy `{}`", shown(&path)))?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
        depth: usize,
    ) -> Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(from, name, flags, Mode::empty())?;
        let stat = fstat(&held)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = openat(from, name, flags, Mode::empty())?;
                let made = self.make_directory(to, name, path)?;
                self.below(below.as_fd(), made.as_fd(), path, depth + 1)?;
                rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & USABLE | 0o700))?;
                self.touch(to, name, &stat)
            }
            FileType::RegularFile => self.file(from, to, name, path, &stat),
            FileType::Symlink => {
                let link = readlinkat(&held, "", Vec::new())?;
                replace(to, name, |to, name| Ok(symlinkat(&link, to, name)?))?;
                self.touch(to, name, &stat)
            }
            _ => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CString,
        path: &[u8],
        stat: &Stat,
    ) -> Result<()> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.linked.get(&key)
        {
            let (above, last) = split(first);
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let above =
                crate::sys::openat2::open_beneath(self.target, above, flags, Mode::empty())?;
            let last = CString::new(last)?;
            return replace(to, name, |to, name| {
                Ok(linkat(&above, &last, to, name, AtFlags::empty())?)
            });
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut source = File::from(openat(from, name, flags, Mode::empty())?);
        replace(to, name, |to, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            let mut made = File::from(made);
            std::io::copy(&mut source, &mut made)?;
            rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & USABLE))?;
            Ok(())
        })?;
        self.touch(to, name, stat)?;
        if stat.st_nlink > 1 {
            self.linked.insert(key, path.to_vec());
        }
        Ok(())
    }

    /// A directory that is there stays, with what is in it.
    fn make_directory(&self, to: BorrowedFd<'_>, name: &CString, path: &[u8]) -> Result<OwnedFd> {
        match mkdirat(to, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(to, name, flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let message = format!("`{}` is there and no directory", shown(path));
                Err(crate::error::bad_input(message)
                    .hint("remove it, or write elsewhere")
                    .into())
            }
            opened => Ok(opened?),
        }
    }

    fn touch(&self, to: BorrowedFd<'_>, name: &CString, stat: &Stat) -> Result<()> {
        let whole = stat.st_mtime.min(self.epoch);
        let nanoseconds = if whole == stat.st_mtime {
            stat.st_mtime_nsec
        } else {
            0
        };
        let times = Timestamps {
            last_access: rustix::fs::Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: rustix::fs::Timespec {
                tv_sec: whole,
                tv_nsec: nanoseconds as _,
            },
        };
        Ok(utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b".", path),
    }
}
