//! `volume create`: a volume is made, if it is not there yet.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::environment;
use crate::container::volume;
use crate::error::bad_input;
use crate::volume::{LOCAL, Wanted};
use anyhow::Result;

/// Options of `volume create`.
#[derive(clap::Args)]
pub struct Create {
    /// Who keeps it: "local"
    #[arg(short, long, default_value = LOCAL)]
    driver: String,
    /// Set a label
    #[arg(long, value_parser = environment::label)]
    label: Vec<(String, String)>,
    /// What it is called, as older programs say it
    #[arg(long, hide = true)]
    name: Option<String>,
    /// Mount something for it (type=tmpfs|nfs|none|..., device=..., o=WORD,...)
    #[arg(short, long, value_name = "map", value_parser = option)]
    opt: Vec<(String, String)>,
    volume: Option<String>,
}

/// `KEY=VALUE`, as Docker splits it.
fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "" => Err(format!("invalid option '{text}': empty name")),
        key => Ok((key.to_owned(), value.to_owned())),
    }
}

impl Verb for Create {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self.name.is_some() && self.volume.is_some() {
            let message = "conflicting options: cannot specify a volume name through both --name and as a positional arg";
            return Err(bad_input(message).into());
        }
        let wanted = Wanted {
            name: self.volume.or(self.name).unwrap_or_default(),
            driver: self.driver,
            options: self.opt.into_iter().collect(),
            labels: self.label.into_iter().collect(),
        };
        let (made, _) = volume::create(&context.engine()?, &wanted)?;
        context.output.line(made.name)?;
        Ok(0)
    }
}
