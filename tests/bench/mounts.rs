//! What mounts add to a start: 50 directories that are bound, beside none and beside other runtimes; and the owners of a
//! large image, which `--userns keep-id` shows as others.
//!
//! `cargo bench --bench mounts [-- root|subuid|single…]`. The table says how much longer the first line takes than each
//! of the others, within one round.
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

use measure::{Contender, differences, rounds};
use std::path::Path;
use std::process::Command;
use support::{ALPINE, Store, User, store};

const MOUNTS: usize = 50;
/// The reference of the large image.
const LARGE: &str = "large:1";

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
            && let Some(store) = store(user).filter(Store::alpine)
        {
            bind(&store);
            if user != User::Single {
                keep_ids(&store);
            }
        }
    }
}

fn contender<'a>(
    store: &'a Store,
    name: String,
    options: &[String],
    image: &'a str,
) -> Contender<'a> {
    let options = options.to_vec();
    Contender::new(name, move || {
        let words = ["run", "--rm", "--network", "none"].map(str::to_owned);
        let program = [image, "/bin/true"].map(str::to_owned);
        let call = words.iter().chain(&options).chain(&program);
        store.onggi(call).into_command()
    })
}

fn bind(store: &Store) {
    let source = store.home().join("source");
    std::fs::create_dir(&source).unwrap();
    let (uid, gid) = (store.account.uid, store.account.gid);
    std::os::unix::fs::chown(&source, Some(uid), Some(gid)).unwrap();
    let volumes: Vec<String> = (0..MOUNTS)
        .flat_map(|number| {
            [
                "-v".to_owned(),
                format!("{}:/mounted/{number}", source.display()),
            ]
        })
        .collect();
    let own = store.own_user_namespace().map(str::to_owned);
    let in_own: Vec<String> = own.iter().chain(&volumes).cloned().collect();
    let contenders = vec![
        contender(
            store,
            format!("onggi run, {MOUNTS} mounts"),
            &volumes,
            ALPINE,
        ),
        contender(store, "onggi run".to_owned(), &[], ALPINE),
    ];
    let title = format!("{MOUNTS} directories bound, {:?}", store.user);
    differences(&title, rounds(41), contenders);
    let contenders = vec![
        contender(
            store,
            format!("onggi run {}, {MOUNTS} mounts", own.join(" ")),
            &in_own,
            ALPINE,
        ),
        contender(store, format!("onggi run {}", own.join(" ")), &own, ALPINE),
    ];
    differences(&title, rounds(41), contenders);
    let mut peers = peers::with_binds(store, &source, MOUNTS);
    let last = peers.split_off(2);
    for pair in [peers, last] {
        differences(&title, rounds(21), pair);
    }
}

/// The second start and later ones: what the first one has to prepare, it has prepared.
fn keep_ids(store: &Store) {
    let archive = store.home().join("large.tar");
    make_image(store, &archive);
    store
        .onggi(["import", archive.to_str().unwrap(), LARGE])
        .run()
        .code(0);
    let own = store.own_user_namespace().map(str::to_owned);
    for image in [LARGE, ALPINE] {
        let contenders = vec![
            contender(store, format!("onggi run {}", own.join(" ")), &own, image),
            contender(store, "onggi run".to_owned(), &[], image),
        ];
        let title = format!("owners of {image} that are mapped, {:?}", store.user);
        differences(&title, rounds(41), contenders);
    }
}

/// Alpine with 20,000 files more, of 50 kilobytes each.
fn make_image(store: &Store, archive: &Path) {
    let tree = store.home().join("large");
    let script = "set -e; mkdir \"$1\"; cd \"$1\"; tar -xzf \"$2\"; for d in $(seq 200); do mkdir data-$d; \
                  for f in $(seq 100); do head -c 50000 /dev/zero >data-$d/$f; done; done; tar -cf \"$3\" .; rm -rf \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]);
    command.arg(&tree).arg(peers::alpine()).arg(archive);
    assert!(command.status().unwrap().success());
}
