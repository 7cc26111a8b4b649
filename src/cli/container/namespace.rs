//! Which namespaces `run` and `create` ask for: `--ipc`, `--pid`, `--uts`, `--cgroupns`. User namespaces are parsed
//! by their own type, networks by [`super::network`].

use crate::cli::unsupported;
use crate::container::options::{Namespace, NetworkMode, Options};
use crate::error::{Error, bad_input};

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
pub(super) fn refuse_sysctls_of_the_host(options: &Options) -> Result<(), Error> {
    for name in options.sysctls.keys() {
        let (is_hosts, kind) = if name.starts_with("net.") {
            (options.network == NetworkMode::Host, "network")
        } else {
            (options.ipc == Namespace::Host, "ipc")
        };
        if is_hosts {
            return Err(bad_input(format!(
                "sysctl {name:?} not allowed in host {kind} namespace"
            )));
        }
    }
    Ok(())
}
