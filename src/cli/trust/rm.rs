//! `trust rm`: takes away what a policy says of a scope.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::image::trust::edit::{self, Scope};
use anyhow::Result;

/// Options of `trust rm`.
#[derive(clap::Args)]
pub struct Rm {
    #[arg(required = true)]
    scope: String,
}

impl Verb for Rm {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let scope: Scope = self.scope.parse()?;
        let changed = edit::remove(&scope)?;
        super::tell(context, &scope, changed)?;
        Ok(0)
    }
}
