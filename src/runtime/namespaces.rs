//! Which namespaces a container gets, new ones or by path, and which kernel parameters belong to them: runtime-spec
//! config-linux.md, "Namespaces", "Sysctl", "Offset for Time Namespace". That of users has an order of its own
//! ([`super::plan::UserNamespace`]).

use crate::error::{Error, Kind, bad_input};
use crate::sys::process::flags;
use anyhow::Result;
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType};
use std::path::PathBuf;

/// New ones as flags of [`flags`], and those that are there, with their flags and paths.
pub fn of(wanted: &[LinuxNamespace]) -> Result<(u64, Vec<(u64, PathBuf)>)> {
    let (mut new, mut joined) = (0, Vec::new());
    for namespace in wanted {
        let flag = match namespace.typ() {
            LinuxNamespaceType::Mount => flags::NEW_MOUNT,
            LinuxNamespaceType::Cgroup => flags::NEW_CGROUP,
            LinuxNamespaceType::Uts => flags::NEW_UTS,
            LinuxNamespaceType::Ipc => flags::NEW_IPC,
            LinuxNamespaceType::User => continue,
            LinuxNamespaceType::Pid => flags::NEW_PID,
            LinuxNamespaceType::Network => flags::NEW_NET,
            LinuxNamespaceType::Time => flags::NEW_TIME,
        };
        match namespace.path() {
            None => new |= flag,
            // Of these init is not a part by entering them: one of processes gets its children, and into one of mounts
            // it could not put the root of its own.
            Some(path) if flag & (flags::NEW_PID | flags::NEW_MOUNT | flags::NEW_TIME) != 0 => {
                let message = format!(
                    "joining the namespace `{}` is not supported yet",
                    path.display()
                );
                return Err(Error::new(Kind::Unsupported, message).into());
            }
            Some(path) => joined.push((flag, path.clone())),
        }
    }
    if new & flags::NEW_MOUNT == 0 {
        return Err(bad_input("a container needs a mount namespace of its own").into());
    }
    Ok((new, joined))
}

/// The lines of `timens_offsets`.
///
/// Errors: a clock that has no offset, an offset without a time namespace.
pub fn time_offsets(linux: &Linux, namespaces: u64) -> Result<String, Error> {
    let mut lines = Vec::new();
    for (clock, offset) in linux.time_offsets().iter().flatten() {
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            return Err(bad_input(format!(
                "the clock `{clock}` has no offset in a time namespace"
            )));
        }
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        lines.push(format!("{clock} {seconds} {nanoseconds}\n"));
    }
    if !lines.is_empty() && namespaces & flags::NEW_TIME == 0 {
        return Err(bad_input(
            "time offsets need a time namespace of the container's own",
        ));
    }
    lines.sort();
    Ok(lines.concat())
}

/// Kernel parameters that belong to an IPC namespace (ipc_namespaces(7)), beside those of `fs.mqueue`.
pub const IPC_PARAMETERS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The file of a kernel parameter, if it belongs to a namespace that is the container's own (sysctl(8)); others
/// would change the host.
pub fn sysctl(key: &str, namespaces: u64) -> Result<String> {
    let path = path(key);
    let parameter = path.replace('/', ".");
    let (owner, name) = match parameter.as_str() {
        other if IPC_PARAMETERS.contains(&other) || other.starts_with("fs.mqueue.") => {
            (flags::NEW_IPC, "ipc")
        }
        other if other.starts_with("net.") => (flags::NEW_NET, "network"),
        "kernel.hostname" | "kernel.domainname" => (flags::NEW_UTS, "uts"),
        _ => {
            return Err(bad_input(format!(
                "sysctl '{key}' is not in a separate kernel namespace, it would change the host"
            ))
            .into());
        }
    };
    if namespaces & owner == 0 {
        return Err(bad_input(format!(
            "sysctl '{key}' is not allowed in the host's {name} namespace"
        ))
        .into());
    }
    if path.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err(bad_input(format!(
            "sysctl '{key}' is not a name of a kernel parameter"
        ))
        .into());
    }
    Ok(format!("sys/{path}"))
}

/// Whichever separator comes first separates; the other one then stands for a dot in a name (sysctl(8)).
fn path(key: &str) -> String {
    match key.find(['.', '/']).map(|at| &key[at..=at]) {
        Some("/") => key.to_owned(),
        _ => key.chars().map(swap_separators).collect(),
    }
}

fn swap_separators(letter: char) -> char {
    match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_belong_to_namespaces() {
        let all = flags::NEW_NET | flags::NEW_IPC | flags::NEW_UTS;
        for (key, owned, path) in [
            ("net.ipv4.ip_forward", all, Some("sys/net/ipv4/ip_forward")),
            (
                "net/ipv4/conf/eth0.5/rp_filter",
                all,
                Some("sys/net/ipv4/conf/eth0.5/rp_filter"),
            ),
            (
                "net.ipv4.conf.eth0/5.rp_filter",
                all,
                Some("sys/net/ipv4/conf/eth0.5/rp_filter"),
            ),
            ("net.ipv4.ip_forward", flags::NEW_IPC, None),
            (
                "kernel.shm_rmid_forced",
                all,
                Some("sys/kernel/shm_rmid_forced"),
            ),
            ("kernel.shm_rmid_forced", flags::NEW_NET, None),
            ("fs.mqueue.msg_max", all, Some("sys/fs/mqueue/msg_max")),
            ("kernel.domainname", all, Some("sys/kernel/domainname")),
            ("kernel.core_pattern", all, None),
            ("net/../kernel/core_pattern", all, None),
            ("net..x", all, None),
            ("vm.swappiness", all, None),
        ] {
            assert_eq!(sysctl(key, owned).ok().as_deref(), path, "{key}");
        }
    }

    #[test]
    fn namespaces_are_made_or_joined() {
        let parse = |value: serde_json::Value| -> Vec<LinuxNamespace> {
            serde_json::from_value(value).unwrap()
        };
        let wanted = parse(
            json!([{ "type": "mount" }, { "type": "network", "path": "/run/netns/x" }, { "type": "user" }]),
        );
        let expected = (
            flags::NEW_MOUNT,
            vec![(flags::NEW_NET, PathBuf::from("/run/netns/x"))],
        );
        assert_eq!(of(&wanted).unwrap(), expected);
        for refused in [
            json!([{ "type": "uts" }]),
            json!([{ "type": "mount" }, { "type": "pid", "path": "/x" }]),
        ] {
            assert!(of(&parse(refused.clone())).is_err(), "{refused}");
        }
    }

    #[test]
    fn clocks_have_offsets_in_a_time_namespace_only() {
        let linux: Linux = serde_json::from_value(json!({
            "timeOffsets": { "monotonic": { "secs": 5, "nanosecs": 7 }, "boottime": { "secs": -3 } }
        }))
        .unwrap();
        assert_eq!(
            time_offsets(&linux, flags::NEW_TIME).unwrap(),
            "boottime -3 0\nmonotonic 5 7\n"
        );
        assert!(time_offsets(&linux, 0).is_err());
    }
}
