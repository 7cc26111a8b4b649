//! The kernel calls that a container needs, and nothing else: no image, no record, no monitor. What is left of a
//! runtime's time above this is its own.
//!
//! `floor [--bind] [--host-network] [--group] ROOTFS WORK FILTER [UIDMAP GIDMAP]`: overlay on `ROOTFS` with its writable
//! part below `WORK`, or `ROOTFS` itself; all namespaces, or all but that of the network; a control group with a filter for
//! devices, or none;
//! Docker's mounts, nodes and masked paths, its capabilities and system
//! calls (`FILTER` holds the program as the kernel takes it; none where it is empty), `/bin/true`. A map is
//! `INSIDE OUTSIDE COUNT…`.
#![allow(dead_code, reason = "each bench uses a part of it")]

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use onggi::cgroup::{self, Cgroup, devices};
use onggi::runtime::capabilities::CapabilitySet as Kept;
use onggi::sys::namespace::{bring_loopback_up, write_map};
use onggi::sys::process::{Ended, clone3_into, flags};
use onggi::sys::seccomp::set_filter;
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities,
};
use seccompiler::sock_filter;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const KEPT: CapabilitySet = CapabilitySet::from_bits_retain(Kept::DOCKER_DEFAULT.bits());

/// The whole program; gives its exit code.
pub fn main(arguments: &[String]) -> u8 {
    match contain(arguments) {
        Ok(Ended::Exited(code)) => code,
        Ok(Ended::Killed(signal)) => 128 + signal,
        Err(error) => {
            eprintln!("floor: {error}");
            125
        }
    }
}

fn contain(arguments: &[String]) -> Result<Ended> {
    let is_option = |word: &&String| word.starts_with("--");
    let (options, arguments) = arguments.split_at(arguments.iter().take_while(is_option).count());
    let has = |option: &str| options.iter().any(|word| word == option);
    let [rootfs, work, filter, maps @ ..] = arguments else {
        return Err(
            "[--bind] [--host-network] [--group] ROOTFS WORK FILTER [UIDMAP GIDMAP]".into(),
        );
    };
    let filter = match filter.as_str() {
        "" => Vec::new(),
        path => read_filter(path)?,
    };
    let work = (!has("--bind")).then_some(Path::new(work));
    for name in ["", "upper", "work", "merged"] {
        work.map_or(Ok(()), |work| std::fs::create_dir(work.join(name)))?;
    }
    let group = has("--group").then(control_group).transpose()?;
    let mut namespaces = flags::NEW_MOUNT | flags::NEW_PID | flags::NEW_IPC | flags::NEW_UTS;
    for (is_wanted, flag) in [
        (group.is_none(), flags::NEW_CGROUP),
        (!has("--host-network"), flags::NEW_NET),
        (!maps.is_empty(), flags::NEW_USER),
    ] {
        namespaces |= if is_wanted { flag } else { 0 };
    }
    let (mut wait, go) = std::io::pipe()?;
    let mut go = Some(go);
    let child = clone3_into(namespaces, group.as_ref().map(AsFd::as_fd), || {
        if !maps.is_empty() {
            // Only the parent's end may keep us waiting.
            go = None;
            let _ = wait.read(&mut [0]);
        }
        let entered = group.as_ref().map_or(Ok(()), |_| cgroup::make_own_root());
        let entered = entered.map_err(Into::into);
        match entered.and_then(|()| inside(rootfs, work, &filter, namespaces)) {
            Ok(()) => 127,
            Err(error) => {
                eprintln!("floor: {error}");
                125
            }
        }
    })?;
    if let [uids, gids] = maps {
        write_maps(child.pid, uids, gids)?;
    }
    drop(go);
    let ended = child.wait()?;
    group.map_or(Ok(()), Cgroup::remove)?;
    let Some(work) = work else {
        return Ok(ended);
    };
    // What overlayfs makes there has mode 0.
    for locked in [
        "work/work",
        "work/work/incompat",
        "work/work/incompat/volatile",
    ] {
        std::fs::set_permissions(work.join(locked), std::fs::Permissions::from_mode(0o700))?;
    }
    std::fs::remove_dir_all(work)?;
    Ok(ended)
}

/// With the filter that every container has.
fn control_group() -> Result<Cgroup> {
    let top = Cgroup::open(Path::new("/"))?.ok_or("there are no control groups")?;
    let group = top.child("floor")?;
    devices::attach(group.as_fd(), &devices::everybodys())?;
    Ok(group)
}

/// `struct sock_filter` after another (filter(2)).
fn read_filter(path: &str) -> Result<Vec<sock_filter>> {
    let instruction = |bytes: &[u8; 8]| {
        let [code @ .., jt, jf, a, b, c, d] = *bytes;
        sock_filter {
            code: u16::from_ne_bytes(code),
            jt,
            jf,
            k: u32::from_ne_bytes([a, b, c, d]),
        }
    };
    Ok(std::fs::read(path)?
        .as_chunks()
        .0
        .iter()
        .map(instruction)
        .collect())
}

/// The opposite of what [`main`] reads.
pub fn filter_bytes(program: &[sock_filter]) -> Vec<u8> {
    let bytes = |one: &sock_filter| {
        let ([a, b], [c, d, e, f]) = (one.code.to_ne_bytes(), one.k.to_ne_bytes());
        [a, b, one.jt, one.jf, c, d, e, f]
    };
    program.iter().flat_map(bytes).collect()
}

fn write_maps(pid: i32, uids: &str, gids: &str) -> Result<()> {
    if uids.split(' ').count() == 3 {
        write_map(pid, "setgroups", "deny")?;
        write_map(pid, "uid_map", uids)?;
        return Ok(write_map(pid, "gid_map", gids)?);
    }
    let helper = |name: &str, map: &str| {
        Command::new(name)
            .arg(pid.to_string())
            .args(map.split(' '))
            .spawn()
    };
    for mut helper in [helper("newuidmap", uids)?, helper("newgidmap", gids)?] {
        if !helper.wait()?.success() {
            return Err("newuidmap or newgidmap".into());
        }
    }
    Ok(())
}

const QUIET: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
const NOTHING: Option<&str> = None;

fn filesystem(kind: &str, target: &str, flags: MsFlags, options: Option<&str>) -> Result<()> {
    mount(Some(kind), target, Some(kind), flags, options)
        .map_err(|error| format!("{target}: {error}").into())
}

fn inside(
    rootfs: &str,
    work: Option<&Path>,
    filter: &[sock_filter],
    namespaces: u64,
) -> Result<()> {
    let rootless = namespaces & flags::NEW_USER != 0;
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    )?;
    nix::unistd::sethostname("bench")?;
    match work {
        Some(work) => overlay(rootfs, work, rootless)?,
        None => {
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(rootfs), rootfs, NOTHING, bind, NOTHING)?;
            std::env::set_current_dir(rootfs)?;
        }
    }
    filesystem("proc", "proc", QUIET, None)?;
    nodes(rootless)?;
    // Without a network namespace of its own a user cannot mount it anew, and control groups are below it already.
    if rootless && namespaces & flags::NEW_NET == 0 {
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some("/sys"), "sys", NOTHING, bind, NOTHING)?;
    } else {
        filesystem("sysfs", "sys", QUIET | MsFlags::MS_RDONLY, None)?;
        filesystem("cgroup2", "sys/fs/cgroup", QUIET | MsFlags::MS_RDONLY, None)?;
    }
    hide()?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    std::env::set_current_dir("/")?;
    if namespaces & flags::NEW_NET != 0 {
        bring_loopback_up()?;
    }
    for capability in CapabilitySet::all()
        .difference(KEPT)
        .iter_names()
        .map(|(_, one)| one)
    {
        remove_capability_from_bounding_set(capability)?;
    }
    if !filter.is_empty() {
        set_filter(filter, libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW)?;
    }
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)?;
    let none: [&std::ffi::CStr; 0] = [];
    nix::unistd::execve(c"/bin/true", &[c"/bin/true"], &none)?;
    Ok(())
}

fn overlay(rootfs: &str, work: &Path, rootless: bool) -> Result<()> {
    let path = |name: &str| -> PathBuf { work.join(name) };
    let mut options = format!(
        "lowerdir={rootfs},upperdir={},workdir={},volatile",
        path("upper").display(),
        path("work").display()
    );
    if rootless {
        options += ",userxattr";
    }
    let merged = path("merged");
    let target = merged.to_str().ok_or("path")?;
    filesystem("overlay", target, MsFlags::empty(), Some(&options))?;
    Ok(std::env::set_current_dir(&merged)?)
}

fn nodes(rootless: bool) -> Result<()> {
    filesystem(
        "tmpfs",
        "dev",
        MsFlags::MS_NOSUID,
        Some("mode=755,size=65536k"),
    )?;
    umask(Mode::empty());
    let nodes = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in nodes {
        let node = format!("dev/{name}");
        if rootless {
            std::fs::File::create_new(&node)?;
            mount(
                Some(format!("/{node}").as_str()),
                node.as_str(),
                NOTHING,
                MsFlags::MS_BIND,
                NOTHING,
            )?;
        } else {
            mknod(
                node.as_str(),
                SFlag::S_IFCHR,
                Mode::from_bits_truncate(0o666),
                makedev(major, minor),
            )?;
        }
    }
    for (target, link) in [
        ("fd", "fd"),
        ("fd/0", "stdin"),
        ("fd/1", "stdout"),
        ("fd/2", "stderr"),
    ] {
        symlink(format!("/proc/self/{target}"), format!("dev/{link}"))?;
    }
    symlink("pts/ptmx", "dev/ptmx")?;
    for name in ["pts", "shm", "mqueue"] {
        std::fs::create_dir(format!("dev/{name}"))?;
    }
    let terminals = "newinstance,ptmxmode=0666,mode=0620";
    filesystem(
        "devpts",
        "dev/pts",
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some(terminals),
    )?;
    filesystem("tmpfs", "dev/shm", QUIET, Some("mode=1777,size=65536k"))?;
    filesystem("mqueue", "dev/mqueue", QUIET, None)
}

/// Masked and read-only paths; those that this kernel lacks are passed over, as by every runtime.
fn hide() -> Result<()> {
    let files = [
        "interrupts",
        "kcore",
        "keys",
        "latency_stats",
        "timer_list",
        "timer_stats",
        "sched_debug",
    ];
    for file in files.map(|file| format!("proc/{file}")) {
        let _ = mount(
            Some("dev/null"),
            file.as_str(),
            NOTHING,
            MsFlags::MS_BIND,
            NOTHING,
        );
    }
    for directory in [
        "proc/acpi",
        "proc/asound",
        "proc/scsi",
        "sys/firmware",
        "sys/devices/virtual/powercap",
    ] {
        let _ = filesystem("tmpfs", directory, MsFlags::MS_RDONLY, Some("nr_inodes=1"));
    }
    for path in [
        "proc/bus",
        "proc/fs",
        "proc/irq",
        "proc/sys",
        "proc/sysrq-trigger",
    ] {
        if mount(
            Some(path),
            path,
            NOTHING,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            NOTHING,
        )
        .is_ok()
        {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | QUIET;
            mount(NOTHING, path, NOTHING, flags, NOTHING)?;
        }
    }
    Ok(())
}
