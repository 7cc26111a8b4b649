//! `registry prune`: what nothing needs goes from the folder of a registry, whether it is served or not.

use crate::cli::command::Verb;
use crate::cli::filter::Filters;
use crate::cli::{Context, filter, prune};
use crate::image::serve::folder::Folder;
use crate::image::serve::folder::prune::prune as prune_folder;
use anyhow::Result;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A blob comes before its manifest; by then that should have come, too.
const YOUNG: Duration = Duration::from_secs(3600);

/// Options of `registry prune`.
#[derive(clap::Args)]
pub struct Prune {
    /// Also remove manifests that no tag leads to
    #[arg(short, long)]
    all: bool,
    /// Remove only what came before ("until=24h"; without it an hour ago)
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// The folder of the registry (default: that of the store)
    #[arg(long, value_name = "directory")]
    storage: Option<PathBuf>,
}

impl Verb for Prune {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let until = match prune::check(&Filters::new(self.filter, &["until"])?)? {
            Some(until) => until.into(),
            None => SystemTime::now() - YOUNG,
        };
        let folder = super::folder(context, self.storage)?;
        let what = match self.all {
            true => "manifests without a tag and blobs without a manifest",
            false => "blobs without a manifest",
        };
        let warning = format!(
            "WARNING! This will remove all {what} from `{}`.\n",
            folder.display()
        );
        prune::ask(context, self.force, &warning, "registry prune")?;
        // It must be there: nothing is made to be pruned.
        let pruned = prune_folder(&Folder::open(&folder, true)?, until, self.all)?;
        for manifest in &pruned.manifests {
            context.output.line(format_args!("untagged: {manifest}"))?;
        }
        for blob in &pruned.blobs {
            context.output.line(format_args!("deleted: {blob}"))?;
        }
        prune::total(context, pruned.reclaimed)?;
        Ok(0)
    }
}
