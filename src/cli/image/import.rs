//! `import`: a root file system becomes an image.

use super::limit;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::unsupported;
use crate::container::event;
use crate::image::download::explain_full;
use crate::image::import::{Import as Order, import, is_saved_image};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::trust::{Asked, Trust};
use anyhow::{Context as _, Result};
use std::fs::File;
use std::os::fd::AsFd;

/// Options of `import`.
#[derive(clap::Args)]
pub struct Import {
    /// Apply an instruction of a Dockerfile to the image
    #[arg(short, long)]
    change: Vec<String>,
    /// Say in the history where it came from
    #[arg(short, long)]
    message: Option<String>,
    /// What it is for ("os/arch[/variant]"), instead of this machine
    #[arg(long)]
    platform: Option<Platform>,
    file: String,
    name: Option<Reference>,
}

impl Verb for Import {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self.file.starts_with("http://") || self.file.starts_with("https://") {
            return Err(unsupported::not_yet(
                "import of a URL",
                "nothing is fetched; pipe it in: `curl URL |`",
            )
            .into());
        }
        let trust = Trust::load(Asked::Nothing)?;
        let engine = context.engine()?;
        let rules = engine.layer_rules()?;
        let file = match self.file.as_str() {
            "-" => File::from(std::io::stdin().as_fd().try_clone_to_owned()?),
            path => File::open(path).with_context(|| format!("open `{path}`"))?,
        };
        engine.enter_user_namespace()?;
        let source = self.file.clone();
        let order = Order {
            origin: self.file,
            name: self.name.map(Reference::or_latest),
            changes: self.change,
            message: self.message,
            platform: self.platform,
        };
        let (id, displaced) = import(&engine.paths, &rules, file, &order, &trust)
            .map_err(|error| explain_full(&engine.paths, error))?;
        event::image(&engine, &id, &id.to_string(), "import");
        if is_saved_image(&engine.paths, &id)? {
            context.output.warn(format_args!(
                "`{source}` holds images as `save` writes them, and is now the files of one: `onggi load -i {source}` \
                 takes them in as what they are"
            ));
        }
        super::tell_displaced(context, &displaced)?;
        context.output.line(&id)?;
        limit::enforce(context, &engine, &[id])?;
        Ok(0)
    }
}
