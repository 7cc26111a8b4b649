//! `system share-images`: an administrator lets ordinary users use the images of the machine without copies.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::engine::Engine;
use crate::container::share::{share, unshare_from};
use crate::error::{Error, Kind, not_found};
use crate::id_mapping::{Mapping, Tier};
use crate::paths::Paths;
use anyhow::Result;

/// Options of `system share-images`.
#[derive(clap::Args)]
pub struct ShareImages {
    /// End it
    #[arg(long)]
    remove: bool,
    #[arg(required = true)]
    users: Vec<String>,
}

impl Verb for ShareImages {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if Mapping::detect()?.tier != Tier::Root {
            return Err(
                Error::new(Kind::Denied, "only root can show files with other owners")
                    .hint("sudo onggi system share-images USER")
                    .into(),
            );
        }
        let globals = &context.globals;
        let paths = Paths::find(globals.root.clone(), globals.runroot.clone(), None)?;
        // Not necessarily root's own: root may show the images of one user to another.
        let engine = match paths.store_record().exists() {
            true => Engine::reopen(paths)?,
            false => context.engine()?,
        };
        let mut failed = false;
        for user in &self.users {
            match self.one(context, &engine, user) {
                Ok(()) => {}
                Err(error) => {
                    failed = true;
                    context.output.error(&error);
                }
            }
        }
        Ok(u8::from(failed))
    }
}

impl ShareImages {
    fn one(&self, context: &mut Context, engine: &Engine, user: &str) -> Result<()> {
        match self.remove {
            false => context.output.line(share(engine, user)?.display()),
            true if unshare_from(engine, user)? => context.output.line(user),
            true => Err(not_found(format!("no images are shown to {user}")).into()),
        }
    }
}
