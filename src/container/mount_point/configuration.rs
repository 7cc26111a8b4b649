//! The mounts of a container in the words of an OCI configuration (runtime-spec, config.md, "Mounts").

use super::MountPoint;
use super::request::{Idmap, Kind, Propagation, Recursion, Request};
use crate::error::bad_input;
use anyhow::Result;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount};
use std::path::PathBuf;

/// What a mount of memory has unless it says otherwise.
pub const TMPFS_DEFAULT: [&str; 3] = ["noexec", "nosuid", "nodev"];

impl MountPoint {
    /// As the runtime takes it; `source` is where a volume or a bind lies.
    pub(in crate::container) fn to_oci(&self, source: PathBuf) -> Result<Mount> {
        let request = &self.request;
        let mut mount = Mount::default();
        mount.set_destination(PathBuf::from(&request.target));
        let options = match request.kind {
            Kind::Tmpfs => {
                mount.set_typ(Some("tmpfs".to_owned()));
                mount.set_source(Some("tmpfs".into()));
                tmpfs_options(request)
            }
            Kind::Image => {
                mount.set_typ(Some("bind".to_owned()));
                mount.set_source(Some(source));
                ["rbind", "ro", "nodev", "rprivate"]
                    .map(str::to_owned)
                    .to_vec()
            }
            Kind::Bind | Kind::Volume => {
                mount.set_typ(Some("bind".to_owned()));
                mount.set_source(Some(source));
                bind_options(request)
            }
        };
        mount.set_options(Some(options));
        if let Some(map) = &request.idmap {
            let (users, groups) = mappings(map)?;
            mount.set_uid_mappings(users);
            mount.set_gid_mappings(groups);
        }
        Ok(mount)
    }
}

fn bind_options(request: &Request) -> Vec<String> {
    let mut options = vec![match request.recursion {
        Recursion::Disabled => "bind",
        _ => "rbind",
    }];
    options.push(match (request.read_only, request.recursion) {
        (false, _) => "rw",
        (true, Recursion::Enabled | Recursion::Readonly) => "rro",
        (true, Recursion::Disabled | Recursion::Writable) => "ro",
    });
    options.push(propagation(request.propagation.unwrap_or_default()));
    if request.idmap.is_some() {
        options.push(match request.recursion {
            Recursion::Disabled => "idmap",
            _ => "ridmap",
        });
    }
    let flags = request.flags.iter().map(String::as_str);
    options
        .into_iter()
        .chain(flags)
        .map(str::to_owned)
        .collect()
}

/// The word of mount(8).
pub(in crate::container) fn propagation(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Rprivate => "rprivate",
        Propagation::Private => "private",
        Propagation::Rshared => "rshared",
        Propagation::Shared => "shared",
        Propagation::Rslave => "rslave",
        Propagation::Slave => "slave",
    }
}

fn tmpfs_options(request: &Request) -> Vec<String> {
    let mut options: Vec<String> = TMPFS_DEFAULT.map(str::to_owned).to_vec();
    for flag in &request.flags {
        options.retain(|known| known.strip_prefix("no") != Some(flag));
        if !["exec", "suid", "dev", "rw"].contains(&flag.as_str()) {
            options.push(flag.clone());
        }
    }
    options.extend(request.tmpfs_size.map(|bytes| format!("size={bytes}")));
    options.extend(request.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
    if request.read_only {
        options.push("ro".to_owned());
    }
    options
}

type Mappings = Option<Vec<LinuxIdMapping>>;

/// Entries of an `idmap` option; without any the user namespace of the container says who is who.
fn mappings(map: &Idmap) -> Result<(Mappings, Mappings)> {
    if map.uids.is_empty() && map.gids.is_empty() {
        return Ok((None, None));
    }
    let users = ranges(&map.uids)?;
    let groups = ranges(&map.gids)?;
    // As with --uidmap, the one that is not given is like the other.
    Ok(match (users.is_empty(), groups.is_empty()) {
        (true, _) => (Some(groups.clone()), Some(groups)),
        (_, true) => (Some(users.clone()), Some(users)),
        _ => (Some(users), Some(groups)),
    })
}

fn ranges(entries: &[String]) -> Result<Vec<LinuxIdMapping>> {
    let parsed = entries.iter().map(|entry| {
        let malformed = || {
            bad_input(format!(
                "invalid entry '{entry}' of idmap: INSIDE:ON-DISK:SIZE"
            ))
        };
        let numbers: Vec<u32> = entry
            .split(':')
            .map(|number| number.parse().map_err(|_| malformed()))
            .collect::<Result<_, _>>()?;
        let [inside, outside, size] = numbers[..] else {
            return Err(malformed().into());
        };
        Ok(LinuxIdMappingBuilder::default()
            .container_id(inside)
            .host_id(outside)
            .size(size)
            .build()?)
    });
    parsed.collect()
}
