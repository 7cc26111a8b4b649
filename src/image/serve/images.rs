//! The images of the store as a registry that can be pulled from.
//!
//! An image has the manifest that it came with, as far as its layers can be given as the blobs that they were (those
//! that came uncompressed, and all where `storage.keep-blobs` keeps them); other layers are their tar archives, made from
//! the unpacked files when they are asked for. So the id of an image always stays, and the digest of its manifest where
//! it can.
//!
//! A layer stays until it is sent, also where its image is removed meanwhile.
//!
//! A repository is asked for as on the command line (`alpine`, `library/alpine`, `quay.io/a/b`), or without the host
//! where only one host has a repository of that name.

use super::digest::AnyDigest;
use super::folder::Folder;
use super::name::{Name, Reference};
use super::storage::{Blob, Manifest, Source, Storage};
use crate::error::{self, Kind};
use crate::image::digest::Digest;
use crate::image::package::{Otherwise, Package};
use crate::image::reference::Reference as ImageName;
use crate::image::shared;
use crate::image::store::Names;
use crate::paths::Paths;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;

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
    fn packages(&self, repository: &Name) -> Result<Vec<Package>> {
        let names = self.names(repository)?;
        let ids: BTreeSet<_> = names.into_iter().map(|(_, id)| id).collect();
        let mut packages = Vec::new();
        for id in ids {
            packages.extend(self.package(&id)?);
        }
        Ok(packages)
    }

    /// An image, `None` when it has just gone.
    fn package(&self, id: &Digest) -> Result<Option<Package>> {
        match Package::of(&self.paths, id) {
            Err(error) if error::kind(&error) == Some(Kind::NotFound) => Ok(None),
            found => found.map(Some),
        }
    }

    fn manifest_of(&self, package: &Package) -> Result<Manifest> {
        let document = package.describe(&self.paths, Otherwise::Plain)?.manifest;
        Ok(Manifest {
            digest: (&document.digest).into(),
            media_type: document.media_type,
            bytes: document.text.into_bytes(),
        })
    }

    /// A layer of an image as one of the blobs that it can be given as.
    fn layer(&self, package: &Package, digest: &Digest) -> Result<Option<Blob>> {
        let Some(layer) = package.layer_of(digest) else {
            return Ok(None);
        };
        if let Some(path) = layer.kept(digest) {
            let file = File::open(&path).with_context(|| format!("open `{}`", path.display()))?;
            let metadata = file.metadata();
            let size = metadata
                .with_context(|| format!("stat `{}`", path.display()))?
                .len();
            let source = Source::File(file);
            return Ok(Some(Blob { size, source }));
        }
        let directory = self.paths.layer(&layer.name);
        let Some(lock) = shared::lock(&directory)? else {
            return Ok(None);
        };
        if *digest == layer.diff_id {
            let (size, source) = (layer.tar_size, Source::Layer(directory, lock));
            return Ok(Some(Blob { size, source }));
        }
        let packed = layer.packed().filter(|packed| packed.digest == *digest);
        let size = packed.map(|packed| packed.size);
        let source = Source::Stream(layer.open(digest)?, lock);
        Ok(size.map(|size| Blob { size, source }))
    }
}

impl Storage for Images {
    fn manifest(&self, repository: &Name, reference: &Reference) -> Result<Option<Manifest>> {
        match reference {
            Reference::Tag(tag) => {
                let names = self.names(repository)?;
                let mut named = names.iter();
                let found = named.find(|(name, _)| name.tag() == Some(tag.as_str()));
                let package = found.map(|(_, id)| self.package(id)).transpose()?;
                let package = package.flatten();
                package
                    .map(|package| self.manifest_of(&package))
                    .transpose()
            }
            Reference::Digest(digest) => {
                for package in self.packages(repository)? {
                    let manifest = self.manifest_of(&package)?;
                    if manifest.digest == *digest {
                        return Ok(Some(manifest));
                    }
                }
                Ok(None)
            }
        }
    }

    fn blob(&self, repository: &Name, digest: &AnyDigest) -> Result<Option<Blob>> {
        // The store has no other algorithm.
        let Ok(digest) = digest.to_string().parse::<Digest>() else {
            return Ok(None);
        };
        for package in self.packages(repository)? {
            if package.id == digest {
                let (size, source) = (package.config.len() as u64, Source::Bytes(package.config));
                return Ok(Some(Blob { size, source }));
            }
            if let Some(blob) = self.layer(&package, &digest)? {
                return Ok(Some(blob));
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

    fn referrers(
        &self,
        _: &Name,
        _: &AnyDigest,
        _: Option<&str>,
        _: &mut dyn FnMut(Value) -> bool,
    ) -> Result<()> {
        Ok(())
    }

    fn writable(&self) -> Result<&Folder, &'static str> {
        Err("the images of the store are served read-only")
    }
}
