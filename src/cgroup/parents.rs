//! The groups that containers' own groups are made in where we make them by hand: they come with the first container and
//! go with the last.
//!
//! Whoever makes one marks it with an extended attribute, and only what is marked, or has our own name, is removed:
//! a group that somebody else has made may have limits. Nobody locks anything: a group with others in it cannot be
//! removed, and who finds that the one to make a group in was just removed makes that again ([`persist`]).

use super::{Cgroup, directory_of};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, XattrFlags, fgetxattr, fsetxattr, unlinkat};
use rustix::io::Errno;
use std::path::{Component, Path};

/// The group of root's containers where there is no systemd.
pub const ROOTS: &str = "/onggi";
/// Since Linux 5.7 cgroups have attributes of this kind; before, what has another name than ours stays.
const MARK: &str = "user.onggi";
/// How often others may be faster.
const TRIES: usize = 100;

/// The group with that path, made with those above as far as they are not there.
pub fn make(path: &Path) -> Result<Cgroup> {
    let mut group = Cgroup::open(Path::new("/"))?.context("there is no control group at all")?;
    for part in path.components() {
        if let Component::Normal(name) = part {
            let (next, is_new) = group.find_or_make(&name.to_string_lossy())?;
            if is_new {
                let _ = fsetxattr(&next, MARK, b"1", XattrFlags::empty());
            }
            group = next;
        }
    }
    Ok(group)
}

/// Does it again where a group was removed by another one's end meanwhile.
pub fn persist<T>(mut make: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match make() {
            Err(error) if is_gone(&error) => {}
            made => return made,
        }
    }
    make()
}

/// The directory, or the group behind an open one, is not there any more.
fn is_gone(error: &anyhow::Error) -> bool {
    matches!(
        error.root_cause().downcast_ref(),
        Some(&(Errno::NOENT | Errno::NODEV))
    )
}

/// Ends everybody in a group and removes it, with the groups above that were made for it and that nobody needs any more.
pub fn end(group: Cgroup) -> Result<()> {
    if group.is_populated()? {
        group.kill()?;
    }
    let path = group.path().to_owned();
    group.remove()?;
    prune(&path);
    Ok(())
}

/// Removes those above a group that is gone, from the nearest on, as far as they were made for containers and nobody is
/// in them.
pub fn prune(gone: &Path) {
    for path in gone.ancestors().skip(1) {
        let is_ours = |group: &Cgroup| {
            path == Path::new(ROOTS) || fgetxattr(group, MARK, &mut [0; 1]).is_ok()
        };
        match Cgroup::open(path) {
            Ok(Some(group)) if is_ours(&group) => {}
            // Somebody else was faster, and may not have come any further.
            Ok(None) => continue,
            _ => return,
        }
        match unlinkat(CWD, directory_of(path), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vanished_meanwhile_is_made_again() {
        for (errno, count) in [(Errno::NOENT, 3), (Errno::NODEV, 3), (Errno::ACCESS, 1)] {
            let mut calls = 0;
            let made = persist(|| {
                calls += 1;
                match calls {
                    3 => Ok(()),
                    _ => Err(errno).context("create a group"),
                }
            });
            assert_eq!((calls, made.is_ok()), (count, count == 3), "{errno}");
        }
    }

    #[test]
    fn it_ends_where_nobody_else_is_the_reason() {
        let made: Result<()> = persist(|| Err(Errno::NOENT).context("open a group"));
        assert!(made.is_err());
    }
}
