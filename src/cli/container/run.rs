//! `run`: a container is made from an image and its program is run.

use super::image;
use super::options::{CreateFlags, attaches};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::system::hello;
use crate::cli::value::{self, DetachKeys, Stream};
use crate::container::monitor::channel::Wants;
use crate::container::monitor::client::Attach;
use crate::container::{cgroup, create, mount_point, start, user_namespace};
use crate::error::{Error, bad_input};
use crate::image::hello::is_meant;
use crate::sys::terminal;
use anyhow::Result;
use std::io::IsTerminal;

/// Options of `run`.
#[derive(clap::Args)]
pub struct Run {
    #[command(flatten)]
    create: CreateFlags,
    /// Leave the container running and print its id
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave an attached container
    #[arg(long, default_value = value::DETACH_KEYS, value_parser = value::detach_keys)]
    detach_keys: DetachKeys,
    /// Pass signals on to the program
    #[arg(long, default_value = "true")]
    sig_proxy: bool,
    #[arg(required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Verb for Run {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let flags = &self.create;
        if self.detach && !flags.attach.is_empty() {
            return Err(bad_input(
                "conflicting options: cannot specify both --attach and --detach",
            )
            .into());
        }
        let attach = (!self.detach).then(|| Attach {
            wants: wants(&flags.attach, flags.interactive),
            signals: self.sig_proxy && !flags.tty,
            terminal: flags.tty,
            detach_keys: self.detach_keys.0.clone(),
        });
        if let Some(attach) = &attach {
            check_terminal(attach)?;
        }
        let wanted = image::Wanted::new(flags)?;
        let mut options = self.create.into_options(self.words, &context.globals)?;
        options.look_for_devices(&context.globals.cdi_spec_dir)?;
        options.stdin_once &= !self.detach;
        let terminal = rustix::stdio::stdin();
        options.console_size = options.tty.then(|| terminal::size(terminal)).flatten();
        if is_meant(&options.image) {
            options
                .env
                .push(format!("{}={}", hello::STARTED, context.started));
        }
        let engine = context.engine()?;
        let image = image::obtain(context, &engine, &options, &wanted)?;
        let created = create::create(&engine, options, &image)?;
        for warning in &created.warnings {
            context.output.warn(warning);
        }
        let mut tell = |line: &str| context.output.progress(line);
        user_namespace::prepare_layers(&engine, &created.record, &mut tell)
            .and_then(|()| mount_point::make_ready(&engine, &created.record, true, &mut tell))
            .inspect_err(|_| {
                if created.record.options.auto_remove {
                    created.discard(&engine);
                }
            })?;
        let Some(attach) = attach else {
            // The id comes last: nobody who does not read it keeps the program from its start.
            let mut warn = |text: &str| context.output.warn(text);
            let (record, lock) = (&created.record, created.lock);
            let started = start::start_locked(&engine, record, lock, None, &mut warn);
            if let Some(warning) = cgroup::logout_warning(&engine, &record.id) {
                context.output.warn(&warning);
            }
            let printed = context.output.line(&created.record.id);
            return started.and_then(|outcome| printed.map(|()| outcome.code()));
        };
        if !attach.wants.output && !attach.wants.error {
            context.output.line(&created.record.id)?;
        }
        let mut warn = |text: &str| context.output.warn(text);
        let (record, lock) = (&created.record, created.lock);
        let outcome = start::start_locked(&engine, record, lock, Some(&attach), &mut warn)?;
        Ok(outcome.code())
    }
}

/// What `-a` and `-i` come to: without `-a` the program's outputs, and its input where it is kept open.
fn wants(attach: &[Stream], interactive: bool) -> Wants {
    Wants {
        input: interactive && attaches(attach, Stream::In),
        output: attaches(attach, Stream::Out),
        error: attaches(attach, Stream::Err),
    }
}

/// A program that reads from a terminal needs one here.
pub fn check_terminal(attach: &Attach) -> Result<(), Error> {
    if attach.terminal && attach.wants.input && !std::io::stdin().is_terminal() {
        return Err(bad_input("the input device is not a TTY")
            .hint("leave out -t, or run it from a terminal"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_follow_docker() {
        let words = |attach: &[Stream], interactive| {
            let wants = wants(attach, interactive);
            [wants.input, wants.output, wants.error].map(u8::from)
        };
        assert_eq!(words(&[], false), [0, 1, 1]);
        assert_eq!(words(&[], true), [1, 1, 1]);
        assert_eq!(words(&[Stream::Out], true), [0, 1, 0]);
        assert_eq!(words(&[Stream::In, Stream::Err], true), [1, 0, 1]);
        assert_eq!(words(&[Stream::In], false), [0, 0, 0]);
    }
}
