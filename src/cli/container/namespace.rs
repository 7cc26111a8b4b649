//! Which namespaces `run` and `create` ask for: `--network`, `--ipc`, `--pid`, `--uts`, `--cgroupns`. User namespaces are
//! parsed by their own type.

use crate::cli::unsupported;
use crate::container::options::{Namespace, NetworkMode};
use crate::error::{Error, bad_input};

/// `--network`: until there are networks, every container has loopback, or the host's network.
pub(super) fn network_mode(text: Option<String>) -> Result<NetworkMode, Error> {
    match text.as_deref() {
        None | Some("default") => Ok(NetworkMode::Private),
        Some("none") => Ok(NetworkMode::None),
        Some("host") => Ok(NetworkMode::Host),
        Some("") => Err(bad_input("no name set for network")),
        Some(other) => Err(unsupported::not_yet(
            &format!("--network {other}"),
            "containers have loopback only",
        )),
    }
}

/// `--ipc`.
pub(super) fn ipc_mode(text: Option<String>) -> Result<Namespace, Error> {
    match text.as_deref() {
        None | Some("" | "private") => Ok(Namespace::Private),
        Some("none") => Ok(Namespace::None),
        Some("host") => Ok(Namespace::Host),
        Some(other) if other == "shareable" || other.starts_with("container:") => {
            Err(another_container("ipc", other))
        }
        Some(_) => Err(bad_input("--ipc: invalid IPC mode")),
    }
}

/// Namespaces that are new or the host's: `--pid`, `--uts`, `--cgroupns`.
pub(super) fn own_or_host(flag: &str, text: Option<String>) -> Result<Namespace, Error> {
    match text.as_deref() {
        None | Some("") => Ok(Namespace::Private),
        Some("private") if flag == "cgroupns" => Ok(Namespace::Private),
        Some("host") => Ok(Namespace::Host),
        Some(other) if flag == "pid" && other.len() > 10 && other.starts_with("container:") => {
            Err(another_container(flag, other))
        }
        Some(_) => {
            let kind = if flag == "cgroupns" {
                "CGROUP".to_owned()
            } else {
                flag.to_uppercase()
            };
            Err(bad_input(format!("--{flag}: invalid {kind} mode")))
        }
    }
}

fn another_container(flag: &str, value: &str) -> Error {
    unsupported::not_yet(
        &format!("--{flag} {value}"),
        "containers cannot join the namespaces of others",
    )
}

/// A parameter of a namespace that is the host's would change the host.
pub(super) fn refuse_sysctls_of_the_host(
    sysctls: &[(String, String)],
    network: &NetworkMode,
    ipc: Namespace,
) -> Result<(), Error> {
    for (name, _) in sysctls {
        let (is_hosts, kind) = if name.starts_with("net.") {
            (*network == NetworkMode::Host, "network")
        } else {
            (ipc == Namespace::Host, "ipc")
        };
        if is_hosts {
            return Err(bad_input(format!(
                "sysctl {name:?} not allowed in host {kind} namespace"
            )));
        }
    }
    Ok(())
}
