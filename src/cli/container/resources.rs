//! The options that `run`, `create` and `update` share: how much of the host a container may take. Values are checked
//! where they are parsed; what depends on several of them or on the host is checked in [`Resources::validate`].

use crate::cli::value::{integer, resources};
use crate::container::resources::{DeviceRate, DeviceWeight, Enforcement, Resources};

/// Limits of all processes of a container together.
#[derive(clap::Args, Default, PartialEq, Eq)]
pub struct ResourceFlags {
    /// Weight on block devices against others, from 10 to 1000
    #[arg(long, value_name = "uint16", value_parser = resources::weight)]
    blkio_weight: Option<u16>,
    /// Weight on one block device (/dev/NAME:weight)
    #[arg(long, value_parser = resources::device_weight)]
    blkio_weight_device: Vec<DeviceWeight>,
    /// Write a value to a file of the cgroup (memory.high=100000000); FILE= takes that back
    #[arg(long, value_name = "map", value_parser = resources::unified)]
    cgroup_conf: Vec<(String, String)>,
    /// Length of a period of processor time in microseconds
    #[arg(long, value_name = "int", value_parser = integer)]
    cpu_period: Option<i64>,
    /// Processor time in each period in microseconds (-1: no limit)
    #[arg(long, value_name = "int", value_parser = integer)]
    cpu_quota: Option<i64>,
    /// Weight on processors against others, 1024 is usual
    #[arg(short, long, value_name = "int", value_parser = integer)]
    cpu_shares: Option<i64>,
    /// How many processors' time it may take (1.5)
    #[arg(long, value_name = "decimal", value_parser = resources::processors)]
    cpus: Option<i64>,
    /// Run on these processors (0-3, 0,1)
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Take memory of these nodes (0-3, 0,1)
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Read so many bytes a second from a device (/dev/NAME:1mb)
    #[arg(long, value_parser = resources::device_bytes)]
    device_read_bps: Vec<DeviceRate>,
    /// Read so often a second from a device (/dev/NAME:1000)
    #[arg(long, value_parser = resources::device_operations)]
    device_read_iops: Vec<DeviceRate>,
    /// Write so many bytes a second to a device (/dev/NAME:1mb)
    #[arg(long, value_parser = resources::device_bytes)]
    device_write_bps: Vec<DeviceRate>,
    /// Write so often a second to a device (/dev/NAME:1000)
    #[arg(long, value_parser = resources::device_operations)]
    device_write_iops: Vec<DeviceRate>,
    /// Limits that cannot be applied: "strict" (an error) or "best-effort" (a warning)
    #[arg(long, value_parser = resources::enforcement)]
    pub limits: Option<Enforcement>,
    /// Most memory (64m, 1.5g)
    #[arg(short, long, value_name = "bytes", value_parser = resources::memory)]
    memory: Option<i64>,
    /// Memory that is taken away last
    #[arg(long, value_name = "bytes", value_parser = resources::memory)]
    memory_reservation: Option<i64>,
    /// Most memory and swap together (-1: no limit on swap)
    #[arg(long, value_name = "bytes", value_parser = resources::swap)]
    memory_swap: Option<i64>,
    /// Most processes and threads (-1: no limit)
    #[arg(long, value_name = "int", value_parser = integer)]
    pids_limit: Option<i64>,
}

impl ResourceFlags {
    /// The plain values.
    pub fn into_resources(self) -> Resources {
        Resources {
            memory: self.memory.unwrap_or_default(),
            memory_swap: self.memory_swap.unwrap_or_default(),
            memory_reservation: self.memory_reservation.unwrap_or_default(),
            nano_cpus: self.cpus.unwrap_or_default(),
            cpu_shares: self.cpu_shares.unwrap_or_default(),
            cpu_period: self.cpu_period.unwrap_or_default(),
            cpu_quota: self.cpu_quota.unwrap_or_default(),
            cpuset_cpus: self.cpuset_cpus.unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.unwrap_or_default(),
            pids_limit: self
                .pids_limit
                .filter(|limit| *limit != 0)
                .map(|limit| limit.max(0)),
            blkio_weight: self.blkio_weight.unwrap_or_default(),
            blkio_weight_device: self.blkio_weight_device,
            device_read_bps: self.device_read_bps,
            device_write_bps: self.device_write_bps,
            device_read_iops: self.device_read_iops,
            device_write_iops: self.device_write_iops,
            unified: self.cgroup_conf.into_iter().collect(),
            memory_swappiness: None,
            oom_kill_disable: false,
        }
    }
}
