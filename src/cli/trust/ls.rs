//! `trust ls`: all that the policy says, in words.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::table::{Column, Listing, Row};
use crate::image::trust::policy::Policy;
use crate::image::trust::words;
use anyhow::Result;

const COLUMNS: &[Column] = &[
    Column {
        name: "Scope",
        header: "SCOPE",
    },
    Column {
        name: "Meaning",
        header: "IMAGES ARE",
    },
    Column {
        name: "File",
        header: "FILE",
    },
];

/// Options of `trust ls`.
#[derive(clap::Args)]
pub struct Ls {
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Print scopes only
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Ls {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let policy = Policy::load()?;
        let file = policy.file.as_ref();
        let file = file.map_or_else(String::new, |file| file.display().to_string());
        let row = |row: &words::Row| {
            Row::new()
                .with("Scope", row.scope.as_str())
                .with("Meaning", row.meaning.as_str())
                .with("File", file.as_str())
        };
        let rows: Vec<Row> = words::rows(&policy).iter().map(row).collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &["Scope", "Meaning"],
            quiet: self.quiet.then_some("Scope"),
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}
