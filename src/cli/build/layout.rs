//! `layout-image`: the layers of a base image that lies in an OCI layout come into the store. It is for `build`, which cannot
//! go into the user namespace of the store itself.

use crate::build::context::layout::{bring, open};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::not_found;
use crate::image::copy::Source;
use crate::image::platform::Platform;
use crate::image::trust::{Asked, Trust};
use anyhow::{Context as _, Result};

/// Options of `layout-image`.
#[derive(clap::Args)]
pub struct LayoutImage {
    context: String,
    platform: Platform,
}

impl Verb for LayoutImage {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let rules = engine.layer_rules()?;
        let read = || format!("read `{}`", self.context);
        // Which files the caller may read is found out before the namespace changes it.
        let layout = open(&self.context).with_context(read)?;
        let place = layout
            .place()
            .ok_or_else(|| not_found("the layout has no place"))?;
        Trust::load(Asked::Nothing)?.accept_file("oci", place)?;
        engine.enter_user_namespace()?;
        let brought = bring(&layout, &self.platform, &engine.paths, &rules).with_context(read)?;
        context.output.line(serde_json::to_string(&brought)?)?;
        Ok(0)
    }
}
