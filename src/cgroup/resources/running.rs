//! Limits that are changed: what the kernel takes together and is given in part, is completed by what holds already.

use super::{Controller, Setting, settings};
use crate::cgroup::Cgroup;
use anyhow::Result;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

/// As [`settings`], for a group that has limits.
pub fn settings_of_running(group: &Cgroup, resources: &LinuxResources) -> Result<Vec<Setting>> {
    let mut resources = resources.clone();
    if let Some(cpu) = resources.cpu().clone() {
        let cpu = with_quota(cpu, &group.words("cpu.max")?);
        resources.set_cpu(Some(cpu));
    }
    if let Some(memory) = *resources.memory() {
        let memory = with_limit(memory, &group.words("memory.max")?);
        resources.set_memory(Some(memory));
    }
    let mut all = settings(&resources)?;
    let is_idle = group.words("cpu.idle")? == ["1"];
    let sets = |file: &str| all.iter().any(|setting| setting.file == file);
    if is_idle && sets("cpu.weight") && !sets("cpu.idle") {
        // What is idle takes no weight: who gives one wants it idle no longer.
        all.insert(0, Setting::new(Controller::Cpu, "cpu.idle", 0));
    }
    Ok(all)
}

/// Of quota and period the one that is not given.
fn with_quota(mut cpu: LinuxCpu, held: &[String]) -> LinuxCpu {
    let [quota, period] = held else {
        return cpu;
    };
    let wanted = (
        cpu.quota().filter(|quota| *quota != 0),
        cpu.period().filter(|period| *period != 0),
    );
    match wanted {
        (Some(_), None) => cpu.set_period(period.parse().ok()),
        (None, Some(_)) => cpu.set_quota(quota.parse().ok()),
        _ => &mut cpu,
    };
    cpu
}

/// The limit of memory, which that of memory and swap together is reckoned from.
fn with_limit(mut memory: LinuxMemory, held: &[String]) -> LinuxMemory {
    let is_wanted = memory.swap().is_some_and(|sum| sum > 0) && memory.limit().unwrap_or(0) == 0;
    if let ([limit], true) = (held, is_wanted) {
        memory.set_limit(limit.parse().ok());
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn halves_are_completed() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        for (given, held, quota, period) in [
            (json!({"period": 9}), "5 7", Some(5), Some(9)),
            (json!({"quota": 9}), "5 7", Some(9), Some(7)),
            (json!({"quota": -1}), "5 7", Some(-1), Some(7)),
            (json!({"period": 9}), "max 7", None, Some(9)),
            (json!({"quota": 1, "period": 2}), "5 7", Some(1), Some(2)),
            (json!({"shares": 2}), "5 7", None, None),
        ] {
            let cpu = with_quota(serde_json::from_value(given.clone()).unwrap(), &words(held));
            assert_eq!((cpu.quota(), cpu.period()), (quota, period), "{given}");
        }
        for (given, held, limit) in [
            (json!({"swap": 9}), "5", Some(5)),
            (json!({"swap": 9}), "max", None),
            (json!({"swap": 9, "limit": 7}), "5", Some(7)),
            (json!({"swap": -1}), "5", None),
            (json!({"reservation": 1}), "5", None),
        ] {
            let memory = with_limit(serde_json::from_value(given.clone()).unwrap(), &words(held));
            assert_eq!(memory.limit(), limit, "{given}");
        }
    }
}
