//! `network reload`: the rules of all networks are made anew, after a firewall has flushed them.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::membership;
use anyhow::Result;

/// Options of `network reload`.
#[derive(clap::Args)]
pub struct Reload {
    /// Taken as podman takes it: it is all of them anyway
    #[arg(short, long)]
    all: bool,
}

impl Verb for Reload {
    fn execute(self, context: &mut Context) -> Result<u8> {
        membership::reload(&context.engine()?)?;
        Ok(0)
    }
}
