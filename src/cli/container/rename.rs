//! `rename` and `update`: what of a container can be changed after it was made; `container exists`: whether it was.

use super::each::each_silently;
use super::resources::ResourceFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::container::options::RestartPolicy;
use crate::container::update::{self, Change};
use crate::container::{list, naming};
use crate::error::{self, Kind, bad_input};
use anyhow::Result;

/// Options of `rename`.
#[derive(clap::Args)]
pub struct Rename {
    #[arg(required = true)]
    container: String,
    #[arg(required = true)]
    new_name: String,
}

impl Verb for Rename {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        naming::rename(&engine, &found, &self.new_name)?;
        Ok(0)
    }
}

/// Options of `update`.
#[derive(clap::Args)]
pub struct Update {
    /// What is done when it ends: "no", "on-failure[:max-retries]", "always", "unless-stopped"
    #[arg(long, value_parser = value::restart_policy)]
    restart: Option<RestartPolicy>,
    #[command(flatten)]
    resources: ResourceFlags,
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Update {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self.restart.is_none() && self.resources == ResourceFlags::default() {
            return Err(
                bad_input("you must provide one or more flags when using this command").into(),
            );
        }
        let change = Change {
            restart: self.restart,
            limits: self.resources.limits,
            resources: self.resources.into_resources(),
        };
        each_silently(context, &self.containers, |engine, found, name, output| {
            for warning in update::update(engine, &found.record.id, &change)? {
                output.warn(warning);
            }
            output.line(name)
        })
    }
}

/// Options of `container exists`.
#[derive(clap::Args)]
pub struct Exists {
    #[arg(required = true)]
    container: String,
}

impl Verb for Exists {
    fn execute(self, context: &mut Context) -> Result<u8> {
        match list::find_id(&context.engine()?, &self.container) {
            Ok(_) => Ok(0),
            Err(error) if error::kind(&error) == Some(Kind::NotFound) => Ok(1),
            Err(error) => Err(error),
        }
    }
}
