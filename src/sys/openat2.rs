//! Opening a path that somebody else wrote without leaving a directory (openat2(2)).
//!
//! Kernels before 5.6 and seccomp filters that do not know openat2 answer `ENOSYS` or `EPERM`, and any process of the
//! host that renames without end keeps every path with a `..` at `EAGAIN`; then the same rules are kept by a walk over
//! `O_PATH` descriptors, one component at a time.
//!
//! Invariant: whatever the path and the links on its way say, the returned descriptor lies below `root`.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, readlinkat, statat};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// As many links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// A rename or mount anywhere on the host makes openat2 give up a `..` with `EAGAIN`; that often it is tried again.
const ATTEMPTS: usize = 16;

/// What a symbolic link on the way means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    /// `ELOOP`; and `..` above the root is `EXDEV`.
    Refuse,
    /// It is followed as if `root` were `/`.
    InRoot,
}

/// Opens `path` below `root` without following a symbolic link anywhere (`RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`).
///
/// A link gives `ELOOP`, an absolute path or a `..` that leaves gives `EXDEV`.
pub fn open_beneath(root: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    open(root.as_fd(), path, flags, mode, Links::Refuse)
}

/// Opens `path` as a process would whose root directory is `root` (`RESOLVE_IN_ROOT`): absolute links and `..`
/// stay inside.
pub fn open_in_root(root: impl AsFd, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    open(root.as_fd(), path, flags, mode, Links::InRoot)
}

fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    links: Links,
) -> Result<OwnedFd> {
    let resolve = match links {
        Links::Refuse => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        Links::InRoot => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    };
    for _ in 0..ATTEMPTS {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, path, flags, mode, links),
            result => return result,
        }
    }
    walk(root, path, flags, mode, links)
}

/// The same without openat2. Every step opens one name with `O_NOFOLLOW` below a descriptor already held.
fn walk(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    links: Links,
) -> Result<OwnedFd> {
    if path.is_empty() {
        return Err(Errno::NOENT);
    }
    if path[0] == b'/' && links == Links::Refuse {
        return Err(Errno::XDEV);
    }
    let flags = flags | OFlags::CLOEXEC;
    let mut held: Vec<OwnedFd> = Vec::new();
    let mut rest = Vec::new();
    push_components(&mut rest, path);
    let mut followed = 0;
    while let Some(name) = rest.pop() {
        let here = held.last().map_or(root, AsFd::as_fd);
        if name == b".." {
            if held.pop().is_none() && links == Links::Refuse {
                return Err(Errno::XDEV);
            }
            continue;
        }
        let last = rest.is_empty();
        let is_link = matches!(statat(here, &*name, AtFlags::SYMLINK_NOFOLLOW),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        if is_link && !(last && flags.contains(OFlags::NOFOLLOW)) {
            followed += 1;
            if links == Links::Refuse || followed > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            let target = readlinkat(here, &*name, Vec::new())?;
            if target.as_bytes().starts_with(b"/") {
                held.clear();
            }
            push_components(&mut rest, target.as_bytes());
        } else if last {
            return openat(here, &*name, flags | OFlags::NOFOLLOW, mode);
        } else {
            let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            held.push(openat(here, &*name, step, Mode::empty())?);
        }
    }
    openat(held.last().map_or(root, AsFd::as_fd), ".", flags, mode)
}

/// Puts the components of `path` on the stack so that the first is popped first.
fn push_components(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".");
    rest.extend(names.rev().map(<[u8]>::to_vec));
}

/// Opens a directory that the program itself named, as the root of the functions above.
pub fn open_root(path: &std::path::Path) -> Result<OwnedFd> {
    openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// A tree with links of every sort, and a secret outside of it.
    fn tree(base: &Path) -> OwnedFd {
        let root = base.join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(base.join("secret"), "secret").unwrap();
        std::fs::write(root.join("secret"), "inside").unwrap();
        std::fs::write(root.join("a/b/file"), "file").unwrap();
        for (target, name) in [
            ("/a", "absolute"),
            ("../../../../a", "up"),
            ("b/file", "a/file"),
            ("loop", "loop"),
            ("../secret", "escape"),
            ("/absolute/b/../b", "chain"),
            ("missing", "dangling"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        open_root(&root).unwrap()
    }

    #[test]
    fn kernel_and_walk_agree() {
        let base = tempfile::tempdir().unwrap();
        let root = tree(base.path());
        let paths: &[&str] = &[
            "a/b/file",
            "./a//b/file",
            "absolute/b/file",
            "up/b/file",
            "a/file",
            "loop",
            "loop/x",
            "escape",
            "chain/file",
            "dangling",
            "missing",
            "a/b/file/x",
            "..",
            "../secret",
            "a/../../secret",
            "/secret",
            "/",
            ".",
            "",
            "a/..",
            "a/b/../file",
            "a/missing/../b/file",
        ];
        for path in paths {
            for links in [Links::Refuse, Links::InRoot] {
                for flags in [
                    OFlags::RDONLY,
                    OFlags::PATH,
                    OFlags::PATH | OFlags::NOFOLLOW,
                ] {
                    let content = |result: Result<OwnedFd>| {
                        let fd = result?;
                        let stat = rustix::fs::fstat(&fd)?;
                        let mut text = String::new();
                        if flags == OFlags::RDONLY
                            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                        {
                            File::from(fd).read_to_string(&mut text).unwrap();
                            assert_ne!(text, "secret", "{path}");
                        }
                        Ok::<_, Errno>((stat.st_ino, text))
                    };
                    let kernel = content(open(
                        root.as_fd(),
                        path.as_bytes(),
                        flags,
                        Mode::empty(),
                        links,
                    ));
                    let walked = content(walk(
                        root.as_fd(),
                        path.as_bytes(),
                        flags,
                        Mode::empty(),
                        links,
                    ));
                    assert_eq!(kernel, walked, "{path} {flags:?}");
                }
            }
        }
    }

    #[test]
    fn renames_elsewhere_keep_nobody_out() {
        use rustix::fs::{RenameFlags, renameat_with};
        let base = tempfile::tempdir().unwrap();
        let root = tree(base.path());
        let (one, other) = (base.path().join("one"), base.path().join("other"));
        std::fs::write(&one, "").unwrap();
        symlink("secret", &other).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = RenameFlags::EXCHANGE;
                while renameat_with(CWD, &one, CWD, &other, flags).is_ok() {}
            });
            // Longer on its way than any rename is.
            let path = ["a/../".repeat(500), "a/b/file".to_owned()].concat();
            let open =
                || open_in_root(&root, path.as_bytes(), OFlags::RDONLY, Mode::empty()).map(drop);
            let opened: Vec<_> = std::iter::repeat_with(open).take(100).collect();
            // It ends when one of the names is gone.
            std::fs::remove_file(&one).unwrap();
            assert_eq!(opened.iter().find(|result| result.is_err()), None);
        });
    }

    #[test]
    fn walk_creates_only_inside() {
        let base = tempfile::tempdir().unwrap();
        let root = tree(base.path());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        walk(
            root.as_fd(),
            b"absolute/new",
            flags,
            Mode::RUSR,
            Links::InRoot,
        )
        .unwrap();
        assert!(base.path().join("root/a/new").exists());
        walk(
            root.as_fd(),
            b"../../fresh",
            flags,
            Mode::RUSR,
            Links::InRoot,
        )
        .unwrap();
        assert!(base.path().join("root/fresh").exists());
    }
}
