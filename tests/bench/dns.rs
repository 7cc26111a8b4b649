//! How long a container's question takes, each 1,000 times a second and as fast as it goes: a neighbour's name and one that
//! is passed on, of a container of each user; a neighbour's name among 10 and 100 others, of a resolver alone.
//!
//! `cargo bench --bench dns [-- containers|resolver] [root|subuid|single]`. As root; everything is in network namespaces of
//! its own.
#![allow(clippy::disallowed_methods, reason = "every address is a number")]
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "host.rs"]
mod host;
#[path = "measure.rs"]
mod measure;
#[path = "../network/resolver.rs"]
mod resolver;
#[path = "../support/mod.rs"]
mod support;

use measure::asked;
use onggi::network::dns::{Config, Directory, Sockets, Zone};
use onggi::network::endpoint::{Reserved, Wanted, reserve};
use onggi::network::store;
use onggi::paths::Paths;
use onggi::sys::namespace::inside_network;
use resolver::{RESOLVER, Upstream, World, query};
use simple_dns::TYPE;
use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{ALPINE, OwnMounts, Store};

const PARTS: [&str; 2] = ["containers", "resolver"];
const ROUNDS: usize = 5000;

fn main() {
    if !host::enter() {
        return;
    }
    if asked("containers", &PARTS) {
        head();
        host::users().for_each(containers);
    }
    if asked("resolver", &PARTS) {
        opening();
        head();
        alone();
    }
}

fn head() {
    println!(
        "{:44} {:>10} {:>10} {:>12}",
        "", "median", "99 %", "as fast as"
    );
}

/// Two containers of a user, and a resolver of the host that knows the rest of the world.
fn containers(mut store: Store) {
    let settings = store.file("resolv.conf", "nameserver 127.0.0.53\n");
    let _mounts = OwnMounts::prepared(
        &mut store,
        "mount --bind \"$1\" /etc/resolv.conf",
        &[settings],
    );
    let here = OwnedFd::from(File::open("/proc/self/ns/net").unwrap());
    let _upstream = Upstream::giving(&Arc::new(here), "127.0.0.53", &["192.0.2.1"]);
    let onggi = |words: &[&str]| {
        store.onggi(words).run().code(0);
    };
    onggi(&["network", "create", "net"]);
    for name in ["asks", "neighbour"] {
        let words = ["run", "-d", "--name", name, "--network", "net"];
        onggi(&[&words[..], &[ALPINE, "sleep", "3600"]].concat());
    }
    let pid = store.field("asks", "{{.State.Pid}}");
    let inside = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    for (what, name) in [("a name", "neighbour"), ("another name", "www.example.org")] {
        let question = query(name, TYPE::A.into());
        let title = format!("{what}, a container of {:?}", store.user);
        inside_network(inside.as_fd(), || measure(&title, &question)).unwrap();
    }
    onggi(&["rm", "-f", "asks", "neighbour"]);
}

/// A resolver in this process.
fn alone() {
    for neighbours in [10, 100] {
        let root = tempfile::tempdir().expect("make a directory");
        let paths = Paths::new(root.path().join("data"), root.path().join("run"));
        let network = store::find(&paths, "bridge").expect("find the bridge");
        let held: Vec<Reserved> = (0..neighbours)
            .map(|number| {
                let wanted = Wanted {
                    container: format!("{number:064x}"),
                    name: format!("c{number}"),
                    aliases: vec!["all".to_owned()],
                    ..Wanted::default()
                };
                reserve(&paths, &network, &wanted).expect("reserve an endpoint")
            })
            .collect();
        let config = Config {
            networks: vec![Zone {
                id: network.id.clone(),
                name: "net".to_owned(),
            }],
            forwards: true,
            ..Config::default()
        };
        let store = paths.clone();
        let world = World::new(config, move || Directory::new(store), |_| {});
        let _upstream = Upstream::giving(&world.host, "127.0.0.53", &["192.0.2.1"]);
        for (what, name) in [
            ("a name", "c7"),
            ("an alias of all", "all"),
            ("another name", "www.example.org"),
        ] {
            let question = query(name, TYPE::A.into());
            let title = format!("{what}, {} neighbours", held.len());
            world.inside(|| measure(&title, &question));
        }
    }
}

/// What a container's start pays for its resolver.
fn opening() {
    type Open = fn() -> anyhow::Result<Sockets>;
    for (title, open) in [
        ("sockets on port 53", Sockets::open as Open),
        ("sockets beside a server", Sockets::open_beside_a_server),
    ] {
        let mut times: Vec<Duration> = (0..50)
            .map(|_| {
                let namespace = resolver::namespace();
                let opened = || {
                    let start = Instant::now();
                    open().expect("open the sockets");
                    start.elapsed()
                };
                inside_network(namespace.as_fd(), opened).expect("join the namespace")
            })
            .collect();
        times.sort();
        let median = times[times.len() / 2].as_nanos() as f64 / 1000.0;
        println!("{title:44} {median:>7.1} µs");
    }
}

fn measure(title: &str, question: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(RESOLVER).expect("connect");
    let mut buffer = [0; 4096];
    let mut ask = || {
        let start = Instant::now();
        socket.send(question).expect("ask");
        socket.recv(&mut buffer).expect("an answer");
        start.elapsed()
    };
    let mut times = Vec::with_capacity(ROUNDS);
    let begin = Instant::now();
    for round in 0..ROUNDS as u64 {
        let due = begin + Duration::from_millis(round);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        times.push(ask());
    }
    times.sort();
    let begin = Instant::now();
    (0..ROUNDS).for_each(|_| {
        ask();
    });
    let rate = ROUNDS as f64 / begin.elapsed().as_secs_f64();
    let micro = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let (median, high) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
    println!(
        "{title:44} {:>7.1} µs {:>7.1} µs {rate:>10.0}/s",
        micro(median),
        micro(high)
    );
}
