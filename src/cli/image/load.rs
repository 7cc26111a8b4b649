//! `load`: the images of an archive come in.

use super::limit;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::event;
use crate::error::bad_input;
use crate::image::download::explain_full;
use crate::image::load::{Source, load};
use crate::image::platform::Platform;
use crate::image::trust::{Asked, Trust};
use anyhow::Result;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Options of `load`.
#[derive(clap::Args)]
pub struct Load {
    /// Read from a file or a directory instead of standard input
    #[arg(short, long)]
    input: Option<PathBuf>,
    /// Take images for this platform ("os/arch[/variant]") instead of this machine's
    #[arg(long)]
    platform: Option<Platform>,
    /// Do not show progress (there is none to show yet)
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Load {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let trust = Trust::load(Asked::Nothing)?;
        let engine = context.engine()?;
        let rules = engine.layer_rules()?;
        // Before the namespace changes what the caller may read.
        let source = match self.input.as_deref() {
            Some(path) if path != Path::new("-") => Source::open(path)?,
            _ => standard_input()?,
        };
        engine.enter_user_namespace()?;
        let loaded = load(&engine.paths, &rules, source, self.platform, &trust)
            .map_err(|error| explain_full(&engine.paths, error))?;
        loaded
            .warnings
            .iter()
            .for_each(|warning| context.output.warn(warning));
        super::tell_displaced(context, &loaded.displaced)?;
        for image in &loaded.images {
            event::image(&engine, &image.id, &image.id.to_string(), "load");
            if image.names.is_empty() {
                context
                    .output
                    .line(format!("Loaded image ID: {}", image.id))?;
            }
            for name in &image.names {
                context.output.line(format!("Loaded image: {name}"))?;
            }
        }
        let new: Vec<_> = loaded.images.iter().map(|image| image.id.clone()).collect();
        limit::enforce(context, &engine, &new)?;
        Ok(0)
    }
}

fn standard_input() -> Result<Source<'static>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(bad_input("requested load from stdin, but stdin is empty")
            .hint("name a file: `-i FILE`")
            .into());
    }
    Ok(Source::File {
        file: File::from(input.as_fd().try_clone_to_owned()?),
        path: None,
    })
}
