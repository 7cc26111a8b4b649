//! `registry prune`: blobs that no manifest names go, and with `all` manifests that no tag leads to.
//!
//! A blob is pushed before the manifest that names it, so that young ones stay. While this decides, nobody adds or
//! removes anything; uploads go on.

use super::manifest::named;
use super::upload::forget_uploads;
use super::{Folder, digests_in, is_older, read_small, remove};
use crate::error::bad_input;
use crate::image::serve::digest::AnyDigest;
use crate::image::serve::name::{Name, Tag};
use crate::image::serve::storage::Storage;
use crate::paths::registry as paths;
use crate::store::atomic;
use crate::store::directory::names_if_directory;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

/// What has gone.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Manifests, as `NAME@DIGEST`.
    pub manifests: Vec<String>,
    /// Blobs whose bytes are gone.
    pub blobs: Vec<AnyDigest>,
    /// Bytes that came free.
    pub reclaimed: u64,
}

/// Removes what came before `until` and nothing needs.
pub fn prune(folder: &Folder, until: SystemTime, all: bool) -> Result<Pruned> {
    let _lock = Lock::exclusive(&folder.paths.lock())?;
    let mut pruned = Pruned::default();
    let mut kept = BTreeSet::new();
    // Inner ones first, so that a directory is empty when its turn comes.
    for (name, directory) in folder.walk()?.into_iter().rev() {
        let context = || format!("prune the repository {name}");
        prune_repository(
            folder,
            &name,
            &directory,
            until,
            all,
            &mut pruned,
            &mut kept,
        )
        .with_context(context)?;
    }
    for digest in digests_in(&folder.paths.blobs())? {
        let path = folder.blob_path(&digest);
        if !kept.contains(&digest) {
            let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            remove(&path)?;
            pruned.reclaimed += size;
            pruned.blobs.push(digest);
        }
    }
    sweep(&folder.paths.blobs())?;
    Ok(pruned)
}

fn prune_repository(
    folder: &Folder,
    name: &str,
    directory: &Path,
    until: SystemTime,
    all: bool,
    pruned: &mut Pruned,
    kept: &mut BTreeSet<AnyDigest>,
) -> Result<()> {
    // A folder of another name was not made by a registry.
    let Ok(name) = Name::parse(name) else {
        return Ok(());
    };
    let manifests = read_manifests(folder, &name, directory)?;
    let wanted = match all {
        true => reached(folder, &name, &manifests)?,
        false => manifests
            .iter()
            .map(|manifest| manifest.digest.clone())
            .collect(),
    };
    let mut needed = BTreeSet::new();
    for manifest in &manifests {
        let link = folder.manifest_link(&name, &manifest.digest);
        if wanted.contains(&manifest.digest) || !is_older(&link, until) {
            needed.extend(manifest.named.iter().cloned());
            needed.insert(manifest.digest.clone());
        } else {
            remove(&link)?;
            pruned.manifests.push(format!("{name}@{}", manifest.digest));
        }
    }
    for digest in digests_in(&paths::blobs_in(directory))? {
        let link = folder.blob_link(&name, &digest);
        match needed.contains(&digest) || !is_older(&link, until) {
            true => {
                needed.insert(digest);
            }
            false => {
                remove(&link)?;
            }
        }
    }
    kept.extend(needed);
    pruned.reclaimed += forget_uploads(directory)?;
    tidy(directory)
}

/// A manifest with what it needs.
struct Found {
    digest: AnyDigest,
    named: Vec<AnyDigest>,
    subject: Option<String>,
}

fn read_manifests(folder: &Folder, name: &Name, directory: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for digest in folder.manifests(directory)? {
        let link = folder.link(name, &digest)?;
        let bytes = read_small(&folder.blob_path(&digest))?;
        // What a manifest needs that cannot be read, nobody knows.
        let (Some(link), Some(bytes)) = (link, bytes) else {
            return Err(unreadable(&digest, "it is missing"));
        };
        let named = named(&bytes, &link.media_type)
            .map_err(|refusal| unreadable(&digest, &refusal.message))?;
        found.push(Found {
            digest,
            named,
            subject: link.subject,
        });
    }
    Ok(found)
}

fn unreadable(digest: &AnyDigest, why: &str) -> anyhow::Error {
    bad_input(format!("the manifest {digest} cannot be read: {why}"))
        .hint("push it again, after `onggi registry check --repair` where it is damaged, or delete it")
        .into()
}

/// The manifests that a tag leads to, by way of indexes, and all that refer to one of those.
fn reached(folder: &Folder, name: &Name, manifests: &[Found]) -> Result<BTreeSet<AnyDigest>> {
    let mut reached = BTreeSet::new();
    for tag in folder.tags(name)?.unwrap_or_default() {
        if let Some(tag) = Tag::parse(&tag) {
            reached.extend(folder.tagged(name, &tag)?);
        }
    }
    loop {
        let before = reached.len();
        for manifest in manifests {
            let subject = manifest
                .subject
                .as_deref()
                .and_then(|text| AnyDigest::parse(text).ok());
            if subject.is_some_and(|subject| reached.contains(&subject)) {
                reached.insert(manifest.digest.clone());
            }
            if reached.contains(&manifest.digest) {
                reached.extend(manifest.named.iter().cloned());
            }
        }
        if reached.len() == before {
            return Ok(reached);
        }
    }
}

/// Removes what killed writers left in a repository, and directories that nothing is in.
fn tidy(repository: &Path) -> Result<()> {
    for links in [paths::blobs_in(repository), paths::manifests_in(repository)] {
        sweep(&links)?;
        for inner in names_if_directory(&links)? {
            remove_if_empty(&links.join(inner));
        }
        remove_if_empty(&links);
    }
    atomic::sweep(&paths::tags_in(repository))?;
    for directory in [paths::tags_in(repository), paths::uploads_in(repository)] {
        remove_if_empty(&directory);
    }
    remove_if_empty(repository);
    Ok(())
}

/// Removes half-made files in the directories of each algorithm.
fn sweep(links: &Path) -> Result<()> {
    for algorithm in names_if_directory(links)? {
        atomic::sweep(&links.join(algorithm))?;
    }
    Ok(())
}

fn remove_if_empty(directory: &Path) {
    // It fails where something is in it, or where it is not there.
    let _ = std::fs::remove_dir(directory);
}
