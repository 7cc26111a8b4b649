//! A program of others that connects a container's network namespace to the host: slirp4netns(1), passt(1) as `pasta`.
//!
//! ```text
//! monitor ──clone3(NEWPID, NEWNS)──▶ keeper: process 1 of its pid namespace ──▶ the program, and what it forks off
//! ```
//!
//! Invariant: it ends with the monitor, however that ends. The kernel kills the keeper with its parent (PR_SET_PDEATHSIG),
//! and with process 1 of a pid namespace everybody in it (pid_namespaces(7)); a program that changes its credentials would
//! lose such a signal. The keeper's mounts are its own too: there the network namespace has a path (`ip netns` does the
//! same), which the program may open without power over the processes in it.

use crate::error::{Error, Kind};
use crate::sys::process::{self, Child, Ended, Words, flags};
use crate::sys::{descriptor, mount, signal};
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the program is told to say that it is ready, if it can.
pub const READY: i32 = 3;

/// What is read of what it says when it fails.
const COMPLAINT: u64 = 16 * 1024;

/// How long it may take to get ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// All of the environment that it gets.
const SEARCH_PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// What these programs cannot do without (Linux, `Documentation/networking/tuntap.rst`).
const DEVICE: &str = "/dev/net/tun";

/// What to run.
#[derive(Debug)]
pub struct Command {
    /// What it is called.
    pub name: &'static str,
    /// Where it lies.
    pub path: PathBuf,
    /// Without the name.
    pub arguments: Vec<OsString>,
    /// How it says that it is ready.
    pub readiness: Readiness,
}

/// How a program says that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It writes to [`READY`].
    Written,
    /// It goes on in the background: the process that was started exits with 0.
    Daemon,
}

/// One that runs, until this is dropped.
#[derive(Debug)]
pub struct Program {
    keeper: Child,
}

/// Where the network namespace is found, in the directory that the program is started in.
pub const NAMESPACE: &str = "netns";

impl Program {
    /// Starts it in `directory`, for the network namespace of a process. Returns when it is ready.
    pub fn start(command: &Command, directory: &Path, pid: i32) -> Result<Self> {
        let (mut ready, tell) = std::io::pipe().context("pipe")?;
        let mut complaint = complaint().context("memfd_create")?;
        let place = directory.join(NAMESPACE);
        File::create(&place).with_context(|| format!("create `{}`", place.display()))?;
        let mut tell = Some(tell);
        let keeper = process::clone3(flags::NEW_PID | flags::NEW_MOUNT, || {
            let kept = tell.take().context("nobody would know");
            match kept.and_then(|tell| keep(command, directory, pid, tell, &complaint)) {
                Ok(ended) => ended.code(),
                Err(error) => {
                    let _ = write!(complaint, "{error:#}");
                    125
                }
            }
        });
        drop(tell);
        let keeper = keeper.with_context(|| format!("start {}", command.name))?;
        let program = Self { keeper };
        let answered = has_answered(&ready).context("poll")?;
        if answered && ready.read(&mut [0]).is_ok_and(|length| length > 0) {
            return Ok(program);
        }
        drop(program);
        let why = match answered {
            true => read_complaint(&complaint),
            false => format!("it is not ready after {} seconds", PATIENCE.as_secs()),
        };
        let message = format!("{} cannot connect the container: {why}", command.name);
        let error = Error::new(Kind::Unsupported, message);
        Err(match is_about_device(&why) {
            true => error.hint(format!(
                "`modprobe tun && chmod 666 {DEVICE}` as root, or a bridge network, which needs no such device"
            )),
            false => error,
        }
        .into())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.keeper.end();
    }
}

/// Full when as much was said; nobody gets a signal for saying more.
fn complaint() -> Result<File> {
    let file = memfd_create("complaint", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let file = File::from(file);
    file.set_len(COMPLAINT)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

fn has_answered(ready: &PipeReader) -> Result<bool> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(ready, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::try_from(left)?)) {
            Err(Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}

/// Whether it lacks [`DEVICE`]: pasta does not name it.
fn is_about_device(why: &str) -> bool {
    why.contains(DEVICE) || why.contains("tun socket")
}

/// What it said, in one line.
fn read_complaint(complaint: &File) -> String {
    let mut said = vec![0; COMPLAINT as usize];
    let length = complaint.read_at(&mut said, 0).unwrap_or_default();
    let said = String::from_utf8_lossy(&said[..length]);
    let lines = said.trim_matches('\0').lines().map(str::trim);
    // pasta says this of each line where nobody keeps a log.
    let is_noise = |line: &str| line.is_empty() || line.ends_with("to syslog");
    // What it says of all its options tells nobody what is wrong with one.
    let lines = lines.take_while(|line| !line.to_lowercase().starts_with("usage:"));
    let lines: Vec<&str> = lines.filter(|line| !is_noise(line)).collect();
    match lines.is_empty() {
        true => "it does not say why".to_owned(),
        false => lines.join("; "),
    }
}

/// The keeper: it lives as long as the program does, or anybody that has come from it.
fn keep(
    command: &Command,
    directory: &Path,
    pid: i32,
    mut tell: PipeWriter,
    complaint: &File,
) -> Result<Ended> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("prctl PR_SET_PDEATHSIG")?;
    let mut reader = [PollFd::new(&tell, PollFlags::empty())];
    if poll(&mut reader, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        bail!("the monitor has gone already");
    }
    signal::reset_all()?;
    show_namespace(pid, &directory.join(NAMESPACE))?;
    rustix::process::chdir(directory)
        .with_context(|| format!("enter `{}`", directory.display()))?;
    let path = CString::new(command.path.as_os_str().as_bytes())?;
    let words = [OsStr::new(command.name)].into_iter();
    let words = words.chain(command.arguments.iter().map(OsString::as_os_str));
    let words = Words::new(words.map(OsStr::as_bytes))?;
    let environment = Words::new([SEARCH_PATH])?;
    let nothing = File::options().read(true).write(true).open("/dev/null");
    let nothing = nothing.context("open `/dev/null`")?;
    let kept = [tell.as_fd(), complaint.as_fd(), nothing.as_fd()];
    descriptor::close_all_but(&kept).context("close_range")?;
    let child = process::clone3(0, || {
        let streams = [nothing.as_fd(), nothing.as_fd(), complaint.as_fd()];
        let more = [tell.as_fd()];
        let more = match command.readiness {
            Readiness::Written => &more[..],
            Readiness::Daemon => &[],
        };
        let placed = descriptor::close_on_exec_from(0)
            .and_then(|()| descriptor::place(&[&streams, more].concat()));
        if placed.is_ok() {
            let failed = process::execute(&path, &words, &environment);
            // Where that goes is the second stream by now.
            let _ = rustix::io::write(rustix::stdio::stderr(), failed.to_string().as_bytes());
        }
        127
    });
    let child = child.context("clone3")?;
    if command.readiness == Readiness::Written {
        drop(tell);
        return child.wait().context("waitid");
    }
    let ended = child.wait().context("waitid")?;
    if ended == Ended::Exited(0) {
        tell.write_all(b"1").context("tell the monitor")?;
        drop(tell);
        while !matches!(process::reap(true), Err(Errno::CHILD)) {}
    }
    Ok(ended)
}

/// Gives the network namespace of a process a path, for us and our children only.
fn show_namespace(pid: i32, place: &Path) -> Result<()> {
    mount::set_propagation_of_all(false).context("make mounts private")?;
    let namespace = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let tree = mount::clone_tree_at(&namespace, false)
        .with_context(|| format!("open_tree `{}`", namespace.display()))?;
    let target = File::open(place).with_context(|| format!("open `{}`", place.display()))?;
    mount::attach(tree.as_fd(), target.as_fd())
        .with_context(|| format!("mount a network namespace on `{}`", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_one_line_without_its_manual() {
        for (said, expected, is_about) in [
            ("", "it does not say why", false),
            (
                "pasta: unrecognized option '--x'\nFailed to send 5 bytes to syslog\nUsage: pasta [OPTION]...\n  -d  x\n",
                "pasta: unrecognized option '--x'",
                false,
            ),
            (
                "No external routable interface for IPv6\nFailed to open tun socket in namespace\n",
                "No external routable interface for IPv6; Failed to open tun socket in namespace",
                true,
            ),
            (
                "open(\"/dev/net/tun\"): No such file or directory\n",
                "open(\"/dev/net/tun\"): No such file or directory",
                true,
            ),
        ] {
            let file = complaint().unwrap();
            file.write_all_at(said.as_bytes(), 0).unwrap();
            let read = read_complaint(&file);
            assert_eq!(
                (read.as_str(), is_about_device(&read)),
                (expected, is_about)
            );
        }
    }
}
