//! `runtime update`: other limits for a container.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::error::{Error, Kind, bad_input};
use crate::runtime::lifecycle::{self, Status};
use anyhow::{Context as _, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use std::io::Read;

/// Options of `runtime update`.
#[derive(clap::Args)]
pub struct Update {
    /// Take them from this file, which is as `linux.resources` of a configuration ("-": standard input)
    #[arg(short, long, value_name = "path")]
    resources: Option<String>,
    /// Weight of block devices, 10 to 1000
    #[arg(long, value_name = "number")]
    blkio_weight: Option<u16>,
    /// Period of processor time in microseconds
    #[arg(long, value_name = "number")]
    cpu_period: Option<u64>,
    /// Processor time of a period in microseconds
    #[arg(long, value_name = "number")]
    cpu_quota: Option<i64>,
    /// Processor time in microseconds that may be saved up for later periods
    #[arg(long, value_name = "number")]
    cpu_burst: Option<u64>,
    /// 1: run only where nobody else wants to
    #[arg(long, value_name = "number", allow_hyphen_values = true)]
    cpu_idle: Option<i64>,
    /// Weight of processor time
    #[arg(long, value_name = "number", alias = "cpu-shares")]
    cpu_share: Option<u64>,
    /// Refused: only version 1 of control groups has it
    #[arg(long, value_name = "number")]
    cpu_rt_period: Option<u64>,
    /// Refused: only version 1 of control groups has it
    #[arg(long, value_name = "number")]
    cpu_rt_runtime: Option<i64>,
    /// Processors
    #[arg(long, value_name = "list")]
    cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long, value_name = "list")]
    cpuset_mems: Option<String>,
    /// Bytes of memory
    #[arg(long, value_name = "bytes", value_parser = value::resources::swap)]
    memory: Option<i64>,
    /// Bytes of memory that stay longest
    #[arg(long, value_name = "bytes", value_parser = value::resources::swap)]
    memory_reservation: Option<i64>,
    /// Bytes of memory and swap together
    #[arg(long, value_name = "bytes", value_parser = value::resources::swap)]
    memory_swap: Option<i64>,
    /// Number of processes
    #[arg(long, value_name = "number")]
    pids_limit: Option<i64>,
    #[arg(required = true)]
    id: String,
}

impl Verb for Update {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let container = context.containers()?.find(&self.id)?;
        if container.status()? == Status::Stopped {
            return Err(Error::new(Kind::Conflict, "cannot update a stopped container").into());
        }
        lifecycle::update(&container, &self.wanted()?)?;
        Ok(0)
    }
}

impl Update {
    fn wanted(&self) -> Result<LinuxResources> {
        if self.cpu_rt_period.is_some() || self.cpu_rt_runtime.is_some() {
            let message = "control groups of version 2 do not limit realtime processes";
            return Err(Error::new(Kind::Unsupported, message).into());
        }
        if let Some(path) = &self.resources {
            let text = match path.as_str() {
                "-" => {
                    let mut text = Vec::new();
                    std::io::stdin()
                        .read_to_end(&mut text)
                        .context("read standard input")?;
                    text
                }
                path => value::read_file(path.as_ref())?,
            };
            return serde_json::from_slice(&text).map_err(|error| {
                bad_input(format!("`{path}` is not as `linux.resources`: {error}")).into()
            });
        }
        let mut cpu = LinuxCpu::default();
        cpu.set_period(self.cpu_period)
            .set_quota(self.cpu_quota)
            .set_burst(self.cpu_burst)
            .set_idle(self.cpu_idle)
            .set_shares(self.cpu_share)
            .set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone());
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(self.memory)
            .set_reservation(self.memory_reservation)
            .set_swap(self.memory_swap);
        let mut block = LinuxBlockIo::default();
        block.set_weight(self.blkio_weight);
        let mut wanted = LinuxResources::default();
        wanted
            .set_cpu(Some(cpu))
            .set_memory(Some(memory))
            .set_block_io(Some(block));
        if let Some(limit) = self.pids_limit {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            wanted.set_pids(Some(pids));
        }
        Ok(wanted)
    }
}
