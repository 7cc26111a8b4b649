//! What a monitor holds of its container's networks while the program runs: addresses, interfaces, ports, names.
//! Dropping it gives all of that back.

use super::ports::Ports;
use super::{files, place, ports};
use crate::container::create::hostname;
use crate::container::engine::Engine;
use crate::container::event;
use crate::container::options::{NetworkMode, NetworkRequest};
use crate::container::record::Record;
use crate::error::{Error, Kind};
use crate::network::attach::{self, Interface};
use crate::network::dns::{self, Directory, Resolver, Sockets};
use crate::network::egress::{Gate, Policy};
use crate::network::endpoint::{self, Endpoint, Reserved, Wanted};
use crate::network::home::Home;
use crate::network::nftables::Deleted;
use crate::network::nftables::egress::Filter;
use crate::network::record::{DEFAULT, Driver, Network};
use crate::network::{resolv_conf, store};
use crate::sys::namespace::{bring_loopback_up, inside_network};
use crate::sys::process::Child;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// The networks of one run.
pub struct Connection {
    home: Home,
    memberships: Vec<Membership>,
    ports: Ports,
    resolver: Option<Resolver>,
    /// What the container may reach; `None`: everything.
    egress: Option<Policy>,
    /// The network namespace of the container, once there is one.
    namespace: Option<OwnedFd>,
    /// Its process 1, from then on.
    pid: i32,
}

/// The container in one of its networks.
struct Membership {
    network: Network,
    request: NetworkRequest,
    reserved: Reserved,
    /// There is an interface that has to go.
    connected: bool,
    /// What lets only that through which may be reached.
    filter: Option<Rc<Filter>>,
}

impl Connection {
    /// Takes addresses, those that it had `before` if it can, and opens ports; `None` for a container that cannot be in
    /// networks. One that has left all of its own may come into others while it runs.
    pub fn prepare(
        engine: &Engine,
        record: &Record,
        before: &[IpAddr],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let options = &record.options;
        if options.network != NetworkMode::Private {
            return Ok(None);
        }
        let (home, client) = place::find(engine)?;
        let mut connection = Self {
            home,
            memberships: Vec::new(),
            ports: Ports::new(client),
            resolver: None,
            egress: options.egress.as_deref().map(Policy::parse).transpose()?,
            namespace: None,
            pid: 0,
        };
        for request in &options.networks {
            let name = connection.free_name(request);
            let home = &connection.home;
            let membership = Membership::reserve(engine, record, request, name, before, home)?;
            attach::ensure(&connection.home, &membership.network)?;
            if endpoint::is_alone(&engine.paths, membership.reserved.endpoint())? {
                // The first one in it tells for all.
                warnings.extend(attach::warnings(&connection.home, &membership.network)?);
            }
            connection.memberships.push(membership);
        }
        let published = connection.publish(record);
        published.map_err(|error| ports::name_holder(engine, error))?;
        Ok(Some(connection))
    }

    /// `eth0`, `eth1`, …, unless it asks for another one.
    fn free_name(&self, request: &NetworkRequest) -> String {
        let is_taken = |name: &str| {
            let mut all = self.memberships.iter();
            all.any(|membership| membership.reserved.endpoint().interface == name)
        };
        let numbered = || (0..).map(|number| format!("eth{number}"));
        let free = || numbered().find(|name| !is_taken(name));
        request.interface.clone().or_else(free).unwrap_or_default()
    }

    /// Opens the ports of the host, which lead to the network that has the default route.
    fn publish(&mut self, record: &Record) -> Result<()> {
        let gateway = self.gateway(|_| true);
        for (index, membership) in self.memberships.iter_mut().enumerate() {
            membership.open(&mut self.ports, record, gateway == Some(index))?;
        }
        Ok(())
    }

    /// The network that gives the container its default route, among those that fit and are not internal.
    fn gateway(&self, fits: impl Fn(&Network) -> bool) -> Option<usize> {
        let order = |index: &usize| {
            let Membership {
                network, request, ..
            } = &self.memberships[*index];
            (
                request.gateway_priority,
                std::cmp::Reverse(network.name.clone()),
            )
        };
        let fitting = (0..self.memberships.len()).filter(|index| {
            let network = &self.memberships[*index].network;
            fits(network) && !network.internal
        });
        fitting.max_by_key(order)
    }

    /// The networks by which everywhere else is reached: by ports, by IPv4, by IPv6.
    fn ways_out(&self) -> [Option<String>; 3] {
        let fits: [fn(&Network) -> bool; 3] = [|_| true, Network::has_ipv4, Network::has_ipv6];
        fits.map(|fits| {
            let index = self.gateway(fits)?;
            Some(self.memberships[index].network.id.clone())
        })
    }

    /// Has default routes and ports follow when another network has become the one that leads everywhere else.
    fn lead_out(&mut self, record: &Record, before: &[Option<String>; 3]) -> Result<()> {
        let after = self.ways_out();
        let (changed, namespace) = (&after != before, self.namespace.as_ref());
        let Some(namespace) = namespace.filter(|_| changed) else {
            return Ok(());
        };
        for membership in &self.memberships {
            let is_new = |way: usize| {
                before[way] != after[way] && after[way].as_ref() == Some(&membership.network.id)
            };
            let interface = Interface {
                name: &membership.reserved.endpoint().interface,
                default_ipv4: is_new(1),
                default_ipv6: is_new(2),
                link_local: &membership.request.link_local,
                options: &membership.request.options,
                egress: self.egress.as_ref(),
            };
            attach::lead_out(&membership.network, &interface, namespace.as_fd())?;
        }
        let publishes = !record.options.ports.is_empty() || record.options.publish_all;
        if !publishes || before[0] == after[0] {
            return Ok(());
        }
        let is_after =
            |membership: &&mut Membership| Some(&membership.network.id) == after[0].as_ref();
        // A port has to be free before it can be opened again.
        let all = self.memberships.iter_mut();
        for membership in all.filter(|membership| !is_after(membership)) {
            if !membership.reserved.endpoint().ports.is_empty() {
                membership.republish(&self.home, &mut self.ports, record, false)?;
            }
        }
        match self.memberships.iter_mut().find(is_after) {
            Some(membership) => membership.republish(&self.home, &mut self.ports, record, true),
            None => Ok(()),
        }
    }

    /// Connects a container that is just being made.
    pub fn connect(&mut self, engine: &Engine, record: &Record, child: &Child) -> Result<()> {
        let path = format!("/proc/{}/ns/net", child.pid);
        let namespace: OwnedFd = File::open(&path)
            .with_context(|| format!("open `{path}`"))?
            .into();
        let serves_names = ports::has_port_of_names(&record.options);
        let sockets = inside_network(namespace.as_fd(), || {
            // Addresses of the loopback interface are there once it is up.
            bring_loopback_up().context("bring the loopback interface up")?;
            match serves_names {
                true => Sockets::open_beside_a_server(),
                false => Sockets::open(),
            }
        })??;
        (self.namespace, self.pid) = (Some(namespace), child.pid);
        for index in 0..self.memberships.len() {
            self.attach(index)?;
            self.memberships[index].announce(engine, "connect");
        }
        let names = Directory::new(engine.paths.clone());
        self.resolver = Some(Resolver::new(self.resolving(record), sockets, names)?);
        self.guard();
        Ok(())
    }

    /// Has the resolver tell all filters what it tells.
    fn guard(&mut self) {
        if let (Some(policy), Some(resolver)) = (&self.egress, &mut self.resolver) {
            let memberships = self.memberships.iter();
            let gate = Gate {
                policy: policy.clone(),
                filters: memberships.filter_map(|one| one.filter.clone()).collect(),
            };
            resolver.set_egress(Some(Box::new(gate)));
        }
    }

    fn attach(&mut self, index: usize) -> Result<()> {
        let default_ipv4 = self.gateway(Network::has_ipv4) == Some(index);
        let default_ipv6 = self.gateway(Network::has_ipv6) == Some(index);
        let namespace = self
            .namespace
            .as_ref()
            .context("there is no container yet")?;
        let Membership {
            network,
            request,
            reserved,
            connected,
            filter,
        } = &mut self.memberships[index];
        let mut endpoint = reserved.endpoint().clone();
        let name = endpoint.interface.clone();
        let interface = Interface {
            name: &name,
            default_ipv4,
            default_ipv6,
            link_local: &request.link_local,
            options: &request.options,
            egress: self.egress.as_ref(),
        };
        let made = attach::connect(
            &self.home,
            network,
            &mut endpoint,
            &interface,
            namespace.as_fd(),
        )
        .with_context(|| format!("connect the container to the network {}", network.name))?;
        endpoint.pid = self.pid;
        reserved.update(|shared| *shared = endpoint)?;
        *filter = made.keep().map(Rc::new);
        *connected = true;
        attach::publish(&self.home, network, reserved.endpoint())
    }

    /// What its resolver has to know.
    fn resolving(&self, record: &Record) -> dns::Config {
        let zones = self
            .memberships
            .iter()
            .map(|membership| &membership.network);
        let zones = zones.filter(|network| network.name != DEFAULT);
        let links = record.options.links.iter();
        let more = record
            .options
            .networks
            .iter()
            .flat_map(|request| &request.links);
        dns::Config {
            networks: zones
                .map(|network| dns::Zone {
                    id: network.id.clone(),
                    name: network.name.clone(),
                })
                .collect(),
            links: links
                .chain(more)
                .filter_map(|link| link.split_once(':'))
                .map(|(target, name)| dns::Link {
                    name: name.to_owned(),
                    target: target.to_owned(),
                })
                .collect(),
            servers: record
                .options
                .dns
                .iter()
                .filter_map(|server| server.parse::<resolv_conf::Server>().ok())
                .collect(),
            options: record.options.dns_options.clone(),
            forwards: self.gateway(|_| true).is_some(),
        }
    }

    /// The container's addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let endpoints = self
            .memberships
            .iter()
            .map(|membership| membership.reserved.endpoint());
        endpoints.flat_map(Endpoint::addresses).collect()
    }

    /// The address by which the host is reached (`host-gateway`).
    pub fn host(&self) -> Option<IpAddr> {
        // An internal network leads to the host, if to nobody else.
        let leading = self.gateway(|_| true).map(|index| &self.memberships[index]);
        let membership = leading.or(self.memberships.first())?;
        membership
            .network
            .subnets
            .iter()
            .find_map(|subnet| subnet.gateway)
    }

    /// Adds what has to be waited for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let resolver = self.resolver.as_ref().map(AsFd::as_fd);
        let all = resolver.into_iter().chain(self.ports.as_fd());
        fds.extend(all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    }

    /// Something may have happened to that.
    pub fn turn(&mut self, engine: &Engine) {
        if let Some(resolver) = &mut self.resolver {
            resolver.turn();
        }
        self.ports.turn();
        // Where no other process can be had, its connections are not carried, and those within the network go on.
        if self.ports.are_lost() && self.recover(engine).is_err() {
            self.ports.entrust(None);
        }
    }

    /// A network process that was killed has left its namespace to those who hold it: the next one goes on there.
    fn recover(&mut self, engine: &Engine) -> Result<()> {
        let client = place::recover(engine, &self.home)?;
        self.ports.entrust(Some(client));
        let mut memberships = self.memberships.iter();
        memberships.try_for_each(
            |Membership {
                 network,
                 request,
                 reserved,
                 ..
             }| { self.ports.reopen(network, request, reserved.endpoint()) },
        )
    }

    /// The container has ended: all of it goes.
    pub fn end(mut self, engine: &Engine) -> Interfaces {
        let (mut names, mut rules) = (Vec::new(), Vec::new());
        for membership in &mut self.memberships {
            if !membership.connected {
                continue;
            }
            membership.announce(engine, "disconnect");
            let endpoint = membership.reserved.endpoint();
            // What has no other end is gone from the host's namespaces with the container only when it is deleted.
            if endpoint.host_interface.is_empty() {
                continue;
            }
            names.push(endpoint.host_interface.clone());
            // Rules that stay are swept.
            let withdrawn = attach::withdraw(&self.home, &membership.network, endpoint);
            rules.extend(withdrawn.ok().flatten());
            let _ = membership.filter.take().map(|filter| filter.remove());
            membership.connected = false;
        }
        let home = std::mem::replace(&mut self.home, Home::here());
        Interfaces {
            home,
            names,
            _rules: rules,
        }
    }

    /// Takes the container that runs into one more network.
    fn enter(&mut self, engine: &Engine, record: &Record, request: &NetworkRequest) -> Result<()> {
        let name = self.free_name(request);
        let membership = Membership::reserve(engine, record, request, name, &[], &self.home)?;
        attach::ensure(&self.home, &membership.network)?;
        let index = self.memberships.len();
        self.memberships.push(membership);
        let opened = self.memberships[index].open(&mut self.ports, record, false);
        if let Err(error) = opened.and_then(|()| self.attach(index)) {
            let mut membership = self.memberships.remove(index);
            // What it has failed for is told.
            let _ = membership.leave(&self.home, self.namespace.as_ref());
            let _ = self.ports.close(membership.reserved.endpoint());
            return Err(error);
        }
        self.memberships[index].announce(engine, "connect");
        Ok(())
    }

    /// Applies a change of the record's networks to the container that runs.
    pub fn follow(&mut self, engine: &Engine, record: &Record) -> Result<()> {
        let wanted = &record.options.networks;
        let before = self.ways_out();
        let mut gone = Vec::new();
        self.memberships.retain_mut(|membership| {
            let stays = wanted
                .iter()
                .any(|request| request.id == membership.network.id);
            if !stays {
                gone.push(membership.leave(&self.home, self.namespace.as_ref()));
                gone.push(self.ports.close(membership.reserved.endpoint()));
                membership.announce(engine, "disconnect");
            }
            stays
        });
        for membership in &mut self.memberships {
            membership.rename(record)?;
        }
        for request in wanted {
            let is_there = |membership: &Membership| membership.network.id == request.id;
            if self.memberships.iter().any(is_there) {
                continue;
            }
            self.enter(engine, record, request)?;
        }
        self.lead_out(record, &before)?;
        let config = self.resolving(record);
        if let Some(resolver) = &mut self.resolver {
            resolver.set_config(config);
        }
        self.guard();
        files::update(engine, record, self)?;
        gone.into_iter().collect()
    }
}

/// What is left in the namespace of the networks of a container that has ended, until this is dropped: whoever waits for
/// the end need not wait for that.
pub struct Interfaces {
    home: Home,
    names: Vec<String>,
    _rules: Vec<Deleted>,
}

impl Interfaces {
    /// Leaves them to the kernel, which takes them away with the namespace of the container a little later: nobody has to
    /// wait for that, as everybody has to who deletes one.
    pub fn leave(mut self) {
        self.names.clear();
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        let _ = attach::remove_interfaces(&self.home, &self.names);
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.resolver = None;
        for membership in &mut self.memberships {
            // The interface goes with the container's namespace at the latest; rules that stay are swept.
            let _ = membership.leave(&self.home, self.namespace.as_ref());
        }
    }
}

impl Membership {
    fn reserve(
        engine: &Engine,
        record: &Record,
        request: &NetworkRequest,
        interface: String,
        before: &[IpAddr],
        home: &Home,
    ) -> Result<Self> {
        let network = match store::is_there(&engine.paths, &request.id) {
            true => store::find(&engine.paths, &request.id)?,
            false => return Err(removed(record, request).into()),
        };
        let mut aliases = request.aliases.clone();
        aliases.extend([record.id[..12].to_owned(), hostname(record)]);
        let wanted = Wanted {
            container: record.id.clone(),
            name: record.name.clone(),
            aliases,
            ipv4: request.ipv4,
            ipv6: request.ipv6,
            before: before.to_vec(),
            mac: request.mac.clone(),
            interface,
            ports: Vec::new(),
        };
        let reserved = endpoint::reserve(&engine.paths, &network, &wanted)?;
        attach::sweep(home, &reserved.replaced)?;
        Ok(Self {
            network,
            request: request.clone(),
            reserved,
            connected: false,
            filter: None,
        })
    }

    fn open(&mut self, ports: &mut Ports, record: &Record, is_published: bool) -> Result<()> {
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
    fn republish(
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
    fn rename(&mut self, record: &Record) -> Result<()> {
        match self.reserved.endpoint().name == record.name {
            true => Ok(()),
            false => self
                .reserved
                .update(|endpoint| endpoint.name.clone_from(&record.name)),
        }
    }

    fn announce(&self, engine: &Engine, action: &str) {
        let container = &self.reserved.endpoint().container;
        event::network(engine, &self.network, action, Some(container));
    }

    fn leave(&mut self, home: &Home, namespace: Option<&OwnedFd>) -> Result<()> {
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
