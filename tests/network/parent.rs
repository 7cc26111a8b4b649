//! Interfaces on one of the host's: macvlan, ipvlan, 802.1q numbers; what a kernel lacks is told.

use crate::attach::{interface, join};
use crate::namespaces::{Namespace, endpoint, network, on_a_host};
use crate::support::{Need, User, requires};
use crate::town::{run, town};
use onggi::network::attach::{connect, ensure, remove};
use onggi::network::home::Home;
use onggi::network::record::{Driver, Network};
use std::collections::BTreeMap;
use std::process::Command;

fn with_parent(driver: Driver, parent: &str) -> Network {
    let mut network = network("lan", &["192.0.2.0/24", "2001:db8::/64"]);
    network.driver = driver;
    network.interface = parent.to_owned();
    network
}

fn make_parent() {
    // The host may have one of the name that containers' interfaces have.
    let made =
        "ip link add lan0 type veth peer name lan1 && ip link set lan0 up && ip link set lan1 up &&
        ip link add eth0 type bridge";
    assert!(
        Command::new("sh")
            .args(["-c", made])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn macvlan_has_addresses_and_neighbours() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        make_parent();
        let home = Home::here();
        for (mode, reached, number) in [
            ("bridge", true, 1),
            ("private", false, 3),
            ("vepa", false, 5),
        ] {
            let mut network = with_parent(Driver::Macvlan, "lan0");
            network
                .options
                .insert("macvlan_mode".to_owned(), mode.to_owned());
            ensure(&home, &network).unwrap();
            let (one, _) = join(&home, &network, number);
            let (two, endpoint) = join(&home, &network, number + 1);
            assert_eq!(endpoint.host_interface, "");
            let show = one.run("ip -d link show eth0; ip route");
            for part in [
                &format!("macvlan mode {mode}"),
                &format!("02:42:ac:11:00:0{number}"),
                "default via 192.0.2.1",
            ] {
                assert!(show.contains(part), "{part} in {show}");
            }
            let listener = two.enter(|| std::net::TcpListener::bind(("0.0.0.0", 80)).unwrap());
            let found = one.enter(|| {
                let time = std::time::Duration::from_millis(700);
                std::net::TcpStream::connect_timeout(&(endpoint.ipv4.unwrap(), 80).into(), time)
                    .is_ok()
            });
            assert_eq!(found, reached, "{mode}");
            drop(listener);
            remove(&home, &network).unwrap();
        }
        assert!(
            onggi::network::link::find(&onggi::network::link::socket().unwrap(), "lan0")
                .unwrap()
                .is_some()
        );
    });
}

#[test]
fn passthru_has_the_interface_to_itself() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        make_parent();
        let home = Home::here();
        let mut network = with_parent(Driver::Macvlan, "lan0");
        network
            .options
            .insert("macvlan_mode".to_owned(), "passthru".to_owned());
        ensure(&home, &network).unwrap();
        let (one, _) = join(&home, &network, 1);
        let show = one.run("ip -d link show eth0; ip addr");
        for part in ["macvlan mode passthru", "inet 192.0.2."] {
            assert!(show.contains(part), "{part} in {show}");
        }
        let container = Namespace::new();
        let options = BTreeMap::new();
        let refused = connect(
            &home,
            ensure(&home, &network).unwrap(),
            &network,
            &mut endpoint(&network, 2),
            &interface("eth0", &options),
            container.descriptor(),
        );
        let hint = "an interface with a macvlan in passthru mode is that container's alone: stop it, or use another parent";
        assert_eq!(onggi::error::hint(&refused.unwrap_err()), Some(hint));
    });
}

#[test]
fn several_subnets_have_a_gateway_each() {
    town(User::Root, |town| {
        let words = ["network", "create", "-d", "macvlan", "-o", "parent=out"];
        let subnets = [
            "192.0.2.0/30",
            "203.0.113.0/24",
            "2001:db8:1::/64",
            "2001:db8:2::/64",
        ];
        let subnets = subnets.map(|subnet| ["--subnet", subnet]);
        let gateways = [
            "--gateway",
            "203.0.113.7",
            "--gateway",
            "2001:db8:2::7",
            "lan",
        ];
        town.onggi(&[&words, subnets.as_flattened(), &gateways].concat())
            .code(0);
        let fixed = [
            "--network",
            "lan",
            "--ip",
            "203.0.113.40",
            "--ip6",
            "2001:db8:2::40",
        ];
        for (name, options, ways) in [
            (
                "first",
                &fixed[..2],
                ["192.0.2.2/30", "192.0.2.1", "2001:db8:1::1"],
            ),
            (
                "fixed",
                &fixed,
                ["203.0.113.40/24", "203.0.113.7", "2001:db8:2::7"],
            ),
            // The first one is full.
            (
                "third",
                &fixed[..2],
                ["203.0.113.1/24", "203.0.113.7", "2001:db8:1::1"],
            ),
        ] {
            let inside = run(town, name, options);
            let shown = inside
                .command("sh")
                .args(["-c", "ip addr; ip route; ip -6 route"])
                .output();
            let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
            let [address, gateway, gateway6] = ways;
            for part in [
                format!("inet {address} "),
                format!("default via {gateway} "),
                format!("default via {gateway6} "),
            ] {
                assert!(shown.contains(&part), "{name}: {part} in {shown}");
            }
            let network = "{{.NetworkSettings.Networks.lan";
            let field = |name_of| town.store.field(name, &format!("{network}.{name_of}}}}}"));
            assert_eq!(field("Gateway"), gateway);
            assert_eq!(field("IPv6Gateway"), gateway6);
        }
        let shown = town.onggi(&["network", "inspect", "-f", "{{json .IPAM.Config}}", "lan"]);
        let config = r#"[{"Subnet":"192.0.2.0/30","Gateway":"192.0.2.1"},{"Subnet":"203.0.113.0/24","Gateway":"203.0.113.7"},{"Subnet":"2001:db8:1::/64","Gateway":"2001:db8:1::1"},{"Subnet":"2001:db8:2::/64","Gateway":"2001:db8:2::7"}]"#;
        shown.code(0).stdout(&format!("{config}\n"));
        town.onggi(&["rm", "-f", "first", "fixed", "third"]).code(0);
    });
}

#[test]
fn what_cannot_be_is_told() {
    if !requires(&[Need::Root]) {
        return;
    }
    on_a_host(|| {
        make_parent();
        let home = Home::here();
        for parent in ["lan9", "lan9.50", "lan0.0", "lan0.5000"] {
            let error = ensure(&home, &with_parent(Driver::Macvlan, parent)).unwrap_err();
            assert!(
                error.to_string().ends_with(" was not found on the host"),
                "{error:#}"
            );
        }
        // What this kernel has works; what it has not is named, with what would bring it.
        let network = with_parent(Driver::Macvlan, "lan0.50");
        match ensure(&home, &network) {
            Ok(_) => {
                let (container, _) = join(&home, &network, 1);
                assert!(container.run("ip link").contains("eth0"));
            }
            Err(error) => {
                assert_eq!(
                    format!("{error:#}"),
                    "make the interface `lan0.50`: this kernel has no vlan"
                );
                assert_eq!(
                    onggi::error::hint(&error),
                    Some("load its module as root: modprobe 8021q")
                );
            }
        }
        // Without a parent it is one that leads nowhere.
        for (driver, prefix) in [(Driver::Macvlan, "dm"), (Driver::Ipvlan, "di")] {
            let mut network = with_parent(driver, "");
            network.interface = format!("{prefix}-{}", &network.id[..12]);
            if let Err(error) = ensure(&home, &network) {
                let interface = &network.interface;
                assert_eq!(
                    format!("{error:#}"),
                    format!("make the interface `{interface}`: this kernel has no dummy")
                );
            }
        }
        let network = with_parent(Driver::Ipvlan, "lan0");
        let container = Namespace::new();
        let options = BTreeMap::new();
        let wanted = interface("eth0", &options);
        let made = connect(
            &home,
            ensure(&home, &network).unwrap(),
            &network,
            &mut endpoint(&network, 1),
            &wanted,
            container.descriptor(),
        );
        match made {
            Ok(connected) => drop(connected.keep()),
            Err(error) => {
                assert_eq!(
                    format!("{error:#}"),
                    "connect `eth0` to `lan0`: this kernel has no ipvlan"
                );
                assert_eq!(
                    onggi::error::hint(&error),
                    Some("load its module as root: modprobe ipvlan")
                );
            }
        }
        let user = Home {
            namespace: None,
            routes: false,
            memory: None,
        };
        let error = ensure(&user, &with_parent(Driver::Macvlan, "lan0"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a macvlan network needs an interface of the host, which only root can share"
        );
    });
}
