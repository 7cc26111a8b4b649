//! An OCI bundle that asks for what `run --rm --network none` asks for by default: the same namespaces, mounts,
//! capabilities, masked paths and system calls, no limits (runtime-spec, config.md and config-linux.md).

use onggi::runtime::capabilities::CapabilitySet;
use onggi::runtime::seccomp::{Circumstances, KernelVersion, docker_default};
use serde_json::{Value, json};
use std::path::Path;

/// Container id, host id, count.
pub type Map = Vec<(u32, u32, u32)>;

/// The config for a root file system; `maps` are those of users and groups of a new user namespace.
pub fn config(rootfs: &Path, maps: Option<(&Map, &Map)>) -> Value {
    let kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let mut namespaces: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        "maskedPaths": [
            "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
            "/sys/devices/virtual/powercap",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    });
    if let Some((uids, gids)) = maps {
        namespaces.push(json!({ "type": "user" }));
        linux["uidMappings"] = mappings(uids);
        linux["gidMappings"] = mappings(gids);
    }
    linux["namespaces"] = namespaces.into();
    linux["seccomp"] = json!(docker_default(circumstances()));
    let set: Value = CapabilitySet::DOCKER_DEFAULT.names().collect();
    // A group that is not mapped cannot own the terminals.
    let all_groups = maps.is_none_or(|(_, gids)| gids.len() > 1);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": { "bounding": set, "effective": set, "permitted": set },
        },
        "root": { "path": rootfs },
        "hostname": "bench",
        "mounts": mounts(all_groups),
        "linux": linux,
    })
}

fn mappings(map: &Map) -> Value {
    let line = |&(inside, outside, count): &(u32, u32, u32)| json!({ "containerID": inside, "hostID": outside, "size": count });
    map.iter().map(line).collect()
}

fn mounts(all_groups: bool) -> Value {
    let mount = |target: &str, kind: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({ "destination": target, "type": kind, "source": kind, "options": options })
    };
    let terminals = "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620";
    let terminals = format!("{terminals}{}", if all_groups { ",gid=5" } else { "" });
    json!([
        mount("/proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", &terminals),
        mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/sys/fs/cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
        mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount(
            "/dev/shm",
            "tmpfs",
            "nosuid,noexec,nodev,mode=1777,size=65536k"
        ),
    ])
}

/// What the default policy depends on, for the default capabilities and this kernel.
pub fn circumstances() -> Circumstances {
    Circumstances {
        capabilities: CapabilitySet::DOCKER_DEFAULT,
        kernel: KernelVersion::running(),
    }
}
