//! Layers that somebody needs for a while: a build begins with them, or has found them in its cache.
//!
//! Invariant: what was held when it was there is there until the [`Hold`] is dropped.

use super::{shared, store};
use crate::paths::{Paths, staging_pins};
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use std::fs::File;

/// Keeps layers from being removed as long as it lives.
#[derive(Debug)]
pub struct Hold {
    staging: Staging,
}

impl Hold {
    /// Holds nothing yet.
    pub fn new(paths: &Paths) -> Result<Self> {
        let staging = Staging::new(&paths.staging())?;
        let pins = staging_pins(staging.path());
        std::fs::create_dir(&pins).with_context(|| format!("create `{}`", pins.display()))?;
        Ok(Self { staging })
    }

    /// Holds all of them; `false` where one is gone.
    pub fn layers<'a>(
        &self,
        paths: &Paths,
        names: impl IntoIterator<Item = &'a String>,
    ) -> Result<bool> {
        let _lock = Lock::exclusive(&paths.lock())?;
        for name in names {
            let is_there = match paths.is_elsewhere(name) {
                true => shared::hold(&paths.layer(name))?,
                false => {
                    let pin = staging_pins(self.staging.path()).join(Paths::layer_key(name));
                    File::create(&pin).with_context(|| format!("create `{}`", pin.display()))?;
                    store::layer_is_complete(&paths.layer(name))
                }
            };
            if !is_there {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
