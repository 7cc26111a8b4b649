//! `tag`: an image gets another name.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::image::tag::tag;
use anyhow::Result;

/// Options of `tag`.
#[derive(clap::Args)]
pub struct Tag {
    source: String,
    target: String,
}

impl Verb for Tag {
    fn execute(self, context: &mut Context) -> Result<u8> {
        tag(&context.engine()?.paths, &self.source, &self.target)?;
        Ok(0)
    }
}
