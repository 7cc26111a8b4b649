//! Names in a container: those of its neighbours, and all others passed on.

use crate::resolver::{
    PATIENCE, Step, Upstream, World, answer, by_datagram, by_stream, config, connect, endpoint,
    failure, query, read_message, stirs, write_message,
};
use crate::support::{Need, requires};
use onggi::network::dns::{Config, Egress, Link, Resolver, Sockets, Zone};
use onggi::network::endpoint::Endpoint;
use onggi::sys::namespace::inside_network;
use simple_dns::rdata::RData;
use simple_dns::{PacketFlag, QTYPE, RCODE, TYPE};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn neighbours() -> Vec<Endpoint> {
    vec![
        endpoint("web", &["www", "all"], &["172.18.0.2", "fd00::2"]),
        endpoint(
            "Data_base",
            &["db", "db.example.org", "all"],
            &["172.18.0.3"],
        ),
        endpoint("six", &["all"], &["fd00::4"]),
    ]
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn containers_are_found_by_all_their_names() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::with(neighbours());
    for (name, kind, expect) in [
        ("web", TYPE::A, &["172.18.0.2"][..]),
        ("WEB", TYPE::A, &["172.18.0.2"]),
        ("web", TYPE::AAAA, &["fd00::2"]),
        ("www", TYPE::A, &["172.18.0.2"]),
        ("web.net", TYPE::A, &["172.18.0.2"]),
        ("www.NET", TYPE::AAAA, &["fd00::2"]),
        ("data_base", TYPE::A, &["172.18.0.3"]),
        ("db.example.org", TYPE::A, &["172.18.0.3"]),
        ("776562000000", TYPE::A, &["172.18.0.2"]),
        ("776562000000.net", TYPE::A, &["172.18.0.2"]),
        ("all", TYPE::A, &["172.18.0.2", "172.18.0.3"]),
        ("all.net", TYPE::AAAA, &["fd00::2", "fd00::4"]),
        // A name has no record of a type: that is no reason to say that there is no such name.
        ("db", TYPE::AAAA, &[]),
        ("six", TYPE::A, &[]),
        ("web", TYPE::MX, &[]),
        ("web", TYPE::TXT, &[]),
    ] {
        let question = query(name, kind.into());
        for reply in world.inside(|| [by_datagram(&question), by_stream(&question)]) {
            assert_eq!(reply.code(), RCODE::NoError, "{name} {kind:?}");
            assert_eq!(reply.addresses(), addresses(expect), "{name} {kind:?}");
            assert!(reply.packet().has_flags(PacketFlag::RECURSION_AVAILABLE));
            let ttls = reply.packet().answers.into_iter().map(|record| record.ttl);
            assert!(
                ttls.into_iter().all(|ttl| ttl == 0),
                "live state is not to be remembered"
            );
        }
    }
    let any = world.inside(|| by_datagram(&query("web", QTYPE::ANY)));
    assert_eq!(any.addresses(), addresses(&["172.18.0.2"]));
    // 127.0.0.53 is not there: nobody knows of these.
    for name in ["web.other", "webb", "eb", "776562", "db.example"] {
        assert_eq!(
            world.ask(name, TYPE::A).code(),
            RCODE::ServerFailure,
            "{name}"
        );
    }
}

#[test]
fn addresses_lead_back_to_names() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::with(neighbours());
    let last = |digits: &str, nibbles: usize| format!("{digits}.{}", "0.".repeat(nibbles));
    for (name, expect) in [
        ("2.0.18.172.in-addr.arpa".to_owned(), "web.net"),
        ("3.0.18.172.IN-ADDR.arpa".to_owned(), "Data_base.net"),
        (last("4", 29) + "d.f.ip6.arpa", "six.net"),
    ] {
        let reply = world.ask(&name, TYPE::PTR);
        let packet = reply.packet();
        let RData::PTR(found) = &packet.answers[0].rdata else {
            panic!("{packet:?}");
        };
        assert_eq!(found.0.to_string(), expect);
    }
    for name in ["9.0.18.172.in-addr.arpa", "0.18.172.in-addr.arpa"] {
        assert_eq!(world.ask(name, TYPE::PTR).code(), RCODE::ServerFailure);
    }
}

#[test]
fn who_shares_a_name_gets_his_turn() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::with(neighbours());
    let first = |_| world.ask("all", TYPE::A).addresses_in_order()[0];
    let firsts: Vec<IpAddr> = (0..4).map(first).collect();
    assert_ne!(firsts[0], firsts[1]);
    assert_eq!(firsts[..2], firsts[2..]);
}

#[test]
fn first_network_with_an_answer_gives_it() {
    if !requires(&[Need::Root]) {
        return;
    }
    let zone = |digit: &str, name: &str| Zone {
        id: digit.repeat(64),
        name: name.to_owned(),
    };
    let settings = Config {
        networks: vec![zone("1", "front"), zone("2", "back")],
        links: vec![Link {
            name: "cache".to_owned(),
            target: "web".to_owned(),
        }],
        ..config()
    };
    let names = |network: &str| match &network[..1] {
        "1" => vec![endpoint("web", &[], &["10.1.0.2"])],
        _ => vec![
            endpoint("web", &[], &["10.2.0.2", "fd02::2"]),
            endpoint("db", &[], &["10.2.0.3"]),
        ],
    };
    let world = World::new(settings, move || names, |_| {});
    assert_eq!(world.addresses("web"), addresses(&["10.1.0.2"]));
    assert_eq!(world.addresses("cache"), addresses(&["10.1.0.2"]));
    assert_eq!(world.addresses("web.back"), addresses(&["10.2.0.2"]));
    assert_eq!(world.addresses("db"), addresses(&["10.2.0.3"]));
    assert_eq!(
        world.ask("web", TYPE::AAAA).addresses(),
        addresses(&["fd02::2"])
    );
    assert_eq!(world.ask("db.front", TYPE::A).code(), RCODE::ServerFailure);
}

#[test]
fn what_does_not_fit_comes_by_tcp() {
    if !requires(&[Need::Root]) {
        return;
    }
    let many =
        (0..100).map(|at| endpoint(&format!("web{at}"), &["all"], &[&format!("10.0.0.{at}")]));
    let world = World::with(many.collect());
    let question = query("all", TYPE::A.into());
    let reply = world.inside(|| by_datagram(&question));
    assert!(reply.packet().has_flags(PacketFlag::TRUNCATION));
    assert!(reply.0.len() <= 512 && reply.addresses().len() > 20);
    let reply = world.inside(|| by_stream(&question));
    assert!(!reply.packet().has_flags(PacketFlag::TRUNCATION));
    assert_eq!(reply.addresses().len(), 100);
}

#[test]
fn other_names_are_passed_on_as_they_came() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::with(neighbours());
    let upstream = Upstream::giving(&world.host, "127.0.0.53", &["192.0.2.1", "192.0.2.2"]);
    let mut seen = Vec::new();
    for turn in 0..10 {
        let mut question = query("Www.Example.ORG", TYPE::A.into());
        if turn % 2 == 1 {
            // EDNS with a cookie (RFC 7873).
            question[11] = 1;
            let option = b"\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08cookie!!";
            question.extend_from_slice(option);
        }
        let reply = match turn {
            0..8 => world.inside(|| by_datagram(&question)),
            _ => world.inside(|| by_stream(&question)),
        };
        assert_eq!(
            reply.addresses_in_order(),
            addresses(&["192.0.2.1", "192.0.2.2"])
        );
        let asked = upstream.asked().pop().unwrap();
        assert_eq!(asked.query[2..], question[2..]);
        assert_eq!(asked.by_stream, turn >= 8);
        assert_eq!(
            reply.0[2..],
            answer(&asked.query, &["192.0.2.1", "192.0.2.2"])[2..]
        );
        seen.push((asked.query[..2].to_vec(), asked.from.port()));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 10, "each has a number and a port of its own");
    let is_in_order = |pair: &[(Vec<u8>, u16)]| pair[0].1 < pair[1].1;
    assert!(
        !seen.windows(2).all(is_in_order),
        "ports that can be guessed: {seen:?}"
    );
}

#[test]
fn next_resolver_is_asked_when_one_fails() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world =
        World::forwarding("nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver ::1%lo\n");
    let _good = Upstream::giving(&world.host, "::1", &["192.0.2.3"]);
    // Nobody at 127.0.0.1 (ICMP says so); one who will not; one who knows.
    let unwilling = Upstream::new(&world.host, "127.0.0.2", |asked| {
        vec![Step::Send(failure(&asked.query, RCODE::Refused))]
    });
    let question = query("example.org", TYPE::A.into());
    for reply in world.inside(|| [by_datagram(&question), by_stream(&question)]) {
        assert_eq!(reply.addresses(), addresses(&["192.0.2.3"]));
    }
    assert_eq!(unwilling.asked().len(), 2);
    // There is no such name: that is an answer, and nobody else is asked.
    world.set_host_file("nameserver 127.0.0.3\nnameserver 127.0.0.2\n");
    let _knows = Upstream::new(&world.host, "127.0.0.3", |asked| {
        vec![Step::Send(failure(&asked.query, RCODE::NameError))]
    });
    assert_eq!(world.ask("example.org", TYPE::A).code(), RCODE::NameError);
    assert_eq!(unwilling.asked().len(), 2);
    // All are unwilling: their word is passed on.
    world.set_host_file("nameserver 127.0.0.2\nnameserver 127.0.0.1\n");
    let reply = world.ask("example.org", TYPE::A);
    assert_eq!(reply.code(), RCODE::Refused);
}

#[test]
fn silent_resolvers_are_given_up_but_still_listened_to() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world =
        World::forwarding("nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:1\n");
    let _silent = Upstream::new(&world.host, "127.0.0.1", |_| Vec::new());
    let good = Upstream::giving(&world.host, "127.0.0.2", &["192.0.2.3"]);
    assert_eq!(world.addresses("example.org"), addresses(&["192.0.2.3"]));
    assert_eq!(good.asked().len(), 1);
    world.set_host_file("nameserver 127.0.0.3\noptions timeout:1 attempts:3\n");
    let slow = Upstream::new(&world.host, "127.0.0.3", |asked| {
        let reply = answer(&asked.query, &["192.0.2.4"]);
        vec![Step::Wait(Duration::from_millis(1500)), Step::Send(reply)]
    });
    assert_eq!(world.addresses("example.org"), addresses(&["192.0.2.4"]));
    assert_eq!(slow.asked().len(), 2, "the answer to the first of two");
    world.set_host_file("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    assert_eq!(
        world.ask("example.org", TYPE::A).code(),
        RCODE::ServerFailure
    );
    assert_eq!(
        world
            .inside(|| by_stream(&query("a.b", TYPE::A.into())))
            .code(),
        RCODE::ServerFailure
    );
}

#[test]
fn without_resolvers_it_says_so() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::forwarding("# nothing\nnameserver no.address\n");
    assert_eq!(
        world.ask("example.org", TYPE::A).code(),
        RCODE::ServerFailure
    );
    std::fs::remove_file(&world.host_file).unwrap();
    assert_eq!(
        world.ask("example.org", TYPE::A).code(),
        RCODE::ServerFailure
    );
    world.set_host_file("nameserver 127.0.0.7\n");
    let _upstream = Upstream::giving(&world.host, "127.0.0.7", &["192.0.2.7"]);
    assert_eq!(world.addresses("example.org"), addresses(&["192.0.2.7"]));
}

#[test]
fn resolvers_that_were_asked_for_are_asked_from_the_container() {
    if !requires(&[Need::Root]) {
        return;
    }
    let settings = Config {
        servers: ["127.0.0.11", "::ffff:127.0.0.11", "127.0.0.53"]
            .map(|text| text.parse().unwrap())
            .to_vec(),
        options: vec!["attempts:1".to_owned()],
        ..config()
    };
    let world = World::new(settings, || |_: &str| Vec::new(), |_| {});
    // It would ask itself for ever.
    assert_eq!(
        world.ask("example.org", TYPE::A).code(),
        RCODE::ServerFailure
    );
    let _outside = Upstream::giving(&world.host, "127.0.0.53", &["192.0.2.1"]);
    let _inside = Upstream::giving(&world.container, "127.0.0.53", &["192.0.2.2"]);
    assert_eq!(world.addresses("example.org"), addresses(&["192.0.2.2"]));
    let reply = world.inside(|| by_stream(&query("a.b", TYPE::A.into())));
    assert_eq!(reply.addresses(), addresses(&["192.0.2.2"]));
}

#[test]
fn containers_without_a_way_out_have_no_other_names() {
    if !requires(&[Need::Root]) {
        return;
    }
    let settings = Config {
        forwards: false,
        ..config()
    };
    let world = World::new(settings, || |_: &str| neighbours(), |_| {});
    let upstream = Upstream::giving(&world.host, "127.0.0.53", &["192.0.2.1"]);
    assert_eq!(world.ask("example.org", TYPE::A).code(), RCODE::NameError);
    assert_eq!(world.addresses("web"), addresses(&["172.18.0.2"]));
    assert!(upstream.asked().is_empty());
}

/// Allows what ends in `.org`, and writes down what it learns; `trouble.org` cannot be learned.
struct Policy(Arc<Mutex<Vec<String>>>);

impl Egress for Policy {
    fn allows(&self, name: &str) -> bool {
        name.ends_with(".org") || name == "web"
    }

    fn learned(&mut self, name: &str, found: &[IpAddr], ttl: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(name != "trouble.org");
        let line = format!("{name} {found:?} {}", ttl.as_secs());
        self.0.lock().unwrap().push(line);
        Ok(())
    }

    fn met(&mut self, name: &str, found: &[IpAddr]) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(format!("{name} {found:?}"));
        Ok(())
    }
}

#[test]
fn policy_sees_names_before_and_addresses_after() {
    if !requires(&[Need::Root]) {
        return;
    }
    let learned = Arc::new(Mutex::new(Vec::new()));
    let log = learned.clone();
    let world = World::new(
        config(),
        || |_: &str| neighbours(),
        move |resolver| resolver.set_egress(Some(Box::new(Policy(log)))),
    );
    let upstream = Upstream::new(&world.host, "127.0.0.53", |asked| {
        let found: &[&str] = match &asked.query[13..17].to_ascii_lowercase()[..] {
            b"good" => &["93.184.216.34", "2606:2800::1"],
            b"both" => &["127.0.0.1", "93.184.216.35", "::ffff:10.0.0.1"],
            b"evil" => &[
                "192.168.1.1",
                "169.254.169.254",
                "fd00::1",
                "fe80::1",
                "64:ff9b::a00:1",
            ],
            _ => &["93.184.216.36"],
        };
        vec![Step::Send(answer(&asked.query, found))]
    });
    assert_eq!(world.ask("example.com", TYPE::A).code(), RCODE::NameError);
    assert_eq!(world.ask("org", TYPE::A).code(), RCODE::NameError);
    assert_eq!(world.ask("db", TYPE::A).code(), RCODE::NameError);
    assert!(
        upstream.asked().is_empty(),
        "nobody hears of what is forbidden"
    );
    assert_eq!(world.addresses("Good.org").len(), 2);
    assert_eq!(world.addresses("both.org"), addresses(&["93.184.216.35"]));
    let evil = world.ask("evil.org", TYPE::A);
    assert_eq!(
        (evil.code(), evil.addresses()),
        (RCODE::NoError, Vec::new())
    );
    assert_eq!(
        world.ask("trouble.org", TYPE::A).code(),
        RCODE::ServerFailure
    );
    assert_eq!(world.addresses("web"), addresses(&["172.18.0.2"]));
    assert_eq!(
        *learned.lock().unwrap(),
        [
            "good.org [93.184.216.34, 2606:2800::1] 300",
            "both.org [93.184.216.35] 300",
            "web [172.18.0.2]"
        ]
    );
}

#[test]
fn clients_may_ask_many_questions_at_once() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::with(neighbours());
    // Answers of odd questions take longer.
    let _upstream = Upstream::new(&world.host, "127.0.0.53", |asked| {
        let wait = Step::Wait(Duration::from_millis(u64::from(asked.query[13] % 2) * 50));
        vec![wait, Step::Send(answer(&asked.query, &["192.0.2.1"]))]
    });
    let ask = || {
        let mut stream = connect();
        let mut expected = Vec::new();
        for at in 0..200_u8 {
            let name = match at % 3 {
                0 => "web".to_owned(),
                _ => format!("{}.example.org", char::from(b'a' + at % 26)),
            };
            let question = query(&name, TYPE::A.into());
            expected.push(question[..2].to_vec());
            write_message(&mut stream, &question);
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        while let Some(reply) = read_message(&mut stream) {
            got.push(reply[..2].to_vec());
        }
        expected.sort();
        got.sort();
        assert_eq!(
            got, expected,
            "all of them, also after the client has said its last word"
        );
    };
    world.inside(ask);
}

#[test]
fn who_is_gone_is_not_found() {
    if !requires(&[Need::Root]) {
        return;
    }
    let living = Arc::new(Mutex::new(neighbours()));
    let shared = living.clone();
    let names = move || move |_: &str| shared.lock().unwrap().clone();
    let world = World::new(config(), names, |_| {});
    assert_eq!(world.addresses("web"), addresses(&["172.18.0.2"]));
    living.lock().unwrap().remove(0);
    assert_eq!(world.ask("web", TYPE::A).code(), RCODE::ServerFailure);
    assert_eq!(world.addresses("all"), addresses(&["172.18.0.3"]));
}

#[test]
fn idle_resolver_sleeps() {
    if !requires(&[Need::Root]) {
        return;
    }
    let namespace = crate::resolver::namespace();
    let sockets = inside_network(namespace.as_fd(), Sockets::open)
        .unwrap()
        .unwrap();
    let mut resolver = Resolver::new(config(), sockets, |_: &str| neighbours()).unwrap();
    assert!(!stirs(&resolver, Duration::from_millis(100)));
    let ask = || {
        inside_network(namespace.as_fd(), || {
            by_datagram(&query("web", TYPE::A.into()))
        })
    };
    std::thread::scope(|scope| {
        let asker = scope.spawn(ask);
        assert!(stirs(&resolver, PATIENCE));
        resolver.turn();
        asker.join().unwrap().unwrap();
    });
    assert!(
        !stirs(&resolver, Duration::from_secs(3)),
        "a local answer leaves no timer"
    );
}

#[test]
fn real_client_is_content() {
    if !requires(&[Need::Root, Need::Program("dig")]) {
        return;
    }
    let world = World::with(neighbours());
    let _upstream = Upstream::giving(&world.host, "127.0.0.53", &["192.0.2.1"]);
    for (arguments, expect) in [
        ("web A", "172.18.0.2\n"),
        ("web AAAA", "fd00::2\n"),
        ("+tcp web A", "172.18.0.2\n"),
        ("-x 172.18.0.3", "Data_base.net.\n"),
        ("-x fd00::4", "six.net.\n"),
        ("+noedns web A", "172.18.0.2\n"),
        ("+dnssec example.org A", "192.0.2.1\n"),
        (
            "+tcp +keepopen example.org A example.net A",
            "192.0.2.1\n192.0.2.1\n",
        ),
        ("db AAAA", ""),
    ] {
        let run = || {
            Command::new("dig")
                .args(["@127.0.0.11", "+short", "+tries=1"])
                .args(arguments.split(' '))
                .output()
        };
        let output = world.inside(run).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text, expect, "dig {arguments}: {output:?}");
        assert!(output.status.success(), "dig {arguments}: {output:?}");
    }
}

#[test]
fn servers_of_names_can_live_in_containers() {
    if !requires(&[Need::Root]) {
        return;
    }
    let names = || |_: &str| neighbours();
    let open = Sockets::open_beside_a_server;
    let world = World::of(open, config(), names, |_| {});
    let _own = Upstream::giving(&world.container, "0.0.0.0", &["192.0.2.9"]);
    let question = query("web", TYPE::A.into());
    for reply in world.inside(|| [by_datagram(&question), by_stream(&question)]) {
        assert_eq!(reply.addresses(), addresses(&["172.18.0.2"]));
    }
    let to_it = || {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&question, "127.0.0.1:53").unwrap();
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply).unwrap();
        crate::resolver::Reply(reply[..length].to_vec())
    };
    assert_eq!(world.inside(to_it).addresses(), addresses(&["192.0.2.9"]));
}
