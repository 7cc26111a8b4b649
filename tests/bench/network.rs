//! What a bridge costs: how much longer a container takes to start than with `--network none`, and for root the
//! throughput of a container's interface beside a bare pair of interfaces on a bridge.
//!
//! `cargo bench --bench network [-- start|throughput] [-- root|subuid|single]`. As root: all of it runs in a network
//! namespace of its own.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]

#[path = "host.rs"]
mod host;
#[path = "measure.rs"]
mod measure;
#[path = "start/pure.rs"]
mod pure;
#[path = "rate.rs"]
mod rate;
#[path = "../network/scene.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod scene;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, asked, differences, rounds};
use rate::{PORT, Way, compare, servers};
use scene::Place;
use std::time::Duration;
use support::{ALPINE, Store, User};

const PARTS: [&str; 2] = ["start", "throughput"];
/// A network process that nobody needs any more has ended.
const NOBODY: Duration = Duration::from_millis(2500);

fn main() {
    if !host::enter() {
        return;
    }
    pure::enter_cgroup2();
    for store in host::users() {
        if asked("start", &PARTS) {
            start(&store);
        }
        if asked("throughput", &PARTS) && store.user == User::Root {
            throughput(&store);
        }
    }
}

fn run<'a>(store: &'a Store, name: &str, network: &'a str, before: Duration) -> Contender<'a> {
    Contender::new(name, move || {
        std::thread::sleep(before);
        let run = ["run", "--rm", "--network", network, ALPINE, "/bin/true"];
        store.onggi(run).into_command()
    })
}

fn start(store: &Store) {
    let who = format!("/bin/true of {ALPINE} as {:?}", store.user);
    let none = |before| run(store, "onggi run --rm --network none", "none", before);
    if store.user != User::Root {
        // The last container ends with each round, and the network process some time later.
        let contenders = vec![
            run(store, "onggi run --rm, first container", "bridge", NOBODY),
            none(NOBODY),
        ];
        differences(
            &format!("{who}, no network process"),
            rounds(15),
            contenders,
        );
    }
    let words = [
        "run",
        "-d",
        "--name",
        "stays",
        "--network",
        "bridge",
        ALPINE,
        "sleep",
        "3600",
    ];
    store.onggi(words).run().code(0);
    let contenders = vec![
        run(store, "onggi run --rm", "bridge", Duration::ZERO),
        none(Duration::ZERO),
    ];
    differences(
        &format!("{who}, not the first container"),
        rounds(101),
        contenders,
    );
    store.onggi(["rm", "-f", "stays"]).run().code(0);
}

/// From the host to a container and back, and the same without us.
fn throughput(store: &Store) {
    let words = [
        "run",
        "-d",
        "--name",
        "served",
        "--network",
        "bridge",
        ALPINE,
        "sleep",
        "3600",
    ];
    store.onggi(words).run().code(0);
    let container = Place::of(&store.field("served", "{{.State.Pid}}"));
    let address = store.field("served", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    let [bare_host, bare] = [Place::new(), Place::new()];
    bare_host.ip(&format!(
        "link add bare type bridge
         addr add 10.99.0.1/24 dev bare
         link set bare up
         link add port type veth peer name eth0 netns {}
         link set port master bare up",
        bare.path()
    ));
    bare.ip("addr add 10.99.0.2/24 dev eth0
         link set eth0 up");
    let _servers = servers(&[&container, &bare]);
    let (host, bare_address) = (Place::here(), "10.99.0.2");
    let ways = [
        Way {
            name: "pair and bridge",
            from: &bare_host,
            to: bare_address,
            port: PORT,
        },
        Way {
            name: "container on a bridge",
            from: &host,
            to: &address,
            port: PORT,
        },
    ];
    let _ = compare("host to container", &ways);
    store.onggi(["rm", "-f", "served"]).run().code(0);
}
