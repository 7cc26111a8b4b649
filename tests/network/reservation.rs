//! Addresses: never two containers with the same one, however many ask at once; and none is lost, however they end. The
//! others who ask are processes, which this program is itself.

use onggi::network::endpoint::{self, Reserved, Wanted, reserve};
use onggi::network::record::Network;
use onggi::network::request::{Request, SubnetRequest};
use onggi::network::store;
use onggi::paths::Paths;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a process is told: the roots of the store, the network, the container, and whether it goes on and on.
const TASK: &str = "ONGGI_TEST_RESERVE";

fn paths(directory: &std::path::Path) -> Paths {
    Paths::new(directory.join("data"), directory.join("run"))
}

fn network(paths: &Paths, subnet: &str) -> Network {
    let request = Request {
        name: "crowd".to_owned(),
        ipv6: Some(false),
        subnets: vec![SubnetRequest {
            subnet: subnet.to_owned(),
            ..SubnetRequest::default()
        }],
        ..Request::default()
    };
    store::create(paths, &request).unwrap()
}

fn wanted(number: usize) -> Wanted {
    Wanted {
        container: format!("{number:064x}"),
        name: format!("c{number}"),
        ..Wanted::default()
    }
}

fn process(directory: &std::path::Path, network: &Network, number: usize, repeats: bool) -> Child {
    let task = format!(
        "{}\n{}\n{number}\n{repeats}",
        directory.display(),
        network.id
    );
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "reservation::one_of_the_crowd",
            "--ignored",
            "--nocapture",
        ])
        .env(TASK, task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "what the processes of the other tests do"]
fn one_of_the_crowd() {
    let task = std::env::var(TASK).unwrap();
    let words: Vec<&str> = task.lines().collect();
    let paths = paths(words[0].as_ref());
    let network = store::find(&paths, words[1]).unwrap();
    let wanted = wanted(words[2].parse().unwrap());
    if words[3] == "true" {
        loop {
            let mut reserved = reserve(&paths, &network, &wanted).unwrap();
            reserved.update(|endpoint| endpoint.pid = 1).unwrap();
        }
    }
    let reserved = reserve(&paths, &network, &wanted).unwrap();
    let address = reserved.endpoint().ipv4.unwrap();
    let mut output = std::io::stdout().lock();
    writeln!(output, "\naddress {address}").unwrap();
    output.flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The address that a process says it has.
fn address(child: &mut Child) -> IpAddr {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    let said = lines.find_map(|line| line.strip_prefix("address ").map(str::to_owned));
    said.expect("an address").parse().unwrap()
}

#[test]
fn a_hundred_processes_at_once_have_a_hundred_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let paths = paths(directory.path());
    // 125 addresses.
    let network = network(&paths, "10.60.0.0/25");
    let start = |number| process(directory.path(), &network, number, false);
    let mut children: Vec<Child> = (0..100).map(start).collect();
    let addresses: BTreeSet<IpAddr> = children.iter_mut().map(address).collect();
    assert_eq!(addresses.len(), 100);
    let live = endpoint::live(&paths, &network.id).unwrap();
    let found: BTreeSet<IpAddr> = live
        .iter()
        .flat_map(endpoint::Endpoint::addresses)
        .collect();
    assert_eq!((live.len(), found), (100, addresses));
    let error = store::remove(&paths, &network).unwrap_err().to_string();
    assert!(
        error.contains("has active endpoints (name:\"c0\" id:\"000000000000\", "),
        "{error}"
    );
    for mut child in children {
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
    assert!(endpoint::live(&paths, &network.id).unwrap().is_empty());
    assert!(endpoint::dead(&paths).unwrap().is_empty());
    let left = std::fs::read_dir(paths.endpoints(&network.id)).unwrap();
    assert_eq!(left.count(), 1, "only which address was the last");
}

#[test]
fn killed_processes_leave_no_address_behind() {
    let directory = tempfile::tempdir().unwrap();
    let paths = paths(directory.path());
    // 13 addresses.
    let network = network(&paths, "10.61.0.0/28");
    for round in 0..6u64 {
        let start = |number| process(directory.path(), &network, number, true);
        let mut children: Vec<Child> = (0..8).map(start).collect();
        std::thread::sleep(Duration::from_millis(150 + 13 * round));
        for child in &mut children {
            child.kill().unwrap();
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        assert!(endpoint::live(&paths, &network.id).unwrap().is_empty());
    }
    let reserved: Vec<Reserved> = (100..113)
        .map(|number| reserve(&paths, &network, &wanted(number)).unwrap())
        .collect();
    let addresses: BTreeSet<_> = reserved.iter().map(|one| one.endpoint().ipv4).collect();
    assert_eq!(addresses.len(), 13);
    let error = reserve(&paths, &network, &wanted(200))
        .unwrap_err()
        .to_string();
    let said = "no available IPv4 addresses on this network's address pools: crowd (";
    assert!(error.starts_with(said), "{error}");
    endpoint::sweep(&paths, |_| Ok(())).unwrap();
    assert!(endpoint::dead(&paths).unwrap().is_empty());
    assert_eq!(endpoint::live(&paths, &network.id).unwrap().len(), 13);
    drop(reserved);
    assert_eq!(endpoint::live(&paths, &network.id).unwrap(), []);
}

#[test]
fn fixed_addresses_are_honoured_and_their_holders_named() {
    let directory = tempfile::tempdir().unwrap();
    let paths = paths(directory.path());
    let network = network(&paths, "10.62.0.0/29");
    let fixed = |number, address: &str| {
        let wanted = Wanted {
            ipv4: Some(address.parse().unwrap()),
            ..wanted(number)
        };
        reserve(&paths, &network, &wanted)
    };
    let first = fixed(1, "10.62.0.3").unwrap();
    let free = reserve(&paths, &network, &wanted(2)).unwrap();
    let next = reserve(&paths, &network, &wanted(3)).unwrap();
    assert_eq!(free.endpoint().ipv4, Some("10.62.0.2".parse().unwrap()));
    assert_eq!(next.endpoint().ipv4, Some("10.62.0.4".parse().unwrap()));
    for (address, said) in [
        (
            "10.62.0.3",
            "Address already in use: 10.62.0.3 in network crowd is that of container c1",
        ),
        (
            "10.62.0.1",
            "Address already in use: 10.62.0.1 is the gateway of network crowd",
        ),
        (
            "10.62.0.0",
            "address 10.62.0.0 of network crowd is set aside: no container gets it",
        ),
        (
            "10.62.0.7",
            "address 10.62.0.7 of network crowd is set aside: no container gets it",
        ),
        (
            "10.63.0.1",
            "no configured subnet or ip-range contain the IP address 10.63.0.1: network crowd has 10.62.0.0/29",
        ),
    ] {
        assert_eq!(fixed(4, address).unwrap_err().to_string(), said);
    }
    // Whoever was killed with it is told to who gets it.
    let killed = first.endpoint().clone();
    drop(first.into_lock());
    let again = fixed(5, "10.62.0.3").unwrap();
    assert_eq!(again.replaced, [killed]);
}
