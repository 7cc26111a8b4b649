//! `push`: an image goes to a registry, each layer by the cheapest way there is.
//!
//! ```text
//! layer ─▶ there already? ─▶ in another repository there? ─▶ the bytes that came ─▶ packed, and sent while it is
//!          (any blob of it)   mount                            kept, or repeatable
//! all layers, config ─▶ manifest: the one it came by if no layer has changed ─▶ remembered
//! ```
//!
//! Layers go a few at a time. Nothing of a layer is held in memory: what is packed lies in a file until it is sent.

use super::digest::Digest;
use super::manifest::Descriptor;
use super::origin::{self, Blob, Document, Origin};
use super::package::{Layer, Package};
use super::reference::Reference;
use super::registry::Repository;
use super::spool::Spool;
use super::{intake, shared, store};
use crate::paths::{Paths, staging_pins};
use crate::progress::{Progress, Silent, Step};
use crate::store::damage;
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Cursor, Read};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::ScopedJoinHandle;

/// Uploads at a time.
const PARALLEL: usize = 3;
/// The tar of a layer of up to so many bytes is packed before anybody is asked about it: it may be there.
const SMALL: u64 = 4 << 20;

/// What a push came to.
#[derive(Debug)]
pub struct Pushed {
    /// Of the manifest.
    pub digest: Digest,
    /// The length of the manifest in bytes.
    pub size: u64,
    /// Layers that have another digest than they came with, with the old and the new one.
    pub changed: Vec<(Digest, Digest)>,
}

/// Brings an image that is here to the repository, under a tag.
pub fn push(
    paths: &Paths,
    repository: &Repository,
    id: &Digest,
    tag: &str,
    progress: &dyn Progress,
) -> Result<Pushed> {
    let staging = Staging::new(&paths.staging())?;
    let package = pinned(paths, id, &staging)?;
    let name = repository.name().untagged();
    // The same repository has most of what came from there.
    let is_there = |origin: &&Origin| origin.repository.as_ref() == Some(&name);
    let origins = || package.origins.iter();
    let origin = origins().find(is_there).or(origins().next());
    let originals = origin.and_then(|origin| package.original_layers(origin));
    let push = Push {
        paths,
        repository,
        name: &name,
        staging: &staging,
        progress,
        from_registry: origin.is_some_and(|origin| origin.repository.is_some()),
        originals: originals.as_deref(),
        package: &package,
    };
    let layers = push.all_layers()?;
    let config = Descriptor::of("", &package.config);
    if !repository.has_blob(&config.digest)? {
        let open = || Ok(Box::new(Cursor::new(package.config.clone())) as Box<dyn Read + Send>);
        repository.upload_blob(&config, &open, &Silent)?;
    }
    let manifest = package.manifest(origin, &layers)?;
    repository.put_manifest(tag, &manifest.media_type, manifest.text.as_bytes())?;
    if let Err(error) = push.remember(&manifest, &layers) {
        damage::note("what was pushed is not remembered", &error);
    }
    Ok(Pushed {
        digest: manifest.digest.clone(),
        size: manifest.text.len() as u64,
        changed: push.changed(&layers),
    })
}

/// What is known of an image, none of whose layers goes before the staging directory does.
pub(super) fn pinned(paths: &Paths, id: &Digest, staging: &Staging) -> Result<Package> {
    let pins = staging_pins(staging.path());
    std::fs::create_dir(&pins).with_context(|| format!("create `{}`", pins.display()))?;
    let _lock = Lock::exclusive(&paths.lock())?;
    let package = Package::of(paths, id)?;
    shared::hold_all(paths, package.layers.iter().map(|layer| &layer.name))?;
    let own = |layer: &&Layer| !paths.is_elsewhere(&layer.name);
    for layer in package.layers.iter().filter(own) {
        let pin = pins.join(Paths::layer_key(&layer.name));
        File::create(&pin).with_context(|| format!("create `{}`", pin.display()))?;
    }
    Ok(package)
}

/// One push.
struct Push<'a> {
    paths: &'a Paths,
    repository: &'a Repository,
    /// The repository without tag.
    name: &'a Reference,
    staging: &'a Staging,
    progress: &'a dyn Progress,
    package: &'a Package,
    /// The layers as they came, in the package's order.
    originals: Option<&'a [Descriptor]>,
    /// Whether they came from a registry, which has packed them if they should be.
    from_registry: bool,
}

impl Push<'_> {
    /// All layers, each once; the first failure ends all of it.
    fn all_layers(&self) -> Result<Vec<Descriptor>> {
        let layers = &self.package.layers;
        let mut first = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let is_same = |other: &&Layer| other.diff_id == layer.diff_id;
            let place = layers.iter().position(|other| is_same(&other));
            if place == Some(index) {
                self.progress.tell(layer.diff_id.short(), Step::Preparing);
                first.push(index);
            }
        }
        let next = Mutex::new(first.iter());
        let failure: OnceLock<anyhow::Error> = OnceLock::new();
        let sent: Vec<OnceLock<Descriptor>> = layers.iter().map(|_| OnceLock::new()).collect();
        let work = || loop {
            let one = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(&index) = one.filter(|_| failure.get().is_none()) else {
                return;
            };
            match self.layer(index) {
                // Each has one worker.
                Ok(descriptor) => drop(sent[index].set(descriptor)),
                Err(error) => {
                    // What fails after the first is a consequence.
                    let digest = &layers[index].diff_id;
                    let _ = failure.set(error.context(format!("push layer {}", digest.short())));
                    self.repository.cancel();
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL.min(first.len()) {
                scope.spawn(work);
            }
        });
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let find = |layer: &Layer| {
            let same = layers
                .iter()
                .position(|other| other.diff_id == layer.diff_id);
            same.and_then(|index| sent[index].get().cloned())
                .context("a layer was not sent")
        };
        layers.iter().map(find).collect()
    }

    /// Sees to it that a layer is there, and says as which blob.
    fn layer(&self, index: usize) -> Result<Descriptor> {
        let layer = &self.package.layers[index];
        let id = layer.diff_id.short();
        // A manifest may claim anything; what a layer really came from was checked when it came.
        let is_true = |original: &&Descriptor| {
            let known = |blob: &Blob| blob.digest == original.digest;
            layer.gives(&original.digest) || layer.blobs.iter().any(known)
        };
        let original = self.originals.and_then(|originals| originals.get(index));
        let original = original.filter(is_true);
        let known = self.known(layer, original);
        for (blob, _) in &known {
            if self.repository.has_blob(&blob.digest)? {
                self.progress.tell(id, Step::AlreadyThere);
                return Ok(blob.clone());
            }
        }
        for (blob, repositories) in &known {
            for from in repositories {
                if self.repository.mount_blob(&blob.digest, from)? {
                    self.progress
                        .tell(id, Step::Mounted(from.path().to_owned()));
                    return Ok(blob.clone());
                }
            }
        }
        let is_good = |original: &&Descriptor| {
            layer.gives(&original.digest)
                && (self.from_registry || original.digest != layer.diff_id)
        };
        let sent = match original.filter(is_good) {
            Some(original) => self.upload(layer, original.clone())?,
            None => self.pack(layer)?,
        };
        self.progress.tell(id, Step::Uploaded);
        Ok(sent)
    }

    /// The blobs that a layer may be there as, the best first, and where on the same registry they were seen.
    fn known(
        &self,
        layer: &Layer,
        original: Option<&Descriptor>,
    ) -> Vec<(Descriptor, Vec<Reference>)> {
        let near = |blob: &Blob| -> Vec<Reference> {
            let there = blob.repositories.iter();
            let there = there.filter(|there| there.domain() == self.name.domain());
            there.cloned().collect()
        };
        let of_layer = layer.blobs.iter().filter(|blob| {
            let is_original = original.is_some_and(|original| original.digest == blob.digest);
            is_original || blob.packer.is_some() || !near(blob).is_empty()
        });
        let mut known: Vec<(Descriptor, Vec<Reference>)> = of_layer
            .map(|blob| {
                let mut others = near(blob);
                others.retain(|there| there != self.name);
                let descriptor = Descriptor {
                    digest: blob.digest.clone(),
                    size: blob.size,
                    ..Descriptor::of(&blob.media_type, b"")
                };
                (descriptor, others)
            })
            .collect();
        if let Some(original) = original {
            let place = known
                .iter()
                .position(|(blob, _)| blob.digest == original.digest);
            let (_, others) = place
                .map(|place| known.remove(place))
                .unwrap_or((original.clone(), Vec::new()));
            known.insert(0, (original.clone(), others));
        }
        known
    }

    fn upload(&self, layer: &Layer, blob: Descriptor) -> Result<Descriptor> {
        let open = || layer.open(&blob.digest);
        let id = layer.diff_id.short();
        self.repository
            .upload_blob_as(id, &blob, &open, self.progress)?;
        Ok(blob)
    }

    /// Sends it packed by us.
    fn pack(&self, layer: &Layer) -> Result<Descriptor> {
        if let Some(packed) = layer.packed() {
            return self.upload(layer, packed);
        }
        if layer.tar_size <= SMALL {
            let packed = layer.pack(self.paths, &mut std::io::sink())?;
            return match self.repository.has_blob(&packed.digest)? {
                true => Ok(packed),
                false => self.upload(layer, packed),
            };
        }
        let (spool, mut writer) = Spool::new(self.staging.path())?;
        std::thread::scope(|scope| {
            let packer = scope.spawn(move || {
                let packed = layer.pack(self.paths, &mut writer)?;
                writer.finish();
                Ok(packed)
            });
            let packer = Mutex::new(Some(packer));
            let take = || packer.lock().unwrap_or_else(PoisonError::into_inner).take();
            let join = |packer: ScopedJoinHandle<Result<Descriptor>>| {
                packer
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            let end = || join(take().context("it was packed before")?);
            let open = || Ok(Box::new(spool.reader()) as Box<dyn Read + Send>);
            let id = layer.diff_id.short();
            let sent = self
                .repository
                .upload_growing(id, &open, &end, self.progress);
            let is_cut = spool.is_cut();
            spool.abandon();
            match (sent, take().filter(|_| is_cut)) {
                // That it could not be packed is why it could not be sent.
                (Err(error), Some(packer)) => join(packer).and(Err(error)),
                (sent, _) => sent,
            }
        })
    }

    /// Layers that are not what they came as from a registry.
    fn changed(&self, layers: &[Descriptor]) -> Vec<(Digest, Digest)> {
        let originals = self.originals.filter(|_| self.from_registry);
        let pairs = originals.unwrap_or_default().iter().zip(layers);
        let mut changed: Vec<(Digest, Digest)> = pairs
            .filter(|(before, after)| before.digest != after.digest)
            .map(|(before, after)| (before.digest.clone(), after.digest.clone()))
            .collect();
        changed.dedup();
        changed
    }

    /// What is there now, for the next push; the image is known by its new digest as well.
    fn remember(&self, manifest: &Document, layers: &[Descriptor]) -> Result<()> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        for (layer, blob) in self.package.layers.iter().zip(layers) {
            let blob = Blob::new(blob, Some(self.name));
            origin::add_to_store(self.paths, &layer.name, &blob)?;
        }
        let id = &self.package.id;
        if !self.paths.image(id.hex()).exists() {
            // It was removed meanwhile.
            return Ok(());
        }
        let origin = Origin {
            manifest: manifest.clone(),
            index: None,
            repository: Some(self.name.clone()),
        };
        origin::add_to_image(self.paths, id, &origin)?;
        let name = store::as_stored(self.name.with_digest(manifest.digest.clone()));
        intake::give_names(self.paths, &[(name, id.clone())])?;
        Ok(())
    }
}
