//! Places to mount on that an image lacks: a directory of the store that has them, empty, and is shown below all layers
//! of the image. It is made once, for all containers that mount at the same places. Otherwise each place would be made
//! among a container's changes when it starts, and removed with them: with a journal that takes longer than all else about
//! a mount.
//!
//! Invariants: whatever an image has at such a place, or on the way to it, lies above and is what the container sees; a
//! container cannot change what others share; without the directory all is the same, but slower.

use crate::container::engine::Engine;
use crate::image::digest::Digest;
use crate::paths::Paths;
use crate::runtime::plan::{Held, Sources};
use crate::store::damage;
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{FileType, Mode, fstat};
use rustix::process::umask;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};

/// So many are kept, and those that are in use.
const KEPT: usize = 64;

/// Where there is to be what.
type Places<'a> = BTreeMap<&'a Path, Kind>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Directory,
    /// A directory for memory, which takes over the mode of what it is mounted on: everybody's, as where it is mounted on
    /// nothing.
    Memory,
}

/// The directory for the mounts of a container that is about to start, which is there as long as it is locked; `root` is
/// who the container's root is on the disk. `None` where it cannot be made, as on a full disk: then the container's own
/// changes hold the places, or say why not.
pub(in crate::container) fn places(
    engine: &Engine,
    spec: &Spec,
    sources: &Sources,
    root: (u32, u32),
) -> Option<(PathBuf, Lock)> {
    let places = listed(spec.mounts().as_deref().unwrap_or_default(), sources);
    let directory = engine.paths.mount_points().join(name(&places, root));
    // A second time for who has waited for somebody that has removed it.
    for _ in 0..2 {
        if let Ok(lock) = Lock::shared_directory(&directory)
            && lock.is_of(&directory)
        {
            return Some((directory, lock));
        }
        make(&engine.paths, &places, root, &directory).ok()?;
    }
    None
}

/// What lies in another mount has its place there.
fn listed<'a>(mounts: &'a [Mount], sources: &Sources) -> Places<'a> {
    let is_plain = |path: &&Path| {
        let mut parts = path.components();
        parts.next() == Some(Component::RootDir)
            && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    let mut places: Places = mounts
        .iter()
        .map(|mount| (mount.destination().as_path(), kind(mount, sources)))
        .filter(|(target, _)| is_plain(target) && target.parent().is_some())
        .collect();
    // They are in order, so that what lies in a place comes right behind it.
    let mut outer: Option<&Path> = None;
    places.retain(|target, _| {
        let lies_in = outer.is_some_and(|outer| target.starts_with(outer));
        outer = outer.filter(|_| lies_in).or(Some(target));
        !lies_in
    });
    places
}

/// A directory, unless it is known that something else is to be mounted.
fn kind(mount: &Mount, sources: &Sources) -> Kind {
    if mount.typ().as_deref() == Some("tmpfs") {
        return Kind::Memory;
    }
    let is_directory = match (sources.get(mount.destination().as_os_str()), mount.source()) {
        (Some(Held::Place(open) | Held::Mount(open)), _) => {
            fstat(open).map(|found| FileType::from_raw_mode(found.st_mode).is_dir())
        }
        (None, Some(source)) if source.is_absolute() => Ok(source.is_dir()),
        (None, _) => Ok(true),
    };
    match is_directory {
        Ok(false) => Kind::File,
        _ => Kind::Directory,
    }
}

fn name(places: &Places<'_>, root: (u32, u32)) -> String {
    let mut list = format!("{root:?}\n");
    for (path, kind) in places {
        // Quoted, so that no name can pass for two.
        let _ = writeln!(list, "{kind:?} {path:?}");
    }
    Digest::of(list.as_bytes()).hex().to_owned()
}

fn make(paths: &Paths, places: &Places<'_>, root: (u32, u32), directory: &Path) -> Result<()> {
    let staging = Staging::new(&paths.staging())?;
    let tree = staging.path().join("places");
    let before = umask(Mode::WGRP | Mode::WOTH);
    let made = fill(&tree, places).and_then(|()| give(&tree, root));
    umask(before);
    made.with_context(|| format!("make `{}`", tree.display()))?;
    let all = paths.mount_points();
    std::fs::create_dir_all(&all).with_context(|| format!("create `{}`", all.display()))?;
    evict(&all, &staging, KEPT - 1)?;
    match std::fs::rename(&tree, directory) {
        // Somebody else was quicker.
        Err(_) if directory.exists() => Ok(()),
        renamed => renamed.with_context(|| format!("make `{}`", directory.display())),
    }
}

fn fill(tree: &Path, places: &Places<'_>) -> std::io::Result<()> {
    std::fs::create_dir(tree)?;
    for (target, kind) in places {
        let place = tree.join(target.strip_prefix("/").unwrap_or(target));
        std::fs::create_dir_all(match kind {
            Kind::File => place.parent().unwrap_or(tree),
            Kind::Directory | Kind::Memory => &place,
        })?;
        match kind {
            Kind::File => drop(File::create(&place)?),
            Kind::Directory => {}
            Kind::Memory => std::fs::set_permissions(&place, Permissions::from_mode(0o1777))?,
        }
    }
    Ok(())
}

/// Gives all of it to a user and a group.
fn give(tree: &Path, owner: (u32, u32)) -> std::io::Result<()> {
    let found = tree.symlink_metadata()?;
    if (found.uid(), found.gid()) == owner {
        return Ok(());
    }
    lchown(tree, Some(owner.0), Some(owner.1))?;
    if found.is_dir() {
        for entry in tree.read_dir()? {
            give(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Removes what no container uses at this moment. What cannot be removed is noted.
pub fn sweep(paths: &Paths) {
    let all = paths.mount_points();
    let evict_all = || evict(&all, &Staging::new(&paths.staging())?, 0);
    if all.exists()
        && let Err(error) = evict_all()
    {
        damage::note("places to mount on that no container uses stay", &error);
    }
}

/// Moves what nobody uses away when there is more than `kept` of it; it goes with `staging`.
fn evict(all: &Path, staging: &Staging, kept: usize) -> Result<()> {
    let entries = std::fs::read_dir(all).with_context(|| format!("read `{}`", all.display()))?;
    let entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    if entries.len() <= kept {
        return Ok(());
    }
    for path in entries {
        if let Ok(Some(_lock)) = Lock::try_directory(&path) {
            let name = path.file_name().unwrap_or(OsStr::new("old"));
            std::fs::rename(&path, staging.path().join(name))
                .with_context(|| format!("remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::MountBuilder;
    use std::collections::BTreeSet;

    fn mount(target: &str, source: &str) -> Mount {
        let mount = MountBuilder::default().destination(target).source(source);
        mount.build().unwrap()
    }

    #[test]
    fn each_place_outside_of_the_others_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        File::create(&file).unwrap();
        let mounts = [
            mount("/dev", "tmpfs"),
            mount("/dev/shm", "shm"),
            mount("/device", "/"),
            mount("/etc/one", file.to_str().unwrap()),
            mount("/", "/"),
            mount("/../up", "/"),
        ];
        let places = listed(&mounts, &Sources::new());
        let tree = directory.path().join("tree");
        fill(&tree, &places).unwrap();
        let mut found = BTreeSet::new();
        for path in ["dev", "dev/shm", "device", "etc", "etc/one", "up"] {
            let kind = std::fs::metadata(tree.join(path)).map(|found| found.is_dir());
            found.extend(kind.ok().map(|is_directory| (path, is_directory)));
        }
        let expected = [
            ("dev", true),
            ("device", true),
            ("etc", true),
            ("etc/one", false),
        ];
        assert_eq!(found, BTreeSet::from(expected));
        let fewer = listed(&mounts[..2], &Sources::new());
        assert!(name(&places, (0, 0)) != name(&fewer, (0, 0)));
    }

    #[test]
    fn old_ones_go_unless_they_are_used() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path(), directory.path());
        let nth = |number: usize| paths.mount_points().join(number.to_string());
        let owner = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let make_nth = |number| make(&paths, &Places::new(), owner, &nth(number)).unwrap();
        (0..KEPT).for_each(make_nth);
        let used = Lock::shared_directory(&nth(5)).unwrap();
        make_nth(KEPT);
        let left: Vec<_> = std::fs::read_dir(paths.mount_points())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.len() == 2 && nth(5).exists() && nth(KEPT).exists(),
            "{left:?}"
        );
        sweep(&paths);
        assert!(!nth(KEPT).exists());
        assert!(used.is_of(&nth(5)) && std::fs::read_dir(paths.staging()).unwrap().count() == 0);
    }
}
