//! `--network slirp4netns` and `--network pasta`: programs of others, for containers of each user on a host of his own.

use crate::scene::{HOST, Place, WORLD, at, tell_client};
use crate::support::life::until;
use crate::support::{ALPINE, Need, User, requires};
use crate::town::{EVERYONE, KNOWN, NOWHERE, PORT, Town, run, told_by_tcp, told_by_udp, town};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

const PROGRAMS: [&str; 2] = ["slirp4netns", "pasta"];

/// Plays for each user and each of the programs that is installed.
fn with_programs(play: impl Fn(&Town, &str) + Copy + Send + 'static) {
    for program in PROGRAMS {
        if !requires(&[Need::Program(program)]) {
            continue;
        }
        for user in EVERYONE {
            town(user, move |town| play(town, program));
        }
    }
}

/// How many processes of a program there are on the host of a town.
fn living(town: &Town, program: &str) -> usize {
    let host = town
        .host
        .run(|| std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino());
    let is_it = |pid: &str| {
        // pasta executes itself under another name.
        let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let network = std::fs::metadata(format!("/proc/{pid}/ns/net"));
        name.starts_with(program) && network.is_ok_and(|network| network.ino() == host)
    };
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_it(name)).count()
}

/// What a server says to somebody who speaks first. One who listens first hears nothing by some versions of pasta, and
/// never that the server has said all.
fn answer(from: &Place, to: &str) -> String {
    let mut said = [0; 100];
    let mut stream = from.connect(to).unwrap();
    stream.write_all(b"?").unwrap();
    let length = stream.read(&mut said).unwrap();
    assert_ne!(length, 0, "{to}");
    String::from_utf8_lossy(&said[..length]).into_owned()
}

#[test]
fn a_program_connects_a_container_as_long_as_it_runs() {
    with_programs(|town, program| {
        let ports = ["-p", "8080-8081:80-81", "-p", "198.51.100.1:8053:53/udp"];
        let options = [&["--network", program][..], &ports].concat();
        let inside = run(town, "web", &options);
        // Out.
        for side in [0, 1] {
            // An IPv6 address is there when the kernel has heard the program say so.
            let told = || told_by_tcp(&inside, &at(WORLD[side], PORT));
            until("the world is reached", || told().is_ok());
            assert_eq!(told().unwrap().ip().to_string(), HOST[side]);
        }
        let from = told_by_udp(&inside, &at(WORLD[0], PORT)).unwrap();
        assert_eq!(from.ip().to_string(), HOST[0]);
        if program == "slirp4netns" {
            // pasta says nothing at all, in some of its versions.
            let refused = told_by_tcp(&inside, &at(WORLD[0], NOWHERE)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        let lookup = ["exec", "web", "nslookup", KNOWN.0];
        town.onggi(&lookup).code(0).stdout_has(KNOWN.1);
        // In.
        inside.serve("0.0.0.0:81", |mut stream, from| {
            let _ = stream.read(&mut [0; 8]);
            tell_client(stream, from);
        });
        let from = answer(&town.world, &at(HOST[0], 8081));
        assert!(from.starts_with(&format!("{}:", WORLD[0])), "{from}");
        answer(&town.host, &at("127.0.0.1", 8081));
        crate::town::tell_senders(&inside, "0.0.0.0:53");
        let from = told_by_udp(&town.world, &at(HOST[0], 8053)).unwrap();
        assert_eq!(from.ip().to_string(), WORLD[0]);
        let everywhere = match program {
            "pasta" => {
                "80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n81/tcp -> 0.0.0.0:8081\n81/tcp -> [::]:8081\n"
            }
            _ => "80/tcp -> 0.0.0.0:8080\n81/tcp -> 0.0.0.0:8081\n",
        };
        let udp = "53/udp -> 198.51.100.1:8053\n";
        let shown = town.onggi(&["port", "web"]);
        shown.code(0).stdout_has(everywhere).stdout_has(udp);
        town.onggi(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", "web"])
            .stdout(&format!("{program}\n"));
        // Another one cannot have the port.
        let second = ["run", "--rm", "--network", program, "-p", "8081:80"];
        town.onggi(&[&second[..], &[ALPINE, "true"]].concat())
            .code(125)
            .stderr_has("port is already allocated");
        assert_ne!(living(town, program), 0, "{program}");
        town.onggi(&["restart", "-t", "0", "web"]).code(0);
        let inside = town.inside("web");
        told_by_tcp(&inside, &at(WORLD[0], PORT)).unwrap();
        town.onggi(&["stop", "-t", "0", "web"]).code(0);
        assert_eq!(living(town, program), 0);
        town.onggi(&["port", "web"]).code(0).stdout("");
    });
}

#[test]
fn a_program_ends_with_a_monitor_that_is_killed() {
    with_programs(|town, program| {
        run(town, "dies", &["--network", program, "-p", "8080:80"]);
        assert_ne!(living(town, program), 0, "{program}");
        let monitor = i32::try_from(town.store.monitor("dies")).unwrap();
        let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
        rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
        until("the program has ended", || living(town, program) == 0);
        let listen = || town.host.run(|| TcpListener::bind("0.0.0.0:8080"));
        until("its port is free", || listen().is_ok());
        // What the killed one left is no hindrance.
        town.onggi(&["start", "dies"]).code(0);
        told_by_tcp(&town.inside("dies"), &at(WORLD[0], PORT)).unwrap();
    });
}

#[test]
fn the_loopback_of_the_host_is_reached_only_if_that_is_asked_for() {
    with_programs(|town, program| {
        town.host.serve("127.0.0.1:7100", tell_client);
        let (host, allowed) = match program {
            "pasta" => (at(WORLD[0], 7100), "pasta:--map-gw"),
            _ => (at("10.0.2.2", 7100), "slirp4netns:allow_host_loopback=true"),
        };
        let kept = run(town, "kept", &["--network", program]);
        told_by_tcp(&kept, &host).unwrap_err();
        let let_in = run(town, "allowed", &["--network", allowed]);
        told_by_tcp(&let_in, &host).unwrap();
    });
}

#[test]
fn options_of_the_programs_are_passed_on() {
    with_programs(|town, program| {
        let network = match program {
            "pasta" => "pasta:-I,tap0,--mtu,1400,-a,10.7.0.100,-n,24,-g,10.7.0.1",
            _ => "slirp4netns:mtu=1400,cidr=10.7.0.0/24",
        };
        let script = "ip address show tap0; cat /etc/resolv.conf";
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            ALPINE,
            "sh",
            "-c",
            script,
        ];
        let shown = town.onggi(&words);
        shown
            .code(0)
            .stdout_has("mtu 1400")
            .stdout_has("inet 10.7.0.100/24");
        shown.stdout_has(match program {
            "pasta" => "nameserver 169.254.1.1\n",
            _ => "nameserver 10.7.0.3\n",
        });
        // What the program itself says of a mistake.
        let wrong = match program {
            "pasta" => "pasta:--no-such-option",
            _ => "slirp4netns:outbound_addr=no/such/interface",
        };
        let words = ["run", "--rm", "--network", wrong, ALPINE, "true"];
        let refused = town.onggi(&words);
        refused
            .code(125)
            .stderr_has(&format!("{program} cannot connect the container: "));
        assert!(!refused.stderr_text().contains("Usage"));
        assert_eq!(living(town, program), 0);
    });
}

#[test]
fn what_is_missing_or_cannot_be_is_said() {
    town(User::Subuid, |town| {
        let refused = |options: &[&str], said: &str| {
            let words = [&["create"], options, &[ALPINE]].concat();
            town.onggi(&words).code(125).stderr_has(said);
        };
        for (network, said) in [
            (
                "slirp4netns:x=1",
                "slirp4netns: \"x=1\": no option that there is",
            ),
            ("slirp4netns:mtu=9", "no number from 68 to 65521"),
        ] {
            refused(&["--network", network], said);
        }
        if requires(&[Need::Program("slirp4netns")]) {
            refused(
                &["--network", "slirp4netns", "-p", "[::1]:80:80"],
                "slirp4netns publishes on IPv4 addresses only, not on ::1",
            );
            refused(&["--network", "slirp4netns", "-p", "80:80/sctp"], "no SCTP");
        }
    });
}
