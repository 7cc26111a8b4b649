//! Looking at a directory with all that is in it, and removing it.
//!
//! What lies in it is hostile: a container may put directories in one another by the hundred thousand, which have no
//! path that the kernel takes, and each of which would cost the standard library's `remove_dir_all` a descriptor and
//! a piece of the stack. Here what lies too deep is first moved up, and looking holds one directory only.
//!
//! Invariant: every name is looked up in a directory that is held, and none is followed. Who else changes the tree
//! meanwhile may keep it from going, and loses nothing outside of it.

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::fs::{fstat, openat, renameat_with, statat, unlinkat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

/// Directories in one another that are held open at once.
const DEPTH: usize = 64;
/// The same where they cannot be moved: an overlay moves none that is of a lower layer.
const DEPTH_IN_PLACE: usize = 900;

/// So many entries go however late it is: what is small goes at once on the slowest disk.
const AT_LEAST: u64 = 2000;

/// A directory to be read.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes a directory with all that is in it.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_until(path, None)
}

/// Likewise, as much of it as can go until then, and a little in any case; an error of the kind `TimedOut` if that was not all.
pub fn remove_until(path: &Path, until: Option<Instant>) -> io::Result<()> {
    Ok(remove_in(CWD, path.as_os_str().as_bytes(), until)?)
}

/// Removes the directory of that name, one component, with all that is in it.
pub fn remove_at(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    remove_in(parent.as_fd(), name, None)
}

fn remove_in(parent: BorrowedFd<'_>, name: &[u8], until: Option<Instant>) -> Result<(), Errno> {
    loop {
        let top = open(parent, name)?;
        let mut removal = Removal {
            top: top.fd()?.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
            moved: 0,
            until,
            seen: 0,
        };
        removal.empty(top, 0)?;
        if removal.moved == 0 {
            return unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Shows `look` what is at a path, and all below each directory of which it says `true`. What vanishes meanwhile is not
/// shown, nor what is left of a directory that is moved away while something in it is looked at.
pub fn walk(path: &Path, look: &mut dyn FnMut(&Stat) -> bool) -> io::Result<()> {
    visit(CWD, path.as_os_str().as_bytes(), &mut |entry| {
        Ok(look(&entry.found))
    })
}

/// What is found at a place.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The directory that it is in.
    pub parent: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a [u8],
    /// What it is.
    pub found: Stat,
}

/// Likewise, with where it is, so that something can be done to it; a failure ends it.
pub fn visit(
    parent: BorrowedFd<'_>,
    name: &[u8],
    look: &mut dyn FnMut(&Entry<'_>) -> io::Result<bool>,
) -> io::Result<()> {
    let mut levels: Vec<Level> = Vec::new();
    let mut here = match enter(parent, name, look)? {
        Some((here, level)) => {
            levels.push(level);
            here
        }
        None => return Ok(()),
    };
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.names.pop() {
            if let Some((below, level)) = enter(here.as_fd(), &name, look)? {
                here = below;
                levels.push(level);
            }
            continue;
        }
        levels.pop();
        if let Some(above) = levels.last() {
            here = openat(&here, "..", DIRECTORY, Mode::empty())?;
            if above.identity != identity(&fstat(&here)?) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A directory that is being looked at.
struct Level {
    /// Device and inode.
    identity: (u64, u64),
    /// What is still to be looked at.
    names: Vec<Vec<u8>>,
}

/// Looks at one entry; a directory is opened if that is wanted.
fn enter(
    parent: BorrowedFd<'_>,
    name: &[u8],
    look: &mut dyn FnMut(&Entry<'_>) -> io::Result<bool>,
) -> io::Result<Option<(OwnedFd, Level)>> {
    let found = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        found => found?,
    };
    let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    let entry = Entry {
        parent,
        name,
        found,
    };
    if !look(&entry)? || !is_directory {
        return Ok(None);
    }
    let directory = match openat(parent, name, DIRECTORY, Mode::empty()) {
        // It was something else a moment ago.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        directory => directory?,
    };
    let names = names(directory.as_fd())?;
    let identity = identity(&fstat(&directory)?);
    Ok(Some((directory, Level { identity, names })))
}

/// The names in a directory, in its own order.
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn identity(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

struct Removal {
    top: OwnedFd,
    /// How many directories were moved to the top.
    moved: u64,
    until: Option<Instant>,
    /// How many entries were met.
    seen: u64,
}

impl Removal {
    fn empty(&mut self, mut directory: Dir, depth: usize) -> Result<(), Errno> {
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            self.seen += 1;
            let is_over = |until| self.seen > AT_LEAST && Instant::now() >= until;
            if self.until.is_some_and(is_over) {
                return Err(Errno::TIMEDOUT);
            }
            let held = directory.fd()?;
            // An empty directory, as a place for a mount is, need not be opened.
            let flags = match entry.file_type() {
                FileType::Directory => AtFlags::REMOVEDIR,
                _ => AtFlags::empty(),
            };
            match unlinkat(held, name, flags) {
                Err(Errno::ISDIR | Errno::PERM | Errno::NOTEMPTY | Errno::EXIST) => {}
                result => {
                    result?;
                    continue;
                }
            }
            if depth < DEPTH || !self.move_up(held, name, depth)? {
                self.empty(open(held, name)?, depth + 1)?;
                unlinkat(held, name, AtFlags::REMOVEDIR)?;
            }
        }
        Ok(())
    }

    /// Moves a directory to the top, where it is found again; `false` where it has to stay.
    fn move_up(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        depth: usize,
    ) -> Result<bool, Errno> {
        loop {
            self.moved += 1;
            let place = format!("moved-{}", self.moved);
            match renameat_with(parent, name, &self.top, &*place, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(true),
                // One of an earlier round, or of the container's.
                Err(Errno::EXIST) => {}
                Err(Errno::XDEV | Errno::INVAL) if depth < DEPTH_IN_PLACE => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Dir, Errno> {
    Dir::new(openat(parent, name, DIRECTORY, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    fn chain(at: &Path, length: usize) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mut here: OwnedFd = openat(CWD, at, flags, Mode::empty()).unwrap();
        for _ in 0..length {
            mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = openat(&here, "d", flags, Mode::empty()).unwrap();
            rustix::fs::symlinkat("..", &here, "link").unwrap();
        }
    }

    #[test]
    fn trees_of_any_depth_go_and_nothing_beside_them() {
        let base = tempfile::tempdir().unwrap();
        let kept = base.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "").unwrap();
        for length in [0, 1, DEPTH, DEPTH + 1, 5_000] {
            let tree = base.path().join("tree");
            std::fs::create_dir(&tree).unwrap();
            symlink(&kept, tree.join("link")).unwrap();
            // A name that would be used.
            std::fs::write(tree.join("moved-1"), "").unwrap();
            std::fs::create_dir(tree.join("moved-2")).unwrap();
            chain(&tree, length);
            chain(&tree.join("moved-2"), length.min(2 * DEPTH));
            remove(&tree).unwrap();
            assert!(!tree.exists() && kept.join("file").exists());
        }
    }

    #[test]
    fn all_of_a_tree_is_shown_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        std::fs::create_dir_all(tree.join("not/this")).unwrap();
        let passed_over = std::fs::metadata(tree.join("not")).unwrap();
        std::fs::write(base.path().join("beside"), "").unwrap();
        chain(&tree, 3_000);
        let mut count = 0;
        let mut look = |found: &Stat| {
            count += 1;
            found.st_ino != std::os::unix::fs::MetadataExt::ino(&passed_over)
        };
        walk(&tree, &mut look).unwrap();
        // The tree, one in it, and a directory with a link for each of the chain.
        assert_eq!(count, 2 + 2 * 3_000);
        walk(&tree.join("missing"), &mut |_| unreachable!()).unwrap();
        remove(&tree).unwrap();
    }

    #[test]
    fn a_tree_goes_a_part_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let tree = base.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        for number in 0..20_000 {
            std::fs::write(tree.join(number.to_string()), "").unwrap();
        }
        let left = || std::fs::read_dir(&tree).map_or(0, Iterator::count);
        let mut rounds = 0;
        while tree.exists() {
            let (before, until) = (left(), Instant::now() + Duration::from_millis(5));
            match remove_until(&tree, Some(until)) {
                Ok(()) => assert!(!tree.exists()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    assert!((1..=before).contains(&left()));
                }
            }
            rounds += 1;
        }
        assert!(rounds > 1);
    }

    #[test]
    fn a_link_and_a_file_are_no_trees() {
        let base = tempfile::tempdir().unwrap();
        let [directory, link, file] =
            ["directory", "link", "file"].map(|name| base.path().join(name));
        std::fs::create_dir(&directory).unwrap();
        symlink(&directory, &link).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(remove(&link).is_err() && remove(&file).is_err());
        assert!(directory.exists() && file.exists());
        let missing = remove(&base.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
