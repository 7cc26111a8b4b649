//! A path with links on its way becomes one without, as a process would see it whose root directory is the root of the
//! files (path_resolution(7)).
//!
//! Invariant: what is found is below the root. It may be changed before it is opened; then that must be done beneath
//! the root and without following a link.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// As many links as the kernel follows in one look-up.
pub const MAX_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug)]
pub enum Resolved {
    /// To something that is there: its path below the root without a link, empty for the root itself.
    Found(Vec<u8>, Box<Stat>),
    /// Nowhere. Whether a link on the way has tried to leave the root, and what that says.
    Missing(Option<Vec<u8>>),
}

/// The names in a path; `..` takes back the one before it, as in Go's `path.Clean`.
pub fn components(path: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names
}

/// Follows all links, those that are absolute from the root on.
pub fn resolve(root: BorrowedFd<'_>, path: &[u8]) -> Result<Resolved> {
    let mut rest = Vec::new();
    push(&mut rest, path);
    let mut here: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
    let (mut links, mut leaves) = (0, None);
    while let Some(name) = rest.pop() {
        let parent = here.last().map_or(root, |(_, held)| held.as_fd());
        if name == b".." {
            here.pop();
            continue;
        }
        let found = match statat(parent, &*name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Resolved::Missing(leaves)),
            found => found?,
        };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = readlinkat(parent, &*name, Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    here.clear();
                }
                if climbs(here.len(), &target) {
                    leaves = Some(target.clone());
                }
                push(&mut rest, &target);
            }
            FileType::Directory => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let held = openat(parent, &*name, flags, Mode::empty())?;
                here.push((name, held));
            }
            _ if !rest.is_empty() => return Ok(Resolved::Missing(leaves)),
            _ => {
                let names = here.iter().map(|(name, _)| &name[..]);
                let path = names.chain([&name[..]]).collect::<Vec<_>>().join(&b'/');
                return Ok(Resolved::Found(path, Box::new(found)));
            }
        }
    }
    let found = fstat(here.last().map_or(root, |(_, held)| held.as_fd()))?;
    let names: Vec<&[u8]> = here.iter().map(|(name, _)| &name[..]).collect();
    Ok(Resolved::Found(names.join(&b'/'), Box::new(found)))
}

/// Puts names on the stack so that the first is popped first.
fn push(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let names = path.split(|byte| *byte == b'/');
    let names = names.filter(|name| !name.is_empty() && *name != b".");
    rest.extend(names.rev().map(<[u8]>::to_vec));
}

/// Whether a link so many directories below the root leads out of it.
fn climbs(mut depth: usize, target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::openat2::open_root;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_inside_of_the_root() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(base.path().join("root/a/b")).unwrap();
        std::fs::write(base.path().join("secret"), "secret").unwrap();
        std::fs::write(base.path().join("root/a/b/file"), "file").unwrap();
        for (target, name) in [
            ("a/b", "inside"),
            ("/a/b", "absolute"),
            ("../secret", "out"),
            ("/etc/hostname", "host"),
            ("loop", "loop"),
            ("../../../a", "a/b/up"),
        ] {
            symlink(target, base.path().join("root").join(name)).unwrap();
        }
        let root = open_root(&base.path().join("root")).unwrap();
        let to = |path: &str| match resolve(root.as_fd(), path.as_bytes()) {
            Ok(Resolved::Found(path, _)) => String::from_utf8(path).unwrap(),
            Ok(Resolved::Missing(None)) => "missing".to_owned(),
            Ok(Resolved::Missing(Some(_))) => "leaves".to_owned(),
            Err(errno) => errno.to_string(),
        };
        for (path, expected) in [
            ("", ""),
            ("/", ""),
            ("a/b/file", "a/b/file"),
            ("inside/file", "a/b/file"),
            ("absolute/file", "a/b/file"),
            ("a/b/up/b/../b/file", "a/b/file"),
            ("../a", "a"),
            ("none", "missing"),
            ("a/b/file/x", "missing"),
            ("out", "leaves"),
            ("host", "leaves"),
            ("loop", &Errno::LOOP.to_string()),
        ] {
            assert_eq!(to(path), expected, "{path}");
        }
    }
}
