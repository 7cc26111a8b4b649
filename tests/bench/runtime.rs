//! `onggi runtime` beside crun and runc on the same bundles, and beside the kernel's calls alone: `run`, and `create`,
//! `start` and `delete` one after the other; with everything, without a network namespace, without a filter, without both. State
//! is kept in memory.
//! Then the most memory that a process of each has used.
//!
//! `cargo bench --bench runtime [-- root|subuid|single…]`, in a mount namespace as `start` does. The shell that starts each is
//! in all of them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench prints its figures, and the floor is a program of its own"
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

use measure::{Contender, race, rounds};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use support::{Store, User, store};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("floor") => return floor::main(&arguments[1..]).into(),
        Some("peak") => return peak(&arguments[1..]),
        _ => {}
    }
    pure::enter_cgroup2();
    let asked: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    for (name, user) in [
        ("root", User::Root),
        ("subuid", User::Subuid),
        ("single", User::Single),
    ] {
        if asked.is_empty() || asked.iter().any(|word| *word == name) {
            measure_as(name, user);
        }
    }
    ExitCode::SUCCESS
}

fn measure_as(name: &str, user: User) {
    let Some(store) = store(user) else { return };
    // As by default: below /run or XDG_RUNTIME_DIR. What a disk has to write besides would be in it.
    let states = tempfile::tempdir_in("/dev/shm").unwrap();
    let account = (Some(store.account.uid), Some(store.account.gid));
    std::os::unix::fs::chown(states.path(), account.0, account.1).unwrap();
    for (what, leave_out) in [
        ("all", &[][..]),
        ("no-network", &["network"]),
        ("no-filter", &["seccomp"]),
        ("neither", &["network", "seccomp"]),
    ] {
        let [run, three] = peers::of_a_bundle(&store, states.path(), what, |config| {
            without(config, leave_out)
        });
        for (title, all) in [("run", run), ("create, start, delete", three)] {
            let title = format!("{title}, {what}, as {name}");
            race(&title, rounds(31), contenders(&store, &all));
            all.iter().for_each(|one| print_peak(&store, one));
        }
    }
}

fn contenders<'a>(store: &'a Store, all: &'a [peers::Words]) -> Vec<Contender<'a>> {
    let one = |(name, words): &'a peers::Words| {
        Contender::new(name, || {
            let mut command = store.command(&words[0]);
            command.args(&words[1..]);
            command
        })
    };
    all.iter().map(one).collect()
}

/// Of the largest process.
fn print_peak(store: &Store, (name, words): &peers::Words) {
    let mut command = store.command(peers::own_copy(store));
    let measured = command
        .arg("peak")
        .args(words)
        .stdin(Stdio::null())
        .output();
    let measured = measured.unwrap();
    match measured.status.success() {
        true => {
            let kilobytes = String::from_utf8(measured.stdout).unwrap();
            println!("  {name:44}{:>8} kB at most in a process", kilobytes.trim());
        }
        false => println!("  left out: {name}"),
    }
}

/// Prints how much memory the largest process of a command has used. Whoever is forked by a process that waits for it has
/// little of that one's memory; who shares it until execve(2), as the standard library's children otherwise do, would be
/// taken for as large (getrusage(2)).
fn peak(words: &[String]) -> ExitCode {
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .uid(nix::unistd::geteuid().as_raw());
    let status = command.status().unwrap();
    while nix::sys::wait::wait().is_ok() {}
    println!(
        "{}",
        getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss()
    );
    match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn without(config: &mut Value, parts: &[&str]) {
    let linux = &mut config["linux"];
    if parts.contains(&"seccomp") {
        linux.as_object_mut().unwrap().remove("seccomp");
    }
    if parts.contains(&"network") {
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
}
