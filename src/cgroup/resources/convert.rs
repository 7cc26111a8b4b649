//! From the words of the runtime-spec, which are those of cgroup version 1, to the files of version 2. Pure. The
//! conversions are those of runc (github.com/opencontainers/cgroups, utils.go and fs2/), so that a limit means the same
//! under both.

use super::Controller as C;
use super::{Limited, Setting};
use crate::error::{Error, bad_input};
use anyhow::Result;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxRdma, LinuxResources,
    LinuxThrottleDevice,
};
use std::collections::{BTreeMap, HashMap};

/// The kernel's own period of `cpu.max`, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// All that is to be written, in the order in which it is best written.
pub fn settings(resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    if let Some(cpu) = resources.cpu() {
        all.extend(cpuset(cpu));
        all.extend(processor(cpu));
    }
    if let Some(limits) = resources.memory() {
        all.extend(memory(limits)?);
    }
    if let Some(limits) = resources.block_io() {
        all.extend(block_io(limits));
    }
    if let Some(pids) = resources.pids() {
        all.push(Setting::new(C::Pids, "pids.max", or_max(pids.limit())));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        all.extend(huge_pages(limit)?);
    }
    all.extend(rdma(resources.rdma().as_ref())?);
    // Last: whoever names files of version 2 means just these.
    all.extend(unified(resources.unified().as_ref())?);
    Ok(all)
}

/// Where version 1 wrote -1, and Docker 0 too, for "no limit".
fn or_max(limit: i64) -> String {
    match limit {
        ..=0 => "max".to_owned(),
        limit => limit.to_string(),
    }
}

fn cpuset(cpu: &LinuxCpu) -> impl Iterator<Item = Setting> {
    let lists = [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())];
    lists.into_iter().filter_map(|(file, list)| {
        let list = list.as_ref().filter(|list| !list.is_empty())?;
        Some(Setting::new(C::Cpuset, file, list))
    })
}

fn processor(cpu: &LinuxCpu) -> Vec<Setting> {
    let mut all = Vec::new();
    let idle = cpu.idle();
    if let Some(idle) = idle {
        all.push(Setting::new(C::Cpu, "cpu.idle", idle));
    }
    // What is idle has no weight, and the kernel refuses to take one.
    let shares = cpu.shares().filter(|_| idle != Some(1));
    if let Some(weight) = shares.and_then(weight_of_shares) {
        all.push(Setting::new(C::Cpu, "cpu.weight", weight));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    if quota.is_some() || period.is_some() {
        let quota = or_max(quota.unwrap_or(-1));
        let value = format!("{quota} {}", period.unwrap_or(DEFAULT_PERIOD));
        all.push(Setting::new(C::Cpu, "cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        all.push(Setting::new(C::Cpu, "cpu.max.burst", burst));
    }
    all
}

/// `cpu.shares` (2 to 262144, 1024 by default) as `cpu.weight` (1 to 10000, 100 by default): ten to the power of a
/// quadratic function of the binary logarithm that meets both ends and both defaults. That is what runc does since 1.3.2
/// and crun since 1.23 (github.com/opencontainers/cgroups/pull/20); before, 1024 shares were a weight of 39. 0 is unset.
fn weight_of_shares(shares: u64) -> Option<u64> {
    match shares {
        0 => None,
        1..=2 => Some(1),
        262_144.. => Some(10_000),
        shares => {
            let logarithm = (shares as f64).log2();
            let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
            Some(10f64.powf(exponent).ceil() as u64)
        }
    }
}

fn memory(limits: &LinuxMemory) -> Result<Vec<Setting>> {
    let mut all = Vec::new();
    let memory = limits.limit().unwrap_or(0);
    // Before memory.max: what has to leave memory must know where it may go.
    let sum = limits.swap().unwrap_or(0);
    let spares = |limited: Limited, limit: i64| {
        let is_asked_for = limits.check_before_update() == Some(true);
        let limit = u64::try_from(limit).ok().filter(|_| is_asked_for)?;
        Some((limited, limit))
    };
    if let Some(swap) = swap(memory, sum)? {
        all.push(Setting {
            spares: spares(Limited::MemoryAndSwap, sum).filter(|_| sum != 0),
            ..Setting::new(C::Memory, "memory.swap.max", swap)
        });
    }
    for (file, limit) in [
        ("memory.max", memory),
        ("memory.low", limits.reservation().unwrap_or(0)),
    ] {
        if limit != 0 {
            all.push(Setting {
                spares: spares(Limited::Memory, limit).filter(|_| file == "memory.max"),
                ..Setting::new(C::Memory, file, or_max(limit))
            });
        }
    }
    Ok(all)
}

/// Version 1 limits the sum of memory and swap, version 2 swap alone. 0 is unset, -1 without limit.
fn swap(memory: i64, sum: i64) -> Result<Option<String>, Error> {
    match (memory, sum) {
        // Both were unlimited in version 1 too.
        (-1, 0) | (_, -1) => Ok(Some("max".to_owned())),
        (_, 0) => Ok(None),
        (-1, sum) if sum > 0 => Ok(Some(sum.to_string())),
        (0, _) => Err(bad_input("unable to set swap limit without memory limit")),
        (memory, _) if memory < 0 => Err(bad_input(format!("invalid memory value: {memory}"))),
        (memory, sum) if sum < memory => {
            Err(bad_input("memory+swap limit should be >= memory limit"))
        }
        (memory, sum) => Ok(Some((sum - memory).to_string())),
    }
}

fn block_io(limits: &LinuxBlockIo) -> Vec<Setting> {
    let mut all = Vec::new();
    // The one of BFQ, whose range is that of version 1; where there is none, [`super::apply`] takes the other one.
    if let Some(weight) = limits.weight().filter(|weight| *weight != 0) {
        all.push(Setting::new(C::Io, "io.bfq.weight", weight));
    }
    for device in limits.weight_device().iter().flatten() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            all.push(Setting::new(C::Io, "io.bfq.weight", value));
        }
    }
    let rates = [
        ("rbps", limits.throttle_read_bps_device()),
        ("wbps", limits.throttle_write_bps_device()),
        ("riops", limits.throttle_read_iops_device()),
        ("wiops", limits.throttle_write_iops_device()),
    ];
    // One write changes one device.
    let mut devices: BTreeMap<(i64, i64), String> = BTreeMap::new();
    for (key, list) in rates {
        for device in list.iter().flatten() {
            let line = devices.entry((device.major(), device.minor())).or_default();
            line.push_str(&format!(" {key}={}", rate(device)));
        }
    }
    for ((major, minor), line) in devices {
        all.push(Setting::new(
            C::Io,
            "io.max",
            format!("{major}:{minor}{line}"),
        ));
    }
    all
}

/// In version 1, a rate of 0 took the limit away; version 2 refuses it.
fn rate(device: &LinuxThrottleDevice) -> String {
    match device.rate() {
        0 => "max".to_owned(),
        rate => rate.to_string(),
    }
}

/// The weight of version 1 and BFQ (10 to 1000) as `io.weight` (1 to 10000), on a straight line as in runc.
pub(super) fn io_weight_of_block_io(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

/// Both the pages in use and those that are reserved, as in runc.
fn huge_pages(limit: &LinuxHugepageLimit) -> Result<[Setting; 2], Error> {
    let size = limit.page_size();
    let number = size
        .strip_suffix("KB")
        .or_else(|| size.strip_suffix("MB"))
        .or_else(|| size.strip_suffix("GB"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !number.is_some_and(is_number) {
        let message = format!("the page size `{size}` is not a number with KB, MB or GB");
        return Err(bad_input(message));
    }
    let value = match limit.limit() {
        ..0 => "max".to_owned(),
        limit => limit.to_string(),
    };
    Ok(["max", "rsvd.max"]
        .map(|kind| Setting::new(C::Hugetlb, format!("hugetlb.{size}.{kind}"), &value)))
}

fn rdma(devices: Option<&HashMap<String, LinuxRdma>>) -> Result<Vec<Setting>, Error> {
    let mut devices: Vec<_> = devices.into_iter().flatten().collect();
    devices.sort_by_key(|(name, _)| *name);
    let line =
        |(name, limits): (&String, &LinuxRdma)| {
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(bad_input(format!(
                    "the RDMA device `{name}` has no valid name"
                )));
            }
            let keys = [
                ("hca_handle", limits.hca_handles()),
                ("hca_object", limits.hca_objects()),
            ];
            let given = keys
                .into_iter()
                .filter_map(|(key, limit)| Some(format!(" {key}={}", limit?)));
            let given: String = given.collect();
            Ok((!given.is_empty())
                .then(|| Setting::new(C::Rdma, "rdma.max", format!("{name}{given}"))))
        };
    devices
        .into_iter()
        .filter_map(|device| line(device).transpose())
        .collect()
}

/// Files of version 2, verbatim.
fn unified(files: Option<&HashMap<String, String>>) -> Result<Vec<Setting>, Error> {
    let mut files: Vec<_> = files.into_iter().flatten().collect();
    files.sort();
    let mut all = Vec::new();
    for (file, value) in files {
        if file.contains('/') {
            return Err(bad_input(format!(
                "unified resource {file:?} must be a file name (no slashes)"
            )));
        }
        let controller = C::of_file(file).ok_or_else(|| {
            bad_input(format!(
                "unified resource {file:?} belongs to no resource controller"
            ))
        })?;
        let mut lines: Vec<&str> = value.lines().filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            lines.push("");
        }
        // One write changes one device.
        let lines = lines.into_iter();
        all.extend(lines.map(|line| Setting::new(controller, file, line)));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn lines(resources: Value) -> Result<Vec<String>, String> {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let settings = settings(&resources).map_err(|error| error.to_string())?;
        for setting in &settings {
            assert_eq!(C::of_file(&setting.file), Some(setting.controller));
        }
        let line = |setting: &Setting| format!("{} {}", setting.file, setting.value);
        Ok(settings.iter().map(line).collect())
    }

    #[test]
    fn each_limit_has_its_file() {
        let cases: &[(Value, &[&str])] = &[
            (json!({}), &[]),
            (json!({"memory": {"limit": 100}}), &["memory.max 100"]),
            (
                json!({"memory": {"limit": 100, "swap": 300}}),
                &["memory.swap.max 200", "memory.max 100"],
            ),
            (
                json!({"memory": {"limit": 100, "swap": 100}}),
                &["memory.swap.max 0", "memory.max 100"],
            ),
            (
                json!({"memory": {"limit": 100, "swap": -1}}),
                &["memory.swap.max max", "memory.max 100"],
            ),
            (
                json!({"memory": {"limit": -1}}),
                &["memory.swap.max max", "memory.max max"],
            ),
            (
                json!({"memory": {"limit": -1, "swap": 5}}),
                &["memory.swap.max 5", "memory.max max"],
            ),
            (json!({"memory": {"reservation": 70}}), &["memory.low 70"]),
            (
                json!({"memory": {"kernel": 7, "kernelTCP": 7, "swappiness": 60, "disableOOMKiller": true}}),
                &[],
            ),
            (
                json!({"cpu": {"quota": 50000, "period": 200000}}),
                &["cpu.max 50000 200000"],
            ),
            (json!({"cpu": {"quota": 50000}}), &["cpu.max 50000 100000"]),
            (json!({"cpu": {"period": 50000}}), &["cpu.max max 50000"]),
            (json!({"cpu": {"quota": -1}}), &["cpu.max max 100000"]),
            (json!({"cpu": {"quota": 0, "period": 0, "shares": 0}}), &[]),
            (
                json!({"cpu": {"quota": 5000, "burst": 1000}}),
                &["cpu.max 5000 100000", "cpu.max.burst 1000"],
            ),
            (json!({"cpu": {"shares": 1024}}), &["cpu.weight 100"]),
            (json!({"cpu": {"shares": 1024, "idle": 1}}), &["cpu.idle 1"]),
            (
                json!({"cpu": {"shares": 2, "idle": 0}}),
                &["cpu.idle 0", "cpu.weight 1"],
            ),
            (
                json!({"cpu": {"realtimeRuntime": 1, "realtimePeriod": 2}}),
                &[],
            ),
            (
                json!({"cpu": {"cpus": "0-1", "mems": "0"}}),
                &["cpuset.cpus 0-1", "cpuset.mems 0"],
            ),
            (json!({"cpu": {"cpus": ""}}), &[]),
            (json!({"pids": {"limit": 100}}), &["pids.max 100"]),
            (json!({"pids": {"limit": 0}}), &["pids.max max"]),
            (json!({"pids": {"limit": -1}}), &["pids.max max"]),
            (
                json!({"blockIO": {"weight": 500, "leafWeight": 5}}),
                &["io.bfq.weight 500"],
            ),
            (
                json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 300}]}}),
                &["io.bfq.weight 8:0 300"],
            ),
            (
                json!({"blockIO": {
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
                    "throttleWriteIOPSDevice": [
                        {"major": 8, "minor": 16, "rate": 0}, {"major": 8, "minor": 0, "rate": 30},
                    ],
                }}),
                &["io.max 8:0 rbps=600 wiops=30", "io.max 8:16 wiops=max"],
            ),
            (
                json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}),
                &["hugetlb.2MB.max 4194304", "hugetlb.2MB.rsvd.max 4194304"],
            ),
            (
                json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1}}}),
                &[
                    "rdma.max mlx4_0 hca_object=1",
                    "rdma.max mlx5_1 hca_handle=3 hca_object=10000",
                ],
            ),
            (
                json!({"unified": {"memory.high": "9", "cpu.weight.nice": "5"}, "pids": {"limit": 3}}),
                &["pids.max 3", "cpu.weight.nice 5", "memory.high 9"],
            ),
            (
                json!({"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "cpuset.cpus": ""}}),
                &["cpuset.cpus ", "io.max 8:0 rbps=1", "io.max 8:16 rbps=2"],
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(lines(resources.clone()).unwrap(), *expected, "{resources}");
        }
    }

    #[test]
    fn what_is_in_use_is_spared_where_that_is_asked_for() {
        for asked in [true, false] {
            let wanted = json!({"memory": {"limit": 9, "swap": 12, "reservation": 5, "checkBeforeUpdate": asked}});
            let settings = settings(&serde_json::from_value(wanted).unwrap()).unwrap();
            let spares = settings.iter().map(|setting| setting.spares);
            let expected = [
                asked.then_some((Limited::MemoryAndSwap, 12)),
                asked.then_some((Limited::Memory, 9)),
                None,
            ];
            assert_eq!(spares.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (resources, message) in [
            (
                json!({"memory": {"swap": 5}}),
                "unable to set swap limit without memory limit",
            ),
            (
                json!({"memory": {"limit": 9, "swap": 5}}),
                "memory+swap limit should be >= memory limit",
            ),
            (
                json!({"memory": {"limit": -7, "swap": 5}}),
                "invalid memory value: -7",
            ),
            (
                json!({"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
                "the page size `../2MB` is not a number with KB, MB or GB",
            ),
            (
                json!({"unified": {"../memory.max": "1"}}),
                "unified resource \"../memory.max\" must be a file name (no slashes)",
            ),
            (
                json!({"unified": {"cgroup.procs": "1"}}),
                "unified resource \"cgroup.procs\" belongs to no resource controller",
            ),
            (
                json!({"unified": {"memory": "1"}}),
                "unified resource \"memory\" belongs to no resource controller",
            ),
            (
                json!({"rdma": {"a b": {"hcaHandles": 3}}}),
                "the RDMA device `a b` has no valid name",
            ),
        ] {
            assert_eq!(
                lines(resources.clone()).unwrap_err(),
                message,
                "{resources}"
            );
        }
    }

    #[test]
    fn weights_are_those_of_runc() {
        // Out of the ranges, their ends, the default, and what Kubernetes gives to 1, 100 and 4000 thousandths.
        let cases = [
            (1, 1),
            (2, 1),
            (102, 17),
            (1024, 100),
            (4096, 303),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, weight) in cases {
            assert_eq!(weight_of_shares(shares), Some(weight), "{shares}");
        }
        assert_eq!(weight_of_shares(0), None);
        for (weight, converted) in [(0, 1), (10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight_of_block_io(weight), converted, "{weight}");
        }
    }

    proptest! {
        #[test]
        fn more_shares_are_no_less_weight(shares in 1..300_000_u64, more in 0..300_000_u64) {
            let (less, more) = (weight_of_shares(shares).unwrap(), weight_of_shares(shares + more).unwrap());
            prop_assert!(less <= more && (1..=10_000).contains(&less) && (1..=10_000).contains(&more));
        }
    }
}
