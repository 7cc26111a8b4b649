//! What of a store lives on the host: monitors, processes of containers, mounts.

use crate::cgroup::Cgroup;
use crate::container::cgroup;
use crate::container::engine::Engine;
use crate::container::list::ids;
use crate::container::monitors;
use crate::container::network;
use crate::container::record::Directory;
use crate::image::check::{Finding, Repair};
use crate::store::lock::Lock;
use crate::sys::process::{self, Identity};
use crate::volume::{self, mount};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What this file finds and mends.
pub const KINDS: &[&str] = &[
    "orphan-monitor",
    "orphan-process",
    "leaked-mount",
    "leaked-cgroup",
];

/// What is seen of the host. An ordinary user looks before entering the store's user namespace: from within, other
/// processes cannot be looked into.
#[derive(Debug)]
pub struct Host {
    monitors: Vec<(String, Identity)>,
    /// Processes that live on the files of a container, by its id: its own, and those of the containers that share its
    /// network, and with that these files.
    members: BTreeMap<String, Vec<Member>>,
    mounts: Vec<PathBuf>,
}

/// A process on the files of a container, and what tells of which container it is.
#[derive(Debug)]
struct Member {
    process: Identity,
    /// Its namespaces of mounts and of processes.
    namespaces: [PathBuf; 2],
    /// Its parent, and the parents of that.
    ancestors: Vec<i32>,
}

impl Member {
    /// Whether it is one of those of the container whose program `program` is; the namespace of processes tells nothing
    /// where it is the `host`'s.
    fn is_beside(&self, program: &Member, host: &Path) -> bool {
        let [mounts, processes] = &self.namespaces;
        *mounts == program.namespaces[0]
            || *processes == program.namespaces[1] && processes != host
            || self.ancestors.contains(&program.process.pid)
    }
}

impl Host {
    /// Looks.
    pub fn look(engine: &Engine) -> Result<Self> {
        let own = std::fs::read("/proc/self/mountinfo").context("read `/proc/self/mountinfo`")?;
        Ok(Self {
            monitors: monitors::of_store(engine)?,
            members: members(engine)?,
            mounts: mounts(&own, engine.paths.data()),
        })
    }

    /// What of it belongs to nothing.
    pub fn look_at(&self, engine: &Engine) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        for (id, monitor) in self.monitors.iter().filter(|(_, one)| one.is_alive()) {
            // One without a program only tells its clients of the end, and goes.
            if !engine.paths.container(id).exists() && process::has_children(monitor.pid) {
                found.push(Finding {
                    kind: "orphan-monitor",
                    object: monitor.pid.to_string(),
                    path: PathBuf::from(format!("/proc/{}", monitor.pid)),
                    problem: format!("its container {} is gone", &id[..12]),
                    repair: Repair::Does("kills it"),
                });
            }
        }
        for (id, members) in &self.members {
            if is_expected(engine, id) {
                continue;
            }
            let sharers = Sharers::of(engine, id, members)?;
            let is_orphan = |member: &&Member| member.process.is_alive() && !sharers.have(member);
            for Member { process, .. } in members.iter().filter(is_orphan) {
                found.push(Finding {
                    kind: "orphan-process",
                    object: process.pid.to_string(),
                    path: PathBuf::from(format!("/proc/{}", process.pid)),
                    problem: format!("it runs in container {}, which does not", &id[..12]),
                    repair: Repair::Does("kills it"),
                });
            }
        }
        for path in &self.mounts {
            // One on a container's directory may be somebody's who looks into it.
            let is_of_container = path
                .strip_prefix(engine.paths.containers())
                .ok()
                .and_then(|rest| rest.iter().next())
                .is_some_and(|id| Directory::of(engine, &id.to_string_lossy()).exists());
            let is_of_volume = path.starts_with(engine.paths.volumes());
            let is_leaked = match volume_of(engine, path) {
                Some(name) => !mount::is_used(&engine.paths, &name),
                // What is mounted on a directory of files is an administrator's.
                None => !is_of_container && !is_of_volume,
            };
            if is_leaked {
                found.push(Finding {
                    kind: "leaked-mount",
                    object: path.display().to_string(),
                    path: path.clone(),
                    problem: "something is mounted there, and nobody needs it".to_owned(),
                    repair: Repair::Does("unmounts it"),
                });
            }
        }
        for (id, cgroup) in leaked_cgroups(engine)? {
            found.push(Finding {
                kind: "leaked-cgroup",
                object: id,
                path: cgroup.directory(),
                problem: "it is left of a run that has ended".to_owned(),
                repair: Repair::Does("kills what is in it and removes it"),
            });
        }
        Ok(found)
    }

    /// Mends one finding.
    pub fn mend(&self, engine: &Engine, finding: &Finding) -> Result<()> {
        if finding.kind == "leaked-mount" {
            if let Some(name) = volume_of(engine, &finding.path) {
                return mount::release(&engine.paths, &name);
            }
            return rustix::mount::unmount(&finding.path, rustix::mount::UnmountFlags::DETACH)
                .with_context(|| format!("unmount `{}`", finding.path.display()));
        }
        if finding.kind == "leaked-cgroup" {
            let id = &finding.object;
            let directory = Directory::of(engine, id);
            if !directory.path().exists() {
                return Ok(());
            }
            let Some(_lock) = Lock::try_directory(directory.path())? else {
                bail!("another command is changing container {id}");
            };
            return leaked_cgroup(&directory)?.map_or(Ok(()), cgroup::end);
        }
        if !self.look_at(engine)?.contains(finding) {
            return Ok(());
        }
        let monitors = self.monitors.iter().map(|(_, monitor)| monitor);
        let members = self.members.values().flatten();
        let mut all = monitors.chain(members.map(|member| &member.process));
        let process = all.find(|process| process.pid.to_string() == finding.object);
        if let Some(pidfd) = process.and_then(Identity::open) {
            process::send_signal(pidfd.as_fd(), libc::SIGKILL)
                .with_context(|| format!("kill {}", finding.object))?;
            let mut ended = [rustix::event::PollFd::new(
                &pidfd,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut ended, None).context("wait for its end")?;
        }
        Ok(())
    }
}

/// The volume with a device at whose files, or below them, the path leads.
fn volume_of(engine: &Engine, path: &Path) -> Option<String> {
    let mut below = path.strip_prefix(engine.paths.volumes()).ok()?.iter();
    let name = below.next()?.to_str()?;
    let has_device = || volume::find(&engine.paths, name)?.source();
    let is_there = path.starts_with(volume::data(&engine.paths, name));
    (is_there && matches!(has_device(), Ok(Some(_)))).then(|| name.to_owned())
}

/// The control groups of containers that do not run and that nobody is at work on.
fn leaked_cgroups(engine: &Engine) -> Result<Vec<(String, Cgroup)>> {
    let mut leaked = Vec::new();
    for id in ids(engine)? {
        let directory = Directory::of(engine, &id);
        if let Some(group) = leaked_cgroup(&directory)?
            && !Lock::is_held(directory.path())
        {
            leaked.push((id, group));
        }
    }
    Ok(leaked)
}

/// That of a container that does not run.
fn leaked_cgroup(directory: &Directory) -> Result<Option<Cgroup>> {
    match directory.state() {
        Ok(Some(state)) if !state.has_processes() => cgroup::of(&state),
        _ => Ok(None),
    }
}

/// Whether processes of that container are nothing unusual: it runs, or somebody is at work on it. One that runs
/// without a monitor is a finding of its own.
fn is_expected(engine: &Engine, id: &str) -> bool {
    let directory = Directory::of(engine, id);
    let state = directory.state().ok().flatten();
    state.is_some_and(|state| state.status().is_up()) || Lock::is_held(directory.path())
}

/// The containers that share the network of one that does not run: what is theirs is nobody's orphan.
struct Sharers<'a> {
    /// Their programs.
    programs: Vec<&'a Member>,
    /// The namespace of processes of the host.
    host: PathBuf,
    /// One of them is about to start or to end, and which processes are its own cannot be told.
    is_changing: bool,
}

impl<'a> Sharers<'a> {
    fn of(engine: &Engine, id: &str, members: &'a [Member]) -> Result<Self> {
        let mut found = Self {
            programs: Vec::new(),
            host: std::fs::read_link("/proc/self/ns/pid").context("read `/proc/self/ns/pid`")?,
            is_changing: false,
        };
        for sharer in ids(engine)? {
            let shares = || network::owner(engine, &sharer).is_ok_and(|owner| owner == id);
            if sharer == id || !is_expected(engine, &sharer) || !shares() {
                continue;
            }
            let state = Directory::of(engine, &sharer).state().ok().flatten();
            let program = state.and_then(|state| state.program);
            let is_program = |member: &&Member| program.as_ref() == Some(&member.process);
            match members.iter().find(is_program) {
                Some(program) => found.programs.push(program),
                None => found.is_changing = true,
            }
        }
        Ok(found)
    }

    fn have(&self, member: &Member) -> bool {
        let mut programs = self.programs.iter();
        self.is_changing || programs.any(|program| member.is_beside(program, &self.host))
    }
}

/// The parent of a process, the parent of that, and so on (proc_pid_status(5)).
fn ancestors(pid: i32) -> Vec<i32> {
    let parent = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok().filter(|&parent: &i32| parent > 0)
    };
    std::iter::successors(parent(&pid), parent).collect()
}

/// The processes that see a file of a container as their own: each has `hosts` from its directory.
fn members(engine: &Engine) -> Result<BTreeMap<String, Vec<Member>>> {
    let mut known: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
    let mut found: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").context("read `/proc`")? {
        let name = entry.context("read `/proc`")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has ended, or that is somebody else's, tells nothing.
        let Ok(namespace) = std::fs::read_link(format!("/proc/{pid}/ns/mnt")) else {
            continue;
        };
        let container = known.entry(namespace.clone()).or_insert_with(|| {
            let text = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
            container_of(&text, engine.paths.data())
        });
        let processes = std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        if let (Some(id), Ok(process), Ok(processes)) = (container, Identity::of(pid), processes) {
            found.entry(id.clone()).or_default().push(Member {
                process,
                namespaces: [namespace, processes],
                ancestors: ancestors(pid),
            });
        }
    }
    Ok(found)
}

/// The fields of proc_pid_mountinfo(5): what of the file system is mounted, and where.
fn roots_and_points(mountinfo: &[u8]) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let lines = mountinfo.split(|&byte| byte == b'\n');
    lines.filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ').skip(3);
        Some((unescaped(fields.next()?), unescaped(fields.next()?)))
    })
}

/// Space, tab, newline and backslash are written in octal.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let code = match (first, more.get(..3)) {
            (b'\\', Some(digits)) => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &more[3..] } else { more };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// The container of this store whose `hosts` is mounted on `/etc/hosts`.
fn container_of(mountinfo: &[u8], data: &Path) -> Option<String> {
    roots_and_points(mountinfo).find_map(|(root, point)| {
        let id = root.parent()?.file_name()?.to_str()?.to_owned();
        let containers = root.parent()?.parent()?;
        // The path within the file system: the data root's, without where that is mounted.
        let store = containers.parent()?.strip_prefix("/").ok()?;
        let ours = containers.ends_with("containers") && data.ends_with(store);
        (ours && id.len() == 64 && point == Path::new("/etc/hosts")).then_some(id)
    })
}

/// What is mounted on an object of the store; on the store itself an administrator may mount what he likes.
fn mounts(mountinfo: &[u8], data: &Path) -> Vec<PathBuf> {
    let is_object = |path: &Path| {
        path.strip_prefix(data)
            .is_ok_and(|below| below.iter().count() > 1)
    };
    let points = roots_and_points(mountinfo).map(|(_, point)| point);
    let unique: BTreeSet<PathBuf> = points.filter(|point| is_object(point)).collect();
    // The innermost first, as they have to go.
    unique.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_hosts_file() {
        let id = "b".repeat(64);
        let line = |store: &str, point: &str| {
            format!(
                "1 0 0:1 / / rw - overlay o rw\n2 1 8:1 {store}/containers/{id}/hosts {point} rw - ext4 d rw\n"
            )
        };
        for (store, point, expected) in [
            ("/lib/onggi", "/etc/hosts", Some(id.clone())),
            ("/var/lib/onggi", "/etc/hosts", Some(id.clone())),
            ("/var/lib/other", "/etc/hosts", None),
            ("/var/lib/onggi", "/etc/other", None),
        ] {
            let text = line(store, point);
            let found = container_of(text.as_bytes(), Path::new("/var/lib/onggi"));
            assert_eq!(found, expected, "{store} {point}");
        }
    }

    #[test]
    fn mounts_on_objects_are_told_innermost_first() {
        let text = b"1 0 0:1 / /d rw - tmpfs t rw\n2 1 0:2 / /d/layers rw - tmpfs t rw\n\
            3 1 0:3 / /d/staging/a\\040b rw - tmpfs t rw\n4 3 0:4 / /d/staging/a\\040b/c rw - tmpfs t rw\n";
        let expected = ["/d/staging/a b/c", "/d/staging/a b"].map(PathBuf::from);
        assert_eq!(mounts(text, Path::new("/d")), expected);
    }
}
