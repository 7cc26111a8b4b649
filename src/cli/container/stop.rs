//! `stop` and `restart`: programs are asked to end, and killed when they do not.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::container::control::Stopping;
use crate::container::list;
use crate::sys::process::signal_number;
use anyhow::Result;

/// Options of `stop` and `restart`.
#[derive(clap::Args)]
pub struct Ending {
    /// Signal that asks the program to end [default: that of the container, or TERM]
    #[arg(short, long, value_parser = value::signal)]
    signal: Option<String>,
    /// Seconds until it is killed, -1 for never [default: those of the container, or 10]
    #[arg(
        short,
        long,
        alias = "time",
        allow_negative_numbers = true,
        value_name = "SECONDS"
    )]
    timeout: Option<i64>,
    #[arg(required = true)]
    containers: Vec<String>,
}

/// Options of `stop`.
#[derive(clap::Args)]
pub struct Stop {
    #[command(flatten)]
    ending: Ending,
}

impl Verb for Stop {
    fn execute(self, context: &mut Context) -> Result<u8> {
        end_all(context, &self.ending, false)
    }
}

/// Options of `restart`.
#[derive(clap::Args)]
pub struct Restart {
    #[command(flatten)]
    ending: Ending,
}

impl Verb for Restart {
    fn execute(self, context: &mut Context) -> Result<u8> {
        end_all(context, &self.ending, true)
    }
}

/// All are asked before the first is waited for, so that many take no longer than the slowest.
fn end_all(context: &mut Context, ending: &Ending, again: bool) -> Result<u8> {
    let engine = context.engine()?;
    let signal = ending.signal.as_deref().and_then(signal_number);
    let names = &ending.containers;
    let ask = |name: &String| {
        let found = list::find(&engine, name)?;
        Stopping::begin(&engine, found, again, signal, ending.timeout)
    };
    let asked: Vec<_> = names.iter().map(ask).collect();
    let mut failed = false;
    for (name, asked) in names.iter().zip(asked) {
        let mut remark = |text: &str| context.output.warn(text);
        match asked.and_then(|stopping| stopping.finish(&mut remark)) {
            Ok(()) => context.output.line(name)?,
            Err(error) => {
                context.output.error(&error);
                failed = true;
            }
        }
    }
    Ok(u8::from(failed))
}
