//! `volume prune`: volumes that no container uses are removed.

use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::{Context, prune};
use crate::container::remove;
use anyhow::Result;

const FILTERS: &[&str] = &["all", "label", "label!", "until"];

/// Options of `volume prune`.
#[derive(clap::Args)]
pub struct Prune {
    /// Remove those with names too
    #[arg(short, long)]
    all: bool,
    /// Remove only what fits ("label=KEY=VALUE", "until=24h")
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Verb for Prune {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let filters = Filters::new(self.filter, FILTERS)?;
        let all = self.all || filters.flag("all")?.unwrap_or_default();
        prune::check(&filters)?;
        let what = match all {
            true => "all local volumes",
            false => "anonymous local volumes",
        };
        let warning =
            format!("WARNING! This will remove {what} not used by at least one container.\n");
        let engine = context.engine()?;
        prune::ask(context, self.force, &warning, "volume prune")?;
        engine.enter_user_namespace()?;
        let of_killed = remove::sweep_staging(&engine);
        let (reclaimed, complete) = prune::volumes(context, &engine, all, &filters)?;
        prune::total(context, reclaimed + of_killed)?;
        Ok(u8::from(!complete))
    }
}
