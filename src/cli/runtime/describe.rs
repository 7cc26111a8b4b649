//! `runtime spec`, `runtime features`: what a configuration looks like, and what of it can be done here.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::runtime::features::features;
use crate::runtime::template;
use anyhow::Result;
use rustix::process::{getegid, geteuid};
use std::path::PathBuf;

/// Options of `runtime spec`.
#[derive(clap::Args)]
pub struct Spec {
    /// Directory of the bundle
    #[arg(short, long, value_name = "directory", default_value = ".")]
    bundle: PathBuf,
    /// One that an ordinary user can start
    #[arg(long)]
    rootless: bool,
}

impl Verb for Spec {
    fn execute(self, _: &mut Context) -> Result<u8> {
        let own = || (geteuid().as_raw(), getegid().as_raw());
        let rootless = self.rootless.then(own);
        template::write(&self.bundle, rootless)?;
        Ok(0)
    }
}

/// Options of `runtime features`.
#[derive(clap::Args)]
pub struct Features {}

impl Verb for Features {
    fn execute(self, context: &mut Context) -> Result<u8> {
        context
            .output
            .line(serde_json::to_string_pretty(&features())?)?;
        Ok(0)
    }
}
