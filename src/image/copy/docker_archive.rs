//! An image in an archive of `docker save` without an OCI layout, to copy from. Such an archive has no manifest, so one is
//! made: of Docker's schema 2, with the config and the layers as they lie there.

use super::{Source, Stream};
use crate::error::{bad_input, not_found};
use crate::image::archive::{Archive, Section, missing};
use crate::image::compression::{self, Compression};
use crate::image::digest::{Digest, Hashing};
use crate::image::docker_archive::Entry;
use crate::image::manifest::{DOCKER_CONFIG, DOCKER_LAYER, Descriptor, Document, Manifest};
use crate::image::reference::Reference;
use crate::image::registry::Fetched;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// An image of such an archive.
pub struct DockerArchive {
    archive: Archive,
    /// Where each blob lies.
    files: BTreeMap<Digest, String>,
    manifest: Vec<u8>,
    name: Option<Reference>,
}

impl DockerArchive {
    /// The image that is called `wanted`, or the only one.
    pub fn open(archive: Archive, wanted: Option<&str>) -> Result<Self> {
        let file = "manifest.json";
        let bytes = archive.document(file)?.ok_or_else(|| missing(file))?;
        let entries: Vec<Entry> = serde_json::from_slice(&bytes)
            .map_err(|error| bad_input(format!("it is no list of images: {error}")))
            .context("read `manifest.json`")?;
        let entry = choose(&entries, wanted)?;
        let mut files = BTreeMap::new();
        let mut known: BTreeMap<String, Descriptor> = BTreeMap::new();
        let mut add = |file: &str, kind: &str| -> Result<Descriptor> {
            // The same layer may be listed again and again.
            if let Some(descriptor) = known.get(file) {
                return Ok(descriptor.clone());
            }
            let mut descriptor =
                describe(&archive, file).with_context(|| format!("read `{file}`"))?;
            descriptor.media_type = match kind {
                DOCKER_LAYER => format!("{kind}{}", descriptor.media_type),
                kind => kind.to_owned(),
            };
            files.insert(descriptor.digest.clone(), file.to_owned());
            known.insert(file.to_owned(), descriptor.clone());
            Ok(descriptor)
        };
        let config = add(&entry.config, DOCKER_CONFIG)?;
        let layers = entry
            .layers
            .iter()
            .flatten()
            .map(|file| add(file, DOCKER_LAYER));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let name = entry.repo_tags.iter().flatten().next();
        Ok(Self {
            manifest: serde_json::to_vec(&Manifest::docker(config, layers))?,
            name: name.and_then(|name| name.parse().ok()),
            archive,
            files,
        })
    }
}

fn choose<'a>(entries: &'a [Entry], wanted: Option<&str>) -> Result<&'a Entry> {
    let names = |entry: &Entry| entry.repo_tags.clone().unwrap_or_default();
    let whole = |name: &str| name.parse::<Reference>().ok().map(Reference::or_latest);
    let all = || {
        let shown: Vec<String> = entries
            .iter()
            .flat_map(names)
            .map(|name| format!("`{name}`"))
            .collect();
        shown.join(", ")
    };
    match (entries, wanted) {
        ([], _) => Err(bad_input("there is no image in its `manifest.json`").into()),
        ([one], None) => Ok(one),
        (_, None) => Err(bad_input(format!("it holds several images: {}", all()))
            .hint("say which: `docker-archive:FILE:NAME`")
            .into()),
        (entries, Some(wanted)) => entries
            .iter()
            .find(|entry| {
                names(entry)
                    .iter()
                    .any(|name| whole(name).is_some() && whole(name) == whole(wanted))
            })
            .ok_or_else(|| {
                not_found(format!("no image in it is called `{wanted}`: {}", all())).into()
            }),
    }
}

/// Digest and length of a file, and what its compression adds to a media type.
fn describe(archive: &Archive, file: &str) -> Result<Descriptor> {
    let open = || -> Result<Section> { Ok(archive.file(file)?.ok_or_else(|| missing(file))?) };
    let mut hashing = Hashing::default();
    io::copy(&mut open()?, &mut hashing)?;
    let (digest, size) = hashing.finish();
    let (found, _) = compression::peek(open()?)?;
    let ending = match found {
        Compression::None => "",
        Compression::Gzip => ".gzip",
        Compression::Zstd => ".zstd",
        other => {
            let message = format!(
                "it is packed by {}, which no manifest can say",
                other.name()
            );
            return Err(bad_input(message).into());
        }
    };
    Ok(Descriptor {
        digest,
        size,
        ..Descriptor::of(ending, b"")
    })
}

impl Source for DockerArchive {
    fn top(&self) -> Result<Fetched> {
        let kind = crate::image::manifest::DOCKER_MANIFEST;
        let descriptor = Descriptor::of(kind, &self.manifest);
        Ok(Fetched {
            document: Document::parse(&descriptor, &self.manifest)?,
            bytes: self.manifest.clone(),
            descriptor,
        })
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Fetched> {
        Err(missing(&descriptor.digest.to_string()).into())
    }

    fn blob(&self, blob: &Descriptor) -> Result<Stream<'_>> {
        let absent = || missing(&blob.digest.to_string());
        let file = self.files.get(&blob.digest).ok_or_else(absent)?;
        Ok(Box::new(self.archive.file(file)?.ok_or_else(absent)?))
    }

    fn tagged(&self, _: &str) -> Result<Option<Fetched>> {
        Ok(None)
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }

    fn name(&self) -> Option<&Reference> {
        self.name.as_ref()
    }

    fn place(&self) -> Option<&Path> {
        Some(self.archive.place())
    }

    fn has_manifest(&self) -> bool {
        false
    }
}
