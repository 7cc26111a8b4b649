//! What the network process of an ordinary user costs: throughput both ways, latency, connections a second, memory,
//! wake-ups; beside a bare pair of interfaces on a bridge, passt(1) and slirp4netns(1).
//!
//! `cargo bench --bench forward`
// Every address here is a number.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../network/scene.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod scene;

use onggi::network::endpoint::Protocol::Tcp;
use scene::{BENCH, Container, HOST, Place, Scene, WORLD, at, be_the_process, wanted};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn main() {
    if !be_the_process() {
        scene::scene(BENCH, measure);
    }
}

fn measure(scene: &mut Scene) {
    let ports = [
        wanted(None, 5201, 5201, Tcp),
        wanted(None, 7000, 7000, Tcp),
        wanted(None, 7001, 7001, Tcp),
    ];
    let (container, _) = scene.container(1, 2, &ports);
    let (beside, _) = scene.container(1, 3, &[]);
    throughput(scene, &container, &beside);
    latency(scene, &container, &beside);
    connections(scene, &container, &beside);
    idle(scene);
}

fn throughput(scene: &Scene, container: &Container, beside: &Container) {
    let _servers: Vec<Running> = [&container.place, &scene.world]
        .map(|place| {
            Running(
                place
                    .command("iperf3")
                    .args(["-s"])
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap(),
            )
        })
        .into();
    std::thread::sleep(Duration::from_millis(500));
    println!(
        "{:34} {:>8} {:>8}   Gbit/s there, back",
        "throughput", "", ""
    );
    for round in 0..3 {
        for (what, place, to) in [
            (
                "pair and bridge",
                &beside.place,
                container.addresses[0].as_str(),
            ),
            ("published", &scene.world, HOST[0]),
            ("published, by loopback", &scene.host, "127.0.0.1"),
            ("outgoing", &container.place, WORLD[0]),
            ("pair alone", &scene.host, WORLD[0]),
        ] {
            let rates = ["", "-R"].map(|direction| iperf(place, to, direction));
            println!(
                "{:34} {:8.2} {:8.2}   round {round}",
                what, rates[0], rates[1]
            );
        }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn iperf(place: &Place, to: &str, direction: &str) -> f64 {
    let mut command = place.command("iperf3");
    command.args(["-c", to, "-J", "-t", "3", "-O", "1"]);
    if !direction.is_empty() {
        command.arg(direction);
    }
    let output = command.output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    answer["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .unwrap_or(0.0)
        / 1e9
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
    let far = scene.world.serve(&at(WORLD[0], 0), answer);
    println!(
        "\n{:34} {:>8} {:>8}   µs for 64 bytes there and back: median, 99 %",
        "latency", "", ""
    );
    let rounds = [
        (
            "pair and bridge",
            &beside.place,
            at(&container.addresses[0], 7000),
        ),
        ("published", &scene.world, at(HOST[0], 7000)),
        ("outgoing", &container.place, far.to_string()),
        ("pair alone", &scene.host, far.to_string()),
    ];
    for round in 0..2 {
        for (what, place, to) in &rounds {
            let mut stream = place.connect(to).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut times: Vec<Duration> = (0..20_000)
                .map(|_| {
                    let start = Instant::now();
                    stream.write_all(&[7; 64]).unwrap();
                    stream.read_exact(&mut [0; 64]).unwrap();
                    start.elapsed()
                })
                .collect();
            times.sort_unstable();
            let micros = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e6;
            println!(
                "{what:34} {:8.1} {:8.1}   round {round}",
                micros(50),
                micros(99)
            );
        }
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
    println!(
        "\n{:34} {:>8}   a second, each answered once and closed",
        "connections", ""
    );
    for (what, place, to) in [
        (
            "pair and bridge",
            &beside.place,
            at(&container.addresses[0], 7001),
        ),
        ("published", &scene.world, at(HOST[0], 7001)),
        ("outgoing", &container.place, far.to_string()),
        ("pair alone", &scene.host, far.to_string()),
    ] {
        for clients in [1, 4] {
            let start = Instant::now();
            let each = 10_000 / clients;
            place.run(|| {
                std::thread::scope(|scope| {
                    for _ in 0..clients {
                        let to = to.parse().unwrap();
                        scope.spawn(move || {
                            // The thread has the network namespace of the one that has started it.
                            for _ in 0..each {
                                let mut stream =
                                    TcpStream::connect_timeout(&to, Duration::from_secs(5))
                                        .unwrap();
                                let mut text = Vec::new();
                                stream.read_to_end(&mut text).unwrap();
                                assert_eq!(text, b"answer");
                            }
                        });
                    }
                });
            });
            let rate = (each * clients) as f64 / start.elapsed().as_secs_f64();
            println!("{what:34} {rate:8.0}   {clients} at once");
        }
    }
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
