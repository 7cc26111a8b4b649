//! `rm`: containers are removed.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::{list, remove};
use crate::error::{self, Error, Kind};
use anyhow::Result;

/// Options of `rm`.
#[derive(clap::Args)]
pub struct Rm {
    /// Kill what runs, and do not mind what is missing
    #[arg(short, long)]
    force: bool,
    /// Remove a link between containers (there are none yet)
    #[arg(short, long)]
    link: bool,
    /// Remove its anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Rm {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        engine.enter_user_namespace()?;
        let mut failed = false;
        for name in &self.containers {
            let removed = list::find_id(&engine, name).and_then(|id| match self.link {
                // Docker's words: what is named so is the container itself.
                true => Err(no_link().into()),
                false => remove::remove(&engine, &id, self.force, self.volumes),
            });
            match removed {
                Ok(()) => context.output.line(name)?,
                Err(error) => {
                    failed |= !(self.force && error::kind(&error) == Some(Kind::NotFound));
                    context.output.error(&error);
                }
            }
        }
        Ok(u8::from(failed))
    }
}

fn no_link() -> Error {
    let message = "Conflict, cannot remove the default link name of the container";
    Error::new(Kind::Conflict, message)
}
