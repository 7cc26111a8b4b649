//! `runtime start`, `state`, `kill`, `delete`, `pause`, `resume`: what is done with a container that is there.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::{Error, Kind};
use crate::runtime::lifecycle::{self, Status};
use crate::sys::process::signal_number;
use anyhow::Result;
use serde_json::json;

/// Options of `runtime start`.
#[derive(clap::Args)]
pub struct Start {
    #[arg(required = true)]
    id: String,
}

impl Verb for Start {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        if let Some(readiness) = lifecycle::start(&container)? {
            readiness.wait(&container)?;
        }
        Ok(0)
    }
}

/// Options of `runtime state`.
#[derive(clap::Args)]
pub struct State {
    #[arg(required = true)]
    id: String,
}

impl Verb for State {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        let mut state = super::described(&container)?;
        let annotations = &container.record.annotations;
        if !annotations.is_empty() {
            state["annotations"] = json!(annotations);
        }
        state["owner"] = json!("");
        context.output.line(serde_json::to_string_pretty(&state)?)?;
        Ok(0)
    }
}

/// Options of `runtime kill`.
#[derive(clap::Args)]
pub struct Kill {
    /// Send it to all processes of the container
    #[arg(short, long)]
    all: bool,
    #[arg(required = true)]
    id: String,
    #[arg(default_value = "TERM", value_parser = signal)]
    signal: i32,
}

impl Verb for Kill {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        container.kill(self.signal, self.all)?;
        Ok(0)
    }
}

/// With 0 nothing is sent: it asks whether there is somebody (kill(2)).
fn signal(text: &str) -> Result<i32, String> {
    match text {
        "0" => Ok(0),
        text => signal_number(text).ok_or_else(|| format!("invalid signal: {text}")),
    }
}

/// Options of `runtime delete`.
#[derive(clap::Args)]
pub struct Delete {
    /// Kill it first if it runs; one that is not there is no error
    #[arg(short, long)]
    force: bool,
    #[arg(required = true)]
    id: String,
}

impl Verb for Delete {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        for error in lifecycle::delete(&containers, &self.id, self.force)? {
            context.output.warn(format!("{error:#}"));
        }
        Ok(0)
    }
}

/// Options of `runtime pause`.
#[derive(clap::Args)]
pub struct Pause {
    #[arg(required = true)]
    id: String,
}

impl Verb for Pause {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        match container.status()? {
            Status::Running | Status::Created => {}
            status => return Err(wrong_state("pause", "running or created", status).into()),
        }
        container.needed_cgroup("pause")?.freeze()?;
        Ok(0)
    }
}

/// Options of `runtime resume`.
#[derive(clap::Args)]
pub struct Resume {
    #[arg(required = true)]
    id: String,
}

impl Verb for Resume {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        match container.status()? {
            Status::Paused => {}
            status => return Err(wrong_state("resume", "paused", status).into()),
        }
        container.needed_cgroup("resume")?.thaw()?;
        Ok(0)
    }
}

fn wrong_state(what: &str, wanted: &str, status: Status) -> Error {
    let message = format!(
        "cannot {what} a container that is {}: it must be {wanted}",
        status.word()
    );
    Error::new(Kind::Conflict, message)
}
