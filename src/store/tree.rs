//! Removing a directory with all that is in it.
//!
//! What lies in it is hostile: a container may put directories in one another by the hundred thousand, each of which
//! would cost the standard library's `remove_dir_all` a descriptor and a piece of the stack. Here what lies too deep
//! is first moved up.
//!
//! Invariant: every name is looked up in a directory that is held, and none is followed. Who else changes the tree
//! meanwhile may keep it from going, and loses nothing outside of it.

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, unlinkat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Directories in one another that are held open at once.
const DEPTH: usize = 64;
/// The same where they cannot be moved: an overlay moves none that is of a lower layer.
const DEPTH_IN_PLACE: usize = 900;

/// Removes a directory with all that is in it.
pub fn remove(path: &Path) -> io::Result<()> {
    Ok(remove_at(CWD, path.as_os_str().as_bytes())?)
}

/// Removes the directory of that name, one component, with all that is in it.
pub fn remove_at(parent: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let parent = parent.as_fd();
    loop {
        let top = open(parent, name)?;
        let mut removal = Removal {
            top: top.fd()?.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
            moved: 0,
        };
        removal.empty(top, 0)?;
        if removal.moved == 0 {
            return unlinkat(parent, name, AtFlags::REMOVEDIR);
        }
    }
}

struct Removal {
    top: OwnedFd,
    /// How many directories were moved to the top.
    moved: u64,
}

impl Removal {
    fn empty(&mut self, mut directory: Dir, depth: usize) -> Result<(), Errno> {
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let held = directory.fd()?;
            match unlinkat(held, name, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => {}
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
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Dir::new(openat(parent, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::mkdirat;
    use std::os::unix::fs::symlink;

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
