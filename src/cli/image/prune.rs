//! `image prune`: images that nothing needs are removed.

use crate::cli::command::Verb;
use crate::cli::{Context, filter, prune};
use crate::container::remove;
use crate::image::filter::{Filter, PRUNE};
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
        // What is wrong with a filter is said before anything is asked.
        Filter::new(&engine.paths, PRUNE, &self.filter)?;
        let what = match self.all {
            true => "images without at least one container associated to them",
            false => "dangling images",
        };
        let warning = format!("WARNING! This will remove all {what}.\n");
        prune::ask(context, self.force, &warning, "image prune")?;
        engine.enter_user_namespace()?;
        let of_killed = remove::sweep_staging(&engine);
        let (reclaimed, complete) = prune::images(context, &engine, self.all, &self.filter)?;
        prune::total(context, reclaimed + of_killed)?;
        Ok(u8::from(!complete))
    }
}
