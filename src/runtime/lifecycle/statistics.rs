//! What `events` tells: what the kernel has counted for a container, in the words of runc.

use super::record::Container;
use crate::cgroup::Cgroup;
use anyhow::Result;
use serde_json::{Map, Value, json};

/// The counts of the container's group; files that are not there, since a controller is not enabled, are left out.
pub fn statistics(container: &Container) -> Result<Value> {
    let group = container.needed_cgroup("count what is used by")?;
    let cpu = keyed(&group, "cpu.stat")?;
    let memory = keyed(&group, "memory.stat")?;
    let microseconds = |key: &str| cpu.get(key).and_then(Value::as_u64).unwrap_or(0) * 1000;
    Ok(json!({
        "cpu": {
            "usage": {
                "total": microseconds("usage_usec"),
                "kernel": microseconds("system_usec"),
                "user": microseconds("user_usec"),
            },
            "throttling": {
                "periods": cpu.get("nr_periods"),
                "throttledPeriods": cpu.get("nr_throttled"),
                "throttledTime": microseconds("throttled_usec"),
            },
        },
        "memory": {
            "cache": memory.get("file"),
            "usage": usage(&group, "memory.current", "memory.max")?,
            "swap": usage(&group, "memory.swap.current", "memory.swap.max")?,
            "raw": memory,
        },
        "pids": {
            "current": number(&group, "pids.current")?,
            "limit": number(&group, "pids.max")?,
        },
        "blkio": { "ioServiceBytesRecursive": devices(&group)? },
    }))
}

fn usage(group: &Cgroup, now: &str, most: &str) -> Result<Value> {
    Ok(json!({ "usage": number(group, now)?, "limit": number(group, most)? }))
}

/// A number; what is unlimited is 0, as runc has it.
fn number(group: &Cgroup, file: &str) -> Result<Option<u64>> {
    let text = group.read(file)?;
    Ok(text.map(|text| text.trim().parse().unwrap_or(0)))
}

fn keyed(group: &Cgroup, file: &str) -> Result<Map<String, Value>> {
    let text = group.read(file)?.unwrap_or_default();
    let pairs = text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), json!(value.parse::<u64>().ok()?)))
    });
    Ok(pairs.collect())
}

/// One entry for each operation of each device.
fn devices(group: &Cgroup) -> Result<Vec<Value>> {
    let text = group.read("io.stat")?.unwrap_or_default();
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
            continue;
        };
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let operation = match key {
                "rbytes" => "Read",
                "wbytes" => "Write",
                _ => continue,
            };
            entries.push(json!({ "major": number(major), "minor": number(minor), "op": operation, "value": number(value) }));
        }
    }
    Ok(entries)
}
