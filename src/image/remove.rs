//! How images go: names first, then the image, then the layers that no image uses any more.
//!
//! Docker's rules and words for what stands in the way, with one difference: a forced removal of an image that a
//! stopped container still needs takes its names and leaves the image, since a container without its image could
//! not be started again.
//!
//! Invariant: whoever removes a layer holds the store's lock, has seen the records of all images, and the pins
//! of all who are taking one in.

use super::digest::Digest;
use super::origin;
use super::reference::Reference;
use super::shared;
use super::store::{self, Image, Names};
use crate::error::{Error, Kind, kind};
use crate::paths::{Paths, cached_in, staging_pins};
use crate::store::lock::Lock;
use crate::store::staging::{self, Trash};
use crate::store::{atomic, damage};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

/// A container that was made from an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub container: String,
    /// Whether its program runs.
    pub running: bool,
}

/// Answers which containers were made from an image.
pub type Users<'a> = &'a dyn Fn(&Digest) -> Result<Vec<User>>;

/// What was done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(Reference),
    /// An image, or a layer by its chain id.
    Deleted(Digest),
}

/// What a removal did, and how many bytes of layers went with it.
#[derive(Debug, Default)]
pub struct Removal {
    /// In order.
    pub steps: Vec<Removed>,
    /// Bytes of files in the layers that went.
    pub reclaimed: u64,
    /// The same by image, in Docker's words for events: `untag` for each name, `delete`.
    pub events: Vec<(Digest, &'static str)>,
    /// Why others stayed that should have gone.
    pub failures: Vec<anyhow::Error>,
}

impl Removal {
    /// Adds another.
    pub fn add(&mut self, mut other: Self) {
        self.steps.append(&mut other.steps);
        self.reclaimed += other.reclaimed;
        self.events.append(&mut other.events);
        self.failures.append(&mut other.failures);
    }
}

/// Removes a name, and with its last name the image; or, called by id, the image with all its names.
pub fn remove(paths: &Paths, name: &str, force: bool, users: Users) -> Result<Removal> {
    // What a killed command was working on is kept by nobody any more.
    if let Err(error) = staging::sweep(&paths.staging()) {
        damage::note("what a killed command left stays", &error);
    }
    let lock = Lock::exclusive(&paths.lock())?;
    let mut names = Names::read(paths)?;
    let id = match store::resolve(paths, &names, name) {
        Err(error) => return Err(shared::explain(paths, name, error)),
        found => found?,
    };
    let image = match store::read(paths, &names, &id) {
        // Nothing can be made of it any more, but it can be removed.
        Err(_) if force => store::remains(&names, &id),
        found => match found? {
            Some(image) => image,
            None => {
                let missing = store::no_such_image(name).into();
                return Err(shared::explain(paths, name, missing));
            }
        },
    };
    let used_by = users(&id)?;
    let by_id = id
        .hex()
        .starts_with(name.strip_prefix("sha256:").unwrap_or(name));
    let going = match by_id {
        true => all_names(&image, force)?,
        false => one_name(&image, name, force, &used_by)?,
    };
    let last = going.len() == image.names.len();
    let running = used_by.iter().any(|user| user.running);
    // What takes only names may go ahead although a container needs the image.
    let takes_names_only =
        !used_by.is_empty() && (!by_id || (force && !running && !going.is_empty()));
    let deletes = last && !takes_names_only;
    if let Some(error) = in_use(&id, force, &used_by).filter(|_| deletes) {
        return Err(error.into());
    }
    for name in &going {
        names.references.remove(name);
    }
    if !going.is_empty() {
        names.write_fewer(paths)?;
    }
    let mut removal = Removal {
        events: going.iter().map(|_| (id.clone(), "untag")).collect(),
        steps: going.into_iter().map(Removed::Untagged).collect(),
        ..Removal::default()
    };
    if deletes {
        delete(paths, &image, &mut removal, &lock)?;
    }
    Ok(removal)
}

/// Removes an image that no container uses with all its names, unless one comes to use it meanwhile: one name after the
/// other, as a call by id would have to be forced.
pub fn remove_unused(paths: &Paths, image: &Image, users: Users) -> Result<Removal> {
    let mut calls: Vec<String> = image.tags().map(ToString::to_string).collect();
    if calls.is_empty() {
        calls.push(image.id.to_string());
    }
    let mut total = Removal::default();
    for name in calls {
        match remove(paths, &name, false, users) {
            Ok(removal) => total.add(removal),
            // It has come into use, or somebody else was quicker.
            Err(error) if matches!(kind(&error), Some(Kind::Conflict | Kind::NotFound)) => {}
            Err(error) => {
                let what = format!("remove image {}", image.id.short());
                total.failures.push(error.context(what));
            }
        }
    }
    Ok(total)
}

/// The name that was asked for, and those with a digest that would be left alone in its repository.
fn one_name(image: &Image, name: &str, force: bool, used_by: &[User]) -> Result<Vec<Reference>> {
    let asked = store::as_stored(name.parse()?);
    if let (1, false, Some(user)) = (image.tags().count(), force, used_by.first()) {
        let message = format!(
            "conflict: unable to remove repository reference \"{name}\" (must force) - container {} is using its \
             referenced image {}",
            short(&user.container),
            image.id.short()
        );
        return Err(Error::new(Kind::Conflict, message).into());
    }
    let beside = |other: &&Reference| other.same_repository(&asked) && **other != asked;
    let mut going = vec![asked.clone()];
    if !image.tags().any(|other| beside(&other)) {
        going.extend(image.digests().filter(beside).cloned());
    }
    Ok(going)
}

/// All names; more than one tag asks for force.
fn all_names(image: &Image, force: bool) -> Result<Vec<Reference>> {
    if image.tags().count() > 1 && !force {
        let message = format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            image.id.short()
        );
        return Err(Error::new(Kind::Conflict, message).into());
    }
    Ok(image.names.clone())
}

fn in_use(id: &Digest, force: bool, used_by: &[User]) -> Option<Error> {
    let user = used_by
        .iter()
        .find(|user| user.running)
        .or(used_by.first())?;
    let (how, state) = match (user.running, force) {
        (true, _) => ("cannot be forced", "running"),
        (false, true) => ("cannot be forced", "stopped"),
        (false, false) => ("must be forced", "stopped"),
    };
    let container = short(&user.container);
    let message = format!(
        "conflict: unable to delete {} ({how}) - image is being used by {state} container {container}",
        id.short()
    );
    Some(Error::new(Kind::Conflict, message).hint(format!("`onggi rm {container}` first")))
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Removes an image that has no names any more.
fn delete(paths: &Paths, image: &Image, removal: &mut Removal, lock: &Lock) -> Result<()> {
    let mut trash = Trash::new(paths.staging());
    trash.discard(&paths.image(image.id.hex()))?;
    atomic::sync_directory(&paths.images())?;
    removal.steps.push(Removed::Deleted(image.id.clone()));
    removal.events.push((image.id.clone(), "delete"));
    let mut gone = collect(paths, &mut trash, lock)?;
    for (name, chain_id) in image
        .layers
        .iter()
        .zip(image.config.rootfs.chain_ids())
        .rev()
    {
        if let Some((_, size)) = gone.iter_mut().find(|(gone, _)| gone == name) {
            removal.steps.push(Removed::Deleted(chain_id));
            // The same layer may stand in an image twice, and is there once.
            removal.reclaimed += std::mem::take(size);
        }
    }
    Ok(())
}

/// Removes what dead makers left, staging directories and layers that no image came to use, and layers that were in use
/// by another user when their image went; tells the bytes of the layers.
pub fn sweep(paths: &Paths) -> Result<u64> {
    staging::sweep(&paths.staging())?;
    let lock = Lock::exclusive(&paths.lock())?;
    atomic::sweep(paths.data())?;
    atomic::sweep(&paths.images())?;
    let mut trash = Trash::new(paths.staging());
    let gone = collect(paths, &mut trash, &lock)?;
    Ok(gone.iter().map(|(_, size)| size).sum())
}

/// Moves layers that nobody uses to `trash`; returns their names and sizes.
fn collect(paths: &Paths, trash: &mut Trash, _proof: &Lock) -> Result<Vec<(String, u64)>> {
    let mut used = pinned(&paths.staging())?;
    for id in store::ids(paths)? {
        match store::needed_layers(paths, &id) {
            // One of another store may have been copied since.
            Ok(layers) => used.extend(layers.iter().map(|name| Paths::layer_key(name).to_owned())),
            // Any layer may be one of its.
            Err(error) => {
                let what = format_args!("layers without an image stay, image {} may", id.short());
                damage::note(format_args!("{what} need them"), &error);
                return Ok(Vec::new());
            }
        }
    }
    let mut gone = Vec::new();
    for name in file_names(&paths.layers())? {
        let directory = paths.layer(&name);
        if !used.contains(&name) && !cached_in(&directory).exists() {
            let size = store::layer_record(&directory).map_or(0, |record| record.size)
                + origin::kept_size(&directory);
            // One that is in use by another user goes with a later sweep.
            if trash.discard_unless_held(&directory)? {
                gone.push((name, size));
            }
        }
    }
    if !gone.is_empty() {
        atomic::sync_directory(&paths.layers())?;
    }
    Ok(gone)
}

/// The layers that images of this store need, by their keys.
pub fn needed_by_images(paths: &Paths) -> Result<BTreeSet<String>> {
    let mut needed = BTreeSet::new();
    for id in store::ids(paths)? {
        let layers = store::needed_layers(paths, &id)?;
        needed.extend(layers.iter().map(|name| Paths::layer_key(name).to_owned()));
    }
    Ok(needed)
}

/// Marks a layer of this store as one that the build cache needs; the caller holds the store's lock.
pub(super) fn cache(paths: &Paths, name: &str) -> Result<()> {
    if paths.is_elsewhere(name) {
        return Ok(());
    }
    let mark = cached_in(&paths.layer(name));
    std::fs::File::create(&mark).with_context(|| format!("create `{}`", mark.display()))?;
    Ok(())
}

/// Takes the mark of the build cache from all layers that `is_needed` does not name, and removes what nobody else
/// needs; tells the bytes that went.
pub fn give_up_cached(paths: &Paths, is_needed: &dyn Fn(&str) -> bool) -> Result<u64> {
    staging::sweep(&paths.staging())?;
    let lock = Lock::exclusive(&paths.lock())?;
    for name in file_names(&paths.layers())? {
        let mark = cached_in(&paths.layer(&name));
        if !is_needed(&name) && mark.exists() {
            std::fs::remove_file(&mark).with_context(|| format!("remove `{}`", mark.display()))?;
        }
    }
    let mut trash = Trash::new(paths.staging());
    let gone = collect(paths, &mut trash, &lock)?;
    Ok(gone.iter().map(|(_, size)| size).sum())
}

/// Names of the layers that somebody is building on.
pub(super) fn pinned(staging: &Path) -> Result<BTreeSet<String>> {
    let mut pins = BTreeSet::new();
    for name in file_names(staging)? {
        pins.extend(file_names(&staging_pins(&staging.join(name)))?);
    }
    Ok(pins)
}

/// The names in a directory; none where there is no directory.
pub(super) fn file_names(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.with_context(|| format!("read `{}`", directory.display()))?,
    };
    entries
        .map(|entry| {
            let entry = entry.with_context(|| format!("read `{}`", directory.display()))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}
