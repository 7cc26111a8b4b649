//! `volume ls`: which volumes are here.

use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::output::table::{Column, Listing, Row};
use crate::cli::{Context, prune};
use crate::container::volume as container;
use crate::volume::{self, Volume};
use anyhow::Result;

const COLUMNS: &[Column] = &[
    Column {
        name: "Name",
        header: "VOLUME NAME",
    },
    Column {
        name: "Driver",
        header: "DRIVER",
    },
    Column {
        name: "Scope",
        header: "SCOPE",
    },
    Column {
        name: "Mountpoint",
        header: "MOUNTPOINT",
    },
    Column {
        name: "Labels",
        header: "LABELS",
    },
    Column {
        name: "Links",
        header: "LINKS",
    },
    Column {
        name: "Size",
        header: "SIZE",
    },
    Column {
        name: "Group",
        header: "GROUP",
    },
    Column {
        name: "Availability",
        header: "AVAILABILITY",
    },
    Column {
        name: "Status",
        header: "STATUS",
    },
];
const FILTERS: &[&str] = &["dangling", "driver", "label", "label!", "name", "until"];

/// Options of `volume ls`.
#[derive(clap::Args)]
pub struct Ls {
    /// Show only what fits ("dangling=true", "driver=local", "label=KEY=VALUE", "name=EXPRESSION")
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Print names only
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Ls {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let filters = Filters::new(self.filter, FILTERS)?;
        let dangling = filters.flag("dangling")?;
        let until = prune::check(&filters)?;
        let engine = context.engine()?;
        let mut volumes = volume::list(&engine.paths)?;
        volumes.retain(|volume| super::fits(volume, &filters, until));
        if let Some(dangling) = dangling {
            let users = container::users(&engine)?;
            volumes.retain(|volume| users.contains_key(&volume.name) != dangling);
        }
        let row = |volume: &Volume| {
            Row::new()
                .with("Name", volume.name.as_str())
                .with("Driver", volume.driver.as_str())
                .with("Scope", "local")
                .with(
                    "Mountpoint",
                    volume::data(&engine.paths, &volume.name)
                        .display()
                        .to_string(),
                )
                .with_labels(&volume.labels)
                .with("Links", "N/A")
                .with("Size", "N/A")
                .with("Group", "N/A")
                .with("Availability", "N/A")
                .with("Status", "N/A")
        };
        let rows: Vec<Row> = volumes.iter().map(row).collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &["Driver", "Name"],
            quiet: self.quiet.then_some("Name"),
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}
