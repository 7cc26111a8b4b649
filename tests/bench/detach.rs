//! How long it takes to start a hundred containers that stay, one after the other, beside crun on a ready bundle.
//!
//! `cargo bench --bench detach [-- root|subuid|single…]`. As root on a host whose `/sys/fs/cgroup` is not cgroup2, all
//! of it runs in a mount namespace where it is, without which crun does not start. Ours keep a log, a record and a
//! writable layer each, which crun's do not. `ONGGI_BENCH_ROUNDS` says how often, `ONGGI_BENCH_COUNT` how many.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures and says what it leaves out"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the floor is a program of its own"
)]

#[path = "measure.rs"]
mod measure;
#[path = "../support/mod.rs"]
mod support;

#[path = "start/bundle.rs"]
mod bundle;
#[path = "start/floor.rs"]
mod floor;
#[path = "start/peers.rs"]
mod peers;
#[path = "start/pure.rs"]
mod pure;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{ALPINE, Store, User, store};

/// Starts the containers of a round by `start` and ends them by `end`, each by its number.
struct Runtime<'a> {
    name: &'static str,
    start: Box<dyn Fn(usize) -> Command + 'a>,
    end: Box<dyn Fn(usize) -> Command + 'a>,
    times: Vec<Duration>,
}

fn main() {
    pure::enter_cgroup2();
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    for (name, user) in [
        ("root", User::Root),
        ("subuid", User::Subuid),
        ("single", User::Single),
    ] {
        if (asked.is_empty() || asked.iter().any(|word| word == name))
            && let Some(store) = store(user)
            && store.alpine()
        {
            race(user, &store);
        }
    }
}

fn race(user: User, store: &Store) {
    let count = std::env::var("ONGGI_BENCH_COUNT").ok();
    let count = count.and_then(|count| count.parse().ok()).unwrap_or(100);
    let rounds = measure::rounds(5);
    let mut runtimes = runtimes(user, store);
    runtimes.retain(|runtime| {
        let works = run(&mut (runtime.start)(0)) && run(&mut (runtime.end)(0));
        if !works {
            eprintln!("left out: {}", runtime.name);
        }
        works
    });
    for _ in 0..rounds {
        for runtime in &mut runtimes {
            let begun = Instant::now();
            for number in 0..count {
                assert!(run(&mut (runtime.start)(number)), "{}", runtime.name);
            }
            runtime.times.push(begun.elapsed());
            for number in 0..count {
                run(&mut (runtime.end)(number));
            }
        }
    }
    println!(
        "\n{count} containers that stay, one after the other, as {user:?}, {rounds} rounds, interleaved"
    );
    println!("  {:32}{:>12}{:>12}", "", "median ms", "ours/this");
    let mut ours = None;
    for runtime in &mut runtimes {
        runtime.times.sort();
        let median = runtime.times[rounds / 2].as_secs_f64() * 1e3;
        let ratio = *ours.get_or_insert(median) / median;
        println!("  {:32}{median:12.1}{ratio:12.2}", runtime.name);
    }
}

fn run(command: &mut Command) -> bool {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn runtimes(user: User, store: &Store) -> Vec<Runtime<'_>> {
    let mut runtimes = vec![Runtime {
        name: "onggi run -d",
        start: Box::new(|number| {
            let name = format!("bench{number}");
            let words = ["run", "-d", "--name", &name, ALPINE, "sleep", "100000"];
            store.onggi(words).into_command()
        }),
        end: Box::new(|number| {
            let name = format!("bench{number}");
            store.onggi(["rm", "-f", &name]).into_command()
        }),
        times: Vec::new(),
    }];
    let bundle = peers::sleeping_bundle(store);
    if user == User::Root {
        runtimes.push(crun(
            "crun run -d",
            "--cgroup-manager=cgroupfs",
            store,
            &bundle,
        ));
    }
    let without = "--cgroup-manager=disabled";
    runtimes.push(crun("crun run -d, no cgroup", without, store, &bundle));
    runtimes
}

fn crun<'a>(
    name: &'static str,
    manager: &'static str,
    store: &'a Store,
    bundle: &Path,
) -> Runtime<'a> {
    let bundle = bundle.to_owned();
    let command = move |words: &[&str]| {
        let mut command = store.command("crun");
        command
            .arg("--root")
            .arg(store.path().join("runtime/crun"))
            .arg(manager);
        command.args(words);
        command
    };
    Runtime {
        name,
        start: Box::new(move |number| {
            let mut start = command(&["run", "--detach", "--bundle"]);
            start.arg(&bundle).arg(format!("bench{number}"));
            start
        }),
        end: Box::new(move |number| command(&["delete", "--force", &format!("bench{number}")])),
        times: Vec::new(),
    }
}
