//! The out-of-memory killer in a cgroup: how many processes of it, and of those below, it has killed. The kernel wakes
//! poll(2) with POLLPRI when `memory.events` changes (cgroups(7)), so that nobody has to look again and again.
//!
//! What has happened since it was last read makes the descriptor ready, and reading makes it quiet again.

use super::Cgroup;
use super::stats::keyed;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// More than the file of any kernel has.
const LONGEST: usize = 1024;

/// Watches for victims.
#[derive(Debug)]
pub struct OutOfMemory {
    file: OwnedFd,
    seen: u64,
}

impl OutOfMemory {
    /// Begins with what has not happened yet; `None` in a group without a memory controller.
    pub fn watch(group: &Cgroup) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(group, "memory.events", flags, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            opened => {
                let place = || group.directory().join("memory.events");
                let opened = opened.with_context(|| format!("open `{}`", place().display()))?;
                Self::begin(opened).map(Some)
            }
        }
    }

    fn begin(events: OwnedFd) -> Result<Self> {
        let mut watch = Self {
            file: events,
            seen: 0,
        };
        watch.victims()?;
        Ok(watch)
    }

    /// What becomes ready when there may be more of them.
    pub fn readiness(&self) -> PollFd<'_> {
        PollFd::new(&self.file, PollFlags::PRI)
    }

    /// How many processes were killed since this was last asked. Fails once the cgroup is gone.
    pub fn victims(&mut self) -> Result<u64> {
        let mut text = [0; LONGEST];
        let length = rustix::io::pread(&self.file, &mut text, 0).context("read `memory.events`")?;
        let text = String::from_utf8_lossy(&text[..length]);
        let all = keyed(&text, "oom_kill").context("`memory.events` has no `oom_kill`")?;
        let before = std::mem::replace(&mut self.seen, all);
        Ok(all.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// What the kernel does is tried in the virtual machine.
    #[test]
    fn only_new_victims_count() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut write = |text: &str| {
            use std::io::Seek;
            file.as_file().set_len(0).unwrap();
            file.rewind().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            OwnedFd::from(file.reopen().unwrap())
        };
        let earlier = write("low 0\nhigh 0\nmax 9\noom 5\noom_kill 2\noom_group_kill 0\n");
        let mut watch = OutOfMemory::begin(earlier).unwrap();
        assert_eq!(watch.victims().unwrap(), 0);
        write("low 0\nhigh 0\nmax 9\noom 7\noom_kill 4\noom_group_kill 0\n");
        assert_eq!(watch.victims().unwrap(), 2);
        assert_eq!(watch.victims().unwrap(), 0);
        let error = OutOfMemory::begin(write("low 0\noom 1\n")).unwrap_err();
        assert_eq!(error.to_string(), "`memory.events` has no `oom_kill`");
    }
}
