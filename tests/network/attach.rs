//! Bridges, pairs, addresses and routes.

use crate::namespaces::{Namespace, endpoint, network, on_a_host};
use crate::support::{Need, requires};
use onggi::network::attach::{Interface, connect, disconnect, ensure, remove};
use onggi::network::endpoint::Endpoint;
use onggi::network::home::Home;
use onggi::network::link;
use onggi::network::record::Network;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// An interface with both default routes.
pub fn interface<'a>(name: &'a str, options: &'a BTreeMap<String, String>) -> Interface<'a> {
    Interface {
        name,
        default_ipv4: true,
        default_ipv6: true,
        link_local: &[],
        options,
        egress: None,
    }
}

/// A container in a network.
pub fn join(home: &Home, network: &Network, number: usize) -> (Namespace, Endpoint) {
    let container = Namespace::new();
    let mut endpoint = endpoint(network, number);
    let options = BTreeMap::new();
    connect(
        home,
        ensure(home, network).unwrap(),
        network,
        &mut endpoint,
        &interface("eth0", &options),
        container.descriptor(),
    )
    .unwrap()
    .keep();
    (container, endpoint)
}

fn refuse_or_connect(from: &Namespace, to: SocketAddr) -> std::io::Result<TcpStream> {
    from.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)))
}

#[test]
fn containers_reach_each_other_and_the_gateway_at_once() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let network = network("one", &["10.1.0.0/24", "fd00:1::/64"]);
        ensure(&home, &network).unwrap();
        ensure(&home, &network).unwrap();
        let (server, of_server) = join(&home, &network, 1);
        for number in 2..12 {
            let (client, _) = join(&home, &network, number);
            let start = Instant::now();
            for address in [
                IpAddr::from(of_server.ipv4.unwrap()),
                of_server.ipv6.unwrap().into(),
            ] {
                let listener = server.enter(|| TcpListener::bind((address, 80)).unwrap());
                let mut stream = refuse_or_connect(&client, (address, 80).into()).unwrap();
                stream.write_all(b"hello").unwrap();
                drop(stream);
                let mut text = String::new();
                listener
                    .accept()
                    .unwrap()
                    .0
                    .read_to_string(&mut text)
                    .unwrap();
                assert_eq!(text, "hello");
            }
            // A first packet that is lost is sent again after a second.
            assert!(
                start.elapsed() < Duration::from_millis(900),
                "{:?}",
                start.elapsed()
            );
            let gateway = network.subnets[0].gateway.unwrap();
            assert!(
                refuse_or_connect(&client, (gateway, 9).into())
                    .is_err_and(|error| { error.kind() == std::io::ErrorKind::ConnectionRefused })
            );
        }
    });
}

#[test]
fn what_a_container_has_is_what_was_asked_for() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let mut network = network("two", &["10.2.0.0/16", "fd00:2::/64"]);
        network.options.insert(
            "com.docker.network.driver.mtu".to_owned(),
            "1400".to_owned(),
        );
        ensure(&home, &network).unwrap();
        let container = Namespace::new();
        let mut endpoint = endpoint(&network, 4);
        let list = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.hop_limit=33";
        let options = [(
            "com.docker.network.endpoint.sysctls".to_owned(),
            list.to_owned(),
        )]
        .into();
        let own = ["169.254.7.7".parse().unwrap(), "fe80::7".parse().unwrap()];
        let wanted = Interface {
            link_local: &own,
            ..interface("eth1", &options)
        };
        let connected = connect(
            &home,
            ensure(&home, &network).unwrap(),
            &network,
            &mut endpoint,
            &wanted,
            container.descriptor(),
        )
        .unwrap();
        assert_eq!(endpoint.host_interface.len(), 15);
        let show = container.run("ip address show eth1; ip -d link show eth1; ip route; ip -6 route; cat /proc/sys/net/ipv4/conf/eth1/log_martians /proc/sys/net/ipv6/conf/eth1/hop_limit");
        for part in [
            "mtu 1400",
            "state UP",
            "02:42:ac:11:00:04",
            "10.2.0.5/16 brd 10.2.255.255",
            "169.254.7.7/16",
            "fd00:2::5/64",
            "fe80::7/64",
            "fe80::42:acff:fe11:4/64",
            "addrgenmode none",
            "default via 10.2.0.1 dev eth1",
            "default via fd00:2::1 dev eth1",
            "1\n33\n",
        ] {
            assert!(show.contains(part), "{part} in {show}");
        }
        assert!(!show.contains("tentative"), "{show}");
        // Dropped, it is taken away again.
        drop(connected);
        assert!(!container.run("ip link").contains("eth1"));
        assert!(
            link::find(&link::socket().unwrap(), &endpoint.host_interface)
                .unwrap()
                .is_none()
        );
    });
}

#[test]
fn what_is_left_disappears_and_only_that() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let network = network("three", &["10.3.0.0/24"]);
        ensure(&home, &network).unwrap();
        let before = link::find(&link::socket().unwrap(), "br-three")
            .unwrap()
            .unwrap();
        let (container, endpoint) = join(&home, &network, 1);
        assert!(
            container
                .run("ip address show eth0")
                .contains("10.3.0.2/24")
        );
        assert!(!container.run("ip address show eth0").contains("inet6"));
        disconnect(&home, &network, &endpoint, Some(container.descriptor())).unwrap();
        disconnect(&home, &network, &endpoint, None).unwrap();
        assert!(!container.run("ip link").contains("eth0"));
        let after = link::find(&link::socket().unwrap(), "br-three")
            .unwrap()
            .unwrap();
        assert_eq!((before.mac, before.index), (after.mac, after.index));
        remove(&home, &network).unwrap();
        remove(&home, &network).unwrap();
        assert_eq!(
            link::find(&link::socket().unwrap(), "br-three").unwrap(),
            None
        );
    });
}

#[test]
fn a_bridge_of_the_administrator_is_used_and_stays() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        let home = Home::here();
        let network = network("four", &["10.4.0.0/24"]);
        let host = std::process::Command::new("sh")
            .args([
                "-c",
                "ip link add br-four type bridge; ip link add veth-four type veth peer name other",
            ])
            .status();
        assert!(host.unwrap().success());
        ensure(&home, &network).unwrap();
        let (container, _) = join(&home, &network, 1);
        assert!(
            refuse_or_connect(&container, "10.4.0.1:9".parse().unwrap())
                .is_err_and(|error| { error.kind() == std::io::ErrorKind::ConnectionRefused })
        );
        remove(&home, &network).unwrap();
        assert!(
            link::find(&link::socket().unwrap(), "br-four")
                .unwrap()
                .is_some()
        );
        let wrong = Network {
            interface: "veth-four".to_owned(),
            ..network
        };
        let error = ensure(&home, &wrong).unwrap_err().to_string();
        assert_eq!(
            error,
            "the interface `veth-four` is there already and is no bridge"
        );
    });
}

#[test]
fn in_a_namespace_of_its_own_it_is_the_same() {
    if !requires(&[Need::Root]) {
        return;
    }
    let namespace = Namespace::new();
    let home = Home {
        namespace: Some(namespace.descriptor().try_clone_to_owned().unwrap()),
        routes: false,
        memory: None,
    };
    let network = network("five", &["10.5.0.0/24", "fd00:5::/64"]);
    ensure(&home, &network).unwrap();
    let (container, endpoint) = join(&home, &network, 1);
    assert!(namespace.run("ip link").contains(&endpoint.host_interface));
    assert!(
        refuse_or_connect(&container, "[fd00:5::1]:9".parse().unwrap())
            .is_err_and(|error| { error.kind() == std::io::ErrorKind::ConnectionRefused })
    );
    assert_eq!(namespace.run("cat /proc/sys/net/ipv4/ip_forward"), "0\n");
    disconnect(&home, &network, &endpoint, None).unwrap();
    assert!(!namespace.run("ip link").contains(&endpoint.host_interface));
}

#[test]
fn who_can_come_back_goes_into_a_namespace_himself() {
    if !requires(&[Need::Root]) {
        return;
    }
    let look = || {
        let place = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        (std::thread::current().id(), place)
    };
    let [one, other] = [Namespace::new(), Namespace::new()];
    let (thread, here) = look();
    let (within, there) = one.enter(look);
    assert!(within == thread && there != here);
    let (further, back) = one.enter(|| (other.enter(look).1, look().1));
    assert!(back == there && further != there && further != here);
    let panic = std::panic::catch_unwind(|| one.enter(|| panic!("expected")));
    assert!(panic.is_err() && look() == (thread, here));
}
