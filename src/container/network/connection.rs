//! What a monitor holds of its container's networks while the program runs: addresses, interfaces, ports, names.
//! Dropping it gives all of that back.

use super::membership::Membership;
use super::ports::Ports;
use super::{files, place, ports};
use crate::container::engine::Engine;
use crate::container::options::{NetworkMode, NetworkRequest};
use crate::container::record::Record;
use crate::network::attach::{self, Interface};
use crate::network::dns::{self, Directory, Resolver, Sockets};
use crate::network::egress::{Gate, Policy};
use crate::network::endpoint::{self, Endpoint};
use crate::network::home::Home;
use crate::network::nftables::Deleted;
use crate::network::record::{DEFAULT, Driver, Network};
use crate::network::resolv_conf;
use crate::sys::namespace::{bring_loopback_up, inside_network};
use crate::sys::process::Child;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags};
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

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
            let membership = connection.reserve(engine, record, request, before)?;
            if endpoint::is_alone(&engine.paths, membership.reserved.endpoint())? {
                // The first one in it tells for all.
                warnings.extend(attach::warnings(&connection.home, &membership.network)?);
            }
            connection.memberships.push(membership);
        }
        let published = connection.publish(record);
        published.map_err(|error| ports::name_holder(engine, error))?;
        warnings.extend(connection.discarded(record));
        Ok(Some(connection))
    }

    /// Takes addresses in a network, which is made unless it is there.
    fn reserve(
        &self,
        engine: &Engine,
        record: &Record,
        request: &NetworkRequest,
        before: &[IpAddr],
    ) -> Result<Membership> {
        let names = self.memberships.iter();
        let names = names.map(|membership| membership.reserved.endpoint().interface.as_str());
        let names: Vec<&str> = names.collect();
        let mut membership =
            Membership::reserve(engine, record, request, &names, before, &self.home)?;
        membership.shared = Some(attach::ensure(&self.home, &membership.network)?);
        Ok(membership)
    }

    /// What is said of ports that nothing leads to.
    fn discarded(&self, record: &Record) -> Option<String> {
        let options = &record.options;
        let is_wanted =
            !options.ports.is_empty() || options.publish_all && !options.exposed.is_empty();
        let why = match self.gateway(|_| true).map(|index| &self.memberships[index]) {
            _ if !is_wanted => return None,
            Some(membership) if membership.network.driver != Driver::Bridge => format!(
                "network {} is a {} network, in which the container is reached at its own address",
                membership.network.name,
                membership.network.driver.word()
            ),
            Some(_) => return None,
            None => {
                let internal = &self.memberships.first()?.network.name;
                format!("network {internal} is internal, so it is not reached from outside")
            }
        };
        Some(format!("published ports are discarded: {why}"))
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
            let endpoint = membership.reserved.endpoint();
            let interface = Interface {
                name: &endpoint.interface,
                default_ipv4: is_new(1),
                default_ipv6: is_new(2),
                link_local: &membership.request.link_local,
                options: &membership.request.options,
                egress: self.egress.as_ref(),
            };
            attach::lead_out(&membership.network, endpoint, &interface, namespace.as_fd())?;
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
        let namespace = File::open(&path).with_context(|| format!("open `{path}`"))?;
        let serves_names = ports::has_port_of_names(&record.options);
        let defaults = self.defaults();
        let container: &OwnedFd = self.namespace.insert(namespace.into());
        let container = container.as_fd();
        self.pid = child.pid;
        let (home, memberships) = (&self.home, &mut self.memberships);
        let (egress, pid) = (self.egress.as_ref(), self.pid);
        // Who needs a thread to come to the networks needs a single one for all of it.
        let sockets = home.inside(|| {
            let sockets = inside_network(container, || {
                // Addresses of the loopback interface are there once it is up.
                bring_loopback_up().context("bring the loopback interface up")?;
                match serves_names {
                    true => Sockets::open_beside_a_server(),
                    false => Sockets::open(),
                }
            })??;
            for (index, membership) in memberships.iter_mut().enumerate() {
                let leads = defaults.map(|default| default == Some(index));
                membership.attach(home, leads, egress, container, pid)?;
            }
            Ok(sockets)
        })?;
        for membership in &self.memberships {
            membership.announce(engine, "connect");
        }
        let names = Directory::new(engine.paths.clone());
        self.resolver = Some(Resolver::new(self.resolving(record), sockets, names)?);
        self.guard();
        Ok(())
    }

    /// The networks that give the container its default routes of IPv4 and IPv6.
    fn defaults(&self) -> [Option<usize>; 2] {
        [Network::has_ipv4, Network::has_ipv6].map(|fits| self.gateway(fits))
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
        let membership = self.reserve(engine, record, request, &[])?;
        let index = self.memberships.len();
        self.memberships.push(membership);
        let leads = self.defaults().map(|default| default == Some(index));
        let container = self.namespace.as_ref().map(AsFd::as_fd);
        let container = container.context("there is no container yet")?;
        let membership = &mut self.memberships[index];
        let opened = membership.open(&mut self.ports, record, false);
        let made = opened.and_then(|()| {
            membership.attach(&self.home, leads, self.egress.as_ref(), container, self.pid)
        });
        if let Err(error) = made {
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.resolver = None;
        for membership in &mut self.memberships {
            // The interface goes with the container's namespace at the latest; rules that stay are swept.
            let _ = membership.leave(&self.home, self.namespace.as_ref());
        }
    }
}
