//! What a monitor costs while its container does nothing: memory, and how often it wakes up.
//!
//! `cargo bench --bench monitor`. The memory is the proportional share (`Pss` in proc_pid_smaps(5)) of one monitor
//! alone and of one among a hundred, of which the program's own pages are shared; beside it that of podman's conmon. The
//! wake-ups are those of ten seconds (`voluntary_ctxt_switches` in proc_pid_status(5)).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]

#[path = "start/pure.rs"]
mod pure;
#[path = "../support/mod.rs"]
mod support;

use std::process::Command;
use std::time::Duration;
use support::host::has_program;
use support::{ALPINE, Store, everyone_with_alpine};

/// The figure to reach.
const PSS_MOST: u64 = 300;
/// By then a monitor has given back what it needed for the start.
const SETTLED: Duration = Duration::from_secs(5);
const WATCHED: Duration = Duration::from_secs(10);

fn main() {
    pure::enter_cgroup2();
    println!(
        "  {:34}{:>12}{:>12}{:>14}",
        "", "alone kB", "of 100 kB", "wake-ups/10s"
    );
    for store in everyone_with_alpine() {
        ours(&store);
    }
    if support::host::is_root() && has_program("podman") && has_program("conmon") {
        conmon();
    }
    println!("  at most {PSS_MOST} kB and no wake-up at all is the figure to reach");
}

fn ours(store: &Store) {
    let start = |count: usize| -> Vec<u32> {
        let name = |number| format!("c{count}-{number}");
        for number in 0..count {
            store.ok([
                "run",
                "-d",
                "--name",
                &name(number),
                ALPINE,
                "sleep",
                "1000",
            ]);
        }
        (0..count)
            .map(|number| store.monitor(&name(number)))
            .collect()
    };
    let row = measure(&start(1), || start(99));
    row.print(&format!("onggi as {:?}", store.user));
}

/// Conmon alone: it watches a runtime's container as podman makes it.
fn conmon() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let root = directory.path().to_str().unwrap().to_owned();
    let settings = directory.path().join("containers.conf");
    let limits = r#"default_ulimits=["nofile=1024:1024", "nproc=1024:1024"]"#;
    let content =
        format!("[containers]\npids_limit=0\n{limits}\n[engine]\ncgroup_manager=\"cgroupfs\"\n");
    std::fs::write(&settings, content).unwrap();
    let podman = |words: &[&str]| {
        let mut command = Command::new("podman");
        command.env("CONTAINERS_CONF", &settings);
        command.args([
            "--root",
            &format!("{root}/data"),
            "--runroot",
            &format!("{root}/run"),
        ]);
        command.args(words).output().unwrap()
    };
    let image = support::images().join(format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    ));
    podman(&["import", image.to_str().unwrap(), "bench"]);
    let start = |count: usize| -> Vec<u32> {
        let run = |_| {
            let words = [
                "run",
                "-d",
                "--cgroups=disabled",
                "--network=none",
                "--security-opt=seccomp=unconfined",
                "bench",
                "sleep",
                "1000",
            ];
            let id = String::from_utf8(podman(&words).stdout).unwrap();
            let format = ["inspect", "--format", "{{.State.ConmonPid}}", id.trim()];
            String::from_utf8(podman(&format).stdout)
                .unwrap()
                .trim()
                .parse()
                .ok()
        };
        (0..count).filter_map(run).collect()
    };
    let first = start(1);
    if first.is_empty() {
        println!("  left out: conmon: podman runs no container here");
    } else {
        measure(&first, || start(99)).print("conmon");
    }
    podman(&["rm", "-af", "-t", "0"]);
}

struct Row {
    alone: u64,
    among_many: u64,
    wakeups: u64,
}

impl Row {
    fn print(&self, name: &str) {
        println!(
            "  {name:34}{:12}{:12}{:14}",
            self.alone, self.among_many, self.wakeups
        );
    }
}

fn measure(first: &[u32], more: impl FnOnce() -> Vec<u32>) -> Row {
    std::thread::sleep(SETTLED);
    let before = wakeups(first[0]);
    std::thread::sleep(WATCHED);
    let wakeups = wakeups(first[0]) - before;
    let alone = pss(first[0]);
    let all = [first.to_vec(), more()].concat();
    std::thread::sleep(SETTLED);
    let among_many = all.iter().map(|pid| pss(*pid)).sum::<u64>() / all.len() as u64;
    Row {
        alone,
        among_many,
        wakeups,
    }
}

/// Kilobytes.
fn pss(pid: u32) -> u64 {
    figure(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn wakeups(pid: u32) -> u64 {
    figure(&format!("/proc/{pid}/status"), "voluntary_ctxt_switches:")
}

fn figure(path: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.unwrap().parse().unwrap()
}
