//! Finding and making places below a root whose content is hostile: every path is resolved inside the root
//! ([`crate::sys::openat2`]), so that no link leads out of it.

use crate::error::{Error, Kind as Failure, bad_input};
use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, mkdirat, openat, readlinkat, statx,
};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// As many links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What is to be at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything that is not one.
    File,
}

/// Opens `path` below `root` (`O_PATH`), making it and what leads to it where it is missing: directories with
/// mode 0755, files empty with mode 0644.
pub fn make(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> Result<OwnedFd> {
    find_or_make(root, path, kind, "is needed").map(|place| place.file)
}

/// Where something is mounted.
#[derive(Debug)]
pub struct Place {
    /// `O_PATH`.
    pub file: OwnedFd,
    /// Device and inode.
    pub identity: (u32, u32, u64),
    /// The mount that it lies in; `None` before Linux 5.8.
    pub mount: Option<u64>,
    /// It need not be made.
    pub was_there: bool,
}

/// The same for something that is to be mounted there.
pub fn target(root: BorrowedFd<'_>, path: &Path, kind: Kind) -> Result<Place> {
    find_or_make(root, path, kind, "is to be mounted")
}

fn find_or_make(root: BorrowedFd<'_>, path: &Path, kind: Kind, purpose: &str) -> Result<Place> {
    let found = match open(root, path) {
        Err(Errno::NOENT) => None,
        Err(error) => return Err(explain(path, error)),
        Ok(found) => Some(found),
    };
    let was_there = found.is_some();
    let found = match found {
        Some(found) => Ok(found),
        None => Walk::new(root, path, kind).finish(),
    };
    let looked = found.and_then(|found| Ok((look(&found)?, found)));
    let (status, found) = looked.map_err(|error| explain(path, error))?;
    check(root, &status, path, kind, purpose)?;
    Ok(Place {
        file: found,
        identity: (status.stx_dev_major, status.stx_dev_minor, status.stx_ino),
        mount: mount_of(&status),
        was_there,
    })
}

fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_in_root(
        root,
        path.as_os_str().as_bytes(),
        OFlags::PATH,
        Mode::empty(),
    )
}

/// A look-up that makes what is missing. Each step opens one name, which is not followed, below a directory that is
/// held: whoever exchanges names meanwhile leads it to another place below the root at most. A link is read and what it
/// says is walked too, so that one that leads nowhere is given what it names, as in Docker.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// The directories from below the root to where the walk is.
    held: Vec<OwnedFd>,
    /// Names that are still to be walked, the next one last.
    rest: Vec<Vec<u8>>,
    links: usize,
    kind: Kind,
}

impl<'a> Walk<'a> {
    fn new(root: BorrowedFd<'a>, path: &Path, kind: Kind) -> Self {
        let mut walk = Self {
            root,
            held: Vec::new(),
            rest: Vec::new(),
            links: 0,
            kind,
        };
        walk.push(path.as_os_str().as_bytes());
        walk
    }

    fn push(&mut self, path: &[u8]) {
        let names = path.split(|byte| *byte == b'/');
        let names = names.filter(|name| !name.is_empty() && *name != b".");
        self.rest.extend(names.rev().map(<[u8]>::to_vec));
    }

    fn finish(mut self) -> Result<OwnedFd, Errno> {
        const HERE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
        while let Some(name) = self.rest.pop() {
            if name == b".." {
                // Above the root is the root.
                self.held.pop();
                continue;
            }
            let here = self.held.last().map_or(self.root, AsFd::as_fd);
            let found = match openat(here, &*name, HERE, Mode::empty()) {
                Err(Errno::NOENT) => {
                    match self.make(here, &name) {
                        // Somebody else was quicker; what has come there is looked at like anything else.
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error),
                    }
                    openat(here, &*name, HERE, Mode::empty())?
                }
                found => found?,
            };
            let is_link = kind_of(&found)? == FileType::Symlink;
            if !is_link {
                self.held.push(found);
                continue;
            }
            self.links += 1;
            if self.links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target = readlinkat(&found, "", Vec::new())?;
            if target.as_bytes().starts_with(b"/") {
                self.held.clear();
            }
            self.push(target.as_bytes());
        }
        match self.held.pop() {
            Some(last) => Ok(last),
            None => self.root.try_clone_to_owned().map_err(|_| Errno::MFILE),
        }
    }

    fn make(&self, here: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        if !self.rest.is_empty() || self.kind == Kind::Directory {
            return mkdirat(here, name, Mode::from(0o755));
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(here, name, flags, Mode::from(0o644)).map(drop)
    }
}

fn look(file: &OwnedFd) -> Result<Statx, Errno> {
    let fields = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
    statx(file, "", AtFlags::EMPTY_PATH, fields)
}

fn mount_of(status: &Statx) -> Option<u64> {
    let mask = StatxFlags::from_bits_retain(status.stx_mask);
    mask.contains(StatxFlags::MNT_ID)
        .then_some(status.stx_mnt_id)
}

/// The mount that an open file or directory lies in; `None` before Linux 5.8.
pub fn mount(file: &OwnedFd) -> Result<Option<u64>, Errno> {
    look(file).map(|status| mount_of(&status))
}

fn kind_of(file: &OwnedFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(look(file)?.stx_mode.into()))
}

fn check(
    root: BorrowedFd<'_>,
    status: &Statx,
    path: &Path,
    kind: Kind,
    purpose: &str,
) -> Result<()> {
    let is_directory = FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory;
    let (is, wanted) = match (kind, is_directory) {
        (Kind::Directory, false) => ("file", "directory"),
        (Kind::File, true) => ("directory", "file"),
        _ => return Ok(()),
    };
    let root = root
        .try_clone_to_owned()
        .context("duplicate a descriptor")?;
    let place = match look(&root).context("stat `/`")?.stx_mnt_id == status.stx_mnt_id {
        true => "in the image",
        false => "in another mount of the container",
    };
    let message = format!(
        "`{}` is a {is} {place}, and a {wanted} {purpose} there",
        path.display()
    );
    Err(bad_input(message).into())
}

fn explain(path: &Path, error: Errno) -> anyhow::Error {
    let path = path.display();
    let (message, hint) = match error {
        Errno::LOOP => {
            let message = format!("`{path}` leads through too many symbolic links, or in a circle");
            return bad_input(message).into();
        }
        Errno::NOTDIR => {
            let message = format!("`{path}` cannot be made: on the way to it there is a file");
            return bad_input(message).into();
        }
        Errno::ROFS => (
            format!(
                "`{path}` is not there, and it cannot be made: the mount that it belongs to is read-only"
            ),
            "make it in the source of that mount, or mount that without `ro`",
        ),
        Errno::ACCESS | Errno::PERM | Errno::OVERFLOW => (
            format!("`{path}` is not there, and the container's root may not make it: {error}"),
            "make it in the source of the mount that it belongs to",
        ),
        _ => return anyhow::Error::from(error).context(format!("open `{path}`")),
    };
    Error::new(Failure::Denied, message).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root with links of every sort, in a directory where nothing else may appear.
    fn root() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        for (target, name) in [
            ("/real", "absolute"),
            ("../../../..", "up"),
            ("/nowhere/at/all", "dangling"),
            ("../../nowhere/../else", "relative"),
            ("dangling", "twice"),
            ("circle", "circle"),
            ("pong", "ping"),
            ("/ping/x", "pong"),
            ("file", "to-file"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let opened = crate::sys::mount::open_source(&root).unwrap();
        (directory, opened)
    }

    #[test]
    fn nothing_is_made_outside_the_root() {
        use Kind::{Directory, File};
        for (path, kind, made) in [
            ("/a/b/c", File, "a/b/c"),
            ("a//./b/", Directory, "a/b"),
            ("/", Directory, ""),
            ("/absolute/x", Directory, "real/x"),
            ("/up/y", Directory, "y"),
            ("/dangling", File, "nowhere/at/all"),
            ("/dangling", Directory, "nowhere/at/all"),
            ("/dangling/z", File, "nowhere/at/all/z"),
            ("/twice", Directory, "nowhere/at/all"),
            ("/relative", File, "else"),
            ("/new/../../../w", Directory, "w"),
            ("/to-file", File, "file"),
        ] {
            let (directory, root) = root();
            let found = make(root.as_fd(), Path::new(path), kind).unwrap();
            let expected = directory.path().join("root").join(made);
            let inode = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
            assert_eq!(
                inode(rustix::fs::fstat(&found).unwrap()),
                inode(rustix::fs::lstat(&expected).unwrap()),
                "{path}"
            );
            assert_eq!(expected.is_dir(), kind == Directory, "{path}");
            assert_eq!(
                std::fs::read_dir(directory.path()).unwrap().count(),
                1,
                "{path}"
            );
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        use Kind::{Directory, File};
        let mismatch = "`/file` is a file in the image, and a directory is to be mounted there";
        for (path, kind, said) in [
            ("/file", Directory, mismatch),
            (
                "/absolute",
                File,
                "`/absolute` is a directory in the image, and a file is to be mounted there",
            ),
            (
                "/circle",
                File,
                "`/circle` leads through too many symbolic links, or in a circle",
            ),
            (
                "/ping/x",
                Directory,
                "`/ping/x` leads through too many symbolic links, or in a circle",
            ),
            (
                "/file/x",
                File,
                "`/file/x` cannot be made: on the way to it there is a file",
            ),
        ] {
            let (_directory, root) = root();
            let error = target(root.as_fd(), Path::new(path), kind).unwrap_err();
            assert_eq!(error.to_string(), said);
        }
    }

    #[test]
    fn an_attacker_who_exchanges_names_leads_nowhere_else() {
        let (directory, root) = root();
        let place = directory.path().join("root/swap");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = symlink("../../../../outside", &place);
                    let _ = std::fs::remove_file(&place);
                    let _ = std::fs::remove_dir_all(&place);
                }
            });
            for _ in 0..2000 {
                let path = Path::new("/swap/deep/er");
                let _ = make(root.as_fd(), path, Kind::Directory);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
