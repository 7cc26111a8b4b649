//! `network prune`: networks that no container belongs to are removed.

use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::{Context, prune};
use anyhow::Result;

/// Options of `network prune`.
#[derive(clap::Args)]
pub struct Prune {
    /// Remove only what fits ("label=KEY=VALUE", "until=24h")
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for Prune {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let filters = Filters::new(self.filter, prune::FILTERS)?;
        prune::check(&filters)?;
        let warning =
            "WARNING! This will remove all custom networks not used by at least one container.\n";
        let engine = context.engine()?;
        prune::ask(context, self.force, warning, "network prune")?;
        let complete = prune::networks(context, &engine, &filters)?;
        Ok(u8::from(!complete))
    }
}
