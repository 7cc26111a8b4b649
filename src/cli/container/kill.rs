//! `kill`, `pause`, `unpause`: orders to programs that run.

use super::each::{each, each_silently};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::container::control;
use crate::sys::process::signal_number;
use anyhow::{Context as _, Result};

/// Options of `kill`.
#[derive(clap::Args)]
pub struct Kill {
    /// Signal to send
    #[arg(short, long, default_value = "KILL", value_parser = value::signal)]
    signal: String,
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Kill {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let signal = signal_number(&self.signal).unwrap_or(libc::SIGKILL);
        each_silently(context, &self.containers, |engine, found, name, output| {
            control::kill(engine, &found.record.id, signal)
                .with_context(|| format!("cannot kill container: {name}"))?;
            output.line(name)
        })
    }
}

/// Options of `pause`.
#[derive(clap::Args)]
pub struct Pause {
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Pause {
    fn execute(self, context: &mut Context) -> Result<u8> {
        each(context, &self.containers, |engine, found| {
            control::pause(engine, &found.record.id)
        })
    }
}

/// Options of `unpause`.
#[derive(clap::Args)]
pub struct Unpause {
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Unpause {
    fn execute(self, context: &mut Context) -> Result<u8> {
        each(context, &self.containers, |engine, found| {
            control::unpause(engine, &found.record.id)
        })
    }
}
