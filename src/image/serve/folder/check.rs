//! `registry check`: every blob is read. Who pushes asks first whether a blob is there, and does not send it if so: one
//! whose bytes are not its own any more stays so until it is taken away.
//!
//! Nobody is in the way of this, and this is in nobody's: a blob never changes but by being replaced.

use super::{Folder, digests_in, remove};
use crate::image::serve::digest::AnyDigest;
use crate::paths::registry as paths;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
        let problem = match folder.look(&digest)? {
            Look::Whole => continue,
            Look::Damaged(_) if !repair => Problem::Damaged,
            Look::Damaged(file) => {
                let _lock = Lock::exclusive(&folder.paths.lock())?;
                // Somebody may have pushed it meanwhile, or pruned it.
                if !is_at(&file, &folder.blob_path(&digest)) {
                    continue;
                }
                remove(&folder.blob_path(&digest))?;
                Problem::Removed
            }
            // Pruned meanwhile.
            Look::Missing if repositories.is_empty() => continue,
            Look::Missing => Problem::Missing,
        };
        findings.push(Finding {
            digest,
            problem,
            repositories: repositories.into_iter().collect(),
        });
    }
    Ok(findings)
}

/// What there is of a blob.
enum Look {
    Whole,
    /// Its bytes are not its own, or the disk does not give them any more.
    Damaged(File),
    Missing,
}

impl Folder {
    fn look(&self, digest: &AnyDigest) -> Result<Look> {
        let path = self.blob_path(digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Missing),
            file => file.with_context(|| format!("open `{}`", path.display()))?,
        };
        match digest.algorithm().of(&mut file) {
            Ok((found, _)) if found == *digest => Ok(Look::Whole),
            Ok(_) => Ok(Look::Damaged(file)),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {
                Ok(Look::Damaged(file))
            }
            Err(error) => Err(error).with_context(|| format!("read `{}`", path.display())),
        }
    }
}

/// Whether an open file is the one at a path. As long as it is open, no other has its number.
fn is_at(file: &File, path: &Path) -> bool {
    let number = |found: Metadata| (found.dev(), found.ino());
    let there = std::fs::metadata(path).map(number);
    matches!((file.metadata().map(number), there), (Ok(open), Ok(there)) if open == there)
}
