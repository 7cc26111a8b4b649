//! OCI image layouts (OCI image-layout.md): `index.json` leads through indexes to manifests, and those to
//! configs and layers below `blobs/`.
//!
//! From each name, or nameless entry, comes one image: that which suits the wanted platform best. Everything
//! that is read here is checked against the digest and size of the descriptor that led to it.

use super::archive::{Archive, missing};
use super::config::Config;
use super::copy::layout::{NAME, WHOLE_NAME};
use super::digest::Digest;
use super::load::{Layer, Offered, Wanted};
use super::manifest::{self, Descriptor, Document, Index, Manifest};
use super::origin::{self, Origin};
use super::reference::Reference;
use crate::error::bad_input;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Indexes within indexes, and how many descriptors may be followed in all.
const DEPTH: usize = 8;
const DESCRIPTORS: usize = 10_000;

/// Whether the archive holds such a layout.
pub fn is_here(archive: &Archive) -> Result<bool> {
    Ok(archive.file("index.json")?.is_some())
}

/// The images of a layout, none of them foreign to what is wanted.
pub fn images(archive: &Archive, wanted: &Wanted) -> Result<Vec<Offered>> {
    check_version(archive)?;
    let bytes = archive
        .document("index.json")?
        .ok_or_else(|| missing("index.json"))?;
    let index = match Document::parse(&Descriptor::of(manifest::OCI_INDEX, &bytes), &bytes) {
        Ok(Document::Index(index)) => index,
        Ok(Document::Manifest(_)) => return Err(bad_input("`index.json` is a manifest").into()),
        Err(error) => return Err(error.context("read `index.json`")),
    };
    let mut reader = Reader {
        archive,
        wanted,
        left: DESCRIPTORS,
        passed: Vec::new(),
    };
    let mut offered = Vec::new();
    for (name, descriptors) in groups(&index) {
        let mut manifests = Vec::new();
        for descriptor in descriptors {
            reader.follow(descriptor, 0, &mut manifests)?;
        }
        let names = name
            .iter()
            .filter_map(|name| reference(name, wanted.stem))
            .collect();
        offered.extend(reader.choose(&manifests, name.is_some(), names)?);
    }
    match (offered.is_empty(), reader.passed.first()) {
        (false, _) => Ok(offered),
        (true, Some(other)) => {
            Err(bad_input(format!("there is no image in it, but {other}")).into())
        }
        (true, None) => Err(bad_input("there is no image in its `index.json`").into()),
    }
}

fn check_version(archive: &Archive) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    // Real layouts lack the file, and nothing in them depends on it.
    let Some(bytes) = archive.document("oci-layout")? else {
        return Ok(());
    };
    let layout: Layout = serde_json::from_slice(&bytes)
        .map_err(|error| bad_input(format!("it is no valid JSON: {error}")))
        .context("read `oci-layout`")?;
    match layout.image_layout_version.split('.').next() {
        Some("1") => Ok(()),
        _ => {
            let version = layout.image_layout_version;
            Err(bad_input(format!(
                "the layout has the version `{version}`, only 1 is supported"
            ))
            .into())
        }
    }
}

/// Descriptors that stand for one image each: those of one name, or one that has neither name nor platform, or
/// all that have a platform only.
fn groups(index: &Index) -> Vec<(Option<&str>, Vec<&Descriptor>)> {
    let mut groups: Vec<(Option<&str>, Vec<&Descriptor>)> = Vec::new();
    let mut places: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for descriptor in &index.manifests {
        let name = descriptor
            .annotation(WHOLE_NAME)
            .or(descriptor.annotation(NAME))
            .filter(|name| !name.is_empty());
        let alone = name.is_none() && descriptor.platform.is_none();
        match places.get(&name).filter(|_| !alone) {
            Some(&place) => groups[place].1.push(descriptor),
            None => {
                if !alone {
                    places.insert(name, groups.len());
                }
                groups.push((name, vec![descriptor]));
            }
        }
    }
    groups
}

/// A name with a repository as it is; a tag alone belongs to the repository that the archive is called after.
fn reference(name: &str, stem: Option<&str>) -> Option<Reference> {
    let whole = match name.contains([':', '/']) {
        true => name.to_owned(),
        false => format!("{}:{name}", stem?.to_lowercase()),
    };
    whole.parse::<Reference>().ok().map(Reference::or_latest)
}

/// Reads the documents of a layout.
struct Reader<'a> {
    archive: &'a Archive,
    wanted: &'a Wanted<'a>,
    /// Descriptors that may still be followed.
    left: usize,
    /// What was passed by because it is no image, in words.
    passed: Vec<String>,
}

impl Reader<'_> {
    /// Collects the manifests that a descriptor leads to. They are not read yet: those of other platforms need
    /// not be here.
    fn follow(
        &mut self,
        descriptor: &Descriptor,
        depth: usize,
        manifests: &mut Vec<Descriptor>,
    ) -> Result<()> {
        if depth > DEPTH || self.left == 0 {
            return Err(bad_input("its indexes lead to more and more indexes").into());
        }
        self.left -= 1;
        let kind = &descriptor.media_type;
        if descriptor.is_attestation() {
            self.passed.push("attestations".to_owned());
        } else if !manifest::is_known(kind) {
            self.passed
                .push(format!("something of the unknown media type `{kind}`"));
        } else if manifest::is_manifest(kind) {
            manifests.push(descriptor.clone());
        } else {
            match self.document(descriptor)? {
                Document::Index(index) => {
                    for inner in &index.manifests {
                        self.follow(inner, depth + 1, manifests)?;
                    }
                }
                Document::Manifest(_) => manifests.push(descriptor.clone()),
            }
        }
        Ok(())
    }

    /// The images among the manifests that suit the wanted platform best: one of them, or all that do equally
    /// well. It is an error if there are images, and all are foreign.
    fn choose(
        &mut self,
        manifests: &[Descriptor],
        one: bool,
        names: Vec<Reference>,
    ) -> Result<Vec<Offered>> {
        let mut ranked = Vec::new();
        let mut foreign = Vec::new();
        for descriptor in manifests {
            let platform = match descriptor.platform() {
                Some(platform) => platform,
                None => match self.image(descriptor)? {
                    Some(offered) => offered.platform,
                    None => continue,
                },
            };
            match self.wanted.platform.rank(&platform) {
                Some(rank) => ranked.push((rank, descriptor)),
                None => foreign.push(platform),
            }
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        let mut chosen: Vec<Offered> = Vec::new();
        let mut best = None;
        for (rank, descriptor) in ranked {
            if best.is_some_and(|best| one || rank > best) {
                break;
            }
            if let Some(mut offered) = self.image(descriptor)? {
                self.wanted.refuse_foreign(&[&offered.platform])?;
                offered.names.clone_from(&names);
                chosen.push(offered);
                best = Some(rank);
            }
        }
        if chosen.is_empty() {
            self.wanted
                .refuse_foreign(&foreign.iter().collect::<Vec<_>>())?;
        }
        Ok(chosen)
    }

    /// The image of a manifest; `None` when it is the manifest of something else.
    fn image(&mut self, descriptor: &Descriptor) -> Result<Option<Offered>> {
        let what = format!("manifest {}", descriptor.digest);
        let Document::Manifest(manifest) = self.document(descriptor)? else {
            return Err(bad_input("it is an index, and was announced as a manifest")).context(what);
        };
        if let Some(kind) = manifest.artifact() {
            self.passed
                .push(format!("something of the media type `{kind}`"));
            return Ok(None);
        }
        manifest.check().with_context(|| what.clone())?;
        let config = blob(self.archive, &manifest.config)
            .and_then(|bytes| Ok((Config::parse(&bytes)?, bytes)))
            .with_context(|| format!("{what}: config {}", manifest.config.digest))?;
        let mut offered =
            Offered::new(config, layers(&manifest), Vec::new()).context(what.clone())?;
        let bytes = blob(self.archive, descriptor).context(what)?;
        let manifest = origin::Document::new(&descriptor.media_type, &bytes);
        offered.origin = manifest.map(|manifest| Origin {
            manifest,
            index: None,
            repository: None,
        });
        Ok(Some(offered))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Document> {
        blob(self.archive, descriptor)
            .and_then(|bytes| Document::parse(descriptor, &bytes))
            .with_context(|| format!("manifest {}", descriptor.digest))
    }
}

fn layers(manifest: &Manifest) -> Vec<Layer> {
    let layer = |descriptor: &Descriptor| Layer {
        file: path(descriptor),
        blob: Some((descriptor.digest.clone(), descriptor.size)),
        compression: Some(manifest::promised_compression(&descriptor.media_type)),
        descriptor: Some(descriptor.clone()),
    };
    manifest.layers.iter().map(layer).collect()
}

/// Where a blob lies.
fn path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}

/// A small blob, checked.
fn blob(archive: &Archive, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let path = path(descriptor);
    let bytes = archive.document(&path)?.ok_or_else(|| missing(&path))?;
    if bytes.len() as u64 != descriptor.size {
        let (expected, got) = (descriptor.size, bytes.len());
        return Err(bad_input(format!("it should be {expected} bytes long and is {got}")).into());
    }
    match Digest::of(&bytes) {
        got if got != descriptor.digest => Err(bad_input(format!(
            "its digest should be {} and is {got}",
            descriptor.digest
        ))
        .into()),
        _ => Ok(bytes),
    }
}
