//! `registry check`: every blob is read. Who pushes asks first whether a blob is there, and does not send it if so: one
//! whose bytes are not its own any more stays so until it is taken away.
//!
//! Nobody is in the way of this: a blob never changes but by being replaced.

use super::{Folder, digests_in, remove};
use crate::image::serve::digest::AnyDigest;
use crate::paths::registry as paths;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its bytes have another digest.
    Damaged,
    /// They had, and were taken away.
    Removed,
    /// Repositories have it, and its bytes are gone.
    Missing,
}

/// A blob, or a manifest, that cannot be given.
#[derive(Debug)]
pub struct Finding {
    /// As which it was pushed.
    pub digest: AnyDigest,
    /// What is wrong.
    pub problem: Problem,
    /// Who has it, sorted.
    pub repositories: Vec<String>,
}

/// Finds what cannot be given, sorted by digest; with `repair` damaged bytes go, so that whoever pushes sends them again.
pub fn check(folder: &Folder, repair: bool) -> Result<Vec<Finding>> {
    let mut wanted: BTreeMap<AnyDigest, BTreeSet<String>> = BTreeMap::new();
    for (name, directory) in folder.walk()? {
        let links = [paths::blobs_in(&directory), paths::manifests_in(&directory)];
        for links in links {
            for digest in digests_in(&links)? {
                wanted.entry(digest).or_default().insert(name.clone());
            }
        }
    }
    for digest in digests_in(&folder.paths.blobs())? {
        wanted.entry(digest).or_default();
    }
    let mut findings = Vec::new();
    for (digest, repositories) in wanted {
        let problem = match folder.is_whole(&digest)? {
            Some(true) => continue,
            Some(false) if !repair => Problem::Damaged,
            Some(false) => {
                let _lock = Lock::exclusive(&folder.paths.lock())?;
                // Somebody may have pushed it meanwhile.
                if folder.is_whole(&digest)? == Some(true) {
                    continue;
                }
                remove(&folder.blob_path(&digest))?;
                Problem::Removed
            }
            // Pruned meanwhile.
            None if repositories.is_empty() => continue,
            None => Problem::Missing,
        };
        findings.push(Finding {
            digest,
            problem,
            repositories: repositories.into_iter().collect(),
        });
    }
    Ok(findings)
}

impl Folder {
    /// Whether the bytes of a blob are its own; `None` where there are none.
    fn is_whole(&self, digest: &AnyDigest) -> Result<Option<bool>> {
        let path = self.blob_path(digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("open `{}`", path.display()))?,
        };
        let (found, _) = digest
            .algorithm()
            .of(&mut file)
            .with_context(|| format!("read `{}`", path.display()))?;
        Ok(Some(found == *digest))
    }
}
