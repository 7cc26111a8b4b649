//! The files of a container that does not run as its program would see them: with what is mounted in it, but memory,
//! which is gone. The mounts are attached in a mount namespace that nobody else sees.

use crate::container::engine::Engine;
use crate::container::mount_point::{self, Missing, request::Kind};
use crate::container::record::Record;
use crate::container::{mount as mounted, root, user_namespace};
use crate::error::bad_input;
use crate::id_mapping::Tier;
use crate::runtime::plan::{MountStep, Sources};
use crate::runtime::rootfs::{self, trees};
use crate::store::lock::Lock;
use crate::sys::process::flags;
use crate::sys::{mount, namespace, openat2};
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags, fstat, fstatvfs, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What can be reached through a container's mounts, which [`root::enter`] has made possible.
#[derive(Clone, Copy, Debug)]
enum Base {
    /// Image and changes, to be read.
    Merged,
    /// The same to be written, by whoever holds the lock.
    Writable,
}

/// To be read. `None` where a mount has no place yet since the container was never started: then only [`to_write`] can
/// make one.
pub fn to_read(engine: &Engine, record: &Record) -> Result<Option<OwnedFd>> {
    if !has_files(record) {
        return root::merged(engine, record).map(Some);
    }
    attach(engine, record, Base::Merged, Missing::Show)
}

/// To be read and written; `missing` says whether sources of mounts are made too.
pub fn to_write(
    engine: &Engine,
    record: &Record,
    lock: &Lock,
    missing: Missing,
) -> Result<OwnedFd> {
    if !has_files(record) && !record.options.read_only {
        return root::writable(engine, record, lock);
    }
    let view = attach(engine, record, Base::Writable, missing)?;
    view.context("make the places of mounts")
}

fn has_files(record: &Record) -> bool {
    let mut points = record.mounts.iter();
    points.any(|point| point.request.kind != Kind::Tmpfs)
}

fn attach(
    engine: &Engine,
    record: &Record,
    base: Base,
    missing: Missing,
) -> Result<Option<OwnedFd>> {
    if engine.mapping.tier == Tier::Root {
        namespace::unshare(flags::NEW_MOUNT).context("unshare the mount namespace")?;
    }
    mount::set_propagation_of_all(false).context("make mounts private")?;
    // Before a root is attached on that of this process, which may make no user namespace then (user_namespaces(7)).
    let namespace = user_namespace::nested(&record.options, engine)
        .map(|nested| nested.maps.namespace())
        .transpose()?;
    let namespace = namespace.as_ref().map(AsFd::as_fd);
    let sources = mount_point::open(engine, record, Sources::new(), namespace, missing)?;
    let steps = steps(engine, record)?;
    let trees = trees::of(&steps, sources.held, namespace, engine.mapping.tier)?;
    let whole = match (base, mounted::mounted(engine, &record.id)) {
        (Base::Merged, _) => root::merged_overlay(engine, record)?,
        (Base::Writable, Some(path)) => {
            let place = mount::open_source(&path)?;
            mount::clone_tree(place.as_fd(), false).context("bind the container's root")?
        }
        (Base::Writable, None) => root::writable_overlay(engine, record)?,
    };
    // Any directory serves; on the root it hides no path from this process.
    let here = mount::open_source(Path::new("/"))?;
    mount::attach(whole.as_fd(), here.as_fd()).context("attach the container's root")?;
    for (step, tree) in steps.iter().zip(trees) {
        let (target, tree) = (&step.target, tree.context("memory is not shown")?);
        let Some(place) = place(whole.as_fd(), target, &tree, base)? else {
            let attached = format!("/proc/self/fd/{}", whole.as_raw_fd());
            unmount(attached, UnmountFlags::DETACH).context("take the container's root off")?;
            return Ok(None);
        };
        mount::attach(tree.as_fd(), place.as_fd())
            .with_context(|| format!("mount on `{}`", target.display()))?;
    }
    if record.options.read_only {
        let read_only = mount::Attributes::MOUNT_ATTR_RDONLY;
        mount::add_attributes(whole.as_fd(), read_only, false).context("make it read-only")?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(&whole, ".", flags, Mode::empty()).context("open the container's root")?;
    Ok(Some(root))
}

/// What the runtime would mount, but memory, and without later mounts of the host, which nobody waits for here.
fn steps(engine: &Engine, record: &Record) -> Result<Vec<MountStep>> {
    let mut quiet = record.clone();
    for point in &mut quiet.mounts {
        point.request.propagation = None;
    }
    quiet
        .mounts
        .retain(|point| point.request.kind != Kind::Tmpfs);
    let mounts = mount_point::mounts(&quiet, engine)?;
    let mut steps = mounts
        .iter()
        .map(MountStep::of)
        .collect::<Result<Vec<_>>>()?;
    // A mount comes after the one that its place lies in.
    steps.sort_by_key(|step| step.target.components().count());
    Ok(steps)
}

/// Where a mount goes, made where it can be.
fn place(
    root: BorrowedFd<'_>,
    target: &Path,
    tree: &OwnedFd,
    base: Base,
) -> Result<Option<OwnedFd>> {
    if let Base::Merged = base {
        return match openat2::open_in_root(
            root,
            target.as_os_str().as_bytes(),
            OFlags::PATH,
            Mode::empty(),
        ) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(
                found.with_context(|| format!("open `{}`", target.display()))?,
            )),
        };
    }
    let found = fstat(tree).context("fstat")?;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => rootfs::Kind::Directory,
        _ => rootfs::Kind::File,
    };
    rootfs::make(root, target, kind).map(Some)
}

/// Refuses a directory that cannot be written, in Docker's words.
pub fn check_writable(directory: &OwnedFd, record: &Record) -> Result<()> {
    let found = fstatvfs(directory).context("statvfs")?;
    if !found.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    Err(bad_input(match record.options.read_only {
        true => "container rootfs is marked read-only",
        false => "mounted volume is marked read-only",
    })
    .into())
}
