//! Commands measured side by side: A B C A B C …, so that whatever else the machine does hits all alike.
//!
//! Wall time is from before the start of the command to its end. CPU time is that of all processes it left
//! to be waited for, monitors and cleaners included: they fall to this process (PR_SET_CHILD_SUBREAPER) and
//! are waited for before the next command starts.
#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Something that takes part.
pub struct Contender<'a> {
    /// As it stands in the table.
    pub name: String,
    /// Makes what a round needs and gives the command; not measured.
    pub command: Box<dyn FnMut() -> Command + 'a>,
    /// The CPU time so far of a daemon that does the work.
    pub daemon: Option<Box<dyn Fn() -> Duration + 'a>>,
}

impl<'a> Contender<'a> {
    /// A contender whose rounds are all alike.
    pub fn new(name: impl Into<String>, command: impl FnMut() -> Command + 'a) -> Self {
        let (name, command) = (name.into(), Box::new(command));
        Self {
            name,
            command,
            daemon: None,
        }
    }

    /// With a daemon whose CPU time counts.
    #[must_use]
    pub fn served_by(mut self, cpu: impl Fn() -> Duration + 'a) -> Self {
        self.daemon = Some(Box::new(cpu));
        self
    }
}

struct Series {
    name: String,
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

/// Runs all contenders and prints medians, and for each peer by which factor the first one is ahead of it
/// or behind. What does not run here is left out and named.
pub fn race(title: &str, rounds: usize, contenders: Vec<Contender>) {
    let ours = contenders.first().map(|contender| contender.name.clone());
    let mut series = run(title, rounds, contenders);
    table(ours.as_deref(), &mut series);
}

/// Runs all contenders and prints by how much the first one takes longer than each: the median of the differences
/// within a round.
pub fn differences(title: &str, rounds: usize, contenders: Vec<Contender>) {
    let series = run(title, rounds, contenders);
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2] * 1e3
    };
    println!(
        "  {:44}{:>11}{:>11}{:>11}{:>11}",
        "", "wall ms", "min", "less ms", "CPU less"
    );
    let all = &series[0];
    for one in &series {
        let less = |all: &[Duration], one: &[Duration]| {
            let pairs = all.iter().zip(one);
            median(
                pairs
                    .map(|(all, one)| all.as_secs_f64() - one.as_secs_f64())
                    .collect(),
            )
        };
        let wall = median(one.wall.iter().map(Duration::as_secs_f64).collect());
        let least = one.wall.iter().min().map_or(0.0, Duration::as_secs_f64) * 1e3;
        let (by_wall, by_cpu) = (less(&all.wall, &one.wall), less(&all.cpu, &one.cpu));
        println!(
            "  {:44}{wall:11.2}{least:11.2}{by_wall:11.2}{by_cpu:11.2}",
            one.name
        );
    }
}

fn run(title: &str, rounds: usize, mut contenders: Vec<Contender>) -> Vec<Series> {
    println!("\n{title}, {rounds} rounds, interleaved");
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    // What the bench itself has started, as a registry.
    let own = children();
    let mut able = Vec::new();
    for mut contender in contenders.drain(..) {
        match attempt(&mut (contender.command)()) {
            Ok(()) => able.push(contender),
            Err(reason) => println!("  left out: {}: {reason}", contender.name),
        }
    }
    // Helpers that some engines leave running for good, as podman's keeper of its namespace.
    std::thread::sleep(Duration::from_millis(200));
    reap(&own, Duration::ZERO);
    let lasting = children();
    let mut series: Vec<Series> = able.iter().map(Series::new).collect();
    for _ in 0..rounds {
        for (contender, series) in able.iter_mut().zip(&mut series) {
            let mut command = (contender.command)();
            silence(&mut command);
            let daemon = || {
                contender
                    .daemon
                    .as_ref()
                    .map_or(Duration::ZERO, |cpu| cpu())
            };
            let (start, before) = (Instant::now(), cpu() + daemon());
            let status = command.spawn().unwrap().wait().unwrap();
            series.wall.push(start.elapsed());
            assert!(status.success(), "{}: {status}", contender.name);
            reap(&lasting, Duration::from_secs(5));
            series.cpu.push(cpu() + daemon() - before);
        }
    }
    for pid in children().difference(&own).copied() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
    }
    reap(&own, Duration::from_secs(1));
    series
}

impl Series {
    fn new(contender: &Contender) -> Self {
        let name = contender.name.clone();
        Self {
            name,
            wall: Vec::new(),
            cpu: Vec::new(),
        }
    }
}

/// Ratios are to the series called `ours`; without it there are none.
fn table(ours: Option<&str>, series: &mut [Series]) {
    let heading = ["wall ms", "min", "CPU ms", "ours/wall", "ours/CPU"];
    println!(
        "  {:44}{}",
        "",
        heading.map(|word| format!("{word:>11}")).concat()
    );
    let mut first = None;
    for one in series {
        one.wall.sort();
        one.cpu.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (wall, cpu) = (
            milliseconds(one.wall[one.wall.len() / 2]),
            milliseconds(one.cpu[one.cpu.len() / 2]),
        );
        let (our_wall, our_cpu) = *first.get_or_insert(if ours == Some(one.name.as_str()) {
            (wall, cpu)
        } else {
            (f64::NAN, f64::NAN)
        });
        let least = milliseconds(one.wall[0]);
        let (by_wall, by_cpu) = (our_wall / wall, our_cpu / cpu);
        println!(
            "  {:44}{wall:11.2}{least:11.2}{cpu:11.2}{by_wall:11.2}{by_cpu:11.2}",
            one.name
        );
    }
}

/// One unmeasured round; the reason when it fails.
fn attempt(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = output
        .spawn()
        .map_err(|error| format!("`{program}`: {error}"))?;
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: {}",
            output.status,
            said.lines().last().unwrap_or_default()
        )),
    }
}

fn silence(command: &mut Command) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
}

/// User and system time of all children waited for, and of those they waited for.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    Duration::from_micros(time.num_microseconds().unsigned_abs())
}

fn children() -> BTreeSet<i32> {
    let this = rustix::thread::gettid().as_raw_nonzero();
    let text =
        std::fs::read_to_string(format!("/proc/self/task/{this}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Waits for every child but the lasting ones, no longer than `patience`.
fn reap(lasting: &BTreeSet<i32>, patience: Duration) {
    let start = Instant::now();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(_) => return,
            Ok(WaitStatus::StillAlive) => {
                if children().is_subset(lasting) || start.elapsed() > patience {
                    return;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(_) => {}
        }
    }
}

/// `default` unless `ONGGI_BENCH_ROUNDS` says otherwise.
pub fn rounds(default: usize) -> usize {
    let asked = std::env::var("ONGGI_BENCH_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Whether one of some parts is to be measured: all are unless the command line names some of them.
pub fn asked(part: &str, parts: &[&str]) -> bool {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |part: &str| named.iter().any(|name| name == part);
    is_named(part) || !parts.iter().any(|part| is_named(part))
}
