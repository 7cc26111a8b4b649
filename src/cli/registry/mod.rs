//! `registry`: images for others, by [`crate::image::serve`].

pub mod check;
pub mod prune;
pub mod serve;

use crate::cli::Context;
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// The folder that is named, or that of the store.
fn folder(context: &mut Context, storage: Option<PathBuf>) -> Result<PathBuf> {
    match storage {
        // A server of a folder of its own needs no store.
        Some(folder) => std::path::absolute(&folder)
            .with_context(|| format!("find the current directory for `{}`", folder.display())),
        None => Ok(context.engine()?.paths.registry()),
    }
}
