//! What is on disk of a network: `network.json`, written when it is made, never changed.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The format version of the record.
pub const VERSION: u32 = 1;

/// The network that containers are in which name none.
pub const DEFAULT: &str = "bridge";
/// The networks that are always there.
pub const BUILT_IN: [&str; 3] = [DEFAULT, "host", "none"];

/// A network.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Network {
    /// [`VERSION`].
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among networks.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// How containers are connected.
    pub driver: Driver,
    /// Its interface in the namespace of the networks: the bridge, or the parent of what containers get. Empty where
    /// there is none.
    pub interface: String,
    /// At most one of each family at bridges, any number on a parent interface; none where the driver gives no addresses.
    pub subnets: Vec<Subnet>,
    /// No way out of it, and none in.
    #[serde(default)]
    pub internal: bool,
    /// Docker's `--attachable`, which changes nothing on one host.
    #[serde(default)]
    pub attachable: bool,
    /// Whether it was asked to have IPv4.
    pub ipv4: bool,
    /// Whether it was asked to have IPv6.
    pub ipv6: bool,
    /// Options of the driver by Docker's names, as in `com.docker.network.driver.mtu`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Options of the address management.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// Whether it is one of those that are always there.
    pub fn is_built_in(&self) -> bool {
        BUILT_IN.contains(&&*self.name)
    }

    /// The one that has an address.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        let mut subnets = self.subnets.iter();
        subnets.find(|subnet| subnet.subnet.contains(&address))
    }

    /// Its subnets for a message.
    pub fn subnets_in_words(&self) -> String {
        let subnets = self.subnets.iter().map(|subnet| subnet.subnet.to_string());
        match self.subnets.is_empty() {
            true => "none".to_owned(),
            false => subnets.collect::<Vec<_>>().join(" and "),
        }
    }

    /// Whether containers get IPv6 addresses in it.
    pub fn has_ipv6(&self) -> bool {
        self.subnets
            .iter()
            .any(|subnet| subnet.subnet.addr().is_ipv6())
    }

    /// Whether containers get IPv4 addresses in it.
    pub fn has_ipv4(&self) -> bool {
        self.subnets
            .iter()
            .any(|subnet| subnet.subnet.addr().is_ipv4())
    }

    /// Whether an option of the driver says no, as Go writes it.
    pub fn is_off(&self, option: &str) -> bool {
        let value = self.options.get(option);
        value.and_then(|value| super::options::flag(value)) == Some(false)
    }
}

/// The addresses of one family.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Subnet {
    /// All of them.
    pub subnet: IpNet,
    /// Where packets for elsewhere go; that of a bridge is the bridge itself. Of an internal network too.
    pub gateway: Option<IpAddr>,
    /// Those that containers get which ask for none.
    #[serde(default)]
    pub range: Option<IpNet>,
    /// Names of addresses that no container gets (`--aux-address`).
    #[serde(default)]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// How containers are connected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// By pairs of interfaces (veth(4)) to a bridge.
    Bridge,
    /// By an interface with a MAC address of its own on one of the host's.
    Macvlan,
    /// By an interface that shares the MAC address of one of the host's.
    Ipvlan,
    /// They have the host's interfaces.
    Host,
    /// They have loopback only.
    #[serde(rename = "null")]
    None,
}

impl Driver {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
            Self::Host => "host",
            Self::None => "null",
        }
    }
}
