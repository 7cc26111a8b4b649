//! `stats`: what running containers use, once (`--no-stream`) or again every second until somebody ends it.
//!
//! What nobody can tell is `--`, as in Docker; see [`usage`] for what is counted.

use super::ps::shorten;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::Output;
use crate::cli::output::size;
use crate::cli::output::table::{Column, Listing, Row};
use crate::container::engine::Engine;
use crate::container::list::{self, Container};
use crate::container::usage::{self, Usage};
use crate::error::{self, Kind};
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Options of `stats`.
#[derive(clap::Args)]
pub struct Stats {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Print "table", "json", or by a Go template
    #[arg(long)]
    format: Option<String>,
    /// Print once and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    containers: Vec<String>,
}

const COLUMNS: &[Column] = &[
    column("ID", "CONTAINER ID"),
    column("Container", "CONTAINER"),
    column("Name", "NAME"),
    column("CPUPerc", "CPU %"),
    column("MemUsage", "MEM USAGE / LIMIT"),
    column("MemPerc", "MEM %"),
    column("NetIO", "NET I/O"),
    column("BlockIO", "BLOCK I/O"),
    column("PIDs", "PIDS"),
];
const TABLE: &[&str] = &[
    "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
];
/// Between two counts: as long as Docker's.
const INTERVAL: Duration = Duration::from_secs(1);

const fn column(name: &'static str, header: &'static str) -> Column {
    Column { name, header }
}

/// What was counted last, by the id of the container.
type Counts = BTreeMap<String, Option<Usage>>;

impl Verb for Stats {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let memory = usage::machine_memory()?;
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: TABLE,
            quiet: None,
        };
        let screen = !self.no_stream && Output::is_terminal();
        // Each name must mean something at first; what goes later goes from the list.
        for name in &self.containers {
            list::find_id(&engine, name)?;
        }
        let mut before = self.count(&self.choose(&engine)?)?;
        loop {
            let Some(()) = pause(context, Instant::now() + INTERVAL)? else {
                return Ok(0);
            };
            let chosen = self.choose(&engine)?;
            let now = self.count(&chosen)?;
            let rows: Vec<Row> = chosen
                .iter()
                .map(|(called, container)| {
                    let of = |counts: &Counts| counts.get(&container.record.id).cloned().flatten();
                    self.row(
                        called,
                        container,
                        of(&before).as_ref(),
                        of(&now).as_ref(),
                        memory,
                    )
                })
                .collect();
            match screen {
                true => listing.repaint(&mut context.output, &rows)?,
                false => listing.render(&mut context.output, &rows)?,
            }
            if self.no_stream || context.output.is_closed() {
                return Ok(0);
            }
            before = now;
        }
    }
}

/// Waits; `None` when the reader of the output has gone meanwhile.
fn pause(context: &Context, until: Instant) -> Result<Option<()>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Some(()));
        }
        let output = rustix::stdio::stdout();
        let mut files = [PollFd::from_borrowed_fd(output, PollFlags::empty())];
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs())?,
            tv_nsec: left.subsec_nanos().into(),
        };
        let ready = poll(&mut files, Some(&left));
        if context.output.is_closed() || ready.is_ok_and(|ready| ready > 0) {
            return Ok(None);
        }
    }
}

impl Stats {
    /// The containers that are shown now, with what they were called by.
    fn choose(&self, engine: &Engine) -> Result<Vec<(String, Container)>> {
        if self.containers.is_empty() {
            let found = list::list(engine)?.into_iter();
            return Ok(found
                .filter(|container| self.all || container.status().is_up())
                .map(|container| (container.record.id.clone(), container))
                .collect());
        }
        let mut chosen = Vec::new();
        for name in &self.containers {
            match list::find(engine, name) {
                Err(error) if error::kind(&error) == Some(Kind::NotFound) => {}
                found => chosen.push((name.clone(), found?)),
            }
        }
        Ok(chosen)
    }

    fn count(&self, chosen: &[(String, Container)]) -> Result<Counts> {
        let count = |(_, container): &(String, Container)| {
            Ok((container.record.id.clone(), usage::of(container)?))
        };
        chosen.iter().map(count).collect()
    }

    fn row(
        &self,
        called: &str,
        container: &Container,
        before: Option<&Usage>,
        now: Option<&Usage>,
        memory: u64,
    ) -> Row {
        let record = &container.record;
        let row = Row::new()
            .with("ID", shorten(&record.id, self.no_trunc))
            .with("Container", called)
            .with("Name", record.name.as_str());
        let Some(now) = now else { return ended(row) };
        let pair = |found: Option<(u64, u64)>| match found {
            Some((one, other)) => {
                format!(
                    "{} / {}",
                    size::decimal_with(one, 3),
                    size::decimal_with(other, 3)
                )
            }
            None => "-- / --".to_owned(),
        };
        let memory = now.memory_limit.unwrap_or(memory).min(memory);
        let (used, share) = match now.memory {
            Some(used) => (
                size::binary(used),
                percent(used as f64 / memory.max(1) as f64 * 100.0),
            ),
            None => ("--".to_owned(), "--".to_owned()),
        };
        // One that has just been started was not counted before.
        let processor = before.map_or("--".to_owned(), |before| {
            percent(now.processor_since(before))
        });
        row.with("CPUPerc", processor)
            .with("MemUsage", format!("{used} / {}", size::binary(memory)))
            .with("MemPerc", share)
            .with("NetIO", pair(now.network))
            .with("BlockIO", pair(now.block))
            .with("PIDs", now.tasks.to_string())
    }
}

/// A container without processes uses nothing.
fn ended(row: Row) -> Row {
    row.with("CPUPerc", percent(0.0))
        .with("MemUsage", "0B / 0B")
        .with("MemPerc", percent(0.0))
        .with("NetIO", "0B / 0B")
        .with("BlockIO", "0B / 0B")
        .with("PIDs", "0")
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}
