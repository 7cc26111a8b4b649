//! `cp`: files between a container and the host.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::Output;
use crate::cli::output::size::decimal_with;
use crate::container::copy::{self, Copied, Options};
use crate::container::list;
use crate::error::bad_input;
use anyhow::{Context as _, Result};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// Options of `cp`.
#[derive(clap::Args)]
pub struct Cp {
    /// Keep the owners of files
    #[arg(short, long)]
    archive: bool,
    /// Follow a source that is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Let files take the place of directories, and the reverse
    #[arg(long)]
    overwrite: bool,
    /// Say nothing of what was copied; the default where nobody looks
    #[arg(short, long)]
    quiet: bool,
    source: String,
    destination: String,
}

impl Verb for Cp {
    fn execute(self, context: &mut Context) -> Result<u8> {
        for (word, what) in [(&self.source, "source"), (&self.destination, "destination")] {
            if word.is_empty() {
                return Err(bad_input(format!("{what} can not be empty")).into());
            }
        }
        let engine = context.engine()?;
        let find = |name: &str| list::find(&engine, name);
        let options = Options {
            archive: self.archive,
            follow: self.follow_link,
            overwrite: self.overwrite,
        };
        let (copied, shown) = match (split(&self.source), split(&self.destination)) {
            (Side::Container(..), Side::Container(..)) => {
                return Err(bad_input("copying between containers is not supported")
                    .hint("pipe it: `onggi cp ONE:/path - | onggi cp - OTHER:/path`")
                    .into());
            }
            (Side::Host(_), Side::Host(_)) => {
                return Err(bad_input("must specify at least one container source").into());
            }
            (Side::Container(name, source), Side::Host("-")) => {
                let container = find(name)?;
                let mut out = context.output.stream();
                let copied = copy::to_stream(&engine, &container, source, &mut out, options)?;
                out.flush().context("write to standard output")?;
                (copied, None)
            }
            (Side::Container(name, source), Side::Host(target)) => {
                let path = Path::new(target);
                let copied = copy::to_host(&engine, &find(name)?, source, path, options)?;
                (copied, Some(target.to_owned()))
            }
            (Side::Host("-"), Side::Container(name, target)) => {
                let stream = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
                let copied = copy::from_stream(&engine, &find(name)?, stream, target, options)?;
                (copied, Some(format!("{name}:{target}")))
            }
            (Side::Host(source), Side::Container(name, target)) => {
                let path = Path::new(source);
                let copied = copy::to_container(&engine, &find(name)?, path, target, options)?;
                (copied, Some(format!("{name}:{target}")))
            }
        };
        self.tell(context, &copied, shown.as_deref());
        Ok(0)
    }
}

impl Cp {
    /// Docker's line, where somebody looks.
    fn tell(&self, context: &mut Context, copied: &Copied, to: Option<&str>) {
        for warning in &copied.warnings {
            context.output.warn(warning);
        }
        if let Some(to) = to
            && !self.quiet
            && Output::is_terminal()
        {
            let size = decimal_with(copied.bytes, 3);
            context
                .output
                .progress(format_args!("Successfully copied {size} to {to}"));
        }
    }
}

/// One side of a copy, as it was written.
enum Side<'a> {
    Host(&'a str),
    Container(&'a str, &'a str),
}

/// `NAME:PATH` is of a container, unless it begins as a path of the host does.
fn split(word: &str) -> Side<'_> {
    match word.split_once(':') {
        Some((name, path)) if !word.starts_with(['/', '.']) => Side::Container(name, path),
        _ => Side::Host(word),
    }
}
