//! `image referrers`: what lies beside an image and is about it, such as signatures and bills of materials.

use super::registry::RegistryFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::error::bad_input;
use crate::image::copy::location::Location;
use crate::image::copy::open::Opening;
use crate::image::copy::referrers::{Referrer, of};
use crate::image::copy::{Order, choose_of};
use crate::image::platform::Platform;
use anyhow::{Context as _, Result};

const COLUMNS: &[Column] = &[
    Column {
        name: "Digest",
        header: "DIGEST",
    },
    Column {
        name: "ArtifactType",
        header: "ARTIFACT TYPE",
    },
    Column {
        name: "Subject",
        header: "SUBJECT",
    },
    Column {
        name: "Tag",
        header: "TAG",
    },
    Column {
        name: "Size",
        header: "SIZE",
    },
    Column {
        name: "CreatedAt",
        header: "CREATED AT",
    },
    Column {
        name: "Annotations",
        header: "ANNOTATIONS",
    },
];

/// Options of `image referrers`.
#[derive(clap::Args)]
pub struct Referrers {
    /// Show only what has this media type
    #[arg(long)]
    artifact_type: Option<String>,
    /// Print by a Go template, "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Print whole digests
    #[arg(long)]
    no_trunc: bool,
    /// Show what is about the image for this platform ("os/arch[/variant]"), not what is about all of them together
    #[arg(long)]
    platform: Option<Platform>,
    /// Print digests only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    image: String,
}

impl Verb for Referrers {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let options = self.registry.options(context)?;
        let engine = context.engine()?;
        let place = match self.image.parse::<Location>()? {
            Location::Bare(name) => format!("docker://{name}").parse()?,
            Location::Store(_) => {
                return Err(bad_input("the store keeps nothing beside an image")
                    .hint("`docker://NAME` is in a registry")
                    .into());
            }
            place => place,
        };
        let opening = Opening {
            paths: &engine.paths,
            max_bytes: engine.layer_rules()?.max_bytes,
            registries: &options,
        };
        let source = opening.source(&place)?;
        let what = || format!("list what refers to `{}`", self.image);
        let mut top = source.top().with_context(what)?;
        if self.platform.is_some() {
            let order = Order {
                platform: self.platform,
                ..Order::default()
            };
            top = choose_of(&*source, top, &order).with_context(what)?;
        }
        let found = of(&*source, &top.descriptor.digest).with_context(what)?;
        let wanted = self.artifact_type.as_deref();
        let rows: Vec<Row> = found
            .iter()
            .filter(|one| wanted.is_none_or(|wanted| one.kind == wanted))
            .map(|one| row(one, self.no_trunc))
            .collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &["Digest", "ArtifactType", "Tag", "Size"],
            quiet: self.quiet.then_some("Digest"),
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

fn row(one: &Referrer, whole: bool) -> Row {
    let shown = |digest: &crate::image::digest::Digest| match whole {
        true => digest.to_string(),
        false => format!("sha256:{}", digest.short()),
    };
    let annotations: Vec<String> = one
        .annotations
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let created = one.annotations.get("org.opencontainers.image.created");
    Row::new()
        .with("Digest", shown(&one.digest))
        .with("ArtifactType", one.kind.as_str())
        .with("Subject", shown(&one.subject))
        .with("Tag", one.tag.as_deref().unwrap_or_default())
        .with("Size", size::decimal(one.size))
        .with("CreatedAt", created.map_or("", String::as_str))
        .with("Annotations", annotations.join(","))
}
