//! `mount` and `umount`: the root file systems of containers at paths of the host.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::engine::Engine;
use crate::container::{list, mount};
use crate::error::bad_input;
use anyhow::Result;
use serde_json::json;

const SHORT: usize = 12;

/// Options of `mount`.
#[derive(clap::Args)]
pub struct Mount {
    /// Mount all containers
    #[arg(short, long)]
    all: bool,
    /// Form of the list ("json")
    #[arg(long, value_parser = ["json"])]
    format: Option<String>,
    /// Show whole ids
    #[arg(long)]
    no_trunc: bool,
    containers: Vec<String>,
}

impl Verb for Mount {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        if !self.all && self.containers.is_empty() {
            return self.list(context, &engine);
        }
        each(
            context,
            &engine,
            self.all,
            &self.containers,
            |context, found, name| {
                let path = mount::mount(&engine, found)?;
                match self.containers.len() == 1 {
                    true => context.output.line(path.display()),
                    false => context
                        .output
                        .line(format_args!("{name} {}", path.display())),
                }
            },
        )
    }
}

impl Mount {
    fn list(&self, context: &mut Context, engine: &Engine) -> Result<u8> {
        let mounted = mount::list(engine)?;
        if self.format.is_some() {
            let all: Vec<_> = mounted
                .iter()
                .map(|one| json!({"id": one.id, "mountpoint": one.path}))
                .collect();
            context.output.line(serde_json::to_string_pretty(&all)?)?;
            return Ok(0);
        }
        for one in mounted {
            let id = match self.no_trunc {
                true => &one.id,
                false => one.id.get(..SHORT).unwrap_or(&one.id),
            };
            context
                .output
                .line(format_args!("{id} {}", one.path.display()))?;
        }
        Ok(0)
    }
}

/// Options of `umount`.
#[derive(clap::Args)]
pub struct Unmount {
    /// Unmount all containers
    #[arg(short, long)]
    all: bool,
    /// Also while somebody uses it
    #[arg(short, long)]
    force: bool,
    containers: Vec<String>,
}

impl Verb for Unmount {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        if !self.all && self.containers.is_empty() {
            return Err(bad_input("`umount` needs a container, or --all").into());
        }
        each(
            context,
            &engine,
            self.all,
            &self.containers,
            |context, found, name| {
                // As in Podman, what is not mounted is no error.
                match mount::umount(&engine, &found.record, self.force)? || !self.all {
                    true => context.output.line(name),
                    false => Ok(()),
                }
            },
        )
    }
}

/// Does something with all containers or those that are named, and goes on after failures.
fn each(
    context: &mut Context,
    engine: &Engine,
    all: bool,
    names: &[String],
    mut act: impl FnMut(&mut Context, &list::Container, &str) -> Result<()>,
) -> Result<u8> {
    let mut failed = false;
    let named = names
        .iter()
        .map(|name| (name.clone(), list::find(engine, name)));
    let listed = match all {
        true => list::list(engine)?,
        false => Vec::new(),
    };
    let listed = listed
        .into_iter()
        .map(|found| (found.record.id.clone(), Ok(found)));
    for (name, found) in named.chain(listed) {
        if let Err(error) = found.and_then(|found| act(context, &found, &name)) {
            context.output.error(&error);
            failed = true;
        }
    }
    Ok(u8::from(failed))
}
