//! A dockerd of the bench's own: `dockerd` of `PATH`, with what it starts, in a mount namespace where it finds the control
//! groups that it wants.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Makes the groups, of version 1 where the kernel has those controllers there, and becomes dockerd.
const START: &str = "
groups=/sys/fs/cgroup
mount -t tmpfs tmpfs $groups
for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir $groups/$controller && mount -t cgroup -o $controller cgroup $groups/$controller || rmdir $groups/$controller
done
rmdir $groups/memory 2>/dev/null && mount -t cgroup2 cgroup2 $groups
exec dockerd --data-root \"$0/data\" --exec-root \"$0/exec\" --pidfile \"$0/pid\" --host \"unix://$0/socket\" \
    --iptables=false --bridge=none --storage-driver overlay2 --insecure-registry 127.0.0.0/8
";

/// It ends with the value.
pub struct Dockerd {
    child: Child,
    directory: PathBuf,
}

impl Dockerd {
    /// Starts it, with everything that it keeps below the directory.
    pub fn start(directory: &Path) -> Result<Self, String> {
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", START])
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.join("log")).unwrap())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut dockerd = Self {
            child,
            directory: directory.to_owned(),
        };
        let end = Instant::now() + Duration::from_secs(30);
        while !answers(&mut dockerd.client(["version"])) {
            if Instant::now() > end || dockerd.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                let log = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
                return Err(format!(
                    "dockerd does not start: {}",
                    log.lines().last().unwrap_or_default()
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(dockerd)
    }

    /// The docker client that speaks to it.
    pub fn client<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut client = Command::new("docker");
        client
            .arg("--host")
            .arg(format!("unix://{}/socket", self.directory.display()));
        client.args(arguments);
        client
    }

    /// What it, its containerd and all that they have waited for have computed so far.
    pub fn cpu(&self) -> Duration {
        tree(self.child.id()).into_iter().map(ticks).sum()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn answers(command: &mut Command) -> bool {
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// A process and all below it.
fn tree(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let lists =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let children: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    std::iter::once(pid)
        .chain(children.into_iter().flat_map(tree))
        .collect()
}

/// Fields 14 to 17 of proc_pid_stat(5): its own time and that of the children it has waited for, in hundredths.
fn ticks(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}
