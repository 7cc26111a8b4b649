//! Images and layers of other stores (`--imagestore`), which are used where they lie or copied, and never changed.
//!
//! Whoever uses a layer of another store holds its directory's lock, shared, as long as the process lives: its owner
//! may remove the image meanwhile, and the layer stays until nobody holds it ([`super::remove`]). No other lock of that
//! store is taken, so that nobody can keep its owner waiting.
//!
//! Invariant: the records of another store are believed no more than an archive is. The names of layers are those of
//! directories in one of the stores that were named, a config has the digest that it is called by, and what is copied
//! has the digest that the config gives it.

use super::config::Config;
use super::digest::Digest;
use super::reference::Reference;
use super::store::{self, Image};
use crate::error::{self, Error, Kind, not_found};
use crate::paths::{ImageStore, Paths, Usable};
use crate::store::damage::{self, damaged};
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The layers that this process uses, until it ends.
static HELD: Mutex<BTreeMap<PathBuf, Lock>> = Mutex::new(BTreeMap::new());

/// A layer in another store.
#[derive(Debug)]
pub struct Layer {
    /// What this store calls it.
    pub name: String,
    /// Where it lies.
    pub directory: PathBuf,
    /// Whether it can be used there.
    pub in_place: bool,
}

/// Looks for an image in the other stores, in their order; one that this store has a copy of is that.
pub(super) fn find(paths: &Paths, name: &str) -> Result<Option<Image>> {
    for store in paths.image_stores() {
        match store::find_here(&store.paths(), name) {
            Ok(image) => return ours(paths, store, image).map(Some),
            Err(error) if error::kind(&error) == Some(Kind::NotFound) => {}
            Err(error) => {
                let what = format_args!("the image store `{}` is left out", store.data.display());
                damage::note(what, &error);
            }
        }
    }
    Ok(None)
}

/// As this store sees it.
fn ours(paths: &Paths, store: &ImageStore, image: Image) -> Result<Image> {
    let own = store::read(paths, &store::Names::read_or_note(paths), &image.id)?;
    match own {
        Some(own) => Ok(Image {
            names_elsewhere: image.names,
            ..own
        }),
        None => with_places(paths, store, image),
    }
}

/// An image of another store with the places of its layers, which may be several; its config is the one that its id
/// says, and its layers are those of the config.
fn with_places(paths: &Paths, store: &ImageStore, mut image: Image) -> Result<Image> {
    let file = store.paths().image_config(image.id.hex());
    // Its owner may remove it at any moment.
    let bytes = store::read_document(&file)?.ok_or_else(|| {
        not_found(format!(
            "the image `{}` is gone from the image store that it was in",
            image.id
        ))
    })?;
    if Digest::of(&bytes) != image.id {
        return Err(damaged(&file, "it has another digest than its image").into());
    }
    image.config = Config::parse(&bytes)?;
    image.created = image.config.created();
    let root = &image.config.rootfs;
    let known = root.diff_ids.iter().zip(root.chain_ids());
    let known: Vec<_> = known
        .map(|(diff_id, chain_id)| [diff_id.clone(), chain_id])
        .collect();
    let is_known = |(name, known): (&String, &[Digest; 2])| {
        let key = Paths::layer_key(name);
        known.iter().any(|digest| digest.hex() == key)
    };
    if image.layers.len() != known.len() || !image.layers.iter().zip(&known).all(is_known) {
        let record = store.paths().image_record(image.id.hex());
        return Err(damaged(&record, "its layers are not those of its config").into());
    }
    let place = |name: &String| {
        let key = Paths::layer_key(name);
        if paths.layer(key).exists() {
            return key.to_owned();
        }
        let others = paths.image_stores().iter().filter(|other| *other != store);
        let mut places = std::iter::once(store)
            .chain(others)
            .map(|store| store.paths().layer(key));
        let found = places.find(|directory| directory.exists());
        let directory = found.unwrap_or_else(|| store.paths().layer(key));
        directory.display().to_string()
    };
    image.layers = image.layers.iter().map(place).collect();
    image.store = Some(store.data.clone());
    Ok(image)
}

/// Adds the images of other stores to those of this one, with the names that lead to them: a name that leads to another
/// image before is left out.
pub(super) fn add(paths: &Paths, images: &mut Vec<Image>) {
    let mut taken: BTreeSet<Reference> = BTreeSet::new();
    taken.extend(images.iter().flat_map(|image| image.names.clone()));
    for store in paths.image_stores() {
        let found = store::list_here(&store.paths()).unwrap_or_else(|error| {
            let what = format_args!("the image store `{}` is left out", store.data.display());
            damage::note(what, &error);
            Vec::new()
        });
        let mut given = Vec::new();
        for mut image in found {
            image.names.retain(|name| !taken.contains(name));
            given.extend(image.names.clone());
            match images.iter_mut().find(|known| known.id == image.id) {
                Some(known) if known.store.is_none() => known.names_elsewhere.extend(image.names),
                Some(known) => known.names.extend(image.names),
                None => match with_places(paths, store, image) {
                    Ok(image) => images.push(image),
                    Err(error) => damage::note("an image of another store is left out", &error),
                },
            }
        }
        taken.extend(given);
    }
}

/// The error of a change of an image: one that lies in another store is told from one that is nowhere.
pub(super) fn explain(paths: &Paths, name: &str, error: anyhow::Error) -> anyhow::Error {
    if error::kind(&error) != Some(Kind::NotFound) {
        return error;
    }
    match find(paths, name) {
        Ok(Some(Image {
            store: Some(store), ..
        })) => {
            let store = store.display();
            let message =
                format!("image {name} is in the image store `{store}`, which is only read");
            Error::new(Kind::Conflict, message)
                .hint(format!(
                    "whoever owns it removes it there: onggi --root {store} rmi {name}"
                ))
                .into()
        }
        Ok(Some(own)) => {
            let message = format!("the name {name} is given in an image store that is only read");
            let hint = format!(
                "its copy in this store goes by its id: onggi rmi {}",
                own.id.short()
            );
            Error::new(Kind::Conflict, message).hint(hint).into()
        }
        _ => error,
    }
}

/// A layer in another store, by one of the keys it may have: one that can be used there rather than one to be copied.
pub fn layer(paths: &Paths, keys: &[&str], is_good: fn(&Path) -> bool) -> Option<Layer> {
    let mut to_copy = None;
    for store in paths.image_stores() {
        for key in keys {
            let directory = store.paths().layer(key);
            if !is_good(&directory) {
                continue;
            }
            let layer = Layer {
                name: directory.display().to_string(),
                in_place: is_in_place(store, &directory),
                directory,
            };
            if layer.in_place {
                return Some(layer);
            }
            to_copy.get_or_insert(layer);
        }
    }
    to_copy
}

fn is_in_place(store: &ImageStore, directory: &Path) -> bool {
    match store.layers {
        Usable::InPlace => true,
        Usable::InPlaceUnmarked => {
            store::layer_record(directory).is_ok_and(|record| record.marked == Some(false))
        }
        Usable::ByCopy => false,
    }
}

/// Whether some layer of an image lies where it cannot be used.
pub fn has_to_be_copied(paths: &Paths, image: &Image) -> bool {
    image.layers.iter().any(|name| {
        let directory = paths.layer(name);
        let holds = |store: &&ImageStore| directory.starts_with(store.paths().layers());
        let store = paths.image_stores().iter().find(holds);
        store.is_some_and(|store| !is_in_place(store, &directory))
    })
}

/// Keeps a layer of another store from being removed as long as this process lives; `false` when it is gone.
pub(super) fn hold(directory: &Path) -> Result<bool> {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.contains_key(directory) {
        return Ok(true);
    }
    let lock = lock(directory)?;
    let is_there = lock.is_some();
    held.extend(lock.map(|lock| (directory.to_owned(), lock)));
    Ok(is_there)
}

/// Keeps a layer of any store from being removed as long as the answer lives; `None` when it is gone.
pub(super) fn lock(directory: &Path) -> Result<Option<Lock>> {
    if !directory.exists() {
        return Ok(None);
    }
    let lock = Lock::try_shared_directory(directory)
        .with_context(|| format!("use the layer `{}`", directory.display()))?;
    Ok(lock.filter(|lock| lock.is_of(directory)))
}

/// Likewise all layers of an image or a container that lie in other stores; an error where any layer is gone.
pub fn hold_all<'a>(paths: &Paths, layers: impl IntoIterator<Item = &'a String>) -> Result<()> {
    for name in layers {
        if !paths.is_elsewhere(name) && !paths.layer_tree(name).is_dir() {
            let message = format!("the layer `{}` is missing", paths.layer(name).display());
            return Err(not_found(message)
                .hint("`onggi pull` brings it again; `onggi system check --repair` removes images that lack one")
                .into());
        }
        if paths.is_elsewhere(name) && !hold(&paths.layer(name))? {
            let message = format!(
                "the layer `{}` is gone from the image store that it was in",
                paths.layer(name).display()
            );
            return Err(not_found(message)
                .hint("onggi pull brings the image into the own store, after which it is used from there")
                .into());
        }
    }
    Ok(())
}
