//! `inspect`: all that is known of containers, images, networks and volumes, as JSON; `container inspect` of containers only.
//!
//! What is not there is told, and the others are shown all the same.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::inspect::render_inspect;
use crate::container::engine::Engine;
use crate::container::{inspect, list};
use crate::error::{self, Kind, bad_input};
use crate::image;
use crate::network;
use crate::volume;
use anyhow::Result;
use serde_json::Value;

/// Options of `inspect`.
#[derive(clap::Args)]
pub struct Inspect {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Tell the sizes of containers
    #[arg(short, long)]
    size: bool,
    /// Look among these only ("container", "image", "volume", …)
    #[arg(long = "type")]
    kind: Option<String>,
    #[arg(required = true)]
    names: Vec<String>,
}

/// Options of `container inspect`.
#[derive(clap::Args)]
pub struct InspectContainer {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Tell the sizes
    #[arg(short, long)]
    size: bool,
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Verb for Inspect {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let (wanted, kind) = kinds(self.kind.as_deref())?;
        if self.size && !wanted.contains(&"container") {
            context
                .output
                .progress(format!("WARNING: --size ignored for {kind}"));
        }
        let engine = open(context, self.size)?;
        let look = |name: &str| {
            for kind in &wanted {
                let found = match *kind {
                    "container" => look_for_container(&engine, name, self.size)?,
                    "image" => look_for_image(&engine, name)?,
                    "network" => look_for_network(&engine, name)?,
                    _ => look_for_volume(&engine, name)?,
                };
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        };
        show(context, self.format.as_deref(), &self.names, look, kind)
    }
}

impl Verb for InspectContainer {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = open(context, self.size)?;
        let look = |name: &str| look_for_container(&engine, name, self.size);
        show(
            context,
            self.format.as_deref(),
            &self.containers,
            look,
            "container",
        )
    }
}

/// Kinds of objects that Docker has and this program has none of: nothing is found by any name.
const NONE_YET: [&str; 6] = ["config", "node", "plugin", "secret", "service", "task"];
/// Kinds of objects that there are, in the order in which they are looked for.
const KINDS: [&str; 4] = ["container", "image", "network", "volume"];

/// What `--type` lets in of [`KINDS`], and what is said where there is none.
fn kinds(kind: Option<&str>) -> Result<(Vec<&'static str>, &str), error::Error> {
    match kind {
        None | Some("") => Ok((KINDS.to_vec(), "object")),
        Some(kind) if KINDS.contains(&kind) || NONE_YET.contains(&kind) => {
            let wanted = KINDS.into_iter().filter(|known| *known == kind);
            Ok((wanted.collect(), kind))
        }
        Some(kind) => {
            let known = [&KINDS[..], &NONE_YET].concat();
            let known: Vec<String> = known.iter().map(|kind| format!("{kind:?}")).collect();
            let message = format!(
                "unknown type: {kind:?}: must be one of {}",
                known.join(", ")
            );
            Err(bad_input(message))
        }
    }
}

/// The sizes of an ordinary user's containers are seen only with the ids of the store.
fn open(context: &mut Context, with_size: bool) -> Result<Engine> {
    let engine = context.engine()?;
    if with_size {
        engine.enter_user_namespace()?;
    }
    Ok(engine)
}

fn look_for_container(engine: &Engine, name: &str, with_size: bool) -> Result<Option<Value>> {
    let Some(container) = found(list::find(engine, name))? else {
        return Ok(None);
    };
    inspect::inspect(engine, &container, with_size).map(Some)
}

fn look_for_image(engine: &Engine, name: &str) -> Result<Option<Value>> {
    found(image::store::find(&engine.paths, name))?
        .map(|image| image::inspect::inspect(&engine.paths, &image))
        .transpose()
}

fn look_for_network(engine: &Engine, name: &str) -> Result<Option<Value>> {
    found(network::store::find(&engine.paths, name))?
        .map(|network| crate::cli::network::inspect::inspect(engine, &network))
        .transpose()
}

fn look_for_volume(engine: &Engine, name: &str) -> Result<Option<Value>> {
    let Some(volume) = found(volume::find(&engine.paths, name))? else {
        return Ok(None);
    };
    let users = crate::container::volume::users(engine)?;
    crate::cli::volume::inspect::inspect(engine, &volume, &users, false).map(Some)
}

/// `None` for what is not there.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error::kind(&error) == Some(Kind::NotFound) => Ok(None),
        result => result.map(Some),
    }
}

/// Shows what is there and tells what is not.
fn show(
    context: &mut Context,
    format: Option<&str>,
    names: &[String],
    look: impl Fn(&str) -> Result<Option<Value>>,
    kind: &str,
) -> Result<u8> {
    let (mut values, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match look(name) {
            Ok(Some(value)) => values.push(value),
            Ok(None) => failures.push(format!("Error: No such {kind}: {name}")),
            Err(error) => failures.push(format!("Error: {error:#}")),
        }
    }
    // A template prints nothing where there is nothing, JSON an empty array.
    if !values.is_empty() || format.is_none_or(|format| ["", "json"].contains(&format)) {
        render_inspect(&mut context.output, format, &values)?;
    }
    for failure in &failures {
        context.output.progress(failure);
    }
    Ok(u8::from(!failures.is_empty()))
}
