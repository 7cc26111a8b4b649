//! `--egress`: what a container may reach is reached, and nothing else, whatever it tries.

use crate::attach::interface;
use crate::namespaces::{Namespace, endpoint, network, on_a_host};
use crate::scene::{HOST, Place, WORLD, at, echo, tell_client};
use crate::support::{ALPINE, Need, User, requires};
use crate::town::{PORT, Town, tell_senders, told_by_tcp, told_by_udp, town};
use onggi::network::attach::{Interface, connect, ensure};
use onggi::network::egress::Policy;
use onggi::network::home::Home;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, QTYPE, RCODE, ResourceRecord, TYPE};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Public addresses that the world has, and those of its other name server.
const PUBLIC: [&str; 2] = ["93.184.216.34", "2606:2800::1"];
const SERVER: &str = "198.51.100.53";
/// A port of those that is in no list.
const OTHER: u16 = 7001;
const PUBLISHED: u16 = 8080;

/// A name server for which `rebind.test` is in the host's own network.
fn answer_names(world: &Place) {
    let socket = world.run(|| UdpSocket::bind(at(SERVER, 53)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let asked = Packet::parse(&buffer[..length]).unwrap();
            let question = asked.questions[0].clone();
            let mut reply = Packet::new_reply(asked.id());
            let found = match question.qname.to_string().as_str() {
                "allowed.test" | "other.test" => Some(PUBLIC),
                "rebind.test" => Some(WORLD),
                _ => None,
            };
            let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, 60, data);
            let address = |side: usize| found.map(|all| all[side].parse::<IpAddr>().unwrap());
            let data = match question.qtype {
                QTYPE::TYPE(TYPE::A) => address(0),
                QTYPE::TYPE(TYPE::AAAA) => address(1),
                _ => None,
            };
            match data {
                Some(IpAddr::V4(one)) => reply.answers.push(record(RData::A(A::from(one)))),
                Some(IpAddr::V6(one)) => reply.answers.push(record(RData::AAAA(AAAA::from(one)))),
                None if found.is_none() => *reply.rcode_mut() = RCODE::NameError,
                None => {}
            }
            reply.questions.push(question);
            let _ = socket.send_to(&reply.build_bytes_vec().unwrap(), from);
        }
    });
}

fn run(town: &Town, name: &str, options: &[&str]) -> (Place, [String; 2]) {
    let words = [
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "own",
        "--dns",
        SERVER,
    ];
    let program = [ALPINE, "sleep", "1000"];
    town.onggi(&[&words[..], options, &program[..]].concat())
        .code(0);
    let address = |field: &str| {
        let template =
            format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end}}}}");
        town.store.field(name, &template)
    };
    let place = town.inside(name);
    place.serve(&format!("[::]:{PORT}"), tell_client);
    tell_senders(&place, &format!("[::]:{PORT}"));
    (place, ["IPAddress", "GlobalIPv6Address"].map(address))
}

/// The addresses that a container finds for a name.
fn found(town: &Town, container: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for database in ["ahostsv4", "ahostsv6"] {
        let outcome = town.onggi(&["exec", container, "getent", database, name]);
        let text = outcome.stdout_text();
        let lines = text.lines().filter_map(|line| line.split(' ').next());
        found.extend(lines.map(str::to_owned));
    }
    found.sort();
    found.dedup();
    found
}

#[track_caller]
fn reached(from: &Place, to: &str, port: u16) {
    told_by_tcp(from, &at(to, port)).unwrap_or_else(|error| panic!("{to}:{port} TCP: {error}"));
    told_by_udp(from, &at(to, port)).unwrap_or_else(|error| panic!("{to}:{port} UDP: {error}"));
}

/// It is said at once, and not found out by waiting.
#[track_caller]
fn prohibited(from: &Place, to: &str, port: u16) {
    let said = [ErrorKind::HostUnreachable, ErrorKind::PermissionDenied];
    let tcp = told_by_tcp(from, &at(to, port)).expect_err(to);
    assert!(said.contains(&tcp.kind()), "{to}:{port} TCP: {tcp}");
    told_by_udp(from, &at(to, port)).expect_err(to);
}

fn prepare(town: &Town) {
    town.world.ip(&format!(
        "addr add {}/32 dev out
         addr add {}/128 dev out nodad
         addr add {SERVER}/24 dev out",
        PUBLIC[0], PUBLIC[1]
    ));
    for address in PUBLIC {
        for port in [PORT, OTHER] {
            town.world.serve(&at(address, port), tell_client);
            tell_senders(&town.world, &at(address, port));
        }
    }
    answer_names(&town.world);
    town.onggi(&["network", "create", "--ipv6", "own"]).code(0);
}

/// `nft` is the witness.
fn nothing_is_left(town: &Town) {
    if let Ok(output) = town.host.command("nft").args(["list", "tables"]).output() {
        let tables = String::from_utf8(output.stdout).unwrap();
        assert!(!tables.contains("onggi_veth"), "{tables}");
    }
}

fn list(user: User) {
    town(user, |town| {
        prepare(town);
        let listed = format!(
            "allowed.test:{PORT},rebind.test,friend:{PORT},[{}]:{PORT}",
            WORLD[1]
        );
        let (friend, friends) = run(town, "friend", &[]);
        let (_stranger, strangers) = run(town, "stranger", &[]);
        let [tcp, udp] = ["", "/udp"].map(|kind| format!("{PUBLISHED}:{PORT}{kind}"));
        let options = ["--egress", &listed, "-p", &tcp, "-p", &udp];
        let (subject, own) = run(town, "subject", &options);
        // Nothing has been asked yet.
        for side in [0, 1] {
            for address in [PUBLIC[side], &friends[side], &strangers[side]] {
                prohibited(&subject, address, PORT);
            }
            prohibited(&subject, HOST[side], PORT);
        }
        prohibited(&subject, SERVER, 53);
        assert_eq!(
            found(town, "subject", "allowed.test"),
            ["2606:2800::1", "93.184.216.34"]
        );
        for address in PUBLIC {
            reached(&subject, address, PORT);
            prohibited(&subject, address, OTHER);
            reached(&friend, address, OTHER);
        }
        // Names that are not listed.
        for name in ["other.test", "stranger"] {
            assert!(found(town, "subject", name).is_empty(), "{name}");
        }
        // One that leads into the host's own network, where only one address is listed, with a port.
        assert_eq!(found(town, "subject", "rebind.test"), [WORLD[1]]);
        prohibited(&subject, WORLD[1], OTHER);
        prohibited(&subject, WORLD[0], PORT);
        prohibited(&subject, &strangers[0], PORT);
        // What is listed by its address, at its port.
        reached(&subject, WORLD[1], PORT);
        for (address, works) in [(WORLD[1], false), (PUBLIC[0], false)] {
            let ping = ["exec", "subject", "ping", "-c", "1", "-W", "2", address];
            assert_eq!(town.onggi(&ping).succeeded(), works, "{address}");
        }
        let mut both = friends.to_vec();
        both.sort();
        assert_eq!(found(town, "subject", "friend"), both);
        for side in [0, 1] {
            reached(&subject, &friends[side], PORT);
            prohibited(&subject, &friends[side], OTHER);
            // It is reached itself, and answers.
            reached(&friend, &own[side], PORT);
            reached(&town.world, HOST[side], PUBLISHED);
            let ping = ["exec", "friend", "ping", "-c", "1", "-W", "5", &own[side]];
            town.onggi(&ping).code(0);
        }
        // Under another name it has no more.
        subject.ip("addr add 203.0.113.5/24 dev eth0");
        let forged = subject.run(|| UdpSocket::bind("203.0.113.5:0").unwrap());
        forged
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        forged.send_to(b"?", at(PUBLIC[0], PORT)).unwrap();
        forged.recv(&mut [0; 64]).unwrap_err();
        town.onggi(&["rm", "-f", "subject", "friend", "stranger"])
            .code(0);
        nothing_is_left(town);
    });
}

#[test]
fn root_reaches_what_is_listed() {
    list(User::Root);
}

#[test]
fn a_user_with_subordinate_ids_reaches_what_is_listed() {
    list(User::Subuid);
}

fn nothing(user: User) {
    town(user, |town| {
        prepare(town);
        let (subject, _) = run(town, "subject", &["--egress", "deny"]);
        assert!(found(town, "subject", "allowed.test").is_empty());
        for address in PUBLIC.into_iter().chain(WORLD).chain(HOST) {
            prohibited(&subject, address, PORT);
        }
        // It ends with who keeps it, and what has limited it stays until it is swept.
        let pid = town.store.field("subject", "{{.State.Pid}}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        let parent = parent.and_then(|pid| pid.trim().parse().ok()).unwrap();
        let parent = rustix::process::Pid::from_raw(parent).unwrap();
        rustix::process::kill_process(parent, rustix::process::Signal::KILL).unwrap();
        let path = format!("/proc/{pid}/cwd");
        while std::fs::read_link(&path).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        if town.store.user == User::Root {
            prohibited(&subject, PUBLIC[0], PORT);
        }
        town.onggi(&["rm", "-f", "subject"]).code(0);
        if town.store.user == User::Root {
            nothing_is_left(town);
            let lan = [
                "network",
                "create",
                "-d",
                "macvlan",
                "-o",
                "parent=out",
                "lan",
            ];
            town.onggi(&lan).code(0);
            let limited = ["create", "--network", "lan", "--egress", "deny", ALPINE];
            let refused = town.onggi(&limited);
            refused.code(125).stderr_has("cannot be limited");
        }
        town.onggi(&["create", "--network", "host", "--egress", "deny", ALPINE])
            .code(125);
        let words = ["create", "--egress", "deny", ALPINE];
        let by_default = town.store.onggi(&words).env("ONGGI_NETWORK", "host");
        by_default.run().code(125).stderr_has("conflicting options");
        // Through its own end it would reach the other one.
        for power in ["--privileged", "--cap-add=NET_ADMIN"] {
            town.onggi(&["create", power, "--egress", "deny", ALPINE])
                .code(125)
                .stderr_has("cannot be limited");
        }
        let (_, _) = run(town, "subject", &["--egress", "deny"]);
        town.onggi(&["exec", "--privileged", "subject", "true"])
            .code(126)
            .stderr_has("cannot be limited");
        town.onggi(&["exec", "subject", "true"]).code(0);
        town.onggi(&["rm", "-f", "subject"]).code(0);
    });
}

#[test]
fn root_reaches_nothing_where_all_is_denied() {
    nothing(User::Root);
}

#[test]
fn a_user_with_a_single_id_reaches_nothing_where_all_is_denied() {
    nothing(User::Single);
}

#[test]
fn what_was_learned_is_forgotten_and_connections_go_on() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let network = network("eg", &["10.77.0.0/24", "fd00:77::/64"]);
        let shared = ensure(&home, &network).unwrap();
        let policy = Policy::parse(&["name:7000".to_owned()]).unwrap();
        let container = Namespace::new();
        let mut endpoint = endpoint(&network, 1);
        let options = BTreeMap::new();
        let wanted = Interface {
            egress: Some(&policy),
            ..interface("eth0", &options)
        };
        let namespace = container.descriptor();
        let connected =
            connect(&home, shared, &network, &mut endpoint, &wanted, namespace).unwrap();
        let filter = connected.keep().unwrap();
        for host in ["10.77.0.1", "fd00:77::1"] {
            let to: SocketAddr = at(host, 7000).parse().unwrap();
            let listener = TcpListener::bind(to).unwrap();
            std::thread::spawn(move || {
                while let Ok((stream, from)) = listener.accept() {
                    std::thread::spawn(move || echo(stream, from));
                }
            });
            let try_it =
                || container.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)));
            try_it().unwrap_err();
            // Twice, so that the second time counts.
            for time in [Duration::from_millis(1), Duration::from_secs(3)] {
                filter.allow(&[to.ip()], &[Some(7000)], time).unwrap();
            }
            let mut stream = try_it().unwrap();
            while try_it().is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
            let mut back = [0; 4];
            stream.write_all(b"more").unwrap();
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"more");
        }
        // Others cannot take it away.
        let flush = || {
            std::process::Command::new("nft")
                .args(["flush", "ruleset"])
                .output()
        };
        if flush().is_ok() {
            let to: SocketAddr = "10.77.0.1:7000".parse().unwrap();
            container
                .enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))
                .unwrap_err();
        }
        // Whatever overlaps, and all there is.
        for (number, listed) in [
            "10.77.0.0/24,10.0.0.0/8,10.77.0.1,10.77.0.0/16:7000,10.0.0.0/8:7000",
            "0.0.0.0/0,::/0",
        ]
        .into_iter()
        .enumerate()
        {
            let listed: Vec<String> = listed.split(',').map(str::to_owned).collect();
            let policy = Policy::parse(&listed).unwrap();
            let container = Namespace::new();
            let mut endpoint = crate::namespaces::endpoint(&network, 2 + number);
            let wanted = Interface {
                egress: Some(&policy),
                ..interface("eth0", &options)
            };
            let namespace = container.descriptor();
            let shared = ensure(&home, &network).unwrap();
            let connected =
                connect(&home, shared, &network, &mut endpoint, &wanted, namespace).unwrap();
            let _filter = connected.keep();
            let to: SocketAddr = "10.77.0.1:7000".parse().unwrap();
            container
                .enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))
                .unwrap();
        }
        filter.remove().unwrap();
        let to: SocketAddr = "10.77.0.1:7000".parse().unwrap();
        container
            .enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)))
            .unwrap();
    });
}
