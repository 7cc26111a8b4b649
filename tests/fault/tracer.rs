//! A command with all its descendants under ptrace(2): at the nth system call that changes something on disk, the
//! process that makes it is killed, or is told that the disk is full.

use crate::cases::Traced;
use crate::support::Store;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use syscalls::Sysno;

/// System calls that change something that a later command may find.
const CHANGES: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "copy_file_range",
    "sendfile",
    "splice",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "fsync",
    "fdatasync",
    "syncfs",
    "open",
    "openat",
    "openat2",
    "creat",
    "flock",
    "bind",
    "execve",
    "execveat",
];
/// Those that need room: they fail where the disk is full.
const NEED_ROOM: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "copy_file_range",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "fsync",
    "fdatasync",
    "open",
    "openat",
    "openat2",
    "creat",
];
/// Nothing happens any more after this time without a system call.
const QUIET: Duration = Duration::from_millis(40);
/// No command of these tests takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// What happens at the nth call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; the calls are counted.
    None,
    /// SIGKILL.
    Kill(usize),
    /// ENOSPC, also for all later ones.
    DiskFull(usize),
}

/// Runs the program with these words to its end, and until what it leaves behind is quiet.
pub fn trace(store: &Store, words: &[&str], fault: Fault) -> Traced {
    // Tracing belongs to a thread: what is still traced at its end is let go.
    std::thread::scope(|scope| {
        let tracer = scope.spawn(|| Tracer::new(store, fault).run(store, words));
        tracer.join().expect("the tracer")
    })
}

/// Whether a process waits for nothing but the processor or a disk (proc_pid_stat(5), "state"), or for its tracer.
fn has_to_do(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some('R' | 'D' | 't'))
}

struct Tracer {
    fault: Fault,
    data: PathBuf,
    points: usize,
    hit: Option<String>,
    /// Whose running call is to end with ENOSPC.
    failing: BTreeSet<Pid>,
    seen: BTreeSet<Pid>,
    /// All that are traced.
    alive: BTreeSet<Pid>,
}

impl Tracer {
    fn new(store: &Store, fault: Fault) -> Self {
        Self {
            fault,
            data: store.data(),
            points: 0,
            hit: None,
            failing: BTreeSet::new(),
            seen: BTreeSet::new(),
            alive: BTreeSet::new(),
        }
    }

    fn run(mut self, store: &Store, words: &[&str]) -> Traced {
        let onggi = store.onggi(words).into_command();
        let mut shell = store.command("/bin/sh");
        // Stops itself, so that it is traced before it becomes the program.
        shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]);
        shell.arg(onggi.get_program()).args(onggi.get_args());
        let [stdout, stderr] = ["stdout", "stderr"].map(|name| store.path().join(name));
        let stream = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        shell
            .stdin(Stdio::null())
            .stdout(stream(&stdout))
            .stderr(stream(&stderr));
        let monitors = monitors(store);
        let client = Pid::from_raw(shell.spawn().unwrap().id() as i32);
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::__WNOTHREAD;
        assert!(matches!(
            waitpid(client, Some(flags)),
            Ok(WaitStatus::Stopped(..))
        ));
        for monitor in monitors {
            // It may have just ended.
            let _ = ptrace::seize(monitor, options()).and_then(|()| ptrace::interrupt(monitor));
        }
        ptrace::seize(client, options()).unwrap();
        kill(client, Signal::SIGCONT).unwrap();
        let code = self.follow(client);
        let text =
            |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        Traced {
            points: self.points,
            hit: self.hit,
            code,
            stdout: text(&stdout),
            stderr: text(&stderr),
        }
    }

    /// Until the client has ended and nothing happens any more.
    fn follow(&mut self, client: Pid) -> Option<i32> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        let (mut ended, mut last) = (None, Instant::now());
        loop {
            match waitpid(None, Some(flags)) {
                Err(Errno::ECHILD) => return ended.expect("the client's end"),
                Err(error) => panic!("waitpid: {error}"),
                Ok(WaitStatus::StillAlive) => {
                    assert!(last.elapsed() < HANGS, "the command hangs");
                    let is_quiet = || {
                        // On a busy machine one that has something to do may have to wait for longer.
                        last.elapsed() > QUIET && !self.alive.iter().any(|pid| has_to_do(*pid))
                    };
                    if let Some(code) = ended.filter(|_| is_quiet()) {
                        return code;
                    }
                    std::thread::sleep(Duration::from_micros(50));
                    continue;
                }
                Ok(WaitStatus::Exited(pid, code)) => {
                    self.alive.remove(&pid);
                    if pid == client {
                        ended = Some(Some(code));
                    }
                }
                Ok(WaitStatus::Signaled(pid, ..)) => {
                    self.alive.remove(&pid);
                    if pid == client {
                        ended = Some(None);
                    }
                }
                Ok(status) => {
                    self.alive.extend(status.pid());
                    self.step(status);
                }
            }
            last = Instant::now();
        }
    }

    /// Lets one that has stopped go on.
    fn step(&mut self, status: WaitStatus) {
        let (pid, signal) = match status {
            WaitStatus::PtraceSyscall(pid) => {
                self.at_system_call(pid);
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => return,
        };
        // One that was killed meanwhile cannot go on.
        let _ = ptrace::syscall(pid, signal);
    }

    fn at_system_call(&mut self, pid: Pid) {
        let Ok(mut registers) = ptrace::getregs(pid) else {
            return;
        };
        if !self.seen.remove(&pid) {
            self.seen.insert(pid);
            let call = Call::of(pid, &registers);
            if self.at_entry(&call) {
                self.failing.insert(pid);
                registers.orig_rax = u64::MAX;
                let _ = ptrace::setregs(pid, registers);
            }
        } else if self.failing.remove(&pid) {
            registers.rax = -(Errno::ENOSPC as i64) as u64;
            let _ = ptrace::setregs(pid, registers);
        }
    }

    /// Counts a call that matters; whether it is to fail.
    fn at_entry(&mut self, call: &Call) -> bool {
        let names = match self.fault {
            Fault::DiskFull(_) => NEED_ROOM,
            _ => CHANGES,
        };
        let counts = names.contains(&call.name)
            && (!call.name.starts_with("open") || call.creates)
            && (names == CHANGES || call.touches(&self.data));
        if !counts {
            return false;
        }
        self.points += 1;
        match self.fault {
            Fault::Kill(point) if point == self.points => {
                self.hit = Some(call.describe());
                kill(call.pid, Signal::SIGKILL).unwrap();
                false
            }
            Fault::DiskFull(point) if point <= self.points => {
                self.hit.get_or_insert_with(|| call.describe());
                true
            }
            _ => false,
        }
    }
}

fn options() -> Options {
    Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
}

/// The monitors that live already: they do a part of what later commands ask for.
fn monitors(store: &Store) -> Vec<Pid> {
    let is_monitor = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"onggi-monitor\0")
    };
    let pids = store.processes().into_iter().filter(is_monitor);
    pids.map(|pid| Pid::from_raw(pid as i32)).collect()
}

/// A system call at its beginning.
struct Call {
    pid: Pid,
    name: &'static str,
    arguments: [u64; 4],
    creates: bool,
}

impl Call {
    fn of(pid: Pid, registers: &libc::user_regs_struct) -> Self {
        let name = Sysno::new(registers.orig_rax as usize).map_or("unknown", |call| call.name());
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let flags = match name {
            "open" => arguments[1],
            "openat" => arguments[2],
            "openat2" => word(pid, arguments[2]),
            "creat" => libc::O_CREAT as u64,
            _ => 0,
        };
        Self {
            pid,
            name,
            arguments,
            creates: flags & libc::O_CREAT as u64 != 0,
        }
    }

    /// Whether it is about a file below that directory, as far as can be told without following links.
    fn touches(&self, directory: &Path) -> bool {
        let number = match self.name {
            "copy_file_range" => self.arguments[2],
            _ => self.arguments[0],
        };
        let is_path = [
            "rename", "link", "mkdir", "symlink", "mknod", "open", "creat",
        ]
        .contains(&self.name);
        let by_path = |address| text(self.pid, address).starts_with(directory);
        match self.name {
            "symlink" => by_path(self.arguments[1]),
            "symlinkat" if number as i32 != libc::AT_FDCWD => {
                self.path_of(self.arguments[1]).starts_with(directory)
            }
            "symlinkat" => by_path(self.arguments[2]),
            _ if is_path => by_path(self.arguments[0]),
            name if name.ends_with("at") || name.ends_with("at2") => {
                let path = text(self.pid, self.arguments[1]);
                match path.is_absolute() {
                    true => path.starts_with(directory),
                    false => self.path_of(number).starts_with(directory),
                }
            }
            _ => self.path_of(number).starts_with(directory),
        }
    }

    /// Where a descriptor leads.
    fn path_of(&self, number: u64) -> PathBuf {
        let link = match number as i32 {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.pid),
            number => format!("/proc/{}/fd/{number}", self.pid),
        };
        std::fs::read_link(link).unwrap_or_default()
    }

    fn describe(&self) -> String {
        let who = std::fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        let fd = self.path_of(self.arguments[0]);
        let paths = [0, 1].map(|index| text(self.pid, self.arguments[index]));
        format!(
            "{} of `{}`: descriptor {fd:?}, texts {paths:?}",
            self.name,
            who.trim()
        )
    }
}

fn word(pid: Pid, address: u64) -> u64 {
    let word = ptrace::read(pid, address as ptrace::AddressType);
    word.map_or(0, |word| word as u64)
}

/// The text at an address of the process, as far as it can be read.
fn text(pid: Pid, address: u64) -> PathBuf {
    let mut bytes = Vec::new();
    while bytes.len() < 4096 {
        let Ok(word) = ptrace::read(pid, (address + bytes.len() as u64) as ptrace::AddressType)
        else {
            break;
        };
        let word = word.to_ne_bytes();
        let end = word.iter().position(|&byte| byte == 0);
        bytes.extend_from_slice(&word[..end.unwrap_or(word.len())]);
        if end.is_some() {
            break;
        }
    }
    PathBuf::from(String::from_utf8_lossy(&bytes).into_owned())
}
