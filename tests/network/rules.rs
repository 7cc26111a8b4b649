//! Packet rules: published ports, masquerading, what is kept apart; `nft` is the witness of what they say.

use crate::attach::join;
use crate::namespaces::{Namespace, network, on_a_host};
use crate::support::{Need, requires};
use onggi::network::attach::{
    describe, disconnect, ensure, publish, reload, remove, sweep, unpublish, warnings,
};
use onggi::network::endpoint::{Protocol, Publication};
use onggi::network::home::Home;
use onggi::network::record::Network;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

fn port(host: u16, container: u16, protocol: Protocol) -> Publication {
    Publication {
        address: None,
        host,
        container,
        count: 1,
        protocol,
    }
}

/// A command in the namespace of the test's host.
fn here(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{command}: {text}");
    text
}

/// Another machine, which reaches the host at 192.0.2.1 and 2001:db8::1 and knows no way to the host's networks.
fn neighbour() -> Namespace {
    neighbour_by("up0", "192.0.2", "2001:db8:")
}

/// The same by an interface and with addresses that begin otherwise.
fn neighbour_by(interface: &str, ipv4: &str, ipv6: &str) -> Namespace {
    let other = Namespace::new();
    let process = other.enter(|| Command::new("sleep").arg("60").spawn().unwrap());
    here(&format!(
        "ip link add {interface} type veth peer name eth0 netns {0} && ip address add {ipv4}.1/24 dev {interface} && \
         ip address add {ipv6}:1/64 dev {interface} nodad && ip link set {interface} up",
        process.id()
    ));
    let mut process = process;
    process.kill().unwrap();
    process.wait().unwrap();
    other.run(&format!(
        "ip address add {ipv4}.2/24 dev eth0; ip address add {ipv6}:2/64 dev eth0 nodad; ip link set eth0 up; \
         until ip -6 route show table local | grep -q {ipv6}:2; do sleep 0.01; done; ip -o link show eth0",
    ));
    here(&format!(
        "until ip -6 route show table local | grep -q {ipv6}:1; do sleep 0.01; done; ip -o link show {interface}",
    ));
    other
}

/// Listens. A program that another test is just starting has a copy of the socket that was there before until it executes.
fn bind(port: u16) -> TcpListener {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpListener::bind(("::", port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            bound => return bound.unwrap(),
        }
    }
}

/// Connects; the server's end says whom it sees.
fn talk(
    client: Option<&Namespace>,
    server: &Namespace,
    listen: u16,
    to: &str,
) -> Result<IpAddr, String> {
    let listener = server.enter(|| bind(listen));
    let to: SocketAddr = to.parse().unwrap();
    let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(700));
    let mut stream = match client {
        Some(client) => client.enter(connect),
        None => connect(),
    }
    .map_err(|error| error.kind().to_string())?;
    let (mut accepted, from) = listener.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    let mut text = [0; 4];
    accepted.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"ping");
    Ok(from.ip().to_canonical())
}

fn ip(text: &str) -> Result<IpAddr, String> {
    Ok(text.parse().unwrap())
}

fn late() -> Result<IpAddr, String> {
    Err("timed out".to_owned())
}

#[test]
fn published_ports_lead_inside_with_the_clients_address() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let outside = neighbour();
        let one = network("one", &["10.1.0.0/24", "fd00:1::/64"]);
        let two = network("two", &["10.2.0.0/24", "fd00:2::/64"]);
        let mut closed = network("closed", &["10.3.0.0/24", "fd00:3::/64"]);
        closed.internal = true;
        for network in [&one, &two, &closed] {
            ensure(&home, network).unwrap();
        }
        let (server, mut endpoint) = join(&home, &one, 1);
        let (same, _) = join(&home, &one, 2);
        let (other, _) = join(&home, &two, 1);
        let (inner, _) = join(&home, &closed, 1);
        endpoint.ports = vec![port(8080, 80, Protocol::Tcp), port(8080, 53, Protocol::Udp)];
        publish(&home, &one, &endpoint).unwrap();
        // Where bridged frames pass the rules, what stays within a network needs no other address to be answered.
        let bridged = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        let bridged = bridged.is_ok_and(|value| value == "1\n");
        let within = |address: &str, gateway| ip(if bridged { address } else { gateway });
        for (client, to, expected) in [
            (Some(&outside), "192.0.2.1:8080", ip("192.0.2.2")),
            (Some(&outside), "[2001:db8::1]:8080", ip("2001:db8::2")),
            (Some(&other), "192.0.2.1:8080", ip("10.2.0.2")),
            (Some(&other), "[2001:db8::1]:8080", ip("fd00:2::2")),
            // What comes back into the same network must be answered by way of the host.
            (
                Some(&same),
                "192.0.2.1:8080",
                within("10.1.0.3", "10.1.0.1"),
            ),
            (Some(&server), "192.0.2.1:8080", ip("10.1.0.1")),
            (
                Some(&same),
                "[2001:db8::1]:8080",
                within("fd00:1::3", "fd00:1::1"),
            ),
            (Some(&server), "[2001:db8::1]:8080", ip("fd00:1::1")),
            (None, "192.0.2.1:8080", ip("192.0.2.1")),
            (None, "[2001:db8::1]:8080", ip("2001:db8::1")),
            // Loopback is a listener's business, unpublished ports are nobody's.
            (None, "127.0.0.1:8080", Err("connection refused".to_owned())),
            (None, "[::1]:8080", Err("connection refused".to_owned())),
            (
                Some(&outside),
                "192.0.2.1:8081",
                Err("connection refused".to_owned()),
            ),
            // What is published is outside for an internal network.
            (Some(&inner), "10.3.0.1:8080", late()),
            (Some(&inner), "[fd00:3::1]:8080", late()),
            (Some(&other), "10.1.0.2:80", late()),
            (Some(&other), "[fd00:1::2]:80", late()),
            (Some(&same), "10.1.0.2:80", ip("10.1.0.3")),
            (None, "10.1.0.2:80", ip("10.1.0.1")),
        ] {
            assert_eq!(talk(client, &server, 80, to), expected, "{to}");
        }
        let udp = server.enter(|| UdpSocket::bind("0.0.0.0:53").unwrap());
        let client = outside.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        client
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        client.send_to(b"who", "192.0.2.1:8080").unwrap();
        let (_, from) = udp.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(from.ip().to_string(), "192.0.2.2");
        udp.send_to(b"me", from).unwrap();
        let (_, back) = client.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(back.to_string(), "192.0.2.1:8080");
        // Whoever knows a way to the containers' own addresses gets no further either.
        outside.run(
            "ip route add 10.1.0.0/24 via 192.0.2.1; ip route add fd00:1::/64 via 2001:db8::1",
        );
        assert_eq!(talk(Some(&outside), &server, 80, "10.1.0.2:80"), late());
        assert_eq!(talk(Some(&outside), &server, 80, "[fd00:1::2]:80"), late());
        unpublish(&home, &endpoint).unwrap();
        unpublish(&home, &endpoint).unwrap();
        let refused = Err("connection refused".to_owned());
        assert_eq!(talk(Some(&outside), &server, 80, "192.0.2.1:8080"), refused);
    });
}

#[test]
fn what_leaves_has_the_hosts_address_unless_told_otherwise() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let outside = neighbour();
        outside
            .run("ip route add 10.0.0.0/8 via 192.0.2.1; ip route add fd00::/16 via 2001:db8::1");
        let masquerade = "com.docker.network.bridge.enable_ip_masquerade";
        let plain = network("plain", &["10.1.0.0/24", "fd00:1::/64"]);
        let mut routed = network("routed", &["10.2.0.0/24", "fd00:2::/64"]);
        routed
            .options
            .insert(masquerade.to_owned(), "false".to_owned());
        let mut closed = network("closed", &["10.3.0.0/24", "fd00:3::/64"]);
        closed.internal = true;
        for (network, ipv4, ipv6) in [
            (&plain, ip("192.0.2.1"), ip("2001:db8::1")),
            (&routed, ip("10.2.0.2"), ip("fd00:2::2")),
            (
                &closed,
                Err("network unreachable".to_owned()),
                Err("network unreachable".to_owned()),
            ),
        ] {
            ensure(&home, network).unwrap();
            let (container, _) = join(&home, network, 1);
            assert_eq!(talk(Some(&container), &outside, 9, "192.0.2.2:9"), ipv4);
            assert_eq!(talk(Some(&container), &outside, 9, "[2001:db8::2]:9"), ipv6);
        }
        // Nor with a route of its own.
        let (container, _) = join(&home, &closed, 2);
        container.run("ip route add default via 10.3.0.1");
        assert_eq!(talk(Some(&container), &outside, 9, "192.0.2.2:9"), late());
        assert_eq!(
            here("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"),
            "1\n1\n"
        );
    });
}

#[test]
fn a_host_that_was_no_router_is_none_but_for_bridges() {
    if !requires(&[Need::Root]) {
        return;
    }
    for [ipv4, ipv6] in [[false, false], [true, false], [true, true]] {
        on_a_host(move || {
            let directory = tempfile::tempdir().unwrap();
            let home = Home::here_with(directory.path().join("forwarding"));
            let left = neighbour();
            let right = neighbour_by("up1", "198.51.100", "2001:db8:1:");
            left.run("ip route add default via 192.0.2.1; ip route add default via 2001:db8::1");
            right.run(
                "ip route add default via 198.51.100.1; ip route add default via 2001:db8:1::1",
            );
            here(&format!(
                "echo {} > /proc/sys/net/ipv4/ip_forward; echo {} > /proc/sys/net/ipv6/conf/all/forwarding",
                u8::from(ipv4),
                u8::from(ipv6)
            ));
            // One family after the other: the rules are there already when the second one is switched on.
            ensure(&home, &network("four", &["10.1.0.0/24"])).unwrap();
            let both = network("both", &["10.2.0.0/24", "fd00:2::/64"]);
            ensure(&home, &both).unwrap();
            let (container, endpoint) = join(&home, &both, 1);
            let check = |may: bool, to: &str, from: &str| {
                let expected = if may { ip(from) } else { late() };
                assert_eq!(talk(Some(&left), &right, 9, to), expected, "{to}");
            };
            let check_all = || {
                check(ipv4, "198.51.100.2:9", "192.0.2.2");
                check(ipv6, "[2001:db8:1::2]:9", "2001:db8::2");
                for (to, own) in [
                    ("198.51.100.2:9", "198.51.100.1"),
                    ("[2001:db8:1::2]:9", "2001:db8:1::1"),
                ] {
                    assert_eq!(talk(Some(&container), &right, 9, to), ip(own), "{to}");
                }
            };
            // The host asks for a neighbour on behalf of others only once it has a link-local address.
            let find_right = || {
                for (to, own) in [
                    ("198.51.100.2:9", "198.51.100.1"),
                    ("[2001:db8:1::2]:9", "2001:db8:1::1"),
                ] {
                    assert!(
                        (0..10).any(|_| talk(None, &right, 9, to) == ip(own)),
                        "{to}"
                    );
                }
            };
            find_right();
            check_all();
            reload(&home, &[(both.clone(), vec![endpoint.clone()])]).unwrap();
            check_all();
            // A bridge of somebody else is his business.
            here(
                "ip link add other0 type bridge mcast_snooping 0 && ip link set other0 up && ip link set up1 master other0 && \
                 ip address flush dev up1 && ip address add 198.51.100.1/24 dev other0 && \
                 ip address add 2001:db8:1::1/64 dev other0 nodad",
            );
            right.run("ip neighbour flush all");
            find_right();
            check(true, "198.51.100.2:9", "192.0.2.2");
            check(true, "[2001:db8:1::2]:9", "2001:db8::2");
        });
    }
}

#[test]
fn containers_can_be_kept_from_each_other() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let mut network = network("apart", &["10.1.0.0/24", "fd00:1::/64"]);
        network.options.insert(
            "com.docker.network.bridge.enable_icc".to_owned(),
            "false".to_owned(),
        );
        ensure(&home, &network).unwrap();
        let (one, _) = join(&home, &network, 1);
        let (two, _) = join(&home, &network, 2);
        // Nobody answers: neither the server, nor, to who has that address, a neighbour.
        let is_apart = |to: &str| {
            let reached = talk(Some(&one), &two, 80, to);
            let no_way = Err("host unreachable".to_owned());
            assert!(reached == late() || reached == no_way, "{to}: {reached:?}");
        };
        is_apart("10.1.0.3:80");
        // By way of the host, which would send it back into the network, and says that there is a shorter way.
        one.run("ip route add 10.1.0.3 via 10.1.0.1; ip -6 route add fd00:1::3 via fd00:1::1");
        is_apart("10.1.0.3:80");
        is_apart("[fd00:1::3]:80");
        assert_eq!(talk(None, &two, 80, "10.1.0.3:80"), ip("10.1.0.1"));
    });
}

#[test]
fn modes_of_the_gateway() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let outside = neighbour();
        outside
            .run("ip route add 10.0.0.0/8 via 192.0.2.1; ip route add fd00::/16 via 2001:db8::1");
        let option = "com.docker.network.bridge.gateway_mode_ipv4";
        let mut routed = network("routed", &["10.1.0.0/24"]);
        routed
            .options
            .insert(option.to_owned(), "routed".to_owned());
        let mut open = network("open", &["10.2.0.0/24"]);
        open.options
            .insert(option.to_owned(), "nat-unprotected".to_owned());
        for network in [&routed, &open] {
            ensure(&home, network).unwrap();
        }
        let (container, mut endpoint) = join(&home, &routed, 1);
        endpoint.ports = vec![port(8080, 80, Protocol::Tcp)];
        publish(&home, &routed, &endpoint).unwrap();
        assert_eq!(
            talk(Some(&outside), &container, 80, "10.1.0.2:80"),
            ip("192.0.2.2")
        );
        assert_eq!(talk(Some(&outside), &container, 81, "10.1.0.2:81"), late());
        assert_eq!(
            talk(Some(&container), &outside, 9, "192.0.2.2:9"),
            ip("10.1.0.2")
        );
        let (container, _) = join(&home, &open, 1);
        assert_eq!(
            talk(Some(&outside), &container, 81, "10.2.0.2:81"),
            ip("192.0.2.2")
        );
    });
}

#[test]
fn everything_vanishes_and_can_be_made_again() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let network = network("gone", &["10.1.0.0/24", "fd00:1::/64"]);
        ensure(&home, &network).unwrap();
        let empty = here("nft list ruleset");
        let (container, mut endpoint) = join(&home, &network, 1);
        endpoint.ports = vec![
            Publication {
                count: 5000,
                ..port(20000, 10000, Protocol::Tcp)
            },
            Publication {
                address: Some("192.0.2.1".parse().unwrap()),
                ..port(53, 53, Protocol::Udp)
            },
            Publication {
                address: Some("2001:db8::1".parse().unwrap()),
                ..port(53, 53, Protocol::Sctp)
            },
            Publication {
                address: Some("127.0.0.1".parse().unwrap()),
                ..port(99, 99, Protocol::Tcp)
            },
        ];
        publish(&home, &network, &endpoint).unwrap();
        publish(&home, &network, &endpoint).unwrap();
        let full = here("nft list ruleset");
        for part in [
            "tcp . 24999 : 10.1.0.2 . 14999",
            "tcp . 20000 : fd00:1::2 . 10000",
            "192.0.2.1 . udp . 53 : 10.1.0.2 . 53",
            "2001:db8::1 . sctp . 53 : fd00:1::2 . 53",
        ] {
            assert!(full.contains(part), "{part}");
        }
        assert!(!full.contains(" 99 "));
        // Names of interfaces can be read.
        for set in ["bridges", "masqueraded4"] {
            let shown = here(&format!("nft list set inet onggi {set}"));
            assert!(shown.contains("elements = { \"br-gone\" }"), "{shown}");
        }
        // A firewall's restart.
        here("nft flush ruleset");
        reload(&home, &[(network.clone(), vec![endpoint.clone()])]).unwrap();
        assert_eq!(sorted(&here("nft list ruleset")), sorted(&full));
        reload(&home, &[(network.clone(), vec![endpoint.clone()])]).unwrap();
        assert_eq!(sorted(&here("nft list ruleset")), sorted(&full));
        // Another container has the port already when the leftovers of this one are found.
        let (_second, mut next) = join(&home, &network, 2);
        next.ports = vec![port(20000, 80, Protocol::Tcp)];
        publish(&home, &network, &next).unwrap();
        assert!(here("nft list ruleset").contains("tcp . 20000 : 10.1.0.3 . 80"));
        disconnect(&home, &network, &next, None).unwrap();
        sweep(&home, &[endpoint.clone()]).unwrap();
        sweep(&home, &[endpoint.clone()]).unwrap();
        assert_eq!(here("nft list ruleset"), empty);
        assert!(!container.run("ip link").contains("eth0"));
        disconnect(&home, &network, &endpoint, Some(container.descriptor())).unwrap();
        remove(&home, &network).unwrap();
        assert!(!here("nft list ruleset").contains("gone"));
    });
}

fn sorted(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = text
        .split([',', '\n', '\t'])
        .map(|part| part.trim().to_owned())
        .collect();
    parts.sort();
    parts
}

#[test]
fn rules_of_others_are_told_and_left_alone() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let network = network("beside", &["10.1.0.0/24"]);
        ensure(&home, &network).unwrap();
        assert_eq!(warnings(&home, &network).unwrap(), Vec::<String>::new());
        let foreign = "nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; \
                       policy drop; }; add table ip filter; add chain ip filter DOCKER-USER; add chain ip filter FORWARD { type \
                       filter hook forward priority 0; policy drop; }'";
        here(foreign);
        let before = here("nft list table ip filter; nft list table inet firewalld");
        let found = warnings(&home, &network).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().any(|text| {
            text.contains("firewall-cmd --permanent --zone=trusted --add-interface=br-beside")
        }));
        assert!(
            found
                .iter()
                .any(|text| text.contains("iptables -I DOCKER-USER -i br-beside -j ACCEPT")),
            "{found:?}"
        );
        reload(&home, &[(network.clone(), Vec::new())]).unwrap();
        assert_eq!(
            here("nft list table ip filter; nft list table inet firewalld"),
            before
        );
    });
}

#[test]
fn rules_in_words() {
    let mut network: Network = network("words", &["10.1.0.0/24", "fd00:1::/64"]);
    let mut endpoint = crate::namespaces::endpoint(&network, 1);
    endpoint.ports = vec![Publication {
        count: 11,
        ..port(8080, 80, Protocol::Tcp)
    }];
    let words = describe(&network, &[endpoint]);
    assert!(
        words.iter().any(|line| {
            line == "words-1: *:8080-8090/tcp leads to 10.1.0.2:80-90 and [fd00:1::2]:80-90"
        }),
        "{words:#?}"
    );
    network.internal = true;
    assert!(describe(&network, &[]).contains(&"br-words: nothing to or from outside".to_owned()));
}
