//! `start`: containers that are made or have ended are started.

use super::run::check_terminal;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::{self, DetachKeys};
use crate::container::engine::Engine;
use crate::container::list::Container;
use crate::container::monitor::channel::Wants;
use crate::container::monitor::client::Attach;
use crate::container::{cgroup, list, mount_point, root, start};
use crate::error::bad_input;
use anyhow::Result;

/// Options of `start`.
#[derive(clap::Args)]
pub struct Start {
    /// Show the outputs and pass signals on, until the program ends
    #[arg(short, long)]
    attach: bool,
    /// Keys that leave an attached container
    #[arg(long, default_value = value::DETACH_KEYS, value_parser = value::detach_keys)]
    detach_keys: DetachKeys,
    /// Pass stdin on, until the program ends
    #[arg(short, long)]
    interactive: bool,
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Start {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        if !self.attach && !self.interactive {
            return start_all(context, &engine, &self.containers);
        }
        let [name] = &self.containers[..] else {
            return Err(
                bad_input("you cannot start and attach multiple containers at once").into(),
            );
        };
        let found = list::find(&engine, name)?;
        let options = &found.record.options;
        let attach = Attach {
            wants: Wants {
                input: self.interactive && options.interactive,
                output: true,
                error: true,
            },
            detach_keys: self.detach_keys.0,
            signals: !options.tty,
            terminal: options.tty,
        };
        check_terminal(&attach)?;
        let mut tell = |line: &str| context.output.progress(line);
        make_ready(&engine, &found, &mut tell)?;
        let mut warn = |text: &str| context.output.warn(text);
        let outcome = start::start(&engine, &found.record.id, Some(&attach), &mut warn)?;
        Ok(outcome.code())
    }
}

/// Makes the mounts of a container ready, unless somebody else is at it or it runs already.
fn make_ready(engine: &Engine, found: &Container, tell: &mut dyn FnMut(&str)) -> Result<()> {
    if found.record.mounts.is_empty() {
        return Ok(());
    }
    match root::lock(engine, &found.record)? {
        Some(_lock) => mount_point::make_ready(engine, &found.record, found.state.is_none(), tell),
        None => Ok(()),
    }
}

/// Starts them one after the other; those that cannot be started are told at the end.
fn start_all(context: &mut Context, engine: &Engine, names: &[String]) -> Result<u8> {
    let mut failed = Vec::new();
    for name in names {
        let started = list::find(engine, name).and_then(|found| {
            let mut tell = |line: &str| context.output.progress(line);
            make_ready(engine, &found, &mut tell)?;
            let mut warn = |text: &str| context.output.warn(text);
            start::start(engine, &found.record.id, None, &mut warn)?;
            Ok(cgroup::logout_warning(engine, &found.record.id))
        });
        if let Ok(Some(warning)) = &started {
            context.output.warn(warning);
        }
        match started {
            Ok(_) => context.output.line(name)?,
            Err(error) => {
                context.output.error(&error);
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    Err(bad_input(format!("failed to start containers: {}", failed.join(", "))).into())
}
