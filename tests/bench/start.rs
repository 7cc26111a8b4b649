//! How long a container takes, beside its peers and beside the kernel calls alone.
//!
//! `cargo bench --bench start [-- version|root|subuid|single…]`. As root on a host whose `/sys/fs/cgroup` is
//! not cgroup2, all of it runs in a mount namespace where it is, without which most peers do not start. No
//! contender asks for resource limits.
#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]
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

use measure::{Contender, race, rounds};
use std::process::Command;
use support::store::program;
use support::{ALPINE, User, store};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "floor") {
        std::process::exit(floor::main(&arguments[1..]).into());
    }
    pure::enter_cgroup2();
    let asked: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|word| *word == name);
    if wanted("version") {
        version();
    }
    for (name, user) in [
        ("root", User::Root),
        ("subuid", User::Subuid),
        ("single", User::Single),
    ] {
        if wanted(name) {
            start(user);
        }
    }
}

fn version() {
    let command = |program: &str| {
        let program = program.to_owned();
        Contender::new(format!("{program} --version"), move || {
            let mut command = Command::new(&program);
            command.arg("--version");
            command
        })
    };
    let mut contenders = vec![Contender::new("onggi --version", || {
        let mut command = Command::new(program());
        command.arg("--version");
        command
    })];
    contenders.extend(["crun", "runc", "bwrap", "podman"].map(command));
    contenders.push(Contender::new("busybox true", || {
        let mut command = Command::new("busybox");
        command.arg("true");
        command
    }));
    race("process start", rounds(101), contenders);
}

fn start(user: User) {
    let Some(store) = store(user) else { return };
    if !store.alpine() {
        return;
    }
    let mut contenders = vec![Contender::new("onggi run --rm --network none", || {
        let run = ["run", "--rm", "--network", "none", ALPINE, "/bin/true"];
        store.onggi(run).into_command()
    })];
    contenders.extend(peers::all(&store));
    race(
        &format!("/bin/true of {ALPINE} as {user:?} ({})", store.account.name),
        rounds(31),
        contenders,
    );
}
