//! `system df`: what takes how much of the disk. Docker's rows and, since they are not all, the others: together they
//! are what du(1) says of the data directory.

use crate::build;
use crate::build::cache::prune::Entry;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::container::ps::{Look, command, shorten};
use crate::cli::container::selection::{Images, time};
use crate::cli::output::Output;
use crate::cli::output::inspect::render_inspect;
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::container::disk::{self, ContainerSpace, Disk, ImageSpace, VolumeSpace};
use crate::container::engine::Engine;
use crate::container::mount_point::describe;
use crate::duration;
use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Options of `system df`.
#[derive(clap::Args)]
pub struct Df {
    /// Print "table", "json", or by a Go template
    #[arg(long)]
    format: Option<String>,
    /// Tell of each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

const fn column(name: &'static str, header: &'static str) -> Column {
    Column { name, header }
}

const SUMMARY: &[Column] = &[
    column("Type", "TYPE"),
    column("TotalCount", "TOTAL"),
    column("Active", "ACTIVE"),
    column("Size", "SIZE"),
    column("Reclaimable", "RECLAIMABLE"),
];
const IMAGES: &[Column] = &[
    column("Repository", "REPOSITORY"),
    column("Tag", "TAG"),
    column("ID", "IMAGE ID"),
    column("CreatedSince", "CREATED"),
    column("Size", "SIZE"),
    column("SharedSize", "SHARED SIZE"),
    column("UniqueSize", "UNIQUE SIZE"),
    column("Containers", "CONTAINERS"),
];
const CONTAINERS: &[Column] = &[
    column("ID", "CONTAINER ID"),
    column("Image", "IMAGE"),
    column("Command", "COMMAND"),
    column("LocalVolumes", "LOCAL VOLUMES"),
    column("Size", "SIZE"),
    column("RunningFor", "CREATED"),
    column("Status", "STATUS"),
    column("Names", "NAMES"),
];
const VOLUMES: &[Column] = &[
    column("Name", "VOLUME NAME"),
    column("Links", "LINKS"),
    column("Size", "SIZE"),
];
const CACHE: &[Column] = &[
    column("ID", "CACHE ID"),
    column("CacheType", "CACHE TYPE"),
    column("Size", "SIZE"),
    column("CreatedSince", "CREATED"),
    column("LastUsedSince", "LAST USED"),
    column("UsageCount", "USAGE"),
    column("Shared", "SHARED"),
];
/// What a format may name beside that.
const CACHE_DETAILS: &[Column] = &[
    column("Description", ""),
    column("InUse", ""),
    column("Parent", ""),
    column("CreatedAt", ""),
    column("LastUsedAt", ""),
];

impl Verb for Df {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        engine.enter_user_namespace()?;
        let disk = disk::usage(&engine)?;
        let cache = build::cache::prune::list(&engine.paths)?;
        let format = self.format.as_deref();
        if !self.verbose {
            let rows: Vec<Row> = summary(&disk, &cache).iter().map(Part::row).collect();
            show(&mut context.output, format, SUMMARY, &rows)?;
            return Ok(0);
        }
        let details = Details::new(&engine, &disk, &cache);
        match format.unwrap_or_default().trim() {
            "" | "table" => details.tables(context, &summary(&disk, &cache))?,
            "json" => context.output.line(details.json()?)?,
            template => render_inspect(&mut context.output, Some(template), &[details.json()?])?,
        }
        Ok(0)
    }
}

/// Shows all columns: these tables leave none out.
fn show(output: &mut Output, format: Option<&str>, columns: &[Column], rows: &[Row]) -> Result<()> {
    let table: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let listing = Listing {
        format,
        columns,
        table: &table,
        quiet: None,
    };
    listing.render(output, rows)
}

/// One row of the summary.
struct Part {
    kind: &'static str,
    total: u64,
    active: u64,
    size: u64,
    reclaimable: u64,
}

impl Part {
    fn row(&self) -> Row {
        let free = size::decimal_with(self.reclaimable, 4);
        let free = match (self.reclaimable * 100).checked_div(self.size) {
            Some(share) => format!("{free} ({share}%)"),
            None => free,
        };
        Row::new()
            .with("Type", self.kind)
            .with("TotalCount", self.total.to_string())
            .with("Active", self.active.to_string())
            .with("Size", size::decimal_with(self.size, 4))
            .with("Reclaimable", free)
    }
}

/// All parts, which together are the data directory.
fn summary(disk: &Disk, cache: &[Entry]) -> Vec<Part> {
    let used = disk.images.iter().filter(|image| image.containers > 0);
    let used_bytes: u64 = used.clone().map(|image| image.size - image.shared).sum();
    let part = |kind, total: usize, active: usize, size, reclaimable| Part {
        kind,
        total: total as u64,
        active: active as u64,
        size,
        reclaimable,
    };
    let of_containers = |kind, bytes: fn(&ContainerSpace) -> u64| {
        let counted = disk
            .containers
            .iter()
            .filter(|space| kind == "Containers" || bytes(space) > 0);
        let active = counted
            .clone()
            .filter(|space| space.container.status().is_active());
        let (all, kept): (u64, u64) = (
            counted.clone().map(bytes).sum(),
            active.clone().map(bytes).sum(),
        );
        part(kind, counted.count(), active.count(), all, all - kept)
    };
    vec![
        part(
            "Images",
            disk.images.len(),
            used.count(),
            disk.layers,
            disk.layers - used_bytes,
        ),
        of_containers("Containers", |space| space.written),
        of_volumes(&disk.volumes),
        of_cache(disk, cache),
        of_containers("Logs", |space| space.log),
        part(
            "Staging",
            disk.staging.count,
            disk.staging.active,
            disk.staging.bytes,
            disk.staging.dead,
        ),
        part("Records", 0, 0, disk.records, 0),
    ]
}

/// What images need too counts there.
fn of_cache(disk: &Disk, entries: &[Entry]) -> Part {
    let in_use = entries.iter().filter(|entry| entry.in_use);
    let kept: BTreeSet<&str> = in_use.clone().filter_map(Entry::keeps).collect();
    let kept = kept.iter().filter_map(|name| disk.cache.get(*name));
    let size = disk.cache.values().sum::<u64>();
    Part {
        kind: "Build Cache",
        total: entries.len() as u64,
        active: in_use.count() as u64,
        size,
        reclaimable: size - kept.sum::<u64>(),
    }
}

fn of_volumes(volumes: &[VolumeSpace]) -> Part {
    let used = volumes.iter().filter(|space| space.links > 0);
    let size = |space: &VolumeSpace| space.size;
    let all: u64 = volumes.iter().map(size).sum();
    Part {
        kind: "Local Volumes",
        total: volumes.len() as u64,
        active: used.clone().count() as u64,
        size: all,
        reclaimable: all - used.map(size).sum::<u64>(),
    }
}

/// The rows of `-v`.
struct Details {
    images: Vec<Row>,
    containers: Vec<Row>,
    volumes: Vec<Row>,
    cache: Vec<Row>,
}

impl Details {
    fn new(engine: &Engine, disk: &Disk, cache: &[Entry]) -> Self {
        let look = Look {
            engine,
            images: Images::default(),
            now: Timestamp::now(),
            whole: false,
            with_size: false,
        };
        let mut images: Vec<&ImageSpace> = disk.images.iter().collect();
        images.sort_by_key(|space| std::cmp::Reverse(space.image.created));
        Self {
            images: images.iter().flat_map(|space| image_rows(space)).collect(),
            containers: disk
                .containers
                .iter()
                .map(|space| container_row(&look, space))
                .collect(),
            volumes: disk.volumes.iter().map(volume_row).collect(),
            cache: cache.iter().map(cache_row).collect(),
        }
    }

    fn json(&self) -> Result<Value> {
        let objects = |rows: &[Row], columns: &[Column]| -> Value {
            rows.iter().map(|row| row.object(columns)).collect()
        };
        Ok(json!({
            "Images": objects(&self.images, IMAGES),
            "Containers": objects(&self.containers, CONTAINERS),
            "Volumes": objects(&self.volumes, VOLUMES),
            "BuildCache": objects(&self.cache, &[CACHE, CACHE_DETAILS].concat()),
        }))
    }

    fn tables(&self, context: &mut Context, parts: &[Part]) -> Result<()> {
        let output = &mut context.output;
        let (of_docker, others) = parts.split_at(4);
        let others: Vec<Row> = others.iter().map(Part::row).collect();
        let cached = of_docker.last().map_or(0, |part| part.size);
        let cached = format!("\nBuild cache usage: {}", size::decimal_with(cached, 4));
        for (heading, columns, rows) in [
            ("Images space usage:", IMAGES, &self.images[..]),
            ("\nContainers space usage:", CONTAINERS, &self.containers),
            ("\nLocal Volumes space usage:", VOLUMES, &self.volumes),
            (&cached, CACHE, &self.cache),
            ("\nOther space usage:", SUMMARY, &others),
        ] {
            output.line(format!("{heading}\n"))?;
            show(output, None, columns, rows)?;
        }
        Ok(())
    }
}

/// A row for each name with a tag, or one for an image without.
fn image_rows(space: &ImageSpace) -> Vec<Row> {
    let image = &space.image;
    let age = image.created.map_or("N/A".to_owned(), |created| {
        let age = Timestamp::now().duration_since(created);
        duration::ago(Duration::try_from(age).unwrap_or_default())
    });
    let row = |repository: &str, tag: &str| {
        Row::new()
            .with("Repository", repository)
            .with("Tag", tag)
            .with("ID", image.id.short())
            .with("CreatedSince", age.as_str())
            .with("Size", size::decimal(space.size))
            .with("SharedSize", size::decimal(space.shared))
            .with("UniqueSize", size::decimal(space.size - space.shared))
            .with("Containers", space.containers.to_string())
    };
    let tagged = image
        .tags()
        .map(|name| row(&name.repository(), name.tag().unwrap_or_default()));
    let rows: Vec<Row> = tagged.collect();
    match rows.is_empty() {
        true => vec![row("<none>", "<none>")],
        false => rows,
    }
}

fn volume_row(space: &VolumeSpace) -> Row {
    Row::new()
        .with("Name", space.name.as_str())
        .with("Links", space.links.to_string())
        .with("Size", size::decimal(space.size))
}

fn cache_row(entry: &Entry) -> Row {
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    let since = |seconds: i64| {
        let age = Timestamp::now().as_second().saturating_sub(seconds).max(0);
        duration::ago(Duration::from_secs(age.cast_unsigned()))
    };
    let moment = |seconds: i64| at(seconds).map_or(String::new(), |time| time.to_string());
    let used = |show: &dyn Fn(i64) -> String| entry.last_used.map_or(String::new(), show);
    let mark = if entry.in_use { "*" } else { "" };
    let id = entry.id.get(..12).unwrap_or(&entry.id);
    Row::new()
        .with("ID", format!("{id}{mark}"))
        .with("CacheType", entry.kind.name())
        .with("Size", size::decimal(entry.size))
        .with("CreatedSince", since(entry.created))
        .with("LastUsedSince", used(&since))
        .with("UsageCount", entry.uses.to_string())
        .with("Shared", entry.shared.to_string())
        .with("Description", entry.description.as_str())
        .with("InUse", entry.in_use.to_string())
        .with("Parent", entry.parent.as_deref().unwrap_or_default())
        .with("CreatedAt", moment(entry.created))
        .with("LastUsedAt", used(&moment))
}

fn container_row(look: &Look, space: &ContainerSpace) -> Row {
    let container = &space.container;
    let record = &container.record;
    let age = look.now.duration_since(time(&record.created));
    Row::new()
        .with("ID", shorten(&record.id, false))
        .with("Image", look.image(container))
        .with("Command", command(&record.program.words(), false))
        .with(
            "LocalVolumes",
            describe::count_volumes(&record.mounts).to_string(),
        )
        .with("Size", size::decimal(space.written))
        .with(
            "RunningFor",
            duration::ago(Duration::try_from(age).unwrap_or_default()),
        )
        .with("Status", look.status(container, container.status()))
        .with("Names", record.name.as_str())
}
