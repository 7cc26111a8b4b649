//! What is remembered of how things came and went: the manifests of an image, byte for byte, and the blobs that hold a
//! layer. With it an image is pushed under the manifest that it had, and a layer is not sent to whom has it already.
//!
//! Invariant: none of it is needed. What is missing, older than this, too long or damaged is unknown, and no error.

use super::digest::Digest;
use super::manifest::{Descriptor, Document as Parsed, Manifest};
use super::reference::Reference;
use super::store::DOCUMENT_LIMIT;
use crate::paths::{self, Paths};
use crate::store::atomic::{self, Durability};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

const VERSION: u32 = 1;
/// As many are remembered, the latest first.
const ORIGINS: usize = 8;
const BLOBS: usize = 16;
const REPOSITORIES: usize = 8;

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// All of it.
    pub text: String,
}

impl Document {
    /// `None` for what is no text, and so no JSON.
    pub fn new(media_type: &str, bytes: &[u8]) -> Option<Self> {
        Some(Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            text: std::str::from_utf8(bytes).ok()?.to_owned(),
        })
    }

    /// The manifest that it is.
    pub fn manifest(&self) -> Option<Manifest> {
        let descriptor = Descriptor::of(&self.media_type, self.text.as_bytes());
        match Parsed::parse(&descriptor, self.text.as_bytes()) {
            Ok(Parsed::Manifest(manifest)) => Some(manifest),
            _ => None,
        }
    }
}

/// How an image came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its manifest.
    pub manifest: Document,
    /// The index that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<Document>,
    /// Where from; `None`: out of an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Reference>,
}

/// A blob that holds a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What a manifest calls it.
    pub media_type: String,
    /// Where it was seen, the latest first.
    #[serde(default)]
    pub repositories: Vec<Reference>,
    /// Which packer of ours makes it out of the layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packer: Option<String>,
}

impl Blob {
    /// One that was seen in a repository, or in none.
    pub fn new(descriptor: &Descriptor, repository: Option<&Reference>) -> Self {
        Self {
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
            repositories: repository.into_iter().map(Reference::untagged).collect(),
            packer: None,
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Origins {
    version: u32,
    manifests: Vec<Origin>,
}

#[derive(Default, Serialize, Deserialize)]
struct Blobs {
    version: u32,
    blobs: Vec<Blob>,
}

/// How an image came, the latest first; `image` is its directory.
pub fn origins(image: &Path) -> Vec<Origin> {
    let found: Option<Origins> = read(&paths::origins_in(image));
    let found = found.filter(|found| found.version == VERSION);
    found.unwrap_or_default().manifests
}

/// The blobs that hold a layer; `layer` is its directory.
pub fn blobs(layer: &Path) -> Vec<Blob> {
    let found: Option<Blobs> = read(&paths::blobs_in(layer));
    let found = found.filter(|found| found.version == VERSION);
    found.unwrap_or_default().blobs
}

/// Bytes of the blobs that are kept with a layer; `layer` is its directory.
pub fn kept_size(layer: &Path) -> u64 {
    let kept = blobs(layer).into_iter().map(|blob| {
        let path = paths::kept_blob_in(layer, blob.digest.hex());
        std::fs::metadata(path).map_or(0, |metadata| metadata.len())
    });
    kept.sum()
}

/// Remembers how an image came.
pub fn add_origin(image: &Path, origin: &Origin, durability: Durability) -> Result<()> {
    let before = origins(image);
    if before.first() == Some(origin) {
        return Ok(());
    }
    let others = before.into_iter().filter(|other| {
        other.manifest.digest != origin.manifest.digest || other.repository != origin.repository
    });
    let mut all = Origins {
        version: VERSION,
        manifests: std::iter::once(origin.clone()).chain(others).collect(),
    };
    all.manifests.truncate(ORIGINS);
    while !all.manifests.is_empty() {
        let bytes = serde_json::to_vec(&all)?;
        if bytes.len() as u64 <= DOCUMENT_LIMIT {
            return atomic::write(&paths::origins_in(image), &bytes, durability);
        }
        all.manifests.pop();
    }
    Ok(())
}

/// Remembers a blob that holds a layer, or where else it was seen.
pub fn add_blob(layer: &Path, blob: &Blob, durability: Durability) -> Result<()> {
    let before = blobs(layer);
    let mut merged = blob.clone();
    if let Some(known) = before.iter().find(|known| known.digest == blob.digest) {
        let more = known.repositories.iter();
        let more = more.filter(|known| !blob.repositories.contains(known));
        merged.repositories.extend(more.cloned());
        merged.packer = merged.packer.or(known.packer.clone());
    }
    merged.repositories.truncate(REPOSITORIES);
    if before.first() == Some(&merged) {
        return Ok(());
    }
    let others = before
        .into_iter()
        .filter(|known| known.digest != blob.digest);
    let mut all = Blobs {
        version: VERSION,
        blobs: std::iter::once(merged).chain(others).collect(),
    };
    all.blobs.truncate(BLOBS);
    let bytes = serde_json::to_vec(&all)?;
    atomic::write(&paths::blobs_in(layer), &bytes, durability)
}

/// Remembers what was learnt after an image came into the store; the caller holds the store's lock. A layer that has
/// gone, or that belongs to a store which is only read, is passed by.
pub fn add_to_store(paths: &Paths, layer: &str, blob: &Blob) -> Result<()> {
    let directory = paths.layer(layer);
    if !directory.exists() || paths.is_elsewhere(layer) {
        return Ok(());
    }
    atomic::sweep(&directory)?;
    add_blob(&directory, blob, Durability::Volatile)
}

/// Likewise of how an image came.
pub fn add_to_image(paths: &Paths, id: &Digest, origin: &Origin) -> Result<()> {
    let directory = paths.image(id.hex());
    if !directory.exists() {
        return Ok(());
    }
    atomic::sweep(&directory)?;
    add_origin(&directory, origin, Durability::Volatile)
}

fn read<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    let bytes = super::store::read_document(path).ok()??;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::manifest;

    fn repository(name: &str) -> Reference {
        name.parse().unwrap()
    }

    #[test]
    fn blobs_are_merged_and_the_latest_is_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let add = |text: &[u8], name: &str| {
            let descriptor = Descriptor::of(manifest::OCI_LAYER, text);
            let blob = Blob::new(&descriptor, Some(&repository(name)));
            add_blob(directory.path(), &blob, Durability::Volatile).unwrap();
        };
        assert!(blobs(directory.path()).is_empty());
        add(b"1", "a.org/x:1");
        add(b"2", "a.org/x");
        add(b"1", "a.org/y");
        let found = blobs(directory.path());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].digest, Digest::of(b"1"));
        let expected = [repository("a.org/y"), repository("a.org/x")];
        assert_eq!(found[0].repositories, expected);
        for index in 0..2 * BLOBS {
            add(index.to_string().as_bytes(), "a.org/x");
        }
        assert_eq!(blobs(directory.path()).len(), BLOBS);
    }

    #[test]
    fn what_is_damaged_or_too_long_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let origin = |length: usize| Origin {
            manifest: Document::new(manifest::OCI_MANIFEST, &vec![b'"'; length]).unwrap(),
            index: None,
            repository: None,
        };
        add_origin(path, &origin(1), Durability::Volatile).unwrap();
        add_origin(path, &origin(DOCUMENT_LIMIT as usize), Durability::Volatile).unwrap();
        assert_eq!(origins(path), [origin(1)]);
        add_origin(path, &origin(2), Durability::Volatile).unwrap();
        assert_eq!(origins(path), [origin(2), origin(1)]);
        std::fs::write(paths::origins_in(path), "{").unwrap();
        std::fs::write(paths::blobs_in(path), r#"{"version":7,"blobs":[]}"#).unwrap();
        assert!(origins(path).is_empty() && blobs(path).is_empty());
        assert!(Document::new("", b"\xff").is_none());
    }
}
