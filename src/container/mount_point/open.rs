//! Opening the sources of a container's mounts, once, when it starts: by its monitor, who is the caller or root of the
//! caller's user namespace, and so reaches what the caller reaches.

use super::MountPoint;
use super::own_files;
use super::request::{Kind, Propagation, Recursion};
use crate::container::engine::Engine;
use crate::container::list;
use crate::container::record::Record;
use crate::container::root;
use crate::container::user_namespace;
use crate::error::{Error, Kind as Failure, bad_input};
use crate::id_mapping::{Tier, become_root};
use crate::paths::Paths;
use crate::runtime::plan::{self, Held};
use crate::store::damage;
use crate::store::lock::Lock;
use crate::sys::process::flags;
use crate::sys::{mount, namespace, openat2};
use crate::volume::{self, mount::Opened, options::Source};
use anyhow::{Context, Result};
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The open sources of a container's mounts.
#[derive(Debug)]
pub(in crate::container) struct Sources {
    /// By the place where the container sees them.
    pub held: plan::Sources,
    /// To be kept as long as they are used.
    pub in_use: InUse,
}

/// The devices of volumes that this process uses; they are unmounted when nobody does any more.
#[derive(Debug)]
pub(in crate::container) struct InUse {
    paths: Paths,
    volumes: Vec<(String, Lock)>,
    /// The lock of what [`super::places`] has given.
    pub places: Option<Lock>,
}

impl InUse {
    /// Whether something may have to be unmounted.
    pub fn has_devices(&self) -> bool {
        !self.volumes.is_empty()
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        for (name, lock) in self.volumes.drain(..) {
            drop(lock);
            if let Err(error) = volume::mount::release(&self.paths, &name) {
                damage::note(format_args!("volume {name} stays mounted"), &error);
            }
        }
    }
}

/// What becomes of the source of a `-v` that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::container) enum Missing {
    /// It is made.
    Make,
    /// An empty directory is shown, as the container would see it, and nothing is made.
    Show,
}

/// Opens all sources but those that are open already, which are `given` by target. `namespace` is the user namespace of the container, where it has one of its own.
pub(in crate::container) fn open(
    engine: &Engine,
    record: &Record,
    mut given: plan::Sources,
    namespace: Option<BorrowedFd<'_>>,
    missing: Missing,
) -> Result<Sources> {
    super::check_count(&record.mounts)?;
    let mut sources = Sources {
        held: plan::Sources::new(),
        in_use: InUse {
            paths: engine.paths.clone(),
            volumes: Vec::new(),
            places: None,
        },
    };
    for point in &record.mounts {
        let open = given.remove(OsStr::new(&point.request.target));
        let held = match point.request.kind {
            _ if open.is_some() => open.context("it is open")?,
            Kind::Tmpfs => continue,
            Kind::Bind if missing == Missing::Show && is_missing(point) => {
                Held::Mount(mount::new_filesystem(
                    "tmpfs",
                    "tmpfs",
                    &[("mode", Some("755"))],
                    mount::Attributes::MOUNT_ATTR_RDONLY,
                )?)
            }
            Kind::Bind => hold_bind(point)?,
            Kind::Volume => {
                let opened = open_volume(engine, &point.request.source)?;
                let name = point.request.source.clone();
                let in_use = opened.in_use.map(|lock| (name, lock));
                sources.in_use.volumes.extend(in_use);
                show_volume(engine, point, opened.place, namespace)?
            }
            Kind::Image => Held::Mount(open_image(engine, record, point, namespace)?),
        };
        let (Held::Place(place) | Held::Mount(place)) = &held;
        refuse_instead_of_device(point, place)?;
        let target = point.request.target.as_str().into();
        sources.held.insert(target, held);
    }
    if missing == Missing::Make {
        own_files::check(engine, record, &sources.held)?;
    }
    Ok(sources)
}

/// Programs fail in strange ways where these are directories, and so would the runtimes of others.
fn refuse_instead_of_device(point: &MountPoint, place: &OwnedFd) -> Result<()> {
    const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
    let target = &point.request.target;
    let is_device = target
        .strip_prefix("/dev/")
        .is_some_and(|name| DEVICES.contains(&name));
    let is_directory = |found: Stat| FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if !is_device || !is_directory(fstat(place).context("fstat")?) {
        return Ok(());
    }
    let message = format!("cannot mount a directory on `{target}`, which is a device");
    Err(bad_input(message)
        .hint("mount a device there, or the directory elsewhere")
        .into())
}

/// What later mounts have no part in needs no place that it is compared with: it is taken in one step, as long as
/// nothing is wrong.
fn hold_bind(point: &MountPoint) -> Result<Held> {
    let request = &point.request;
    if let None | Some(Propagation::Rprivate) = request.propagation
        && let recursive = request.recursion != Recursion::Disabled
        && let Ok(mount) = mount::clone_tree_at(Path::new(&request.source), recursive)
    {
        return Ok(Held::Mount(mount));
    }
    open_bind(point).map(Held::Place)
}

fn open_bind(point: &MountPoint) -> Result<OwnedFd> {
    let path = Path::new(&point.request.source);
    let open = || rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let opened = match open() {
        Err(Errno::NOENT) => {
            make_missing(point)?;
            open()
        }
        opened => opened,
    };
    opened.map_err(|error| {
        let message = format!("cannot open `{}` to mount it: {error}", path.display());
        let failure = match error {
            Errno::NOENT if point.request.create_source => bad_input(message)
                .hint("it is a symbolic link that leads nowhere: make what it names"),
            Errno::NOENT => {
                bad_input(message).hint("make it, or use -v, which makes a missing directory")
            }
            Errno::ACCESS => Error::new(Failure::Denied, message)
                .hint("you have to be able to enter every directory on its way"),
            _ => Error::new(Failure::Denied, message),
        };
        failure.into()
    })
}

/// Makes the source of a `-v` that is not there, as the caller.
pub(super) fn make_missing(point: &MountPoint) -> Result<()> {
    if !is_missing(point) {
        return Ok(());
    }
    let path = Path::new(&point.request.source);
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.with_context(|| format!("create the directory `{}` to mount", path.display()))
}

/// Whether there is no such file, and a directory is to be made.
fn is_missing(point: &MountPoint) -> bool {
    let path = Path::new(&point.request.source);
    let is_not_found = |error: std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    point.request.create_source && path.symlink_metadata().is_err_and(is_not_found)
}

/// What is below a mount's source, which may be written by containers: nothing there leads out of it.
fn open_below(place: BorrowedFd<'_>, point: &MountPoint) -> Result<Option<OwnedFd>> {
    let Some(subpath) = &point.request.subpath else {
        return Ok(None);
    };
    let found = openat2::open_in_root(place, subpath.as_bytes(), OFlags::PATH, Mode::empty());
    found.map(Some).map_err(|error| {
        let message = format!(
            "cannot access path `{subpath}` of {} {}: {error}",
            match point.request.kind {
                Kind::Image => "image",
                _ => "volume",
            },
            point.request.source
        );
        bad_input(message).into()
    })
}

/// The files of a volume, mounted if they are on a device. An ordinary user is where [`crate::container::root::enter`]
/// leads.
pub(in crate::container) fn open_volume(engine: &Engine, name: &str) -> Result<Opened> {
    let found = volume::find(&engine.paths, name)?;
    let monitors = match (engine.mapping.tier, found.source()?) {
        (Tier::Root, _) | (_, None) => Vec::new(),
        _ => monitors_with(engine, name)?,
    };
    volume::mount::open(&engine.paths, &engine.mapping, &found, &monitors)
}

/// What is mounted, to change its files, and what keeps its device mounted meanwhile.
pub(super) fn open_to_change(
    engine: &Engine,
    point: &MountPoint,
) -> Result<(OwnedFd, Option<Lock>)> {
    let Some(name) = point.volume() else {
        return Ok((open_bind(point)?, None));
    };
    let opened = open_volume(engine, name)?;
    let below = open_below(opened.place.as_fd(), point)?;
    Ok((below.unwrap_or(opened.place), opened.in_use))
}

/// Whether the container has volumes that can be shared only with those in the same user namespace.
pub(in crate::container) fn takes_turns(engine: &Engine, record: &Record) -> Result<bool> {
    Ok(engine.mapping.tier != Tier::Root && !shared_devices(engine, record)?.is_empty())
}

/// The volumes of a container that are file systems of their own.
fn shared_devices<'a>(engine: &Engine, record: &'a Record) -> Result<Vec<&'a str>> {
    devices_of(engine, record.mounts.iter().filter_map(MountPoint::volume))
}

fn devices_of<'a>(engine: &Engine, volumes: impl Iterator<Item = &'a str>) -> Result<Vec<&'a str>> {
    let mut names = Vec::new();
    for name in volumes {
        let source = volume::find(&engine.paths, name)?.source()?;
        if matches!(source, Some(Source::FileSystem(_))) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The user namespace of a monitor that has a volume's device mounted already, to live in the same one: only from there
/// can it be shared. `None` where there is nothing to share.
pub(in crate::container) fn home(engine: &Engine, record: &Record) -> Result<Option<OwnedFd>> {
    home_of(engine, record.mounts.iter().filter_map(MountPoint::volume))
}

fn home_of<'a>(engine: &Engine, volumes: impl Iterator<Item = &'a str>) -> Result<Option<OwnedFd>> {
    if !engine.mapping.needs_user_namespace() {
        return Ok(None);
    }
    for name in devices_of(engine, volumes)? {
        for pid in monitors_with(engine, name)? {
            let path = format!("/proc/{pid}/ns/user");
            // One that has just ended has nothing to share.
            if let Ok(namespace) = std::fs::File::open(path) {
                return Ok(Some(namespace.into()));
            }
        }
    }
    Ok(None)
}

/// As [`root::enter`], but to where the devices of volumes can be shared that somebody uses.
pub(in crate::container) fn enter<'a>(
    engine: &Engine,
    volumes: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let Some(home) = home_of(engine, volumes)? else {
        return root::enter(engine);
    };
    namespace::join(home.as_fd(), flags::NEW_USER)
        .context("join the user namespace of who has a volume mounted")?;
    become_root()?;
    namespace::unshare(flags::NEW_MOUNT).context("unshare the mount namespace")
}

/// The monitors of containers that run and have the volume.
fn monitors_with(engine: &Engine, name: &str) -> Result<Vec<i32>> {
    let running = list::list(engine)?.into_iter().filter(|container| {
        let mut points = container.record.mounts.iter();
        container.status().is_up() && points.any(|point| point.volume() == Some(name))
    });
    Ok(running
        .filter_map(|container| container.state)
        .map(|state| state.monitor.pid)
        .collect())
}

fn show_volume(
    engine: &Engine,
    point: &MountPoint,
    data: OwnedFd,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<Held> {
    let place = open_below(data.as_fd(), point)?.unwrap_or(data);
    Ok(match mapped(engine, place.as_fd(), namespace)? {
        Some(mount) if point.request.idmap.is_none() => Held::Mount(mount),
        _ => Held::Place(place),
    })
}

/// A mount of a volume that shows ids on the disk as the same ids of the container, with the mounts below it, where the
/// kernel does that for all of them: for real root, whose containers have ids that other containers do not have.
pub(super) fn mapped(
    engine: &Engine,
    place: BorrowedFd<'_>,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<Option<OwnedFd>> {
    let Some(namespace) = namespace.filter(|_| engine.mapping.tier == Tier::Root) else {
        return Ok(None);
    };
    let copy = mount::clone_tree(place, true).context("bind a volume")?;
    let nothing = mount::Change::default();
    match mount::change(copy.as_fd(), nothing, None, Some(namespace), true) {
        Ok(()) => Ok(Some(copy)),
        // Some file system cannot do it, or shows other ids already.
        Err(Errno::INVAL | Errno::PERM) => Ok(None),
        Err(error) => Err(error).context("map the ids of a volume"),
    }
}

/// The files of an image, which nobody can change.
fn open_image(
    engine: &Engine,
    record: &Record,
    point: &MountPoint,
    namespace: Option<BorrowedFd<'_>>,
) -> Result<OwnedFd> {
    let context = || format!("show the files of image {}", point.request.source);
    let layers = user_namespace::layers_of(engine, &record.options, &point.layers, namespace)?;
    mount::apart(|| {
        if let Some(namespace) = namespace.filter(|_| layers.mapped) {
            for tree in &layers.trees {
                mount::cover_mapped(tree, namespace)?;
            }
        }
        let trees = layers.trees.iter().map(|tree| mount::open_source(tree));
        let trees = trees.collect::<Result<Vec<_>>>()?;
        let whole = match &trees[..] {
            [] => return Err(bad_input("the image has no files").into()),
            [tree] => mount::read_only_copy(tree.as_fd()).context("bind the layer")?,
            trees => mount::read_only_overlay(trees, engine.mapping.tier != Tier::Root)?,
        };
        if point.request.subpath.is_none() {
            return Ok(whole);
        }
        // A part of it can be taken only where it is attached (before Linux 6.15).
        let place = mount::open_source(Path::new("/"))?;
        mount::attach(whole.as_fd(), place.as_fd()).context("attach the files")?;
        let part = open_below(whole.as_fd(), point)?.context("the path within the image")?;
        mount::clone_tree(part.as_fd(), false).context("bind the path within the image")
    })
    .with_context(context)
}
