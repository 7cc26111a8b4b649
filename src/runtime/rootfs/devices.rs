//! The container's `/dev`: the nodes every program expects (runtime-spec, config-linux.md "Default Devices") and
//! those the configuration names.

use super::resolve::{Kind, make};
use crate::runtime::plan::Device;
use crate::sys::mount;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, chownat, makedev, mknodat, openat, symlinkat};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Name, major and minor number; all are character devices for everybody.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Where the nodes come from, and whether others can be opened there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    /// They are made; so are those that the container makes.
    Open,
    /// They are made and each is a mount of its own, because others there cannot be opened (`nodev`).
    Bound,
    /// Those of the host are bound: nobody but real root may make device nodes.
    Host,
}

/// Fills an empty `/dev` and returns its open `null`.
pub fn make_all(directory: &OwnedFd, devices: &[Device], nodes: Nodes) -> Result<OwnedFd> {
    let nodev = mount::Attributes::MOUNT_ATTR_NODEV;
    if nodes == Nodes::Bound {
        mount::remove_attributes(directory.as_fd(), nodev).context("open `/dev`")?;
    }
    let default = DEFAULT.map(|(name, major, minor)| Device {
        path: Path::new("/dev").join(name),
        mode: libc::S_IFCHR | 0o666,
        major,
        minor,
        uid: 0,
        gid: 0,
    });
    // The mode of a node is what is asked for, not what the caller's mask leaves of it.
    let mask = rustix::process::umask(Mode::empty());
    let made = default.iter().chain(devices).try_for_each(|device| {
        let made = match nodes {
            Nodes::Open => node(directory, device),
            Nodes::Bound => node(directory, device).and_then(|()| bind_itself(directory, device)),
            Nodes::Host => bind(directory, device),
        };
        made.with_context(|| format!("make the device `{}`", device.path.display()))
    });
    rustix::process::umask(mask);
    made?;
    if nodes == Nodes::Bound {
        mount::add_attributes(directory.as_fd(), nodev, false).context("close `/dev`")?;
    }
    for (name, target) in LINKS {
        symlinkat(target, directory, name).with_context(|| format!("link `/dev/{name}`"))?;
    }
    openat(
        directory,
        "null",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context("open `/dev/null`")
}

fn node(directory: &OwnedFd, device: &Device) -> Result<()> {
    let name = inside_dev(device);
    if let Some(parent) = name
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        make(directory.as_fd(), parent, Kind::Directory)?;
    }
    let number = makedev(device.major, device.minor);
    mknodat(
        directory,
        &name,
        FileType::from_raw_mode(device.mode),
        Mode::from(device.mode & 0o7777),
        number,
    )?;
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(device.uid),
            rustix::fs::Gid::from_raw(device.gid),
        );
        chownat(
            directory,
            &name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

/// Mounts a node on itself: the mount keeps what that of `/dev` allows now.
fn bind_itself(directory: &OwnedFd, device: &Device) -> Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = openat(directory, inside_dev(device), flags, Mode::empty())?;
    let copy = mount::clone_tree(node.as_fd(), false)?;
    Ok(mount::attach(copy.as_fd(), node.as_fd())?)
}

fn bind(directory: &OwnedFd, device: &Device) -> Result<()> {
    let source = mount::open_source(&device.path)?;
    let target = make(directory.as_fd(), &inside_dev(device), Kind::File)?;
    let copy = mount::clone_tree(source.as_fd(), false)?;
    Ok(mount::attach(copy.as_fd(), target.as_fd())?)
}

/// The path relative to `/dev`.
fn inside_dev(device: &Device) -> PathBuf {
    device
        .path
        .strip_prefix("/dev")
        .unwrap_or(&device.path)
        .components()
        .skip_while(|part| *part == std::path::Component::RootDir)
        .collect()
}
