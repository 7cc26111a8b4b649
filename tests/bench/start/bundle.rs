//! An OCI bundle that asks for what `run --rm --network none` asks for by default: the same namespaces, mounts,
//! capabilities, masked paths and system calls, no limits (runtime-spec, config.md and config-linux.md).

use serde_json::{Value, json};
use std::path::Path;

/// Docker's default set (capabilities(7)).
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Where Debian's containers-common keeps the default policy.
const POLICY: &str = "/usr/share/containers/seccomp.json";

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
    if let Some(seccomp) = seccomp() {
        linux["seccomp"] = seccomp;
    }
    let set = json!(CAPABILITIES);
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

/// The default policy in the terms of the runtime-spec: rules whose conditions this container meets.
fn seccomp() -> Option<Value> {
    let policy: Value = serde_json::from_slice(&std::fs::read(POLICY).ok()?).ok()?;
    let native = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let has = |list: &Value, wanted: &dyn Fn(&str) -> bool| {
        list.as_array()
            .is_some_and(|list| list.iter().filter_map(Value::as_str).any(wanted))
    };
    let applies = |rule: &&Value| {
        let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
        let capable = |name: &str| CAPABILITIES.contains(&name);
        !has(&includes["caps"], &|name| !capable(name))
            && (includes["arches"].is_null() || has(&includes["arches"], &|name| name == native))
            && !has(&excludes["caps"], &capable)
            && !has(&excludes["arches"], &|name| name == native)
    };
    let spec = |rule: &Value| {
        let mut spec = json!({ "names": rule["names"], "action": rule["action"] });
        for key in ["args", "errnoRet"] {
            if !rule[key].is_null() {
                spec[key] = rule[key].clone();
            }
        }
        spec
    };
    let rules: Vec<Value> = policy["syscalls"]
        .as_array()?
        .iter()
        .filter(applies)
        .map(spec)
        .collect();
    let maps = policy["archMap"].as_array()?;
    let own = if native == "amd64" {
        "SCMP_ARCH_X86_64"
    } else {
        "SCMP_ARCH_AARCH64"
    };
    let map = maps.iter().find(|map| map["architecture"] == own)?;
    let mut architectures = vec![map["architecture"].clone()];
    architectures.extend(
        map["subArchitectures"]
            .as_array()
            .into_iter()
            .flatten()
            .cloned(),
    );
    Some(json!({
        "defaultAction": policy["defaultAction"],
        "defaultErrnoRet": policy["defaultErrnoRet"],
        "architectures": architectures,
        "syscalls": rules,
    }))
}
