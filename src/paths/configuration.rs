//! Files of other programs that say where registries are, who somebody is there and whose images are taken in; read, and
//! written only where Docker's or podman's own commands would.

use super::variable;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Below the home directory, where programs keep their configuration.
const USER_CONFIGURATION: &str = ".config";

/// Where the caller's programs keep their configuration.
fn user_configuration() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(USER_CONFIGURATION)))
}

/// Files with credentials for registries, as Docker and podman name them, the one to write first. `asked` is the
/// directory of Docker's client that a command names.
pub fn credential_files(asked: Option<&Path>) -> Vec<PathBuf> {
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![file];
    }
    let podman = [variable("XDG_RUNTIME_DIR"), user_configuration()];
    let podman = podman
        .into_iter()
        .flatten()
        .map(|directory| directory.join("containers/auth.json"));
    docker_configuration(asked)
        .into_iter()
        .chain(podman)
        .collect()
}

/// What Docker's client is told; `asked` is the directory that a command names.
pub fn docker_configuration(asked: Option<&Path>) -> Option<PathBuf> {
    let named = asked
        .map(Path::to_owned)
        .or_else(|| variable("DOCKER_CONFIG"));
    let directory = named.or_else(|| Some(variable("HOME")?.join(".docker")));
    directory.map(|directory| directory.join("config.json"))
}

/// Whether the caller's environment names that file, or the directory that it is in.
pub fn credential_file_is_named(file: &Path) -> bool {
    let named = ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"];
    let mut named = named.into_iter().filter_map(variable);
    named.any(|path| file.starts_with(path))
}

/// Directories that hold one for each host with certificates for it, the caller's first.
pub fn host_certificates() -> Vec<PathBuf> {
    let own = user_configuration().into_iter();
    let own = own.flat_map(|directory| {
        ["containers/certs.d", "docker/certs.d"].map(|name| directory.join(name))
    });
    own.chain(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from))
        .collect()
}

/// The files that say where registries are, later ones over earlier ones (containers-registries.conf(5)).
pub fn registries_configuration() -> Result<Vec<PathBuf>> {
    let system = PathBuf::from("/etc/containers");
    let own = user_configuration().map(|directory| directory.join("containers"));
    let own_file = own
        .as_ref()
        .map(|directory| directory.join("registries.conf"))
        .filter(|file| file.exists());
    let main = variable("CONTAINERS_REGISTRIES_CONF").or(own_file);
    let mut files = vec![main.unwrap_or_else(|| system.join("registries.conf"))];
    for directory in [Some(system), own].into_iter().flatten() {
        let directory = directory.join("registries.conf.d");
        let mut found = Vec::new();
        match std::fs::read_dir(&directory) {
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) => {}
            entries => {
                for entry in entries.with_context(|| format!("read `{}`", directory.display()))? {
                    found.push(
                        entry
                            .with_context(|| format!("read `{}`", directory.display()))?
                            .path(),
                    );
                }
            }
        }
        found.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "conf")
        });
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// The files that say whose images are taken in (containers-policy.json(5)), the caller's first; the first that is there
/// counts alone.
pub fn policy_files() -> Vec<PathBuf> {
    let own = user_policy();
    own.into_iter()
        .chain([PathBuf::from("/etc/containers/policy.json")])
        .collect()
}

/// The caller's own of them.
pub fn user_policy() -> Option<PathBuf> {
    Some(user_configuration()?.join("containers/policy.json"))
}
