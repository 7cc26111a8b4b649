//! What the steps of a build have come to goes to other machines: into a registry, or a directory.
//!
//! Invariant: as for outputs, whoever the caller is to a registry is found out before the process becomes root of the store's
//! user namespace.

use super::outputs::all;
use crate::build::cache::portable::Steps;
use crate::build::output::cache::{CacheOutput, Destination, made};
use crate::cli::output::build::Progress;
use crate::container::engine::Engine;
use crate::image::copy::copy;
use crate::image::copy::layout::{Directory, NAME};
use crate::image::copy::registry::Registry;
use crate::image::registry::Options;
use crate::progress::Silent;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A place that a cache goes to.
pub struct CacheTarget {
    output: CacheOutput,
    place: Place,
}

enum Place {
    Local(PathBuf, String),
    Registry(Box<Registry>),
}

/// Finds out where they are and who we are there; asks nobody yet.
pub fn open(outputs: Vec<CacheOutput>, options: &Options) -> Result<Vec<CacheTarget>> {
    let target = |output: CacheOutput| {
        let place = match &output.destination {
            Destination::Local(path, tag) => Place::Local(path.clone(), tag.clone()),
            Destination::Registry { name, tls_verify } => {
                let options = Options {
                    tls_verify: tls_verify.or(options.tls_verify),
                    ..options.clone()
                };
                let registry = Registry::open_to_push(name, &name.to_string(), &options)?;
                Place::Registry(Box::new(registry))
            }
        };
        Ok(CacheTarget { output, place })
    };
    outputs.into_iter().map(target).collect()
}

impl CacheTarget {
    /// Writes it; gives what the user should know where that it cannot be written is no error.
    pub fn write(
        &self,
        engine: &Engine,
        steps: &Steps,
        progress: &mut Progress<'_>,
    ) -> Result<Option<String>> {
        let what = match self.place {
            Place::Registry(_) => "exporting cache to registry",
            Place::Local(..) => "exporting cache to client directory",
        };
        let written = progress.step(what, |tell| self.export(engine, steps, tell));
        match written {
            Err(error) if self.output.ignore_error => Ok(Some(format!("{what}: {error:#}"))),
            written => written.map(|()| None),
        }
    }

    fn export(&self, engine: &Engine, steps: &Steps, tell: &mut dyn FnMut(&str)) -> Result<()> {
        let made = made(&engine.paths, steps, &self.output)?;
        tell("preparing build cache for export");
        let top = match &self.place {
            Place::Registry(registry) => copy(&made, &**registry, &all(), &Silent)?,
            Place::Local(path, tag) => {
                let called = BTreeMap::from([(NAME.to_owned(), tag.clone())]);
                let directory = Directory::open(path.clone(), called)?;
                copy(&made, &directory, &all(), &Silent)?
            }
        };
        tell(&format!("writing cache image manifest {}", top.digest));
        Ok(())
    }
}
