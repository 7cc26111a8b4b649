//! What the network process of an ordinary user costs: throughput both ways, latency, connections a second, memory,
//! wake-ups; beside a bare pair of interfaces on a bridge, passt(1) and slirp4netns(1).
//!
//! `cargo bench --bench forward [-- idle|throughput|latency|connections] [single]`. A user with subordinate ids, or the
//! one with a single id.
// Every address here is a number.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[path = "measure.rs"]
mod measure;
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
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use scene::{BENCH, Container, HOST, Place, Scene, WORLD, at, be_the_process, wanted};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// What of it can be measured.
const PARTS: [&str; 4] = ["idle", "throughput", "latency", "connections"];
/// How often connections are counted, and how many.
const ROUNDS: usize = 5;
const CONNECTIONS: usize = 2_000;
/// How many requests are timed.
const REQUESTS: usize = 20_000;

fn main() {
    if !be_the_process() {
        peers::open_taps();
        scene::scene(BENCH, measure_all);
    }
}

fn measure_all(scene: &mut Scene) {
    let ports = [
        wanted(None, PORT, PORT, Tcp),
        wanted(None, 7000, 7000, Tcp),
        wanted(None, 7001, 7001, Tcp),
        wanted(None, 7002, 7002, Tcp),
    ];
    let (container, _) = scene.container(1, 2, &ports);
    let (beside, _) = scene.container(1, 3, &[]);
    if measure::asked("idle", &PARTS) {
        idle(scene);
    }
    if measure::asked("throughput", &PARTS) {
        throughput(scene, &container, &beside);
    }
    if measure::asked("latency", &PARTS) {
        latency(scene, &container, &beside);
    }
    if measure::asked("connections", &PARTS) {
        connections(scene, &container, &beside);
    }
}

fn throughput(scene: &Scene, container: &Container, beside: &Container) {
    let of_pasta = Place::new();
    let of_slirp = Place::new();
    let pasta = peers::pasta(scene, &of_pasta);
    let slirp = peers::slirp4netns(scene, &of_slirp);
    let _servers = servers(&[&container.place, &scene.world, &of_pasta, &of_slirp]);
    let way = |name, from, to, port| Way {
        name,
        from,
        to,
        port,
    };
    let own = container.addresses[0].as_str();
    let mut ways = vec![
        way("pair and bridge", &beside.place, own, PORT),
        way("pair alone", &scene.host, WORLD[0], PORT),
    ];
    // What everybody does, in this order.
    let three_ways = |[published, looped, outgoing]: [&'static str; 3], place, port| {
        [
            way(published, &scene.world, HOST[0], port),
            way(looped, &scene.host, "127.0.0.1", port),
            way(outgoing, place, WORLD[0], PORT),
        ]
    };
    let names = ["published", "published, by loopback", "outgoing"];
    ways.extend(three_ways(names, &container.place, PORT));
    if pasta.is_some() {
        let names = ["pasta, published", "pasta, by loopback", "pasta, outgoing"];
        ways.extend(three_ways(names, &of_pasta, peers::PASTA));
    }
    if slirp.is_some() {
        let names = [
            "slirp4netns, published",
            "slirp4netns, by loopback",
            "slirp4netns, outgoing",
        ];
        ways.extend(three_ways(names, &of_slirp, peers::SLIRP));
    }
    let rates = compare("throughput", &ways);
    let (ours, theirs) = rates[2..].split_at(3);
    println!("\nhow many times theirs ours is");
    println!("  {:34}{:>8}{:>8}", "", "there", "back");
    for (at, theirs) in theirs.iter().enumerate() {
        let ours = ours[at % 3];
        let [there, back] = [ours[0] / theirs[0], ours[1] / theirs[1]];
        println!("  {:34}{there:8.2}{back:8.2}", ways[5 + at].name);
    }
}

/// Once with all on one CPU, once with the client and the server on one each and the network process where the kernel
/// wants it: whoever is woken on an idle CPU of a virtual machine waits for that CPU too, without us as well.
fn latency(scene: &Scene, container: &Container, beside: &Container) {
    let process = Pid::from_child(&scene.process);
    let before = sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| before.is_set(*cpu))
        .collect();
    let set = |pid, cpus: &[usize]| {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        sched_setaffinity(pid, &set).unwrap();
    };
    let one = cpus[0];
    set(Some(process), &[one]);
    set(None, &[one]);
    // Threads that are started from now on are where this one is.
    latency_of("all on one CPU", scene, container, beside, 7000, || {});
    set(Some(process), &cpus);
    match cpus[1..] {
        [] => println!("  left out: there is one CPU only"),
        [other, ..] => {
            let place = move || set(None, &[other]);
            latency_of(
                "client and server on a CPU each",
                scene,
                container,
                beside,
                7002,
                place,
            );
        }
    }
    sched_setaffinity(None, &before).unwrap();
}

/// The server does `place` before it serves.
fn latency_of(
    title: &str,
    scene: &Scene,
    container: &Container,
    beside: &Container,
    port: u16,
    place: impl Fn() + Copy + Send + 'static,
) {
    let answer = move |mut stream: TcpStream, _| {
        place();
        stream.set_nodelay(true).unwrap();
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..length]).unwrap();
        }
    };
    container.place.serve(&at("0.0.0.0", port), answer);
    let far = scene.world.serve(&at(WORLD[0], 0), answer).to_string();
    let ways = [
        (
            "pair and bridge",
            &beside.place,
            at(&container.addresses[0], port),
        ),
        ("published", &scene.world, at(HOST[0], port)),
        ("outgoing", &container.place, far.clone()),
        ("pair alone", &scene.host, far),
    ];
    let mut streams = ways.each_ref().map(|(_, place, to)| {
        let stream = place.connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    });
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..REQUESTS {
        for (stream, times) in streams.iter_mut().zip(&mut times) {
            let start = Instant::now();
            stream.write_all(&[7; 64]).unwrap();
            stream.read_exact(&mut [0; 64]).unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    println!("\nlatency of 64 bytes there and back, µs, interleaved, {title}");
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
