//! The images that are here: reading the records and finding one by what a user calls it.
//!
//! Takes no lock: an image and its layers are renamed into place before a name points to them, and a name goes
//! before they do. How they come is in [`super::intake`], how they go in [`super::remove`].

use super::config::Config;
use super::digest::Digest;
use super::reference::{Reference, is_whole_id};
use super::shared;
use crate::error::{self, Error, Kind, bad_input, not_found};
use crate::paths::{self, Paths};
use crate::store::atomic::{self, Durability};
use crate::store::damage::{self, damaged};
use crate::store::directory;
use crate::sys::identity::boot_id;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The largest config, manifest or index that is read, in bytes; registries draw the line at 4 MiB.
pub const DOCUMENT_LIMIT: u64 = 8 << 20;
pub(super) const VERSION: u32 = 1;

/// An image as the rest of the program sees it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its config.
    pub id: Digest,
    /// The config, read.
    pub config: Config,
    /// The names of its layer directories ([`Paths::layer`]), lowest first.
    pub layers: Vec<String>,
    /// The names that point to it, with tag or with digest, sorted.
    pub names: Vec<Reference>,
    /// When it was made, by its own word.
    pub created: Option<Timestamp>,
    /// Bytes of the files in all its layers.
    pub size: u64,
    /// When a name was last given to it here.
    pub last_tagged: Option<Timestamp>,
    /// The other store that it lies in ([`super::shared`]).
    pub store: Option<PathBuf>,
    /// For one that lies here: the names that lead to it in other stores, and nowhere else before.
    pub names_elsewhere: Vec<Reference>,
}

impl Image {
    /// The names with a tag.
    pub fn tags(&self) -> impl Iterator<Item = &Reference> {
        self.names.iter().filter(|name| name.tag().is_some())
    }

    /// Whether no name with a tag leads to it.
    pub fn is_dangling(&self) -> bool {
        let mut names = self.names.iter().chain(&self.names_elsewhere);
        !names.any(|name| name.tag().is_some())
    }

    /// The names with a digest.
    pub fn digests(&self) -> impl Iterator<Item = &Reference> {
        self.names.iter().filter(|name| name.digest().is_some())
    }
}

/// `images/ID/image.json`: what the config does not say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub version: u32,
    pub layers: Vec<String>,
    pub size: u64,
}

impl ImageRecord {
    pub fn new(layers: Vec<String>, size: u64) -> Self {
        Self {
            version: VERSION,
            layers,
            size,
        }
    }
}

/// `layers/NAME/layer.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub version: u32,
    pub diff_id: Digest,
    pub size: u64,
    pub tar_size: u64,
    /// Whether it hides something by attributes that only the overlays of stores like this one look for; those of
    /// earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<bool>,
}

/// `images/tags.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Names {
    pub version: u32,
    pub references: BTreeMap<Reference, NameRecord>,
}

/// What a name points to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NameRecord {
    pub image: Digest,
    /// Since when, RFC 3339.
    pub tagged: String,
}

impl Names {
    /// No names at all.
    pub fn none() -> Self {
        Self {
            version: VERSION,
            references: BTreeMap::new(),
        }
    }

    /// The names of a store; none where nothing was ever stored.
    pub fn read(paths: &Paths) -> Result<Self> {
        let read = |path: &Path| read_record(path, |names: &Self| names.version);
        let found = match read(&paths.tags())? {
            None => read(&paths.old_tags())?,
            found => found,
        };
        Ok(found.unwrap_or_else(Self::none))
    }

    /// Likewise; names that cannot be read are noted and none, for whoever only looks.
    pub fn read_or_note(paths: &Paths) -> Self {
        Self::read(paths).unwrap_or_else(|error| {
            damage::note("the names of all images are lost", &error);
            Self::none()
        })
    }

    /// Replaces the names of a store; the caller holds its lock.
    pub fn write(&self, paths: &Paths) -> Result<()> {
        atomic::sweep(&paths.images())?;
        atomic::write(
            &paths.tags(),
            &serde_json::to_vec(self)?,
            Durability::Durable,
        )?;
        match std::fs::remove_file(paths.old_tags()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove `{}`", paths.old_tags().display()))
            }
            _ => Ok(()),
        }
    }

    /// Likewise where some have gone: on a disk that has no room for a second file, into the one that is there.
    pub fn write_fewer(&self, paths: &Paths) -> Result<()> {
        match self.write(paths) {
            Err(error) if atomic::is_full(&error) => {
                atomic::overwrite(&paths.tags(), serde_json::to_vec(self)?).context(error)
            }
            written => written,
        }
    }

    /// The names of one image, in no particular order.
    pub fn of<'a>(
        &'a self,
        id: &'a Digest,
    ) -> impl Iterator<Item = (&'a Reference, &'a NameRecord)> {
        self.references
            .iter()
            .filter(move |(_, record)| record.image == *id)
    }
}

/// The image a user means by a name, a whole id with or without `sha256:`, or a prefix of one that no other
/// has. A name wins over a prefix. Docker's own words where there is none. Other stores are looked into after this one.
pub fn find(paths: &Paths, name: &str) -> Result<Image> {
    match find_here(paths, name) {
        Err(error) if error::kind(&error) == Some(Kind::NotFound) => {
            shared::find(paths, name)?.ok_or(error)
        }
        found => found,
    }
}

/// Likewise in this store alone.
pub(super) fn find_here(paths: &Paths, name: &str) -> Result<Image> {
    let names = Names::read_or_note(paths);
    let id = resolve(paths, &names, name)?;
    read(paths, &names, &id)?.ok_or_else(|| no_such_image(name).into())
}

/// The layers of an image (lowest first) as an overlay takes them: uppermost first, each once.
///
/// The kernel refuses a directory that is named twice (ELOOP), and empty layers are often the same. The upper of two
/// equal layers does again whatever the lower one did, so the lower one is left out.
pub fn overlay_order(layers: &[String]) -> Vec<&String> {
    let mut order: Vec<&String> = Vec::with_capacity(layers.len());
    for layer in layers.iter().rev() {
        let key = Paths::layer_key(layer);
        if !order.iter().any(|above| Paths::layer_key(above) == key) {
            order.push(layer);
        }
    }
    order
}

/// All images, those of other stores too, in no particular order. One whose records are damaged is left out and noted.
pub fn list(paths: &Paths) -> Result<Vec<Image>> {
    let mut images = list_here(paths)?;
    shared::add(paths, &mut images);
    Ok(images)
}

/// Likewise those of this store alone.
pub(super) fn list_here(paths: &Paths) -> Result<Vec<Image>> {
    let names = Names::read_or_note(paths);
    let mut images = Vec::new();
    for id in ids(paths)? {
        match read(paths, &names, &id) {
            Ok(found) => images.extend(found),
            Err(error) => damage::note(format_args!("image {} is left out", id.short()), &error),
        }
    }
    Ok(images)
}

/// The image's own config, byte for byte.
pub fn config_bytes(paths: &Paths, id: &Digest) -> Result<Vec<u8>> {
    let path = paths.image_config(id.hex());
    if let Some(bytes) = read_document(&path)? {
        return Ok(bytes);
    }
    let elsewhere = paths.image_stores().iter().find_map(|store| {
        read_document(&store.paths().image_config(id.hex()))
            .ok()
            .flatten()
    });
    // Only what this store has was checked when it came.
    elsewhere
        .filter(|bytes| Digest::of(bytes) == *id)
        .ok_or_else(|| not_found(format!("`{}` is missing", path.display())).into())
}

pub(super) fn resolve(paths: &Paths, names: &Names, name: &str) -> Result<Digest> {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    if is_whole_id(hex) {
        return Ok(format!("sha256:{hex}").parse()?);
    }
    let reference = match name.starts_with("sha256:") {
        true => None,
        false => Some(name.parse::<Reference>()),
    };
    if let Some(Ok(reference)) = &reference
        && let Some(record) = names.references.get(&as_stored(reference.clone()))
    {
        return Ok(record.image.clone());
    }
    if !hex.is_empty()
        && hex
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    {
        let mut fitting = ids(paths)?
            .into_iter()
            .filter(|id| id.hex().starts_with(hex));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => return Ok(id),
            (Some(_), Some(_)) => {
                let message = format!("multiple IDs found with provided prefix: {hex}");
                return Err(Error::new(Kind::BadInput, message)
                    .hint("more digits of the id")
                    .into());
            }
            (None, _) => {}
        }
    }
    match reference {
        Some(Err(error)) => Err(error.into()),
        _ => Err(no_such_image(name).into()),
    }
}

/// The key a reference has in `images/tags.json`: a digest makes the tag beside it superfluous.
pub(super) fn as_stored(reference: Reference) -> Reference {
    match reference.digest() {
        Some(digest) => reference.with_digest(digest.clone()),
        None => reference.or_latest(),
    }
}

/// Docker's words, with the name completed.
pub fn no_such_image(name: &str) -> Error {
    let shown = name
        .parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |name| name.or_latest().to_string());
    not_found(format!("No such image: {shown}"))
}

pub(super) fn ids(paths: &Paths) -> Result<Vec<Digest>> {
    let names = directory::names(&paths.images())?.into_iter();
    let ids = names.filter_map(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
    Ok(ids.collect())
}

/// `None` when it is not here, or has just gone.
pub(super) fn read(paths: &Paths, names: &Names, id: &Digest) -> Result<Option<Image>> {
    let (record_path, config_path) = (paths.image_record(id.hex()), paths.image_config(id.hex()));
    let Some(record) = read_image_record(paths, id)? else {
        return gone_or_missing(paths, id, &record_path);
    };
    let Some(bytes) = read_document(&config_path)? else {
        return gone_or_missing(paths, id, &config_path);
    };
    let config =
        Config::parse(&bytes).map_err(|error| damaged(&config_path, format_args!("{error:#}")))?;
    let last_tagged = names
        .of(id)
        .filter_map(|(_, record)| record.tagged.parse().ok())
        .max();
    let mut names: Vec<Reference> = names.of(id).map(|(name, _)| name.clone()).collect();
    names.sort_by_key(Reference::to_string);
    Ok(Some(Image {
        id: id.clone(),
        created: config.created(),
        config,
        layers: record.layers,
        names,
        size: record.size,
        last_tagged,
        store: None,
        names_elsewhere: Vec::new(),
    }))
}

/// What is known of an image whose records are damaged: enough to take it away.
pub(super) fn remains(names: &Names, id: &Digest) -> Image {
    Image {
        id: id.clone(),
        config: Config::default(),
        layers: Vec::new(),
        names: names.of(id).map(|(name, _)| name.clone()).collect(),
        created: None,
        size: 0,
        last_tagged: None,
        store: None,
        names_elsewhere: Vec::new(),
    }
}

/// The layers that an image may need. Where its record is damaged, its config tells them under every name they may
/// have; where that is damaged too, nobody knows.
pub(super) fn needed_layers(paths: &Paths, id: &Digest) -> Result<Vec<String>> {
    let error = match read_image_record(paths, id) {
        Ok(Some(record)) => return Ok(record.layers),
        Ok(None) if !paths.image(id.hex()).exists() => return Ok(Vec::new()),
        Ok(None) => damaged(&paths.image_record(id.hex()), "it is missing").into(),
        Err(error) => error,
    };
    let bytes = config_bytes(paths, id).unwrap_or_default();
    if Digest::of(&bytes) != *id {
        return Err(error);
    }
    let root = Config::parse(&bytes)?.rootfs;
    let ids = root.diff_ids.iter().cloned().chain(root.chain_ids());
    Ok(ids.map(|id| id.hex().to_owned()).collect())
}

/// An image comes and goes with all its files at once; one that lacks a single file is damaged.
fn gone_or_missing(paths: &Paths, id: &Digest, file: &Path) -> Result<Option<Image>> {
    match paths.image(id.hex()).exists() && !file.exists() {
        true => Err(damaged(file, "it is missing").into()),
        false => Ok(None),
    }
}

pub(super) fn read_image_record(paths: &Paths, id: &Digest) -> Result<Option<ImageRecord>> {
    read_record(&paths.image_record(id.hex()), |record: &ImageRecord| {
        record.version
    })
}

/// Bytes of the files of a layer.
pub fn layer_size(directory: &Path) -> Result<u64> {
    Ok(layer_record(directory)?.size)
}

/// The length of a layer's tar in bytes.
pub fn tar_size(directory: &Path) -> Result<u64> {
    Ok(layer_record(directory)?.tar_size)
}

/// What we know of the layer in a directory.
pub(super) fn layer_record(directory: &Path) -> Result<LayerRecord> {
    let path = paths::layer_record_in(directory);
    read_record(&path, |record: &LayerRecord| record.version)?
        .ok_or_else(|| damaged(&path, "it is missing").into())
}

/// Whether a layer has all its parts and files, of the length they should have; what is in them is for
/// `onggi system check --deep`.
pub(super) fn layer_is_whole(directory: &Path) -> bool {
    layer_is_complete(directory) && super::layer::verify(directory).is_ok()
}

/// Whether a layer has all its parts, whatever is in them.
pub(super) fn layer_is_complete(directory: &Path) -> bool {
    layer_record(directory).is_ok()
        && paths::tree_in(directory).is_dir()
        && paths::journal_in(directory).is_file()
        && !was_cut_off(directory)
}

/// Whether a layer was made for the time being ([`super::intake::Intake::commit_for_now`]) and the machine has gone down
/// since: what of it is on the disk nobody knows.
fn was_cut_off(directory: &Path) -> bool {
    match std::fs::read_to_string(paths::unsynced_in(directory)) {
        Err(error) => error.kind() != ErrorKind::NotFound,
        Ok(boot) => boot_id().is_ok_and(|now| boot != now),
    }
}

/// Reads one of our own records; `None` when there is no such file.
pub(super) fn read_record<T: for<'de> Deserialize<'de>>(
    path: &Path,
    version: impl Fn(&T) -> u32,
) -> Result<Option<T>> {
    let Some(bytes) = read_document(path)? else {
        return Ok(None);
    };
    let record: T = serde_json::from_slice(&bytes).map_err(|error| damaged(path, error))?;
    match version(&record) {
        VERSION => Ok(Some(record)),
        other => Err(bad_input(format!(
            "`{}` has version {other}, not {VERSION}",
            path.display()
        ))
        .hint("use the newer onggi that wrote it")
        .into()),
    }
}

/// The bytes of a small file; `None` when there is none.
pub(super) fn read_document(path: &Path) -> Result<Option<Vec<u8>>> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut bytes = Vec::new();
    // In a store of somebody else it may be a pipe, which nobody writes to.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    match options.open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        file => file
            .and_then(|file| file.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes))
            .with_context(|| format!("read `{}`", path.display()))?,
    };
    match bytes.len() as u64 > DOCUMENT_LIMIT {
        true => Err(bad_input(format!(
            "`{}` is larger than {DOCUMENT_LIMIT} bytes",
            path.display()
        ))
        .into()),
        false => Ok(Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_comes_twice_stays_at_its_upper_place() {
        let layers = ["a", "e", "b", "e", "c"].map(str::to_owned);
        assert_eq!(overlay_order(&layers), ["c", "e", "b", "a"]);
    }
}
