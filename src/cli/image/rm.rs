//! `rmi`: names and images are removed.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::{event, list};
use crate::error::{self, Kind};
use crate::image::platform::Platform;
use crate::image::remove::{Removed, remove};
use anyhow::Result;

/// Options of `rmi`.
#[derive(clap::Args)]
pub struct Rmi {
    /// Remove although it has several names or a stopped container needs it, and do not mind what is missing
    #[arg(short, long)]
    force: bool,
    /// Keep untagged parents (no image has any)
    #[arg(long)]
    no_prune: bool,
    /// Remove only what is for this platform ("os/arch[/variant]")
    #[arg(long)]
    platform: Option<Platform>,
    #[arg(required = true)]
    images: Vec<String>,
}

impl Verb for Rmi {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        engine.enter_user_namespace()?;
        let users = |image: &_| list::users(&engine, image);
        let mut failed = false;
        for name in &self.images {
            // Without a platform there is nothing to look at, and what is damaged can be removed too.
            let fitting = match &self.platform {
                None => Ok(()),
                wanted => super::find(&engine, name, wanted.as_ref()).map(drop),
            };
            let removal = fitting.and_then(|()| remove(&engine.paths, name, self.force, &users));
            match removal {
                Ok(removal) => {
                    event::removal(&engine, &removal);
                    for step in removal.steps {
                        context.output.line(match step {
                            Removed::Untagged(name) => format!("Untagged: {name}"),
                            Removed::Deleted(digest) => format!("Deleted: {digest}"),
                        })?;
                    }
                }
                Err(error) => {
                    failed |= !(self.force && error::kind(&error) == Some(Kind::NotFound));
                    context.output.error(&error);
                }
            }
        }
        Ok(u8::from(failed))
    }
}
