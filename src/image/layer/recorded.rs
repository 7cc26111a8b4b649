//! Whom files belong to where only one id is mapped, so that the disk does not know it: what a program has said is noted in an
//! attribute of the file, or here for what can have none, as a symbolic link.
//!
//! Not here: who notes it, and how it comes into an archive.

use super::pack::magic_link;
use rustix::fs::{AtFlags, StatxFlags, XattrFlags, setxattr, statx};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// The attribute that says whom a file belongs to where only one id is mapped ([`RecordedOwner`]). It is in no layer.
pub const OWNER: &str = "user.onggi.owner";

/// Whom a program has given a file to; `None`: it has left that as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordedOwner {
    /// The user.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
}

impl RecordedOwner {
    /// From the value of [`OWNER`].
    pub fn parse(value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).unwrap_or_default();
        let (uid, gid) = text.split_once(':').unwrap_or_default();
        Self {
            uid: uid.parse().ok(),
            gid: gid.parse().ok(),
        }
    }

    /// Of both the later counts.
    pub fn then(self, later: Self) -> Self {
        Self {
            uid: later.uid.or(self.uid),
            gid: later.gid.or(self.gid),
        }
    }
}

impl std::fmt::Display for RecordedOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |id: Option<u32>| id.map_or(String::new(), |id| id.to_string());
        write!(f, "{}:{}", shown(self.uid), shown(self.gid))
    }
}

/// A file, as long as it is there and when another has got its number: inode, seconds and nanoseconds of its birth.
type Identity = (u64, i64, u32);

/// What is noted of files that can have no such attribute.
#[derive(Debug, Default)]
pub struct Notes(HashMap<Identity, RecordedOwner>);

impl Notes {
    /// What is recorded of a file.
    pub fn of(&self, entry: &OwnedFd) -> RecordedOwner {
        let mut value = Vec::with_capacity(64);
        let space = rustix::buffer::spare_capacity(&mut value);
        match rustix::fs::getxattr(magic_link(entry), OWNER, space) {
            Ok(_) => RecordedOwner::parse(&value),
            Err(_) if self.0.is_empty() => RecordedOwner::default(),
            Err(_) => {
                let noted = identity(entry)
                    .ok()
                    .and_then(|identity| self.0.get(&identity));
                noted.copied().unwrap_or_default()
            }
        }
    }

    /// Records an owner. `lying` finds what can have no attribute where it lies on the disk, as the layer's writer will see it.
    pub fn note(
        &mut self,
        entry: &OwnedFd,
        owner: RecordedOwner,
        lying: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<(), Errno> {
        let value = self.of(entry).then(owner).to_string();
        match setxattr(
            magic_link(entry),
            OWNER,
            value.as_bytes(),
            XattrFlags::empty(),
        ) {
            Err(Errno::PERM | Errno::NOTSUP) => {
                let noted = self.0.entry(identity(&lying()?)?).or_default();
                *noted = noted.then(owner);
                Ok(())
            }
            result => result,
        }
    }
}

/// A file without a time of birth cannot be told from one that has got its number later.
fn identity(entry: &OwnedFd) -> Result<Identity, Errno> {
    let found = statx(
        entry,
        "",
        AtFlags::EMPTY_PATH,
        StatxFlags::INO | StatxFlags::BTIME,
    )?;
    if found.stx_mask & StatxFlags::BTIME.bits() == 0 {
        return Err(Errno::NOTSUP);
    }
    let born = found.stx_btime;
    Ok((found.stx_ino, born.tv_sec, born.tv_nsec))
}
