//! `network rm`: networks that no container is in now are removed.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::membership;
use anyhow::Result;

/// Options of `network rm`.
#[derive(clap::Args)]
pub struct Rm {
    /// Do not mind what is missing
    #[arg(short, long)]
    force: bool,
    #[arg(required = true)]
    networks: Vec<String>,
}

impl Verb for Rm {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let mut failed = false;
        for name in &self.networks {
            match membership::remove(&engine, name, self.force) {
                Ok(true) => context.output.line(name)?,
                Ok(false) => {}
                Err(error) => {
                    failed = true;
                    context.output.error(&error);
                }
            }
        }
        Ok(u8::from(failed))
    }
}
