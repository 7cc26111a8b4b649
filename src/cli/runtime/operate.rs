//! `runtime start`, `state`, `kill`, `delete`, `pause`, `resume`: what is done with a container that is there.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::{Error, Kind, bad_input};
use crate::runtime::lifecycle::{self, Containers, Status};
use crate::sys::process::signal_number;
use anyhow::Result;
use regex_lite::Regex;
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
    /// The id is a regular expression, for all containers in whose ids it is found; crun's option
    #[arg(short, long)]
    regex: bool,
    #[arg(required = true)]
    id: String,
    #[arg(default_value = "TERM", value_parser = signal)]
    signal: i32,
}

impl Verb for Kill {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        each(context, &containers, &self.id, self.regex, |_, id| {
            containers.find(id)?.kill(self.signal, self.all)
        })
    }
}

/// Does it with the container of that id; or with all those in whose ids a regular expression is found, where what fails
/// with one is a warning, as with crun.
fn each(
    context: &mut Context,
    containers: &Containers,
    id: &str,
    is_expression: bool,
    mut act: impl FnMut(&mut Context, &str) -> Result<()>,
) -> Result<u8> {
    if !is_expression {
        return act(context, id).map(|()| 0);
    }
    let expression = Regex::new(id)
        .map_err(|error| bad_input(format!("invalid regular expression `{id}`: {error}")))?;
    let mut ids = containers.ids()?;
    ids.retain(|id| expression.is_match(id));
    for id in ids {
        if let Err(error) = act(context, &id) {
            context.output.warn(format!("`{id}`: {error:#}"));
        }
    }
    Ok(0)
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
    /// The id is a regular expression, for all containers in whose ids it is found; crun's option
    #[arg(short, long)]
    regex: bool,
    #[arg(required = true)]
    id: String,
}

impl Verb for Delete {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        each(context, &containers, &self.id, self.regex, |context, id| {
            for error in lifecycle::delete(&containers, id, self.force)? {
                context.output.warn(format!("{error:#}"));
            }
            Ok(())
        })
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
