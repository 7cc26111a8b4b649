//! `diff`: what a container has changed of its image.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::visible;
use crate::container::{changes, list};
use crate::image::layer::changes::ChangeKind;
use anyhow::Result;

/// Options of `diff`.
#[derive(clap::Args)]
pub struct Diff {
    container: String,
}

impl Verb for Diff {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        for change in changes::of(&engine, &found.record)? {
            let letter = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Modified => 'C',
                ChangeKind::Deleted => 'D',
            };
            let path = visible(&String::from_utf8_lossy(&change.path));
            context.output.line(format_args!("{letter} /{path}"))?;
        }
        Ok(0)
    }
}
