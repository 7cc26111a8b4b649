//! What the walls cost: compiling and loading the default policy, and each wall's part of a start.
//!
//! `cargo bench --bench security`. A start is measured with all walls and without each of them in turn; the
//! difference is taken round by round, so that whatever else the machine does hits both. Capabilities cannot be left
//! out of a start: they are two system calls.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]

#[path = "measure.rs"]
mod measure;
#[path = "start/pure.rs"]
mod pure;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, differences, rounds};
use onggi::runtime::capabilities::CapabilitySet;
use onggi::runtime::seccomp::{Circumstances, Filter, Identity, KernelVersion, default_filter};
use std::time::{Duration, Instant};
use support::{ALPINE, everyone_with_alpine};

/// The figures to reach, in milliseconds.
const FILTER_MOST: f64 = 0.3;
const WALLS_MOST: f64 = 0.5;

fn main() {
    pure::enter_cgroup2();
    default_policy();
    for store in everyone_with_alpine() {
        let start = |name: &str, options: &'static [&'static str]| {
            let store = &store;
            Contender::new(name, move || {
                let run = ["run", "--rm", "--network", "none"];
                let words = run.iter().chain(options).chain(&[ALPINE, "/bin/true"]);
                store.onggi(words).into_command()
            })
        };
        const UNFILTERED: &str = "--security-opt=seccomp=unconfined";
        const UNMASKED: &str = "--security-opt=systempaths=unconfined";
        let title = format!("a start as {:?}", store.user);
        let contenders = vec![
            start("all walls", &[]),
            start("all walls, again", &[]),
            start("no seccomp", &[UNFILTERED]),
            start("no masked and read-only paths", &[UNMASKED]),
            start("neither", &[UNFILTERED, UNMASKED]),
        ];
        differences(&title, rounds(151), contenders);
    }
    println!("  at most {WALLS_MOST} ms between all walls and neither is the figure to reach");
}

fn default_policy() {
    let compile = || -> Filter {
        let circumstances = Circumstances {
            capabilities: CapabilitySet::DOCKER_DEFAULT,
            kernel: KernelVersion::running(),
        };
        default_filter(circumstances, Identity::Mapped)
    };
    let (mut compiling, mut loading) = (Vec::new(), Vec::new());
    for _ in 0..rounds(301) {
        let begun = Instant::now();
        let filter = compile();
        compiling.push(begun.elapsed());
        // A filter belongs to the thread that loads it.
        let thread = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let begun = Instant::now();
            filter.load().unwrap();
            begun.elapsed()
        });
        loading.push(thread.join().unwrap());
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let (compiling, loading) = (median(&mut compiling), median(&mut loading));
    println!(
        "\nthe default policy, {} instructions",
        compile().program().len()
    );
    println!(
        "  compile {compiling:.3} ms, load {loading:.3} ms; at most {FILTER_MOST} ms together"
    );
}
