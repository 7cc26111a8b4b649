//! `runtime list`, `runtime ps`.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::container::top;
use crate::cli::output::table::aligned_wide;
use crate::id_mapping;
use crate::runtime::lifecycle::Container;
use crate::runtime::processes;
use anyhow::Result;
use serde_json::{Value, json};

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Table,
    Json,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "table" => Ok(Format::Table),
        "json" => Ok(Format::Json),
        _ => Err("invalid format option".to_owned()),
    }
}

/// Options of `runtime list`.
#[derive(clap::Args)]
pub struct List {
    /// "table" or "json"
    #[arg(short, long, default_value = "table", value_parser = format)]
    format: Format,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for List {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        let mut found = Vec::new();
        for id in containers.ids()? {
            match containers.find(&id) {
                Ok(container) => found.push(container),
                // Half made or just gone; a damaged one is told, and hides no other.
                Err(error) if crate::error::kind(&error) == Some(crate::error::Kind::NotFound) => {}
                Err(error) => context.output.warn(format!("{error:#}")),
            }
        }
        if self.quiet {
            for container in &found {
                context.output.line(&container.record.id)?;
            }
            return Ok(0);
        }
        let text = match self.format {
            Format::Json => {
                let all = found.iter().map(object).collect::<Result<Vec<Value>>>()?;
                format!("{}\n", serde_json::to_string(&all)?)
            }
            Format::Table => {
                let titles = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
                let mut lines = vec![titles.map(str::to_owned).to_vec()];
                for container in &found {
                    lines.push(row(container)?);
                }
                aligned_wide(&lines)
            }
        };
        context.output.write(text.as_bytes())?;
        Ok(0)
    }
}

fn owner(container: &Container) -> String {
    let uid = container.record.owner;
    id_mapping::name_of(uid).unwrap_or_else(|| format!("#{uid}"))
}

fn row(container: &Container) -> Result<Vec<String>> {
    let record = &container.record;
    Ok(vec![
        record.id.clone(),
        container.pid().to_string(),
        container.status()?.word().to_owned(),
        record.bundle.to_string_lossy().into_owned(),
        record.created.clone(),
        owner(container),
    ])
}

fn object(container: &Container) -> Result<Value> {
    let mut object = super::described(container)?;
    object["owner"] = json!(owner(container));
    Ok(object)
}

/// Options of `runtime ps`.
#[derive(clap::Args)]
pub struct Ps {
    /// "table" or "json", which has numbers only
    #[arg(short, long, default_value = "table", value_parser = format)]
    format: Format,
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

impl Verb for Ps {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let id = self.words.first().map(String::as_str).unwrap_or_default();
        let container = context.containers()?.find(id)?;
        let text = match self.format {
            Format::Json => format!("{}\n", serde_json::to_string(&container.processes()?)?),
            Format::Table => {
                let default = ["-ef".to_owned()];
                let options = match &self.words[1..] {
                    [] => &default[..],
                    options => options,
                };
                let columns = top::columns(options)?;
                top::table(&columns, &processes::of(&container.record.init)?)?
            }
        };
        context.output.write(text.as_bytes())?;
        Ok(0)
    }
}
