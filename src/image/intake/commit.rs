//! The end of an intake: what is in its staging directory gets its places, all of it or nothing.

use super::Intake;
use crate::image::digest::Digest;
use crate::image::moved::Moved;
use crate::image::reference::Reference;
use crate::image::store::{self, NameRecord, Names};
use crate::image::{origin, remove};
use crate::paths::{self, Paths, staged_blobs};
use crate::store::atomic;
use crate::store::lock::Lock;
use crate::sys::identity::boot_id;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A name that pointed to another image before.
#[derive(Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The name.
    pub name: Reference,
    /// What it pointed to.
    pub id: Digest,
}

impl Intake<'_> {
    /// Makes it all visible and durable; nothing of it when it fails. Returns the names that changed hands.
    pub fn commit(self) -> Result<Vec<Displaced>> {
        let staging = self.staging.path();
        let unsynced = self.unsynced();
        atomic::sync_file_system(staging)?;
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let mut moved = Moved::default();
        self.place_layers(&mut moved)?;
        atomic::sync_directory(&self.paths.layers())?;
        self.settle(&unsynced)?;
        for (id, directory) in &self.images {
            let place = self.paths.image(id.hex());
            let whole = matches!(store::read(self.paths, &Names::none(), id), Ok(Some(_)));
            moved.place(directory, &place, whole, staging)?;
        }
        atomic::sync_directory(&self.paths.images())?;
        self.remember(&mut moved)?;
        let displaced = give_names(self.paths, &self.names)?;
        moved.stay();
        Ok(displaced)
    }

    /// Makes layers visible, without an image and for the time being: nobody believes in them after the machine has gone
    /// down.
    pub fn commit_for_now(self) -> Result<()> {
        for directory in self.layers.values() {
            let mark = paths::unsynced_in(directory);
            std::fs::write(&mark, boot_id()?)
                .with_context(|| format!("write `{}`", mark.display()))?;
        }
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let mut moved = Moved::default();
        self.place_layers(&mut moved)?;
        moved.stay();
        Ok(())
    }

    fn place_layers(&self, moved: &mut Moved) -> Result<()> {
        for (name, directory) in &self.layers {
            let place = self.paths.layer(name);
            let staging = self.staging.path();
            moved.place(directory, &place, store::layer_is_whole(&place), staging)?;
        }
        let cached = self.cached.iter().flatten();
        cached
            .into_iter()
            .try_for_each(|name| remove::cache(self.paths, name))
    }

    /// Layers of its images that are there for the time being.
    fn unsynced(&self) -> BTreeSet<PathBuf> {
        let own = self.needed.iter();
        let own = own.filter(|name| !self.paths.is_elsewhere(name));
        let marks = own.map(|name| paths::unsynced_in(&self.paths.layer(name)));
        marks.filter(|mark| mark.exists()).collect()
    }

    /// Now they stay; those of `synced` are on the disk.
    fn settle(&self, synced: &BTreeSet<PathBuf>) -> Result<()> {
        let unsynced = self.unsynced();
        if !unsynced.is_subset(synced) {
            // Somebody else has made one meanwhile.
            atomic::sync_file_system(self.staging.path())?;
        }
        for mark in unsynced {
            std::fs::remove_file(&mark).with_context(|| format!("remove `{}`", mark.display()))?;
            atomic::sync_directory(mark.parent().unwrap_or(&mark))?;
        }
        Ok(())
    }

    /// Beside what was here before, or has come from somebody else meanwhile.
    fn remember(&self, moved: &mut Moved) -> Result<()> {
        for (name, digest) in &self.kept {
            let directory = self.paths.layer(name);
            let place = paths::kept_blob_in(&directory, digest.hex());
            // The same blob may have come for several layers.
            let staged = staged_blobs(self.staging.path()).join(digest.hex());
            if directory.exists() && !place.exists() && staged.exists() {
                moved.rename(&staged, &place)?;
                atomic::sync_directory(&directory)?;
            }
        }
        for (name, blob) in &self.blobs {
            // What was not read may be anything.
            let known = origin::blobs(&self.paths.layer(name));
            if known.iter().any(|known| known.digest == blob.digest) {
                origin::add_to_store(self.paths, name, blob)?;
            }
        }
        for (name, blob) in &self.checked {
            origin::add_to_store(self.paths, name, blob)?;
        }
        for (id, origin) in &self.origins {
            origin::add_to_image(self.paths, id, origin)?;
        }
        Ok(())
    }
}

/// Points names to images that are here; the caller holds the store's lock.
pub(in crate::image) fn give_names(
    paths: &Paths,
    given: &[(Reference, Digest)],
) -> Result<Vec<Displaced>> {
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let mut names = Names::read(paths)?;
    let mut displaced = Vec::new();
    for (name, id) in given {
        let record = NameRecord {
            image: id.clone(),
            tagged: jiff::Timestamp::now().to_string(),
        };
        match names.references.insert(name.clone(), record) {
            Some(before) if before.image != *id => {
                displaced.push(Displaced {
                    name: name.clone(),
                    id: before.image,
                });
            }
            _ => {}
        }
    }
    names.write(paths)?;
    Ok(displaced)
}
