//! `ps -a` over 1,000 containers, 900 of them ended and 100 running, beside podman's over as many.
//!
//! `cargo bench --bench ps [-- podman]`. Making podman's thousand takes minutes, so that it is asked for by its name.
//! The aim is 15 ms; on the machine where that was set, docker took 75 ms and podman 165 ms. On a machine with a load of
//! 13, `ps -a` took 19.8 ms of CPU time, and opening and reading the 1,900 files alone, in C, 7.2 ms of it.

#[path = "measure.rs"]
mod measure;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, race, rounds};
use std::process::{Command, Stdio};
use support::{ALPINE, Store, User, requires, store};

const ENDED: usize = 900;
const RUNNING: usize = 100;

fn main() {
    let with_podman = std::env::args().any(|word| word == "podman");
    for user in [User::Root, User::Subuid, User::Single] {
        if let Some(store) = store(user)
            && store.alpine()
        {
            compare(&store, with_podman && user == User::Root);
        }
    }
}

fn compare(store: &Store, with_podman: bool) {
    fill(|words| store.onggi(words).into_command());
    let podman =
        (with_podman && requires(&[support::Need::Program("podman")])).then(|| Podman::new(store));
    let ours = |words: &'static [&'static str]| {
        let name = format!("onggi {}", words.join(" "));
        Contender::new(name, move || store.onggi(words).into_command())
    };
    let mut contenders = vec![
        ours(&["ps", "-a"]),
        ours(&["ps"]),
        ours(&["ps", "-aq"]),
        ours(&["ps", "-a", "--format", "json"]),
    ];
    if let Some(podman) = &podman {
        contenders.push(Contender::new("podman ps -a", || {
            podman.command(&["ps", "-a"])
        }));
    }
    let title = format!(
        "{ENDED} ended and {RUNNING} running containers as {:?}",
        store.user
    );
    race(&title, rounds(31), contenders);
}

fn fill(command: impl Fn(&[&str]) -> Command) {
    for number in 0..ENDED + RUNNING {
        let name = format!("c{number}");
        let words = match number < ENDED {
            true => vec!["run", "--network", "none", "--name", &name, ALPINE, "true"],
            false => vec![
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                &name,
                ALPINE,
                "sleep",
                "10000",
            ],
        };
        let mut command = command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{words:?}");
    }
}

/// podman with a store of its own, which is emptied at the end: it leaves mounts otherwise.
struct Podman<'a>(&'a Store);

impl<'a> Podman<'a> {
    fn new(store: &'a Store) -> Self {
        let podman = Self(store);
        let file = "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz";
        let file = support::images().join(file);
        let mut import = podman.command(&["import", "-q"]);
        assert!(import.arg(file).arg(ALPINE).status().unwrap().success());
        fill(|words| podman.command(words));
        podman
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.0.command("podman");
        command.arg("--root").arg(self.0.path().join("podman"));
        command
            .arg("--runroot")
            .arg(self.0.path().join("podman-run"));
        command.args(words);
        command
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self
            .command(&["rm", "-fa", "-t", "0"])
            .stdout(Stdio::null())
            .status();
    }
}
