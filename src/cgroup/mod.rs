//! Control groups of version 2: an open one, and what can be done with it (cgroups(7), the kernel's
//! Documentation/admin-guide/cgroup-v2.rst). Knows nothing of who lives in it.
//!
//! A group is a descriptor of its directory and its path below [`ROOT`]. Its files are opened relative to the
//! descriptor, so that they are those of that very group even when another one has its name by then. Hosts with
//! hierarchies of version 1, alone or beside an empty one of version 2, count as having none.

pub mod devices;
pub mod events;
pub mod outlook;
pub mod placement;
pub mod resources;
pub mod stats;
pub mod systemd;

use crate::sys::namespace;
use crate::sys::process::flags;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, mkdirat, openat, statfs, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the hierarchy of version 2 is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// How long processes may take to be gone when they were killed: one that waits for a slow disk ends late.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long they may take to be frozen, while whoever asks does nothing else.
const FREEZING: Duration = Duration::from_secs(2);

/// An open control group.
#[derive(Debug)]
pub struct Cgroup {
    directory: OwnedFd,
    path: PathBuf,
}

impl Cgroup {
    /// That with this path below [`ROOT`]; `None` when there is none, or no hierarchy of version 2.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        if !is_version_2() {
            return Ok(None);
        }
        let relative = path.strip_prefix("/").unwrap_or(path);
        let place = Path::new(ROOT).join(relative);
        match openat(CWD, &place, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            opened => Ok(Some(Self {
                directory: opened.with_context(|| format!("open `{}`", place.display()))?,
                path: Path::new("/").join(relative),
            })),
        }
    }

    /// The same group, held twice.
    pub fn try_clone(&self) -> Result<Self> {
        Ok(Self {
            directory: self
                .directory
                .try_clone()
                .context("duplicate a descriptor")?,
            path: self.path.clone(),
        })
    }

    /// Its path below [`ROOT`], absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it lies in the file system.
    pub fn directory(&self) -> PathBuf {
        directory_of(&self.path)
    }

    /// The group of this name in it, made unless it is there.
    pub fn child(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        let place = directory_of(&path);
        match mkdirat(&self.directory, name, Mode::from(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("create `{}`", place.display()));
            }
        }
        let directory = openat(&self.directory, name, DIRECTORY, Mode::empty())
            .with_context(|| format!("open `{}`", place.display()))?;
        Ok(Self { directory, path })
    }

    /// The text of one of its files; `None` when it has no such file, since the controller is not enabled for example.
    pub fn read(&self, file: &str) -> Result<Option<String>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut text = String::new();
        let read = match openat(&self.directory, file, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => Err(error.into()),
            Ok(opened) => File::from(opened).read_to_string(&mut text),
        };
        match read {
            // It was removed while it was open.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
            read => {
                read.with_context(|| format!("read `{}`", self.directory().join(file).display()))?;
                Ok(Some(text))
            }
        }
    }

    /// Writes one of its files, in one write(2) as the kernel wants it. The context names file and value; the
    /// [`std::io::Error`] is at the root of the error.
    pub fn write(&self, file: &str, value: &str) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let opened = openat(&self.directory, file, flags, Mode::empty());
        opened
            .map_err(std::io::Error::from)
            .and_then(|opened| File::from(opened).write_all(value.as_bytes()))
            .with_context(|| {
                format!(
                    "write `{value}` to `{}`",
                    self.directory().join(file).display()
                )
            })
    }

    /// The words of one of its files.
    pub fn words(&self, file: &str) -> Result<Vec<String>> {
        let text = self.read(file)?.unwrap_or_default();
        Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// A value of a file with lines of a key and a number.
    pub fn value(&self, file: &str, key: &str) -> Result<Option<u64>> {
        let text = self.read(file)?.unwrap_or_default();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        Ok(found.and_then(|number| number.trim().parse().ok()))
    }

    /// Moves a process here; 0 is the calling one.
    pub fn enter(&self, pid: u32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Whether there are processes in it or below.
    pub fn is_populated(&self) -> Result<bool> {
        Ok(self.value("cgroup.events", "populated")? == Some(1))
    }

    /// Whether all its processes are frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(self.value("cgroup.events", "frozen")? == Some(1))
    }

    /// Freezes all its processes, and returns when they are. Those that cannot be frozen in time go on.
    pub fn freeze(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")?;
        if self.await_event("frozen", 1, FREEZING)? {
            return Ok(());
        }
        self.thaw()?;
        bail!("its processes could not be frozen: one of them waits in the kernel");
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        self.write("cgroup.freeze", "0")
    }

    /// Kills all processes in it and below, and waits until they are gone, but not for a parent that reaps them.
    pub fn kill(&self) -> Result<()> {
        let file = openat(
            &self.directory,
            "cgroup.kill",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        match file {
            Ok(file) => {
                rustix::io::write(&file, b"1")
                    .with_context(|| format!("write `1` to `{}`", self.directory().display()))?;
            }
            // Before Linux 5.14.
            Err(Errno::NOENT) => self.kill_each()?,
            Err(error) => {
                let place = self.directory().join("cgroup.kill");
                return Err(error).with_context(|| format!("open `{}`", place.display()));
            }
        }
        if !self.await_event("populated", 0, PATIENCE)? {
            bail!(
                "processes in `{}` were killed and do not end",
                self.directory().display()
            );
        }
        Ok(())
    }

    /// One by one, frozen meanwhile so that none makes others.
    fn kill_each(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")?;
        for child in self.children()? {
            child.kill_each()?;
        }
        for pid in self.words("cgroup.procs")? {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        self.thaw()
    }

    /// Waits until `cgroup.events` says so, which wakes a poll(2) for POLLPRI; `false` when it takes too long.
    fn await_event(&self, key: &str, wanted: u64, patience: Duration) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let events = match openat(&self.directory, "cgroup.events", flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(true),
            opened => opened.context("open `cgroup.events`")?,
        };
        let until = Instant::now() + patience;
        loop {
            // Read through that descriptor: what is polled for is a change since it was read last.
            let mut text = [0; 256];
            let length = match rustix::io::pread(&events, &mut text, 0) {
                Err(Errno::NODEV) => return Ok(true),
                read => read.context("read `cgroup.events`")?,
            };
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            let mut lines = text.lines();
            if lines.any(|line| line.split_once(' ') == Some((key, &wanted.to_string()))) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            let mut fds = [PollFd::new(&events, PollFlags::PRI)];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
        }
    }

    /// The groups in it.
    fn children(&self) -> Result<Vec<Self>> {
        let context = || format!("read `{}`", self.directory().display());
        let mut children = Vec::new();
        for entry in Dir::read_from(&self.directory).with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name().to_string_lossy();
            if entry.file_type() != FileType::Directory || [".", ".."].contains(&&*name) {
                continue;
            }
            match openat(&self.directory, entry.file_name(), DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => {}
                opened => children.push(Self {
                    directory: opened.with_context(context)?,
                    path: self.path.join(&*name),
                }),
            }
        }
        Ok(children)
    }

    /// Removes it with the groups in it; its processes must be gone. One that is removed already is fine.
    pub fn remove(self) -> Result<()> {
        for child in self.children()? {
            child.remove()?;
        }
        let place = self.directory();
        let until = Instant::now() + PATIENCE;
        loop {
            match unlinkat(CWD, &place, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // A process that has ended holds it until it is reaped.
                Err(Errno::BUSY) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("remove `{}`", place.display()));
                }
            }
        }
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Where a group lies in the file system.
pub fn directory_of(path: &Path) -> PathBuf {
    Path::new(ROOT).join(path.strip_prefix("/").unwrap_or(path))
}

/// Whether the one hierarchy of this host is of version 2.
pub fn is_version_2() -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    statfs(ROOT).is_ok_and(|found| found.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// The group of a process in the hierarchy of version 2, below the root of our own cgroup namespace; `None` where it
/// is not (`/proc/PID/cgroup`).
pub fn of_process(pid: Option<u32>) -> Result<Option<PathBuf>> {
    let path = pid.map_or_else(
        || "/proc/self/cgroup".to_owned(),
        |pid| format!("/proc/{pid}/cgroup"),
    );
    let lines = std::fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    Ok(in_version_2(&lines).map(PathBuf::from))
}

fn in_version_2(lines: &str) -> Option<&str> {
    let path = lines.lines().find_map(|line| line.strip_prefix("0::"))?;
    (!path.starts_with("/..")).then_some(path)
}

/// Leaves the cgroup namespace for one whose root is the group that the calling process is in (cgroup_namespaces(7)).
pub fn make_own_root() -> Result<()> {
    namespace::unshare(flags::NEW_CGROUP).context("unshare the cgroup namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_version_2_below_ours() {
        for (lines, path) in [
            ("0::/user.slice/a b.scope\n", Some("/user.slice/a b.scope")),
            ("8:pids:/x\n0::/\n", Some("/")),
            ("8:pids:/x\n", None),
            ("0::/../other\n", None),
        ] {
            assert_eq!(in_version_2(lines), path, "{lines:?}");
        }
    }

    #[test]
    fn paths_are_below_the_mount() {
        for path in ["/a/b", "a/b"] {
            assert_eq!(
                directory_of(Path::new(path)),
                Path::new("/sys/fs/cgroup/a/b")
            );
        }
    }
}
