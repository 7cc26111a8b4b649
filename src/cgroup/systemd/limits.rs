//! Limits as properties of units (systemd.resource-control(5)). systemd keeps what it has been told, and may write it again
//! at any time; files that it has no property for it leaves alone.

use super::Property;
use crate::cgroup::resources::Setting;

/// systemd's word for "not limited", and for a weight that is not set.
const UNLIMITED: u64 = u64::MAX;
/// systemd.resource-control(5), "CPUQuota=": shares of a processor are rounded to this many microseconds of a second, upwards.
const GRAIN: u64 = 10_000;
const SECOND: u64 = 1_000_000;

/// What systemd can be told of these settings.
pub fn properties(settings: &[Setting]) -> Vec<Property> {
    settings.iter().flat_map(of_setting).collect()
}

/// Those that it cannot be told of, as a whole: it writes no period where there is no quota.
pub fn others(settings: &[Setting]) -> Vec<Setting> {
    let is_other = |setting: &&Setting| match setting.file.as_str() {
        "cpu.idle" => true,
        "cpu.max" => setting.value.starts_with("max"),
        _ => of_setting(setting).is_empty(),
    };
    settings.iter().filter(is_other).cloned().collect()
}

fn of_setting(setting: &Setting) -> Vec<Property> {
    let value = setting.value.trim();
    let number = |name: &str| {
        let number = match value {
            "max" => Some(UNLIMITED),
            value => value.parse().ok(),
        };
        Vec::from_iter(number.map(|number| Property::long(name, number)))
    };
    match setting.file.as_str() {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.zswap.max" => number("MemoryZSwapMax"),
        "pids.max" => number("TasksMax"),
        "cpu.weight" => number("CPUWeight"),
        // A weight of 0 is systemd's word for it, since version 252.
        "cpu.idle" if value == "1" => vec![Property::long("CPUWeight", 0)],
        "cpu.idle" => vec![Property::long("CPUWeight", UNLIMITED)],
        "cpu.max" => quota(value),
        "cpuset.cpus" => Vec::from_iter(list("AllowedCPUs", value)),
        "cpuset.mems" => Vec::from_iter(list("AllowedMemoryNodes", value)),
        _ => Vec::new(),
    }
}

/// `max`, or microseconds in a period.
fn quota(value: &str) -> Vec<Property> {
    let mut words = value.split_ascii_whitespace();
    let (quota, period) = (words.next(), words.next());
    let period: Option<u64> = period.map_or(Some(100_000), |period| period.parse().ok());
    let (Some(quota), Some(period @ 1..)) = (quota, period) else {
        return Vec::new();
    };
    let share = match quota.parse::<u64>() {
        Ok(quota) => (quota.saturating_mul(SECOND) / period).next_multiple_of(GRAIN),
        Err(_) => UNLIMITED,
    };
    vec![
        Property::long("CPUQuotaPeriodUSec", period),
        Property::long("CPUQuotaPerSecUSec", share),
    ]
}

/// `0-2,5` as a mask, with the lowest numbers in the first byte; `None` for what the kernel will refuse too.
fn list(name: &str, value: &str) -> Option<Property> {
    const MOST: usize = 8192;
    let mut mask = Vec::new();
    for part in value.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST {
            return None;
        }
        for number in first..=last {
            let byte = number / 8;
            mask.resize(mask.len().max(byte + 1), 0);
            mask[byte] |= 1 << (number % 8);
        }
    }
    Some(Property::bytes(name, &mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::resources::{Controller, Setting};

    fn setting(file: &str, value: &str) -> Setting {
        Setting {
            controller: Controller::of_file(file).unwrap(),
            file: file.to_owned(),
            value: value.to_owned(),
            spares: None,
        }
    }

    #[test]
    fn each_file_that_systemd_writes_has_its_property() {
        let long = |name, value| Property::long(name, value);
        for (file, value, expected) in [
            ("memory.max", "4096", vec![long("MemoryMax", 4096)]),
            ("memory.high", "max", vec![long("MemoryHigh", u64::MAX)]),
            ("memory.swap.max", "0", vec![long("MemorySwapMax", 0)]),
            ("pids.max", "20", vec![long("TasksMax", 20)]),
            ("cpu.weight", "17", vec![long("CPUWeight", 17)]),
            ("cpu.idle", "1", vec![long("CPUWeight", 0)]),
            ("cpu.idle", "0", vec![long("CPUWeight", u64::MAX)]),
            (
                "cpu.max",
                "600000 900000",
                vec![
                    long("CPUQuotaPeriodUSec", 900_000),
                    long("CPUQuotaPerSecUSec", 670_000),
                ],
            ),
            (
                "cpu.max",
                "max 50000",
                vec![
                    long("CPUQuotaPeriodUSec", 50_000),
                    long("CPUQuotaPerSecUSec", u64::MAX),
                ],
            ),
            (
                "cpu.max",
                "5000",
                vec![
                    long("CPUQuotaPeriodUSec", 100_000),
                    long("CPUQuotaPerSecUSec", 50_000),
                ],
            ),
            (
                "cpuset.cpus",
                "0-2,5,8",
                vec![Property::bytes("AllowedCPUs", &[0b0010_0111, 1])],
            ),
            (
                "cpuset.mems",
                "0",
                vec![Property::bytes("AllowedMemoryNodes", &[1])],
            ),
            ("cpuset.cpus", "0-99999999999", vec![]),
            ("cpu.max", "5 0", vec![]),
            ("memory.max", "many", vec![]),
            ("io.max", "8:0 rbps=5", vec![]),
        ] {
            assert_eq!(
                properties(&[setting(file, value)]),
                expected,
                "{file} {value}"
            );
        }
    }

    #[test]
    fn the_rest_is_what_no_property_speaks_of() {
        let all = [
            ("cpu.idle", "1"),
            ("memory.max", "5"),
            ("io.max", "8:0 rbps=5"),
            ("cpu.max.burst", "7"),
            ("cpu.max", "max 50000"),
            ("cpu.max", "5 50000"),
        ]
        .map(|(file, value)| setting(file, value));
        let files: Vec<String> = others(&all).into_iter().map(|one| one.file).collect();
        assert_eq!(files, ["cpu.idle", "io.max", "cpu.max.burst", "cpu.max"]);
    }
}
