//! `wait`: until programs have ended.

use super::each::each_silently;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::control;
use anyhow::Result;

/// Options of `wait`.
#[derive(clap::Args)]
pub struct Wait {
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Wait {
    fn execute(self, context: &mut Context) -> Result<u8> {
        each_silently(context, &self.containers, |engine, found, _, output| {
            output.line(control::wait(engine, &found.record.id)?)
        })
    }
}
