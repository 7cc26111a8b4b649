//! A configuration to begin with, as `spec` writes it: that of runc 1.1, field by field. It differs in the version of the
//! specification and in the host name, and where the host's control groups are of version 2 alone it asks for a cgroup
//! namespace, as runc does there since 1.2.

use super::bundle::VERSIONS;
use crate::cgroup;
use crate::error::{Error, Kind};
use crate::paths::BUNDLE_CONFIGURATION;
use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Who is root in a container without privileges: a uid and a gid.
pub type Rootless = Option<(u32, u32)>;

/// Writes a `config.json` into a directory.
///
/// Errors: `Conflict` where one is there.
pub fn write(directory: &Path, rootless: Rootless) -> Result<()> {
    let path = directory.join(BUNDLE_CONFIGURATION);
    let name = path.display();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = match openat(CWD, &path, flags, Mode::from_raw_mode(0o666)) {
        Err(Errno::EXIST) => {
            let message = format!("`{name}` is there already");
            return Err(Error::new(Kind::Conflict, message)
                .hint("remove it first, or name another directory with --bundle")
                .into());
        }
        opened => opened.with_context(|| format!("create `{name}`"))?,
    };
    let text = text(&configuration(rootless, cgroup::is_version_2()))?;
    let written = File::from(file).write_all(&text);
    written.with_context(|| format!("write `{name}`"))
}

/// Indented by tabulators.
fn text(configuration: &Value) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    configuration.serialize(&mut serializer)?;
    Ok(text)
}

fn configuration(rootless: Rootless, has_version_2: bool) -> Value {
    const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    json!({
        "ociVersion": VERSIONS[1],
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [path, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": CAPABILITIES,
                "permitted": CAPABILITIES,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "onggi",
        "mounts": mounts(rootless.is_some()),
        "linux": linux(rootless, has_version_2),
    })
}

fn mounts(is_rootless: bool) -> Value {
    let mut mounts = json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/sys", "type": "sysfs", "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
        {
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ]);
    if is_rootless {
        // The group of terminals has no place in its user namespace, and a new sysfs needs a network namespace of its own.
        mounts[2]["options"].as_array_mut().map(Vec::pop);
        mounts[5] = json!({
            "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        });
    }
    mounts
}

fn linux(rootless: Rootless, has_version_2: bool) -> Value {
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if has_version_2 {
        namespaces.push("cgroup");
    }
    let mut linux = json!({});
    match rootless {
        None => {
            linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
        }
        Some((uid, gid)) => {
            let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
            linux["uidMappings"] = map(uid);
            linux["gidMappings"] = map(gid);
            namespaces.retain(|kind| *kind != "network");
            namespaces.push("user");
        }
    }
    let namespaces: Vec<_> = namespaces
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    linux["namespaces"] = namespaces.into();
    linux["maskedPaths"] = json!([
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
    ]);
    linux["readonlyPaths"] = json!([
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]);
    linux
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error;
    use crate::runtime::bundle;

    /// What `runc spec` of Debian 12 has written, kept.
    #[test]
    fn it_is_that_of_runc() {
        for (name, rootless) in [("runc", None), ("runc-rootless", Some((0, 0)))] {
            let path = format!(
                "{}/tests/data/bundles/{name}.json",
                env!("CARGO_MANIFEST_DIR")
            );
            let mut theirs: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            theirs["ociVersion"] = json!("1.3.0");
            theirs["hostname"] = json!("onggi");
            // What cannot be (capabilities(7)), and what runc 1.3 does not write any more.
            let sets = theirs["process"]["capabilities"].as_object_mut().unwrap();
            sets.remove("ambient");
            let ours = configuration(rootless, false);
            // In the same order, too.
            assert_eq!(text(&ours).unwrap(), text(&theirs).unwrap(), "{name}");
        }
    }

    #[test]
    fn one_that_is_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("rootfs")).unwrap();
        for rootless in [None, Some((7, 8))] {
            write(directory.path(), rootless).unwrap();
            let opened = bundle::read(directory.path(), None).unwrap();
            assert_eq!(opened.warnings, Vec::<String>::new());
            let linux = opened.spec.linux().as_ref().unwrap();
            let id = linux.uid_mappings().as_ref().map(|maps| maps[0].host_id());
            assert_eq!(id, rootless.map(|(uid, _)| uid));
            let path = directory.path().join(BUNDLE_CONFIGURATION);
            let before = std::fs::read(&path).unwrap();
            let refused = write(directory.path(), None).unwrap_err();
            assert_eq!(error::kind(&refused), Some(Kind::Conflict));
            assert_eq!(std::fs::read(&path).unwrap(), before);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_host_of_version_2_alone_has_cgroup_namespaces() {
        for rootless in [None, Some((1, 1))] {
            let namespaces = &configuration(rootless, true)["linux"]["namespaces"];
            let has = |kind: &str| {
                namespaces
                    .as_array()
                    .unwrap()
                    .contains(&json!({ "type": kind }))
            };
            assert!(has("cgroup") && has("user") == rootless.is_some());
        }
    }
}
