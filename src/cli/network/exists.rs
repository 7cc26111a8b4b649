//! `network exists`: the exit code says whether there is such a network.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::{Kind, kind};
use crate::network::store;
use anyhow::Result;

/// Options of `network exists`.
#[derive(clap::Args)]
pub struct Exists {
    #[arg(required = true)]
    network: String,
}

impl Verb for Exists {
    fn execute(self, context: &mut Context) -> Result<u8> {
        match store::find(&context.engine()?.paths, &self.network) {
            Err(error) if kind(&error) == Some(Kind::NotFound) => Ok(1),
            found => found.map(|_| 0),
        }
    }
}
