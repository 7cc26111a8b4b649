//! What monitors and the network process of a user say to each other: one question, one answer, each a message of JSON
//! (unix(7), SOCK_SEQPACKET).
//!
//! ```text
//! monitor                                network process
//!   namespaces ─────────────────────────▶  user + descriptor, then network + descriptor
//!   lease {endpoint, addresses, …} ─────▶  done
//!   publish {endpoint, some ports} ─────▶  published {ports}, or failed
//!   release {endpoint} ─────────────────▶  done
//!   remove {network} ───────────────────▶  done, or failed
//!   restore {network, some ends} ───────▶  done, or failed
//! ```
//!
//! The connection is what holds the leases: its end releases all of them.

use crate::error::{Error, Kind};
use crate::network::endpoint::{Endpoint, Publication};
use crate::network::forward::Wanted;
use crate::network::record::Network;
use crate::sys::socket::{Channel, MESSAGE_MAX, Received};
use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

/// How many requests for ports one message has, and so how many runs of ports its answer: both fit.
pub const PORTS_MAX: usize = 64;

/// A container's place in a network, as far as whoever carries its connections has to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The endpoint's id.
    pub endpoint: String,
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Its addresses in that network; connections from there are carried, from others they are not.
    pub addresses: Vec<IpAddr>,
    /// The network's addresses.
    pub subnets: Vec<IpNet>,
    /// The network's gateways; they stand for the host.
    pub gateways: Vec<IpAddr>,
    /// The network's bridge, by which everything of the container comes.
    pub interface: String,
    /// Whether there is no way out of the network.
    pub internal: bool,
}

impl Lease {
    /// That of an endpoint, with further addresses of its interface.
    pub fn of(network: &Network, endpoint: &Endpoint, further: &[IpAddr]) -> Self {
        let own = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
        Self {
            endpoint: endpoint.id.clone(),
            container: endpoint.container.clone(),
            name: endpoint.name.clone(),
            addresses: own
                .into_iter()
                .flatten()
                .chain(further.iter().copied())
                .collect(),
            subnets: network.subnets.iter().map(|subnet| subnet.subnet).collect(),
            gateways: network
                .subnets
                .iter()
                .filter_map(|subnet| subnet.gateway)
                .collect(),
            interface: network.interface.clone(),
            internal: network.internal,
        }
    }
}

/// What a monitor asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// The namespaces.
    Namespaces,
    /// To carry the connections of a container.
    Lease(Lease),
    /// To lead ports of the host to a leased endpoint.
    Publish {
        /// Which one.
        endpoint: String,
        /// At most [`PORTS_MAX`].
        ports: Vec<Wanted>,
    },
    /// To end a lease.
    Release {
        /// Of which endpoint.
        endpoint: String,
    },
    /// To remove what the containers of a network shared.
    Remove(Box<Network>),
    /// To put back what is missing of rules, routes and a network's bridge.
    Restore {
        /// Which network.
        network: Box<Network>,
        /// Ends of pairs that are its bridge's ports: at most [`PORTS_MAX`].
        ends: Vec<String>,
    },
}

/// What the network process answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// With the descriptor of the user namespace.
    User,
    /// With that of the network namespace.
    Network,
    /// It is so.
    Done,
    /// Ports lead there now.
    Published(Vec<Publication>),
    /// It is not so.
    Failed(Failure),
}

/// An [`Error`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Failure {
    kind: Option<Reason>,
    message: String,
    hint: Option<String>,
}

/// The kinds of errors that there are here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reason {
    Input,
    Conflict,
    Denied,
    Unsupported,
}

impl Failure {
    /// Of an error.
    pub fn of(error: &anyhow::Error) -> Self {
        let kind = match crate::error::kind(error) {
            Some(Kind::BadInput) => Some(Reason::Input),
            Some(Kind::Conflict) => Some(Reason::Conflict),
            Some(Kind::Denied) => Some(Reason::Denied),
            Some(Kind::Unsupported) => Some(Reason::Unsupported),
            _ => None,
        };
        Self {
            kind,
            message: format!("{error:#}"),
            hint: crate::error::hint(error).map(str::to_owned),
        }
    }

    /// As an error again.
    pub fn into_error(self) -> anyhow::Error {
        let kind = match self.kind {
            Some(Reason::Input) => Kind::BadInput,
            Some(Reason::Conflict) => Kind::Conflict,
            Some(Reason::Denied) => Kind::Denied,
            Some(Reason::Unsupported) => Kind::Unsupported,
            None => return anyhow::anyhow!(self.message),
        };
        let error = Error::new(kind, self.message);
        match self.hint {
            Some(hint) => error.hint(hint).into(),
            None => error.into(),
        }
    }
}

/// Sends a message.
pub fn send<T: Serialize>(
    channel: &Channel,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
    wait: bool,
) -> Result<()> {
    let bytes = serde_json::to_vec(message).context("write a message as JSON")?;
    if bytes.len() > MESSAGE_MAX {
        bail!("a message of {} bytes is too long", bytes.len());
    }
    channel
        .send(&[&bytes], descriptor, wait)
        .context("send to the other process")
}

/// What there is to be read.
#[derive(Debug)]
pub enum Read<T> {
    /// A message.
    Message(T, Option<OwnedFd>),
    /// Nothing now.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Takes the next message.
pub fn receive<T: for<'de> Deserialize<'de>>(channel: &Channel, wait: bool) -> Result<Read<T>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    match channel.receive(&mut buffer, wait) {
        Ok(Received::Nothing) => Ok(Read::Nothing),
        Ok(Received::Closed) => Ok(Read::Closed),
        Ok(Received::Message(length, descriptor)) => {
            let message =
                serde_json::from_slice(&buffer[..length]).context("read a message as JSON")?;
            Ok(Read::Message(message, descriptor))
        }
        Err(error) => Err(error).context("receive from the other process"),
    }
}
