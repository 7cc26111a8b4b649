//! What to try where a limit cannot be applied: each host, and each place in one, has a way of its own. Nothing is
//! changed here; whoever reads it may not even be allowed to.

use super::{ROOT, is_version_2, of_process, systemd};
use rustix::fs::{Access, access};
use std::path::Path;

/// What lets users limit what they run (systemd.resource-control(5)).
const DROP_IN: &str = "let an administrator delegate it and log in again: sudo mkdir -p \
     /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee \
     /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload";
const UNIFIED: &str =
    "boot the host with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line";
const MOUNT: &str = "mount them: sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup";
const ENABLE: &str = "see `cgroup.controllers` in the groups above it: the kernel may lack the controller, or be told to \
     (`cgroup_disable=`), or a unit may not have it in `Delegate=`";
const NESTED: &str = "without systemd a control group that may be written to is needed: a container around has one with \
     --privileged and --cgroupns=private";

/// What of a place decides what helps.
#[derive(Clone, Copy, Debug)]
struct Situation<'a> {
    /// Why there are no control groups of version 2 at all.
    absence: Option<Absence>,
    /// systemd is the first process.
    is_booted: bool,
    /// Whether groups may be made at the top.
    is_writable: bool,
    /// Not root.
    user: Option<u32>,
    /// This user has a service manager.
    has_manager: bool,
    /// The service of the system's manager that the process is in.
    unit: Option<&'a str>,
}

/// Why there are no control groups of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The controllers are in hierarchies of version 1.
    Version1,
    /// They are nowhere to be seen.
    Unmounted,
}

impl Absence {
    /// `None` where there are some.
    pub fn look() -> Option<Self> {
        let groups = || std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        (!is_version_2()).then(|| Self::of(&groups()))
    }

    /// By the text of `/proc/self/cgroup` (cgroups(7)).
    fn of(groups: &str) -> Self {
        match groups.lines().all(|line| line.starts_with("0::")) && !groups.is_empty() {
            true => Self::Unmounted,
            false => Self::Version1,
        }
    }

    /// In words.
    pub fn reason(self) -> String {
        match self {
            Self::Version1 => "this host has control groups of version 1".to_owned(),
            Self::Unmounted => format!("no control groups are mounted on `{ROOT}`"),
        }
    }
}

/// What to try where a limit cannot be applied; `user` is the caller's uid outside of any user namespace, or `None` for
/// root.
pub fn of_missing_limit(user: Option<u32>) -> String {
    let own = of_process(None).unwrap_or_default();
    let manager = |uid| Path::new(&format!("/run/user/{uid}/systemd")).is_dir();
    let situation = Situation {
        absence: Absence::look(),
        is_booted: systemd::is_booted(),
        is_writable: access(ROOT, Access::WRITE_OK).is_ok(),
        user,
        has_manager: user.is_some_and(manager),
        unit: own.as_deref().and_then(service_of),
    };
    choose(&situation)
}

fn choose(situation: &Situation<'_>) -> String {
    match (situation.absence, situation.user) {
        (Some(Absence::Version1), _) => UNIFIED.to_owned(),
        (Some(Absence::Unmounted), _) => MOUNT.to_owned(),
        (None, None) if situation.is_booted || situation.is_writable => ENABLE.to_owned(),
        (None, _) if !situation.is_booted => NESTED.to_owned(),
        (None, Some(_)) if let Some(unit) = situation.unit => format!(
            "let the unit have it: sudo systemctl edit {unit}, with the lines `[Service]` and `Delegate=yes`, and start \
             it again"
        ),
        (None, Some(uid)) if !situation.has_manager => systemd::linger(uid),
        (None, _) => DROP_IN.to_owned(),
    }
}

/// The service of the system's manager that a group is that of, if it is one; all of a user's are in one of them.
fn service_of(group: &Path) -> Option<&str> {
    let mut names = group.iter().filter_map(|name| name.to_str());
    let service = names.find(|name| name.ends_with(".service"))?;
    (!service.starts_with("user@")).then_some(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_the_system_is_told_from_a_users() {
        for (group, service) in [
            ("/system.slice/web.service", Some("web.service")),
            ("/system.slice/web.service/supervisor", Some("web.service")),
            ("/user.slice/user-1000.slice/session-3.scope", None),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                None,
            ),
            ("/", None),
        ] {
            assert_eq!(service_of(Path::new(group)), service, "{group}");
        }
    }

    #[test]
    fn a_hierarchy_that_is_not_mounted_is_told_from_one_of_version_1() {
        for (groups, expected) in [
            ("0::/user.slice\n", Absence::Unmounted),
            ("8:pids:/x\n0::/\n", Absence::Version1),
            ("8:pids:/x\n", Absence::Version1),
            ("", Absence::Version1),
        ] {
            assert_eq!(Absence::of(groups), expected, "{groups:?}");
        }
    }

    #[test]
    fn each_place_has_its_remedy() {
        let session = Situation {
            absence: None,
            is_booted: true,
            is_writable: false,
            user: Some(1000),
            has_manager: true,
            unit: None,
        };
        let root = Situation {
            user: None,
            ..session
        };
        for (situation, word) in [
            (session, "delegate.conf"),
            (
                Situation {
                    has_manager: false,
                    ..session
                },
                "loginctl enable-linger 1000",
            ),
            (
                Situation {
                    unit: Some("web.service"),
                    has_manager: false,
                    ..session
                },
                "systemctl edit web.service",
            ),
            (
                Situation {
                    is_booted: false,
                    ..session
                },
                "--privileged",
            ),
            (
                Situation {
                    is_booted: false,
                    ..root
                },
                "--privileged",
            ),
            (
                Situation {
                    is_booted: false,
                    is_writable: true,
                    ..root
                },
                "`cgroup.controllers`",
            ),
            (root, "`cgroup.controllers`"),
            (
                Situation {
                    absence: Some(Absence::Version1),
                    ..session
                },
                "systemd.unified_cgroup_hierarchy=1",
            ),
            (
                Situation {
                    absence: Some(Absence::Unmounted),
                    ..root
                },
                "mount -t cgroup2",
            ),
        ] {
            let remedy = choose(&situation);
            assert!(remedy.contains(word), "{situation:?}: {remedy}");
        }
    }
}
