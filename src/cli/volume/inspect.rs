//! `volume inspect`: all that is known of volumes, as JSON: Docker's fields, and which containers use them.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::inspect::render_inspect;
use crate::container::engine::Engine;
use crate::container::volume::{self as container, User};
use crate::volume::{self, Volume};
use anyhow::Result;
use jiff::{Timestamp, Unit};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Options of `volume inspect`.
#[derive(clap::Args)]
pub struct InspectVolume {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Count what the files take on the disk, in bytes
    #[arg(short, long)]
    size: bool,
    #[arg(required = true)]
    volumes: Vec<String>,
}

impl Verb for InspectVolume {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        // Not for a template that shows something else.
        let shows_size = |format: &String| {
            ["UsageData", "json", "{{.}}"]
                .iter()
                .any(|word| format.contains(word))
        };
        let with_size = self.size || self.format.as_ref().is_none_or(shows_size);
        if with_size {
            engine.enter_user_namespace()?;
        }
        let users = container::users(&engine)?;
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for name in &self.volumes {
            let inspected = volume::find(&engine.paths, name)
                .and_then(|volume| inspect(&engine, &volume, &users, with_size));
            match inspected {
                Ok(value) => found.push(value),
                Err(error) => errors.push(error),
            }
        }
        render_inspect(&mut context.output, self.format.as_deref(), &found)?;
        errors.iter().for_each(|error| context.output.error(error));
        Ok(u8::from(!errors.is_empty()))
    }
}

/// The object; a size that was not counted is -1, as Docker has it.
pub fn inspect(
    engine: &Engine,
    volume: &Volume,
    users: &BTreeMap<String, Vec<User>>,
    with_size: bool,
) -> Result<Value> {
    let of_none = |map: &BTreeMap<String, String>| match map.is_empty() {
        true => Value::Null,
        false => json!(map),
    };
    let users = users.get(&volume.name).map_or(&[][..], Vec::as_slice);
    let size = match with_size {
        true => container::size(engine, volume)?,
        false => None,
    };
    let user = |user: &User| {
        (
            user.id.clone(),
            json!({"Name": user.name, "Status": user.status}),
        )
    };
    let containers: serde_json::Map<String, Value> = users.iter().map(user).collect();
    Ok(json!({
        "CreatedAt": created(&volume.created),
        "Driver": volume.driver,
        "Labels": of_none(&volume.labels),
        "Mountpoint": volume::data(&engine.paths, &volume.name),
        "Name": volume.name,
        "Options": of_none(&volume.options),
        "Scope": "local",
        "UsageData": {
            "RefCount": users.len(),
            "Size": size.map_or(json!(-1), |size| json!(size)),
        },
        "Containers": containers,
    }))
}

/// Without fractions of seconds, as Docker has it.
fn created(text: &str) -> String {
    let time = text.parse::<Timestamp>().ok();
    let whole = time.and_then(|time| time.round(Unit::Second).ok());
    whole.map_or_else(|| text.to_owned(), |time| time.to_string())
}
