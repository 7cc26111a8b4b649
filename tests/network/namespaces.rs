//! Network namespaces that tests make: hosts and containers that are nothing but a network.

use onggi::network::endpoint::Endpoint;
use onggi::network::record::{Driver, Network, Subnet, VERSION};
use onggi::sys::namespace::{bring_loopback_up, inside_network, unshare};
use onggi::sys::process::flags::NEW_NET;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A network namespace that lives as long as this.
pub struct Namespace(OwnedFd);

impl Namespace {
    /// A new one; its loopback interface is up.
    pub fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(NEW_NET).unwrap();
            bring_loopback_up().unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(made.join().unwrap().into())
    }

    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Works inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside_network(self.descriptor(), work).unwrap()
    }

    /// Runs a program inside, which must succeed, and returns what it has written. `/sys` shows this namespace.
    pub fn run(&self, command: &str) -> String {
        let (good, output) = self.attempt(command);
        assert!(good, "{command}: {output}");
        output
    }

    /// Runs a program inside; whether it succeeded, and what it has written.
    pub fn attempt(&self, command: &str) -> (bool, String) {
        let output = self.enter(|| {
            std::process::Command::new("sh")
                .args(["-c", command])
                .output()
                .unwrap()
        });
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }
}

/// Runs a test body as on a host of its own: in a thread that has left the host's network namespace for good.
pub fn on_a_host<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        unshare(NEW_NET).unwrap();
        bring_loopback_up().unwrap();
        body()
    });
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A bridge network with these subnets, whose gateways are the first address of each.
pub fn network(name: &str, subnets: &[&str]) -> Network {
    let subnets = subnets.iter().map(|subnet| {
        let subnet: ipnet::IpNet = subnet.parse().unwrap();
        Subnet {
            subnet,
            gateway: Some(host(subnet, 1)),
            range: None,
            auxiliary: BTreeMap::new(),
        }
    });
    let subnets: Vec<Subnet> = subnets.collect();
    Network {
        version: VERSION,
        id: format!("{:0<64}", hex(name)),
        name: name.to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        driver: Driver::Bridge,
        interface: format!("br-{name}"),
        ipv4: true,
        ipv6: subnets.len() > 1,
        subnets,
        internal: false,
        attachable: false,
        options: BTreeMap::new(),
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

/// The n-th container of a network, with the addresses of that number.
pub fn endpoint(network: &Network, number: usize) -> Endpoint {
    let address = |ipv4: bool| {
        let mut subnets = network.subnets.iter().map(|subnet| subnet.subnet);
        let subnet = subnets.find(|subnet| subnet.addr().is_ipv4() == ipv4)?;
        Some(host(subnet, number + 1))
    };
    let ipv4 = address(true).map(|address| address.to_string().parse().unwrap());
    let ipv6 = address(false).map(|address| address.to_string().parse().unwrap());
    Endpoint {
        id: format!("{:0<64}", hex(&format!("{number:02}{}", network.name))),
        network: network.id.clone(),
        container: format!("{number:064x}"),
        name: format!("{}-{number}", network.name),
        ipv4,
        ipv6,
        mac: format!("02:42:ac:11:00:{number:02x}"),
        ..Endpoint::default()
    }
}

/// The address of that number in a subnet.
fn host(subnet: ipnet::IpNet, number: usize) -> std::net::IpAddr {
    match subnet {
        ipnet::IpNet::V4(subnet) => (u32::from(subnet.network()) + number as u32)
            .to_be_bytes()
            .into(),
        ipnet::IpNet::V6(subnet) => (u128::from(subnet.network()) + number as u128)
            .to_be_bytes()
            .into(),
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
