//! Mounts through the new mount API: fsopen(2), fsmount(2), open_tree(2), mount_setattr(2), move_mount(2).
//! A mount is a descriptor until it is attached, and it is attached to a descriptor: no path is looked up twice.
#![allow(unsafe_code)]

use super::namespace::{join, unshare};
use super::process::flags::NEW_MOUNT;
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, fspick, move_mount, open_tree,
};
use rustix::process::{chdir, fchdir};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

pub use rustix::mount::MountAttrFlags as Attributes;

/// One option of a file system: a flag or a key with its value.
pub type FsOption<'a> = (&'a str, Option<&'a str>);

/// A new, detached mount of a new file system that lies on `source`, which for most is a mere name. What the kernel
/// refuses is named with what it says of it (fsopen(2), fsconfig(2)); the cause is an [`Errno`].
pub fn new_filesystem(
    kind: &str,
    source: &str,
    options: &[FsOption<'_>],
    attributes: Attributes,
) -> Result<OwnedFd> {
    let created = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
        .with_context(|| format!("open the file system `{kind}`"))?;
    let context = created.as_fd();
    fsconfig_set_string(context, "source", source)
        .map_err(|error| explain(context, error))
        .with_context(|| format!("set the source `{source}` of {kind}"))?;
    set_options(context, kind, options)?;
    fsconfig_create(context)
        .map_err(|error| explain(context, error))
        .with_context(|| format!("make a {kind}"))?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .with_context(|| format!("mount a {kind}"))
}

fn set_options(context: BorrowedFd<'_>, kind: &str, options: &[FsOption<'_>]) -> Result<()> {
    for (key, value) in options {
        let (set, written) = match value {
            Some(value) => (
                fsconfig_set_string(context, *key, *value),
                format!("{key}={value}"),
            ),
            None => (fsconfig_set_flag(context, *key), (*key).to_owned()),
        };
        set.map_err(|error| explain(context, error))
            .with_context(|| format!("set the option `{written}` of {kind}"))?;
    }
    Ok(())
}

/// Gives the file system of a mount, of which `place` is the root, other options (fspick(2)). What is not named stays.
pub fn reconfigure(place: BorrowedFd<'_>, options: &[FsOption<'_>]) -> Result<()> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let picked = fspick(place, "", flags).context("open the file system")?;
    let context = picked.as_fd();
    set_options(context, "what is mounted", options)?;
    fsconfig_reconfigure(context)
        .map_err(|error| explain(context, error))
        .context("change the file system")
}

/// Whether something is mounted at a path, which may be a link and is not followed (statx(2),
/// `STATX_ATTR_MOUNT_ROOT`).
pub fn is_mount_point(path: &Path) -> Result<bool, Errno> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = statx(CWD, path, flags, StatxFlags::TYPE)?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Takes what is mounted at a path off, even while somebody is in it: for those it stays (umount2(2), `MNT_DETACH`).
pub fn detach(path: &Path) -> Result<(), Errno> {
    use rustix::mount::{UnmountFlags, unmount};
    unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// The directories of an overlay, and how it keeps its own marks.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// Lower layers, uppermost first.
    pub lower: &'a [OwnedFd],
    /// Where changes go.
    pub upper: BorrowedFd<'a>,
    /// Scratch space on the same file system as `upper`.
    pub work: BorrowedFd<'a>,
    /// `user.overlay.*` instead of `trusted.overlay.*`; needed in a user namespace.
    pub user_xattrs: bool,
    /// SELinux context of everything in it.
    pub label: Option<&'a str>,
    /// Never sync `upper`: for what is thrown away at the end anyway.
    pub volatile: bool,
}

impl Overlay<'_> {
    /// A new, detached overlay mount (kernel documentation, filesystems/overlayfs).
    ///
    /// Layers are given as descriptors (Linux 6.13); where the kernel does not take them they are named through
    /// `/proc/self/fd`, which needs no escaping and stays short.
    pub fn mount(&self) -> Result<OwnedFd> {
        overlay(
            self.lower,
            self.user_xattrs,
            Attributes::empty(),
            |context| {
                set_directory(context, "upperdir", self.upper)?;
                set_directory(context, "workdir", self.work)?;
                // A renamed directory is copied: a redirection in `upper` would be readable by the kernel alone, and by
                // that only together with these layers.
                fsconfig_set_string(context, "redirect_dir", "nofollow")
                    .context("overlay option redirect_dir")?;
                if let Some(label) = self.label {
                    fsconfig_set_string(context.as_fd(), "context", label)
                        .context("overlay option context")?;
                }
                if self.volatile {
                    fsconfig_set_flag(context, "volatile").context("overlay option volatile")?;
                }
                Ok(())
            },
        )
        .map_err(|error| explain_upper(self.upper, error))
    }
}

/// A new, detached overlay mount that shows at least two layers, uppermost first, and that nothing can be written
/// to: the directories of another overlay may be among them.
pub fn read_only_overlay(lower: &[OwnedFd], user_xattrs: bool) -> Result<OwnedFd> {
    let attributes = Attributes::MOUNT_ATTR_RDONLY;
    overlay(lower, user_xattrs, attributes, |context| {
        // An index would claim the upper directory of a container that runs.
        fsconfig_set_string(context, "index", "off").context("overlay option index")
    })
}

/// An overlay cannot hold the changes of another one.
fn explain_upper(upper: BorrowedFd<'_>, error: anyhow::Error) -> anyhow::Error {
    const OVERLAYFS_SUPER_MAGIC: u32 = 0x794c_7630;
    let is_overlay = |found: rustix::fs::StatFs| found.f_type as u32 == OVERLAYFS_SUPER_MAGIC;
    if !rustix::fs::fstatfs(upper).is_ok_and(is_overlay) {
        return error;
    }
    let message = "the store lies on an overlay file system, as the root of a container is one, and that cannot hold \
                   the changes of containers";
    Error::new(Kind::Unsupported, message)
        .hint("put it on another file system, a volume or a tmpfs: --root DIRECTORY or ONGGI_ROOT=DIRECTORY")
        .into()
}

fn overlay(
    lower: &[OwnedFd],
    user_xattrs: bool,
    attributes: Attributes,
    more: impl Fn(BorrowedFd<'_>) -> Result<()>,
) -> Result<OwnedFd> {
    let attempt = |set_layers: fn(BorrowedFd<'_>, &[OwnedFd]) -> Result<()>| {
        let created = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen overlay")?;
        let context = created.as_fd();
        fsconfig_set_string(context, "source", "overlay").context("overlay option source")?;
        set_layers(context, lower)?;
        if user_xattrs {
            fsconfig_set_flag(context, "userxattr").context("overlay option userxattr")?;
        }
        more(context)?;
        fsconfig_create(context)
            .map_err(|error| explain(context, error))
            .context("mount overlay")?;
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).context("fsmount overlay")
    };
    match attempt(layer_by_layer) {
        // So says a kernel that does not know the option.
        Err(error) if error.downcast_ref() == Some(&Errno::INVAL) => {
            in_descriptors(|| attempt(all_layers))
        }
        mounted => mounted,
    }
}

/// Since Linux 6.8. Named by their descriptors where that can be: the container reads in `/proc/mounts` what is said here, and
/// some C libraries have room for lines of half a kilobyte.
fn layer_by_layer(context: BorrowedFd<'_>, lower: &[OwnedFd]) -> Result<()> {
    const OPTION: &str = "lowerdir+";
    lower.iter().try_for_each(|layer| {
        match fsconfig_set_string(context, OPTION, in_processes(layer.as_fd())) {
            Ok(()) => Ok(()),
            Err(_) => set_directory(context, OPTION, layer.as_fd()),
        }
    })
}

fn in_processes(directory: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

/// In one value, which cannot be longer than 255 bytes (fsconfig(2)): the paths are those below `/proc/self/fd`, and 64
/// layers have room.
fn all_layers(context: BorrowedFd<'_>, lower: &[OwnedFd]) -> Result<()> {
    let layers = lower.iter().map(|layer| layer.as_raw_fd().to_string());
    let layers = layers.collect::<Vec<_>>().join(":");
    fsconfig_set_string(context, "lowerdir", layers)
        .map_err(|error| explain(context, error))
        .with_context(|| format!("overlay option lowerdir with {} layers", lower.len()))
}

/// Does something with `/proc/self/fd` as the current directory.
fn in_descriptors<T>(act: impl FnOnce() -> Result<T>) -> Result<T> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let before = openat(CWD, ".", flags, Mode::empty()).context("open the current directory")?;
    chdir("/proc/self/fd").context("enter `/proc/self/fd`")?;
    let done = act();
    fchdir(&before).context("return to the current directory")?;
    done
}

fn set_directory(context: BorrowedFd<'_>, key: &str, directory: BorrowedFd<'_>) -> Result<()> {
    if fsconfig_set_fd(context, key, directory).is_ok() {
        return Ok(());
    }
    fsconfig_set_string(context, key, in_processes(directory))
        .map_err(|error| explain(context, error))
        .with_context(|| format!("overlay option {key}"))
}

/// Adds what the kernel has to say about the failure (fsopen(2), "message log").
fn explain(context: BorrowedFd<'_>, error: Errno) -> anyhow::Error {
    let mut buffer = [0u8; 1024];
    let mut said = Vec::new();
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
        said.push(
            String::from_utf8_lossy(&buffer[..length])
                .trim()
                .trim_start_matches("e ")
                .to_owned(),
        );
    }
    // Each way that was tried has left its line.
    said.dedup();
    match said.is_empty() {
        true => error.into(),
        false => anyhow::Error::from(error).context(said.join("; ")),
    }
}

/// A detached copy of the mount at an open file or directory (open_tree(2) with `OPEN_TREE_CLONE`).
pub fn clone_tree(source: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(source, "", flags)
}

/// The same of what lies at a path, in one step. As with open(2) and `O_PATH`, nothing is mounted by itself there.
pub fn clone_tree_at(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// Attaches a detached mount at an open file or directory (move_mount(2)).
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

#[derive(Default)]
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Attributes that a mount gets, and those that it loses first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// It gets these.
    pub set: Attributes,
    /// It loses these. To change the way access times are kept, all ways of it are among them.
    pub clear: Attributes,
}

impl Default for Change {
    fn default() -> Self {
        Self {
            set: Attributes::empty(),
            clear: Attributes::empty(),
        }
    }
}

impl Change {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This, and then the other.
    pub fn then(self, other: Self) -> Self {
        Self {
            set: (self.set - other.clear) | other.set,
            clear: self.clear | other.clear,
        }
    }
}

const NONE: Attributes = Attributes::empty();
const TIMES: Attributes = Attributes::MOUNT_ATTR__ATIME;

/// Words of mount(8), and which attributes of a mount each sets and clears.
const ATTRIBUTES: [(&str, Attributes, Attributes); 18] = {
    use rustix::mount::MountAttrFlags as A;
    [
        ("ro", A::MOUNT_ATTR_RDONLY, NONE),
        ("rw", NONE, A::MOUNT_ATTR_RDONLY),
        ("nosuid", A::MOUNT_ATTR_NOSUID, NONE),
        ("suid", NONE, A::MOUNT_ATTR_NOSUID),
        ("nodev", A::MOUNT_ATTR_NODEV, NONE),
        ("dev", NONE, A::MOUNT_ATTR_NODEV),
        ("noexec", A::MOUNT_ATTR_NOEXEC, NONE),
        ("exec", NONE, A::MOUNT_ATTR_NOEXEC),
        ("nosymfollow", A::MOUNT_ATTR_NOSYMFOLLOW, NONE),
        ("symfollow", NONE, A::MOUNT_ATTR_NOSYMFOLLOW),
        ("nodiratime", A::MOUNT_ATTR_NODIRATIME, NONE),
        ("diratime", NONE, A::MOUNT_ATTR_NODIRATIME),
        // One of several ways to keep the time of the last access.
        ("noatime", A::MOUNT_ATTR_NOATIME, TIMES),
        ("strictatime", A::MOUNT_ATTR_STRICTATIME, TIMES),
        // What the kernel does unless told otherwise.
        ("atime", NONE, TIMES),
        ("relatime", NONE, TIMES),
        ("norelatime", NONE, TIMES),
        ("nostrictatime", NONE, TIMES),
    ]
};

/// What a word of mount(8) does to the attributes of a mount.
pub fn attribute(word: &str) -> Option<Change> {
    let found = ATTRIBUTES.iter().find(|(known, ..)| *known == word);
    found.map(|(_, set, clear)| Change {
        set: *set,
        clear: *clear,
    })
}

/// All the words that [`attribute`] knows.
pub fn attribute_words() -> impl Iterator<Item = &'static str> {
    ATTRIBUTES.iter().map(|(word, ..)| *word)
}

/// Which later mounts below a mount are seen elsewhere (mount_namespaces(7), "Shared subtrees").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// None, in either direction.
    Private,
    /// Those of all mounts of its group.
    Shared,
    /// Those of the group that it comes from are seen here; none of here is there.
    Slave,
    /// None, and nobody may bind it.
    Unbindable,
}

/// Changes a mount, and those below it when `recursive`, in one step (mount_setattr(2)); owners of files are shown as the
/// user namespace has them (see [`map_ids`]). `EPERM` where attributes are cleared or access times are changed that the
/// mount namespace of more privilege has fixed.
pub fn change(
    mount: BorrowedFd<'_>,
    change: Change,
    propagation: Option<Propagation>,
    user_namespace: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> Result<(), Errno> {
    let idmap = user_namespace.map_or(0, |_| libc::MOUNT_ATTR_IDMAP);
    let propagation = propagation.map_or(0, |propagation| match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Shared => libc::MS_SHARED,
        Propagation::Slave => libc::MS_SLAVE,
        Propagation::Unbindable => libc::MS_UNBINDABLE,
    });
    let attr = MountAttr {
        attr_set: u64::from(change.set.bits()) | idmap,
        attr_clr: change.clear.bits().into(),
        propagation,
        userns_fd: user_namespace.map_or(0, |namespace| namespace.as_raw_fd() as u64),
    };
    set_attributes(mount, c"", &attr, recursive)
}

/// Lets a private mount take part in what the other mount, which shows at least the same files, takes part in
/// (move_mount(2), `MOVE_MOUNT_SET_GROUP`, Linux 5.15).
pub fn join_group_of(mount: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<(), Errno> {
    const SET_GROUP: MoveMountFlags = MoveMountFlags::from_bits_retain(0x100);
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(other, "", mount, "", empty | SET_GROUP)
}

/// Adds attributes to a mount, and to those below it when `recursive` (mount_setattr(2)).
pub fn add_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    let added = Change {
        set: attributes,
        ..Change::default()
    };
    change(mount, added, None, None, recursive)
}

/// Shows the files of a mount, which must not be attached yet, with other owners: an id of the disk becomes what the
/// user namespace makes of it (mount_setattr(2), `MOUNT_ATTR_IDMAP`). `EPERM` where the caller has not mounted the file
/// system, `EINVAL` where that or the kernel cannot do it.
pub fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    change(mount, Change::default(), None, Some(user_namespace), false)
}

/// Covers a directory, in a mount namespace that nobody else is in, with itself as [`map_ids`] shows it. It is attached
/// since overlayfs takes no layer that is attached nowhere before Linux 6.15.
pub fn cover_mapped(directory: &Path, user_namespace: BorrowedFd<'_>) -> Result<()> {
    let context = || format!("map the ids of `{}`", directory.display());
    let place = open_source(directory)?;
    let mapped = clone_tree(place.as_fd(), false).with_context(context)?;
    map_ids(mapped.as_fd(), user_namespace).with_context(context)?;
    attach(mapped.as_fd(), place.as_fd()).with_context(context)
}

/// Takes attributes away again.
pub fn remove_attributes(mount: BorrowedFd<'_>, attributes: Attributes) -> Result<(), Errno> {
    let removed = Change {
        clear: attributes,
        ..Change::default()
    };
    change(mount, removed, None, None, false)
}

/// Makes all mounts of this namespace private (`MS_PRIVATE`) or slaves of the original (`MS_SLAVE`).
pub fn set_propagation_of_all(slave: bool) -> Result<(), Errno> {
    let propagation = if slave {
        libc::MS_SLAVE
    } else {
        libc::MS_PRIVATE
    };
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    set_attributes(rustix::fs::CWD, c"/", &attr, true)
}

fn set_attributes(
    directory: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    attr: &MountAttr,
    recursive: bool,
) -> Result<(), Errno> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` is null-terminated and `attr` has the size that is given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const *attr,
            size_of::<MountAttr>(),
        )
    };
    match result {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(()),
    }
}

/// A detached copy of the root mount of another mount namespace, without what is mounted below it. The process must
/// have one thread; it is back in its own namespace afterwards, with the root of that as its current directory.
pub fn root_of(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    elsewhere(joining(namespace), || {
        let root = open_source(Path::new("/"))?;
        clone_tree(root.as_fd(), false).context("copy the mount of `/`")
    })
}

/// Calls `act` in the mount namespace that `enter` leads to, and returns to the own one.
fn elsewhere<T>(enter: impl FnOnce() -> Result<()>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = std::fs::File::open("/proc/self/ns/mnt").context("open `/proc/self/ns/mnt`")?;
    enter()?;
    let done = act();
    join(own.as_fd(), NEW_MOUNT).context("return to the own mount namespace")?;
    done
}

fn joining(namespace: BorrowedFd<'_>) -> impl FnOnce() -> Result<()> {
    move || join(namespace, NEW_MOUNT).context("join the mount namespace")
}

/// A detached copy of what is mounted at a path of another mount namespace; `None` where nothing is. The process must
/// have one thread; it is back in its own namespace afterwards, with the root of that as its current directory.
pub fn mounted_in(namespace: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    elsewhere(joining(namespace), || {
        let place = open_source(path)?;
        match is_mount_point(path) {
            Ok(true) => clone_tree(place.as_fd(), true)
                .map(Some)
                .with_context(|| format!("copy the mount of `{}`", path.display())),
            _ => Ok(None),
        }
    })
}

/// Calls `make` in a mount namespace that nobody else sees, a copy of this one, which is gone afterwards: what is made
/// of its mounts stays. The process must have one thread.
pub fn apart<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    let here = std::env::current_dir();
    let leave = || unshare(NEW_MOUNT).context("unshare the mount namespace");
    let made = elsewhere(leave, || {
        set_propagation_of_all(false).context("make mounts private")?;
        make()
    });
    // To join it leads to its root; a directory that is gone or cannot be named is nobody's any more.
    let _ = here.and_then(std::env::set_current_dir);
    made
}

/// A detached read-only mount of one file: what runs from it cannot be opened for writing through
/// `/proc/PID/exe`, not even by root (CVE-2019-5736). `source` must lie in this mount namespace.
pub fn read_only_copy(source: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mount = clone_tree(source, false)?;
    add_attributes(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    Ok(mount)
}

/// Opens a path of the host to be mounted, without triggering automounts or reading.
pub fn open_source(path: &Path) -> Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("open `{}`", path.display()))
}
