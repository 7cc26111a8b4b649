//! Reserving, reading and sweeping endpoints, in a store of its own.

use super::*;
use crate::network::record::{Network, Subnet};
use crate::network::request::Request;
use std::collections::BTreeSet;

fn store() -> (tempfile::TempDir, Paths, Network) {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::new(directory.path().join("data"), directory.path().join("run"));
    let network = store::find(&paths, "bridge").unwrap();
    (directory, paths, network)
}

fn wanted(number: usize) -> Wanted {
    Wanted {
        container: format!("{number:064x}"),
        name: format!("c{number}"),
        interface: "eth0".to_owned(),
        ..Wanted::default()
    }
}

#[test]
fn addresses_go_up_and_come_back_when_nobody_holds_them() {
    let (_store, paths, network) = store();
    let first = reserve(&paths, &network, &wanted(1)).unwrap();
    let gateway = network.subnets[0].gateway.unwrap();
    assert_ne!(IpAddr::from(first.endpoint().ipv4.unwrap()), gateway);
    let octets = first.endpoint().ipv4.unwrap().octets();
    assert_eq!(octets[2..], [0, 2]);
    let mac = format!("02:42:{:02x}:{:02x}:00:02", octets[0], octets[1]);
    assert_eq!(first.endpoint().mac, mac);
    let error = reserve(&paths, &network, &wanted(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "endpoint with name c1 already exists in network bridge"
    );
    drop(first);
    assert_eq!(live(&paths, &network.id).unwrap(), []);
    let second = reserve(&paths, &network, &wanted(1)).unwrap();
    assert_eq!(second.endpoint().ipv4.unwrap().octets()[2..], [0, 3]);
    assert_eq!(
        live(&paths, &network.id).unwrap(),
        [second.endpoint().clone()]
    );
}

#[test]
fn the_next_subnet_is_for_those_who_have_no_room_in_the_first() {
    let (_store, paths, _) = store();
    let request = Request {
        name: "lan".to_owned(),
        of_a_user: true,
        ..Request::default()
    };
    let mut network = store::create(&paths, &request).unwrap();
    network.subnets = ["10.0.0.0/30", "10.0.1.0/29", "fd00::/64"]
        .map(|text| Subnet::of(text.parse().unwrap()).unwrap())
        .to_vec();
    let address = |reserved: &Reserved| reserved.endpoint().ipv4.unwrap().to_string();
    let first = reserve(&paths, &network, &wanted(1)).unwrap();
    let second = reserve(&paths, &network, &wanted(2)).unwrap();
    let third = reserve(&paths, &network, &wanted(3)).unwrap();
    assert_eq!(
        [&first, &second, &third].map(address),
        ["10.0.0.2", "10.0.1.2", "10.0.1.3"]
    );
    let fixed = Wanted {
        ipv4: Some(Ipv4Addr::new(10, 0, 1, 6)),
        ..wanted(4)
    };
    let fixed = reserve(&paths, &network, &fixed).unwrap();
    assert_eq!(address(&fixed), "10.0.1.6");
    drop(first);
    let again = reserve(&paths, &network, &wanted(5)).unwrap();
    assert_eq!(address(&again), "10.0.0.2");
    let gateway = Wanted {
        ipv4: Some(Ipv4Addr::new(10, 0, 1, 1)),
        ..wanted(6)
    };
    let error = reserve(&paths, &network, &gateway).unwrap_err();
    assert!(error.to_string().contains("is the gateway"), "{error}");
    let _rest = [6, 7].map(|number| reserve(&paths, &network, &wanted(number)).unwrap());
    let error = reserve(&paths, &network, &wanted(8)).unwrap_err();
    assert!(
        error.to_string().starts_with("no available IPv4 addresses"),
        "{error}"
    );
}

#[test]
fn who_had_an_address_has_it_again_unless_it_is_another_ones() {
    let (_store, paths, network) = store();
    let reserve = |number, before: &[IpAddr]| {
        let wanted = Wanted {
            before: before.to_vec(),
            ..wanted(number)
        };
        reserve(&paths, &network, &wanted).unwrap()
    };
    let addresses = |reserved: &Reserved| reserved.endpoint().addresses().collect::<Vec<_>>();
    let gateway = network.subnets[0].gateway.unwrap();
    let foreign: IpAddr = "198.51.100.7".parse().unwrap();
    let first = reserve(1, &[gateway, foreign]);
    let had = addresses(&first);
    assert!(had.iter().all(|one| *one != gateway && *one != foreign));
    drop(first);
    let second = reserve(2, &[]);
    let first = reserve(1, &had);
    assert_eq!(addresses(&first), had);
    // The next ones go on behind the last that was new.
    let third = addresses(&reserve(3, &[]));
    assert!(
        third
            .iter()
            .all(|one| !had.contains(one) && !addresses(&second).contains(one))
    );
    drop(first);
    let taken = reserve(4, &had);
    assert_eq!(addresses(&taken), had);
    let late = addresses(&reserve(1, &had));
    assert_eq!(late.len(), had.len());
    assert!(late.iter().all(|one| !had.contains(one)));
}

#[test]
fn what_a_killed_process_had_is_dead_and_then_gone() {
    let (_store, paths, network) = store();
    let killed = reserve(&paths, &network, &wanted(1)).unwrap();
    let endpoint = killed.endpoint().clone();
    drop(killed.into_lock());
    assert_eq!(live(&paths, &network.id).unwrap(), []);
    assert_eq!(dead(&paths).unwrap(), std::slice::from_ref(&endpoint));
    let other = reserve(&paths, &network, &wanted(2)).unwrap();
    assert!(other.replaced.is_empty() && other.endpoint().ipv4 != endpoint.ipv4);
    // The same container again: its old rules are to be swept first.
    let again = reserve(&paths, &network, &wanted(1)).unwrap();
    assert_eq!(again.replaced, std::slice::from_ref(&endpoint));
    sweep(&paths, |_| panic!("all are held")).unwrap();
    assert_eq!(live(&paths, &network.id).unwrap().len(), 2);
    let endpoint = again.endpoint().clone();
    drop(again.into_lock());
    sweep(&paths, |_| anyhow::bail!("its link stays")).unwrap_err();
    let mut swept = Vec::new();
    let clean = |dead: &Endpoint| {
        swept.push(dead.clone());
        Ok(())
    };
    sweep(&paths, clean).unwrap();
    assert_eq!(swept, [endpoint]);
    assert!(dead(&paths).unwrap().is_empty());
    let names = std::fs::read_dir(paths.endpoints(&network.id)).unwrap();
    let addresses = other.endpoint().addresses().count();
    assert_eq!(names.count(), 1 + addresses + 1);
}

#[test]
fn readers_never_see_a_live_one_missing() {
    let (_store, paths, network) = store();
    let mut reserved = reserve(&paths, &network, &wanted(1)).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let live = live(&paths, &network.id).unwrap();
                    assert_eq!(live.len(), 1);
                    seen.insert(live[0].pid);
                }
                seen.len()
            })
        });
        for pid in 1..2000 {
            reserved.update(|endpoint| endpoint.pid = pid).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(
            readers
                .map(|reader| reader.join().unwrap())
                .iter()
                .all(|seen| *seen > 0)
        );
    });
}
