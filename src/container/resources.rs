//! How much of the host a container may take: what was asked for, Docker's checks of it in Docker's words (moby,
//! `verifyPlatformContainerResources` and `UpdateContainer`), and what it is in the words of the OCI. Nothing here
//! touches a cgroup; the limits of a process (setrlimit(2)) are [`super::options::Ulimit`].

use crate::error::{Error, Kind, bad_input};
use anyhow::{Context, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDevice, LinuxWeightDeviceBuilder,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Less than this is no room for a container, as Docker sees it.
const LEAST_MEMORY: i64 = 6 << 20;
/// The period to which a number of processors is converted, in microseconds.
const PERIOD: i64 = 100_000;
/// No Linux has more processors or memory nodes, and a longer list is not worth its memory (CVE-2018-20699).
const MOST_PROCESSORS: u32 = 8192;

/// What was asked for; the names are those of Docker's API, and 0 or empty is "not asked for".
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Resources {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap together; -1 without limit.
    pub memory_swap: i64,
    /// Bytes that are taken away last when memory is short.
    pub memory_reservation: i64,
    /// Thousand millionths of a processor.
    pub nano_cpus: i64,
    /// Relative weight, 1024 is usual.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds of processor time in each period; -1 without limit.
    pub cpu_quota: i64,
    /// Processors, as in `0-2,5`.
    pub cpuset_cpus: String,
    /// Memory nodes, likewise.
    pub cpuset_mems: String,
    /// Processes and threads; `Some(0)`: a limit was taken away.
    pub pids_limit: Option<i64>,
    /// Relative weight from 10 to 1000.
    pub blkio_weight: u16,
    /// The same, for one device each.
    pub blkio_weight_device: Vec<DeviceWeight>,
    /// Bytes read in a second.
    pub device_read_bps: Vec<DeviceRate>,
    /// Bytes written in a second.
    pub device_write_bps: Vec<DeviceRate>,
    /// Reads in a second.
    pub device_read_iops: Vec<DeviceRate>,
    /// Writes in a second.
    pub device_write_iops: Vec<DeviceRate>,
    /// Files of the cgroup and what is written to them.
    pub unified: BTreeMap<String, String>,
    /// 0 to 100; cgroup version 1 only.
    pub memory_swappiness: Option<i64>,
    /// Likewise.
    pub oom_kill_disable: bool,
}

/// A block device and its weight.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeviceWeight {
    /// Its node on the host.
    pub path: PathBuf,
    /// 10 to 1000.
    pub weight: u16,
}

/// A block device and how much of it in a second.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct DeviceRate {
    /// Its node on the host.
    pub path: PathBuf,
    /// Bytes or operations.
    pub rate: u64,
}

/// What is done about a limit that cannot be applied.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// The container does not start.
    #[default]
    Strict,
    /// It starts without, and that is said.
    BestEffort,
}

/// What of a host decides which limits make sense.
#[derive(Clone, Debug)]
pub struct Host {
    /// On how many processors this process may run.
    pub processors: usize,
    /// Which there are, as in `0-3`.
    pub cpus: String,
    /// Which memory nodes there are.
    pub mems: String,
}

impl Host {
    /// This one.
    pub fn detect() -> Result<Self> {
        let list = |path: &str| {
            let text = std::fs::read_to_string(path);
            // Without the files of memory nodes there is one node.
            text.map_or_else(|_| "0".to_owned(), |text| text.trim().to_owned())
        };
        let allowed = rustix::thread::sched_getaffinity(None).context("sched_getaffinity")?;
        Ok(Self {
            processors: allowed.count() as usize,
            cpus: list("/sys/devices/system/cpu/online"),
            mems: list("/sys/devices/system/node/has_memory"),
        })
    }
}

impl Resources {
    /// What Docker does to it when a container is made: there is as much swap as memory, and no limit yet that could be
    /// taken away, which is what an empty value of a file stands for.
    pub fn complete(&mut self) {
        self.pids_limit = self.pids_limit.filter(|limit| *limit > 0);
        self.unified.retain(|_, value| !value.is_empty());
        if self.memory > 0 && self.memory_swap == 0 {
            self.memory_swap = self.memory.saturating_mul(2);
        }
    }

    /// Takes away what the kernel does not have any more; what is to be said about it.
    pub fn discard(&mut self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self
            .memory_swappiness
            .take()
            .is_some_and(|value| value != -1)
        {
            warnings.push(
                "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory \
                 swappiness discarded."
                    .to_owned(),
            );
        }
        if std::mem::take(&mut self.oom_kill_disable) {
            let message = "Your kernel does not support OomKillDisable. OomKillDisable discarded.";
            warnings.push(message.to_owned());
        }
        warnings
    }

    /// Refuses what makes no sense. An update may change the sum of memory and swap alone.
    pub fn validate(&self, host: &Host, update: bool) -> Result<(), Error> {
        self.validate_memory(update)?;
        self.validate_processors(host)?;
        if let Some(value) = self
            .memory_swappiness
            .filter(|value| !(-1..=100).contains(value))
        {
            let message = format!("invalid value: {value}. Valid memory swappiness range is 0-100");
            return Err(bad_input(message));
        }
        if self.blkio_weight > 0 && !(10..=1000).contains(&self.blkio_weight) {
            return Err(bad_input("Range of blkio weight is from 10 to 1000"));
        }
        Ok(())
    }

    fn validate_memory(&self, update: bool) -> Result<(), Error> {
        let (memory, swap, reservation) = (self.memory, self.memory_swap, self.memory_reservation);
        let refused = [
            (
                memory != 0 && memory < LEAST_MEMORY,
                "Minimum memory limit allowed is 6MB",
            ),
            (
                memory > 0 && swap > 0 && swap < memory,
                "Minimum memoryswap limit should be larger than memory limit, see usage",
            ),
            (
                memory == 0 && swap > 0 && !update,
                "You should always set the Memory limit when using Memoryswap limit, see usage",
            ),
            (
                reservation > 0 && reservation < LEAST_MEMORY,
                "Minimum memory reservation allowed is 6MB",
            ),
            (
                memory > 0 && reservation > 0 && memory < reservation,
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            ),
        ];
        refuse(&refused)
    }

    fn validate_processors(&self, host: &Host) -> Result<(), Error> {
        let (period, quota, nano) = (self.cpu_period, self.cpu_quota, self.nano_cpus);
        let count = host.processors;
        let shares = format!(
            "--cpu-shares {}: shares: invalid argument: a weight is 2 to 262144, and 0 none",
            self.cpu_shares
        );
        let range = format!(
            "range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available"
        );
        refuse(&[
            (
                nano > 0 && period > 0,
                "Conflicting options: Nano CPUs and CPU Period cannot both be set",
            ),
            (
                nano > 0 && quota > 0,
                "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
            ),
            (
                nano < 0 || nano > (count as i64).saturating_mul(1_000_000_000),
                &range,
            ),
            (self.cpu_shares < 0, &shares),
            (
                period != 0 && !(1000..=1_000_000).contains(&period),
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            ),
            (
                quota > 0 && quota < 1000,
                "CPU cfs quota can not be less than 1ms (i.e. 1000)",
            ),
        ])?;
        let lists = [
            (&self.cpuset_cpus, &host.cpus, "cpus", "CPUs"),
            (&self.cpuset_mems, &host.mems, "mems", "memory nodes"),
        ];
        for (asked, available, short, name) in lists {
            let wanted = numbers(asked)
                .ok_or_else(|| bad_input(format!("Invalid value {asked} for cpuset {short}")))?;
            let there = numbers(available).unwrap_or_default();
            if !wanted.iter().all(|range| is_within(*range, &there)) {
                return Err(bad_input(format!(
                    "Requested {name} are not available - requested {asked}, available: {available}"
                )));
            }
        }
        Ok(())
    }

    /// Takes over what an update asks for, unless that goes against what is.
    pub fn update(&mut self, new: &Self) -> Result<(), Error> {
        let conflicts = [
            (
                new.nano_cpus > 0 && self.cpu_period > 0,
                "Nano CPUs",
                "CPU Period",
            ),
            (
                new.nano_cpus > 0 && self.cpu_quota > 0,
                "Nano CPUs",
                "CPU Quota",
            ),
            (
                new.cpu_period > 0 && self.nano_cpus > 0,
                "CPU Period",
                "NanoCPUs",
            ),
            (
                new.cpu_quota > 0 && self.nano_cpus > 0,
                "CPU Quota",
                "NanoCPUs",
            ),
        ];
        if let Some((_, wanted, set)) = conflicts.iter().find(|(conflict, ..)| *conflict) {
            let message = format!(
                "Conflicting options: {wanted} cannot be updated as {set} has already been set"
            );
            return Err(Error::new(Kind::Conflict, message));
        }
        if new.memory != 0 && new.memory > self.memory_swap && new.memory_swap == 0 {
            let message = "Memory limit should be smaller than already set memoryswap limit, update the \
                           memoryswap at the same time";
            return Err(Error::new(Kind::Conflict, message));
        }
        take(&mut self.memory, &new.memory);
        take(&mut self.memory_swap, &new.memory_swap);
        take(&mut self.memory_reservation, &new.memory_reservation);
        take(&mut self.nano_cpus, &new.nano_cpus);
        take(&mut self.cpu_shares, &new.cpu_shares);
        take(&mut self.cpu_period, &new.cpu_period);
        take(&mut self.cpu_quota, &new.cpu_quota);
        take(&mut self.cpuset_cpus, &new.cpuset_cpus);
        take(&mut self.cpuset_mems, &new.cpuset_mems);
        take(&mut self.pids_limit, &new.pids_limit);
        take(&mut self.blkio_weight, &new.blkio_weight);
        take(&mut self.blkio_weight_device, &new.blkio_weight_device);
        take(&mut self.device_read_bps, &new.device_read_bps);
        take(&mut self.device_write_bps, &new.device_write_bps);
        take(&mut self.device_read_iops, &new.device_read_iops);
        take(&mut self.device_write_iops, &new.device_write_iops);
        self.unified.extend(new.unified.clone());
        self.unified.retain(|_, value| !value.is_empty());
        Ok(())
    }

    /// Those that an update names, each with what is written together with it. Of a file that is not asked for any
    /// more nobody knows what was there before: it stays as it is until the next run.
    pub fn named(&self, update: &Self) -> Self {
        let mut named = update.clone();
        named.unified.retain(|_, value| !value.is_empty());
        if named.memory != 0 || named.memory_swap != 0 {
            (named.memory, named.memory_swap) = (self.memory, self.memory_swap);
        }
        if named.cpu_period != 0 || named.cpu_quota != 0 {
            (named.cpu_period, named.cpu_quota) = (self.cpu_period, self.cpu_quota);
        }
        named
    }

    /// As the `resources` of an OCI configuration; `None` when nothing was asked for.
    pub fn to_oci(&self) -> Result<Option<LinuxResources>> {
        if *self == Self::default() {
            return Ok(None);
        }
        let given = |number: i64| Some(number).filter(|number| *number != 0);
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let mut memory = LinuxMemory::default();
        memory.set_limit(given(self.memory));
        memory.set_swap(given(self.memory_swap));
        memory.set_reservation(given(self.memory_reservation));
        let mut cpu = LinuxCpu::default();
        cpu.set_shares(given(self.cpu_shares).map(|shares| shares as u64));
        let (quota, period) = match self.nano_cpus {
            0 => (self.cpu_quota, self.cpu_period),
            nano => (nano / (1_000_000_000 / PERIOD), PERIOD),
        };
        cpu.set_quota(given(quota));
        cpu.set_period(given(period).map(|period| period as u64));
        cpu.set_cpus(text(&self.cpuset_cpus));
        cpu.set_mems(text(&self.cpuset_mems));
        let mut resources = LinuxResources::default();
        resources.set_memory(Some(memory));
        resources.set_cpu(Some(cpu));
        resources.set_block_io(Some(self.block_io()?));
        resources.set_pids(self.pids_limit.map(|limit| {
            let mut pids = LinuxPids::default();
            pids.set_limit(if limit > 0 { limit } else { -1 });
            pids
        }));
        let unified = self.unified.clone().into_iter().collect();
        resources.set_unified((!self.unified.is_empty()).then_some(unified));
        Ok(Some(resources))
    }

    fn block_io(&self) -> Result<LinuxBlockIo> {
        let weight = |device: &DeviceWeight| -> Result<LinuxWeightDevice> {
            let (major, minor) = numbers_of_device(&device.path)?;
            let builder = LinuxWeightDeviceBuilder::default();
            Ok(builder
                .major(major)
                .minor(minor)
                .weight(device.weight)
                .build()?)
        };
        let rate = |device: &DeviceRate| -> Result<LinuxThrottleDevice> {
            let (major, minor) = numbers_of_device(&device.path)?;
            let builder = LinuxThrottleDeviceBuilder::default();
            Ok(builder
                .major(major)
                .minor(minor)
                .rate(device.rate)
                .build()?)
        };
        let rates = |devices: &[DeviceRate]| devices.iter().map(rate).collect::<Result<Vec<_>>>();
        let weights = self.blkio_weight_device.iter().map(weight);
        let mut limits = LinuxBlockIo::default();
        limits.set_weight(Some(self.blkio_weight).filter(|weight| *weight > 0));
        limits.set_weight_device(Some(weights.collect::<Result<_>>()?));
        limits.set_throttle_read_bps_device(Some(rates(&self.device_read_bps)?));
        limits.set_throttle_write_bps_device(Some(rates(&self.device_write_bps)?));
        limits.set_throttle_read_iops_device(Some(rates(&self.device_read_iops)?));
        limits.set_throttle_write_iops_device(Some(rates(&self.device_write_iops)?));
        Ok(limits)
    }
}

fn refuse(checks: &[(bool, &str)]) -> Result<(), Error> {
    match checks.iter().find(|(refused, _)| *refused) {
        Some((_, message)) => Err(bad_input(*message)),
        None => Ok(()),
    }
}

fn take<T: Default + PartialEq + Clone>(old: &mut T, new: &T) {
    if *new != T::default() {
        old.clone_from(new);
    }
}

fn numbers_of_device(path: &Path) -> Result<(i64, i64)> {
    let found = std::fs::metadata(path).with_context(|| format!("stat `{}`", path.display()))?;
    if !found.file_type().is_block_device() {
        return Err(bad_input(format!("`{}` is no block device", path.display())).into());
    }
    let number = found.rdev();
    Ok((
        i64::from(rustix::fs::major(number)),
        i64::from(rustix::fs::minor(number)),
    ))
}

/// `0-2,5` as ranges; `None` for what is no such list.
fn numbers(list: &str) -> Option<Vec<(u32, u32)>> {
    let number = |text: &str| text.parse().ok().filter(|number| *number < MOST_PROCESSORS);
    let range = |part: &str| match part.split_once('-') {
        None => number(part).map(|number| (number, number)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        }
    };
    match list {
        "" => Some(Vec::new()),
        list => list.split(',').map(range).collect(),
    }
}

fn is_within((first, last): (u32, u32), available: &[(u32, u32)]) -> bool {
    (first..=last).all(|number| {
        available
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The resources that the fields of Docker's API name.
    fn resources(fields: serde_json::Value) -> Resources {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn an_update_takes_what_it_names_and_goes_against_nothing() {
        use serde_json::json;
        let smaller = "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the \
                       same time";
        for (old, new, expected) in [
            (
                json!({"memory": 9, "memory_swap": -1}),
                json!({"cpu_shares": 5}),
                Ok(json!({"memory": 9, "memory_swap": -1, "cpu_shares": 5})),
            ),
            (
                json!({"memory": 9, "memory_swap": -1}),
                json!({}),
                Ok(json!({"memory": 9, "memory_swap": -1})),
            ),
            (
                json!({"memory": 9, "memory_swap": 18}),
                json!({"memory": 18}),
                Ok(json!({"memory": 18, "memory_swap": 18})),
            ),
            (
                json!({"memory": 9, "memory_swap": 18}),
                json!({"memory": 19}),
                Err(smaller),
            ),
            (
                json!({"memory": 9, "memory_swap": -1}),
                json!({"memory": 8}),
                Err(smaller),
            ),
            (
                json!({"memory": 9, "memory_swap": -1}),
                json!({"memory": 8, "memory_swap": -1}),
                Ok(json!({"memory": 8, "memory_swap": -1})),
            ),
            (
                json!({"unified": {"memory.hihg": "1", "memory.low": "2"}}),
                json!({"unified": {"memory.hihg": "", "memory.min": "3"}}),
                Ok(json!({"unified": {"memory.low": "2", "memory.min": "3"}})),
            ),
        ] {
            let mut updated = resources(old.clone());
            let said = updated.update(&resources(new.clone()));
            let said = said.map(|()| updated).map_err(|error| error.message);
            assert_eq!(
                said,
                expected.map(resources).map_err(str::to_owned),
                "{old} {new}"
            );
        }
    }

    #[test]
    fn what_is_written_together_is_named_together() {
        use serde_json::json;
        let all = resources(json!({
            "memory": 9, "memory_swap": 18, "cpu_period": 5000, "cpu_quota": 3000, "pids_limit": 7, "cpu_shares": 3,
        }));
        for (update, named) in [
            (json!({}), json!({})),
            (json!({"pids_limit": 7}), json!({"pids_limit": 7})),
            (
                json!({"memory_swap": 18}),
                json!({"memory": 9, "memory_swap": 18}),
            ),
            (
                json!({"memory": 9}),
                json!({"memory": 9, "memory_swap": 18}),
            ),
            (
                json!({"cpu_quota": 3000}),
                json!({"cpu_period": 5000, "cpu_quota": 3000}),
            ),
            (
                json!({"unified": {"memory.hihg": "", "memory.min": "3"}}),
                json!({"unified": {"memory.min": "3"}}),
            ),
        ] {
            assert_eq!(
                all.named(&resources(update.clone())),
                resources(named),
                "{update}"
            );
        }
    }
}
