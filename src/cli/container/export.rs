//! `export`: the root file system of a container goes out as a tar archive.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::archive;
use crate::container::{export, list, root};
use anyhow::Result;
use std::path::PathBuf;

/// Options of `export`.
#[derive(clap::Args)]
pub struct Export {
    /// Write to a file instead of standard output
    #[arg(short, long)]
    output: Option<PathBuf>,
    container: String,
}

impl Verb for Export {
    fn execute(self, context: &mut Context) -> Result<u8> {
        archive::refuse_terminal(self.output.as_deref())?;
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        root::enter(&engine)?;
        archive::write(&mut context.output, self.output.as_deref(), |out| {
            export::export(&engine, &found.record, out)
        })?;
        Ok(0)
    }
}
