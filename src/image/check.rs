//! What is inconsistent in the store of images, and mending it (`system check`).
//!
//! Looking takes no lock. What may be a change under way is looked at again under a shared lock, for which is
//! waited a moment only; mending holds the lock exclusively and finds everything anew.
//!
//! Invariant: whoever mends removes nothing that a container needs, and nothing that could be made whole.

use super::digest::{Digest, Hashing};
use super::layer;
use super::remove::{self, Users};
use super::shared;
use super::store::{self, ImageRecord, Names};
use crate::paths::{
    KEPT_BLOB, Paths, cached_in, config_in, image_record_in, journal_in, layer_record_in, tree_in,
};
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use crate::store::staging::{self, Trash};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long to wait for a change that is under way.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// One inconsistency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// One of the words of the manual.
    pub kind: &'static str,
    /// What it is about: an id, a name, a process.
    pub object: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What mending it means.
    pub repair: Repair,
}

impl Finding {
    /// One of these parts.
    pub fn new(
        kind: &'static str,
        object: &str,
        path: PathBuf,
        problem: impl Into<String>,
        repair: Repair,
    ) -> Self {
        Self {
            kind,
            object: object.to_owned(),
            path,
            problem: problem.into(),
            repair,
        }
    }
}

/// What can be done about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// `--repair` does it; the text is a clause without subject, as in `removes it`.
    Does(&'static str),
    /// Only the user can; the text says how.
    User(String),
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Findings {
    /// In no particular order.
    pub found: Vec<Finding>,
    /// Why something was left out, a sentence each.
    pub skipped: Vec<String>,
}

/// What this file finds and mends.
pub const KINDS: &[&str] = &[
    "damaged-names",
    "dangling-name",
    "damaged-image",
    "missing-layer",
    "orphan-layer",
    "damaged-blob",
    "dead-staging",
    "leftover-file",
];

const REMOVES: Repair = Repair::Does("removes it");
const LOAD_AGAIN: &str = "take the image in again with `onggi load` or `onggi import`";

/// Looks at all images, layers and names, `deep` also at every byte of the layers.
pub fn check(paths: &Paths, deep: bool, users: Users) -> Result<Findings> {
    let first = look(paths, deep, users)?;
    if first.is_empty() {
        return Ok(Findings::default());
    }
    let start = Instant::now();
    loop {
        if let Some(_unchanging) = Lock::try_shared(&paths.lock())? {
            let found = look(paths, deep, users)?;
            return Ok(Findings {
                found,
                skipped: Vec::new(),
            });
        }
        if start.elapsed() > PATIENCE {
            let reason = "images and layers: another command is changing them; try again later";
            return Ok(Findings {
                found: Vec::new(),
                skipped: vec![reason.to_owned()],
            });
        }
        std::thread::sleep(PAUSE);
    }
}

/// Mends what can be mended. What was done, with the reason where it failed.
pub fn repair(paths: &Paths, deep: bool, users: Users) -> Result<Vec<(Finding, Result<()>)>> {
    let lock = Lock::exclusive(&paths.lock())?;
    let mut done = Vec::new();
    // A removed image leaves layers, and names that lead to it: until nothing new is found.
    loop {
        let found = look(paths, deep, users)?;
        let is_new = |finding: &Finding| {
            matches!(finding.repair, Repair::Does(_))
                && !done.iter().any(|(before, _)| before == finding)
        };
        let Some(finding) = found.into_iter().find(is_new) else {
            return Ok(done);
        };
        let result = mend(paths, &finding, &lock);
        done.push((finding, result));
    }
}

fn mend(paths: &Paths, finding: &Finding, _proof: &Lock) -> Result<()> {
    match finding.kind {
        "damaged-names" => std::fs::remove_file(&finding.path)
            .with_context(|| format!("remove `{}`", finding.path.display())),
        "dangling-name" => {
            let mut names = Names::read(paths)?;
            let name = finding.object.parse()?;
            names.references.remove(&name);
            names.write_fewer(paths)
        }
        "damaged-image" if finding.repair == REWRITES => rewrite_image(paths, &finding.object),
        "damaged-image" | "missing-layer" => {
            let mut trash = Trash::new(paths.staging());
            trash.discard(&paths.image(&finding.object))?;
            atomic::sync_directory(&paths.images())
        }
        "orphan-layer" => {
            let mut trash = Trash::new(paths.staging());
            let went = trash.discard_unless_held(&finding.path)?;
            anyhow::ensure!(went, "somebody has just begun to use it");
            atomic::sync_directory(&paths.layers())
        }
        "damaged-blob" => std::fs::remove_file(&finding.path)
            .with_context(|| format!("remove `{}`", finding.path.display())),
        "dead-staging" => staging::sweep_one(&finding.path),
        "leftover-file" => {
            atomic::sweep(paths.data()).and_then(|()| atomic::sweep(&paths.images()))
        }
        _ => Ok(()),
    }
}

const REWRITES: Repair = Repair::Does("writes its record again from its config");
const LOSES_NAMES: Repair =
    Repair::Does("removes the file; the images stay and have to be named again");
const LOSES_BLOB: Repair = Repair::Does("removes it; the layer is packed anew when it is pushed");
const REMOVES_NAME: Repair = Repair::Does("removes the name");
const REMOVES_IMAGE: Repair = Repair::Does("removes the image; it can be taken in again");

fn look(paths: &Paths, deep: bool, users: Users) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    look_at_staging(paths, &mut found)?;
    for directory in [paths.data().to_owned(), paths.images()] {
        for name in remove::file_names(&directory)? {
            if atomic::is_temporary(&name) {
                let problem = "a killed command left it";
                let path = directory.join(&name);
                found.push(Finding::new("leftover-file", &name, path, problem, REMOVES));
            }
        }
    }
    // Layers before images: a layer comes before its image, which so is never seen without it.
    let layers: BTreeSet<String> = remove::file_names(&paths.layers())?.into_iter().collect();
    let ids = store::ids(paths)?;
    look_at_names(paths, &ids, &mut found);
    let damaged = damaged_layers(paths, &layers, deep);
    if deep {
        look_at_blobs(paths, &layers, &mut found)?;
    }
    let mut needed = remove::pinned(&paths.staging())?;
    let mut all_known = true;
    for id in &ids {
        match store::needed_layers(paths, id) {
            Ok(names) => needed.extend(names.iter().map(|name| Paths::layer_key(name).to_owned())),
            Err(_) => all_known = false,
        }
        look_at_image(paths, id, &layers, &damaged, users, &mut found)?;
    }
    if all_known {
        for name in layers.iter().filter(|name| !needed.contains(*name)) {
            // Who uses it in another store keeps it until he is done, and the build cache until it is pruned.
            if is_in_use(&paths.layer(name)) || cached_in(&paths.layer(name)).exists() {
                continue;
            }
            let problem = "no image has it";
            found.push(Finding::new(
                "orphan-layer",
                name,
                paths.layer(name),
                problem,
                REMOVES,
            ));
        }
    }
    Ok(found)
}

/// Whether somebody holds the lock of a layer's directory, shared or not.
fn is_in_use(directory: &Path) -> bool {
    matches!(Lock::try_directory(directory), Ok(None))
}

fn short(name: &str) -> &str {
    let key = Paths::layer_key(name);
    key.get(..12).unwrap_or(key)
}

fn look_at_staging(paths: &Paths, found: &mut Vec<Finding>) -> Result<()> {
    for name in remove::file_names(&paths.staging())? {
        let path = paths.staging().join(&name);
        if path.exists() && !Lock::is_held(&path) {
            let problem = "its maker is gone";
            found.push(Finding::new("dead-staging", &name, path, problem, REMOVES));
        }
    }
    Ok(())
}

fn look_at_names(paths: &Paths, ids: &[Digest], found: &mut Vec<Finding>) {
    match Names::read(paths) {
        Err(error) => {
            let problem = format!("{error:#}");
            found.push(Finding::new(
                "damaged-names",
                "all images",
                paths.tags(),
                problem,
                LOSES_NAMES,
            ));
        }
        Ok(names) => {
            for (name, record) in &names.references {
                if !ids.contains(&record.image) {
                    let problem = format!("image {} is not here", record.image.short());
                    let name = name.to_string();
                    found.push(Finding::new(
                        "dangling-name",
                        &name,
                        paths.tags(),
                        problem,
                        REMOVES_NAME,
                    ));
                }
            }
        }
    }
}

/// Kept blobs that are not what they are called.
fn look_at_blobs(paths: &Paths, layers: &BTreeSet<String>, found: &mut Vec<Finding>) -> Result<()> {
    for layer in layers {
        for name in remove::file_names(&paths.layer(layer))? {
            let Some(hex) = name.strip_prefix(KEPT_BLOB) else {
                continue;
            };
            let path = paths.layer(layer).join(&name);
            let mut hashing = Hashing::default();
            let read = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hashing));
            let problem = match read {
                // It has gone meanwhile.
                Err(_) if !path.exists() => continue,
                Err(error) => error.to_string(),
                Ok(_) if hashing.finish().0.hex() == hex => continue,
                Ok(_) => "it has another digest".to_owned(),
            };
            found.push(Finding::new("damaged-blob", hex, path, problem, LOSES_BLOB));
        }
    }
    Ok(())
}

/// What is wrong with each layer that something is wrong with.
fn damaged_layers(
    paths: &Paths,
    layers: &BTreeSet<String>,
    deep: bool,
) -> BTreeMap<String, (PathBuf, String)> {
    let problem = |name: &String| {
        let directory = paths.layer(name);
        let (path, error) = look_at_layer(&directory, deep).err()?;
        // One that has gone meanwhile is not damaged.
        directory
            .exists()
            .then(|| (name.clone(), (path, format!("{error:#}"))))
    };
    layers.iter().filter_map(problem).collect()
}

fn look_at_layer(directory: &Path, deep: bool) -> Result<(), (PathBuf, anyhow::Error)> {
    let at = |path: PathBuf| move |error| (path, error);
    let record = store::layer_record(directory).map_err(at(layer_record_in(directory)))?;
    if !tree_in(directory).is_dir() {
        let missing = anyhow::anyhow!("its files are missing");
        return Err((tree_in(directory), missing));
    }
    let journal = journal_in(directory);
    if !deep {
        return layer::verify(directory).map_err(at(journal));
    }
    let digest = layer::stream_tar(directory, &mut std::io::sink()).map_err(at(journal.clone()))?;
    if digest != record.diff_id {
        let differs = anyhow::anyhow!("its content is not {}", record.diff_id);
        return Err((tree_in(directory), differs));
    }
    Ok(())
}

fn look_at_image(
    paths: &Paths,
    id: &Digest,
    layers: &BTreeSet<String>,
    damaged: &BTreeMap<String, (PathBuf, String)>,
    users: Users,
    found: &mut Vec<Finding>,
) -> Result<()> {
    let hex = id.hex();
    let removal = || -> Result<Repair> {
        Ok(match users(id)?.first() {
            None => REMOVES_IMAGE,
            Some(user) => Repair::User(format!(
                "{LOAD_AGAIN}; container {} needs it",
                short(&user.container)
            )),
        })
    };
    let directory = paths.image(hex);
    let config = store::config_bytes(paths, id);
    if !config.as_ref().is_ok_and(|bytes| Digest::of(bytes) == *id) {
        if directory.exists() {
            let problem = config.map_or_else(
                |error| format!("{error:#}"),
                |_| "its config has another digest".to_owned(),
            );
            found.push(Finding::new(
                "damaged-image",
                hex,
                config_in(&directory),
                problem,
                removal()?,
            ));
        }
        return Ok(());
    }
    let names = match store::read(paths, &Names::none(), id) {
        Ok(Some(image)) => image.layers,
        Ok(None) => return Ok(()),
        Err(error) => {
            let repair = match layers_by_config(paths, id) {
                Ok(_) => REWRITES,
                Err(_) => removal()?,
            };
            let path = image_record_in(&directory);
            found.push(Finding::new(
                "damaged-image",
                hex,
                path,
                format!("{error:#}"),
                repair,
            ));
            return Ok(());
        }
    };
    for name in names {
        if let Some((path, problem)) = damaged.get(Paths::layer_key(&name)) {
            let problem = format!("layer {} is damaged: {problem}", short(&name));
            found.push(Finding::new(
                "missing-layer",
                hex,
                path.clone(),
                problem,
                removal()?,
            ));
        } else if !layers.contains(&name) && !paths.layer(&name).exists() {
            let problem = format!("layer {} is missing", short(&name));
            found.push(Finding::new(
                "missing-layer",
                hex,
                paths.layer(&name),
                problem,
                removal()?,
            ));
        }
    }
    Ok(())
}

/// The layer directories of an image and their sizes together, found without its record.
fn layers_by_config(paths: &Paths, id: &Digest) -> Result<ImageRecord> {
    let root = super::config::Config::parse(&store::config_bytes(paths, id)?)?.rootfs;
    let mut names = Vec::new();
    let mut size = 0;
    for (diff_id, chain_id) in root.diff_ids.iter().zip(root.chain_ids()) {
        let whole = |id: &&Digest| store::layer_is_whole(&paths.layer(id.hex()));
        let here = [diff_id, &chain_id].into_iter().find(whole);
        let elsewhere = || {
            let keys = [diff_id.hex(), chain_id.hex()];
            let found = shared::layer(paths, &keys, store::layer_is_whole)?;
            found.in_place.then_some(found.name)
        };
        let name = here.map(|id| id.hex().to_owned()).or_else(elsewhere);
        let name = name.with_context(|| format!("layer {} is missing", diff_id.short()))?;
        size += store::layer_record(&paths.layer(&name))?.size;
        names.push(name);
    }
    Ok(ImageRecord::new(names, size))
}

fn rewrite_image(paths: &Paths, hex: &str) -> Result<()> {
    let record = layers_by_config(paths, &format!("sha256:{hex}").parse()?)?;
    let bytes = serde_json::to_vec(&record)?;
    atomic::write(&paths.image_record(hex), &bytes, Durability::Durable)
}
