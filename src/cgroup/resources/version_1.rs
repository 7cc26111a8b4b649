//! Limits that cgroup version 1 alone has. One that would keep somebody in bounds is refused, as crun does; one that only
//! tunes is passed over with a word, since callers give it on every host.

use crate::error::{Error, Kind};
use oci_spec::runtime::LinuxResources;

/// What is to be said of the limits that are passed over.
///
/// Errors: those that must not be passed over, by name.
#[allow(deprecated)]
pub fn of_version_1(resources: &LinuxResources) -> Result<Vec<String>, Error> {
    let memory = resources.memory().unwrap_or_default();
    let cpu = resources.cpu().clone().unwrap_or_default();
    let block = resources.block_io().clone().unwrap_or_default();
    let network = resources.network().clone().unwrap_or_default();
    let limits = |limit: Option<i64>| limit.is_some_and(|limit| limit > 0);
    let is_leaf = |weight: Option<u16>| weight.is_some_and(|weight| weight != 0);
    let devices = block.weight_device().iter().flatten();
    let refused = [
        (
            "memory.disableOOMKiller",
            memory.disable_oom_killer() == Some(true),
        ),
        ("cpu.realtimeRuntime", limits(cpu.realtime_runtime())),
        (
            "cpu.realtimePeriod",
            cpu.realtime_period().is_some_and(|period| period > 0),
        ),
        ("blockIO.leafWeight", is_leaf(block.leaf_weight())),
        (
            "blockIO.weightDevice[].leafWeight",
            devices
                .into_iter()
                .any(|device| is_leaf(device.leaf_weight())),
        ),
        (
            "network.classID",
            network.class_id().is_some_and(|class| class != 0),
        ),
        (
            "network.priorities",
            network
                .priorities()
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
        ),
    ];
    if let Some((name, _)) = refused.iter().find(|(_, is_given)| *is_given) {
        let message = format!("`linux.resources.{name}` is for cgroup version 1");
        return Err(Error::new(Kind::Unsupported, message)
            .hint("version 2 has nothing of the kind: leave it out"));
    }
    let passed_over = [
        ("memory.kernel", limits(memory.kernel())),
        ("memory.kernelTCP", limits(memory.kernel_tcp())),
        ("memory.swappiness", memory.swappiness().is_some()),
        ("memory.useHierarchy", memory.use_hierarchy() == Some(false)),
    ];
    let given = passed_over.iter().filter(|(_, is_given)| *is_given);
    Ok(given
        .map(|(name, _)| format!("`linux.resources.{name}` is for cgroup version 1, and ignored"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_version_1_alone_has_is_named() {
        let said = |resources: Value| of_version_1(&serde_json::from_value(resources).unwrap());
        for (resources, name) in [
            (
                json!({"memory": {"disableOOMKiller": true}}),
                "memory.disableOOMKiller",
            ),
            (
                json!({"cpu": {"realtimeRuntime": 1}}),
                "cpu.realtimeRuntime",
            ),
            (json!({"cpu": {"realtimePeriod": 1}}), "cpu.realtimePeriod"),
            (json!({"blockIO": {"leafWeight": 10}}), "blockIO.leafWeight"),
            (
                json!({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}}),
                "blockIO.weightDevice[].leafWeight",
            ),
            (json!({"network": {"classID": 1}}), "network.classID"),
            (
                json!({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}),
                "network.priorities",
            ),
        ] {
            let error = said(resources).unwrap_err();
            assert_eq!(
                (error.kind, error.message),
                (
                    Kind::Unsupported,
                    format!("`linux.resources.{name}` is for cgroup version 1")
                )
            );
        }
        for (resources, name) in [
            (json!({"memory": {"kernel": 7}}), "memory.kernel"),
            (json!({"memory": {"kernelTCP": 7}}), "memory.kernelTCP"),
            (json!({"memory": {"swappiness": 0}}), "memory.swappiness"),
            (
                json!({"memory": {"useHierarchy": false}}),
                "memory.useHierarchy",
            ),
        ] {
            let warnings = said(resources).unwrap();
            assert!(
                warnings.len() == 1 && warnings[0].contains(name),
                "{warnings:?}"
            );
        }
        let nothing = json!({
            "memory": {"limit": 5, "kernel": -1, "kernelTCP": 0, "disableOOMKiller": false, "useHierarchy": true},
            "cpu": {"shares": 2, "realtimeRuntime": 0, "realtimePeriod": 0},
            "blockIO": {"weight": 10, "leafWeight": 0},
            "network": {"classID": 0, "priorities": []},
        });
        assert_eq!(said(nothing).unwrap(), Vec::<String>::new());
    }
}
