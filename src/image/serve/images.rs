//! The images of the store as a registry that can be pulled from.
//!
//! An image has the manifest that it would have in an archive that `save` writes: its own config, and its layers not
//! compressed, made from the unpacked files when they are asked for. So its id stays and the digest of its manifest is
//! not that of the registry it came from.
//!
//! A repository is asked for as on the command line (`alpine`, `library/alpine`, `quay.io/a/b`), or without the host
//! where only one host has a repository of that name.

use super::digest::AnyDigest;
use super::folder::Folder;
use super::name::{Name, Reference};
use super::storage::{Blob, Manifest, Source, Storage};
use crate::error;
use crate::image::digest::Digest;
use crate::image::manifest::{self as kinds, Descriptor};
use crate::image::reference::Reference as ImageName;
use crate::image::store::{self, Image, Names};
use crate::paths::Paths;
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeSet;

/// The images of a store.
pub struct Images {
    paths: Paths,
}

impl Images {
    /// Those of the store at these roots.
    pub fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// The names with which a repository may have been meant, and the images that they lead to.
    fn names(&self, repository: &Name) -> Result<Vec<(ImageName, Digest)>> {
        let names = Names::read(&self.paths)?;
        let all = || {
            let named = names.references.iter();
            named.map(|(name, record)| (name.clone(), record.image.clone()))
        };
        if let Ok(typed) = repository.as_str().parse::<ImageName>() {
            let found: Vec<_> = all()
                .filter(|(name, _)| name.same_repository(&typed))
                .collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let found: Vec<_> = all()
            .filter(|(name, _)| name.path() == repository.as_str())
            .collect();
        let hosts: BTreeSet<_> = found
            .iter()
            .map(|(name, _)| name.domain().to_owned())
            .collect();
        Ok(match hosts.len() {
            1 => found,
            _ => Vec::new(),
        })
    }

    /// The images of a repository, each once.
    fn images(&self, repository: &Name) -> Result<Vec<Image>> {
        let ids: BTreeSet<_> = self
            .names(repository)?
            .into_iter()
            .map(|(_, id)| id)
            .collect();
        let mut images = Vec::new();
        for id in ids {
            images.extend(self.image(&id)?);
        }
        Ok(images)
    }

    fn image(&self, id: &Digest) -> Result<Option<Image>> {
        match store::find(&self.paths, id.hex()) {
            Err(error) if error::kind(&error) == Some(error::Kind::NotFound) => Ok(None),
            found => found.map(Some),
        }
    }

    fn manifest_of(&self, image: &Image) -> Result<Manifest> {
        let config = store::config_bytes(&self.paths, &image.id)?;
        let mut layers = Vec::new();
        for directory in &image.layers {
            let record = store::layer_record(&self.paths.layer(directory))?;
            layers.push(Descriptor {
                digest: record.diff_id,
                size: record.tar_size,
                ..Descriptor::of(kinds::OCI_LAYER, b"")
            });
        }
        let config = Descriptor::of(kinds::OCI_CONFIG, &config);
        let bytes = serde_json::to_vec(&kinds::Manifest::new(config, layers))?;
        Ok(Manifest {
            digest: (&Digest::of(&bytes)).into(),
            media_type: kinds::OCI_MANIFEST.to_owned(),
            bytes,
        })
    }
}

impl Storage for Images {
    fn manifest(&self, repository: &Name, reference: &Reference) -> Result<Option<Manifest>> {
        match reference {
            Reference::Tag(tag) => {
                let names = self.names(repository)?;
                let mut named = names.iter();
                let found = named.find(|(name, _)| name.tag() == Some(tag.as_str()));
                let image = found.map(|(_, id)| self.image(id)).transpose()?;
                image
                    .flatten()
                    .map(|image| self.manifest_of(&image))
                    .transpose()
            }
            Reference::Digest(digest) => {
                for image in self.images(repository)? {
                    let manifest = self.manifest_of(&image)?;
                    if manifest.digest == *digest {
                        return Ok(Some(manifest));
                    }
                }
                Ok(None)
            }
        }
    }

    fn blob(&self, repository: &Name, digest: &AnyDigest) -> Result<Option<Blob>> {
        for image in self.images(repository)? {
            if AnyDigest::from(&image.id) == *digest {
                let bytes = store::config_bytes(&self.paths, &image.id)?;
                let (size, source) = (bytes.len() as u64, Source::Bytes(bytes));
                return Ok(Some(Blob { size, source }));
            }
            for directory in &image.layers {
                let directory = self.paths.layer(directory);
                let record = store::layer_record(&directory)?;
                if AnyDigest::from(&record.diff_id) == *digest {
                    let (size, source) = (record.tar_size, Source::Layer(directory));
                    return Ok(Some(Blob { size, source }));
                }
            }
        }
        Ok(None)
    }

    fn tags(&self, repository: &Name) -> Result<Option<Vec<String>>> {
        let names = self.names(repository)?;
        let mut tags: Vec<String> = names
            .iter()
            .filter_map(|(name, _)| name.tag().map(str::to_owned))
            .collect();
        tags.sort();
        Ok((!names.is_empty()).then_some(tags))
    }

    fn repositories(&self) -> Result<Vec<String>> {
        let names = Names::read(&self.paths)?;
        let tagged = names.references.keys().filter(|name| name.tag().is_some());
        let mut found: Vec<String> = tagged
            .map(|name| match Name::parse(&name.repository()) {
                Ok(whole) => whole.to_string(),
                // The host has a port, which no repository has.
                Err(_) => name.path().to_owned(),
            })
            .collect();
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn referrers(&self, _: &Name, _: &AnyDigest) -> Result<Vec<Value>> {
        Ok(Vec::new())
    }

    fn writable(&self) -> Result<&Folder, &'static str> {
        Err("the images of the store are served read-only")
    }
}
