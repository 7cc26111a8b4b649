//! The mounts of a container in the words of an OCI configuration (runtime-spec, config.md, "Mounts").

use super::MountPoint;
use super::request::{Idmap, Kind, Propagation, Recursion, Request};
use crate::error::bad_input;
use crate::id_mapping::{IdMaps, Range};
use anyhow::Result;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount};
use std::path::PathBuf;

impl MountPoint {
    /// As the runtime takes it; `source` is where a volume or a bind lies, `namespace` what ids the container has where
    /// they are its own; `is_root`: without one it has those of the host.
    pub(in crate::container) fn to_oci(
        &self,
        source: PathBuf,
        namespace: Option<&IdMaps>,
        is_root: bool,
    ) -> Result<Mount> {
        let request = &self.request;
        let is_silent = |map: &Idmap| map.uids.is_empty() && map.gids.is_empty();
        if request.idmap.as_ref().is_some_and(is_silent) && namespace.is_none() && is_root {
            let message = format!(
                "ids of the mount on `{}` are to be mapped, and neither it nor the container says how",
                request.target
            );
            return Err(bad_input(message)
                .hint("give the container a user namespace, with --userns auto for example, or the mount a mapping: idmap=uids=DISK-INSIDE-SIZE")
                .into());
        }
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
            let (users, groups) = mappings(map, namespace)?;
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
    // What the host has mounted read-only stays so unless something else is asked for.
    if request.read_only {
        options.push(match request.recursion {
            Recursion::Enabled | Recursion::Readonly => "rro",
            Recursion::Disabled | Recursion::Writable => "ro",
        });
    }
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

/// The options of memory for which these words are given, which are among those of tmpfs(5) and mount(8).
pub(in crate::container) fn tmpfs_words<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    // What it has unless it says otherwise.
    let mut options = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    for word in words {
        options.retain(|known| known.strip_prefix("no") != Some(word) && known != word);
        if !["exec", "suid", "dev", "rw"].contains(&word) {
            options.push(word.to_owned());
        }
    }
    options
}

fn tmpfs_options(request: &Request) -> Vec<String> {
    let mut options = tmpfs_words(request.flags.iter().map(String::as_str));
    options.extend(request.tmpfs_size.map(|bytes| format!("size={bytes}")));
    options.extend(request.tmpfs_mode.map(|mode| format!("mode={mode:o}")));
    if request.read_only {
        options.push("ro".to_owned());
    }
    options
}

type Mappings = Option<Vec<LinuxIdMapping>>;

/// Entries of an `idmap` option, for the user namespace that the container has; without any that one says who is who.
fn mappings(map: &Idmap, namespace: Option<&IdMaps>) -> Result<(Mappings, Mappings)> {
    if map.uids.is_empty() && map.gids.is_empty() {
        return Ok((None, None));
    }
    // As with --uidmap, the one that is not given is like the other.
    let or = |own: &'_ [String], other: &'_ [String]| match own.is_empty() {
        true => other.to_vec(),
        false => own.to_vec(),
    };
    let users = ranges(&or(&map.uids, &map.gids), namespace.map(|maps| &*maps.uids))?;
    let groups = ranges(&or(&map.gids, &map.uids), namespace.map(|maps| &*maps.gids))?;
    for ranges in [&users, &groups] {
        refuse_overlap(ranges)?;
    }
    Ok((Some(users), Some(groups)))
}

/// Of a mount, ids on the disk are those within (`containerID`), and those of the host are outside (runtime-spec,
/// config.md, "Mounts"): there an id of the container is what its user namespace makes of it.
fn ranges(entries: &[String], namespace: Option<&[Range]>) -> Result<Vec<LinuxIdMapping>> {
    let mut all = Vec::new();
    for entry in entries {
        let parsed: Option<Vec<u32>> = entry.split(':').map(|number| number.parse().ok()).collect();
        let Some(&[mut inside, mut disk, mut size]) = parsed.as_deref() else {
            let message = format!("invalid entry '{entry}' of idmap: INSIDE:ON-DISK:SIZE");
            return Err(bad_input(message).into());
        };
        while size > 0 {
            let (host, count) = match namespace {
                None => (inside, size),
                Some(map) => piece(map, inside, size).ok_or_else(|| {
                    let message = format!(
                        "invalid entry '{entry}' of idmap: the container has no id {inside}"
                    );
                    bad_input(message)
                        .hint("the second number of idmap=uids=DISK-INSIDE-SIZE is one of its ids")
                })?,
            };
            let mapping = LinuxIdMappingBuilder::default()
                .container_id(disk)
                .host_id(host)
                .size(count);
            all.push(mapping.build()?);
            (inside, disk, size) = (
                inside.wrapping_add(count),
                disk.wrapping_add(count),
                size - count,
            );
        }
    }
    Ok(all)
}

/// The kernel gives an id one meaning, in either direction.
fn refuse_overlap(ranges: &[LinuxIdMapping]) -> Result<()> {
    let meet = |a: u32, b: u32, sizes: (u32, u32)| {
        let (a, b) = (u64::from(a), u64::from(b));
        a < b + u64::from(sizes.1) && b < a + u64::from(sizes.0)
    };
    for (index, one) in ranges.iter().enumerate() {
        for other in &ranges[..index] {
            let sizes = (one.size(), other.size());
            let on_disk = meet(one.container_id(), other.container_id(), sizes);
            let side = match (on_disk, meet(one.host_id(), other.host_id(), sizes)) {
                (true, _) => "on the disk",
                (_, true) => "of the container",
                _ => continue,
            };
            let message = format!("entries of idmap overlap: some id {side} is in two of them");
            return Err(bad_input(message)
                .hint("idmap=uids=DISK-INSIDE-SIZE#DISK-INSIDE-SIZE takes each id once on either side")
                .into());
        }
    }
    Ok(())
}

/// Where ids from `inside` on are outside, and how many of `size` are there in a row.
fn piece(map: &[Range], inside: u32, size: u32) -> Option<(u32, u32)> {
    map.iter().find_map(|range| {
        let within = inside
            .checked_sub(range.inside)
            .filter(|within| *within < range.size)?;
        Some((range.outside + within, size.min(range.size - within)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_on_the_disk_become_those_of_the_container() {
        let range = |inside, outside, size| Range {
            inside,
            outside,
            size,
        };
        let namespace = IdMaps {
            uids: vec![range(0, 1000, 1), range(1, 100_000, 65535)],
            gids: vec![range(0, 200_000, 10)],
        };
        let shown = |uids: &[&str], gids: &[&str], namespace: Option<&IdMaps>| {
            let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
            let map = Idmap {
                uids: words(uids),
                gids: words(gids),
            };
            let line = |mapping: &LinuxIdMapping| {
                format!(
                    "{}:{}:{}",
                    mapping.container_id(),
                    mapping.host_id(),
                    mapping.size()
                )
            };
            let list =
                |list: Mappings| list.map(|all| all.iter().map(line).collect::<Vec<_>>().join(" "));
            let found = mappings(&map, namespace).map_err(|error| error.to_string());
            found.map(|(uids, gids)| {
                format!("{:?} {:?}", list(uids), list(gids)).replace("Some", "")
            })
        };
        for (uids, gids, namespace, expected) in [
            (&[][..], &[][..], None, "None None"),
            (
                &["7:1000:1"],
                &["8:1001:2"],
                None,
                "(\"1000:7:1\") (\"1001:8:2\")",
            ),
            (&["7:1000:1"], &[], None, "(\"1000:7:1\") (\"1000:7:1\")"),
            (
                &["0:500:3"],
                &["1:500:2"],
                Some(&namespace),
                "(\"500:1000:1 501:100000:2\") (\"500:200001:2\")",
            ),
        ] {
            assert_eq!(shown(uids, gids, namespace).unwrap(), expected);
        }
        for (entry, message) in [
            (
                "10:0:1",
                "invalid entry '10:0:1' of idmap: the container has no id 10",
            ),
            (
                "9:0:2",
                "invalid entry '9:0:2' of idmap: the container has no id 10",
            ),
            ("9:0", "invalid entry '9:0' of idmap: INSIDE:ON-DISK:SIZE"),
        ] {
            assert_eq!(
                shown(&["0:0:1"], &[entry], Some(&namespace)).unwrap_err(),
                message
            );
        }
    }

    #[test]
    fn an_id_has_one_meaning() {
        let refused = |words: &[&str]| {
            let uids: Vec<String> = words.iter().map(ToString::to_string).collect();
            let gids = Vec::new();
            let error = mappings(&Idmap { uids, gids }, None).err()?;
            Some(error.to_string())
        };
        let said = |side| {
            Some(format!(
                "entries of idmap overlap: some id {side} is in two of them"
            ))
        };
        assert_eq!(refused(&["0:0:10", "10:10:10"]), None);
        assert_eq!(refused(&["0:0:10", "5:100:10"]), said("of the container"));
        assert_eq!(refused(&["0:0:10", "50:9:1"]), said("on the disk"));
        assert_eq!(
            refused(&["1:4294967294:1", "2:4294967293:2"]),
            said("on the disk")
        );
    }
}
