//! Copies of images from one place to another: registries, OCI layouts, archives, the store. Documents and blobs go over
//! byte for byte, so that every digest stays what it is.
//!
//! ```text
//! Source ─▶ what its name leads to ─▶ one platform of it, or all ─▶ blobs that are missing ─▶ manifests ─▶ index ─▶ name
//! ```
//!
//! - `location`: how places are spelled · `open`: from there to a place that can be read
//! - `registry`, `layout`, `docker_archive`, `packed`, `stored`: what places there are
//! - `referrers`: signatures and the like, which lie beside an image
//!
//! Invariant: a document is put where it goes after all that it names is there, and each blob has its digest.

pub mod docker_archive;
pub mod layout;
pub mod location;
pub mod open;
pub mod packed;
pub mod referrers;
pub mod registry;
pub mod stored;

use super::digest::Digest;
use super::manifest::{self, Descriptor, Document, Manifest};
use super::platform::Platform;
use super::reference::Reference;
use super::registry::transport::{Opener, lock};
use super::registry::{Fetched, selection};
use super::store::DOCUMENT_LIMIT;
use crate::error::bad_input;
use crate::progress::{Progress, Step};
use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;

/// Indexes within indexes, documents in all, and their bytes.
const DEPTH: usize = 8;
const DOCUMENTS: usize = 1000;
const DOCUMENT_BYTES: u64 = 64 << 20;
/// Blobs at a time where a place takes several.
const PARALLEL: usize = 3;

/// Something to be read from its start.
pub type Stream<'a> = Box<dyn Read + Send + 'a>;

/// Where an image is copied from.
pub trait Source: Sync {
    /// What the name leads to: a manifest or an index.
    fn top(&self) -> Result<Fetched>;
    /// What a document names, checked.
    fn document(&self, descriptor: &Descriptor) -> Result<Fetched>;
    /// The bytes of a blob, as they are there.
    fn blob(&self, blob: &Descriptor) -> Result<Stream<'_>>;
    /// What a tag beside it leads to.
    fn tagged(&self, tag: &str) -> Result<Option<Fetched>>;
    /// What says of itself that it is about a manifest.
    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>>;
    /// The whole name of the image there, if it has one.
    fn name(&self) -> Option<&Reference>;
    /// The repository that has the blobs, for a target on the same registry to take them from. Not what files say of
    /// themselves: a blob that they only name would come out of any repository that the caller may read.
    fn repository(&self) -> Option<&Reference> {
        None
    }
    /// Where its files lie, for what is among files; nothing for what came through a pipe.
    fn place(&self) -> Option<&Path> {
        None
    }
    /// Ends what other threads wait for.
    fn cancel(&self) {}
    /// Whether the manifest is one that somebody has made, and not made up of what lies there.
    fn has_manifest(&self) -> bool {
        true
    }
    /// The digests that layers came with which had to be packed anew.
    fn repacked(&self) -> Vec<Digest> {
        Vec::new()
    }
}

/// Where an image is copied to.
pub trait Target: Sync {
    /// Whether a document is there with all that it names.
    fn has_document(&self, digest: &Digest) -> Result<bool>;
    /// Whether a blob is there.
    fn has_blob(&self, blob: &Descriptor) -> Result<bool>;
    /// Takes a blob from another repository that it has itself.
    fn mount(&self, blob: &Descriptor, from: &Reference) -> Result<bool>;
    /// Takes a blob; `open` gives its bytes, which are checked, from the start for each try.
    fn put_blob(&self, blob: &Descriptor, open: &Opener, progress: &dyn Progress) -> Result<()>;
    /// Takes a document, under a name or its digest alone.
    fn put_document(&self, document: &Fetched, name: Name) -> Result<()>;
    /// What a tag there leads to.
    fn tagged(&self, tag: &str) -> Result<Option<Fetched>>;
    /// Whether it lists what refers to a manifest of its own accord.
    fn lists_referrers(&self, digest: &Digest) -> Result<bool>;
    /// Whether several blobs may come at a time.
    fn takes_several(&self) -> bool;
    /// What a blob has come to once it is there.
    fn arrival(&self) -> Step {
        Step::Written
    }
    /// Ends what other threads wait for.
    fn cancel(&self) {}
}

/// What a document is called where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// By its digest alone.
    None,
    /// By the name that the target was given.
    Own,
    /// By a tag beside that.
    Tag(&'a str),
}

/// What of an image is copied.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// All platforms.
    pub all: bool,
    /// This one; the host's where neither is said.
    pub platform: Option<Platform>,
    /// Signatures and other things that refer to it, too.
    pub referrers: bool,
}

/// Copies an image; returns what the target's name leads to now.
pub fn copy(
    source: &dyn Source,
    target: &dyn Target,
    order: &Order,
    progress: &dyn Progress,
) -> Result<Descriptor> {
    let top = choose(source, order)?;
    let descriptor = top.descriptor.clone();
    let mut plan = Plan::new(source, target);
    plan.add(top, 0)?;
    if order.referrers {
        plan.add_referrers()?;
    }
    plan.carry_out(progress)?;
    Ok(descriptor)
}

/// What the name leads to, or the manifest of it that suits a platform.
pub fn choose(source: &dyn Source, order: &Order) -> Result<Fetched> {
    choose_of(source, source.top()?, order)
}

/// Likewise, of what the name is known to lead to.
pub fn choose_of(source: &dyn Source, top: Fetched, order: &Order) -> Result<Fetched> {
    if order.all {
        return Ok(top);
    }
    let wanted = order.platform.clone().unwrap_or_else(Platform::host);
    let is_artifact = |manifest: &Manifest| manifest.artifact().is_some();
    match &top.document {
        // What is no image is for no platform.
        Document::Manifest(manifest) if order.platform.is_none() || is_artifact(manifest) => {
            Ok(top)
        }
        _ => {
            let chosen =
                selection::choose(top, &wanted, &|descriptor| source.document(descriptor))?;
            if let (Document::Manifest(manifest), Some(wanted)) =
                (&chosen.document, &order.platform)
            {
                let config = small_blob(source, &manifest.config)?;
                selection::check(manifest, &config, wanted)?;
            }
            Ok(chosen)
        }
    }
}

/// A blob that is a document.
pub fn small_blob(source: &dyn Source, blob: &Descriptor) -> Result<Vec<u8>> {
    let what = || format!("fetch {}", blob.digest);
    if blob.size > DOCUMENT_LIMIT {
        let message = format!("it is {} bytes long, {DOCUMENT_LIMIT} at most", blob.size);
        return Err(bad_input(message)).with_context(what);
    }
    let mut bytes = Vec::new();
    let mut stream = Checked::new(source.blob(blob)?, blob);
    stream.read_to_end(&mut bytes).with_context(what)?;
    Ok(bytes)
}

/// What is to be copied.
struct Plan<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    /// Each after all that it names.
    documents: Vec<Fetched>,
    /// The place of the image itself among them.
    top: usize,
    /// Tags that lead to some of them.
    tags: Vec<(String, Digest)>,
    /// Manifests about others that the target may have to be told of.
    about: Vec<(Digest, Descriptor)>,
    blobs: Vec<Descriptor>,
    seen: BTreeSet<Digest>,
    bytes: u64,
}

impl<'a> Plan<'a> {
    fn new(source: &'a dyn Source, target: &'a dyn Target) -> Self {
        Self {
            source,
            target,
            documents: Vec::new(),
            top: 0,
            tags: Vec::new(),
            about: Vec::new(),
            blobs: Vec::new(),
            seen: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Adds a document with all that it names.
    fn add(&mut self, document: Fetched, depth: usize) -> Result<()> {
        self.bytes += document.bytes.len() as u64;
        if depth > DEPTH || self.documents.len() == DOCUMENTS || self.bytes > DOCUMENT_BYTES {
            return Err(bad_input("it leads to more and more documents").into());
        }
        self.seen.insert(document.descriptor.digest.clone());
        let is_there = self.target.has_document(&document.descriptor.digest)?;
        match &document.document {
            Document::Index(index) => {
                for child in &index.manifests {
                    if !self.seen.contains(&child.digest) {
                        let context = || format!("follow {}", child.digest);
                        let fetched = self.source.document(child).with_context(context)?;
                        self.add(fetched, depth + 1)?;
                    }
                }
            }
            Document::Manifest(manifest) if !is_there => {
                refuse_foreign(manifest)?;
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    if self.seen.insert(blob.digest.clone()) {
                        self.blobs.push(blob.clone());
                    }
                }
            }
            Document::Manifest(_) => {}
        }
        if depth == 0 {
            self.top = self.documents.len();
        }
        self.documents.push(document);
        Ok(())
    }

    fn carry_out(&self, progress: &dyn Progress) -> Result<()> {
        self.copy_blobs(progress)?;
        let others = self.documents.iter().enumerate();
        for (_, document) in others.filter(|(place, _)| *place != self.top) {
            self.target.put_document(document, Name::None)?;
        }
        self.put_referrers()?;
        // Whoever sees the name finds all the rest.
        self.target
            .put_document(&self.documents[self.top], Name::Own)
    }

    fn copy_blobs(&self, progress: &dyn Progress) -> Result<()> {
        for blob in &self.blobs {
            progress.tell(blob.digest.short(), Step::Preparing);
        }
        let workers = match self.target.takes_several() {
            true => PARALLEL.min(self.blobs.len()),
            false => 1,
        };
        let next = Mutex::new(self.blobs.iter());
        let failure = Mutex::new(None);
        let work = || {
            while lock(&failure).is_none() {
                let Some(blob) = lock(&next).next() else {
                    return;
                };
                let copied = self.copy_blob(blob, progress);
                if let Err(error) = copied.with_context(|| format!("copy {}", blob.digest)) {
                    lock(&failure).get_or_insert(error);
                    self.source.cancel();
                    self.target.cancel();
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(work);
            }
            work();
        });
        let failure = lock(&failure).take();
        failure.map_or(Ok(()), Err)
    }

    fn copy_blob(&self, blob: &Descriptor, progress: &dyn Progress) -> Result<()> {
        let id = blob.digest.short();
        if self.target.has_blob(blob)? {
            progress.tell(id, Step::AlreadyThere);
            return Ok(());
        }
        if let Some(from) = self.source.repository()
            && self.target.mount(blob, from)?
        {
            progress.tell(id, Step::Mounted(from.path().to_owned()));
            return Ok(());
        }
        let open =
            || -> Result<Stream> { Ok(Box::new(Checked::new(self.source.blob(blob)?, blob))) };
        self.target.put_blob(blob, &open, progress)?;
        progress.tell(id, self.target.arrival());
        Ok(())
    }
}

/// Layers that lie elsewhere are not where the image is.
fn refuse_foreign(manifest: &Manifest) -> Result<()> {
    match manifest
        .layers
        .iter()
        .find(|layer| manifest::is_foreign(&layer.media_type))
    {
        Some(layer) => Err(bad_input(format!(
            "layers of the media type `{}` lie elsewhere and cannot be copied",
            layer.media_type
        ))
        .into()),
        None => Ok(()),
    }
}

/// Bytes that must have a length and a digest at their end.
struct Checked<'a> {
    inner: Stream<'a>,
    hasher: Option<Sha256>,
    left: u64,
    blob: &'a Descriptor,
}

impl<'a> Checked<'a> {
    fn new(inner: Stream<'a>, blob: &'a Descriptor) -> Self {
        Self {
            inner,
            hasher: Some(Sha256::new()),
            left: blob.size,
            blob,
        }
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        let size = self.blob.size;
        if got as u64 > self.left {
            return Err(io::Error::other(format!(
                "it is longer than the {size} bytes it should have"
            )));
        }
        self.left -= got as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..got]);
        }
        // A reader may not come for the end once it has as many bytes as it wants.
        let is_whole = self.left == 0 || (got == 0 && !buffer.is_empty());
        match self.hasher.take_if(|_| is_whole) {
            Some(_) if self.left > 0 => {
                let short = size - self.left;
                Err(io::Error::other(format!(
                    "it should be {size} bytes long and is {short}"
                )))
            }
            Some(hasher) => match Digest::from_hasher(hasher) {
                digest if digest == self.blob.digest => Ok(got),
                digest => Err(io::Error::other(format!("its digest is {digest}"))),
            },
            None => Ok(got),
        }
    }
}

/// Bytes of a blob that are told of while they go.
struct Told<'a> {
    inner: Stream<'a>,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
    position: u64,
}

fn told<'a>(inner: Stream<'a>, blob: &'a Descriptor, progress: &'a dyn Progress) -> Told<'a> {
    Told {
        inner,
        blob,
        progress,
        position: 0,
    }
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.position += got as u64;
        let step = Step::Writing(self.position, self.blob.size);
        self.progress.tell(self.blob.digest.short(), step);
        Ok(got)
    }
}
