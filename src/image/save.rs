//! `save`: writes images as Docker has since version 25: an OCI layout (image-layout.md) with `manifest.json` and
//! `repositories` beside it, in one tar archive that older readers of either kind understand.
//!
//! Layers are streamed out of the store, not compressed, each once. The same images give the same bytes.

use super::config::Config;
use super::copy::layout::{NAME, VERSION, WHOLE_NAME};
use super::digest::Digest;
use super::docker_archive::Entry;
use super::layer;
use super::manifest::{self, Descriptor, Index, Manifest};
use super::platform::Platform;
use super::reference::Reference;
use super::store::{self, Image, Names};
use super::tar_writer::{Tar, blob};
use crate::error::bad_input;
use crate::paths::Paths;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::Write;

/// An image with the names that it is to have in the archive.
struct Selected {
    image: Image,
    names: Vec<Reference>,
}

/// Writes the images that `names` mean: a name with tag is that image, a name without one all tags of the
/// repository, an id the image without any name. Any image that is not for `platform` is an error.
pub fn save(
    paths: &Paths,
    names: &[String],
    platform: Option<&Platform>,
    out: &mut dyn Write,
) -> Result<()> {
    let selected = select(paths, names)?;
    for Selected { image, .. } in &selected {
        let found = image.config.platform();
        if let Some(platform) = platform.filter(|platform| **platform != found) {
            return Err(bad_input(format!(
                "image {} is for {found}, not for {platform}",
                image.id.short()
            ))
            .into());
        }
    }
    let mut tar = Tar::new(out)?;
    let mut entries = Vec::new();
    let mut descriptors = Vec::new();
    let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for Selected { image, names } in &selected {
        let context = || format!("save image {}", image.id.short());
        let (descriptor, entry) =
            write_image(paths, image, names, &mut tar).with_context(context)?;
        descriptors.extend(named(&descriptor, names));
        let top = image
            .config
            .rootfs
            .diff_ids
            .last()
            .unwrap_or(&image.id)
            .hex();
        for name in names {
            let tags = repositories.entry(name.repository()).or_default();
            tags.insert(name.tag().unwrap_or_default().to_owned(), top.to_owned());
        }
        entries.push(entry);
    }
    tar.file("index.json", &serde_json::to_vec(&Index::new(descriptors))?)?;
    tar.file("manifest.json", &serde_json::to_vec(&entries)?)?;
    tar.file("oci-layout", VERSION)?;
    if !repositories.is_empty() {
        tar.file("repositories", &serde_json::to_vec(&repositories)?)?;
    }
    tar.end()
}

fn select(paths: &Paths, asked: &[String]) -> Result<Vec<Selected>> {
    let names = Names::read(paths)?;
    let mut selected: Vec<Selected> = Vec::new();
    for text in asked {
        for (id, name) in meant(paths, &names, text)? {
            let place = match selected.iter().position(|selected| selected.image.id == id) {
                Some(place) => place,
                None => {
                    let image = match store::read(paths, &names, &id)? {
                        Some(image) => image,
                        None => store::find(paths, &id.to_string())
                            .map_err(|_| store::no_such_image(text))?,
                    };
                    selected.push(Selected {
                        image,
                        names: Vec::new(),
                    });
                    selected.len() - 1
                }
            };
            let known = &mut selected[place].names;
            known.extend(name.filter(|name| !known.contains(name)));
        }
    }
    Ok(selected)
}

fn meant(paths: &Paths, names: &Names, text: &str) -> Result<Vec<(Digest, Option<Reference>)>> {
    let asked = text.parse::<Reference>().ok();
    if let Some(asked) = asked
        .as_ref()
        .filter(|asked| asked.tag().is_none() && asked.digest().is_none())
    {
        let of_repository: Vec<_> = names
            .references
            .iter()
            .filter(|(name, _)| name.same_repository(asked) && name.tag().is_some())
            .map(|(name, record)| (record.image.clone(), Some(name.clone())))
            .collect();
        if !of_repository.is_empty() {
            return Ok(of_repository);
        }
    }
    let is_known = |image: &Image, name: &Reference| {
        let mut known = image.names.iter().chain(&image.names_elsewhere);
        name.tag().is_some() && known.any(|known| known == name)
    };
    let image = store::find(paths, text)?;
    let name = asked
        .map(store::as_stored)
        .filter(|name| is_known(&image, name));
    Ok(vec![(image.id, name)])
}

/// Writes the blobs of one image.
fn write_image(
    paths: &Paths,
    image: &Image,
    names: &[Reference],
    tar: &mut Tar<&mut dyn Write>,
) -> Result<(Descriptor, Entry)> {
    let config = store::config_bytes(paths, &image.id)?;
    let diff_ids = Config::parse(&config)?.rootfs.diff_ids;
    let mut layers = Vec::new();
    for (directory, diff_id) in image.layers.iter().zip(&diff_ids) {
        let size = write_layer(tar, paths, directory, diff_id)?;
        layers.push(Descriptor {
            digest: diff_id.clone(),
            size,
            ..Descriptor::of(manifest::OCI_LAYER, b"")
        });
    }
    let entry = Entry {
        config: blob(&image.id),
        repo_tags: Some(names.iter().map(ToString::to_string).collect()),
        layers: Some(diff_ids.iter().map(blob).collect()),
    };
    tar.blob(&config)?;
    let manifest = serde_json::to_vec(&Manifest::new(
        Descriptor::of(manifest::OCI_CONFIG, &config),
        layers,
    ))?;
    tar.blob(&manifest)?;
    Ok((Descriptor::of(manifest::OCI_MANIFEST, &manifest), entry))
}

/// One descriptor for each name, or one without a name.
fn named(descriptor: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    let with_name = |name: &Reference| Descriptor {
        annotations: Some(BTreeMap::from([
            (WHOLE_NAME.to_owned(), name.canonical()),
            (NAME.to_owned(), name.tag().unwrap_or_default().to_owned()),
        ])),
        ..descriptor.clone()
    };
    match names {
        [] => vec![descriptor.clone()],
        names => names.iter().map(with_name).collect(),
    }
}

/// Streams a layer out of the store; returns the size of its tar in bytes.
fn write_layer(
    tar: &mut Tar<&mut dyn Write>,
    paths: &Paths,
    directory: &str,
    diff_id: &Digest,
) -> Result<u64> {
    let directory = paths.layer(directory);
    let size = store::layer_record(&directory)?.tar_size;
    tar.blob_of(diff_id, size, |out| {
        let context = || format!("stream the layer `{}`", directory.display());
        let got = layer::stream_tar(&directory, out).with_context(context)?;
        if got != *diff_id {
            let message =
                format!("it gives {got} instead of {diff_id}: its files were changed in the store");
            return Err(anyhow::anyhow!(message)).with_context(context);
        }
        Ok(())
    })?;
    Ok(size)
}
