//! What `docker save` writes (image-spec of Docker, v1.2): `manifest.json` names the config and the layers of
//! each image as files of the archive.
//!
//! Archives from before Docker 1.10, which have no such file, are read by [`super::v1_archive`].

use super::archive::{Archive, missing};
use super::config::Config;
use super::digest::Digest;
use super::load::{Layer, Offered, Wanted};
use super::reference::{Reference, is_whole_id};
use crate::error::bad_input;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// An entry of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Entry {
    /// The config's file.
    pub config: String,
    /// The names of the image.
    pub repo_tags: Option<Vec<String>>,
    /// The files of the layers, lowest first.
    pub layers: Option<Vec<String>>,
}

/// Whether the archive holds one.
pub fn is_here(archive: &Archive) -> Result<bool> {
    Ok(archive.file("manifest.json")?.is_some())
}

/// The images of an archive, none of them foreign to what is wanted.
pub fn images(archive: &Archive, wanted: &Wanted) -> Result<Vec<Offered>> {
    let bytes = archive
        .document("manifest.json")?
        .ok_or_else(|| missing("manifest.json"))?;
    let entries: Vec<Entry> = serde_json::from_slice(&bytes)
        .map_err(|error| bad_input(format!("it is no list of images: {error}")))
        .context("read `manifest.json`")?;
    if entries.is_empty() {
        return Err(bad_input("there is no image in its `manifest.json`").into());
    }
    entries
        .into_iter()
        .map(|entry| image(archive, wanted, entry))
        .collect()
}

fn image(archive: &Archive, wanted: &Wanted, entry: Entry) -> Result<Offered> {
    let what = || format!("config `{}`", entry.config);
    let config = archive
        .document(&entry.config)
        .and_then(|bytes| bytes.ok_or_else(|| missing(&entry.config).into()))
        .and_then(|bytes| check_name(&entry.config, &bytes).map(|()| bytes))
        .and_then(|bytes| Ok((Config::parse(&bytes)?, bytes)))
        .with_context(what)?;
    let layer = |file: String| Layer {
        file,
        blob: None,
        compression: None,
        descriptor: None,
    };
    let layers = entry
        .layers
        .unwrap_or_default()
        .into_iter()
        .map(layer)
        .collect();
    let names = names(entry.repo_tags.unwrap_or_default())?;
    let offered = Offered::new(config, layers, names).with_context(what)?;
    wanted.refuse_foreign(&[&offered.platform])?;
    Ok(offered)
}

/// A file that is called by a digest, as Docker's are, must have it.
fn check_name(file: &str, bytes: &[u8]) -> Result<()> {
    let stem = file.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let got = Digest::of(bytes);
    match is_whole_id(stem) && stem != got.hex() {
        true => Err(bad_input(format!("its digest should be sha256:{stem} and is {got}")).into()),
        false => Ok(()),
    }
}

/// Reads the names of an image.
pub fn names(texts: Vec<String>) -> Result<Vec<Reference>> {
    let read = |text: String| {
        let name = text
            .parse::<Reference>()
            .map_err(|error| bad_input(format!("name `{text}`: {error}")))?;
        Ok(name.or_latest())
    };
    texts.into_iter().map(read).collect()
}
