//! `unshare`: a program runs where the files of an ordinary user's containers can be reached.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::unshare;
use anyhow::Result;

/// Arguments of `unshare`.
#[derive(clap::Args)]
pub struct Unshare {
    #[arg(trailing_var_arg = true)]
    words: Vec<String>,
}

impl Verb for Unshare {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        match unshare::execute(&engine, &self.words)? {}
    }
}
