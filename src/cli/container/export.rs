//! `export`: the root file system of a container goes out as a tar archive.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::Output;
use crate::container::{export, list, root};
use crate::error::bad_input;
use crate::store::atomic;
use anyhow::{Context as _, Result};
use std::io::Write;
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
        if self.output.is_none() && Output::is_terminal() {
            let message = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
            return Err(bad_input(message).into());
        }
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        root::enter(&engine)?;
        let mut warnings = Vec::new();
        match &self.output {
            Some(path) => atomic::stream(path, |out| {
                warnings = export::export(&engine, &found.record, out)?;
                Ok(())
            })?,
            None => {
                let mut out = context.output.stream();
                warnings = export::export(&engine, &found.record, &mut out)?;
                out.flush().context("write to standard output")?;
            }
        }
        warnings
            .iter()
            .for_each(|warning| context.output.warn(warning));
        Ok(0)
    }
}
