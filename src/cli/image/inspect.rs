//! `image inspect`: all that is known of images, as JSON.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::inspect::render_inspect;
use crate::image::inspect::inspect;
use crate::image::platform::Platform;
use anyhow::Result;

/// Options of `image inspect`.
#[derive(clap::Args)]
pub struct InspectImage {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Expect images for this platform ("os/arch[/variant]")
    #[arg(long)]
    platform: Option<Platform>,
    #[arg(required = true)]
    images: Vec<String>,
}

impl Verb for InspectImage {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for name in &self.images {
            let image = super::find(&engine, name, self.platform.as_ref());
            match image.and_then(|image| inspect(&engine.paths, &image)) {
                Ok(value) => found.push(value),
                Err(error) => errors.push(error),
            }
        }
        render_inspect(&mut context.output, self.format.as_deref(), &found)?;
        errors.iter().for_each(|error| context.output.error(error));
        Ok(u8::from(!errors.is_empty()))
    }
}
