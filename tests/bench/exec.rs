//! How long `exec /bin/true` takes in a container that runs, beside its peers.
//!
//! `cargo bench --bench exec [-- root|subuid|single…]`. As root on a host whose `/sys/fs/cgroup` is not cgroup2, all
//! of it runs in a mount namespace where it is, without which crun does not start. The peers' containers have the
//! same namespaces, capabilities and system calls as ours, and no limits.
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
use std::process::{Command, Stdio};
use support::{ALPINE, Store, User, store};

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
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            exec(user);
        }
    }
}

fn exec(user: User) {
    let Some(store) = store(user) else { return };
    if !store.alpine() {
        return;
    }
    let name = ["run", "-d", "--name", "bench", ALPINE, "sleep", "100000"];
    store.onggi(name).run().code(0);
    let found = store
        .onggi(["inspect", "-f", "{{.State.Pid}}", "bench"])
        .run();
    let pid = found.stdout_text().trim().to_owned();
    let managers: &[&str] = match user {
        User::Root => &["--cgroup-manager=cgroupfs", "--cgroup-manager=disabled"],
        _ => &["--cgroup-manager=disabled"],
    };
    let bundle = peers::sleeping_bundle(&store);
    let mut running = Vec::new();
    for options in managers.iter().map(|manager| Some(*manager)) {
        running.push(Peer::start(&store, &bundle, "crun", options));
    }
    running.push(Peer::start(&store, &bundle, "runc", None));
    let mut contenders = vec![
        Contender::new("onggi exec", || {
            store.onggi(["exec", "bench", "/bin/true"]).into_command()
        }),
        Contender::new("nsenter --all, no capabilities or filter", || {
            let mut command = store.command("nsenter");
            let user: &[&str] = if user == User::Root {
                &[]
            } else {
                &["--user", "--preserve-credentials"]
            };
            command.args([
                "--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid",
            ]);
            command.args(user).arg("/bin/true");
            command
        }),
    ];
    contenders.extend(running.iter().flatten().map(Peer::contender));
    let title = format!("exec /bin/true as {user:?} ({})", store.account.name);
    race(&title, rounds(101), contenders);
}

/// A container of another runtime; removed when it is dropped.
struct Peer<'a> {
    store: &'a Store,
    name: &'a str,
    option: Option<&'a str>,
    state: std::path::PathBuf,
}

impl<'a> Peer<'a> {
    fn start(
        store: &'a Store,
        bundle: &std::path::Path,
        name: &'a str,
        option: Option<&'a str>,
    ) -> Option<Self> {
        let directory = format!("runtime/{name}{}", option.unwrap_or_default());
        let peer = Self {
            store,
            name,
            option,
            state: store.path().join(directory),
        };
        let mut run = peer.command(&["run", "--detach", "--bundle"]);
        run.arg(bundle).arg("bench");
        // What it leaves running holds the streams.
        let status = run.stdin(Stdio::null()).stdout(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Some(peer),
            other => {
                eprintln!("left out: {name} {}: {other:?}", option.unwrap_or_default());
                None
            }
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.store.command(self.name);
        command.arg("--root").arg(&self.state).args(self.option);
        command.args(words);
        command
    }

    fn contender(&self) -> Contender<'_> {
        let option = self.option.unwrap_or_default();
        Contender::new(format!("{} exec {option}", self.name), || {
            self.command(&["exec", "bench", "/bin/true"])
        })
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", "bench"]).status();
    }
}
