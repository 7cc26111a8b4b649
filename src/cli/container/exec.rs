//! `exec`: a program is run in a container that runs.

use super::run::check_terminal;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::environment::{variable, variables};
use crate::cli::value::{self, DetachKeys};
use crate::container::monitor::channel::Wants;
use crate::container::monitor::client::{Attach, Outcome};
use crate::container::{create, exec, list};
use crate::error::{Error, Kind};
use anyhow::Result;
use std::path::PathBuf;

/// Options of `exec`.
#[derive(clap::Args)]
pub struct Exec {
    /// Leave the program running and return at once
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave the program running
    #[arg(long, default_value = value::DETACH_KEYS, value_parser = value::detach_keys)]
    detach_keys: DetachKeys,
    /// Set a variable, or pass on the caller's
    #[arg(short, long, value_parser = variable)]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long)]
    env_file: Vec<PathBuf>,
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Give the program all capabilities
    #[arg(long)]
    privileged: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group after a colon, by name or number
    #[arg(short, long)]
    user: Option<String>,
    /// Directory to start in
    #[arg(short, long)]
    workdir: Option<String>,
    #[arg(required = true, num_args = 2.., trailing_var_arg = true)]
    words: Vec<String>,
}

impl Verb for Exec {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let env = variables(&self.env_file, self.env)?;
        let engine = context.engine()?;
        let mut words = self.words;
        let found = list::find(&engine, &words.remove(0))?;
        let attach = (!self.detach).then_some(Attach {
            wants: Wants {
                input: self.interactive,
                output: true,
                error: true,
            },
            // As in Docker: what ends the client leaves the program alone.
            signals: false,
            terminal: self.tty,
            detach_keys: self.detach_keys.0,
        });
        if let Some(attach) = &attach {
            check_terminal(attach)?;
        }
        let options = exec::Options {
            command: words,
            env,
            working_dir: self.workdir.filter(|directory| !directory.is_empty()),
            user: self.user.filter(|user| !user.is_empty()),
            privileged: self.privileged,
            tty: self.tty,
            interactive: self.interactive,
            detach: self.detach,
        };
        // Whom the container is for was told when it was made.
        let asked = options.user.as_deref();
        let warn = |user| create::user_warning(&engine, &found.record, user);
        if let Some(warning) = asked.and_then(warn) {
            context.output.warn(warning);
        }
        match exec::exec(&engine, &found, options, attach.as_ref())? {
            // As in Docker, which tells it from an end.
            Outcome::Detached => Err(Error::new(Kind::Conflict, "read escape sequence").into()),
            outcome => Ok(outcome.code()),
        }
    }
}
