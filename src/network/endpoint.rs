//! The place of one container in one network: its addresses, names and published ports.
//!
//! It is a file in the run root that whoever keeps the container running holds locked: an endpoint whose lock is free is
//! nobody's, and its addresses can be given out again. So neither a crash nor a power cut leaks an address.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The content of that file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Further names that others in the network find it by, its host name among them.
    pub aliases: Vec<String>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its MAC address as text, `02:42:…`; empty where the driver gives none.
    pub mac: String,
    /// Its interface in the container.
    pub interface: String,
    /// The other end of that in the namespace of the networks; empty where there is none.
    pub host_interface: String,
    /// Process 1 of the container, by its number in the caller's pid namespace: 0 until there is one.
    pub pid: i32,
    /// Ports of the host that lead here.
    pub ports: Vec<Publication>,
}

/// A run of ports of the host that leads to a run of ports of a container.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Publication {
    /// The host's address; `None`: all of both families.
    pub address: Option<IpAddr>,
    /// First port of the host; chosen already.
    pub host: u16,
    /// First port of the container.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

/// What has ports.
#[derive(
    Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// tcp(7).
    #[default]
    Tcp,
    /// udp(7).
    Udp,
    /// sctp(7).
    Sctp,
}

impl Protocol {
    /// As it is written behind a port.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}
