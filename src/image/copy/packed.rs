//! An image into a tar archive: an OCI layout, or that with what readers of `docker save`'s archives look for beside it.
//! Blobs go in as they are, compressed or not, so that their digests stay.

use super::layout::VERSION;
use super::{Name, Target};
use crate::error::bad_input;
use crate::image::digest::Digest;
use crate::image::docker_archive::Entry;
use crate::image::manifest::{Descriptor, Document, Index};
use crate::image::reference::Reference;
use crate::image::registry::Fetched;
use crate::image::registry::transport::Opener;
use crate::image::tar_writer::{Tar, blob};
use crate::progress::Progress;
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;

/// An archive on its way.
pub struct Packed<'a> {
    tar: Mutex<Tar<&'a mut (dyn Write + Send)>>,
    annotations: BTreeMap<String, String>,
    /// Further names of the image in it.
    others: Vec<BTreeMap<String, String>>,
    /// The image's name, for what Docker reads; `None` where that is left out.
    docker: Option<Vec<String>>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    index: Vec<Descriptor>,
    manifest: Vec<Entry>,
}

impl<'a> Packed<'a> {
    /// Begins one. `annotations` name the image in it; `docker` holds the names for Docker's readers.
    pub fn new(
        out: &'a mut (dyn Write + Send),
        annotations: BTreeMap<String, String>,
        docker: Option<Vec<String>>,
    ) -> Result<Self> {
        Ok(Self {
            tar: Mutex::new(Tar::new(out)?),
            annotations,
            others: Vec::new(),
            docker,
            entries: Mutex::default(),
        })
    }

    /// Gives the image another name in it.
    pub fn also(&mut self, annotations: BTreeMap<String, String>) {
        self.others.push(annotations);
    }

    /// Writes what leads to the blobs.
    pub fn finish(self) -> Result<()> {
        let entries = super::lock(&self.entries);
        let mut tar = super::lock(&self.tar);
        let index = Index::new(entries.index.clone());
        tar.file("index.json", &serde_json::to_vec(&index)?)?;
        if self.docker.is_some() {
            tar.file("manifest.json", &serde_json::to_vec(&entries.manifest)?)?;
        }
        tar.file("oci-layout", VERSION)?;
        tar.end()
    }

    fn enter(&self, document: &Fetched, annotations: BTreeMap<String, String>) {
        let annotations = (!annotations.is_empty()).then_some(annotations);
        super::lock(&self.entries).index.push(Descriptor {
            annotations,
            ..document.descriptor.clone()
        });
    }

    fn enter_for_docker(&self, document: &Fetched, names: &[String]) -> Result<()> {
        let Document::Manifest(manifest) = &document.document else {
            return Err(
                bad_input("such an archive holds an image for one platform only")
                    .hint("`oci-archive:FILE` holds all; `--platform` chooses one")
                    .into(),
            );
        };
        let layers = manifest.layers.iter().map(|layer| blob(&layer.digest));
        super::lock(&self.entries).manifest.push(Entry {
            config: blob(&manifest.config.digest),
            repo_tags: Some(names.to_vec()),
            layers: Some(layers.collect()),
        });
        Ok(())
    }
}

impl Target for Packed<'_> {
    fn has_document(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(super::lock(&self.tar).has(&blob.digest))
    }

    fn mount(&self, _: &Descriptor, _: &Reference) -> Result<bool> {
        Ok(false)
    }

    fn put_blob(&self, blob: &Descriptor, open: &Opener, progress: &dyn Progress) -> Result<()> {
        let mut stream = super::told(open()?, blob, progress);
        super::lock(&self.tar).blob_of(&blob.digest, blob.size, |out| {
            std::io::copy(&mut stream, out)?;
            Ok(())
        })
    }

    fn put_document(&self, document: &Fetched, name: Name) -> Result<()> {
        super::lock(&self.tar).blob(&document.bytes)?;
        match name {
            Name::None => {}
            Name::Own => {
                self.enter(document, self.annotations.clone());
                for annotations in &self.others {
                    self.enter(document, annotations.clone());
                }
                if let Some(names) = &self.docker {
                    self.enter_for_docker(document, names)?;
                }
            }
            Name::Tag(tag) => {
                let name = (super::layout::NAME.to_owned(), tag.to_owned());
                self.enter(document, BTreeMap::from([name]));
            }
        }
        Ok(())
    }

    fn tagged(&self, _: &str) -> Result<Option<Fetched>> {
        Ok(None)
    }

    fn lists_referrers(&self, _: &Digest) -> Result<bool> {
        Ok(false)
    }

    fn takes_several(&self) -> bool {
        false
    }
}
