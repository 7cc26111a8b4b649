//! What the network process of an ordinary user costs: throughput both ways, latency, connections a second, memory,
//! wake-ups; beside a bare pair of interfaces on a bridge, passt(1) and slirp4netns(1).
//!
//! `cargo bench --bench forward`, or of it what `ONGGI_BENCH_PARTS` lists: `idle throughput latency connections`.
// Every address here is a number.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[path = "forward/peers.rs"]
mod peers;
#[path = "rate.rs"]
mod rate;
#[path = "../support/mod.rs"]
mod support;

#[path = "../network/scene.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod scene;

use onggi::network::endpoint::Protocol::Tcp;
use rate::{PORT, Way, compare, servers};
use scene::{BENCH, Container, HOST, Place, Scene, WORLD, at, be_the_process, wanted};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What of it is to be measured, where it is not all.
const PARTS: &str = "ONGGI_BENCH_PARTS";
/// How often connections are counted, and how many.
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 2_000;

fn main() {
    if !be_the_process() {
        scene::scene(BENCH, measure);
    }
}

fn measure(scene: &mut Scene) {
    let ports = [
        wanted(None, PORT, PORT, Tcp),
        wanted(None, 7000, 7000, Tcp),
        wanted(None, 7001, 7001, Tcp),
    ];
    let (container, _) = scene.container(1, 2, &ports);
    let (beside, _) = scene.container(1, 3, &[]);
    let wanted = |part: &str| std::env::var(PARTS).map_or(true, |parts| parts.contains(part));
    if wanted("idle") {
        idle(scene);
    }
    if wanted("throughput") {
        throughput(scene, &container, &beside);
    }
    if wanted("latency") {
        latency(scene, &container, &beside);
    }
    if wanted("connections") {
        connections(scene, &container, &beside);
    }
}

fn throughput(scene: &Scene, container: &Container, beside: &Container) {
    let of_pasta = Place::new();
    let of_slirp = Place::new();
    let pasta = peers::pasta(&scene.host, &of_pasta);
    let slirp = peers::slirp4netns(&scene.host, &of_slirp);
    let _servers = servers(&[&container.place, &scene.world, &of_pasta, &of_slirp]);
    let way = |name, from, to, port| Way {
        name,
        from,
        to,
        port,
    };
    let [published, outgoing] = [HOST[0], WORLD[0]];
    let own = container.addresses[0].as_str();
    let mut ways = vec![
        way("pair and bridge", &beside.place, own, PORT),
        way("published", &scene.world, published, PORT),
        way("published, by loopback", &scene.host, "127.0.0.1", PORT),
        way("outgoing", &container.place, outgoing, PORT),
    ];
    if pasta.is_some() {
        ways.push(way(
            "pasta, published",
            &scene.world,
            published,
            peers::PASTA,
        ));
        ways.push(way("pasta, outgoing", &of_pasta, outgoing, PORT));
    }
    if slirp.is_some() {
        ways.push(way(
            "slirp4netns, published",
            &scene.world,
            published,
            peers::SLIRP,
        ));
        ways.push(way("slirp4netns, outgoing", &of_slirp, outgoing, PORT));
    }
    ways.push(way("pair alone", &scene.host, outgoing, PORT));
    compare("throughput", &ways);
}

fn latency(scene: &Scene, container: &Container, beside: &Container) {
    let answer = |mut stream: TcpStream, _| {
        stream.set_nodelay(true).unwrap();
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..length]).unwrap();
        }
    };
    container.place.serve("0.0.0.0:7000", answer);
    let far = scene.world.serve(&at(WORLD[0], 0), answer).to_string();
    let ways = [
        (
            "pair and bridge",
            &beside.place,
            at(&container.addresses[0], 7000),
        ),
        ("published", &scene.world, at(HOST[0], 7000)),
        ("outgoing", &container.place, far.clone()),
        ("pair alone", &scene.host, far),
    ];
    let mut streams = ways.each_ref().map(|(_, place, to)| {
        let stream = place.connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    });
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..20_000 {
        for (stream, times) in streams.iter_mut().zip(&mut times) {
            let start = Instant::now();
            stream.write_all(&[7; 64]).unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    println!("\nlatency of 64 bytes there and back, µs, interleaved");
    println!(
        "  {:34}{:>8}{:>8}{:>8}{:>8}",
        "", "least", "median", "99 %", "more"
    );
    let mut first = None;
    for ((name, ..), times) in ways.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let [least, median, most] = [0, 50, 99].map(|part| times[times.len() * part / 100]);
        let more = median - *first.get_or_insert(median);
        println!("  {name:34}{least:8.1}{median:8.1}{most:8.1}{more:8.1}");
    }
}

fn connections(scene: &Scene, container: &Container, beside: &Container) {
    let serve = |place: &Place, at: &str| {
        let listener = place.run(|| TcpListener::bind(at).unwrap());
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _ = stream.write_all(b"answer");
            }
        });
        address
    };
    serve(&container.place, "0.0.0.0:7001");
    let far = serve(&scene.world, &at(WORLD[0], 0));
    let ways = [
        (
            "pair and bridge",
            &beside.place,
            at(&container.addresses[0], 7001),
        ),
        ("published", &scene.world, at(HOST[0], 7001)),
        ("outgoing", &container.place, far.to_string()),
        ("pair alone", &scene.host, far.to_string()),
    ];
    println!(
        "\nconnections a second, each answered once and closed, median and most of {ROUNDS} rounds, interleaved"
    );
    println!("  {:34}{:>8}{:>8}{:>12}", "", "", "most", "µs of CPU");
    for clients in [1, 4] {
        let mut rates = [const { Vec::new() }; 4];
        let mut spent = [Duration::ZERO; 4];
        for _ in 0..ROUNDS {
            for (at, (_, place, to)) in ways.iter().enumerate() {
                let before = scene_time(scene);
                rates[at].push(connect_often(place, to, clients));
                spent[at] += scene_time(scene) - before;
            }
        }
        for (at, (name, ..)) in ways.iter().enumerate() {
            rates[at].sort_by(f64::total_cmp);
            let (median, most) = (rates[at][ROUNDS / 2], rates[at][ROUNDS - 1]);
            let each = spent[at].as_secs_f64() * 1e6 / (ROUNDS * CONNECTIONS) as f64;
            println!("  {name:34}{median:8.0}{most:8.0}{each:12.1}   {clients} at once");
        }
    }
}

/// CPU time of the network process so far.
fn scene_time(scene: &Scene) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", scene.process.id())).unwrap();
    // Behind the name, which ends with the last parenthesis: fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// How many a second, by that many clients.
fn connect_often(place: &Place, to: &str, clients: usize) -> f64 {
    let to: SocketAddr = to.parse().unwrap();
    let start = Instant::now();
    place.run(|| {
        std::thread::scope(|scope| {
            for _ in 0..clients {
                scope.spawn(move || {
                    // The thread has the network namespace of the one that has started it.
                    for _ in 0..CONNECTIONS / clients {
                        let mut stream = TcpStream::connect(to).unwrap();
                        let mut text = [0; 16];
                        assert_eq!(stream.read(&mut text).unwrap(), 6);
                        assert_eq!(stream.read(&mut text).unwrap(), 0);
                    }
                });
            }
        });
    });
    CONNECTIONS as f64 / start.elapsed().as_secs_f64()
}

fn idle(scene: &Scene) {
    let status =
        || std::fs::read_to_string(format!("/proc/{}/status", scene.process.id())).unwrap();
    let of = |name: &str| {
        let text = status();
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    std::thread::sleep(Duration::from_secs(3));
    let before = of("voluntary_ctxt_switches");
    std::thread::sleep(Duration::from_secs(5));
    println!(
        "\n{:34} {:8.2} MB resident, {} wake-ups in 5 s, {} descriptors",
        "idle",
        of("VmRSS:") as f64 / 1e3,
        of("voluntary_ctxt_switches") - before,
        scene.open_files()
    );
}
