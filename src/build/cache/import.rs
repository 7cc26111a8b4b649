//! Caches that other machines have written: in a registry, in an OCI layout, or in images ([`super::portable`]).
//!
//! ```text
//! source ─▶ index, manifests ─▶ configs ─▶ records by key ··· layers, each when it is needed
//! ```
//!
//! All of it is hostile. A record is found by its key alone, and a layer is believed when it has the digests that its record
//! and its manifest say. Whoever writes such a cache decides what the steps come to that are found in it: therefore it
//! serves only the build that asked for it, and never becomes a record of this store.

use super::portable::{self, Held, Portable};
use crate::build::order::CacheSource;
use crate::build::report::Event;
use crate::build::vertex::Vertices;
use crate::error::bad_input;
use crate::image::archive::Archive;
use crate::image::copy::layout::Layout;
use crate::image::copy::registry::Registry;
use crate::image::copy::{self, Source};
use crate::image::digest::Digest;
use crate::image::manifest::{self, Descriptor, Document, Manifest};
use crate::image::registry::Fetched;
use crate::image::trust::{Asked, Trust};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, ErrorKind, PipeReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Indexes within indexes, manifests in all, and bytes of their configs.
const DEPTH: usize = 4;
const MANIFESTS: usize = 64;
const CONFIG_BYTES: u64 = 16 << 20;

/// A place that blobs are read from.
pub type Place = Arc<dyn Source + Send + Sync>;

/// All caches that a build asked for, in that order.
#[derive(Default)]
pub struct Imports {
    caches: Vec<Cache>,
    /// Why others are not used.
    pub complaints: Vec<String>,
    /// Layers that turned out not to be there.
    lost: HashSet<Digest>,
}

struct Cache {
    name: String,
    place: Place,
    records: Vec<Portable>,
    by_key: HashMap<Digest, usize>,
    /// By the digests of their tars.
    blobs: BTreeMap<Digest, Descriptor>,
    /// Bytes of configs that were read.
    bytes: u64,
}

/// A layer that is not here yet.
#[derive(Clone)]
pub struct Blob {
    /// What the cache is called.
    pub cache: String,
    /// Where it lies.
    pub place: Place,
    /// What it is there.
    pub descriptor: Descriptor,
}

impl Imports {
    /// Reads what can be read; the rest is told, and does no harm.
    pub fn open(sources: &[CacheSource], vertices: &mut Vertices<'_>) -> Self {
        let mut imports = Self::default();
        for source in sources {
            let (name, started) = (source.to_string(), Instant::now());
            let vertex = vertices.start(&format!("importing cache manifest from {name}"));
            match Cache::open(source, name.clone()) {
                Ok(cache) => {
                    imports.caches.push(cache);
                    vertices.tell_own(vertex, Event::Done(started.elapsed()));
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    vertices.tell_own(vertex, Event::Failed(&why));
                    let complaint = format!("the cache {name} is not used: {why}");
                    imports.complaints.push(complaint);
                }
            }
        }
        imports
    }

    /// What a step has come to elsewhere: rather something that can be had, by the first cache that has it.
    pub fn find(&self, key: &Digest) -> Option<&Portable> {
        let known = self.caches.iter().filter_map(|cache| cache.find(key));
        let mut usable = known.filter(|record| !self.is_lost(record));
        let first = usable.next()?;
        let can_be_had = |record: &&Portable| {
            let layer = record.layer.as_ref();
            layer.is_none_or(|diff_id| self.blob(diff_id).is_some())
        };
        let mut all = std::iter::once(first).chain(usable);
        Some(all.find(can_be_had).unwrap_or(first))
    }

    fn is_lost(&self, record: &Portable) -> bool {
        let layer = record.layer.as_ref();
        layer.is_some_and(|diff_id| self.lost.contains(diff_id))
    }

    /// Where a layer can be had.
    pub fn blob(&self, diff_id: &Digest) -> Option<Blob> {
        self.caches.iter().find_map(|cache| {
            let descriptor = cache.blobs.get(diff_id)?.clone();
            Some(Blob {
                cache: cache.name.clone(),
                place: Arc::clone(&cache.place),
                descriptor,
            })
        })
    }

    /// From now on a layer cannot be had there.
    pub fn spoilt(&mut self, diff_id: &Digest, blob: &Blob) {
        for cache in &mut self.caches {
            if Arc::ptr_eq(&cache.place, &blob.place) {
                cache.blobs.remove(diff_id);
            }
        }
    }

    /// From now on nothing is found that has come to this layer.
    pub fn lose(&mut self, diff_id: &Digest) {
        self.lost.insert(diff_id.clone());
    }
}

impl Cache {
    fn open(source: &CacheSource, name: String) -> Result<Self> {
        let (place, top) = open(source)?;
        let mut cache = Self {
            name,
            place,
            records: Vec::new(),
            by_key: HashMap::new(),
            blobs: BTreeMap::new(),
            bytes: 0,
        };
        cache.read(top, 0, &mut 0)?;
        Ok(cache)
    }

    fn find(&self, key: &Digest) -> Option<&Portable> {
        self.records.get(*self.by_key.get(key)?)
    }

    fn read(&mut self, document: Fetched, depth: usize, count: &mut usize) -> Result<()> {
        *count += 1;
        if depth > DEPTH || *count > MANIFESTS {
            return Err(bad_input("it leads to more and more manifests").into());
        }
        match document.document {
            Document::Manifest(manifest) => self.manifest(&manifest),
            Document::Index(index) => {
                for child in &index.manifests {
                    portable::refuse_foreign(&child.media_type)?;
                    if manifest::is_known(&child.media_type) && !child.is_attestation() {
                        let fetched = self.place.document(child);
                        let fetched =
                            fetched.with_context(|| format!("follow {}", child.digest))?;
                        self.read(fetched, depth + 1, count)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn manifest(&mut self, manifest: &Manifest) -> Result<()> {
        self.bytes = self.bytes.saturating_add(manifest.config.size);
        if self.bytes > CONFIG_BYTES {
            return Err(bad_input("its configs are too long").into());
        }
        let config = copy::small_blob(self.place.as_ref(), &manifest.config)?;
        let Held { diff_ids, records } = portable::read(&manifest.config.media_type, &config)?;
        if records.is_empty() {
            return Ok(());
        }
        manifest.check()?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(bad_input("its config and its manifest have different layers").into());
        }
        self.blobs
            .extend(diff_ids.into_iter().zip(manifest.layers.iter().cloned()));
        for record in records {
            for key in &record.keys {
                self.by_key.entry(key.clone()).or_insert(self.records.len());
            }
            self.records.push(record);
        }
        Ok(())
    }
}

/// What a policy wants of images it wants of what their layers may be made of, too.
fn open(source: &CacheSource) -> Result<(Place, Fetched)> {
    let trust = Trust::load(Asked::Nothing)?;
    let place: Place = match source {
        CacheSource::Registry {
            name,
            typed,
            options,
        } => {
            let registry = Registry::open(name, typed, options)?;
            let repository = registry.client();
            let mut demands = trust.demands(&repository.target(name))?;
            let top = registry.top()?;
            demands.look(repository, &top)?;
            demands.settle()?;
            return Ok((Arc::new(registry), top));
        }
        CacheSource::Local { path, tag, digest } => {
            let archive = Archive::directory(path)?;
            trust.accept_file("oci", archive.place())?;
            Arc::new(match digest {
                Some(digest) => Layout::at(archive, digest)?,
                None => Layout::open(archive, Some(tag))?,
            })
        }
    };
    let top = place.top()?;
    Ok((place, top))
}

/// Why a layer that was fetched ended too early, once that is known.
#[derive(Clone, Default)]
pub struct Broken(Arc<Mutex<Option<anyhow::Error>>>);

impl Broken {
    /// The reason, told once.
    pub fn take(&self) -> Option<anyhow::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Blob {
    /// Begins to fetch it: its bytes come out of the pipe.
    pub fn fetch(&self) -> Result<(PipeReader, Broken)> {
        let (reader, mut writer) = io::pipe().context("pipe")?;
        let (broken, blob) = (Broken::default(), self.clone());
        let told = broken.clone();
        let fetch = move || {
            let copied = blob.place.blob(&blob.descriptor).and_then(|stream| {
                // More than that is wrong, however much comes.
                let mut stream = stream.take(blob.descriptor.size.saturating_add(1));
                Ok(io::copy(&mut stream, &mut writer)?)
            });
            let is_reader = |error: &anyhow::Error| {
                let cause = error.downcast_ref::<io::Error>();
                cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
            };
            // Whoever reads no further knows why.
            if let Some(error) = copied.err().filter(|error| !is_reader(error)) {
                *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        };
        let thread = std::thread::Builder::new().name("fetch".to_owned());
        thread.spawn(fetch).context("start a thread")?;
        Ok((reader, broken))
    }
}

impl std::fmt::Debug for Imports {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.caches.iter().map(|cache| &cache.name);
        formatter.debug_list().entries(names).finish()
    }
}
