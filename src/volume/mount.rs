//! Volumes with a `device`: what is on it is mounted at the volume's `_data` as long as a container uses it.
//!
//! Root's are mounted where all of the host sees them, as Docker does it. Those of an ordinary user are mounted in the
//! mount namespace of the monitor that needs them; the next monitor, which has to be in the same user namespace, takes a
//! copy of the mount from the first, so that both see the same memory or server.
//!
//! Invariants. Mounting and unmounting happen under `mounting`; whoever uses a mount holds `users`, shared, for as
//! long as he does, also while he waits to be killed. A mount whose last user was killed goes with the next
//! [`release`] or with the volume.

use super::Volume;
use super::options::{FileSystem, Source};
use crate::error::{Error, Kind, bad_input};
use crate::id_mapping::{Mapping, Tier};
use crate::paths::{self, Paths};
use crate::store::lock::Lock;
use crate::sys::mount::{self, Attributes, Change, FsOption, Propagation};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long whoever lets go of a volume waits for one who is mounting it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The files of a volume, held.
#[derive(Debug)]
pub struct Opened {
    /// Their directory (`O_PATH`), in the mount namespace of this process.
    pub place: OwnedFd,
    /// To be held as long as the files are used, by that process; [`release`] comes after it.
    pub in_use: Option<Lock>,
}

/// Opens the files of a volume; what is not mounted yet is mounted. `monitors` are the processes whose mount namespaces
/// may have it, for an ordinary user, who must be root of the store's user namespace and have a mount namespace of his
/// own here, and one thread.
pub fn open(paths: &Paths, mapping: &Mapping, volume: &Volume, monitors: &[i32]) -> Result<Opened> {
    let data = super::data(paths, &volume.name);
    let Some(source) = volume.source()? else {
        let place = super::open_files(paths, &volume.name)?;
        return Ok(Opened {
            place,
            in_use: None,
        });
    };
    super::open_files(paths, &volume.name)?;
    let directory = paths.volume(&volume.name);
    let _mounting = Lock::exclusive(&paths::volume_mounting_in(&directory))?;
    let mut new = None;
    if !mount::is_mount_point(&data).with_context(|| format!("stat `{}`", data.display()))? {
        // A directory of the host is the same however often it is bound.
        let known = match (mapping.tier, &source) {
            (Tier::Root, _) | (_, Source::Bind { .. }) => None,
            _ => shared(paths, &volume.name, monitors)?,
        };
        new = Some(match known {
            Some(known) => known,
            None => detached(&source)
                .with_context(|| format!("failed to mount local volume: {}", volume.name))?,
        });
    }
    // First: what is mounted and has no such file would never be taken off.
    let in_use = Lock::shared(&paths::volume_users_in(&directory))?;
    if let Some(new) = new {
        let place = mount::open_source(&data)?;
        mount::attach(new.as_fd(), place.as_fd())
            .with_context(|| format!("mount volume {} at `{}`", volume.name, data.display()))?;
    }
    let place = mount::open_source(&data)?;
    Ok(Opened {
        place,
        in_use: Some(in_use),
    })
}

/// Unmounts a volume that nobody uses any more: to be called by whoever has used it, once its [`Opened`] is gone, and by
/// whoever comes after one that was killed. What is mounted is not looked at, since a server may not answer.
pub fn release(paths: &Paths, name: &str) -> Result<()> {
    let directory = paths.volume(name);
    let mounting = paths::volume_mounting_in(&directory);
    // Most volumes have nothing to mount.
    if !mounting.exists() {
        return Ok(());
    }
    let until = Instant::now() + PATIENCE;
    let _mounting = loop {
        match Lock::try_file(&mounting)? {
            Some(lock) => break lock,
            // Whoever mounts it uses it, and comes here after that; or it was removed.
            None if Instant::now() > until || !mounting.exists() => return Ok(()),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    match Lock::try_file(&paths::volume_users_in(&directory))? {
        Some(_nobody) => unmount(paths, name),
        None => Ok(()),
    }
}

/// Whether somebody uses a volume with a device, mounts it or unmounts it just now.
pub fn is_used(paths: &Paths, name: &str) -> bool {
    has_users(paths, name) || Lock::is_held(&paths::volume_mounting_in(&paths.volume(name)))
}

fn has_users(paths: &Paths, name: &str) -> bool {
    let users = paths::volume_users_in(&paths.volume(name));
    users.exists() && matches!(Lock::try_file(&users), Ok(None))
}

/// Unmounts it from this mount namespace.
pub(super) fn unmount(paths: &Paths, name: &str) -> Result<()> {
    let data = super::data(paths, name);
    loop {
        match mount::detach(&data) {
            Ok(()) => {}
            Err(error) if mount::is_mount_point(&data).unwrap_or(false) => {
                return Err(error).with_context(|| format!("unmount `{}`", data.display()));
            }
            Err(_) => return Ok(()),
        }
    }
}

/// The mount that a running monitor has; `None` when nobody uses it.
fn shared(paths: &Paths, name: &str, monitors: &[i32]) -> Result<Option<OwnedFd>> {
    let data = &super::data(paths, name);
    for pid in monitors {
        let path = format!("/proc/{pid}/ns/mnt");
        let namespace = match File::open(&path) {
            // One that has ended meanwhile has nothing to share.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            namespace => namespace.with_context(|| format!("open `{path}`"))?,
        };
        let found = mount::mounted_in(namespace.as_fd(), data).with_context(|| {
            format!("take the mount of a volume from process {pid}, which uses it")
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    if has_users(paths, name) {
        let message = format!("volume {name} is mounted by a container that is just being started");
        return Err(Error::new(Kind::Conflict, message).hint("try again").into());
    }
    Ok(None)
}

fn detached(source: &Source) -> Result<OwnedFd> {
    match source {
        Source::Bind {
            path,
            recursive,
            attributes,
        } => {
            let place = mount::open_source(path)?;
            let context = || format!("bind `{}`", path.display());
            let bound = mount::clone_tree(place.as_fd(), *recursive).with_context(context)?;
            // In the group of the original, to unmount this would unmount what is below that.
            let slave = Some(Propagation::Slave);
            mount::change(bound.as_fd(), Change::default(), slave, None, true)
                .with_context(context)?;
            if !attributes.is_empty() {
                mount::add_attributes(bound.as_fd(), *attributes, false).with_context(|| {
                    format!("set the attributes of a mount of `{}`", path.display())
                })?;
            }
            Ok(bound)
        }
        Source::FileSystem(file_system) => on_device(file_system),
    }
}

fn on_device(wanted: &FileSystem) -> Result<OwnedFd> {
    let mut options = wanted.options.clone();
    for (key, value) in &mut options {
        if wanted.kind == "nfs" && key == "addr" {
            *value = Some(address(value.as_deref().unwrap_or_default())?);
        }
    }
    let mut options: Vec<FsOption<'_>> = options
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref()))
        .collect();
    // Of the file system too: one on a medium that cannot be written is mounted no other way.
    if wanted.attributes.contains(Attributes::MOUNT_ATTR_RDONLY) {
        options.push(("ro", None));
    }
    mount::new_filesystem(&wanted.kind, &wanted.device, &options, wanted.attributes)
        .with_context(|| format!("mount `{}` of type {}", wanted.device, wanted.kind))
}

/// The address of a server, which the kernel wants as numbers (nfs(5), `addr`); of a name, that in hosts(5).
fn address(host: &str) -> Result<String> {
    if host.parse::<IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    let hosts = std::fs::read_to_string("/etc/hosts").context("read `/etc/hosts`")?;
    address_in(&hosts, host).ok_or_else(|| {
        bad_input(format!("the address of `{host}` is not in /etc/hosts"))
            .hint("give it as numbers: -o o=addr=192.0.2.1")
            .into()
    })
}

fn address_in(hosts: &str, host: &str) -> Option<String> {
    let lines = hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let mut entries = lines.map(str::split_ascii_whitespace);
    entries.find_map(|mut words| {
        let address = words.next()?;
        words
            .any(|name| name.eq_ignore_ascii_case(host))
            .then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_in_the_hosts_file() {
        let hosts = "127.0.0.1 localhost\n# 192.0.2.9 store\n192.0.2.1\tserver Store # nas\n";
        for (host, expected) in [
            ("store", Some("192.0.2.1")),
            ("localhost", Some("127.0.0.1")),
            ("nas", None),
        ] {
            assert_eq!(address_in(hosts, host).as_deref(), expected, "{host}");
        }
        assert_eq!(address("2001:db8::1").unwrap(), "2001:db8::1");
    }
}
