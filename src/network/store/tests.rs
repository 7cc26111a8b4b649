//! Making, finding and removing networks, in a store of its own.

use super::*;
use crate::network::endpoint::{Wanted, reserve};
use crate::network::request::SubnetRequest;
use ipnet::{IpNet, Ipv6Net};

fn store() -> (tempfile::TempDir, Paths) {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::new(directory.path().join("data"), directory.path().join("run"));
    (directory, paths)
}

fn named(name: &str) -> Request {
    Request {
        name: name.to_owned(),
        ..Request::default()
    }
}

fn with_subnet(name: &str, subnet: &str) -> Request {
    let subnet = SubnetRequest {
        subnet: subnet.to_owned(),
        ..SubnetRequest::default()
    };
    Request {
        subnets: vec![subnet],
        ..named(name)
    }
}

fn names(paths: &Paths) -> Vec<String> {
    let networks = all(paths).unwrap().into_iter();
    networks.map(|network| network.name).collect()
}

#[test]
fn three_are_there_from_the_start_and_stay_what_they_are() {
    let (_store, paths) = store();
    let first = all(&paths).unwrap();
    assert_eq!(all(&paths).unwrap(), first);
    assert_eq!(names(&paths), ["bridge", "host", "none"]);
    let bridge = &first[0];
    assert_eq!(bridge.options[options::BRIDGE_NAME], bridge.interface);
    for name in ["bridge", &bridge.id, &bridge.id[..10]] {
        assert_eq!(find(&paths, name).unwrap(), *bridge);
    }
    for network in &first {
        let said = remove(&paths, network).unwrap_err().to_string();
        let expected = format!(
            "{} is a pre-defined network and cannot be removed",
            network.name
        );
        assert_eq!(said, expected);
    }
}

#[test]
fn many_at_once_make_one_default_bridge_and_no_two_subnets_overlap() {
    let (_store, paths) = store();
    let made = std::thread::scope(|scope| {
        let make = |at: usize| {
            let paths = &paths;
            scope.spawn(move || {
                let bridge = find(paths, "bridge").unwrap().id;
                (bridge, create(paths, &named(&format!("net{at}"))).unwrap())
            })
        };
        let threads: Vec<_> = (0..12).map(make).collect();
        let made = threads.into_iter().map(|thread| thread.join().unwrap());
        made.collect::<Vec<_>>()
    });
    assert!(made.iter().all(|(bridge, _)| *bridge == made[0].0));
    let networks = all(&paths).unwrap();
    let subnets = networks.iter().flat_map(|network| &network.subnets);
    let subnets: Vec<IpNet> = subnets.map(|subnet| subnet.subnet).collect();
    assert!(subnets.len() >= 13);
    for (at, one) in subnets.iter().enumerate() {
        for other in &subnets[at + 1..] {
            assert!(!ipam::overlap(one, other), "{one} {other}");
        }
    }
    let ipv6: Vec<&IpNet> = subnets.iter().filter(|net| net.addr().is_ipv6()).collect();
    let prefix: Option<Ipv6Net> = std::fs::read_to_string(paths.unique_local_prefix())
        .ok()
        .map(|text| text.trim().parse().unwrap());
    assert!(
        ipv6.iter()
            .all(|net| IpNet::from(prefix.unwrap()).contains(*net))
    );
}

#[test]
fn what_collides_is_refused_and_named() {
    let (_store, paths) = store();
    let first = create(&paths, &with_subnet("first", "10.77.0.0/16")).unwrap();
    assert_eq!(first.interface, format!("br-{}", &first.id[..12]));
    let bridge = |name: &str, interface: &str| {
        let option = (options::BRIDGE_NAME.to_owned(), interface.to_owned());
        Request {
            options: [option].into(),
            ..named(name)
        }
    };
    create(&paths, &bridge("second", "br0")).unwrap();
    let none = Request {
        ipv4: Some(false),
        ipv6: Some(false),
        ..named("x")
    };
    let named_but_off = Request {
        ipv4: Some(false),
        ..with_subnet("x", "10.0.0.0/24")
    };
    let unknown_parent = Request {
        driver: "macvlan".to_owned(),
        options: [("parent".to_owned(), "nope0".to_owned())].into(),
        ..named("x")
    };
    for (request, said) in [
        (named("first"), "network with name first already exists"),
        (
            with_subnet("x", "10.77.5.0/24"),
            "Pool overlaps with other one on this address space: 10.77.5.0/24 with 10.77.0.0/16 of network first",
        ),
        (
            bridge("x", "br0"),
            "conflicts with network second (br0): networks have same bridge name",
        ),
        (none, "IPv4 or IPv6 must be enabled"),
        (
            named_but_off,
            "an IPv4 subnet is named although --ipv4 is false",
        ),
        (
            unknown_parent,
            "parent interface nope0 was not found on the host",
        ),
    ] {
        let error = create(&paths, &request).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(names(&paths), ["bridge", "first", "host", "none", "second"]);
    let left = std::fs::read_dir(paths.staging()).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn one_that_is_used_stays_and_one_that_is_gone_gives_nothing() {
    let (_store, paths) = store();
    let network = create(&paths, &named("mine")).unwrap();
    let wanted = Wanted {
        container: "a".repeat(64),
        name: "web".to_owned(),
        ..Wanted::default()
    };
    let reserved = reserve(&paths, &network, &wanted).unwrap();
    let said = remove(&paths, &network).unwrap_err().to_string();
    assert_eq!(
        said,
        "error while removing network: network mine has active endpoints (name:\"web\" id:\"aaaaaaaaaaaa\")"
    );
    drop(reserved);
    remove(&paths, &network).unwrap();
    assert_eq!(names(&paths), ["bridge", "host", "none"]);
    assert!(!paths.endpoints(&network.id).exists());
    for error in [
        reserve(&paths, &network, &wanted).unwrap_err(),
        remove(&paths, &network).unwrap_err(),
        find(&paths, "mine").unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "network mine not found");
    }
}

#[test]
fn a_damaged_one_costs_only_itself() {
    let (_store, paths) = store();
    let good = create(&paths, &named("good")).unwrap();
    let bad = create(&paths, &named("bad")).unwrap();
    let record = network_record_in(&paths.network(&bad.id));
    let of_another = std::fs::read(network_record_in(&paths.network(&good.id))).unwrap();
    for text in [&b""[..], b"{", b"{\"version\": 1}", &of_another] {
        std::fs::write(&record, text).unwrap();
        assert_eq!(names(&paths), ["bridge", "good", "host", "none"]);
        let said = format!("{:#}", find(&paths, &bad.id).unwrap_err());
        assert!(said.contains("is damaged"), "{said}");
        let unreadable = unreadable(&paths).unwrap();
        assert!(unreadable.len() == 1 && unreadable[0].0 == bad.id && is_damage(&unreadable[0].1));
    }
    std::fs::write(&record, "{\"version\": 2}").unwrap();
    let said = format!("{:#}", find(&paths, &bad.id).unwrap_err());
    assert!(said.contains("is version 2"), "{said}");
    for id in [&bad.id, &good.id] {
        discard_damaged(&paths, id).unwrap();
        assert!(
            paths.network(id).exists(),
            "it is of a newer onggi, or nothing is wrong"
        );
    }
    std::fs::remove_file(&record).unwrap();
    discard_damaged(&paths, &bad.id).unwrap();
    assert!(unreadable(&paths).unwrap().is_empty() && !paths.network(&bad.id).exists());
    std::fs::write(paths.unique_local_prefix(), "x").unwrap();
    if surroundings::has_ipv6() {
        let said = create(&paths, &named("other")).unwrap_err().to_string();
        assert!(said.contains("no prefix of 48 bits"), "{said}");
    }
}
