//! `tag`: an image gets another name.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::event;
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
        let engine = context.engine()?;
        let (id, name) = tag(&engine.paths, &self.source, &self.target)?;
        event::image(&engine, &id, &name.to_string(), "tag");
        Ok(0)
    }
}
