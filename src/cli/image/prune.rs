//! `image prune`: images that nothing needs are removed.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter;
use crate::cli::output::size;
use crate::container::{event, list};
use crate::error::{Error, Kind};
use crate::image::filter::{Filter, PRUNE};
use crate::image::prune::prune;
use crate::image::remove::Removed;
use anyhow::Result;

/// Options of `image prune`.
#[derive(clap::Args)]
pub struct Prune {
    /// Remove all images without containers, not only those without tags
    #[arg(short, long)]
    all: bool,
    /// Remove only what fits ("until=24h", "label=KEY=VALUE")
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for Prune {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let filter = Filter::new(&engine.paths, PRUNE, &self.filter)?;
        let what = match self.all {
            true => "images without at least one container associated to them",
            false => "dangling images",
        };
        let question =
            format!("WARNING! This will remove all {what}.\nAre you sure you want to continue?");
        if !self.force && !context.output.confirm(&question)? {
            return Err(Error::new(Kind::Conflict, "image prune has been cancelled").into());
        }
        engine.enter_user_namespace()?;
        let users = |image: &_| list::users(&engine, image);
        let removal = prune(&engine.paths, self.all, &filter, &users)?;
        event::removal(&engine, &removal);
        event::prune(&engine, "image", removal.reclaimed);
        if !removal.steps.is_empty() {
            context.output.line("Deleted Images:")?;
            for step in &removal.steps {
                context.output.line(match step {
                    Removed::Untagged(name) => format!("untagged: {name}"),
                    Removed::Deleted(digest) => format!("deleted: {digest}"),
                })?;
            }
            context.output.line("")?;
        }
        context.output.line(format!(
            "Total reclaimed space: {}",
            size::decimal_with(removal.reclaimed, 4)
        ))?;
        Ok(0)
    }
}
