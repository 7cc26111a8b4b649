//! What the file system of a store can do, found out by trying it: names of file systems say too little.
//!
//! | it cannot | then |
//! |---|---|
//! | hold links, sockets, modes, locks | it cannot hold a store |
//! | give files to others (NFS for a user's subordinate ids) | root is refused; a user's store is made with a single id |
//! | hold the changes of an overlay (NFS, FUSE, an overlay, no extended attributes) | each container gets a copy of its image's files, [`Roots::Copies`] |
//!
//! It is tried once, when the store is made or has moved to another file system, and remembered in the store's record.
//!
//! Invariant: a store with copies stays one, since its layers mark what they hide in another way.

use crate::error::{Error, Kind};
use crate::id_mapping::{Mapping, Tier};
use crate::store::tree;
use crate::sys::mount::Overlay;
use crate::sys::namespace::unshare;
use crate::sys::process::{self, flags};
use anyhow::{Context, Result, bail};
use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, Uid, chmodat, flock, linkat,
    mkdirat, mknodat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the root file systems of containers are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "roots")]
pub enum Roots {
    /// The layers, with an upper directory on top.
    Overlays,
    /// A copy of all files of the image for each container.
    Copies {
        /// Why.
        why: String,
    },
}

/// What is known of a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystem {
    /// Which it was (statfs(2), `f_type` and `f_fsid`).
    id: String,
    /// What it can do.
    #[serde(flatten)]
    pub roots: Roots,
}

impl FileSystem {
    /// Looks at the file system of a directory, which is made with the ids of `mapping`.
    pub fn probe(directory: &Path, mapping: &Mapping) -> Result<Self> {
        let why = match mapping.needs_user_namespace() {
            false => refusal(overlay_fails(directory, mapping.tier != Tier::Root))?,
            true => within(mapping, || {
                unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
                refusal(overlay_fails(directory, true))
            })?,
        };
        Ok(Self {
            id: id(directory)?,
            roots: why.map_or(Roots::Overlays, |why| Roots::Copies { why }),
        })
    }

    /// Whether it is that of the directory still.
    pub fn is_of(&self, directory: &Path) -> Result<bool> {
        Ok(self.id == id(directory)?)
    }

    /// What to tell a user of it, once.
    pub fn announcement(&self, directory: &Path) -> Option<String> {
        match &self.roots {
            Roots::Overlays => None,
            Roots::Copies { why } => Some(format!(
                "`{}` cannot hold the changes of containers as overlays ({why}): each container gets a copy of its \
                 image's files instead, which takes time and room; another --root is faster",
                directory.display()
            )),
        }
    }
}

fn id(directory: &Path) -> Result<String> {
    let context = || format!("statfs `{}`", directory.display());
    let kind = rustix::fs::statfs(directory).with_context(context)?.f_type;
    let number = rustix::fs::statvfs(directory).with_context(context)?.f_fsid;
    Ok(format!("{kind:x}:{number:x}"))
}

/// Why an overlay cannot be had here; fails where that is not the file system's nature: its disk is full, for example.
fn refusal(tried: Result<()>) -> Result<Option<String>> {
    use Errno as E;
    const PASSING: [Errno; 6] = [E::NOSPC, E::DQUOT, E::MFILE, E::NFILE, E::NOMEM, E::IO];
    match tried {
        Ok(()) => Ok(None),
        Err(error) => match error.downcast_ref() {
            Some(errno) if PASSING.contains(errno) => Err(error),
            _ => Ok(Some(format!("{error:#}"))),
        },
    }
}

/// What every store needs, and nothing replaces. `directory` is empty and goes afterwards.
pub fn check(directory: &Path) -> Result<()> {
    let place = open(directory)?;
    type Attempt<'a> = &'a dyn Fn() -> Result<(), Errno>;
    let needs: [(&str, Attempt<'_>); 5] = [
        ("symbolic links", &|| {
            rustix::fs::symlinkat("target", &place, "link")
        }),
        ("hard links", &|| {
            file(&place, "file").map(drop)?;
            linkat(&place, "file", &place, "other", AtFlags::empty())
        }),
        ("sockets", &|| {
            mknodat(&place, "socket", FileType::Socket, Mode::RWXU, 0)
        }),
        ("modes of files", &|| {
            chmodat(
                &place,
                "file",
                Mode::from_raw_mode(0o4751),
                AtFlags::empty(),
            )?;
            let found = statat(&place, "file", AtFlags::empty())?.st_mode & 0o7777;
            (found == 0o4751).then_some(()).ok_or(Errno::NOTSUP)
        }),
        ("locks (flock)", &|| {
            // Of directories, as all of ours are; this one is its maker's.
            mkdirat(&place, "locked", Mode::RWXU)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let hold = || openat(&place, "locked", flags, Mode::empty());
            let (first, second) = (hold()?, hold()?);
            flock(&first, FlockOperation::NonBlockingLockExclusive)?;
            match flock(&second, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => Ok(()),
                Ok(()) => Err(Errno::NOLCK),
                Err(error) => Err(error),
            }
        }),
    ];
    for (what, attempt) in needs {
        attempt().map_err(|errno| {
            let message = format!("the file system has no {what}: {errno}");
            Error::new(Kind::Unsupported, message)
                .hint("put the store on another one: --root DIRECTORY or ONGGI_ROOT=DIRECTORY")
        })?;
    }
    Ok(())
}

/// Whether files can be given to the ids of the mapping. `directory` is as in [`check`].
pub fn keeps_owners(directory: &Path, mapping: &Mapping) -> Result<bool> {
    let attempt = || -> Result<Option<String>> {
        let place = open(directory)?;
        let owned = || -> Result<bool, Errno> {
            file(&place, "owned").map(drop)?;
            let (uid, gid) = (Uid::from_raw(1), Gid::from_raw(1));
            rustix::fs::chownat(&place, "owned", Some(uid), Some(gid), AtFlags::empty())?;
            let found = statat(&place, "owned", AtFlags::empty())?;
            unlinkat(&place, "owned", AtFlags::empty())?;
            Ok((found.st_uid, found.st_gid) == (1, 1))
        };
        Ok((!owned().unwrap_or(false)).then(String::new))
    };
    Ok(match mapping.needs_user_namespace() {
        false => attempt()?,
        true => within(mapping, attempt)?,
    }
    .is_none())
}

/// What `look` says in the user namespace of the mapping; this process stays where it is.
fn within(mapping: &Mapping, look: impl Fn() -> Result<Option<String>>) -> Result<Option<String>> {
    let (mut answers, answer) = std::io::pipe().context("pipe")?;
    let mut answer = Some(answer);
    let child = process::clone3(0, || {
        let look = || -> Result<Option<String>> {
            mapping.clone().enter()?;
            look()
        };
        let (byte, text) = match look() {
            Ok(None) => ("+", String::new()),
            Ok(Some(text)) => ("-", text),
            Err(error) => ("!", format!("{error:#}")),
        };
        let told = answer
            .take()
            .map(|mut answer| write!(answer, "{byte}{text}"));
        u8::from(!matches!(told, Some(Ok(()))))
    })
    .context("fork")?;
    drop(answer.take());
    let mut text = String::new();
    let read = answers.read_to_string(&mut text);
    child.wait().context("wait for a child")?;
    read.context("read from a child")?;
    match text.split_at_checked(1) {
        Some(("+", _)) => Ok(None),
        Some(("-", text)) => Ok(Some(text.to_owned())),
        Some((_, text)) => bail!("look at the file system as the store's root: {text}"),
        None => bail!("look at the file system as the store's root: no answer"),
    }
}

/// Tries an overlay, and leaves nothing of it. `directory` is as in [`check`].
fn overlay_fails(directory: &Path, user_xattrs: bool) -> Result<()> {
    let tried = use_overlay(directory, user_xattrs);
    for name in ["lower", "upper", "work"] {
        // The kernel's own directory in `work` obeys nobody outside the user namespace.
        let _ = tree::remove(&directory.join(name));
    }
    tried
}

/// Makes an overlay and does in it what leaves marks of each kind.
fn use_overlay(directory: &Path, user_xattrs: bool) -> Result<()> {
    let place = open(directory)?;
    let make = || -> Result<(), Errno> {
        for name in ["lower", "upper", "work", "lower/directory", "lower/renamed"] {
            mkdirat(&place, name, Mode::RWXU)?;
        }
        for name in ["lower/gone", "lower/changed", "lower/directory/inside"] {
            file(&place, name).map(drop)?;
        }
        Ok(())
    };
    make().context("fill a directory")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let part = |name| openat(&place, name, flags, Mode::empty());
    let (upper, work) = (part("upper")?, part("work")?);
    let overlay = Overlay {
        lower: &[part("lower")?],
        upper: upper.as_fd(),
        work: work.as_fd(),
        user_xattrs,
        label: None,
        volatile: false,
    };
    let root = overlay.mount()?;
    unlinkat(&root, "gone", AtFlags::empty()).context("remove a file in an overlay")?;
    let again = || -> Result<bool, Errno> {
        unlinkat(&root, "directory/inside", AtFlags::empty())?;
        unlinkat(&root, "directory", AtFlags::REMOVEDIR)?;
        mkdirat(&root, "directory", Mode::RWXU)?;
        Ok(matches!(
            statat(&root, "directory/inside", AtFlags::empty()),
            Err(Errno::NOENT)
        ))
    };
    if !again().context("make a directory again in an overlay")? {
        bail!("what was removed from an overlay comes back");
    }
    let change = || -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let changed = openat(&root, "changed", flags, Mode::empty())?;
        rustix::io::write(&changed, b"changed")?;
        chmodat(
            &root,
            "renamed",
            Mode::from_raw_mode(0o711),
            AtFlags::empty(),
        )?;
        file(&root, "new").map(drop)?;
        renameat(&root, "new", &root, "gone")
    };
    change().context("change a file in an overlay")
}

fn file(place: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(place, name, flags, Mode::RUSR | Mode::WUSR)
}

fn open(directory: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, directory, flags, Mode::empty())
        .with_context(|| format!("open `{}`", directory.display()))
}
