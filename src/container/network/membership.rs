//! A container in one of its networks: what its monitor holds of that, and how it comes in and goes.

use super::ports::Ports;
use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::event;
use crate::container::options::NetworkRequest;
use crate::container::record::Record;
use crate::error::{Error, Kind};
use crate::network::attach::{self, Interface, Shared};
use crate::network::egress::Policy;
use crate::network::endpoint::{self, Reserved, Wanted};
use crate::network::home::Home;
use crate::network::nftables::egress::Filter;
use crate::network::options::INTERFACE_PREFIX;
use crate::network::record::{Driver, Network};
use crate::network::store;
use anyhow::{Context, Result};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// The container in one of its networks.
pub(super) struct Membership {
    /// The network.
    pub network: Network,
    /// What is asked of it.
    pub request: NetworkRequest,
    /// The container's place in it.
    pub reserved: Reserved,
    /// What it is connected to, until it is.
    pub shared: Option<Shared>,
    /// There is an interface that has to go.
    pub connected: bool,
    /// What lets only that through which may be reached.
    pub filter: Option<Arc<Filter>>,
}

impl Membership {
    /// Takes addresses, those that it had `before` if they are free; its interface has none of the names that are `taken`.
    pub fn reserve(
        engine: &Engine,
        record: &Record,
        request: &NetworkRequest,
        taken: &[&str],
        before: &[IpAddr],
        home: &Home,
    ) -> Result<Self> {
        let network = match store::is_there(&engine.paths, &request.id) {
            true => store::find(&engine.paths, &request.id)?,
            false => return Err(removed(record, request).into()),
        };
        let mut aliases = request.aliases.clone();
        aliases.extend([record.id[..12].to_owned(), hostname(record)]);
        let prefix = network.options.get(INTERFACE_PREFIX);
        let prefix = prefix.filter(|prefix| !prefix.is_empty());
        let prefix = prefix.map_or("eth", String::as_str);
        let mut numbered = (0..).map(|number| format!("{prefix}{number}"));
        let mut free = || numbered.find(|name| !taken.contains(&name.as_str()));
        let wanted = Wanted {
            container: record.id.clone(),
            name: record.name.clone(),
            aliases,
            ipv4: request.ipv4,
            ipv6: request.ipv6,
            before: before.to_vec(),
            mac: request.mac.clone(),
            interface: request
                .interface
                .clone()
                .or_else(&mut free)
                .unwrap_or_default(),
            ports: Vec::new(),
        };
        let reserved = endpoint::reserve(&engine.paths, &network, &wanted)?;
        attach::sweep(home, &reserved.replaced)?;
        Ok(Self {
            network,
            request: request.clone(),
            reserved,
            shared: None,
            connected: false,
            filter: None,
        })
    }

    /// Gives the container its interface in the network; by families whether that `leads` everywhere else.
    pub fn attach(
        &mut self,
        home: &Home,
        leads: [bool; 2],
        egress: Option<&Policy>,
        container: BorrowedFd<'_>,
        pid: i32,
    ) -> Result<()> {
        let mut endpoint = self.reserved.endpoint().clone();
        let name = endpoint.interface.clone();
        let interface = Interface {
            name: &name,
            default_ipv4: leads[0],
            default_ipv6: leads[1],
            link_local: &self.request.link_local,
            options: &self.request.options,
            egress,
        };
        let shared = self.shared.take().context("the network is not there yet")?;
        let network = &self.network;
        let made = attach::connect(home, shared, network, &mut endpoint, &interface, container)
            .with_context(|| format!("connect the container to the network {}", network.name))?;
        endpoint.pid = pid;
        self.reserved.update(|shared| *shared = endpoint)?;
        self.filter = made.keep().map(Arc::new);
        self.connected = true;
        attach::publish(home, network, self.reserved.endpoint())
    }

    /// Has its connections carried, and opens the ports of the host that lead to it if it is to have them.
    pub fn open(&mut self, ports: &mut Ports, record: &Record, is_published: bool) -> Result<()> {
        let endpoint = self.reserved.endpoint();
        // Where there is no bridge, the container is a host of its own in the network of its parent.
        let is_published = is_published && self.network.driver == Driver::Bridge;
        let opened = ports.open(record, &self.network, &self.request, endpoint, is_published)?;
        match opened.is_empty() {
            true => Ok(()),
            false => self.reserved.update(|endpoint| endpoint.ports = opened),
        }
    }

    /// Opens or closes the ports of one that is connected.
    pub fn republish(
        &mut self,
        home: &Home,
        ports: &mut Ports,
        record: &Record,
        is_published: bool,
    ) -> Result<()> {
        attach::unpublish(home, self.reserved.endpoint())?;
        ports.close(self.reserved.endpoint())?;
        self.reserved
            .update(|endpoint| endpoint.ports = Vec::new())?;
        self.open(ports, record, is_published)?;
        attach::publish(home, &self.network, self.reserved.endpoint())
    }

    /// Others find it by the name that it has now.
    pub fn rename(&mut self, record: &Record) -> Result<()> {
        match self.reserved.endpoint().name == record.name {
            true => Ok(()),
            false => self
                .reserved
                .update(|endpoint| endpoint.name.clone_from(&record.name)),
        }
    }

    /// Tells that it has come or gone.
    pub fn announce(&self, engine: &Engine, action: &str) {
        let container = &self.reserved.endpoint().container;
        event::network(engine, &self.network, action, Some(container));
    }

    /// Takes it out; what is gone already is no error.
    pub fn leave(&mut self, home: &Home, namespace: Option<&OwnedFd>) -> Result<()> {
        if !std::mem::take(&mut self.connected) {
            return Ok(());
        }
        let endpoint = self.reserved.endpoint();
        let namespace = namespace.map(AsFd::as_fd);
        attach::disconnect(home, &self.network, endpoint, namespace)?;
        match self.filter.take() {
            Some(filter) => filter.remove(),
            None => Ok(()),
        }
    }
}

/// A container stays in a network that was removed, until a user says otherwise.
fn removed(record: &Record, request: &NetworkRequest) -> Error {
    let message = format!(
        "network {} ({}), which container {} belongs to, has been removed",
        request.network,
        request.id.get(..12).unwrap_or_default(),
        record.name
    );
    Error::new(Kind::NotFound, message).hint(format!(
        "onggi network disconnect {} {}",
        request.network, record.name
    ))
}
