//! Which namespaces a container gets, new ones or by path, and which kernel parameters belong to them: runtime-spec
//! config-linux.md, "Namespaces", "Sysctl", "Offset for Time Namespace". That of users has an order of its own
//! ([`super::plan::UserNamespace`]).

use crate::error::{Error, bad_input};
use crate::sys::namespace;
use crate::sys::process::flags;
use anyhow::{Context, Result};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat, stat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// All kinds, in the order of their names, with the flags of [`flags`].
pub const KINDS: [(LinuxNamespaceType, u64, &str); 8] = {
    use LinuxNamespaceType as T;
    [
        (T::Cgroup, flags::NEW_CGROUP, "cgroup"),
        (T::Ipc, flags::NEW_IPC, "ipc"),
        (T::Mount, flags::NEW_MOUNT, "mount"),
        (T::Network, flags::NEW_NET, "network"),
        (T::Pid, flags::NEW_PID, "pid"),
        (T::Time, flags::NEW_TIME, "time"),
        (T::User, flags::NEW_USER, "user"),
        (T::Uts, flags::NEW_UTS, "uts"),
    ]
};

fn flag(kind: LinuxNamespaceType) -> u64 {
    let found = KINDS.iter().find(|(known, ..)| *known == kind);
    found.map_or(0, |(_, flag, _)| *flag)
}

fn name(flag: u64) -> &'static str {
    let found = KINDS.iter().find(|(_, known, _)| *known == flag);
    found.map_or("", |(.., name)| name)
}

/// New ones as flags of [`flags`], and those that are there, with their flags and paths.
pub fn of(wanted: &[LinuxNamespace]) -> (u64, Vec<(u64, PathBuf)>) {
    let (mut new, mut joined) = (0, Vec::new());
    for namespace in wanted {
        let flag = flag(namespace.typ());
        if flag == flags::NEW_USER {
            continue;
        }
        match namespace.path() {
            None => new |= flag,
            Some(path) => joined.push((flag, path.clone())),
        }
    }
    if joined.iter().any(|(flag, _)| *flag == flags::NEW_MOUNT) {
        // Where its root is made before it goes there: the paths of sources are those of the caller.
        new |= flags::NEW_MOUNT;
    }
    (new, joined)
}

/// Whether a container's mounts are made in the namespace of whoever makes it.
pub fn inherits_mounts(linux: &Linux) -> bool {
    let mut wanted = linux.namespaces().iter().flatten();
    !wanted.any(|namespace| namespace.typ() == LinuxNamespaceType::Mount)
}

/// A namespace that is there already, open.
#[derive(Debug)]
pub struct Joined {
    flag: u64,
    path: PathBuf,
    file: OwnedFd,
}

impl Joined {
    /// Opens one.
    ///
    /// Errors: a file that is not a namespace of the kind that the flag of [`flags`] names (ioctl_nsfs(2)).
    pub fn open(flag: u64, path: &Path) -> Result<Self> {
        // A named pipe would keep open(2) waiting.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(CWD, path, flags, Mode::empty())
            .with_context(|| format!("open the namespace `{}`", path.display()))?;
        if !namespace::is_of_kind(file.as_fd(), flag) {
            let message = format!("`{}` is not a {} namespace", path.display(), name(flag));
            return Err(bad_input(message).into());
        }
        if flag == flags::NEW_MOUNT && is_of_host(&file)? {
            let message = format!(
                "`{}` is the mount namespace of the host, and would get the container's root",
                path.display()
            );
            return Err(bad_input(message).into());
        }
        let path = path.to_owned();
        Ok(Self { flag, path, file })
    }

    /// Whether it is not who enters it that lives there, but its children (pid_namespaces(7), time_namespaces(7)): the
    /// file of such a one in `/proc/self/ns`.
    pub fn of_children(&self) -> Option<(u64, &'static str)> {
        match self.flag {
            flags::NEW_PID => Some((self.flag, "/proc/self/ns/pid")),
            flags::NEW_TIME => Some((self.flag, "/proc/self/ns/time")),
            _ => None,
        }
    }

    /// The calling process, which has one thread, enters it (setns(2)).
    pub fn enter(&self) -> Result<()> {
        namespace::join(self.file.as_fd(), self.flag)
            .with_context(|| format!("join the namespace `{}`", self.path.display()))
    }

    /// Whether it is of mounts: its root becomes that of the container.
    pub fn is_of_mounts(&self) -> bool {
        self.flag == flags::NEW_MOUNT
    }

    /// The namespace as it is.
    pub fn into_file(self) -> OwnedFd {
        self.file
    }

    /// Itself, if it is of networks.
    pub fn network(&self) -> Option<BorrowedFd<'_>> {
        (self.flag == flags::NEW_NET).then_some(self.file.as_fd())
    }
}

impl AsFd for Joined {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether a mount namespace is that of the calling process, or of the first one.
fn is_of_host(file: &OwnedFd) -> Result<bool> {
    let found = fstat(file).context("fstat")?;
    let own = stat("/proc/self/ns/mnt").context("stat `/proc/self/ns/mnt`")?;
    // Whom we may not look at has mounts that we may not change.
    let first = stat("/proc/1/ns/mnt").ok();
    let mut others = [Some(own), first].into_iter().flatten();
    Ok(others.any(|other| (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino)))
}

/// The lines of `timens_offsets`.
///
/// `more` are such lines. Errors: a clock that has no offset, an offset without a time namespace.
pub fn time_offsets(linux: &Linux, more: &str, namespaces: u64) -> Result<String, Error> {
    let mut lines: Vec<String> = more.lines().map(|line| format!("{line}\n")).collect();
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
        "kernel.hostname" => {
            let message = format!("sysctl '{key}' is not allowed: it is what `hostname` is for");
            return Err(bad_input(message).into());
        }
        "kernel.domainname" => (flags::NEW_UTS, "uts"),
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
        assert_eq!(of(&wanted), expected);
        let pods = parse(
            json!([{ "type": "mount" }, { "type": "pid", "path": "/p" }, { "type": "time", "path": "/t" }]),
        );
        let both = vec![
            (flags::NEW_PID, "/p".into()),
            (flags::NEW_TIME, "/t".into()),
        ];
        assert_eq!(of(&pods), (flags::NEW_MOUNT, both));
        let elsewhere = parse(json!([{ "type": "mount", "path": "/m" }]));
        let one = vec![(flags::NEW_MOUNT, "/m".into())];
        assert_eq!(of(&elsewhere), (flags::NEW_MOUNT, one));
        let inherited = (flags::NEW_UTS, Vec::new());
        assert_eq!(of(&parse(json!([{ "type": "uts" }]))), inherited);
    }

    #[test]
    fn a_file_is_a_namespace_of_its_kind_only() {
        let open = |flag, path: &str| Joined::open(flag, Path::new(path));
        let net = open(flags::NEW_NET, "/proc/self/ns/net").unwrap();
        assert!(net.of_children().is_none() && net.network().is_some());
        let pid = open(flags::NEW_PID, "/proc/self/ns/pid").unwrap();
        assert!(pid.of_children().is_some() && pid.network().is_none());
        for (flag, path, expected) in [
            (
                flags::NEW_PID,
                "/proc/self/ns/net",
                "`/proc/self/ns/net` is not a pid namespace",
            ),
            (
                flags::NEW_USER,
                "/dev/null",
                "`/dev/null` is not a user namespace",
            ),
            (
                flags::NEW_MOUNT,
                "/proc/self/ns/mnt",
                "`/proc/self/ns/mnt` is the mount namespace of the host, and would get the container's root",
            ),
            (
                flags::NEW_IPC,
                "/proc/self/ns/x",
                "open the namespace `/proc/self/ns/x`",
            ),
        ] {
            assert_eq!(open(flag, path).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn clocks_have_offsets_in_a_time_namespace_only() {
        let linux: Linux = serde_json::from_value(json!({
            "timeOffsets": { "monotonic": { "secs": 5, "nanosecs": 7 }, "boottime": { "secs": -3 } }
        }))
        .unwrap();
        assert_eq!(
            time_offsets(&linux, "", flags::NEW_TIME).unwrap(),
            "boottime -3 0\nmonotonic 5 7\n"
        );
        assert!(time_offsets(&linux, "", 0).is_err());
        let more = "boottime 7 0\n";
        assert_eq!(
            time_offsets(&Linux::default(), more, flags::NEW_TIME).unwrap(),
            more
        );
    }
}
