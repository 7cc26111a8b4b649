//! `system prune`: containers that do not run, networks without any, images that nothing needs, what builds have cached and, if that is
//! wanted, volumes that nobody has named are removed.

use crate::cli::command::Verb;
use crate::cli::filter::Filters;
use crate::cli::{Context, filter, prune};
use crate::container::{mount_point, remove};
use crate::error::bad_input;
use anyhow::Result;
use std::fmt::Write;

/// Options of `system prune`.
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
    /// Remove volumes without names too
    #[arg(long)]
    volumes: bool,
}

impl Verb for Prune {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let filters = Filters::new(self.filter.clone(), prune::FILTERS)?;
        if self.volumes && filters.of("until").next().is_some() {
            let message = "ERROR: The \"until\" filter is not supported with \"--volumes\"";
            return Err(bad_input(message).into());
        }
        prune::check(&filters)?;
        let warning = self.warning()?;
        prune::ask(context, self.force, &warning, "system prune")?;
        engine.enter_user_namespace()?;
        let of_killed = remove::sweep_staging(&engine) + remove::sweep_downloads(&engine);
        let (of_containers, no_container_stays) = prune::containers(context, &engine, &filters)?;
        mount_point::sweep(&engine.paths);
        let no_network_stays = prune::networks(context, &engine, &filters)?;
        let (of_volumes, no_volume_stays) = match self.volumes {
            true => prune::volumes(context, &engine, false, &filters)?,
            false => (0, true),
        };
        let (of_images, no_image_stays) = prune::images(context, &engine, self.all, &self.filter)?;
        let (of_cache, no_step_stays) = prune::build_cache(context, &engine, self.all, &filters)?;
        let reclaimed = of_containers + of_volumes + of_images + of_cache + of_killed;
        prune::total(context, reclaimed)?;
        let complete = [
            no_container_stays,
            no_network_stays,
            no_volume_stays,
            no_image_stays,
            no_step_stays,
        ];
        Ok(u8::from(complete.contains(&false)))
    }
}

impl Prune {
    fn warning(&self) -> Result<String> {
        let images = match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        };
        let volumes = match self.volumes {
            true => "  - all anonymous volumes not used by at least one container\n",
            false => "",
        };
        let cache = if self.all { "all" } else { "unused" };
        let mut text = format!(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n{volumes}  - {images}\n  \
             - {cache} build cache\n\n"
        );
        if !self.filter.is_empty() {
            writeln!(text, "  Items to be pruned will be filtered with:")?;
            for (key, value) in &self.filter {
                writeln!(text, "  - {key}={value}")?;
            }
            text.push('\n');
        }
        Ok(text)
    }
}
