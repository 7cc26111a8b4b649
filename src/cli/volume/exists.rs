//! `volume exists`: the exit code says whether there is such a volume.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::volume;
use anyhow::Result;

/// Options of `volume exists`.
#[derive(clap::Args)]
pub struct Exists {
    #[arg(required = true)]
    volume: String,
}

impl Verb for Exists {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let exists = volume::exists(&context.engine()?.paths, &self.volume);
        Ok(u8::from(!exists))
    }
}
