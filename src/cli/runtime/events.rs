//! `runtime events`: what a container uses, and when the kernel runs out of memory for it.

use crate::cgroup::events::OutOfMemory;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::error::{Error, Kind};
use crate::runtime::lifecycle::{self, Container, Status};
use anyhow::{Context as _, Result};
use rustix::event::{PollFlags, Timespec, poll};
use serde_json::json;
use std::time::{Duration, Instant};

/// Options of `runtime events`.
#[derive(clap::Args)]
pub struct Events {
    /// Time between two counts
    #[arg(long, default_value = "5s", value_name = "duration", value_parser = value::duration)]
    interval: i64,
    /// Count once
    #[arg(long)]
    stats: bool,
    #[arg(required = true)]
    id: String,
}

impl Verb for Events {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        if container.status()? == Status::Stopped {
            let message = format!("container `{}` is not running", self.id);
            return Err(Error::new(Kind::Conflict, message).into());
        }
        tell(context, &container)?;
        let interval = Duration::from_nanos(self.interval.max(1).unsigned_abs());
        let group = container.needed_cgroup("watch")?;
        let mut watch = OutOfMemory::watch(&group)?;
        let mut next = Instant::now() + interval;
        while !self.stats && container.status()? != Status::Stopped && !context.output.is_closed() {
            let left = next
                .saturating_duration_since(Instant::now())
                .min(Duration::from_secs(1));
            let mut ready: Vec<_> = watch.iter().map(OutOfMemory::readiness).collect();
            let is_ready = match poll(&mut ready, Timespec::try_from(left).ok().as_ref()) {
                Ok(_) => ready
                    .iter()
                    .any(|one| one.revents().contains(PollFlags::PRI)),
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error).context("poll"),
            };
            if let Some(watch) = watch.as_mut().filter(|_| is_ready)
                && watch.victims().unwrap_or(0) > 0
            {
                context
                    .output
                    .line(json!({ "type": "oom", "id": self.id }))?;
            }
            if Instant::now() >= next {
                next += interval;
                if container.status()? != Status::Stopped {
                    match tell(context, &container) {
                        // Its group was removed meanwhile.
                        Err(_) if container.status()? == Status::Stopped => {}
                        told => told?,
                    }
                }
            }
        }
        Ok(0)
    }
}

fn tell(context: &mut Context, container: &Container) -> Result<()> {
    let data = lifecycle::statistics(container)?;
    let id = &container.record.id;
    context
        .output
        .line(json!({ "type": "stats", "id": id, "data": data }))
}
