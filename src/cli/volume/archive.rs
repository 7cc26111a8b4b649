//! `volume export` and `volume import`: the files of a volume as a tar archive, for a copy of them elsewhere.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::archive;
use crate::container::volume;
use crate::error::bad_input;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Options of `volume export`.
#[derive(clap::Args)]
pub struct Export {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[arg(required = true)]
    volume: String,
}

/// Options of `volume import`.
#[derive(clap::Args)]
pub struct Import {
    #[arg(required = true)]
    volume: String,
    #[arg(required = true)]
    file: PathBuf,
}

impl Verb for Export {
    fn execute(self, context: &mut Context) -> Result<u8> {
        archive::refuse_terminal(self.output.as_deref())?;
        let engine = context.engine()?;
        archive::write(&mut context.output, self.output.as_deref(), |out| {
            volume::export(&engine, &self.volume, out)
        })?;
        Ok(0)
    }
}

impl Verb for Import {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let input = std::io::stdin();
        let stream = match self.file.to_str() {
            Some("-") if input.is_terminal() => {
                return Err(bad_input("requested import from stdin, but stdin is empty").into());
            }
            Some("-") => File::from(input.as_fd().try_clone_to_owned()?),
            _ => {
                File::open(&self.file).with_context(|| format!("open `{}`", self.file.display()))?
            }
        };
        let warnings = volume::import(&context.engine()?, &self.volume, stream)?;
        warnings
            .iter()
            .for_each(|warning| context.output.warn(warning));
        Ok(0)
    }
}
