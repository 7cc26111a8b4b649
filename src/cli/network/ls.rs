//! `network ls`: which networks are here.

use super::SCOPE;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::filter::{self, Filters};
use crate::cli::output::table::{Column, Listing, Row};
use crate::container::membership::Used;
use crate::network::record::Network;
use crate::network::store;
use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::cmp::Ordering;

const COLUMNS: &[Column] = &[
    Column {
        name: "ID",
        header: "NETWORK ID",
    },
    Column {
        name: "Name",
        header: "NAME",
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
        name: "IPv4",
        header: "IPV4",
    },
    Column {
        name: "IPv6",
        header: "IPV6",
    },
    Column {
        name: "Internal",
        header: "INTERNAL",
    },
    Column {
        name: "Labels",
        header: "LABELS",
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
    },
];
const FILTERS: &[&str] = &[
    "dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until",
];

/// Options of `network ls`.
#[derive(clap::Args)]
pub struct Ls {
    /// Show only what fits ("dangling=true", "driver=bridge", "label=KEY=VALUE", "name=EXPRESSION", "type=custom")
    #[arg(short, long, value_parser = filter::parse)]
    filter: Vec<(String, String)>,
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Ls {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let filters = Filters::new(self.filter, FILTERS)?;
        let dangling = filters.flag("dangling")?;
        let until = crate::cli::prune::check(&filters)?;
        let engine = context.engine()?;
        let mut networks = Vec::new();
        for network in store::all(&engine.paths)? {
            if super::fits(&network, &filters, until)? {
                networks.push(network);
            }
        }
        networks.sort_by(|a, b| natural(&a.name, &b.name));
        if let Some(dangling) = dangling {
            let used = Used::by_all(&engine)?;
            let is_used = |network: &Network| network.is_built_in() || used.has(network);
            networks.retain(|network| is_used(network) != dangling);
        }
        let row = |network: &Network| {
            let id = if self.no_trunc {
                &network.id
            } else {
                &network.id[..12]
            };
            Row::new()
                .with("ID", id)
                .with("Name", network.name.as_str())
                .with("Driver", network.driver.word())
                .with("Scope", SCOPE)
                .with("IPv4", network.ipv4.to_string())
                .with("IPv6", network.ipv6.to_string())
                .with("Internal", network.internal.to_string())
                .with_labels(&network.labels)
                .with("CreatedAt", created(&network.created))
        };
        let rows: Vec<Row> = networks.iter().map(row).collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &["ID", "Name", "Driver", "Scope"],
            quiet: self.quiet.then_some("ID"),
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

/// The order of Docker's lists: digits in names are numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let (Some(x), Some(y)) = (a.first(), b.first()) {
        let ordering = if x.is_ascii_digit() && y.is_ascii_digit() {
            let number = |text: &mut &[u8]| {
                let end = text.iter().position(|byte| !byte.is_ascii_digit());
                let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
                *text = rest;
                let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
                (digits.len() - zeros, digits[zeros..].to_vec(), zeros)
            };
            number(&mut a).cmp(&number(&mut b))
        } else {
            let ordering = x.cmp(y);
            (a, b) = (&a[1..], &b[1..]);
            ordering
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    a.cmp(b)
}

/// The time as Go prints it, with the fractions of the second that it has.
fn created(text: &str) -> String {
    let Ok(time) = text.parse::<Timestamp>() else {
        return text.to_owned();
    };
    let zoned = time.to_zoned(TimeZone::UTC);
    zoned.strftime("%Y-%m-%d %H:%M:%S%.f %z %Z").to_string()
}
