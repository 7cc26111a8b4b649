//! Containers that run by themselves while a test looks at them and gives them orders.

use super::command::Outcome;
use super::store::{ALPINE, Store};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes this long unless it hangs.
const HANGS: Duration = Duration::from_secs(60);

/// Process 1 that has not asked for the signal of `stop`, and so never hears it.
pub const DEAF: &str = "touch /ready; exec sleep 1000";
/// Process 1 that ends with code 7 on SIGTERM.
pub const OBEDIENT: &str = "trap 'exit 7' TERM; touch /ready; while :; do sleep 0.1; done";

impl Store {
    /// A detached container that has come as far as to make `/ready`; its id.
    #[track_caller]
    pub fn detached(&self, name: &str, options: &[&str], script: &str) -> String {
        let run = ["run", "-d", "--name", name];
        let shell = [ALPINE, "sh", "-c", script];
        let outcome = self.onggi(run.iter().chain(options).chain(&shell)).run();
        let id = outcome.code(0).stdout_text().trim().to_owned();
        let is_ready = || {
            let exec = self
                .onggi(["exec", name, "test", "-e", "/ready"])
                .into_command();
            silent(exec).success()
        };
        until(&format!("{name} is ready"), is_ready);
        id
    }

    /// What `inspect` says by that template.
    #[track_caller]
    pub fn field(&self, name: &str, template: &str) -> String {
        let outcome = self.onggi(["inspect", "-f", template, name]).run();
        outcome.code(0).stdout_text().trim().to_owned()
    }

    /// `Status ExitCode` of a container.
    #[track_caller]
    pub fn status(&self, name: &str) -> String {
        self.field(name, "{{.State.Status}} {{.State.ExitCode}}")
    }

    /// The process number of a container's monitor.
    #[track_caller]
    pub fn monitor(&self, name: &str) -> u32 {
        let id = self.field(name, "{{.Id}}");
        let path = self.data().join("containers").join(id).join("state.json");
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        state["monitor"]["pid"]
            .as_u64()
            .unwrap()
            .try_into()
            .unwrap()
    }

    /// Ends the `sleep` that a container's process 1 waits for, which may then be gone at once.
    #[track_caller]
    pub fn end_sleep(&self, name: &str) {
        let exec = |words: &[&str]| {
            silent(
                self.onggi(["exec", name].iter().chain(words))
                    .into_command(),
            )
            .success()
        };
        until("it sleeps", || exec(&["pgrep", "-x", "sleep"]));
        exec(&["pkill", "-x", "sleep"]);
    }

    /// Runs it and expects that it succeeds; what it printed.
    #[track_caller]
    pub fn ok<const N: usize>(&self, words: [&str; N]) -> String {
        self.onggi(words).run().code(0).stdout_text()
    }

    /// Runs it and expects exit code 1 and these words.
    #[track_caller]
    pub fn refused<const N: usize>(&self, words: [&str; N], message: &str) -> Outcome {
        let outcome = self.onggi(words).run();
        outcome.code(1).stderr_has(message);
        outcome
    }
}

/// Waits until it holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANGS, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a process has ended: the most memory that it has had, in bytes (`VmHWM` of
/// proc_pid_status(5)). What wait4(2) says of that counts its parent's as well, as it was before the program was executed.
pub fn peak_memory(child: &mut Child) -> u64 {
    let (path, mut most) = (format!("/proc/{}/status", child.id()), 0);
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(kilobytes.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_millis(1));
    }
    most
}

/// The most memory of a command that succeeds in silence, in bytes.
#[track_caller]
pub fn peak_memory_of(mut command: Command) -> u64 {
    let nothing = std::process::Stdio::null;
    let mut child = command.stdin(nothing()).stdout(nothing()).spawn().unwrap();
    let most = peak_memory(&mut child);
    assert!(child.wait().unwrap().success());
    most
}

/// The letter of a process's state (proc_pid_stat(5)); `None` when it is gone.
pub fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn silent(mut command: Command) -> std::process::ExitStatus {
    let nothing = std::process::Stdio::null;
    command
        .stdin(nothing())
        .stdout(nothing())
        .stderr(nothing())
        .status()
        .unwrap()
}
