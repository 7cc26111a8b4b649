//! What is in the cache, and how it goes: records, the layers that only they need, cache mounts.
//! <https://docs.docker.com/reference/cli/docker/buildx/prune/>
//!
//! Invariant: what a build that runs has taken stays until it ends.

use super::mount::{self, MountRecord};
use super::{DEFINITION, Written};
use crate::build::cache::lock::StepLock;
use crate::image::digest::Digest;
use crate::image::remove;
use crate::paths::{Paths, mount_data_in};
use crate::store::lock::Lock;
use crate::store::{atomic, directory, staging, tree};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

/// One thing in the cache, as `buildx du` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key; of a cache mount the name of its directory.
    pub id: String,
    /// What kind.
    pub kind: Kind,
    /// What it was, or what it is called.
    pub description: String,
    /// The key of the step below.
    pub parent: Option<String>,
    /// Bytes of its files.
    pub size: u64,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it was last used, likewise.
    pub last_used: Option<i64>,
    /// How often.
    pub uses: u64,
    /// A step has it at this moment.
    pub in_use: bool,
    /// An image needs its layer too.
    pub shared: bool,
    /// The layer that it keeps.
    layer: Option<String>,
}

/// The kinds of things in the cache, by BuildKit's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a step has made.
    Regular,
    /// When a Dockerfile was first seen ([`super::Cache::first_seen`]).
    Source,
    /// The directory of a cache mount.
    CacheMount,
}

impl Kind {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "regular",
            Self::Source => "source.local",
            Self::CacheMount => "exec.cachemount",
        }
    }
}

impl Entry {
    /// What it keeps, by its name on the disk: a layer, or a cache mount.
    pub fn keeps(&self) -> Option<&str> {
        match self.kind {
            Kind::CacheMount => Some(&self.id),
            _ => self.layer.as_deref(),
        }
    }

    /// When it was last of use, seconds since 1970.
    pub fn time(&self) -> i64 {
        self.last_used.unwrap_or(self.created)
    }

    /// Cache mounts are written to; layers never are.
    pub fn is_mutable(&self) -> bool {
        self.kind == Kind::CacheMount
    }
}

/// How much may stay; bytes, `None` without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// What is used at most afterwards.
    pub max_used: Option<u64>,
    /// What may always be used.
    pub reserved: Option<u64>,
    /// What is to be free on the disk.
    pub min_free: Option<u64>,
}

/// Everything in the cache, what was used last first. An ordinary user must be in the user namespace of the store for
/// the sizes of cache mounts.
pub fn list(paths: &Paths) -> Result<Vec<Entry>> {
    let needed = remove::needed_by_images(paths)?;
    let mut entries = Vec::new();
    for key in names(&paths.build_records())? {
        entries.extend(step(paths, &key)?);
    }
    for entry in &mut entries {
        let layer: Option<&String> = entry.layer.as_ref();
        entry.shared = layer.is_some_and(|layer| needed.contains(layer));
    }
    for name in names(&paths.build_mounts())? {
        entries.push(cache_mount(paths, &name));
    }
    entries.sort_by_key(|entry| std::cmp::Reverse((entry.time(), entry.id.clone())));
    Ok(entries)
}

/// Bytes of all of these; a layer that several records keep counts once.
pub fn total<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for entry in entries {
        let counts = entry.layer.as_ref().is_none_or(|layer| seen.insert(layer));
        sum += if counts { entry.size } else { 0 };
    }
    sum
}

/// The entry of a record.
fn step(paths: &Paths, key: &str) -> Result<Option<Entry>> {
    let Some(Written::Record(record)) = Written::read(&paths.build_records().join(key))? else {
        return Ok(None);
    };
    let is_here = |name: &str| paths.layer_tree(name).is_dir();
    let layer = record.layer.filter(|layer| is_here(&layer.name));
    Ok(Some(Entry {
        id: key.to_owned(),
        kind: match record.description == DEFINITION {
            true => Kind::Source,
            false => Kind::Regular,
        },
        description: record.description,
        parent: record.parent.map(|parent| parent.hex().to_owned()),
        size: layer.as_ref().map_or(0, |layer| layer.size),
        created: record.created,
        last_used: record.last_used,
        uses: record.uses,
        in_use: Lock::is_held(&paths.build_locks().join(key)),
        shared: false,
        layer: layer.map(|layer| Paths::layer_key(&layer.name).to_owned()),
    }))
}

fn cache_mount(paths: &Paths, name: &str) -> Entry {
    let place = paths.build_mounts().join(name);
    let known = mount::record(&place).unwrap_or(MountRecord {
        id: name.to_owned(),
        created: 0,
        last_used: None,
        uses: 0,
    });
    Entry {
        id: name.to_owned(),
        kind: Kind::CacheMount,
        description: format!("cached mount {}", known.id),
        parent: None,
        size: size(&mount_data_in(&place)),
        created: known.created,
        last_used: known.last_used,
        uses: known.uses,
        in_use: matches!(Lock::try_directory(&place), Ok(None)),
        shared: false,
        layer: None,
    }
}

/// Removes what `is_meant`, what was not used for longest first, as far as `space` asks for it; tells what went and how many
/// bytes. An ordinary user must be in the user namespace of the store.
pub fn prune(
    paths: &Paths,
    space: Space,
    is_meant: &dyn Fn(&Entry) -> bool,
) -> Result<(Vec<Entry>, u64)> {
    let entries = list(paths)?;
    let mut excess = excess(paths, space, &entries)?;
    let mut left: BTreeMap<&String, usize> = BTreeMap::new();
    for layer in entries.iter().filter_map(|entry| entry.layer.as_ref()) {
        *left.entry(layer).or_default() += 1;
    }
    let (mut gone, mut freed) = (Vec::new(), 0);
    for entry in entries
        .iter()
        .rev()
        .filter(|entry| !entry.in_use && is_meant(entry))
    {
        if excess == Some(0) {
            break;
        }
        let went = match entry.kind {
            Kind::Regular | Kind::Source => remove_record(paths, &entry.id)?,
            Kind::CacheMount => remove_mount(paths, &entry.id)?,
        };
        if !went {
            continue;
        }
        let others = entry.layer.as_ref().and_then(|layer| left.get_mut(layer));
        let is_last = others.is_none_or(|others| {
            *others -= 1;
            *others == 0
        });
        if let Some(excess) = excess.as_mut().filter(|_| is_last) {
            *excess = excess.saturating_sub(entry.size);
        }
        if entry.kind == Kind::CacheMount {
            freed += entry.size;
        }
        gone.push(entry.clone());
    }
    atomic::sweep(&paths.build_records())?;
    remove_aliases(paths)?;
    freed += give_up(paths, &gone)?;
    Ok((gone, freed))
}

/// How many bytes must go; `None`: all that may.
fn excess(paths: &Paths, space: Space, entries: &[Entry]) -> Result<Option<u64>> {
    if space == Space::default() {
        return Ok(None);
    }
    let used = total(entries.iter());
    let mut excess = 0;
    if let Some(most) = space.max_used {
        excess = used.saturating_sub(most);
    }
    if let Some(free) = space.min_free {
        let disk = rustix::fs::statvfs(paths.data());
        let disk = disk.with_context(|| format!("statvfs `{}`", paths.data().display()))?;
        excess = excess.max(free.saturating_sub(disk.f_bavail * disk.f_frsize));
    }
    // What is reserved stays in any case; where that is all that was said, the rest goes.
    let may_go = used.saturating_sub(space.reserved.unwrap_or(0));
    let only_reserved = space.max_used.is_none() && space.min_free.is_none();
    Ok(Some(if only_reserved {
        may_go
    } else {
        excess.min(may_go)
    }))
}

fn remove_record(paths: &Paths, key: &str) -> Result<bool> {
    let digest: Digest = match format!("sha256:{key}").parse() {
        Ok(digest) => digest,
        Err(_) => return Ok(false),
    };
    std::fs::create_dir_all(paths.build_locks())
        .with_context(|| format!("create `{}`", paths.build_locks().display()))?;
    let Some(_lock) = StepLock::try_take(paths, &digest)? else {
        return Ok(false);
    };
    let path = paths.build_records().join(key);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        removed => removed
            .map(|()| true)
            .with_context(|| format!("remove `{}`", path.display())),
    }
}

/// Removes names for records that are gone; a build that writes such a record at this moment loses no more than the name.
fn remove_aliases(paths: &Paths) -> Result<()> {
    let records = paths.build_records();
    for key in names(&records)? {
        if let Some(Written::Alias(alias)) = Written::read(&records.join(&key))?
            && !records.join(alias.same_as.hex()).exists()
        {
            remove_record(paths, &key)?;
        }
    }
    Ok(())
}

fn remove_mount(paths: &Paths, name: &str) -> Result<bool> {
    let mut trash = staging::Trash::new(paths.staging());
    trash.discard_unless_held(&paths.build_mounts().join(name))
}

/// Layers of records that are gone go unless somebody else needs them; others that no record needs go when no build runs that
/// may be about to write one.
fn give_up(paths: &Paths, gone: &[Entry]) -> Result<u64> {
    let mut left = BTreeSet::new();
    for key in names(&paths.build_records())? {
        left.extend(step(paths, &key)?.and_then(|entry| entry.layer));
    }
    let lost: BTreeSet<&String> = gone
        .iter()
        .filter_map(|entry| entry.layer.as_ref())
        .collect();
    let is_quiet = match paths.build_records().is_dir() {
        true => Lock::try_directory(&paths.build_records())?,
        false => None,
    };
    let is_needed = |name: &str| {
        let name = name.to_owned();
        left.contains(&name) || (is_quiet.is_none() && !lost.contains(&name))
    };
    remove::give_up_cached(paths, &is_needed)
}

/// Bytes of the files there, as far as they can be looked at.
fn size(directory: &Path) -> u64 {
    let mut bytes = 0_u64;
    let _ = tree::walk(directory, &mut |found| {
        if rustix::fs::FileType::from_raw_mode(found.st_mode).is_file() {
            bytes = bytes.saturating_add(found.st_size.cast_unsigned());
        }
        true
    });
    bytes
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = directory::names(directory)?;
    names.retain(|name| !atomic::is_temporary(name));
    Ok(names)
}
