//! What all commands that speak to registries take, and the names they are given.

use crate::cli::Context;
use crate::image::reference::Reference;
use crate::image::registry::Options;
use crate::image::registry::credentials::Files;
use crate::settings::Settings;
use anyhow::Result;
use std::path::PathBuf;

/// Options of all of them.
#[derive(clap::Args)]
pub struct RegistryFlags {
    /// Read credentials from this file only
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Take certificates of the registry from this directory
    #[arg(long, value_name = "string")]
    cert_dir: Option<PathBuf>,
    /// Insist on TLS and its certificates, or do not (default: as registries.conf says)
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

impl RegistryFlags {
    /// What the library takes.
    pub fn options(self, context: &Context) -> Result<Options> {
        Ok(Options {
            files: Files {
                directory: context.globals.config.clone(),
                file: self.authfile,
            },
            tls_verify: self.tls_verify,
            certificates: self.cert_dir,
            silence: Settings::load()?.registry_timeout,
        })
    }
}

/// A name without tag and digest means the tag `latest`; whether it had neither.
pub fn complete(name: &str) -> Result<(Reference, bool)> {
    let reference: Reference = name.parse()?;
    let bare = reference.tag().is_none() && reference.digest().is_none();
    Ok((reference.or_latest(), bare))
}
