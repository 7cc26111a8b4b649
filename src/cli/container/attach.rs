//! `attach`: the caller's streams are connected to a program that runs.

use super::run::check_terminal;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::{self, DetachKeys};
use crate::container::monitor::channel::Wants;
use crate::container::monitor::client::{self, Outcome};
use crate::container::record::Status;
use crate::container::{control, list, start};
use crate::error::{Error, Kind, bad_input};
use anyhow::Result;

/// Options of `attach`.
#[derive(clap::Args)]
pub struct Attach {
    /// Keys that leave the container
    #[arg(long, default_value = value::DETACH_KEYS, value_parser = value::detach_keys)]
    detach_keys: DetachKeys,
    /// Do not pass stdin on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the program
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    #[arg(required = true)]
    container: String,
}

impl Verb for Attach {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        let options = &found.record.options;
        let refused = match found.status() {
            Status::Running => None,
            Status::Paused => Some("You cannot attach to a paused container, unpause it first"),
            Status::Restarting => {
                Some("You cannot attach to a restarting container, wait until it is running")
            }
            _ => Some("You cannot attach to a stopped container, start it first"),
        };
        if let Some(message) = refused {
            return Err(Error::new(Kind::Conflict, message).into());
        }
        let attach = client::Attach {
            wants: Wants {
                input: options.interactive && !self.no_stdin,
                output: true,
                error: true,
            },
            signals: self.sig_proxy && !options.tty,
            terminal: options.tty,
            detach_keys: self.detach_keys.0,
        };
        check_terminal(&attach)?;
        let Some(channel) = control::connect(&engine, &found.record.id)? else {
            let message = format!("container {} runs without a monitor", found.record.id);
            return Err(Error::new(Kind::Conflict, message)
                .hint("its monitor was killed; the next command that starts or removes one ends it")
                .into());
        };
        match start::attach_to(&engine, &found.record, channel, &attach)? {
            Outcome::Detached => Err(bad_input("read escape sequence").into()),
            outcome => Ok(outcome.code()),
        }
    }
}
