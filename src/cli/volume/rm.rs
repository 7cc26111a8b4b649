//! `volume rm`: volumes that no container uses are removed, with all that is in them.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::volume;
use anyhow::Result;

/// Options of `volume rm`.
#[derive(clap::Args)]
pub struct Rm {
    /// Do not mind what is missing
    #[arg(short, long)]
    force: bool,
    #[arg(required = true)]
    volumes: Vec<String>,
}

impl Verb for Rm {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let mut failed = false;
        for name in &self.volumes {
            match volume::remove(&engine, name, self.force) {
                Ok(()) => context.output.line(name)?,
                Err(error) => {
                    failed = true;
                    context.output.error(&error);
                }
            }
        }
        Ok(u8::from(failed))
    }
}
