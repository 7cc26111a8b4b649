//! What a container has of its networks now, as Docker's API shows it (`NetworkSettings`), and which ports of the host
//! lead into it. While it runs that is read from its endpoints; afterwards there is what it asked for.

use super::engine::Engine;
use super::list::Container;
use super::options::{NetworkMode, NetworkRequest, Options};
use crate::network::endpoint::{self, Endpoint, Protocol, Publication};
use crate::network::record::{DEFAULT, Network};
use crate::network::store;
use crate::store::damage;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A port of a container.
pub type Port = (u16, Protocol);

/// The endpoints of a container that runs.
pub fn endpoints(engine: &Engine, container: &Container) -> Vec<Endpoint> {
    let record = &container.record;
    if !container.status().is_up() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if let NetworkMode::Slirp4netns(_) | NetworkMode::Pasta(_) = record.options.network {
        let state = container.state.iter();
        found.extend(state.map(|state| Endpoint {
            ports: state.ports.clone(),
            ..Endpoint::default()
        }));
    }
    for request in &record.options.networks {
        match endpoint::of(&engine.paths, &request.id, &record.id) {
            Ok(endpoint) => found.extend(endpoint),
            Err(error) => damage::note(
                format_args!("the endpoint of container {} is left out", record.name),
                &error,
            ),
        }
    }
    found
}

/// The names of the networks that it is in.
pub fn networks(options: &Options) -> Vec<&str> {
    match &options.network {
        NetworkMode::Host => vec!["host"],
        NetworkMode::None => vec!["none"],
        NetworkMode::Private if options.networks.is_empty() => vec!["none"],
        NetworkMode::Private => {
            let mut names: Vec<&str> = options.networks.iter().map(name).collect();
            names.sort_unstable();
            names
        }
        _ => Vec::new(),
    }
}

fn name(request: &NetworkRequest) -> &str {
    &request.network
}

/// `80/udp`, `8000-8010`, as images and records have them.
pub fn parse_ports(text: &str) -> Option<(u16, u16, Protocol)> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let protocol = Protocol::from_word(protocol)?;
    (first <= last).then_some((first, last, protocol))
}

/// All ports that its programs may listen on: those of the image, those asked for, and those published.
pub fn exposed<'a>(
    options: &'a Options,
    image: impl IntoIterator<Item = &'a String>,
) -> BTreeSet<Port> {
    let mut all = BTreeSet::new();
    let ranges = image.into_iter().chain(&options.exposed);
    for (first, last, protocol) in ranges.filter_map(|text| parse_ports(text)) {
        all.extend((first..=last).map(|port| (port, protocol)));
    }
    for ports in &options.ports {
        let (first, last) = ports.container;
        all.extend((first..=last).map(|port| (port, ports.protocol)));
    }
    all
}

/// Ports as images and records have them.
pub fn words(ports: &BTreeSet<Port>) -> BTreeSet<String> {
    let ports = ports.iter();
    ports
        .map(|(port, protocol)| format!("{port}/{}", protocol.word()))
        .collect()
}

/// Where each of its ports can be reached: ports of the host by address, none where it is exposed only.
pub fn published(
    endpoints: &[Endpoint],
    exposed: BTreeSet<Port>,
) -> BTreeMap<Port, Vec<(IpAddr, u16)>> {
    if endpoints.is_empty() {
        return BTreeMap::new();
    }
    let mut all: BTreeMap<Port, Vec<(IpAddr, u16)>> =
        exposed.into_iter().map(|port| (port, Vec::new())).collect();
    for publication in endpoints.iter().flat_map(|endpoint| &endpoint.ports) {
        for at in 0..publication.count {
            let port = (
                publication.container.saturating_add(at),
                publication.protocol,
            );
            let bindings = all.entry(port).or_default();
            let host = publication.host.saturating_add(at);
            for binding in addresses(publication).map(|address| (address, host)) {
                if !bindings.contains(&binding) {
                    bindings.push(binding);
                }
            }
        }
    }
    all
}

/// All addresses are told as one of each family.
fn addresses(publication: &Publication) -> impl Iterator<Item = IpAddr> {
    let all = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let any = publication.address.is_none();
    let each = all.into_iter().filter(move |_| any);
    publication.address.into_iter().chain(each)
}

/// `NetworkSettings`.
pub(super) fn network_settings(
    engine: &Engine,
    container: &Container,
    exposed: BTreeSet<Port>,
) -> Value {
    let endpoints = endpoints(engine, container);
    let options = &container.record.options;
    let mut networks = Map::new();
    let mut of_default = json!({});
    let mut requests: Vec<&NetworkRequest> = options.networks.iter().collect();
    requests.sort_by_key(|request| name(request));
    for request in requests {
        let live = endpoints.iter().find(|live| live.network == request.id);
        let described = describe(engine, request, live);
        if request.network == DEFAULT {
            of_default = described.clone();
        }
        networks.insert(request.network.clone(), described);
    }
    if options.networks.is_empty() {
        for name in self::networks(options) {
            let id = store::find(&engine.paths, name).map_or(String::new(), |found| found.id);
            let request = NetworkRequest {
                id,
                ..NetworkRequest::default()
            };
            networks.insert(name.to_owned(), describe(engine, &request, None));
        }
    }
    let copy = |field: &str, none: Value| of_default.get(field).cloned().unwrap_or(none);
    json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": sandbox(container),
        "Ports": ports(&published(&endpoints, exposed)),
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": copy("EndpointID", "".into()),
        "Gateway": copy("Gateway", "".into()),
        "GlobalIPv6Address": copy("GlobalIPv6Address", "".into()),
        "GlobalIPv6PrefixLen": copy("GlobalIPv6PrefixLen", 0.into()),
        "IPAddress": copy("IPAddress", "".into()),
        "IPPrefixLen": copy("IPPrefixLen", 0.into()),
        "IPv6Gateway": copy("IPv6Gateway", "".into()),
        "MacAddress": copy("MacAddress", "".into()),
        "Networks": networks,
    })
}

/// Its network namespace, while there is one that is its own.
fn sandbox(container: &Container) -> String {
    let own = !matches!(
        container.record.options.network,
        NetworkMode::Container(_) | NetworkMode::Path(_)
    );
    let state = container.state.as_ref();
    let program = state.filter(|state| own && state.status().is_up());
    let program = program.and_then(|state| state.program.as_ref());
    program.map_or(String::new(), |program| {
        format!("/proc/{}/ns/net", program.pid)
    })
}

fn ports(published: &BTreeMap<Port, Vec<(IpAddr, u16)>>) -> Value {
    // As Go orders the keys of a map.
    let all: BTreeMap<String, Value> = published
        .iter()
        .map(|((port, protocol), bindings)| {
            let bindings = bindings
                .iter()
                .map(|(address, host)| json!({ "HostIp": address, "HostPort": host.to_string() }));
            let bindings: Vec<Value> = bindings.collect();
            let bindings = (!bindings.is_empty()).then_some(bindings);
            (format!("{port}/{}", protocol.word()), json!(bindings))
        })
        .collect();
    json!(all)
}

/// One of `Networks`.
fn describe(engine: &Engine, request: &NetworkRequest, live: Option<&Endpoint>) -> Value {
    let network = live.and_then(|live| store::find(&engine.paths, &live.network).ok());
    let (gateway, length) = way(
        network.as_ref(),
        live.and_then(|live| live.ipv4).map(IpAddr::V4),
    );
    let (gateway6, length6) = way(
        network.as_ref(),
        live.and_then(|live| live.ipv6).map(IpAddr::V6),
    );
    let text = |address: Option<String>| address.unwrap_or_default();
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let mac = match live {
        Some(live) => live.mac.clone(),
        None => text(request.mac.clone()),
    };
    json!({
        "IPAMConfig": addresses_asked(request),
        "Links": some(&request.links),
        "Aliases": some(&request.aliases),
        "MacAddress": mac,
        "DriverOpts": (!request.options.is_empty()).then_some(&request.options),
        "GwPriority": request.gateway_priority,
        "NetworkID": request.id,
        "EndpointID": live.map_or("", |live| &live.id),
        "Gateway": gateway,
        "IPAddress": text(live.and_then(|live| live.ipv4).map(|address| address.to_string())),
        "IPPrefixLen": length,
        "IPv6Gateway": gateway6,
        "GlobalIPv6Address": text(live.and_then(|live| live.ipv6).map(|address| address.to_string())),
        "GlobalIPv6PrefixLen": length6,
        "DNSNames": live.filter(|_| request.network != DEFAULT).map(names),
    })
}

/// The gateway of an address, and how many bits of it are those of the subnet.
fn way(network: Option<&Network>, address: Option<IpAddr>) -> (String, u8) {
    let found = network.zip(address);
    let Some(subnet) = found.and_then(|(network, address)| network.subnet_of(address)) else {
        return (String::new(), 0);
    };
    let leads_out = network.is_some_and(|network| !network.internal);
    let gateway = subnet.gateway.filter(|_| leads_out);
    (
        gateway.map_or(String::new(), |gateway| gateway.to_string()),
        subnet.subnet.prefix_len(),
    )
}

/// What others in the network find it by, each once.
fn names(live: &Endpoint) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let short = live.container.get(..12).unwrap_or(&live.container);
    let own = [live.name.as_str()].into_iter();
    for name in own
        .chain(live.aliases.iter().map(String::as_str))
        .chain([short])
    {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn addresses_asked(request: &NetworkRequest) -> Value {
    let mut asked = Map::new();
    if let Some(address) = request.ipv4 {
        asked.insert("IPv4Address".to_owned(), json!(address));
    }
    if let Some(address) = request.ipv6 {
        asked.insert("IPv6Address".to_owned(), json!(address));
    }
    if !request.link_local.is_empty() {
        asked.insert("LinkLocalIPs".to_owned(), json!(request.link_local));
    }
    match asked.is_empty() {
        true => Value::Null,
        false => asked.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::options::PortRequest;
    use crate::network::record::{Driver, Subnet, VERSION};

    fn publication(address: Option<&str>, host: u16, container: u16, count: u16) -> Publication {
        Publication {
            address: address.map(|text| text.parse().unwrap()),
            host,
            container,
            count,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn ports_are_those_exposed_and_those_published() {
        let options = Options {
            exposed: vec!["53/udp".to_owned()],
            ports: vec![PortRequest {
                container: (80, 81),
                ..PortRequest::default()
            }],
            ..Options::default()
        };
        let image = [
            "443".to_owned(),
            "nonsense/tcp".to_owned(),
            "9-8".to_owned(),
        ];
        let exposed = exposed(&options, &image);
        let endpoint = Endpoint {
            ports: vec![
                publication(None, 8080, 80, 2),
                publication(Some("127.0.0.1"), 9000, 80, 1),
                publication(Some("127.0.0.1"), 9000, 80, 1),
            ],
            ..Endpoint::default()
        };
        let any = |port: &str| {
            vec![
                json!({"HostIp": "0.0.0.0", "HostPort": port}),
                json!({"HostIp": "::", "HostPort": port}),
            ]
        };
        let mut first = any("8080");
        first.push(json!({"HostIp": "127.0.0.1", "HostPort": "9000"}));
        assert_eq!(
            ports(&published(&[endpoint], exposed.clone())),
            json!({"443/tcp": null, "53/udp": null, "80/tcp": first, "81/tcp": any("8081")})
        );
        assert_eq!(ports(&published(&[], exposed)), json!({}));
    }

    #[test]
    fn the_last_port_has_no_next_one() {
        let endpoint = Endpoint {
            ports: vec![publication(Some("::1"), 65_535, 65_535, 1)],
            ..Endpoint::default()
        };
        assert_eq!(published(&[endpoint], BTreeSet::new()).len(), 1);
    }

    #[test]
    fn names_are_told_once() {
        let live = Endpoint {
            name: "web".to_owned(),
            aliases: ["www", "web", "0123456789ab"].map(str::to_owned).to_vec(),
            container: "0123456789abcdef".to_owned(),
            ..Endpoint::default()
        };
        assert_eq!(names(&live), ["web", "www", "0123456789ab"]);
    }

    #[test]
    fn a_network_without_a_way_out_has_no_gateway() {
        let subnet = |text: &str, gateway: &str| Subnet {
            subnet: text.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            range: None,
            auxiliary: BTreeMap::new(),
        };
        let mut network = Network {
            version: VERSION,
            id: String::new(),
            name: String::new(),
            created: String::new(),
            driver: Driver::Bridge,
            interface: String::new(),
            subnets: vec![
                subnet("10.1.0.0/16", "10.1.0.1"),
                subnet("fd00::/64", "fd00::1"),
            ],
            internal: false,
            attachable: false,
            ipv4: true,
            ipv6: true,
            options: BTreeMap::new(),
            ipam_options: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        let told = |network: &Network, address: &str| way(Some(network), address.parse().ok());
        assert_eq!(told(&network, "10.1.2.3"), ("10.1.0.1".to_owned(), 16));
        assert_eq!(told(&network, "fd00::2"), ("fd00::1".to_owned(), 64));
        network.internal = true;
        assert_eq!(told(&network, "10.1.2.3"), (String::new(), 16));
        assert_eq!(told(&network, "10.2.0.1"), (String::new(), 0));
        assert_eq!(way(None, None), (String::new(), 0));
    }

    #[test]
    fn what_was_asked_for_is_told() {
        let mut request = NetworkRequest::default();
        assert_eq!(addresses_asked(&request), Value::Null);
        request.ipv4 = Some(Ipv4Addr::new(10, 1, 0, 2));
        request.link_local.push("169.254.1.1".parse().unwrap());
        let expected = json!({"IPv4Address": "10.1.0.2", "LinkLocalIPs": ["169.254.1.1"]});
        assert_eq!(addresses_asked(&request), expected);
    }
}
