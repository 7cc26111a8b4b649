//! One image out of an index for many platforms (OCI image-index.md): the one that suits best, or an error that says
//! which there are.

use super::{Fetched, Repository};
use crate::error::bad_input;
use crate::image::config::Config;
use crate::image::digest::Digest;
use crate::image::manifest::{self, Descriptor, Document, Index, Manifest};
use crate::image::origin::{self, Origin};
use crate::image::platform::Platform;
use crate::image::store::DOCUMENT_LIMIT;
use anyhow::{Context, Result};

/// Indexes within indexes, and how many of them are read in all.
const DEPTH: usize = 4;
const INDEXES: usize = 32;

/// An image that was chosen.
#[derive(Debug)]
pub struct Image {
    /// How it came, where that can be remembered.
    pub origin: Option<Origin>,
    /// Its manifest.
    pub manifest: Manifest,
    /// The config, byte for byte.
    pub config: Vec<u8>,
    /// The digests of its layers, uncompressed; one for each layer of the manifest.
    pub diff_ids: Vec<Digest>,
}

/// What a tag or digest leads to for a platform.
#[derive(Debug)]
pub struct Chosen {
    /// The manifest.
    pub manifest: Fetched,
    /// The index that leads to it.
    index: Option<origin::Document>,
}

impl Chosen {
    /// Chooses; nothing of the image itself is read yet.
    pub fn of(repository: &Repository, top: Fetched, wanted: &Platform) -> Result<Self> {
        let index = remembered(&top);
        let fetch = |descriptor: &Descriptor| fetch(repository, descriptor);
        let manifest = choose(top, wanted, &fetch)?;
        let index = index.filter(|top| top.digest != manifest.descriptor.digest);
        Ok(Self { manifest, index })
    }

    /// The image.
    pub fn image(self, repository: &Repository, wanted: &Platform) -> Result<Image> {
        let index = self.index;
        let origin = remembered(&self.manifest).map(|manifest| Origin {
            index,
            manifest,
            repository: Some(repository.name().untagged()),
        });
        let manifest = match self.manifest.document {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => return Err(bad_input("it is an index").into()),
        };
        manifest.check()?;
        let config = repository
            .document(&manifest.config, DOCUMENT_LIMIT)
            .context("fetch the config of the image")?;
        let diff_ids = check(&manifest, &config, wanted)?;
        Ok(Image {
            origin,
            manifest,
            config,
            diff_ids,
        })
    }
}

fn remembered(fetched: &Fetched) -> Option<origin::Document> {
    origin::Document::new(&fetched.descriptor.media_type, &fetched.bytes)
}

/// The manifest of the image that suits a platform best. `fetch` gives what an index names, checked.
pub fn choose(
    top: Fetched,
    wanted: &Platform,
    fetch: &dyn Fn(&Descriptor) -> Result<Fetched>,
) -> Result<Fetched> {
    let chosen = match &top.document {
        Document::Manifest(_) => top,
        Document::Index(index) => {
            let mut search = Search {
                fetch,
                wanted,
                left: INDEXES,
                found: Vec::new(),
                offered: Vec::new(),
            };
            search.collect(index, 0)?;
            fetch(&search.best()?)?
        }
    };
    match &chosen.document {
        Document::Index(_) => {
            let digest = &chosen.descriptor.digest;
            let message = format!("{digest} is an index, and was announced as a manifest");
            Err(bad_input(message).into())
        }
        Document::Manifest(manifest) => match manifest.artifact() {
            Some(kind) => {
                let message = format!("it is no image, but something of the media type `{kind}`");
                Err(bad_input(message).into())
            }
            None => Ok(chosen),
        },
    }
}

/// The digests of the layers, uncompressed, of an image whose config must fit its manifest and the platform.
pub fn check(manifest: &Manifest, config: &[u8], wanted: &Platform) -> Result<Vec<Digest>> {
    let parsed = Config::parse(config).context("read the config of the image")?;
    let diff_ids = parsed.rootfs.diff_ids.clone();
    if diff_ids.len() != manifest.layers.len() {
        let (listed, here) = (diff_ids.len(), manifest.layers.len());
        return Err(bad_input(format!(
            "its config lists {listed} layers, and it has {here}"
        ))
        .into());
    }
    let platform = parsed.platform();
    if !wanted.matches(&platform) {
        return Err(
            bad_input(format!("the image is for {platform}, not for {wanted}"))
                .hint(format!("`--platform {platform}` takes it in all the same"))
                .into(),
        );
    }
    Ok(diff_ids)
}

fn fetch(repository: &Repository, descriptor: &Descriptor) -> Result<Fetched> {
    let fetched = repository.manifest(&descriptor.digest.to_string())?;
    let checked = descriptor.check_size(fetched.bytes.len());
    checked.with_context(|| format!("read the manifest {}", descriptor.digest))?;
    Ok(fetched)
}

struct Search<'a> {
    fetch: &'a dyn Fn(&Descriptor) -> Result<Fetched>,
    wanted: &'a Platform,
    left: usize,
    /// What fits, and how well; what does not say what it is for comes last.
    found: Vec<(usize, Descriptor)>,
    offered: Vec<String>,
}

impl Search<'_> {
    fn collect(&mut self, index: &Index, depth: usize) -> Result<()> {
        for descriptor in &index.manifests {
            if descriptor.is_attestation() || !manifest::is_known(&descriptor.media_type) {
                continue;
            }
            if let Some(platform) = descriptor.platform() {
                match self.wanted.rank(&platform) {
                    Some(rank) if manifest::is_manifest(&descriptor.media_type) => {
                        self.found.push((rank, descriptor.clone()));
                        continue;
                    }
                    Some(_) => {}
                    None => {
                        let shown = platform.to_string();
                        if !self.offered.contains(&shown) {
                            self.offered.push(shown);
                        }
                        continue;
                    }
                }
            } else if manifest::is_manifest(&descriptor.media_type) {
                self.found.push((usize::MAX, descriptor.clone()));
                continue;
            }
            self.descend(descriptor, depth)?;
        }
        Ok(())
    }

    fn descend(&mut self, descriptor: &Descriptor, depth: usize) -> Result<()> {
        if depth == DEPTH || self.left == 0 {
            return Err(bad_input("its indexes lead to more and more indexes").into());
        }
        self.left -= 1;
        match (self.fetch)(descriptor)?.document {
            Document::Index(index) => self.collect(&index, depth + 1),
            Document::Manifest(_) => {
                self.found.push((usize::MAX, descriptor.clone()));
                Ok(())
            }
        }
    }

    fn best(&self) -> Result<Descriptor> {
        // The first of equals.
        if let Some((_, best)) = self.found.iter().min_by_key(|(rank, _)| *rank) {
            return Ok(best.clone());
        }
        let wanted = self.wanted;
        let message = format!("no matching manifest for {wanted} in the manifest list entries");
        Err(match self.offered.as_slice() {
            [] => bad_input(format!("{message}: it has no image at all")),
            offered => bad_input(format!(
                "{message}: it is offered for {}",
                offered.join(", ")
            ))
            .hint(format!(
                "`--platform {}`, as far as this machine runs it",
                offered[0]
            )),
        }
        .into())
    }
}
