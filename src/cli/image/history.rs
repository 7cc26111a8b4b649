//! `history`: the steps that made an image.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::image::history::{Step, steps};
use crate::image::platform::Platform;
use crate::image::store::Image;
use anyhow::Result;
use jiff::tz::TimeZone;

const COLUMNS: &[Column] = &[
    Column {
        name: "ID",
        header: "IMAGE",
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
    },
    Column {
        name: "CreatedSince",
        header: "CREATED",
    },
    Column {
        name: "CreatedBy",
        header: "CREATED BY",
    },
    Column {
        name: "Size",
        header: "SIZE",
    },
    Column {
        name: "Comment",
        header: "COMMENT",
    },
];

/// Characters of a command that the table shows.
const COMMAND_WIDTH: usize = 45;

/// Options of `history`.
#[derive(clap::Args)]
pub struct History {
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Print sizes and dates as people read them
    #[arg(short = 'H', long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    human: bool,
    /// Print whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Expect an image for this platform ("os/arch[/variant]")
    #[arg(long)]
    platform: Option<Platform>,
    image: String,
}

impl Verb for History {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let image = super::find(&engine, &self.image, self.platform.as_ref())?;
        let steps = steps(&engine.paths, &image)?;
        let rows: Vec<Row> = steps
            .iter()
            .enumerate()
            .map(|(place, step)| self.row(&image, place, step))
            .collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: match self.human {
                true => &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
                false => &["ID", "CreatedAt", "CreatedBy", "Size", "Comment"],
            },
            quiet: self.quiet.then_some("ID"),
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

impl History {
    fn row(&self, image: &Image, place: usize, step: &Step) -> Row {
        let id = match (place, self.no_trunc) {
            (0, true) => image.id.to_string(),
            (0, false) => image.id.short().to_owned(),
            _ => "<missing>".to_owned(),
        };
        let at = super::never(step.created);
        let at = at
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string();
        let at = at.replace("+00:00", "Z");
        // The first second of 1970 is what builds put where they want to name no time.
        let dated = step.created.filter(|time| time.as_second() > 0);
        let (since, size) = match self.human {
            true => (
                super::ago(dated).unwrap_or_else(|| "N/A".to_owned()),
                size::decimal(step.size),
            ),
            false => (at.clone(), step.size.to_string()),
        };
        let command = step.created_by.replace('\t', " ");
        let command = match self.no_trunc || command.chars().count() <= COMMAND_WIDTH {
            true => command,
            false => command
                .chars()
                .take(COMMAND_WIDTH - 1)
                .chain(['…'])
                .collect(),
        };
        Row::new()
            .with("ID", id)
            .with("CreatedAt", at)
            .with("CreatedSince", since)
            .with("CreatedBy", command)
            .with("Size", size)
            .with("Comment", step.comment.as_str())
    }
}
