//! `boot`: after the machine was started, what is to run is started.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::boot;
use anyhow::Result;

/// Options of `boot`: none.
#[derive(clap::Args)]
pub struct Boot {}

impl Verb for Boot {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let mut failed = false;
        boot::boot(&engine, &mut |id, started| match started {
            Ok(()) => context.output.line(id),
            Err(error) => {
                context
                    .output
                    .error(&error.context(format!("start container {id}")));
                failed = true;
                Ok(())
            }
        })?;
        Ok(u8::from(failed))
    }
}
