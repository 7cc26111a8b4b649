//! `builder prune`, `buildx prune`, `buildx du`: what is in the builder's cache, and how it goes.
//! <https://docs.docker.com/reference/cli/docker/buildx/prune/>

use super::buildx;
use crate::build::cache::prune::{Entry, Space, list, prune, total};
use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters, expression_fits};
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::cli::value::time::time;
use crate::cli::{Context, prune as asking};
use crate::container::remove::sweep_staging;
use crate::duration;
use crate::error::{Error, bad_input};
use anyhow::Result;
use jiff::Timestamp;
use std::time::Duration;

/// What entries are chosen by.
const FILTERS: &[&str] = &[
    "description",
    "id",
    "immutable",
    "inuse",
    "mutable",
    "parent",
    "parents",
    "private",
    "shared",
    "type",
    "until",
    "unused-for",
];

/// Options of `builder prune`.
#[derive(clap::Args)]
pub struct Prune {
    /// Remove what images need too
    #[arg(short, long)]
    all: bool,
    /// Builder to prune
    #[arg(long)]
    builder: Option<String>,
    /// Remove only what fits ("until=24h", "type=exec.cachemount")
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Keep so much, what was used last
    #[arg(long, value_name = "bytes", value_parser = bytes)]
    keep_storage: Option<u64>,
    /// Use so much of the disk at most
    #[arg(long, value_name = "bytes", value_parser = bytes)]
    max_used_space: Option<u64>,
    /// Remove until so much of the disk is free
    #[arg(long, value_name = "bytes", value_parser = bytes)]
    min_free_space: Option<u64>,
    /// Always keep so much
    #[arg(long, value_name = "bytes", value_parser = bytes)]
    reserved_space: Option<u64>,
    /// Tell all that is known of each
    #[arg(long)]
    verbose: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = size::parse_decimal(text).map_err(|error| error.message)?;
    u64::try_from(bytes).map_err(|_| format!("invalid size: '{text}'"))
}

impl Verb for Prune {
    fn execute(self, context: &mut Context) -> Result<u8> {
        buildx::only(self.builder.as_deref().unwrap_or_default())?;
        let chosen = Chosen::new(self.filter)?;
        let engine = context.engine()?;
        let what = match self.all {
            true => "WARNING! This will remove all build cache.\n",
            false => "WARNING! This will remove all dangling build cache.\n",
        };
        asking::ask(context, self.force, &format!("{what} "), "builder prune")?;
        engine.enter_user_namespace()?;
        let of_killed = sweep_staging(&engine);
        let space = Space {
            max_used: self.max_used_space,
            reserved: self.reserved_space.or(self.keep_storage),
            min_free: self.min_free_space,
        };
        let all = self.all;
        let is_meant = |entry: &Entry| (all || !entry.shared) && chosen.fits(entry);
        let (gone, freed) = prune(&engine.paths, space, &is_meant)?;
        if !gone.is_empty() {
            match self.verbose {
                true => context.output.write(details(&gone).as_bytes())?,
                false => table(context, None, &gone)?,
            }
        }
        let freed = size::decimal_with(freed + of_killed, 4);
        context.output.line(format!("Total:\t{freed}"))?;
        Ok(0)
    }
}

/// Options of `buildx du`.
#[derive(clap::Args)]
pub struct Du {
    /// Builder to look at
    #[arg(long)]
    builder: Option<String>,
    /// Show only what fits ("until=24h", "type=exec.cachemount")
    #[arg(long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print "table", "json", or by a Go template
    #[arg(long)]
    format: Option<String>,
    /// Tell all that is known of each
    #[arg(long)]
    verbose: bool,
}

impl Verb for Du {
    fn execute(self, context: &mut Context) -> Result<u8> {
        buildx::only(self.builder.as_deref().unwrap_or_default())?;
        let chosen = Chosen::new(self.filter)?;
        let engine = context.engine()?;
        engine.enter_user_namespace()?;
        let mut entries = list(&engine.paths)?;
        entries.retain(|entry| chosen.fits(entry));
        if self.verbose {
            context.output.write(details(&entries).as_bytes())?;
        } else {
            table(context, self.format.as_deref(), &entries)?;
        }
        if !self.verbose && !matches!(self.format.as_deref(), None | Some("" | "table")) {
            return Ok(0);
        }
        let sum = |is_meant: &dyn Fn(&&Entry) -> bool| -> String {
            size::decimal_with(total(entries.iter().filter(is_meant)), 4)
        };
        let lines = [
            ("Shared:", sum(&|entry| entry.shared)),
            ("Private:", sum(&|entry| !entry.shared)),
            ("Reclaimable:", sum(&|entry| !entry.in_use)),
            ("Total:", sum(&|_| true)),
        ];
        for (name, size) in lines {
            context.output.line(format!("{name:<13}{size}"))?;
        }
        Ok(0)
    }
}

/// What is meant.
struct Chosen {
    filters: Filters,
    /// Only what was not used since.
    until: Option<i64>,
}

impl Chosen {
    fn new(mut values: Vec<(String, String)>) -> Result<Self, Error> {
        // Docker's own example is `description~=golang`, an expression, which it is here in any case.
        for (key, _) in &mut values {
            if key == "description~" {
                key.pop();
            }
        }
        let filters = Filters::new(values, FILTERS)?;
        let now = Timestamp::now();
        let mut until: Option<i64> = None;
        for text in filters.of("until").chain(filters.of("unused-for")) {
            let at = time(text, now)?.as_second();
            until = Some(until.map_or(at, |known| known.min(at)));
        }
        for key in ["immutable", "inuse", "mutable", "private", "shared"] {
            if let Some(bad) = filters
                .of(key)
                .find(|text| !["", "true", "false", "1", "0"].contains(text))
            {
                return Err(bad_input(format!("invalid filter '{key}=[{bad}]'")));
            }
        }
        Ok(Self { filters, until })
    }

    fn fits(&self, entry: &Entry) -> bool {
        let is = |key: &str, found: bool| {
            self.filters
                .any(key, |text| found != ["false", "0"].contains(&text))
        };
        let parent = |text: &str| {
            entry
                .parent
                .as_deref()
                .is_some_and(|parent| parent.starts_with(text))
        };
        self.until.is_none_or(|until| entry.time() < until)
            && self.filters.any("id", |text| entry.id.starts_with(text))
            && self.filters.any("type", |text| entry.kind.name() == text)
            && self.filters.any("description", |text| {
                entry.description.contains(text) || expression_fits(text, &entry.description)
            })
            && self.filters.any("parent", parent)
            && self.filters.any("parents", parent)
            && is("inuse", entry.in_use)
            && is("mutable", entry.is_mutable())
            && is("immutable", !entry.is_mutable())
            && is("shared", entry.shared)
            && is("private", !entry.shared)
    }
}

const fn column(name: &'static str, header: &'static str) -> Column {
    Column { name, header }
}

const COLUMNS: &[Column] = &[
    column("ID", "ID"),
    column("Reclaimable", "RECLAIMABLE"),
    column("Size", "SIZE"),
    column("LastUsedAt", "LAST ACCESSED"),
    column("Type", "TYPE"),
    column("Description", "DESCRIPTION"),
    column("Parents", "PARENTS"),
    column("Mutable", "MUTABLE"),
    column("Shared", "SHARED"),
    column("InUse", "IN USE"),
    column("UsageCount", "USAGE"),
    column("CreatedAt", "CREATED"),
];

fn table(context: &mut Context, format: Option<&str>, entries: &[Entry]) -> Result<()> {
    let rows: Vec<Row> = entries.iter().map(row).collect();
    let listing = Listing {
        format,
        columns: COLUMNS,
        table: &["ID", "Reclaimable", "Size", "LastUsedAt"],
        quiet: None,
    };
    listing.render(&mut context.output, &rows)
}

fn row(entry: &Entry) -> Row {
    let yes = |yes: bool| yes.to_string();
    Row::new()
        .with("ID", entry.id.as_str())
        .with("Reclaimable", yes(!entry.in_use))
        .with("Size", size::decimal_with(entry.size, 4))
        .with("LastUsedAt", entry.last_used.map_or(String::new(), ago))
        .with("Type", entry.kind.name())
        .with("Description", entry.description.as_str())
        .with("Parents", entry.parent.as_deref().unwrap_or_default())
        .with("Mutable", yes(entry.is_mutable()))
        .with("Shared", yes(entry.shared))
        .with("InUse", yes(entry.in_use))
        .with("UsageCount", entry.uses.to_string())
        .with("CreatedAt", moment(entry.created))
}

fn ago(seconds: i64) -> String {
    let age = Timestamp::now().as_second().saturating_sub(seconds);
    duration::ago(Duration::from_secs(age.max(0).cast_unsigned()))
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or(String::new(), |time| time.to_string())
}

/// All that is known of each, as `buildx du --verbose` tells it.
fn details(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let parent = entry.parent.as_deref().unwrap_or_default();
        let mut lines = vec![("ID:", entry.id.clone())];
        if !parent.is_empty() {
            lines.push(("Parent:", parent.to_owned()));
        }
        lines.extend([
            ("Created at:", moment(entry.created)),
            ("Mutable:", entry.is_mutable().to_string()),
            ("Reclaimable:", (!entry.in_use).to_string()),
            ("Shared:", entry.shared.to_string()),
            ("Size:", size::decimal_with(entry.size, 4)),
            (
                "Description:",
                crate::cli::output::visible(&entry.description),
            ),
            ("Usage count:", entry.uses.to_string()),
        ]);
        lines.extend(entry.last_used.map(|used| ("Last used:", ago(used))));
        lines.push(("Type:", entry.kind.name().to_owned()));
        for (name, value) in lines {
            text += &format!("{name:<16}{value}\n");
        }
        text.push('\n');
    }
    text
}
