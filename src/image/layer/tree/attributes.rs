//! Owner, mode, time and extended attributes of an entry: which of them are set, and in which order.
//!
//! The order is chown(2), setxattr(2), chmod(2), utimensat(2): a change of owner clears setuid and
//! `security.capability`, and without write permission `user.*` cannot be set any more.

use super::super::{Owners, Rules, XattrPrefix, failed};
use super::Tree;
use crate::image::layer::archive::{Member, MemberKind};
use anyhow::Result;
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// What an entry has besides its content.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Time of modification, which also becomes that of the last access.
    pub mtime: Timespec,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// What a directory gets that nobody describes.
    pub fn implied(mtime: Timespec) -> Self {
        Self {
            uid: 0,
            gid: 0,
            mode: 0o755,
            mtime,
            xattrs: Vec::new(),
        }
    }

    /// What the archive says, as far as it is let in.
    pub fn of(member: &Member, rules: &Rules) -> Self {
        let mut xattrs = member.xattrs.clone();
        xattrs.retain(|(name, _)| is_let_in(name, member.kind, rules));
        Self {
            uid: member.uid,
            gid: member.gid,
            mode: member.mode,
            mtime: member.mtime,
            xattrs,
        }
    }

    pub fn timestamps(&self) -> Timestamps {
        let mut time = self.mtime;
        // The kernel clamps seconds to what the file system can hold; beyond these bounds it refuses them.
        time.tv_sec = time.tv_sec.clamp(-(1 << 55), 1 << 55);
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

/// Whether an attribute of an image may reach the disk.
///
/// `*.overlay.*` would let an image forge whiteouts and redirections; security modules' labels belong to the host.
pub fn is_let_in(name: &[u8], kind: MemberKind, rules: &Rules) -> bool {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return false;
    }
    let holds_user_attributes = matches!(kind, MemberKind::File | MemberKind::Directory);
    match name.split(|byte| *byte == b'.').next() {
        Some(b"user") => holds_user_attributes,
        Some(b"trusted") => rules.xattrs == XattrPrefix::Trusted,
        Some(b"security") => name == b"security.capability",
        // Access lists name users and groups; where those do not exist the lists cannot either.
        Some(b"system") => name.starts_with(b"system.posix_acl_") && rules.owners == Owners::Real,
        _ => false,
    }
}

impl Tree<'_> {
    /// Sets everything on an open file that was made with the permission bits `created`.
    pub fn set_on_file(
        &self,
        file: BorrowedFd<'_>,
        path: &[u8],
        attributes: &Attributes,
        created: u32,
    ) -> Result<()> {
        if self.must_chown(attributes) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))
                .map_err(|errno| chown_failed(path, attributes, errno))?;
        }
        for (name, value) in &attributes.xattrs {
            set_attribute(
                path,
                name,
                self.let_go(
                    name,
                    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()),
                ),
            )?;
        }
        if self.must_chmod(attributes, created) {
            let mode = Mode::from_raw_mode(attributes.mode);
            rustix::fs::fchmod(file, mode)
                .map_err(|errno| failed("set the mode of", path, errno))?;
        }
        rustix::fs::futimens(file, &attributes.timestamps())
            .map_err(|errno| failed("set the time of", path, errno))
    }

    /// The same for what cannot be opened; `created` is `None` for a symbolic link, which has no mode.
    pub fn set_on_name(
        &self,
        parent: BorrowedFd<'_>,
        last: &[u8],
        path: &[u8],
        attributes: &Attributes,
        created: Option<u32>,
    ) -> Result<()> {
        if self.must_chown(attributes) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::chownat(
                parent,
                last,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(|errno| chown_failed(path, attributes, errno))?;
        }
        for (name, value) in &attributes.xattrs {
            // No call sets an attribute below a descriptor without opening the file (before Linux 6.13).
            let reached = [
                format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(),
                last,
            ]
            .concat();
            set_attribute(
                path,
                name,
                rustix::fs::lsetxattr(reached, name, value, XattrFlags::empty()),
            )?;
        }
        if created.is_some_and(|created| self.must_chmod(attributes, created)) {
            let mode = Mode::from_raw_mode(attributes.mode);
            rustix::fs::chmodat(parent, last, mode, AtFlags::empty())
                .map_err(|errno| failed("set the mode of", path, errno))?;
        }
        rustix::fs::utimensat(
            parent,
            last,
            &attributes.timestamps(),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(|errno| failed("set the time of", path, errno))
    }

    /// Sets everything on a directory of the tree; its extended attributes include overlayfs' own.
    pub fn set_on_directory(
        &self,
        path: &[u8],
        attributes: &Attributes,
        overlay: Option<(String, &[u8])>,
    ) -> Result<()> {
        let reached = if path.is_empty() { b"." } else { path };
        if attributes.xattrs.is_empty() && overlay.is_none() {
            return self.set_on_name(
                self.root.as_fd(),
                reached,
                path,
                attributes,
                Some(super::DIRECTORY_MODE),
            );
        }
        let directory = self.open_directory(path)?;
        if let Some((name, value)) = overlay {
            set_attribute(
                path,
                name.as_bytes(),
                rustix::fs::fsetxattr(&directory, &name, value, XattrFlags::empty()),
            )?;
        }
        self.set_on_file(directory.as_fd(), path, attributes, super::DIRECTORY_MODE)
    }

    /// Who has one id and no user namespace around it may give no file capabilities; the layer's record has them.
    fn let_go(&self, name: &[u8], set: rustix::io::Result<()>) -> rustix::io::Result<()> {
        match set {
            Err(Errno::PERM)
                if name == b"security.capability" && self.rules.owners == Owners::SingleId =>
            {
                Ok(())
            }
            set => set,
        }
    }

    fn must_chown(&self, attributes: &Attributes) -> bool {
        self.rules.owners == Owners::Real && (attributes.uid, attributes.gid) != self.identity
    }

    fn must_chmod(&self, attributes: &Attributes, created: u32) -> bool {
        attributes.mode != created & !self.umask
    }
}

fn set_attribute(path: &[u8], name: &[u8], result: rustix::io::Result<()>) -> Result<()> {
    match result {
        // A file system without them: only what a program of the image may rely on is worth failing for.
        Err(Errno::NOTSUP) if name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") => {
            Ok(())
        }
        result => result.map_err(|errno| {
            failed(
                &format!("set `{}` of", super::super::shown(name)),
                path,
                errno,
            )
        }),
    }
}

fn chown_failed(path: &[u8], attributes: &Attributes, errno: Errno) -> anyhow::Error {
    if errno != Errno::INVAL {
        return failed("set the owner of", path, errno);
    }
    let owner = format!(
        "its owner {}:{} does not exist in this user namespace",
        attributes.uid, attributes.gid
    );
    let error = super::super::refused(path, &owner);
    error
        .hint("map more ids: a longer range in /etc/subuid and /etc/subgid")
        .into()
}
