//! `images`: which images are here.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter;
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::image::filter::{Filter, LIST};
use crate::image::reference::Reference;
use crate::image::store::{self, Image};
use anyhow::Result;
use std::collections::BTreeMap;

const COLUMNS: &[Column] = &[
    Column {
        name: "ID",
        header: "IMAGE ID",
    },
    Column {
        name: "Repository",
        header: "REPOSITORY",
    },
    Column {
        name: "Tag",
        header: "TAG",
    },
    Column {
        name: "Digest",
        header: "DIGEST",
    },
    Column {
        name: "CreatedSince",
        header: "CREATED",
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
    },
    Column {
        name: "Size",
        header: "SIZE",
    },
    Column {
        name: "Containers",
        header: "CONTAINERS",
    },
    Column {
        name: "VirtualSize",
        header: "SIZE",
    },
    Column {
        name: "SharedSize",
        header: "SHARED SIZE",
    },
    Column {
        name: "UniqueSize",
        header: "UNIQUE SIZE",
    },
    Column {
        name: "ReadOnly",
        header: "R/O",
    },
];
const NONE: &str = "<none>";

/// Options of `images`.
#[derive(clap::Args)]
pub struct Images {
    /// Show intermediate images too (there are none)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what fits ("dangling=true", "reference=PATTERN")
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    repository: Option<String>,
}

impl Verb for Images {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let paths = context.engine()?.paths;
        let mut filter = Filter::new(&paths, LIST, &self.filter)?;
        if let Some(pattern) = &self.repository {
            filter.add_reference(pattern);
        }
        let mut images = store::list(&paths)?;
        images.retain(|image| filter.matches(image));
        images.sort_by(|a, b| {
            b.created
                .cmp(&a.created)
                .then_with(|| a.names.cmp(&b.names))
        });
        let rows: Vec<Row> = images
            .iter()
            .flat_map(|image| self.rows(image, &filter))
            .collect();
        let mut table = match self.digests {
            true => vec!["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
            false => vec!["Repository", "Tag", "ID", "CreatedSince", "Size"],
        };
        // As in podman: only where there is a difference.
        if images.iter().any(|image| image.store.is_some()) {
            table.push("ReadOnly");
        }
        let quiet = self.quiet.then_some("ID");
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &table,
            quiet,
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

impl Images {
    /// One row for each name that fits; an image without one has a row all the same.
    fn rows(&self, image: &Image, filter: &Filter) -> Vec<Row> {
        let mut repositories: BTreeMap<String, (Vec<&Reference>, Vec<&Reference>)> =
            BTreeMap::new();
        let names = image.names.iter().chain(&image.names_elsewhere);
        for name in names.filter(|name| filter.names(name)) {
            let (tags, digests) = repositories.entry(name.repository()).or_default();
            if name.tag().is_some() {
                tags.push(name)
            } else {
                digests.push(name)
            }
        }
        if repositories.is_empty() {
            return vec![self.row(image, NONE, NONE, NONE)];
        }
        let mut rows = Vec::new();
        for (repository, (tags, digests)) in &repositories {
            let tags = words(tags, |name| name.tag().map(str::to_owned));
            let digests = words(digests, |name| name.digest().map(ToString::to_string));
            for tag in &tags {
                for digest in &digests[..if self.digests { digests.len() } else { 1 }] {
                    rows.push(self.row(image, repository, tag, digest));
                }
            }
        }
        rows
    }

    fn row(&self, image: &Image, repository: &str, tag: &str, digest: &str) -> Row {
        let id = if self.no_trunc {
            image.id.to_string()
        } else {
            image.id.short().to_owned()
        };
        let size = size::decimal(image.size);
        // Only the table of Docker has a word for no date.
        let table = self.format.as_deref().unwrap_or("table").trim() == "table";
        let undated = if table { "N/A" } else { "" };
        let since = super::ago(image.created).unwrap_or_else(|| undated.to_owned());
        Row::new()
            .with("ID", id)
            .with("Repository", repository)
            .with("Tag", tag)
            .with("Digest", digest)
            .with("CreatedSince", since)
            .with("CreatedAt", super::local(image.created))
            .with("Size", size.as_str())
            .with("VirtualSize", size)
            .with("Containers", "N/A")
            .with("SharedSize", "N/A")
            .with("UniqueSize", "N/A")
            .with("ReadOnly", image.store.is_some().to_string())
    }
}

/// One word of each name, or the word for none.
fn words(names: &[&Reference], word: impl Fn(&Reference) -> Option<String>) -> Vec<String> {
    let words: Vec<String> = names.iter().filter_map(|name| word(name)).collect();
    if words.is_empty() {
        vec![NONE.to_owned()]
    } else {
        words
    }
}
