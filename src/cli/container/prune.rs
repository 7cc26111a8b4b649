//! `container prune`: containers that do not run are removed.

use crate::cli::command::Verb;
use crate::cli::filter::Filters;
use crate::cli::{Context, filter, prune};
use crate::container::remove;
use anyhow::Result;

/// Options of `container prune`.
#[derive(clap::Args)]
pub struct Prune {
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
        let filters = Filters::new(self.filter, prune::FILTERS)?;
        prune::check(&filters)?;
        let warning = "WARNING! This will remove all stopped containers.\n";
        prune::ask(context, self.force, warning, "container prune")?;
        engine.enter_user_namespace()?;
        let of_killed = remove::sweep_staging(&engine);
        let (reclaimed, complete) = prune::containers(context, &engine, &filters)?;
        prune::total(context, reclaimed + of_killed)?;
        Ok(u8::from(!complete))
    }
}
