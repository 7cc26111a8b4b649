//! Control groups of version 2: an open one, and what can be done with it (cgroups(7), the kernel's
//! Documentation/admin-guide/cgroup-v2.rst). Knows nothing of who lives in it.
//!
//! A group is a descriptor of its directory and its path below [`ROOT`]. Its files are opened relative to the
//! descriptor, so that they are those of that very group even when another one has its name by then. Hosts with
//! hierarchies of version 1, alone or beside an empty one of version 2, count as having none.

mod delegation;
pub mod devices;
pub mod events;
pub mod outlook;
pub mod parents;
pub mod placement;
mod remedy;
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
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
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
        self.find_or_make(name).map(|(group, _)| group)
    }

    /// Likewise, and whether it was made.
    fn find_or_make(&self, name: &str) -> Result<(Self, bool)> {
        let path = self.path.join(name);
        let place = directory_of(&path);
        let is_new = match mkdirat(&self.directory, name, Mode::from(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => {
                return Err(error).with_context(|| format!("create `{}`", place.display()));
            }
        };
        let directory = openat(&self.directory, name, DIRECTORY, Mode::empty())
            .with_context(|| format!("open `{}`", place.display()))?;
        Ok((Self { directory, path }, is_new))
    }

    /// The text of one of its files; `None` when it has no such file, since the controller is not enabled for example.
    pub fn read(&self, file: &str) -> Result<Option<String>> {
        read_in(&self.directory, file)
            .with_context(|| format!("read `{}`", self.directory().join(file).display()))
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
        Ok(stats::keyed(&text, key))
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
        let killed = match self.write("cgroup.kill", "1") {
            // Before Linux 5.14.
            Err(error) if errno(&error) == Some(Errno::NOENT) => self.kill_each(),
            written => written,
        };
        match killed {
            // systemd removes a scope as soon as nobody is in it.
            Err(error) if matches!(errno(&error), Some(Errno::NOENT | Errno::NODEV)) => {
                return Ok(());
            }
            killed => killed?,
        }
        if !self.await_event("populated", 0, PATIENCE)? {
            bail!(
                "processes in `{}` were killed and do not end",
                self.directory().display()
            );
        }
        Ok(())
    }

    /// The numbers of all processes in it and below, those that we see.
    pub fn processes(&self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        self.each_process(|pid| all.push(pid.as_raw_nonzero().get()))?;
        Ok(all)
    }

    /// One by one, frozen meanwhile so that none makes others.
    fn kill_each(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")?;
        self.each_process(|pid| {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        })?;
        self.thaw()
    }

    fn each_process(&self, mut act: impl FnMut(Pid)) -> Result<()> {
        let mut each = |group: &OwnedFd| {
            let pids = match read_in(group, "cgroup.procs") {
                // It is for threads only: the group that their processes are in tells these.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => None,
                pids => pids.context("read `cgroup.procs`")?,
            };
            let pids = pids.unwrap_or_default();
            let pids = pids.split_ascii_whitespace();
            pids.filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw))
                .for_each(&mut act);
            Ok(())
        };
        self.each_below(|_, _, group| each(group))?;
        each(&self.directory)
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
            let text = String::from_utf8_lossy(&text[..length]);
            if stats::keyed(&text, key) == Some(wanted) {
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

    /// Calls `leave` for each group in it and below with the group that it is in, its name there and itself; those in a
    /// group come before that one.
    ///
    /// Whoever lives there may have made them, of any name, number and depth: few of them are open at a time, and
    /// there is no path to them.
    fn each_below(
        &self,
        mut leave: impl FnMut(&OwnedFd, &CStr, &OwnedFd) -> Result<()>,
    ) -> Result<()> {
        let context = || format!("read the groups in `{}`", self.directory().display());
        let open =
            |directory: &OwnedFd, name: &CStr| openat(directory, name, DIRECTORY, Mode::empty());
        let mut here = open(&self.directory, c".").with_context(context)?;
        // What is still to be looked at, in this group and each above it.
        let mut levels = vec![names_in(&here).with_context(context)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.last() {
                match open(&here, name) {
                    Err(Errno::NOENT) => _ = level.pop(),
                    opened => {
                        here = opened.with_context(context)?;
                        levels.push(names_in(&here).with_context(context)?);
                    }
                }
                continue;
            }
            levels.pop();
            if let Some(name) = levels.last_mut().and_then(Vec::pop) {
                // It is where it was: the kernel moves no groups.
                let above = open(&here, c"..").with_context(context)?;
                leave(&above, &name, &here)?;
                here = above;
            }
        }
        Ok(())
    }

    /// Removes it with the groups in it; its processes must be gone. One that is removed already is fine.
    pub fn remove(self) -> Result<()> {
        let context = || format!("remove `{}`", self.directory().display());
        let name = self.path.file_name().with_context(context)?;
        let name = CString::new(name.as_bytes()).with_context(context)?;
        let above = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = openat(&self.directory, c"..", above, Mode::empty()).with_context(context)?;
        // Most have none in them, and need not be read.
        if let Ok(()) | Err(Errno::NOENT) = unlinkat(&above, &name, AtFlags::REMOVEDIR) {
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        self.each_below(|above, name, _| {
            remove_in(above, name, until).with_context(|| {
                let name = name.to_bytes().escape_ascii();
                format!("remove `{name}` below `{}`", self.directory().display())
            })
        })?;
        remove_in(&above, &name, until).with_context(context)
    }
}

/// The text of a file of a group; `None` when there is none.
fn read_in(group: &OwnedFd, file: &str) -> std::io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut text = String::new();
    let read = match openat(group, file, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(opened) => File::from(opened).read_to_string(&mut text),
    };
    match read {
        // It was removed while it was open.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => Ok(None),
        read => read.map(|_| Some(text)),
    }
}

/// The names of the groups in a group.
fn names_in(group: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(group)? {
        let entry = match entry {
            // It was removed meanwhile.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && ![c".", c".."].contains(&name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes an empty group of another one, until that time when it has processes that are about to be reaped.
fn remove_in(above: &OwnedFd, name: &CStr, until: Instant) -> Result<(), Errno> {
    loop {
        match unlinkat(above, name, AtFlags::REMOVEDIR) {
            // A process that has ended holds it until it is reaped.
            Err(Errno::BUSY) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::NOENT) => return Ok(()),
            removed => return removed,
        }
    }
}

/// What the kernel has said at the root of an error of [`Cgroup::write`].
fn errno(error: &anyhow::Error) -> Option<Errno> {
    Errno::from_io_error(error.root_cause().downcast_ref()?)
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

    #[test]
    fn a_group_that_has_gone_has_nobody_to_kill() {
        let place = tempfile::tempdir().unwrap();
        let group = Cgroup {
            directory: openat(CWD, place.path(), DIRECTORY, Mode::empty()).unwrap(),
            path: "/gone".into(),
        };
        place.close().unwrap();
        group.kill().unwrap();
    }

    /// The calls are those for any directories; what the kernel does with groups is tried in the virtual machine.
    #[test]
    fn groups_of_any_name_and_depth_are_removed_with_the_one_they_are_in() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir(&top).unwrap();
        std::fs::create_dir(place.path().join("other")).unwrap();
        let group = Cgroup {
            directory: openat(CWD, &top, DIRECTORY, Mode::empty()).unwrap(),
            path: "/top".into(),
        };
        // No path is as long as that tree is deep.
        let mut here = group.directory.try_clone().unwrap();
        let long = CString::new([b"\xff".as_slice(), &[b'x'; 200]].concat()).unwrap();
        for _ in 0..50 {
            for name in [&long, c"a", c"b"] {
                mkdirat(&here, name, Mode::from(0o755)).unwrap();
            }
            here = openat(&here, &*long, DIRECTORY, Mode::empty()).unwrap();
        }
        let mut left = 0;
        let counted = group.each_below(|_, _, _| {
            left += 1;
            Ok(())
        });
        counted.unwrap();
        assert_eq!(left, 150);
        let again = group.try_clone().unwrap();
        group.remove().unwrap();
        assert!(!top.exists() && place.path().join("other").exists());
        again.remove().unwrap();
    }
}
