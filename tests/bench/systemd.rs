//! How long a start through systemd takes, beside crun's and runc's: the scope alone, and the whole of a `run`.
//!
//! `cargo bench --bench systemd [-- scope|run…]`, as root or as a user with a service manager of the own, on a host
//! with control groups of version 2. A build host has them in the virtual machine:
//!
//! ```text
//! tests/vm/testvm session --share DIR:onggi FILE
//! ```
//!
//! where DIR has the program, this bench (`cargo bench --no-run --bench systemd` tells its place) and the root file
//! system of Alpine as `alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz`, and FILE for example
//!
//! ```text
//! root ONGGI_BIN=/mnt/onggi/onggi ONGGI_TEST_IMAGES=/mnt/onggi /mnt/onggi/systemd-bench
//! dev ONGGI_BIN=/mnt/onggi/onggi ONGGI_TEST_IMAGES=/mnt/onggi /mnt/onggi/systemd-bench
//! ```
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "the bench runs a part of itself as a program of its own"
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

use measure::{Contender, race, rounds};
use onggi::cgroup::systemd::{Manager, Scope};
use std::process::Command;
use std::time::Duration;
use support::{ALPINE, Store, User};

/// The factor to reach for a whole start.
const MOST: f64 = 1.3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "in-scope") {
        in_scope();
        return;
    }
    let asked = || arguments.iter().filter(|word| !word.starts_with("--"));
    let wanted = |name: &str| asked().next().is_none() || asked().any(|word| word == name);
    if wanted("scope") {
        scopes();
    }
    if wanted("run") {
        for user in [User::Root, User::Subuid, User::Single] {
            if user.account().is_ok_and(|account| account.uid == own())
                && let Some(store) = support::store(user)
                && store.alpine()
            {
                starts(&store);
            }
        }
    }
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Puts this process into a scope and ends.
fn in_scope() {
    let pid = std::process::id();
    let user = Some(own()).filter(|uid| *uid != 0);
    let mut manager = Manager::connect(user).unwrap().expect("systemd");
    let name = format!("onggi-bench-{pid}.scope");
    let scope = Scope {
        name: &name,
        description: "a bench of onggi",
        slice: None,
        patience: Some(Duration::from_secs(1)),
        properties: &[],
    };
    manager.start_scope(&scope, &[pid]).unwrap();
}

/// A process that does nothing but be in a scope.
fn scopes() {
    let this = std::env::current_exe().unwrap();
    let ours = |word: &'static str| {
        let this = this.clone();
        Contender::new(format!("a process of ours, {word}"), move || {
            let mut command = Command::new(&this);
            command.arg(word);
            command
        })
    };
    let systemd_run = Contender::new("systemd-run --scope", || {
        let mut command = Command::new("systemd-run");
        let user: &[&str] = if own() == 0 { &[] } else { &["--user"] };
        command
            .args(user)
            .args(["--quiet", "--collect", "--scope", "true"]);
        command
    });
    // A word that asks for nothing: what the process alone costs.
    let contenders = vec![ours("in-scope"), ours("nothing"), systemd_run];
    race("a scope", rounds(21), contenders);
}

fn starts(store: &Store) {
    let mut contenders = vec![
        Contender::new("onggi run --rm --network none", || {
            let run = ["run", "--rm", "--network", "none", ALPINE, "/bin/true"];
            store.onggi(run).into_command()
        }),
        Contender::new("onggi run --rm --network none --cgroups=disabled", || {
            let run = ["run", "--rm", "--network", "none", "--cgroups=disabled"];
            let run = run.iter().chain(&[ALPINE, "/bin/true"]);
            store.onggi(run).into_command()
        }),
    ];
    contenders.extend(peers::through_systemd(store));
    race(
        &format!("/bin/true of {ALPINE} as {}", store.account.name),
        rounds(21),
        contenders,
    );
    println!("  at most {MOST} of `crun --systemd-cgroup run` is the figure to reach");
}
