//! `save`: images go out as an archive.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::archive;
use crate::container::event;
use crate::image::platform::Platform;
use crate::image::save::save;
use crate::image::store;
use anyhow::Result;
use std::path::PathBuf;

/// Options of `save`.
#[derive(clap::Args)]
pub struct Save {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Refuse images that are not for this platform ("os/arch[/variant]")
    #[arg(long)]
    platform: Option<Platform>,
    #[arg(required = true)]
    images: Vec<String>,
}

impl Verb for Save {
    fn execute(self, context: &mut Context) -> Result<u8> {
        archive::refuse_terminal(self.output.as_deref())?;
        let engine = context.engine()?;
        engine.enter_user_namespace()?;
        let platform = self.platform.as_ref();
        archive::write(&mut context.output, self.output.as_deref(), |out| {
            save(&engine.paths, &self.images, platform, out).map(|()| Vec::new())
        })?;
        for name in &self.images {
            // It may be gone by now, or be a repository without a tag.
            if let Ok(image) = store::find(&engine.paths, name) {
                event::image(&engine, &image.id, &image.id.to_string(), "save");
            }
        }
        Ok(0)
    }
}
