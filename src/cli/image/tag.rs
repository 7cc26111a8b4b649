//! `tag`: an image gets another name.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::event;
use crate::image::shared::has_to_be_copied;
use crate::image::store;
use crate::image::tag::{adopt, tag};
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
        let image = store::find(&engine.paths, &self.source)?;
        if image.store.is_some() {
            let rules = engine.layer_rules()?;
            if has_to_be_copied(&engine.paths, &image) {
                engine.enter_user_namespace()?;
            }
            adopt(&engine.paths, &rules, &image, false)?;
        }
        let (id, name) = tag(&engine.paths, &self.source, &self.target)?;
        event::image(&engine, &id, &name.to_string(), "tag");
        Ok(0)
    }
}
