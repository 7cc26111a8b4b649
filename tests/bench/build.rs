//! `cargo bench --bench build [cold|cached|changed|context|stages|memory]`: builds beside `buildah bud`, interleaved. Needs
//! root, Alpine in the directory of real images, and for the peer `buildah`, which is left out where it does not run.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "measure.rs"]
mod measure;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, asked, race, rounds};
use std::cell::Cell;
use std::process::{Command, Stdio};
use support::life::peak_memory_of;
use support::{ALPINE, Store, User, store};

const PARTS: [&str; 6] = ["cold", "cached", "changed", "context", "stages", "memory"];
/// Files of the large context, and how many of them lie in a directory.
const FILES: (usize, usize) = (20_000, 100);
const STEPS: &str = "RUN echo one > /one\nRUN echo two > /two\nCOPY source /source\nRUN cat /source/* > /all\nCOPY last /last\n";

fn main() {
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    store.file("five/Dockerfile", format!("FROM {ALPINE}\n{STEPS}"));
    for name in ["source/a", "source/b", "last"] {
        store.file(&format!("five/{name}"), name);
    }
    store.ok(["save", "-o", "alpine.tar", ALPINE]);
    let peer = Peer::new(&store);
    let ours = |options: &'static [&'static str], context: &'static str| {
        let words = ["build", "-q"];
        store
            .onggi(words)
            .args(options)
            .args([context])
            .into_command()
    };
    let part = |name: &str| asked(name, &PARTS);
    if part("cold") {
        race(
            "five steps, nothing cached",
            rounds(10),
            vec![
                Contender::new("onggi build --no-cache", || ours(&["--no-cache"], "five")),
                Contender::new("buildah bud", || peer.bud(&store, "--no-cache")),
            ],
        );
    }
    if part("cached") {
        race(
            "five steps, all cached",
            rounds(20),
            vec![
                Contender::new("onggi build", || ours(&[], "five")),
                Contender::new("buildah bud --layers", || peer.bud(&store, "--layers")),
            ],
        );
    }
    if part("changed") {
        let number = Cell::new(0);
        let change = || {
            number.set(number.get() + 1);
            store.file("five/last", format!("{}", number.get()));
        };
        race(
            "one changed file in the last COPY",
            rounds(10),
            vec![
                Contender::new("onggi build", || {
                    change();
                    ours(&[], "five")
                }),
                Contender::new("buildah bud --layers", || {
                    change();
                    peer.bud(&store, "--layers")
                }),
            ],
        );
    }
    if part("context") {
        context(&store);
    }
    if part("stages") {
        stages(&store);
    }
    if part("memory") {
        large(&store);
        for context in ["five", "large"] {
            let build = store.onggi(["build", "-q", "--no-cache", context]);
            let most = peak_memory_of(build.into_command());
            println!("\nmost memory, context `{context}`: {} KiB", most / 1024);
        }
    }
}

/// buildah, which wants a cgroup file system of version 2, with a store of its own.
struct Peer;

impl Peer {
    fn new(store: &Store) -> Self {
        let pull = Self::command(store, "pull docker-archive:alpine.tar").output();
        if let Err(error) = pull {
            println!("buildah: {error}");
        }
        Self
    }

    fn command(store: &Store, words: &str) -> Command {
        let home = store.home();
        let mut command = store.command("unshare");
        command.args(["-m", "sh", "-ec"]).arg(format!(
            "mount -t cgroup2 none /sys/fs/cgroup; exec buildah --root {0}/b --runroot {0}/br --storage-driver overlay {words}",
            home.display()
        ));
        command
    }

    fn bud(&self, store: &Store, option: &str) -> Command {
        Self::command(
            store,
            &format!("bud --isolation chroot --network host {option} -q five"),
        )
    }
}

/// 20,000 files of 4 KiB, of which a build needs one: all are looked at, since a copy of all is not what is measured.
fn large(store: &Store) {
    if store.home().join("large").exists() {
        return;
    }
    store.file("large/Dockerfile", format!("FROM {ALPINE}\nCOPY . /all\n"));
    for number in 0..FILES.0 {
        let content = format!("{number}\n").repeat(4096 / 6);
        let path = store
            .home()
            .join(format!("large/{}/{number}", number / FILES.1));
        if number % FILES.1 == 0 {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
        }
        std::fs::write(path, content).unwrap();
    }
}

fn context(store: &Store) {
    large(store);
    store.ok(["build", "-q", "large"]);
    let build = || store.onggi(["build", "-q", "large"]).into_command();
    let digests = store.data().join("build/digests");
    race(
        "COPY of 20,000 files that has been done before",
        rounds(5),
        vec![
            Contender::new("onggi build, contents known", build),
            Contender::new("onggi build, contents read", || {
                let _ = std::fs::remove_dir_all(&digests);
                build()
            }),
            Contender::new("tar c | sha256sum", || {
                let mut tar = store.command("sh");
                tar.args(["-c", "tar --sort=name -c large | sha256sum"]);
                tar
            }),
        ],
    );
}

/// Stages that compress something, for which a processor is busy for a while.
fn stages(store: &Store) {
    let mut text = String::new();
    let mut last = format!("FROM {ALPINE}\n");
    for number in 0..4 {
        text += &format!(
            "FROM {ALPINE} AS s{number}\nRUN head -c 30000000 /dev/urandom | gzip -9 | wc -c > /{number}\n"
        );
        last += &format!("COPY --from=s{number} /{number} /\n");
    }
    store.file("stages/Dockerfile", text + &last);
    let build = |jobs: &'static str| {
        let words = ["build", "-q", "--no-cache", "--jobs", jobs, "stages"];
        store.onggi(words).into_command()
    };
    race(
        "four stages",
        rounds(5),
        vec![
            Contender::new("onggi build --jobs 2", || build("2")),
            Contender::new("onggi build --jobs 1", || build("1")),
        ],
    );
}
