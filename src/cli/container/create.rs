//! `create`: a container is made and not started.

use super::image;
use super::options::CreateFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::{create, mount_point, user_namespace};
use anyhow::Result;

/// Options of `create`.
#[derive(clap::Args)]
pub struct Create {
    #[command(flatten)]
    create: CreateFlags,
    #[arg(required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Verb for Create {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let wanted = image::Wanted::new(&self.create)?;
        let mut options = self.create.into_options(self.words, &context.globals)?;
        options.look_for_devices(&context.globals.cdi_spec_dir)?;
        let engine = context.engine()?;
        let image = image::obtain(context, &engine, &options, &wanted)?;
        let created = create::create(&engine, options, &image)?;
        for warning in &created.warnings {
            context.output.warn(warning);
        }
        let mut tell = |line: &str| context.output.progress(line);
        user_namespace::prepare_layers(&engine, &created.record, &mut tell)
            .and_then(|()| mount_point::fill(&engine, &created.record, &mut tell))
            .inspect_err(|_| created.discard(&engine))?;
        context.output.line(&created.record.id)?;
        Ok(0)
    }
}
