//! The container's file system tree, built by init inside its own mount namespace. The order is that of
//! [`build`]; everything below the root is reached by descriptors, since the image decides what lies there.

mod devices;
mod edits;
mod libraries;
mod library_cache;
mod mounts;
mod resolve;
mod single_id;
pub mod trees;

use super::mount_options::Spread;
use super::plan::{Plan, Root, Source};
use crate::error::bad_input;
use crate::id_mapping::Tier;
use crate::sys::mount::{self, Attributes, Change, Overlay, Propagation};
use crate::sys::procfs::Processes;
use anyhow::{Context, Result, bail};
use devices::Dev;
use mounts::Below;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use devices::make_plain;
pub use resolve::{Kind, make};

/// The pieces that are needed again after the root has changed.
#[derive(Debug)]
pub struct Built {
    /// The root, not yet entered.
    pub root: OwnedFd,
    /// Its new process file system, if it has one.
    pub processes: Option<Processes>,
    /// To cover masked files with, where there are any.
    null: Option<Cover>,
    /// What nothing more is made in from the change of the root on.
    read_only: Vec<OwnedFd>,
}

/// What of the host a root file system is made of, held before the process becomes somebody who may not reach it.
#[derive(Debug)]
pub struct Pieces {
    root: OwnedFd,
    /// Where the root is attached.
    place: OwnedFd,
    /// To cover masked files with, where there are any.
    null: Option<OwnedFd>,
}

impl Pieces {
    /// The root is to be attached at that path, in the mount namespace that the process has come to.
    pub fn is_for(&mut self, path: &Path) -> Result<()> {
        self.place = mount::open_source(path)?;
        Ok(())
    }
}

/// What hides a file or a directory. One mount serves all: a copy is cheaper than another one, but can be made only of
/// one that is attached (before Linux 6.15).
#[derive(Debug)]
struct Cover {
    mount: OwnedFd,
    is_attached: bool,
}

impl Cover {
    fn new(mount: OwnedFd) -> Self {
        Self {
            mount,
            is_attached: false,
        }
    }

    fn put_on(&mut self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.is_attached {
            let copy = mount::clone_tree(self.mount.as_fd(), false)?;
            return mount::attach(copy.as_fd(), target);
        }
        mount::attach(self.mount.as_fd(), target)?;
        self.is_attached = true;
        Ok(())
    }
}

/// Opens everything. To be called before anything is mounted: a mount may cover the path that a later one comes from.
pub fn open(plan: &Plan) -> Result<Pieces> {
    let null = (!plan.masked.is_empty()).then(null).transpose()?;
    let (root, place) = make_root(plan, None)?;
    Ok(Pieces { root, place, null })
}

/// Makes the root file system and attaches it in the mount namespace of this process, which nobody else is in; gives
/// its path. Namespaces of less privilege that are copied from here cannot take off what it is protected by
/// (mount_namespaces(7), "Restrictions on mount namespaces").
pub fn attach_root(plan: &Plan, user_namespace: BorrowedFd<'_>) -> Result<PathBuf> {
    let (root, place) = make_root(plan, Some(user_namespace))?;
    // Real root has made the device nodes of an image, which are those of the host's devices.
    mount::add_attributes(root.as_fd(), Attributes::MOUNT_ATTR_NODEV, false)
        .context("close the device nodes of the root file system")?;
    attach(&root, &place)?;
    let path = match &plan.root {
        Root::Directory { path, .. } => path,
        Root::Overlay { upper, .. } => upper,
    };
    Ok(path.clone())
}

/// Mounts the root file system and everything in it; `trees` are what is bound there, by mount.
pub fn build(plan: &Plan, trees: &[Option<OwnedFd>], pieces: Pieces) -> Result<Built> {
    let Pieces { root, place, null } = pieces;
    attach(&root, &place)?;
    if plan.inherits_mounts() {
        // Where it lies may be shared: what comes below it is to be seen in this namespace alone.
        let private = Some(Propagation::Private);
        mount::change(root.as_fd(), Change::default(), private, None, true)
            .context("make the root file system private")?;
    }
    let mut dev = Dev::OfImage;
    let mut below = Below::new(
        &root,
        plan.mount_label
            .as_deref()
            .map(|label| (plan.label_option, label)),
    )?;
    for (step, tree) in plan.mounts.iter().zip(trees) {
        let mounted = below
            .mount(step, tree.as_ref())
            .with_context(|| mounts::describe(step))?;
        if step.target == Path::new("/dev") && !matches!(step.source, Source::Remount) {
            dev = Dev::mounted(step, mounted);
        }
    }
    let Below {
        processes,
        read_only,
        ..
    } = below;
    devices::make_all(&root, dev, plan)?;
    edits::apply(root.as_fd(), &plan.edits)?;
    Ok(Built {
        root,
        processes,
        null: null.map(Cover::new),
        read_only: read_only.into_iter().map(|(_, mounted)| mounted).collect(),
    })
}

/// Covers what the container may not see or change. Runs after the root has changed, so that the paths are the
/// container's own.
pub fn restrict(plan: &Plan, built: &mut Built) -> Result<()> {
    for mounted in &built.read_only {
        mount::add_attributes(mounted.as_fd(), Attributes::MOUNT_ATTR_RDONLY, false)
            .context("make a file system in memory read-only")?;
    }
    let mut empty = None;
    for path in &plan.masked {
        let Some(target) = open_existing(path)? else {
            continue;
        };
        let say = || format!("mask `{}`", path.display());
        let cover = match (is_directory(&target)?, &mut empty) {
            (false, _) => built.null.as_mut().context("no null device is open")?,
            (true, Some(empty)) => empty,
            (true, None) => empty.insert(Cover::new(empty_directory().with_context(say)?)),
        };
        cover.put_on(target.as_fd()).with_context(say)?;
    }
    for path in &plan.read_only {
        let Some(target) = open_existing(path)? else {
            continue;
        };
        let say = || format!("make `{}` read-only", path.display());
        let copy = mount::clone_tree(target.as_fd(), true).with_context(say)?;
        mount::add_attributes(
            copy.as_fd(),
            Attributes::MOUNT_ATTR_RDONLY | hardened(),
            true,
        )
        .with_context(say)?;
        mount::attach(copy.as_fd(), target.as_fd()).with_context(say)?;
    }
    let of_root = Change {
        set: match plan.read_only_root {
            true => Attributes::MOUNT_ATTR_RDONLY,
            false => Attributes::empty(),
        },
        ..Change::default()
    };
    // The others it has already: pivot_root(2) takes no shared one.
    let shared = plan
        .root_propagation
        .map(|spread| spread.propagation)
        .filter(|propagation| *propagation == Propagation::Shared);
    if !of_root.is_empty() || shared.is_some() {
        let root = mount::open_source(Path::new("/"))?;
        mount::change(root.as_fd(), of_root, shared, None, false)
            .context("change the mount of `/`")?;
    }
    Ok(())
}

/// Whether later mounts of the host below its directory appear in the root of the container, which takes a mount
/// namespace whose mounts are still in a group with the host's.
pub fn follows_host(plan: &Plan) -> bool {
    let slave = |spread: &Spread| spread.propagation == Propagation::Slave;
    plan.root_propagation.as_ref().is_some_and(slave)
}

/// Gives a root file system that is attached nowhere its propagation, but no shared one.
fn spread_root(mounted: BorrowedFd<'_>, spread: Spread) -> Result<()> {
    let set = |propagation, recursive| {
        let nothing = Change::default();
        mount::change(mounted, nothing, Some(propagation), None, recursive)
            .context("set the propagation of `/`")
    };
    match spread.propagation {
        Propagation::Shared => {
            if spread.recursive {
                set(Propagation::Shared, true)?;
            }
            set(Propagation::Private, false)
        }
        Propagation::Slave if !spread.recursive => Ok(()),
        propagation => set(propagation, spread.recursive),
    }
}

/// The null device of the host, since the container may have none, or something else in its place (CVE-2025-31133).
/// Its mode and owner are not the container's to change.
fn null() -> Result<OwnedFd> {
    use rustix::fs::{FileType, fstat, major, minor};
    const NULL: (u32, u32) = (1, 3);
    let path = Path::new("/dev/null");
    let file = mount::open_source(path)?;
    let found = fstat(&file).context("stat `/dev/null`")?;
    let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
    if !is_device || (major(found.st_rdev), minor(found.st_rdev)) != NULL {
        bail!("`/dev/null` is not the null device, which files are masked with");
    }
    let mounted = mount::clone_tree(file.as_fd(), false).context("bind `/dev/null`")?;
    let attributes = (Attributes::MOUNT_ATTR_RDONLY | hardened()) - Attributes::MOUNT_ATTR_NODEV;
    mount::add_attributes(mounted.as_fd(), attributes, false).context("bind `/dev/null`")?;
    Ok(mounted)
}

fn empty_directory() -> Result<OwnedFd> {
    let options = [("nr_blocks", Some("1")), ("nr_inodes", Some("1"))];
    let attributes = Attributes::MOUNT_ATTR_RDONLY | hardened();
    mount::new_filesystem("tmpfs", "tmpfs", &options, attributes)
}

fn hardened() -> Attributes {
    Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | Attributes::MOUNT_ATTR_NOEXEC
}

/// The root file system, attached nowhere, and the directory to attach it on. Any directory serves, since only this
/// namespace sees it and pivot_root(2) moves it.
fn make_root(plan: &Plan, user_namespace: Option<BorrowedFd<'_>>) -> Result<(OwnedFd, OwnedFd)> {
    let tier = plan.process.tier;
    match &plan.root {
        Root::Directory { path, devices } => {
            let place = mount::open_source(path)?;
            let mounted = mount::clone_tree(place.as_fd(), true)
                .with_context(|| format!("bind `{}`", path.display()))?;
            if !devices {
                mount::add_attributes(mounted.as_fd(), Attributes::MOUNT_ATTR_NODEV, false)
                    .context("close the device nodes of the root file system")?;
            }
            if let Some(spread) = plan.root_propagation {
                spread_root(mounted.as_fd(), spread)?;
            }
            Ok((mounted, place))
        }
        Root::Overlay {
            lower,
            upper,
            work,
            volatile,
            devices,
            mapped,
        } => {
            if let Some(user_namespace) = user_namespace.filter(|_| *mapped) {
                for path in lower {
                    mount::cover_mapped(path, user_namespace)?;
                }
            }
            let mut lower = lower
                .iter()
                .map(|path| mount::open_source(path))
                .collect::<Result<Vec<_>>>()?;
            let (upper, work) = (mount::open_source(upper)?, mount::open_source(work)?);
            if tier == Tier::Single
                && let Some(layer) = single_id::layer(&lower, work.as_fd())?
            {
                lower.insert(0, layer);
            }
            let overlay = Overlay {
                lower: &lower,
                upper: upper.as_fd(),
                work: work.as_fd(),
                user_xattrs: tier != Tier::Root,
                label: plan.mount_label.as_deref(),
                volatile: *volatile,
            };
            let mounted = overlay.mount()?;
            if !devices {
                mount::add_attributes(mounted.as_fd(), Attributes::MOUNT_ATTR_NODEV, false)
                    .context("close the device nodes of the root file system")?;
            }
            Ok((mounted, upper))
        }
    }
}

fn attach(root: &OwnedFd, place: &OwnedFd) -> Result<()> {
    mount::attach(root.as_fd(), place.as_fd()).context("attach the root file system")
}

fn open_existing(path: &Path) -> Result<Option<OwnedFd>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    // A symbolic link could lead the cover elsewhere and leave the real thing bare (CVE-2025-31133).
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(Errno::LOOP) => {
            let message = format!(
                "`{}` cannot be hidden or made read-only: a symbolic link is on the way to it",
                path.display()
            );
            Err(bad_input(message)
                .hint("if the image is to be trusted: --security-opt systempaths=unconfined")
                .bundle_hint(
                    "if the image is to be trusted: take it out of `linux.maskedPaths` or `linux.readonlyPaths`",
                )
                .into())
        }
        Err(error) => Err(error).with_context(|| format!("open `{}`", path.display())),
    }
}

fn is_directory(file: &OwnedFd) -> Result<bool> {
    use rustix::fs::{FileType, fstat};
    Ok(FileType::from_raw_mode(fstat(file).context("fstat")?.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests;
