//! A network that is wanted, as texts, and what is checked of it before anything is made: names, subnets, addresses.
//!
//! The words are Docker's. Not here: what depends on other networks ([`super::store`]), and options of drivers
//! ([`super::options`]).

use super::ipam;
use super::record::{BUILT_IN, Driver, Subnet};
use crate::error::{Error, Kind, bad_input, not_found};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Its name.
    pub name: String,
    /// Docker's word; empty: `bridge`.
    pub driver: String,
    /// At most one of each family.
    pub subnets: Vec<SubnetRequest>,
    /// No way out of it.
    pub internal: bool,
    /// See [`super::record::Network::attachable`].
    pub attachable: bool,
    /// Whether it has IPv4; `None`: yes.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6; `None`: a bridge has where the host has, others where a subnet says so.
    pub ipv6: Option<bool>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Who gives out addresses; empty: `default`.
    pub ipam_driver: String,
    /// Its options.
    pub ipam_options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// It is for an ordinary user, who may not use the host's interfaces.
    pub of_a_user: bool,
}

/// A subnet as texts; what is empty is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubnetRequest {
    /// As in `10.0.0.0/24`.
    pub subnet: String,
    /// A part of it.
    pub range: String,
    /// An address of it.
    pub gateway: String,
    /// Names and addresses.
    pub auxiliary: BTreeMap<String, String>,
}

/// Longer ones are no names of anything.
const LONGEST_NAME: usize = 255;
/// Words that mean something else where a network is named.
const OTHER_WORDS: [&str; 6] = [
    "default",
    "private",
    "container",
    "ns",
    "pasta",
    "slirp4netns",
];

impl Request {
    /// Refuses what cannot be a network's name.
    pub fn check_name(&self) -> Result<(), Error> {
        let name = &*self.name;
        if BUILT_IN.contains(&name) || OTHER_WORDS.contains(&name) {
            let message = format!("operation is not permitted on predefined {name} network");
            return Err(Error::new(Kind::Conflict, message));
        }
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let is_name = name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.bytes().all(is_inner)
            && name.len() <= LONGEST_NAME;
        match is_name {
            true => Ok(()),
            false => Err(bad_input(format!(
                "invalid network name: {name:?}, only [a-zA-Z0-9][a-zA-Z0-9_.-]* up to {LONGEST_NAME} characters are allowed"
            ))),
        }
    }

    /// The driver.
    pub fn driver(&self) -> Result<Driver, Error> {
        let refused = |kind, message: &str, hint: &str| Err(Error::new(kind, message).hint(hint));
        match &*self.driver {
            "" | "bridge" => Ok(Driver::Bridge),
            name @ ("macvlan" | "ipvlan") if self.of_a_user => refused(
                Kind::Unsupported,
                &format!(
                    "network driver {name} is for root: it puts interfaces on those of the host, which an ordinary user may not"
                ),
                "a network with the driver bridge needs no privileges",
            ),
            "macvlan" => Ok(Driver::Macvlan),
            "ipvlan" => Ok(Driver::Ipvlan),
            name @ ("host" | "null") => refused(
                Kind::Conflict,
                &format!("only one instance of {name:?} network is allowed"),
                "it is always there: --network host or --network none",
            ),
            "overlay" => refused(
                Kind::Unsupported,
                "network driver overlay is for clusters of Swarm, which is not here",
                "on one host a network with the driver bridge does the same",
            ),
            name => Err(not_found(format!(
                "could not find plugin {name} in v1 plugin registry: plugin not found"
            ))
            .hint("the drivers are bridge, macvlan and ipvlan")),
        }
    }

    /// Whether containers get addresses; refuses who gives them out elsewhere.
    pub fn gives_addresses(&self) -> Result<bool, Error> {
        match &*self.ipam_driver {
            "" | "default" => Ok(true),
            "null" if self.subnets.is_empty() => Ok(false),
            "null" => {
                let message =
                    "the IPAM driver null gives out no addresses: no subnet can be named with it";
                Err(bad_input(message))
            }
            other => Err(not_found(format!(
                "could not find plugin {other} in v1 plugin registry: plugin not found"
            ))
            .hint("`default` gives out addresses, `null` none")),
        }
    }

    /// The subnets that were named, checked: a bridge has one of each family, as Docker's.
    pub fn subnets(&self, driver: Driver) -> Result<Vec<Subnet>, Error> {
        let mut subnets: Vec<Subnet> = Vec::new();
        for request in &self.subnets {
            let subnet = request
                .parse()
                .map_err(|reason| bad_input(format!("invalid network config: {reason}")))?;
            if let Some(other) = subnets
                .iter()
                .find(|other| ipam::overlap(&other.subnet, &subnet.subnet))
            {
                let message = format!(
                    "invalid pool request: Pool overlaps with other one on this address space: {} and {} are both of this network",
                    other.subnet, subnet.subnet
                );
                return Err(bad_input(message));
            }
            let is_same =
                |other: &Subnet| other.subnet.addr().is_ipv4() == subnet.subnet.addr().is_ipv4();
            if driver == Driver::Bridge && subnets.iter().any(is_same) {
                let message = "bridge driver doesn't support multiple subnets";
                let hint = "of each family: a larger subnet with --ip-range, or a second network that containers join as \
                            well, does what several subnets do";
                return Err(bad_input(message).hint(hint));
            }
            subnets.push(subnet);
        }
        Ok(subnets)
    }
}

impl SubnetRequest {
    fn parse(&self) -> Result<Subnet, String> {
        let text = &self.subnet;
        let subnet: IpNet = block(text, "subnet")?;
        if subnet.prefix_len() == 0 || subnet.addr().is_multicast() || subnet.addr().is_loopback() {
            return Err(format!(
                "invalid subnet {text}: hosts have no addresses of it"
            ));
        }
        let range = match &*self.range {
            "" => None,
            text => Some(range(text, &subnet)?),
        };
        let gateway = match &*self.gateway {
            "" => None,
            text => Some(
                member(text, &subnet)
                    .map_err(|reason| format!("invalid gateway {text}: {reason}"))?,
            ),
        };
        let mut found = Subnet {
            subnet,
            gateway,
            range,
            auxiliary: BTreeMap::new(),
        };
        for (name, text) in &self.auxiliary {
            let wrong = |reason: String| format!("invalid auxiliary address {name}: {reason}");
            let address = member(text, &subnet).map_err(wrong)?;
            if !ipam::may_be_given(&found, address) {
                return Err(wrong(format!("Address already in use: {address}")));
            }
            found.auxiliary.insert(name.clone(), address);
        }
        found.complete()?;
        Ok(found)
    }
}

impl Subnet {
    /// One of which nothing else was said.
    pub(super) fn of(subnet: IpNet) -> Result<Self, Error> {
        let mut made = Self {
            subnet,
            gateway: None,
            range: None,
            auxiliary: BTreeMap::new(),
        };
        made.complete().map_err(bad_input)?;
        Ok(made)
    }

    /// Chooses the gateway: the first address that has no name.
    fn complete(&mut self) -> Result<(), String> {
        if self.gateway.is_none() {
            let whole = Self {
                range: None,
                ..self.clone()
            };
            let free = ipam::next(&whole, None, |_| Ok(false)).ok().flatten();
            let none = || {
                format!(
                    "invalid subnet {}: it has no address for a gateway",
                    self.subnet
                )
            };
            self.gateway = Some(free.ok_or_else(none)?);
        }
        match ipam::next(self, None, |_| Ok(false)) {
            Ok(Some(_)) => Ok(()),
            _ => Err(format!(
                "invalid subnet {}: it has no address for a container beside its gateway",
                self.subnet
            )),
        }
    }
}

/// A block of addresses that begins where it says.
fn block(text: &str, what: &str) -> Result<IpNet, String> {
    let parsed = IpNet::from_str(text);
    let block =
        parsed.map_err(|_| format!("invalid {what} {text}: invalid CIDR block notation"))?;
    match block.trunc() {
        right if right == block => Ok(block),
        right => Err(format!("invalid {what} {text}: it should be {right}")),
    }
}

fn range(text: &str, subnet: &IpNet) -> Result<IpNet, String> {
    let wrong = |reason: &dyn Display| Err(format!("invalid ip-range {text}: {reason}"));
    let range = block(text, "ip-range")?;
    if range.addr().is_ipv4() != subnet.addr().is_ipv4() {
        return wrong(&format_args!(
            "parent subnet is an {} block",
            family(subnet)
        ));
    }
    if range.prefix_len() < subnet.prefix_len() {
        return wrong(&format_args!(
            "CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    match subnet.contains(&range) {
        true => Ok(range),
        false => wrong(&format_args!(
            "parent subnet {subnet} doesn't contain ip-range"
        )),
    }
}

/// An address of a subnet that hosts may have.
fn member(text: &str, subnet: &IpNet) -> Result<IpAddr, String> {
    let address = IpAddr::from_str(text).map_err(|_| "invalid address".to_owned())?;
    if address.is_ipv4() != subnet.addr().is_ipv4() {
        return Err(format!("parent subnet is an {} block", family(subnet)));
    }
    if !subnet.contains(&address) {
        return Err(format!(
            "parent subnet {subnet} doesn't contain this address"
        ));
    }
    match ipam::is_special(subnet, address) {
        true => Err(format!("{address} means all of {subnet}")),
        false => Ok(address),
    }
}

fn family(subnet: &IpNet) -> &'static str {
    match subnet {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(words: [&str; 3], auxiliary: &[(&str, &str)]) -> SubnetRequest {
        let [subnet, range, gateway] = words.map(str::to_owned);
        let auxiliary = auxiliary.iter();
        SubnetRequest {
            subnet,
            range,
            gateway,
            auxiliary: auxiliary
                .map(|(name, address)| ((*name).to_owned(), (*address).to_owned()))
                .collect(),
        }
    }

    fn parsed(subnets: &[SubnetRequest]) -> Result<Vec<Subnet>, String> {
        let request = Request {
            subnets: subnets.to_vec(),
            ..Request::default()
        };
        request
            .subnets(Driver::Bridge)
            .map_err(|error| error.message)
    }

    #[test]
    fn the_gateway_is_the_first_address_without_a_name() {
        for (words, auxiliary, gateway) in [
            (["10.0.0.0/24", "", ""], &[][..], "10.0.0.1"),
            (
                ["10.0.0.0/24", "", ""],
                &[("router", "10.0.0.1")],
                "10.0.0.2",
            ),
            (["10.0.0.0/24", "10.0.0.128/25", ""], &[], "10.0.0.1"),
            (["10.0.0.0/24", "", "10.0.0.254"], &[], "10.0.0.254"),
            (["fd00:1::/64", "", ""], &[], "fd00:1::1"),
            (["10.0.0.4/31", "", ""], &[], "10.0.0.4"),
        ] {
            let found = parsed(&[subnet(words, auxiliary)]).unwrap();
            assert_eq!(found[0].gateway.unwrap().to_string(), gateway, "{words:?}");
        }
    }

    #[test]
    fn subnets_that_make_no_sense_are_refused_in_dockers_words() {
        for (words, said) in [
            (
                ["10.0.0.0", "", ""],
                "invalid subnet 10.0.0.0: invalid CIDR block notation",
            ),
            (
                ["10.0.0.0/33", "", ""],
                "invalid subnet 10.0.0.0/33: invalid CIDR block notation",
            ),
            (
                ["10.0.0.1/24", "", ""],
                "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24",
            ),
            (
                ["127.0.0.0/8", "", ""],
                "invalid subnet 127.0.0.0/8: hosts have no addresses of it",
            ),
            (
                ["10.0.0.4/32", "", ""],
                "invalid subnet 10.0.0.4/32: it has no address for a container beside its gateway",
            ),
            (
                ["10.0.0.0/24", "10.0.0.9/32", "10.0.0.9"],
                "invalid subnet 10.0.0.0/24: it has no address for a container beside its gateway",
            ),
            (
                ["0.0.0.0/0", "", ""],
                "invalid subnet 0.0.0.0/0: hosts have no addresses of it",
            ),
            (
                ["ff02::/64", "", ""],
                "invalid subnet ff02::/64: hosts have no addresses of it",
            ),
            (
                ["10.0.0.0/24", "10.0.0.0/16", ""],
                "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
            ),
            (
                ["10.0.0.0/24", "10.0.1.0/25", ""],
                "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
            ),
            (
                ["10.0.0.0/24", "10.0.0.1/25", ""],
                "invalid ip-range 10.0.0.1/25: it should be 10.0.0.0/25",
            ),
            (
                ["10.0.0.0/24", "fd00::/64", ""],
                "invalid ip-range fd00::/64: parent subnet is an IPv4 block",
            ),
            (
                ["10.0.0.0/24", "x", ""],
                "invalid ip-range x: invalid CIDR block notation",
            ),
            (
                ["10.0.0.0/24", "", "10.0.1.1"],
                "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address",
            ),
            (
                ["10.0.0.0/24", "", "fd00::1"],
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ),
            (
                ["10.0.0.0/24", "", "x"],
                "invalid gateway x: invalid address",
            ),
            (
                ["10.0.0.0/24", "", "10.0.0.255"],
                "invalid gateway 10.0.0.255: 10.0.0.255 means all of 10.0.0.0/24",
            ),
        ] {
            let error = parsed(&[subnet(words, &[])]).unwrap_err();
            assert_eq!(error, format!("invalid network config: {said}"));
        }
        for (address, said) in [
            ("10.0.0.1", "Address already in use: 10.0.0.1"),
            (
                "10.0.1.1",
                "parent subnet 10.0.0.0/24 doesn't contain this address",
            ),
            ("", "invalid address"),
        ] {
            let words = ["10.0.0.0/24", "", "10.0.0.1"];
            let error = parsed(&[subnet(words, &[("a", address)])]).unwrap_err();
            assert_eq!(
                error,
                format!("invalid network config: invalid auxiliary address a: {said}")
            );
        }
    }

    #[test]
    fn a_bridge_has_one_subnet_of_a_family() {
        let several = |driver, a, b| {
            let request = Request {
                subnets: vec![subnet([a, "", ""], &[]), subnet([b, "", ""], &[])],
                ..Request::default()
            };
            let count = request.subnets(driver).map(|subnets| subnets.len());
            count.map_err(|error| error.message)
        };
        for driver in [Driver::Bridge, Driver::Macvlan] {
            assert_eq!(several(driver, "10.0.0.0/24", "fd00::/64"), Ok(2));
            let error = several(driver, "10.0.0.0/24", "10.0.0.0/25").unwrap_err();
            assert!(
                error.starts_with("invalid pool request: Pool overlaps"),
                "{error}"
            );
        }
        for [one, two] in [["10.0.0.0/24", "10.0.1.0/24"], ["fd00::/64", "fd01::/64"]] {
            let error = several(Driver::Bridge, one, two).unwrap_err();
            assert_eq!(error, "bridge driver doesn't support multiple subnets");
            assert_eq!(several(Driver::Macvlan, one, two), Ok(2));
        }
    }

    #[test]
    fn names_and_drivers() {
        let named = |name: &str| Request {
            name: name.to_owned(),
            ..Request::default()
        };
        for good in ["n", "my-net", "A_.-1", &"a".repeat(255), &"0".repeat(64)] {
            assert!(named(good).check_name().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a b",
            "a/b",
            "a:b",
            "a,b",
            "그물",
            "a\n",
            &"a".repeat(256),
        ] {
            let said = named(bad).check_name().unwrap_err().message;
            assert!(said.starts_with("invalid network name: "), "{said}");
        }
        for reserved in ["bridge", "host", "none", "default", "container", "pasta"] {
            let said = named(reserved).check_name().unwrap_err().message;
            assert!(
                said.starts_with("operation is not permitted on predefined "),
                "{said}"
            );
        }
        let driver = |driver: &str, of_a_user| {
            let driver = driver.to_owned();
            let request = Request {
                driver,
                of_a_user,
                ..Request::default()
            };
            request.driver().map_err(|error| error.kind)
        };
        for (word, of_a_user, expected) in [
            ("", true, Ok(Driver::Bridge)),
            ("bridge", false, Ok(Driver::Bridge)),
            ("macvlan", false, Ok(Driver::Macvlan)),
            ("ipvlan", false, Ok(Driver::Ipvlan)),
            ("macvlan", true, Err(Kind::Unsupported)),
            ("host", false, Err(Kind::Conflict)),
            ("overlay", false, Err(Kind::Unsupported)),
            ("weave", false, Err(Kind::NotFound)),
        ] {
            assert_eq!(driver(word, of_a_user), expected, "{word}");
        }
    }
}
