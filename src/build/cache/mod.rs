//! What steps have come to, by their keys: a record for each, which keeps its layer in the store.
//!
//! A key is a digest of everything that a step depends on, contents rather than times ([`super::graph::key`]), so that all
//! projects of a user share one cache. Two builds that come to the same step at the same time do it once: whoever has the
//! lock of its key does it, and the other finds what came of it.
//!
//! Invariant: a record whose layer has gone is none. Nothing is lost with a record but time.

pub mod import;
pub mod lock;
pub mod mount;
pub mod portable;
pub mod prune;

use super::worker::order::Layer;
use crate::image::config::chain_id;
use crate::image::digest::Digest;
use crate::image::hold::Hold;
use crate::paths::Paths;
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// What a record is called that keeps the time of a Dockerfile.
const DEFINITION: &str = "local source for dockerfile";

/// What a step has come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// What it has made; `None`: it has changed nothing.
    pub layer: Option<Layer>,
    /// Seconds since 1970 that its files, and its entry in the history, are at most old.
    pub epoch: i64,
    /// What it was.
    pub description: String,
    /// The key of the step below, if that is none of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// When it was last found, seconds since 1970.
    pub last_used: Option<i64>,
    /// How often it was found.
    pub uses: u64,
}

/// In place of a record: the step is the same as that of another key, which has one.
#[derive(Serialize, Deserialize)]
struct Alias {
    same_as: Digest,
}

/// What stands in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Record(Box<Record>),
    Alias(Alias),
}

impl Written {
    fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            // What means nothing is nothing.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read `{}`", path.display())),
        }
    }
}

impl Record {
    /// Of a step that was just done.
    pub fn new(
        layer: Option<Layer>,
        epoch: i64,
        description: &str,
        parent: Option<Digest>,
    ) -> Self {
        Self {
            version: VERSION,
            layer,
            epoch,
            description: description.to_owned(),
            parent,
            created: Timestamp::now().as_second(),
            last_used: None,
            uses: 0,
        }
    }
}

/// A record that was looked for.
#[derive(Debug)]
pub struct Found {
    /// The key that it has, which may be another than that it was found by.
    pub key: Digest,
    /// What it says.
    pub record: Record,
}

/// The records of a store.
#[derive(Debug)]
pub struct Cache<'a> {
    paths: &'a Paths,
    hold: &'a Hold,
    /// What steps come to is remembered.
    remembers: bool,
    /// Shared: whoever removes layers without a record knows that there may be one soon.
    _lock: Lock,
}

impl<'a> Cache<'a> {
    /// Layers that are found are held by `hold`.
    pub fn open(paths: &'a Paths, hold: &'a Hold) -> Result<Self> {
        for directory in [paths.build_records(), paths.build_locks()] {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("create `{}`", directory.display()))?;
        }
        Ok(Self {
            paths,
            hold,
            remembers: true,
            _lock: Lock::shared_directory(&paths.build_records())?,
        })
    }

    /// Likewise one that remembers nothing.
    pub fn forgetful(paths: &'a Paths, hold: &'a Hold) -> Result<Self> {
        Ok(Self {
            remembers: false,
            ..Self::open(paths, hold)?
        })
    }

    /// What a step came to when it was done before; its layer is held from now on.
    pub fn find(&self, key: &Digest) -> Result<Option<Found>> {
        let mut key = key.clone();
        let mut written = Written::read(&self.path(&key))?;
        if let Some(Written::Alias(Alias { same_as })) = written {
            key = same_as;
            written = Written::read(&self.path(&key))?;
        }
        let mut record = match written {
            Some(Written::Record(record)) if record.version == VERSION => record,
            _ => return Ok(None),
        };
        let names = record.layer.iter().map(|layer| &layer.name);
        if !self.hold.layers(self.paths, names)? {
            return Ok(None);
        }
        record.last_used = Some(Timestamp::now().as_second());
        record.uses += 1;
        // That it was used is worth no failure.
        let _ = self.write(&key, &record);
        Ok(Some(Found {
            key,
            record: *record,
        }))
    }

    /// Remembers what a step has come to; its layer is held from now on. `false` where that is gone already.
    pub fn add(&self, key: &Digest, record: &Record) -> Result<bool> {
        let names = record.layer.iter().map(|layer| &layer.name);
        if !self.hold.layers(self.paths, names)? {
            return Ok(false);
        }
        if self.remembers {
            self.write(key, record)?;
        }
        Ok(true)
    }

    /// Remembers that a step is the same as one that has a record.
    pub fn alias(&self, key: &Digest, same_as: &Digest) -> Result<()> {
        let same_as = same_as.clone();
        match self.remembers {
            true => self.write(key, &Alias { same_as }),
            false => Ok(()),
        }
    }

    /// When a Dockerfile was last changed, in seconds since 1970, as of the first build with it: that it was touched since
    /// means nothing. `key` is its [`definition_key`]; `elsewhere` is what another machine says.
    pub fn first_seen(&self, key: &Digest, elsewhere: Option<i64>, time: i64) -> Result<i64> {
        if let Some(found) = self.find(key)? {
            return Ok(found.record.epoch);
        }
        if let Some(time) = elsewhere {
            return Ok(time);
        }
        let record = Record::new(None, time, DEFINITION, None);
        self.add(key, &record)?;
        Ok(time)
    }

    /// The name of a layer above `below` that is here, whoever has made it; it is held from now on.
    pub fn layer(&self, below: Option<&Digest>, diff_id: &Digest) -> Result<Option<String>> {
        if let Some(found) = self.find(&imported_key(below, diff_id))? {
            return Ok(found.record.layer.map(|layer| layer.name));
        }
        for digest in [diff_id, &chain_id(below, diff_id)] {
            let name = digest.hex().to_owned();
            if self.hold.layers(self.paths, [&name])? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Keeps a layer that another machine has made, under a key that no step has; `false` where it is gone already.
    pub fn keep_imported(&self, below: Option<&Digest>, record: &Record) -> Result<bool> {
        match &record.layer {
            Some(layer) => self.add(&imported_key(below, &layer.diff_id), record),
            None => Ok(true),
        }
    }

    fn write(&self, key: &Digest, written: &impl Serialize) -> Result<()> {
        atomic::write(
            &self.path(key),
            &serde_json::to_vec(written)?,
            Durability::Volatile,
        )
    }

    fn path(&self, key: &Digest) -> PathBuf {
        self.paths.build_records().join(key.hex())
    }
}

/// The key of when a Dockerfile with this content was first seen.
pub fn definition_key(content: &Digest) -> Digest {
    Digest::of(format!("Dockerfile {content}").as_bytes())
}

fn imported_key(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    Digest::of(format!("imported {}", chain_id(below, diff_id)).as_bytes())
}
