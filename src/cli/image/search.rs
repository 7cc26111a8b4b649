//! `search`: which repositories a registry has, and which tags a repository.

use super::registry::RegistryFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::output::table::{Column, Listing, Row};
use crate::error::{Error, bad_input};
use crate::image::reference::Reference;
use crate::image::registry::discovery::Hit;
use crate::image::registry::search::{search, split};
use crate::image::registry::{Options, Repository};
use anyhow::Result;

const COLUMNS: &[Column] = &[
    Column {
        name: "Name",
        header: "NAME",
    },
    Column {
        name: "Description",
        header: "DESCRIPTION",
    },
    Column {
        name: "StarCount",
        header: "STARS",
    },
    Column {
        name: "IsOfficial",
        header: "OFFICIAL",
    },
];
const TAG_COLUMNS: &[Column] = &[
    Column {
        name: "Name",
        header: "NAME",
    },
    Column {
        name: "Tag",
        header: "TAG",
    },
];
/// Characters of a description that the table shows.
const DESCRIPTION_WIDTH: usize = 45;
/// As many as Docker's engine finds.
const USUAL_LIMIT: usize = 25;
const HIGHEST_LIMIT: usize = 100;

/// Options of `search`.
#[derive(clap::Args)]
pub struct Search {
    /// Show only what fits ("is-official=true", "stars=NUMBER")
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Show at most so many (1 to 100; without it 25, of tags all)
    #[arg(long)]
    limit: Option<usize>,
    /// List the tags of the repository instead
    #[arg(long)]
    list_tags: bool,
    /// Print whole descriptions
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    term: String,
}

impl Verb for Search {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let wanted = Wanted::new(&self.filter)?;
        let options = self.registry.options(context)?;
        if self.list_tags {
            if !self.filter.is_empty() {
                return Err(bad_input("filters are not applicable to list tags result").into());
            }
            let format = self.format.as_deref();
            return list_tags(context, &self.term, self.limit, format, &options);
        }
        let limit = self
            .limit
            .filter(|limit| *limit != 0)
            .unwrap_or(USUAL_LIMIT);
        if limit > HIGHEST_LIMIT {
            let message = format!("limit {limit} is outside the range of [1, {HIGHEST_LIMIT}]");
            return Err(bad_input(message).into());
        }
        if wanted.automated {
            context
                .output
                .warn("nothing is automated any more, so `is-automated=true` finds nothing");
        }
        let (domain, term) = split(&self.term);
        let found = search(domain, term, limit, &options)?;
        if let Some(error) = &found.unreachable {
            context
                .output
                .warn(format_args!("a mirror was asked instead: {error:#}"));
        }
        if let Some(host) = &found.without_search {
            context.output.warn(format_args!(
                "`{host}` has no search: its list of repositories was looked through, which tells names only"
            ));
        }
        let json = self.format.as_deref() == Some("json");
        let rows: Vec<Row> = found
            .hits
            .iter()
            .filter(|hit| wanted.fits(hit))
            .map(|hit| row(hit, self.no_trunc, json))
            .collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &["Name", "Description", "StarCount", "IsOfficial"],
            quiet: None,
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

/// What the filters ask for.
struct Wanted {
    stars: u64,
    official: Option<bool>,
    automated: bool,
}

impl Wanted {
    fn new(filters: &[(String, String)]) -> Result<Self, Error> {
        let filters = Filters::new(filters.to_vec(), &["is-automated", "is-official", "stars"])?;
        let bad = |key: &str, value: &str| bad_input(format!("invalid filter '{key}={value}'"));
        let truth = |key: &str| match filters.of(key).last() {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(value) => Err(bad(key, value)),
        };
        let stars = filters
            .of("stars")
            .map(|text| text.parse::<u64>().map_err(|_| bad("stars", text)));
        Ok(Self {
            stars: stars
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .max()
                .unwrap_or(0),
            official: truth("is-official")?,
            automated: truth("is-automated")?.unwrap_or(false),
        })
    }

    fn fits(&self, hit: &Hit) -> bool {
        let official = self.official.is_none_or(|wanted| wanted == hit.official);
        official && !self.automated && hit.stars >= self.stars
    }
}

fn row(hit: &Hit, whole: bool, json: bool) -> Row {
    let description = hit.description.replace(['\n', '\r'], " ");
    let description = match whole || description.chars().count() <= DESCRIPTION_WIDTH {
        true => description,
        false => description
            .chars()
            .take(DESCRIPTION_WIDTH - 1)
            .chain(['…'])
            .collect(),
    };
    let official = match (hit.official, json) {
        (true, true) => "true",
        (true, false) => "[OK]",
        (false, true) => "false",
        (false, false) => "",
    };
    Row::new()
        .with("Name", hit.name.as_str())
        .with("Description", description)
        .with("StarCount", hit.stars.to_string())
        .with("IsOfficial", official)
}

fn list_tags(
    context: &mut Context,
    typed: &str,
    limit: Option<usize>,
    format: Option<&str>,
    options: &Options,
) -> Result<u8> {
    let name: Reference = typed.parse()?;
    if name.tag().is_some() || name.digest().is_some() {
        return Err(bad_input(format!(
            "`{typed}` has a tag; its repository has all of them"
        ))
        .hint(format!("`--list-tags {}`", name.repository()))
        .into());
    }
    let mut tags = Repository::open(&name, typed, options)?.tags()?;
    tags.truncate(limit.filter(|limit| *limit != 0).unwrap_or(usize::MAX));
    let shown = name.repository();
    let row = |tag: &String| {
        Row::new()
            .with("Name", shown.as_str())
            .with("Tag", tag.as_str())
    };
    let listing = Listing {
        format,
        columns: TAG_COLUMNS,
        table: &["Name", "Tag"],
        quiet: None,
    };
    listing.render(
        &mut context.output,
        &tags.iter().map(row).collect::<Vec<_>>(),
    )?;
    Ok(0)
}
