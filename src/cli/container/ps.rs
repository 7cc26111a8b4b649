//! `ps`: the list of containers.
//!
//! Reads records only and takes no lock, so that it answers whatever else hangs. What a column costs is paid
//! only where it is shown: `-q` reads no image.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters, expression_fits};
use crate::cli::output::table::{Column, Listing, Row};
use crate::cli::output::template::quote;
use crate::cli::output::{duration, size};
use crate::cli::value;
use crate::container::engine::Engine;
use crate::container::list::{self, Container};
use crate::container::options::Namespace;
use crate::container::record::Status;
use crate::container::size as container_size;
use crate::image::platform::Platform;
use crate::image::store::{self, Image};
use anyhow::Result;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Options of `ps`.
#[derive(clap::Args)]
pub struct Ps {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Show only what fits (key=value)
    #[arg(short, long, value_name = "filter", value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print "table", "json", or by a Go template
    #[arg(long)]
    format: Option<String>,
    /// Show the n last made, whatever their state
    #[arg(short = 'n', long, value_name = "int", default_value = "-1", value_parser = value::integer)]
    last: i64,
    /// Show the one last made, whatever its state
    #[arg(short, long)]
    latest: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Show ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show the sizes
    #[arg(short, long)]
    size: bool,
}

const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "health", "id", "is-task", "label", "name", "network", "since",
    "status", "volume",
];

const COLUMNS: &[Column] = &[
    Column {
        name: "ID",
        header: "CONTAINER ID",
    },
    Column {
        name: "Image",
        header: "IMAGE",
    },
    Column {
        name: "Command",
        header: "COMMAND",
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
    },
    Column {
        name: "RunningFor",
        header: "CREATED",
    },
    Column {
        name: "Platform",
        header: "PLATFORM",
    },
    Column {
        name: "Ports",
        header: "PORTS",
    },
    Column {
        name: "State",
        header: "STATE",
    },
    Column {
        name: "Status",
        header: "STATUS",
    },
    Column {
        name: "Size",
        header: "SIZE",
    },
    Column {
        name: "Names",
        header: "NAMES",
    },
    Column {
        name: "Labels",
        header: "LABELS",
    },
    Column {
        name: "Mounts",
        header: "MOUNTS",
    },
    Column {
        name: "LocalVolumes",
        header: "LOCAL VOLUMES",
    },
    Column {
        name: "Networks",
        header: "NETWORKS",
    },
];

const TABLE: &[&str] = &[
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Ports",
    "Names",
];
const TABLE_WITH_SIZE: &[&str] = &[
    "ID",
    "Image",
    "Command",
    "RunningFor",
    "Status",
    "Ports",
    "Names",
    "Size",
];

impl Verb for Ps {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        if self.size {
            engine.enter_user_namespace()?;
        }
        let filters = Filters::new(self.filter, FILTERS)?;
        let last = if self.latest { 1 } else { self.last };
        let images = Images::default();
        let selection = Selection::new(&engine, &filters)?;
        let mut shown = Vec::new();
        for container in list::list(&engine)? {
            let counts = self.all || last > 0 || filters.of("status").next().is_some();
            if (counts || container.status().is_active())
                && selection.fits(&engine, &images, &container)?
            {
                shown.push(container);
            }
        }
        if let Ok(most @ 1..) = usize::try_from(last) {
            shown.truncate(most);
        }
        let only_ids = self.quiet && self.format.as_deref().unwrap_or("table").trim() == "table";
        let now = Timestamp::now();
        let row = |container: &Container| {
            let id = Row::new().with("ID", shorten(&container.record.id, self.no_trunc));
            if only_ids {
                Ok(id)
            } else {
                fill(
                    id,
                    &engine,
                    &images,
                    container,
                    now,
                    self.no_trunc,
                    self.size,
                )
            }
        };
        let rows = shown.iter().map(row).collect::<Result<Vec<_>>>()?;
        let table = if self.size { TABLE_WITH_SIZE } else { TABLE };
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table,
            quiet: self.quiet.then_some("ID"),
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

/// The images that containers name, each read once.
#[derive(Default)]
struct Images(std::cell::RefCell<BTreeMap<String, Option<Image>>>);

impl Images {
    fn find(&self, engine: &Engine, name: &str) -> Option<Image> {
        let mut known = self.0.borrow_mut();
        known
            .entry(name.to_owned())
            .or_insert_with(|| store::find(&engine.paths, name).ok())
            .clone()
    }
}

/// The filters, with the containers and images that they name looked up.
struct Selection<'a> {
    filters: &'a Filters,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    exited: Vec<u8>,
}

impl<'a> Selection<'a> {
    fn new(engine: &Engine, filters: &'a Filters) -> Result<Self> {
        let made = |key: &str| -> Result<Option<Timestamp>> {
            filters
                .of(key)
                .last()
                .map(|name| Ok(created(&list::find(engine, name)?)))
                .transpose()
        };
        let known = [
            "created",
            "restarting",
            "running",
            "removing",
            "paused",
            "exited",
            "dead",
        ];
        if let Some(status) = filters.of("status").find(|status| !known.contains(status)) {
            return Err(
                crate::error::bad_input(format!("invalid filter 'status={status}'")).into(),
            );
        }
        let code = |text: &str| {
            text.parse::<u8>()
                .map_err(|_| crate::error::bad_input(format!("invalid filter 'exited={text}'")))
        };
        Ok(Self {
            filters,
            before: made("before")?,
            since: made("since")?,
            exited: filters.of("exited").map(code).collect::<Result<_, _>>()?,
        })
    }

    fn fits(&self, engine: &Engine, images: &Images, container: &Container) -> Result<bool> {
        let (record, filters, status) = (&container.record, self.filters, container.status());
        let code = container
            .state
            .as_ref()
            .filter(|_| status == Status::Exited)
            .map(|state| state.code());
        let name = |wanted: &str| {
            expression_fits(wanted, &record.name)
                || expression_fits(wanted, &format!("/{}", record.name))
        };
        let ancestor = |wanted: &str| {
            record.image_name == wanted
                || images.find(engine, wanted).is_some_and(|image| {
                    image.id == record.image
                        || (!image.layers.is_empty() && record.layers.starts_with(&image.layers))
                })
        };
        Ok(
            filters.any("id", |wanted| expression_fits(wanted, &record.id))
                && filters.any("name", name)
                && filters.any("status", |wanted| wanted == status.word())
                && filters.any("health", |wanted| wanted == "none")
                && filters.any("is-task", |wanted| wanted == "false")
                && filters.any("network", |wanted| {
                    wanted == network(record.options.network)
                })
                && filters.any("volume", |_| false)
                && filters.labels(&record.labels)
                && (self.exited.is_empty() || code.is_some_and(|code| self.exited.contains(&code)))
                && self.before.is_none_or(|before| created(container) < before)
                && self.since.is_none_or(|since| created(container) > since)
                && filters.any("ancestor", ancestor),
        )
    }
}

fn created(container: &Container) -> Timestamp {
    time(&container.record.created)
}

/// A time of a record; one that cannot be read is the epoch, so that the container is still listed.
fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

fn since(text: &str, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time(text))).unwrap_or_default()
}

/// All other columns.
fn fill(
    row: Row,
    engine: &Engine,
    images: &Images,
    container: &Container,
    now: Timestamp,
    whole: bool,
    with_size: bool,
) -> Result<Row> {
    let record = &container.record;
    let image = images.find(engine, &record.image.to_string());
    // The name may have moved on to another image since.
    let still_named = images
        .find(engine, &record.image_name)
        .is_some_and(|image| image.id == record.image);
    let image_name = if still_named {
        record.image_name.clone()
    } else {
        shorten(record.image.hex(), whole)
    };
    let size = if with_size {
        let written = container_size::written(engine, &record.id)?;
        let total = written + image.as_ref().map_or(0, |image| image.size);
        format!(
            "{} (virtual {})",
            size::decimal(written),
            size::decimal(total)
        )
    } else {
        "0B".to_owned()
    };
    let platform = image.map_or_else(Platform::host, |image| image.config.platform());
    Ok(row
        .with("Image", image_name)
        .with("Command", command(&record.program.words(), whole))
        .with("CreatedAt", local(&record.created))
        .with("RunningFor", duration::ago(since(&record.created, now)))
        .with("Platform", platform.to_string())
        .with("Ports", "")
        .with("State", container.status().word())
        .with("Status", status(container, now))
        .with("Size", size)
        .with("Names", record.name.as_str())
        .with("Mounts", "")
        .with("LocalVolumes", "0")
        .with("Networks", network(record.options.network))
        .with_labels(&record.labels))
}

/// `Up 2 hours`, `Exited (0) 3 days ago`, `Created`.
pub fn status(container: &Container, now: Timestamp) -> String {
    match (container.status(), &container.state) {
        (Status::Running, Some(state)) => {
            format!("Up {}", duration::human(since(&state.started, now)))
        }
        (Status::Paused, Some(state)) => {
            format!(
                "Up {} (Paused)",
                duration::human(since(&state.started, now))
            )
        }
        (Status::Restarting, Some(state)) => {
            format!(
                "Restarting ({}) {}",
                state.exit_code,
                duration::ago(since(&state.finished, now))
            )
        }
        // Whatever killed its monitor left nobody to note when.
        (Status::Exited, Some(state)) if state.finished.is_empty() => {
            format!("Exited ({})", state.code())
        }
        (Status::Exited, Some(state)) => {
            format!(
                "Exited ({}) {}",
                state.code(),
                duration::ago(since(&state.finished, now))
            )
        }
        _ => "Created".to_owned(),
    }
}

/// The words as one, in quotes, with at most 20 characters of it.
fn command(words: &[String], whole: bool) -> String {
    let word = |word: &String| {
        if word.contains(' ') {
            format!("'{word}'")
        } else {
            word.clone()
        }
    };
    let text = words.iter().map(word).collect::<Vec<_>>().join(" ");
    let text = if whole || text.chars().count() <= 20 {
        text
    } else {
        text.chars().take(19).chain(['…']).collect()
    };
    quote(&text)
}

fn shorten(id: &str, whole: bool) -> String {
    if whole {
        id.to_owned()
    } else {
        id.chars().take(12).collect()
    }
}

/// In the time zone of the user, as Go prints times.
fn local(text: &str) -> String {
    time(text)
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

/// The network that a container is in.
fn network(namespace: Namespace) -> &'static str {
    match namespace {
        Namespace::Host => "host",
        Namespace::Private | Namespace::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_quoted_and_shortened() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            command(&words(&["sh", "-c", "exit 7"]), false),
            "\"sh -c 'exit 7'\""
        );
        assert_eq!(
            command(&words(&["12345678901234567890"]), false),
            "\"12345678901234567890\""
        );
        assert_eq!(
            command(&words(&["123456789012345678901"]), false),
            "\"1234567890123456789…\""
        );
        assert_eq!(command(&words(&["a\"b\\"]), true), "\"a\\\"b\\\\\"");
    }
}
