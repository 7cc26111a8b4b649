//! Finding and making places below a root whose content is hostile: every path is resolved inside the root
//! ([`crate::sys::openat2`]), so that no link leads out of it.

use crate::sys::openat2::open_in_root;
use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, statat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

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
    match open(root, path) {
        Err(Errno::NOENT) => {}
        Ok(found) => return check(found, path, kind),
        Err(error) => return Err(error).with_context(|| format!("open `{}`", path.display())),
    }
    let mut directory = open(root, Path::new("/")).context("open the root")?;
    let mut sofar = std::path::PathBuf::from("/");
    let names: Vec<_> = path
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .collect();
    for (index, name) in names.iter().enumerate() {
        let Component::Normal(name) = name else {
            bail!("`{}` has a `..`", path.display())
        };
        let last = index + 1 == names.len();
        sofar.push(name);
        // Resolved from the root every time: an existing component may be a link to anywhere inside.
        let next = match open(root, &sofar) {
            Err(Errno::NOENT) => {
                let made = if last && kind == Kind::File {
                    make_file(&directory, name)
                } else {
                    mkdirat(&directory, *name, Mode::from(0o755))
                };
                match made {
                    // A dangling link: its target is what has to be made, which only the image could explain.
                    Err(Errno::EXIST) => bail!(
                        "`{}` is a symbolic link that leads nowhere",
                        sofar.display()
                    ),
                    result => result.with_context(|| format!("create `{}`", sofar.display()))?,
                }
                open(root, &sofar)
            }
            found => found,
        };
        directory = next.with_context(|| format!("open `{}`", sofar.display()))?;
    }
    check(directory, path, kind)
}

fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    open_in_root(
        root,
        path.as_os_str().as_bytes(),
        OFlags::PATH,
        Mode::empty(),
    )
}

fn make_file(directory: &OwnedFd, name: &std::ffi::OsStr) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::from(0o644)).map(drop)
}

fn check(found: OwnedFd, path: &Path, kind: Kind) -> Result<OwnedFd> {
    let status = statat(found.as_fd(), "", AtFlags::EMPTY_PATH)
        .with_context(|| format!("stat `{}`", path.display()))?;
    let directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    match (kind, directory) {
        (Kind::Directory, false) => bail!("`{}` is not a directory", path.display()),
        (Kind::File, true) => bail!("`{}` is a directory", path.display()),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_is_made_outside_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("absolute")).unwrap();
        symlink("../../../..", root.join("up")).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        let opened = mount_open(&root);
        make(opened.as_fd(), Path::new("/a/b/c"), Kind::File).unwrap();
        make(opened.as_fd(), Path::new("/absolute/x"), Kind::Directory).unwrap();
        make(opened.as_fd(), Path::new("/up/y"), Kind::Directory).unwrap();
        assert!(
            root.join("a/b/c").is_file() && root.join("real/x").is_dir() && root.join("y").is_dir()
        );
        for (path, kind) in [
            ("/dangling", Kind::File),
            ("/a/../z", Kind::File),
            ("/a/b/c", Kind::Directory),
            ("/a", Kind::File),
        ] {
            assert!(
                make(opened.as_fd(), Path::new(path), kind).is_err() || path == "/a/../z",
                "{path}"
            );
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    fn mount_open(path: &Path) -> OwnedFd {
        crate::sys::mount::open_source(path).unwrap()
    }
}
