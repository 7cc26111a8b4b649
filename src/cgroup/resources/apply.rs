//! Limits are written to a cgroup, and what is to be said about those that cannot be.

use super::convert::io_weight_of_block_io;
use super::{Controller, Setting};
use crate::cgroup::{Cgroup, errno, is_version_2, of_process};
use crate::error::{Error, Kind};
use crate::sys::namespace;
use anyhow::Result;
use rustix::io::Errno;
use std::path::Path;

/// What lets users limit what they run (systemd.resource-control(5)).
const DROP_IN: &str = "let an administrator delegate it and log in again: sudo mkdir -p \
     /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee \
     /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload (or go without the limit: \
     --limits=best-effort)";
const UNIFIED: &str = "boot the host with `systemd.unified_cgroup_hierarchy=1` on the kernel's command line, or go without \
     the limit: --limits=best-effort";
const ENABLE: &str = "see `cgroup.controllers` in the groups above it: the kernel may lack the controller, or be told to \
     (`cgroup_disable=`), or a unit may not have it in `Delegate=`; or go without the limit: --limits=best-effort";
const NO_SWAP: &str = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited \
     without swap.";

/// The error for limits of a controller that is not there for the group in this directory.
pub fn missing(controller: Controller, directory: &Path, reason: &str) -> Error {
    let message = format!(
        "the limits of the `{}` controller cannot be applied in `{}`: {reason}",
        controller.name(),
        directory.display()
    );
    let own = of_process(None).unwrap_or_default();
    let unit = own.as_deref().and_then(service_of);
    let hint = match unit {
        _ if !is_version_2() => UNIFIED.to_owned(),
        _ if namespace::is_initial_user() => ENABLE.to_owned(),
        Some(unit) => format!(
            "let the unit have it: sudo systemctl edit {unit}, with the lines `[Service]` and `Delegate=yes`, and start \
             it again (or go without the limit: --limits=best-effort)"
        ),
        None => DROP_IN.to_owned(),
    };
    Error::new(Kind::Denied, message).hint(hint)
}

/// The service of the system's manager that a group is that of, if it is one; all of a user's are in one of them.
fn service_of(group: &Path) -> Option<&str> {
    let mut names = group.iter().filter_map(|name| name.to_str());
    let service = names.find(|name| name.ends_with(".service"))?;
    (!service.starts_with("user@")).then_some(service)
}

/// Writes the limits of controllers that are enabled. What cannot be written ends it, or with `best_effort` is left
/// out; the answer is what is to be said about that.
pub fn apply(cgroup: &Cgroup, settings: &[Setting], best_effort: bool) -> Result<Vec<Error>> {
    let enabled = cgroup.words("cgroup.controllers")?;
    let mut said: Vec<Error> = Vec::new();
    let mut told = Vec::new();
    let mut postponed = Vec::new();
    let mut refuse = |error: Error| match best_effort {
        true => {
            said.push(error);
            Ok(())
        }
        false => Err(error),
    };
    let mut no_swap = None;
    for setting in settings {
        let name = setting.controller.name();
        if !enabled.iter().any(|word| word == name) {
            if !told.contains(&setting.controller) {
                told.push(setting.controller);
                refuse(missing(
                    setting.controller,
                    &cgroup.directory(),
                    "it is not delegated to that group",
                ))?;
            }
            continue;
        }
        match write(cgroup, setting) {
            Ok(()) => {}
            // A burst must fit its quota: which of both has to go first depends on what was before.
            Err(error) if errno(&error) == Some(Errno::INVAL) => postponed.push(setting),
            Err(error) if errno(&error) == Some(Errno::NOENT) => match setting.file.as_str() {
                // As Docker: memory can be limited where swap is not accounted for.
                "memory.swap.max" if ["0", "max"].contains(&setting.value.as_str()) => {}
                "memory.swap.max" => no_swap = Some(Error::new(Kind::Unsupported, NO_SWAP)),
                // Since Linux 5.7.
                file if file.ends_with(".rsvd.max") => {}
                _ => refuse(refused(&error))?,
            },
            Err(error) => refuse(refused(&error))?,
        }
    }
    for setting in postponed {
        if let Err(error) = write(cgroup, setting) {
            refuse(refused(&error))?;
        }
    }
    said.extend(no_swap);
    Ok(said)
}

fn write(cgroup: &Cgroup, setting: &Setting) -> Result<()> {
    match cgroup.write(&setting.file, &setting.value) {
        // There is the one of the scheduler BFQ, and that of the kernel's cost model.
        Err(error) if setting.file == "io.bfq.weight" && errno(&error) == Some(Errno::NOENT) => {
            cgroup.write("io.weight", &in_cost_model(&setting.value))
        }
        written => written,
    }
}

/// `500` or `8:0 500`.
fn in_cost_model(value: &str) -> String {
    let (device, weight) = match value.rsplit_once(' ') {
        Some((device, weight)) => (format!("{device} "), weight),
        None => (String::new(), value),
    };
    let weight = weight.parse().unwrap_or_default();
    format!("{device}{}", io_weight_of_block_io(weight))
}

fn refused(error: &anyhow::Error) -> Error {
    let failure = Error::new(Kind::Denied, format!("set a limit: {error:#}"));
    match errno(error) {
        Some(Errno::NOENT) => failure.hint("this kernel has no such limit"),
        Some(Errno::INVAL | Errno::RANGE) => failure.hint("the kernel does not take this value"),
        Some(Errno::NODEV) => failure.hint("the kernel limits whole disks, not partitions"),
        _ => failure,
    }
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
    fn weights_of_both_kinds() {
        assert_eq!(in_cost_model("500"), "4950");
        assert_eq!(in_cost_model("8:0 10"), "8:0 1");
    }
}
