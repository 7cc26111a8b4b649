//! Files that are in the tree of a step while its program runs, and are no part of it: where nothing can be mounted they are
//! moved there before, and out again afterwards. What they cover is aside meanwhile.
//!
//! Paths of images are resolved by the kernel inside of the tree, and the directory in which a guest lies is held from then on:
//! wherever a program has moved it, or whatever it has put in its place, nothing outside of the tree is reached.

use crate::error::bad_input;
use crate::sys::openat2::{open_in_root, open_root};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// All of one step.
pub struct Guests<'a> {
    root: &'a OwnedFd,
    /// Where they lie before and after, on the file system of the tree, and what they cover meanwhile.
    aside: PathBuf,
    held: OwnedFd,
    placed: Vec<Guest>,
}

struct Guest {
    parent: OwnedFd,
    name: String,
    /// Held, so that nothing else gets its number.
    held: OwnedFd,
    covers: bool,
    /// Directories that were made on the way, the outermost first.
    made: Vec<(OwnedFd, String)>,
}

impl<'a> Guests<'a> {
    /// None yet; `aside` is an empty directory of ours.
    pub fn new(root: &'a OwnedFd, aside: PathBuf) -> Result<Self> {
        let held = open_root(&aside).with_context(|| format!("open `{}`", aside.display()))?;
        Ok(Self {
            root,
            aside,
            held,
            placed: Vec::new(),
        })
    }

    /// Where the next one is to be made, and the one of that number is found again after [`Guests::leave`] unless the program
    /// has taken it away.
    pub fn aside(&self, number: usize) -> PathBuf {
        self.aside.join(guest(number))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.placed.len()
    }

    /// Moves the one that was made to `target`, an absolute and clean path.
    pub fn place(&mut self, target: &str) -> Result<()> {
        let context = || format!("put something at `{target}`");
        let number = self.placed.len();
        let (mut parent, mut made) = (self.root.try_clone().with_context(context)?, Vec::new());
        let path = Path::new(target.trim_start_matches('/'));
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(bad_input("nothing can be mounted on `/`").into());
        };
        let mut so_far = PathBuf::new();
        for component in above {
            so_far.push(component);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let open = || {
                open_in_root(
                    self.root,
                    so_far.as_os_str().as_encoded_bytes(),
                    flags,
                    Mode::empty(),
                )
            };
            let next = match open() {
                Err(Errno::NOENT) => {
                    mkdirat(&parent, component, Mode::from_raw_mode(0o755))
                        .with_context(context)?;
                    let name = component.to_string_lossy().into_owned();
                    made.push((parent, name));
                    open()
                }
                next => next,
            };
            parent = next.with_context(context)?;
        }
        let name = name.to_string_lossy().into_owned();
        let covers = match renameat(&parent, &*name, &self.held, covered(number)) {
            Err(Errno::NOENT) => false,
            moved => moved.map(|()| true).with_context(context)?,
        };
        renameat(&self.held, guest(number), &parent, &*name).with_context(context)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(&parent, &*name, flags, Mode::empty()).with_context(context)?;
        self.placed.push(Guest {
            parent,
            name,
            held,
            covers,
            made,
        });
        Ok(())
    }

    /// Moves them all out, the last one first. Nobody may be in the tree any more.
    pub fn leave(&self) -> Result<()> {
        for (number, one) in self.placed.iter().enumerate().rev() {
            one.leave(number, &self.held)
                .with_context(|| format!("take `{}` out of a step's files", one.name))?;
        }
        Ok(())
    }
}

impl Guest {
    fn leave(&self, number: usize, aside: &OwnedFd) -> Result<(), Errno> {
        let (parent, name) = (self.parent.as_fd(), &*self.name);
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) => {
                let ours = fstat(&self.held)?;
                let is_ours = (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino);
                let to = match is_ours {
                    true => guest(number),
                    false => format!("stray-{number}"),
                };
                renameat(parent, name, aside, to)?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        if self.covers {
            match renameat(aside, covered(number), parent, name) {
                // The directory is gone, and so is all that was in it.
                Err(Errno::NOENT) => {}
                returned => returned?,
            }
        }
        for (parent, name) in self.made.iter().rev() {
            match unlinkat(parent, &**name, AtFlags::REMOVEDIR) {
                // The program has put something there, or taken it away.
                Err(Errno::NOTEMPTY | Errno::NOENT | Errno::NOTDIR) => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

fn guest(number: usize) -> String {
    format!("guest-{number}")
}

fn covered(number: usize) -> String {
    format!("covered-{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_tree_is_afterwards_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let [tree, aside, outside] = ["tree", "aside", "outside"].map(|name| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        fs::create_dir(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/hosts"), "image").unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        let root = open_root(&tree).unwrap();
        let mut guests = Guests::new(&root, aside).unwrap();
        for (number, target) in ["/etc/hosts", "/a/b/file", "/etc/../etc/hosts2"]
            .iter()
            .enumerate()
        {
            fs::write(guests.aside(number), format!("guest {number}")).unwrap();
            guests.place(target).unwrap();
        }
        // A link of the image does not lead out of it.
        fs::write(guests.aside(3), "").unwrap();
        assert!(guests.place("/link/secret").is_err());
        assert!(guests.place("/").is_err());
        assert_eq!(fs::read(tree.join("etc/hosts")).unwrap(), b"guest 0");
        assert_eq!(fs::read(tree.join("a/b/file")).unwrap(), b"guest 1");
        // The program replaces one, changes another one, and leaves something beside it.
        fs::remove_file(tree.join("etc/hosts")).unwrap();
        fs::write(tree.join("etc/hosts"), "replaced").unwrap();
        fs::write(tree.join("a/b/file"), "changed").unwrap();
        fs::write(tree.join("a/own"), "").unwrap();
        fs::rename(tree.join("etc"), tree.join("moved")).unwrap();
        symlink(&outside, tree.join("etc")).unwrap();
        guests.leave().unwrap();
        assert_eq!(fs::read(tree.join("moved/hosts")).unwrap(), b"image");
        assert!(!tree.join("a/b").exists() && tree.join("a/own").exists());
        assert_eq!(fs::read(guests.aside(1)).unwrap(), b"changed");
        assert!(!guests.aside(0).exists() && guests.aside(2).exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
