//! `ps`: the list of containers.
//!
//! Reads records only and takes no lock, so that it answers whatever else hangs. What a column costs is paid
//! only where it is shown: `-q` reads no image, and no image is read twice.

use super::ports;
use super::selection::{FILTERS, Images, Selection, time};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::cli::output::template::quote;
use crate::cli::value;
use crate::container::engine::Engine;
use crate::container::list::{self, Container};
use crate::container::mount_point::{MountPoint, describe};
use crate::container::record::Status;
use crate::container::{health, network_settings, size as container_size};
use crate::duration;
use crate::image::platform::Platform;
use anyhow::Result;
use jiff::Timestamp;
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
        let filters = Filters::new(self.filter, FILTERS)?;
        let selection = Selection::new(&engine, &filters)?;
        let format = self.format.as_deref();
        // Sizes are counted file by file, so only where a template names them is it as good as `--size`.
        let with_size = self.size || format.is_some_and(|format| format.contains(".Size"));
        if with_size {
            engine.enter_user_namespace()?;
        }
        let last = if self.latest { 1 } else { self.last };
        let all = self.all || last > 0 || selection.wants_ended();
        let look = Look {
            engine: &engine,
            images: Images::default(),
            now: Timestamp::now(),
            whole: self.no_trunc,
            with_size,
        };
        let containers = list::list(&engine)?.into_iter();
        let shown = containers
            .map(|container| (container.status(), container))
            .filter(|(status, _)| all || status.is_active())
            .filter(|(status, container)| {
                selection.fits(&engine, &look.images, container, *status)
            });
        let most = usize::try_from(last).ok().filter(|most| *most > 0);
        let listing = Listing {
            format,
            columns: COLUMNS,
            table: if self.size { TABLE_WITH_SIZE } else { TABLE },
            quiet: self.quiet.then_some("ID"),
        };
        let rows = shown
            .take(most.unwrap_or(usize::MAX))
            .map(|(status, container)| look.row(&container, status, &listing))
            .collect::<Result<Vec<_>>>()?;
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

fn since(text: &str, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time(text))).unwrap_or_default()
}

/// What rows are made with.
pub(in crate::cli) struct Look<'a> {
    pub engine: &'a Engine,
    pub images: Images,
    pub now: Timestamp,
    /// Nothing is shortened.
    pub whole: bool,
    pub with_size: bool,
}

impl Look<'_> {
    /// The columns that are wanted.
    fn row(&self, container: &Container, status: Status, listing: &Listing) -> Result<Row> {
        let record = &container.record;
        let row = Row::new().with("ID", shorten(&record.id, self.whole));
        if listing.is_quiet() {
            return Ok(row);
        }
        let size = match self.with_size {
            true => {
                let written = container_size::written(self.engine, &record.id)?;
                let image = self.images.find(self.engine, &record.image.to_string());
                let total = written + image.map_or(0, |image| image.size);
                format!(
                    "{} (virtual {})",
                    size::decimal(written),
                    size::decimal(total)
                )
            }
            false => "0B".to_owned(),
        };
        let platform = || {
            let image = self.images.find(self.engine, &record.image.to_string());
            let platform = image.map_or_else(Platform::host, |image| image.config.platform());
            platform.to_string()
        };
        let mut row = row
            .with("Image", self.image(container))
            .with("Command", command(&record.program.words(), self.whole))
            .with(
                "RunningFor",
                duration::ago(since(&record.created, self.now)),
            )
            .with("State", status.word())
            .with("Status", self.status(container, status))
            .with("Size", size)
            .with("Names", record.name.as_str())
            .with("Mounts", mounts(&record.mounts, self.whole))
            .with(
                "LocalVolumes",
                describe::count_volumes(&record.mounts).to_string(),
            )
            .with(
                "Networks",
                network_settings::networks(&record.options).join(","),
            )
            .with_labels(&record.labels);
        // These cost more than they are asked for.
        if listing.wants("Ports") {
            row = row.with("Ports", self.ports(container, status));
        }
        if listing.wants("CreatedAt") {
            row = row.with("CreatedAt", local(&record.created));
        }
        if listing.wants("Platform") {
            row = row.with("Platform", platform());
        }
        Ok(row)
    }

    /// What leads into it, and what would if it were published.
    fn ports(&self, container: &Container, status: Status) -> String {
        let options = &container.record.options;
        if !status.is_up() || options.networks.is_empty() {
            return String::new();
        }
        let endpoints = network_settings::endpoints(self.engine, container);
        let image = self
            .images
            .find(self.engine, &container.record.image.to_string());
        let image = image
            .iter()
            .flat_map(|image| &image.config.config.exposed_ports);
        let exposed = network_settings::exposed(options, image);
        ports::words(&network_settings::published(&endpoints, exposed))
    }

    /// The image as it was named, or its id where that name means another one by now.
    pub fn image(&self, container: &Container) -> String {
        let record = &container.record;
        let named = self.images.find(self.engine, &record.image_name);
        match named.is_some_and(|image| image.id == record.image) {
            true if self.whole => record.image_name.clone(),
            true => without_digest(&record.image_name).to_owned(),
            false if self.whole => record.image.to_string(),
            false => record.image.short().to_owned(),
        }
    }

    /// `Up 2 hours (healthy)`, `Exited (0) 3 days ago`, `Created`.
    pub fn status(&self, container: &Container, status: Status) -> String {
        let Some(state) = &container.state else {
            return "Created".to_owned();
        };
        let up = || format!("Up {}", duration::human(since(&state.started, self.now)));
        let ago = || match state.ended() {
            // Whatever killed its monitor left nobody to note when.
            None => String::new(),
            Some(when) => format!(" {}", duration::ago(since(&when, self.now))),
        };
        match status {
            Status::Created => "Created".to_owned(),
            Status::Running => match health::read(self.engine, &container.record) {
                Some(health) => format!("{} ({})", up(), health.words()),
                None => up(),
            },
            Status::Paused => format!("{} (Paused)", up()),
            Status::Restarting => format!("Restarting ({}){}", state.code(), ago()),
            Status::Exited => format!("Exited ({}){}", state.code(), ago()),
        }
    }
}

/// Names of volumes and sources of binds, with at most 15 characters of each.
fn mounts(mounts: &[MountPoint], whole: bool) -> String {
    let name = |name: &str| match whole || name.chars().count() <= 15 {
        true => name.to_owned(),
        false => name.chars().take(14).chain(['…']).collect(),
    };
    let names = mounts.iter().filter_map(MountPoint::shown);
    names.map(name).collect::<Vec<_>>().join(",")
}

/// The name without the digest that may stand behind it.
fn without_digest(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// The words as one, in quotes, with at most 20 characters of it.
pub(in crate::cli) fn command(words: &[String], whole: bool) -> String {
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

pub(in crate::cli) fn shorten(id: &str, whole: bool) -> String {
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
