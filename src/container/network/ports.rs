//! The ports of the host that lead to a container: opened by root's monitor itself, for an ordinary user by his network
//! process.

use crate::container::engine::Engine;
use crate::container::options::{NetworkRequest, Options, PortRequest};
use crate::container::record::Record;
use crate::error::{Error, Kind, bad_input};
use crate::network::endpoint::{self, Endpoint, Protocol, Publication};
use crate::network::forward::inside::Inside;
use crate::network::forward::{Forwarder, Target, Wanted};
use crate::network::record::Network;
use crate::network::store;
use crate::network::user::{Client, Lease};
use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// The option of a network by which its containers' ports are not those of all addresses of the host.
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";

/// Who carries connections to one container.
#[derive(Default)]
pub(super) struct Ports {
    /// Root's: what comes from the machine itself, by loopback; the rest is the kernel's work.
    forwarder: Option<Forwarder>,
    /// A user's.
    client: Option<Client>,
}

impl Ports {
    /// Those of a user, if that is his network process.
    pub fn new(client: Option<Client>) -> Self {
        Self {
            forwarder: None,
            client,
        }
    }

    /// Has connections of an endpoint carried and, if it is to have them, opens the ports that were asked for; what came of
    /// that.
    pub fn open(
        &mut self,
        record: &Record,
        network: &Network,
        request: &NetworkRequest,
        endpoint: &Endpoint,
        is_published: bool,
    ) -> Result<Vec<Publication>> {
        let wanted = match is_published {
            true => wanted(&record.options, binding(network)?)?,
            false => Vec::new(),
        };
        if let Some(client) = &self.client {
            let lease = Lease::of(network, endpoint, &request.link_local);
            return client.lease(&lease, &wanted);
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let gateways = network.subnets.iter().filter_map(|subnet| subnet.gateway);
        let target = Target {
            id: endpoint.id.clone(),
            name: record.name.clone(),
            ipv4: endpoint.ipv4,
            ipv6: endpoint.ipv6,
            gateways: gateways.collect(),
        };
        let mut forwarder = Forwarder::new(Inside::Here)?;
        let opened = forwarder.publish(target, &wanted)?;
        self.forwarder = Some(forwarder);
        Ok(opened)
    }

    /// Ends what was opened for an endpoint.
    pub fn close(&mut self, endpoint: &Endpoint) -> Result<()> {
        if let Some(client) = &self.client {
            return client.release(&endpoint.id);
        }
        if !endpoint.ports.is_empty() {
            self.forwarder = None;
        }
        Ok(())
    }

    /// Whether a user's network process was killed.
    pub fn are_lost(&self) -> bool {
        let mut process = self
            .client
            .iter()
            .map(|client| PollFd::new(client, PollFlags::IN));
        let Some(mut process) = process.next() else {
            return false;
        };
        let ready = poll(
            std::slice::from_mut(&mut process),
            Some(&Timespec::default()),
        );
        ready.is_ok_and(|ready| ready > 0)
    }

    /// Another process carries them from now on; nobody where there is none.
    pub fn entrust(&mut self, client: Option<Client>) {
        self.client = client;
    }

    /// Has what was opened for an endpoint carried again.
    pub fn reopen(
        &self,
        network: &Network,
        request: &NetworkRequest,
        endpoint: &Endpoint,
    ) -> Result<()> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        let wanted = endpoint.ports.iter().map(|port| Wanted {
            address: port.address,
            host: Some((port.host, port.host + (port.count - 1))),
            container: (port.container, port.container + (port.count - 1)),
            protocol: port.protocol,
        });
        let lease = Lease::of(network, endpoint, &request.link_local);
        client.lease(&lease, &wanted.collect::<Vec<_>>()).map(drop)
    }

    /// What is to be waited for.
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        let process = self.client.as_ref().map(AsFd::as_fd);
        self.forwarder.as_ref().map(AsFd::as_fd).or(process)
    }

    /// Something may have happened to that.
    pub fn turn(&mut self) {
        if let Some(forwarder) = &mut self.forwarder {
            // What has failed for one connection has ended it; the next one is another matter.
            let _ = forwarder.turn();
        }
    }
}

/// Who has a port that was refused, if that is another container: each of root's has a monitor that knows its own only.
pub(super) fn name_holder(engine: &Engine, error: anyhow::Error) -> anyhow::Error {
    let refused = error.downcast_ref::<Error>();
    let Some(refused) = refused.filter(|error| error.kind == Kind::Conflict) else {
        return error;
    };
    let place = refused
        .message
        .split(" failed: ")
        .next()
        .unwrap_or_default();
    let port = place.rsplit(':').next().and_then(|text| text.parse().ok());
    let Some(holder) = port.and_then(|port| holder(engine, port)) else {
        return error;
    };
    let hint = format!("container `{holder}` has it: choose another port, or stop that");
    Error::new(Kind::Conflict, refused.message.clone())
        .hint(hint)
        .into()
}

/// The name of the container that runs and has a port of the host.
fn holder(engine: &Engine, port: u16) -> Option<String> {
    let has = |endpoint: &Endpoint| {
        let mut runs = endpoint.ports.iter();
        runs.any(|run| (run.host..=run.host + (run.count - 1)).contains(&port))
    };
    let networks = store::all(&engine.paths).ok()?.into_iter();
    let mut living = networks.flat_map(|network| endpoint::live(&engine.paths, &network.id));
    living
        .find_map(|living| living.into_iter().find(has))
        .map(|endpoint| endpoint.name)
}

/// Where a network's ports are opened that name no address.
fn binding(network: &Network) -> Result<Option<IpAddr>, Error> {
    match network.options.get(BINDING).map(String::as_str) {
        None | Some("" | "0.0.0.0") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            bad_input(format!(
                "network {}: option {BINDING}: {text} is no address",
                network.name
            ))
        }),
    }
}

/// All that was asked for; `binding` for what names no address.
pub(super) fn wanted(options: &Options, binding: Option<IpAddr>) -> Result<Vec<Wanted>> {
    let mut all = options.ports.clone();
    if options.publish_all {
        for text in &options.exposed {
            let exposed = exposed(text)?;
            if !all.iter().any(|port| covers(port, &exposed)) {
                all.push(exposed);
            }
        }
    }
    let wanted = all.into_iter().map(|port| Wanted {
        address: port.address.or(binding),
        host: port.host,
        container: port.container,
        protocol: port.protocol,
    });
    Ok(wanted.collect())
}

fn covers(port: &PortRequest, exposed: &PortRequest) -> bool {
    let (first, last) = port.container;
    port.protocol == exposed.protocol && first <= exposed.container.0 && exposed.container.1 <= last
}

/// `80`, `53/udp`, `8000-8010/tcp` as a wish for any ports of the host.
fn exposed(text: &str) -> Result<PortRequest, Error> {
    let wrong = || bad_input(format!("{text:?} is no port that an image can expose"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok(PortRequest {
        address: None,
        host: None,
        container: (number(first)?, number(last)?),
        protocol: match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(wrong()),
        },
    })
}

/// Whether it has a server of names of its own, by what it exposes and publishes (RFC 1035, section 4.2).
pub(super) fn has_port_of_names(options: &Options) -> bool {
    const DOMAIN: u16 = 53;
    let is_it = |(first, last): (u16, u16)| (first..=last).contains(&DOMAIN);
    let mut exposed = options.exposed.iter().filter_map(|text| exposed(text).ok());
    let mut published = options.ports.iter();
    published.any(|port| is_it(port.container)) || exposed.any(|port| is_it(port.container))
}
