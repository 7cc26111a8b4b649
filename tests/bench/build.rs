//! `cargo bench --bench build [-- cold|cached|changed|context|stages|memory… root|subuid|single…]`: builds beside
//! `buildah bud`, and as root beside BuildKit in `dockerd`, interleaved. Needs root and Alpine in the directory of real
//! images. buildah builds as the same user where it can, else as root, which its line says; docker takes part where
//! `dockerd` and a `docker` that knows BuildKit are in `PATH`. What does not run is left out and named.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]

#[path = "registry/dockerd.rs"]
mod dockerd;
#[path = "measure.rs"]
mod measure;
#[path = "start/pure.rs"]
mod pure;
#[path = "../support/mod.rs"]
mod support;

use dockerd::Dockerd;
use measure::{Contender, asked, race, rounds};
use std::cell::Cell;
use std::process::Command;
use support::life::peak_memory_of;
use support::{ALPINE, Store, User, store};

const PARTS: [&str; 6] = ["cold", "cached", "changed", "context", "stages", "memory"];
/// Files of the large context, and how many of them lie in a directory.
const FILES: (usize, usize) = (20_000, 100);
const STEPS: &str = "RUN echo one > /one\nRUN echo two > /two\nCOPY source /source\nRUN cat /source/* > /all\nCOPY last /last\n";

fn main() {
    pure::enter_cgroup2();
    let names = ["root", "subuid", "single"];
    for (name, user) in names.iter().zip([User::Root, User::Subuid, User::Single]) {
        if asked(name, &names)
            && let Some(store) = store(user).filter(Store::alpine)
        {
            println!("\n== {name}");
            measure_as(&store);
        }
    }
}

fn measure_as(store: &Store) {
    store.file("five/Dockerfile", format!("FROM {ALPINE}\n{STEPS}"));
    for name in ["source/a", "source/b", "last"] {
        store.file(&format!("five/{name}"), name);
    }
    store.ok(["save", "-o", "alpine.tar", ALPINE]);
    let part = |name: &str| asked(name, &PARTS);
    if ["cold", "cached", "changed"].into_iter().any(part) {
        let peers = Peers::new(store);
        if part("cold") {
            let title = "five steps, nothing cached";
            let options = [&["--no-cache"][..], &["--no-cache"], &["--no-cache"]];
            peers.race(store, title, rounds(10), options, || ());
        }
        if part("cached") {
            let options = [&[][..], &["--layers"], &[]];
            peers.race(store, "five steps, all cached", rounds(20), options, || ());
        }
        if part("changed") {
            let number = Cell::new(0);
            let title = "one changed file in the last COPY";
            let options = [&[][..], &["--layers"], &[]];
            peers.race(store, title, rounds(10), options, || {
                number.set(number.get() + 1);
                store.file("five/last", format!("{}", number.get()));
            });
        }
    }
    if part("context") {
        context(store);
    }
    if part("stages") {
        stages(store);
    }
    if part("memory") {
        large(store);
        for context in ["five", "large"] {
            let build = store.onggi(["build", "-q", "--no-cache", context]);
            let most = peak_memory_of(build.into_command());
            println!("\nmost memory, context `{context}`: {} KiB", most / 1024);
        }
    }
}

/// Who builds the same.
struct Peers {
    /// Where buildah cannot be this user.
    root: Option<Store>,
    dockerd: Option<(Dockerd, tempfile::TempDir)>,
}

impl Peers {
    fn new(store: &Store) -> Self {
        let mut peers = Self {
            root: None,
            dockerd: None,
        };
        let archive = store.home().join("alpine.tar");
        let pull = |store: &Store| {
            let mut pull = buildah(store, "pull");
            pull.arg(format!("docker-archive:{}", archive.display()));
            tried(pull)
        };
        if let Err(reason) = pull(store) {
            println!("buildah as {:?}: {reason}", store.user);
            if store.user != User::Root {
                peers.root = self::store(User::Root).filter(|root| pull(root).is_ok());
            }
        }
        if store.user == User::Root {
            let place = tempfile::tempdir_in("/var/tmp").unwrap();
            match Dockerd::start(place.path()) {
                Err(reason) => println!("docker: {reason}"),
                Ok(dockerd) => {
                    let load = dockerd.client(["load", "-i", archive.to_str().unwrap()]);
                    if let Err(reason) = tried(load) {
                        println!("docker load: {reason}");
                    }
                    peers.dockerd = Some((dockerd, place));
                }
            }
        }
        peers
    }

    /// Builds of the context `five`, with the options of each.
    fn race(
        &self,
        store: &Store,
        title: &str,
        rounds: usize,
        [ours, buildahs, dockers]: [&[&str]; 3],
        change: impl Fn(),
    ) {
        let change = &change;
        let words = ["onggi build", "buildah bud", "docker build"];
        let [our, their, docker_build] =
            [(0, ours), (1, buildahs), (2, dockers)].map(|(at, options)| {
                let words = [&[words[at]], options].concat();
                words.join(" ")
            });
        let context = store.home().join("five");
        let mut contenders = vec![Contender::new(our, || {
            change();
            let words = ["build", "-q", "five"];
            store.onggi(words).args(ours).into_command()
        })];
        let (builder, name) = match &self.root {
            None => (store, their),
            Some(root) => (root, format!("{their} (as root)")),
        };
        contenders.push(Contender::new(name, || {
            change();
            let mut bud = buildah(builder, "bud");
            bud.args(["--isolation", "chroot", "--network", "host", "-q"])
                .args(buildahs)
                .arg(&context);
            bud
        }));
        if let Some((dockerd, _)) = &self.dockerd {
            let build = || {
                change();
                let mut build = dockerd.client(["build", "--network", "host", "-q"]);
                build
                    .env("DOCKER_BUILDKIT", "1")
                    .args(dockers)
                    .arg(&context);
                build
            };
            contenders.push(Contender::new(docker_build, build).served_by(|| dockerd.cpu()));
        }
        race(title, rounds, contenders);
    }
}

/// buildah with a store of its own.
fn buildah(store: &Store, verb: &str) -> Command {
    let mut buildah = store.command("buildah");
    for (option, name) in [("--root", "b"), ("--runroot", "br")] {
        buildah.arg(option).arg(store.home().join(name));
    }
    buildah.args(["--storage-driver", "overlay", verb]);
    buildah
}

fn tried(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(said.lines().last().unwrap_or_default().to_owned()),
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

/// Four stages beside each other, and the same four steps one after the other: steps that keep one processor busy and
/// leave a small layer, then steps whose layer is all the work.
fn stages(store: &Store) {
    let works = [
        (
            "busy steps",
            "awk 'BEGIN { for (i = 0; i < 3000000; i++) n += i; print n }' >",
        ),
        ("large layers", "head -c 60000000 /dev/urandom >"),
    ];
    for (title, work) in works {
        let (mut beside, mut chained) = (String::new(), format!("FROM {ALPINE}\n"));
        let mut last = format!("FROM {ALPINE}\n");
        for number in 0..4 {
            let run = format!("RUN {work} /{number} && wc -c /{number} > /size{number}\n");
            beside += &format!("FROM {ALPINE} AS s{number}\n{run}");
            chained += &run;
            last += &format!("COPY --from=s{number} /size{number} /\n");
        }
        store.file("beside/Dockerfile", beside + &last);
        store.file("chained/Dockerfile", chained);
        let build = |jobs: &'static str, context: &'static str| {
            let words = ["build", "-q", "--no-cache", "--jobs", jobs, context];
            store.onggi(words).into_command()
        };
        race(
            &format!("four stages, {title}"),
            rounds(5),
            vec![
                Contender::new("four stages, --jobs 2", || build("2", "beside")),
                Contender::new("four stages, --jobs 1", || build("1", "beside")),
                Contender::new("the same steps in one stage", || build("2", "chained")),
            ],
        );
    }
}
