//! An OCI layout (image-layout.md), in a directory or in an archive, to copy from; one in a directory to copy to.
//!
//! Signatures and the like, which a registry has under tags of their own, stand in `index.json` under those names.
//!
//! Invariant: `index.json` is replaced as a whole, by one writer at a time, after all that it leads to is there.

use super::{Name, Source, Stream, Target};
use crate::error::{bad_input, not_found};
use crate::image::archive::{Archive, missing};
use crate::image::digest::{Digest, Hashing};
use crate::image::manifest::{Descriptor, Document, Index, OCI_INDEX};
use crate::image::reference::Reference;
use crate::image::registry::Fetched;
use crate::image::registry::referrers::fallback_tag;
use crate::image::registry::transport::Opener;
use crate::image::store::read_document;
use crate::image::tar_writer::{BLOBS, blob};
use crate::progress::Progress;
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The annotation that is a name within a layout.
pub const NAME: &str = "org.opencontainers.image.ref.name";
/// The one that is a name anywhere.
pub const WHOLE_NAME: &str = "io.containerd.image.name";
/// What the file `oci-layout` says.
pub const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image in a layout, to be read.
pub struct Layout {
    archive: Archive,
    /// What `index.json` leads to.
    entries: Vec<Descriptor>,
    top: Descriptor,
    name: Option<Reference>,
}

impl Layout {
    /// The image of a manifest or an index by its digest, whether `index.json` names it or not.
    pub fn by_digest(archive: Archive, digest: &Digest) -> Result<Self> {
        let path = blob(digest);
        let bytes = archive.document(&path)?.ok_or_else(|| missing(&path))?;
        let found = Descriptor {
            digest: digest.clone(),
            ..Descriptor::of("", &bytes)
        };
        let top = fetched(&found, bytes).with_context(|| format!("read `{path}`"))?;
        Ok(Self {
            archive,
            entries: Vec::new(),
            top: top.descriptor,
            name: None,
        })
    }

    /// The image that is called `wanted`, or the only one.
    pub fn open(archive: Archive, wanted: Option<&str>) -> Result<Self> {
        let bytes = archive
            .document("index.json")?
            .ok_or_else(|| missing("index.json"))?;
        let index = match Document::parse(&Descriptor::of(OCI_INDEX, &bytes), &bytes) {
            Ok(Document::Index(index)) => index,
            Ok(Document::Manifest(_)) => return Err(bad_input("`index.json` is a manifest").into()),
            Err(error) => return Err(error.context("read `index.json`")),
        };
        let top = entry(&index, wanted)?.clone();
        Ok(Self::new(archive, index, top))
    }

    /// What has that digest, whatever it is called.
    pub fn at(archive: Archive, digest: &Digest) -> Result<Self> {
        let path = blob(digest);
        let bytes = archive.document(&path)?.ok_or_else(|| missing(&path))?;
        let top = Descriptor {
            digest: digest.clone(),
            ..Descriptor::of("", &bytes)
        };
        Ok(Self::new(archive, Index::new(Vec::new()), top))
    }

    fn new(archive: Archive, index: Index, top: Descriptor) -> Self {
        let name = top.annotation(WHOLE_NAME).or(top.annotation(NAME));
        let name = name.filter(|name| name.contains([':', '/']));
        let name = name.and_then(|name| name.parse().ok());
        Self {
            archive,
            entries: index.manifests,
            top,
            name,
        }
    }
}

/// The entry of an image.
fn entry<'a>(index: &'a Index, wanted: Option<&str>) -> Result<&'a Descriptor> {
    let entries = index.manifests.iter();
    let fitting: Vec<&Descriptor> = match wanted {
        Some(wanted) => entries.filter(|entry| is_called(entry, wanted)).collect(),
        None => entries.filter(|entry| !is_beside(entry)).collect(),
    };
    let Some(first) = fitting.first() else {
        return Err(match wanted {
            Some(wanted) => not_found(format!(
                "no image in it is called `{wanted}`{}",
                names(index)
            )),
            None => bad_input("there is no image in its `index.json`"),
        }
        .into());
    };
    match fitting.iter().all(|entry| entry.digest == first.digest) {
        true => Ok(first),
        false => Err(
            bad_input(format!("it holds several images{}", names(index)))
                .hint("say which: `:NAME` behind the path")
                .into(),
        ),
    }
}

fn is_called(entry: &Descriptor, wanted: &str) -> bool {
    let whole = |name: &str| name.parse::<Reference>().ok().map(Reference::or_latest);
    [entry.annotation(NAME), entry.annotation(WHOLE_NAME)]
        .into_iter()
        .flatten()
        .any(|name| name == wanted || (name.contains('/') && whole(name) == whole(wanted)))
}

/// Whether it is not an image but something about one, by its name.
fn is_beside(entry: &Descriptor) -> bool {
    let name = entry.annotation(NAME);
    name.is_some_and(|name| name.starts_with("sha256-"))
}

fn names(index: &Index) -> String {
    let named = |entry: &Descriptor| {
        let name = entry.annotation(WHOLE_NAME).or(entry.annotation(NAME));
        name.map(|name| format!("`{name}`"))
    };
    let names: Vec<String> = index
        .manifests
        .iter()
        .filter(|entry| !is_beside(entry))
        .filter_map(named)
        .take(20)
        .collect();
    match names.is_empty() {
        true => ", and none has a name".to_owned(),
        false => format!(": {}", names.join(", ")),
    }
}

impl Source for Layout {
    fn top(&self) -> Result<Fetched> {
        self.document(&self.top)
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched> {
        let path = blob(&descriptor.digest);
        let bytes = self
            .archive
            .document(&path)?
            .ok_or_else(|| missing(&path))?;
        fetched(descriptor, bytes).with_context(|| format!("read `{path}`"))
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Stream<'_>> {
        let path = blob(&descriptor.digest);
        let section = self.archive.file(&path)?.ok_or_else(|| missing(&path))?;
        Ok(Box::new(section))
    }

    fn tagged(&self, tag: &str) -> Result<Option<Fetched>> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.annotation(NAME) == Some(tag));
        entry.map(|entry| self.document(entry)).transpose()
    }

    fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        match Source::tagged(self, &fallback_tag(digest))?.map(|fetched| fetched.document) {
            Some(Document::Index(index)) => Ok(index.manifests),
            _ => Ok(Vec::new()),
        }
    }

    fn name(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    fn place(&self) -> Option<&Path> {
        Some(self.archive.place())
    }
}

/// A document that a descriptor leads to, checked.
pub fn fetched(descriptor: &Descriptor, bytes: Vec<u8>) -> Result<Fetched> {
    descriptor.check_size(bytes.len())?;
    let digest = Digest::of(&bytes);
    if digest != descriptor.digest {
        let expected = &descriptor.digest;
        return Err(bad_input(format!("its digest should be {expected} and is {digest}")).into());
    }
    let document = Document::parse(descriptor, &bytes)?;
    let kind = match descriptor.media_type.as_str() {
        "" => document.media_type().to_owned(),
        kind => kind.to_owned(),
    };
    Ok(Fetched {
        descriptor: Descriptor::of(&kind, &bytes),
        bytes,
        document,
    })
}

/// A layout in a directory, to be written.
pub struct Directory {
    path: PathBuf,
    annotations: BTreeMap<String, String>,
}

impl Directory {
    /// A layout that is there, or a new one; `annotations` name the image in it.
    pub fn open(path: PathBuf, annotations: BTreeMap<String, String>) -> Result<Self> {
        let directory = Self { path, annotations };
        let blobs = directory.path.join(BLOBS);
        let is_layout = directory.path.join("index.json").exists() || blobs.exists();
        let context = |path: &PathBuf| format!("create `{}`", path.display());
        let mut entries = std::fs::read_dir(&directory.path).into_iter().flatten();
        if !is_layout && entries.next().is_some() {
            let shown = directory.path.display();
            let message = format!("`{shown}` is no OCI layout and not empty");
            return Err(bad_input(message)
                .hint("`store:NAME` is a name in the store here")
                .into());
        }
        std::fs::create_dir_all(&blobs).with_context(|| context(&blobs))?;
        let version = directory.path.join("oci-layout");
        if !version.exists() {
            atomic::write(&version, VERSION, Durability::Volatile)?;
        }
        Ok(directory)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join(blob(digest))
    }

    /// Points a name to a document, instead of whatever it pointed to.
    fn enter(&self, document: &Fetched, annotations: &BTreeMap<String, String>) -> Result<()> {
        let path = self.path.join("index.json");
        atomic::sync_file_system(&self.path)?;
        let _lock = Lock::directory(&self.path)?;
        let mut index = match read_document(&path)? {
            None => json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}),
            Some(bytes) => {
                let wrong = |error| bad_input(format!("it is no valid JSON: {error}"));
                serde_json::from_slice(&bytes)
                    .map_err(wrong)
                    .with_context(|| format!("read `{}`", path.display()))?
            }
        };
        let entries = index.get_mut("manifests").and_then(Value::as_array_mut);
        let entries =
            entries.ok_or_else(|| bad_input(format!("`{}` is no index", path.display())))?;
        let descriptor = &document.descriptor;
        let named = |entry: &Value| entry["annotations"][NAME].as_str().map(str::to_owned);
        let name = annotations.get(NAME).cloned();
        entries.retain(|entry| match &name {
            None => named(entry).is_some() || entry["digest"] != descriptor.digest.to_string(),
            name => named(entry) != *name,
        });
        let mut entry = serde_json::to_value(descriptor)?;
        if !annotations.is_empty() {
            entry["annotations"] = json!(annotations);
        }
        entries.push(entry);
        atomic::write(&path, &serde_json::to_vec(&index)?, Durability::Durable)
    }
}

impl Target for Directory {
    fn has_document(&self, _: &Digest) -> Result<bool> {
        // What is there may come from somebody who left blobs out.
        Ok(false)
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        let path = self.blob(&blob.digest);
        // The name of a file says what should be in it.
        let found = std::fs::metadata(&path);
        if !found.is_ok_and(|found| found.is_file() && found.len() == blob.size) {
            return Ok(false);
        }
        let mut hashing = Hashing::default();
        File::open(&path)
            .and_then(|mut file| std::io::copy(&mut file, &mut hashing))
            .with_context(|| format!("read `{}`", path.display()))?;
        Ok(hashing.finish().0 == blob.digest)
    }

    fn mount(&self, _: &Descriptor, _: &Reference) -> Result<bool> {
        Ok(false)
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener, progress: &dyn Progress) -> Result<()> {
        let mut stream = super::told(open()?, blob, progress);
        atomic::stream_with(&self.blob(&blob.digest), 0o644, |out| {
            std::io::copy(&mut stream, out)?;
            Ok(())
        })
    }

    fn put_document(&self, document: &Fetched, name: Name) -> Result<()> {
        let path = self.blob(&document.descriptor.digest);
        atomic::write(&path, &document.bytes, Durability::Volatile)?;
        match name {
            Name::None => Ok(()),
            Name::Own => self.enter(document, &self.annotations),
            Name::Tag(tag) => self.enter(
                document,
                &BTreeMap::from([(NAME.to_owned(), tag.to_owned())]),
            ),
        }
    }

    fn tagged(&self, tag: &str) -> Result<Option<Fetched>> {
        if !self.path.join("index.json").exists() {
            return Ok(None);
        }
        match Layout::open(Archive::directory(&self.path)?, Some(tag)) {
            Err(error) if crate::error::kind(&error) == Some(crate::error::Kind::NotFound) => {
                Ok(None)
            }
            layout => layout?.top().map(Some),
        }
    }

    fn lists_referrers(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    fn takes_several(&self) -> bool {
        true
    }
}
