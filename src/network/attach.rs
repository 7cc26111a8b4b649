//! Puts a container's network namespace into a network and takes it out again: interfaces, addresses, routes, rules.
//!
//! ```text
//! ensure  ─▶ the bridge is there                                                    namespace of the networks
//! connect ─▶ pair: one end a port of the bridge, the other made in the container    both
//!            addresses, routes                                                      container
//! publish ─▶ ports of the host lead to the address                                  namespace of the networks
//! ```
//!
//! What belongs to a container is found by its endpoint alone, so that whoever finds an endpoint that nobody holds any more
//! can [`sweep`] it.

use crate::error::{Error, Kind, bad_input};
use crate::network::egress::{self, Policy};
use crate::network::endpoint::Endpoint;
use crate::network::home::Home;
use crate::network::link::{self, Link, NAME_MAX, Peer, Wanted, Which};
use crate::network::nftables::egress::Filter;
use crate::network::options::ICC;
use crate::network::record::{Driver, Network, Subnet};
use crate::network::surroundings::refuse_own_links;
use crate::network::{bridge, forwarding, nftables, parent, sysctl};
use crate::sys::namespace::inside_network;
use crate::sys::netlink::{Batch, Socket};
use anyhow::{Context, Result};
use ipnet::IpNet;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

pub use super::detach::{disconnect, remove, remove_interfaces, sweep, withdraw};

/// What a container's end of a network is to be, beside what its [`Endpoint`] says.
#[derive(Clone, Copy, Debug)]
pub struct Interface<'a> {
    /// Its name in the container.
    pub name: &'a str,
    /// Whether IPv4 packets for everywhere else go through it.
    pub default_ipv4: bool,
    /// Whether IPv6 packets for everywhere else go through it.
    pub default_ipv6: bool,
    /// Further addresses, of this link only (`--link-local-ip`).
    pub link_local: &'a [IpAddr],
    /// Options of the driver for this one interface (`driver-opt`).
    pub options: &'a BTreeMap<String, String>,
    /// What may be reached by it; `None`: everything.
    pub egress: Option<&'a Policy>,
}

/// An interface that a container has got; it is taken away again unless it is kept.
#[derive(Debug)]
#[must_use = "it is taken away when this is dropped"]
pub struct Connected {
    undo: Option<(Socket, String)>,
    filter: Option<Filter>,
}

impl Connected {
    /// Leaves it to [`disconnect`], and the filter, if there is one, to who has it then.
    pub fn keep(mut self) -> Option<Filter> {
        self.undo = None;
        self.filter.take()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some((socket, name)) = self.undo.take() {
            let mut batch = Batch::default();
            link::delete(&mut batch, Which::Name(&name));
            // Whatever made this be dropped is told already, and the link goes with the container's namespace anyway.
            let gone = socket.apply(&batch).is_ok();
            if let Some(filter) = self.filter.take_if(|_| gone) {
                let _ = filter.remove();
            }
        }
    }
}

/// What the containers of a network share: the bridge, or the parent of their interfaces.
#[derive(Debug)]
pub struct Shared {
    /// Of the namespace of the networks.
    socket: Socket,
    link: Link,
}

/// Makes what the containers of a network share, unless it is there.
pub fn ensure(home: &Home, network: &Network) -> Result<Shared> {
    match network.driver {
        Driver::Bridge => home.inside(|| {
            let socket = link::socket()?;
            let found = link::find(&socket, &network.interface)?;
            // The host may have come into another network since this one was made.
            if home.routes && found.is_none() {
                refuse_own_links(network)?;
            }
            let link = bridge::ensure(&socket, network, found)?;
            if home.routes {
                let closed = forwarding::switch_on(home, network)?;
                nftables::ensure(network, closed)?;
            } else {
                // Where the kernel does not route, networks are kept apart by that alone.
                sysctl::do_not_forward()?;
                sysctl::leave_bridged_frames_alone()?;
            }
            Ok(Shared { socket, link })
        }),
        Driver::Macvlan | Driver::Ipvlan => {
            check_parents(home, network)?;
            home.inside(|| {
                let socket = link::socket()?;
                let link = parent::ensure(&socket, network)?;
                Ok(Shared { socket, link })
            })
        }
        Driver::Host | Driver::None => Err(no_interface(network).into()),
    }
}

fn no_interface(network: &Network) -> Error {
    let word = network.driver.word();
    bad_input(format!("containers get no interface in a `{word}` network"))
}

/// The interfaces of the host are its root's alone.
fn check_parents(home: &Home, network: &Network) -> Result<(), Error> {
    if home.routes {
        return Ok(());
    }
    let word = network.driver.word();
    let message =
        format!("a {word} network needs an interface of the host, which only root can share");
    Err(Error::new(Kind::Denied, message).hint("use a bridge network, or run it as root"))
}

/// What of the host's own rules is in the way of a network, and what to do about it.
pub fn warnings(home: &Home, network: &Network) -> Result<Vec<String>> {
    if !home.routes || network.driver != Driver::Bridge || network.internal {
        return Ok(Vec::new());
    }
    let chains = home.inside(|| nftables::foreign::in_the_way(&network.interface))?;
    Ok(chains
        .iter()
        .map(|chain| chain.warning(&network.interface))
        .collect())
}

/// Gives a container its interface in a network, up and with addresses and routes; `endpoint.host_interface` is written.
/// The network was [`ensure`]d.
pub fn connect(
    home: &Home,
    shared: Shared,
    network: &Network,
    endpoint: &mut Endpoint,
    interface: &Interface<'_>,
    container: BorrowedFd<'_>,
) -> Result<Connected> {
    check_name(interface.name)?;
    if interface.egress.is_some() && network.driver != Driver::Bridge {
        return Err(egress::needs_bridge(network).into());
    }
    endpoint.interface = interface.name.to_owned();
    match network.driver {
        Driver::Bridge => connect_pair(home, shared, network, endpoint, interface, container),
        Driver::Macvlan | Driver::Ipvlan => {
            connect_child(&shared, network, endpoint, interface, container)
        }
        Driver::Host | Driver::None => Err(no_interface(network).into()),
    }
}

fn connect_child(
    Shared {
        socket,
        link: parent,
    }: &Shared,
    network: &Network,
    endpoint: &Endpoint,
    interface: &Interface<'_>,
    container: BorrowedFd<'_>,
) -> Result<Connected> {
    let kind = parent::kind(network, parent);
    // Kernels before 6.15 refuse a name that an interface of the host has, and many a host has `eth0`.
    let name = pair_name(endpoint);
    let wanted = Wanted {
        name: &name,
        // One of ipvlan has the MAC address of its parent.
        mac: mac(endpoint)?.filter(|_| network.driver == Driver::Macvlan),
        mtu: bridge::mtu(network)?,
        namespace: Some(container),
    };
    let mut batch = Batch::default();
    link::create(&mut batch, &wanted, &kind);
    socket
        .apply(&batch)
        .map_err(|refusal| link::refused(&refusal, &kind))
        .with_context(|| format!("connect `{}` to `{}`", interface.name, network.interface))?;
    let inside = inside_network(container, link::socket)??;
    let mut connected = Connected {
        undo: Some((inside, name)),
        filter: None,
    };
    if let Some((inside, name)) = &mut connected.undo {
        let found = link::find(inside, name)?;
        let index = found.context("the new interface is gone again")?.index;
        let mut batch = Batch::default();
        link::rename(&mut batch, index, interface.name);
        inside
            .apply(&batch)
            .with_context(|| format!("give the interface the name `{}`", interface.name))?;
        interface.name.clone_into(name);
    }
    furnish(network, endpoint, interface, container, None)?;
    Ok(connected)
}

fn connect_pair(
    home: &Home,
    Shared {
        socket,
        link: bridge,
    }: Shared,
    network: &Network,
    endpoint: &mut Endpoint,
    interface: &Interface<'_>,
    container: BorrowedFd<'_>,
) -> Result<Connected> {
    let name = pair_name(endpoint);
    let mtu = bridge::mtu(network)?;
    let peer = Peer {
        name: interface.name,
        mac: mac(endpoint)?,
        mtu,
        namespace: container,
    };
    let wanted = Wanted {
        name: &name,
        mac: None,
        mtu,
        namespace: None,
    };
    let mut batch = Batch::default();
    link::create(&mut batch, &wanted, &link::Kind::Veth(peer));
    if sysctl::has_ipv6() {
        link::no_automatic_address(&mut batch, Which::Name(&name));
    }
    be_port(&mut batch, home, network, &name, bridge.index);
    let made = socket.apply(&batch);
    let mut connected = Connected {
        undo: Some((socket, name.clone())),
        filter: None,
    };
    made.map_err(|refusal| link::refused(&refusal, &link::Kind::Veth(peer)))
        .with_context(|| {
            format!(
                "connect `{}` to the bridge `{}`",
                interface.name, network.interface
            )
        })?;
    endpoint.host_interface = name.clone();
    // The other end is not up yet, so that nothing has come by it.
    if let Some(policy) = interface.egress {
        let own = addresses(network, endpoint, interface)?;
        let own: Vec<IpAddr> = own.iter().map(IpNet::addr).collect();
        connected.filter = Some(home.inside(|| Filter::install(&name, network, &own, policy))?);
    }
    // The MAC address of a bridge of others can change with its ports.
    let gateway = bridge
        .mac
        .filter(|_| bridge.alias == bridge::alias(network));
    furnish(network, endpoint, interface, container, gateway)?;
    if let Some((socket, _)) = &connected.undo {
        settle(socket, &[Which::Name(&name), Which::Index(bridge.index)])?;
        if let Some(mac) = mac(endpoint)? {
            let mut batch = Batch::default();
            let own = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
            for address in own.into_iter().flatten() {
                link::add_neighbour(&mut batch, bridge.index, address, mac);
            }
            socket
                .apply(&batch)
                .context("tell the bridge its new neighbour")?;
        }
    }
    Ok(connected)
}

/// What the host's end of a pair is.
fn be_port(batch: &mut Batch, home: &Home, network: &Network, name: &str, bridge: u32) {
    link::join_bridge(batch, Which::Name(name), bridge);
    if network.is_off(ICC) {
        link::isolate_port(batch, Which::Name(name));
    }
    // There, what a container sends to a published port of its own comes back without having been routed.
    if home.routes && sysctl::has_bridged_frames() {
        link::reflect(batch, Which::Name(name));
    }
    link::set_up(batch, Which::Name(name));
}

/// Makes the bridge of a network again, if it has gone, with those of these ends of pairs that are there.
pub fn restore(home: &Home, network: &Network, ends: &[String]) -> Result<()> {
    home.inside(|| {
        let socket = link::socket()?;
        let found = link::find(&socket, &network.interface)?;
        let bridge = bridge::ensure(&socket, network, found)?;
        ends.iter().try_for_each(|name| {
            let mut batch = Batch::default();
            be_port(&mut batch, home, network, name, bridge.index);
            socket
                .apply_unless(&batch, &[Errno::NODEV])
                .with_context(|| format!("connect `{name}` to the bridge `{}`", network.interface))
        })
    })
}

/// Waits for what the kernel does later by itself when the second end of a pair has come up: until then the port forwards
/// nothing, and the first packet of a container would be lost, which costs TCP a second. To be asked for an interface is
/// what makes it do that now.
fn settle(socket: &Socket, links: &[Which<'_>]) -> Result<()> {
    for which in links {
        let mut question = Batch::default();
        link::get(&mut question, *which);
        socket
            .ask(&question)
            .context("wait for the pair to be up")?;
    }
    Ok(())
}

/// Addresses and routes of an interface that is in the container's namespace already, and its gateway's MAC address where
/// that is known.
fn furnish(
    network: &Network,
    endpoint: &Endpoint,
    interface: &Interface<'_>,
    container: BorrowedFd<'_>,
    gateway: Option<link::Mac>,
) -> Result<()> {
    inside_network(container, || {
        let name = interface.name;
        let socket = link::socket()?;
        let index = link::find(&socket, name)?
            .with_context(|| format!("the interface `{name}` is not in the container"))?
            .index;
        let mut batch = Batch::default();
        if sysctl::has_ipv6() {
            prepare_ipv6(network, endpoint, interface, index, &mut batch)?;
        }
        if let Some(list) = interface.options.get("com.docker.network.endpoint.sysctls") {
            sysctl::set_listed(list, name)?;
        }
        link::set_up(&mut batch, Which::Index(index));
        for address in addresses(network, endpoint, interface)? {
            link::add_address(&mut batch, index, address);
            link::own_at_once(&mut batch, index, address);
        }
        for address in network.subnets.iter().filter_map(|subnet| subnet.gateway) {
            let has_family = [endpoint.ipv4.is_some(), endpoint.ipv6.is_some()];
            if let Some(mac) = gateway.filter(|_| has_family[usize::from(address.is_ipv6())]) {
                link::add_neighbour(&mut batch, index, address, mac);
            }
        }
        for (gateway, everything) in default_routes(network, endpoint, interface) {
            link::add_route(&mut batch, index, everything, gateway);
        }
        socket
            // What the kernel was faster with.
            .apply_unless(&batch, &[Errno::EXIST])
            .with_context(|| format!("give the interface `{name}` its addresses and routes"))?;
        settle(&socket, &[Which::Index(index)])
    })?
}

fn prepare_ipv6(
    network: &Network,
    endpoint: &Endpoint,
    interface: &Interface<'_>,
    index: u32,
    batch: &mut Batch,
) -> Result<()> {
    if endpoint.ipv6.is_none() && !interface.link_local.iter().any(IpAddr::is_ipv6) {
        return sysctl::disable_ipv6(interface.name);
    }
    sysctl::enable_ipv6(interface.name)?;
    if network.driver == Driver::Bridge {
        sysctl::ignore_routers(interface.name)?;
        link::no_automatic_address(batch, Which::Index(index));
    }
    Ok(())
}

/// All that the interface gets.
fn addresses(
    network: &Network,
    endpoint: &Endpoint,
    interface: &Interface<'_>,
) -> Result<Vec<IpNet>> {
    let mut addresses = Vec::new();
    let own = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
    for address in own.into_iter().flatten() {
        let missing = || {
            format!(
                "the address {address} is in no subnet of `{}`",
                network.name
            )
        };
        let subnet = network.subnet_of(address).with_context(missing)?;
        addresses.push(IpNet::new(address, subnet.subnet.prefix_len())?);
    }
    if let (Some(_), Some(mac), Driver::Bridge) = (endpoint.ipv6, mac(endpoint)?, network.driver) {
        addresses.push(IpNet::new(link::link_local(mac).into(), 64)?);
    }
    for address in interface.link_local {
        addresses.push(IpNet::new(
            *address,
            if address.is_ipv4() { 16 } else { 64 },
        )?);
    }
    Ok(addresses)
}

/// Where packets for everywhere else go: `None` where the interface leads there without a gateway.
fn default_routes(
    network: &Network,
    endpoint: &Endpoint,
    interface: &Interface<'_>,
) -> Vec<(Option<IpAddr>, IpNet)> {
    let own = [
        (
            endpoint
                .ipv4
                .filter(|_| interface.default_ipv4)
                .map(IpAddr::V4),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ),
        (
            endpoint
                .ipv6
                .filter(|_| interface.default_ipv6)
                .map(IpAddr::V6),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ),
    ];
    if network.internal {
        return Vec::new();
    }
    let mut routes = Vec::new();
    for (own, unspecified) in own {
        let everything = IpNet::new_assert(unspecified, 0);
        match own.and_then(|own| network.subnet_of(own)) {
            Some(_) if parent::needs_no_gateway(network) => routes.push((None, everything)),
            Some(Subnet {
                gateway: Some(gateway),
                ..
            }) => routes.push((Some(*gateway), everything)),
            _ => {}
        }
    }
    routes
}

/// Leads what a container sends everywhere else through an interface that it has, in place of another one.
pub fn lead_out(
    network: &Network,
    endpoint: &Endpoint,
    interface: &Interface<'_>,
    container: BorrowedFd<'_>,
) -> Result<()> {
    let routes = default_routes(network, endpoint, interface);
    if routes.is_empty() {
        return Ok(());
    }
    inside_network(container, || {
        let name = interface.name;
        let socket = link::socket()?;
        let index = link::find(&socket, name)?
            .with_context(|| format!("the interface `{name}` is not in the container"))?
            .index;
        let mut batch = Batch::default();
        for (gateway, everything) in routes {
            link::replace_route(&mut batch, index, everything, gateway);
        }
        socket
            .apply(&batch)
            .with_context(|| format!("give the interface `{name}` the default route"))
    })?
}

/// Leads the published ports of an endpoint to it, where the kernel routes.
pub fn publish(home: &Home, network: &Network, endpoint: &Endpoint) -> Result<()> {
    match home.routes {
        true => home.inside(|| nftables::publish(network, endpoint)),
        false => Ok(()),
    }
}

/// Takes that back; it may be gone already.
pub fn unpublish(home: &Home, endpoint: &Endpoint) -> Result<()> {
    match home.routes && !endpoint.ports.is_empty() {
        true => home.inside(|| nftables::unpublish(endpoint)),
        false => Ok(()),
    }
}

/// Makes all rules anew, after another program has flushed them: those of these networks and what is in them.
pub fn reload(home: &Home, networks: &[(Network, Vec<Endpoint>)]) -> Result<()> {
    let bridges = networks
        .iter()
        .filter(|(network, _)| network.driver == Driver::Bridge);
    for (network, endpoints) in bridges
        .clone()
        .filter(|(_, endpoints)| !endpoints.is_empty())
    {
        restore(home, network, &ends(endpoints))?;
    }
    home.inside(|| {
        for (network, endpoints) in bridges.clone() {
            if home.routes && !endpoints.is_empty() {
                forwarding::switch_on(home, network)?;
            }
        }
        if !home.routes {
            return Ok(());
        }
        let bridges = bridges.map(|(network, endpoints)| (network, &endpoints[..]));
        nftables::reload(bridges, forwarding::switched_on(home))
    })
}

/// The host's ends of the pairs of endpoints.
pub fn ends(endpoints: &[Endpoint]) -> Vec<String> {
    let names = endpoints
        .iter()
        .map(|endpoint| endpoint.host_interface.clone());
    names.filter(|name| !name.is_empty()).collect()
}

/// The rules of a network in words.
pub fn describe(network: &Network, endpoints: &[Endpoint]) -> Vec<String> {
    match network.driver {
        Driver::Bridge => nftables::describe(network, endpoints),
        Driver::Macvlan | Driver::Ipvlan | Driver::Host | Driver::None => Vec::new(),
    }
}

/// The end of a pair that is in the namespace of the networks, by which it can be found again.
pub(super) fn pair_name(endpoint: &Endpoint) -> String {
    let id: String = endpoint.id.chars().take(NAME_MAX - "veth".len()).collect();
    format!("veth{id}")
}

fn mac(endpoint: &Endpoint) -> Result<Option<link::Mac>> {
    if endpoint.mac.is_empty() {
        return Ok(None);
    }
    let mac = link::parse_mac(&endpoint.mac);
    mac.with_context(|| format!("`{}` is no MAC address", endpoint.mac))
        .map(Some)
}

fn check_name(name: &str) -> Result<(), Error> {
    // The kernel would put a number in the place of `%d`.
    let wrong = |byte: u8| b"/:%".contains(&byte) || byte.is_ascii_whitespace();
    if name.is_empty()
        || name.len() > NAME_MAX
        || name == "."
        || name == ".."
        || name.bytes().any(wrong)
    {
        let message = format!("`{name}` is no name for an interface");
        let hint = format!("1 to {NAME_MAX} characters without `/`, `:`, `%` and blanks");
        return Err(bad_input(message).hint(hint));
    }
    if name == "lo" {
        return Err(Error::new(
            Kind::Conflict,
            "the interface `lo` is there already",
        ));
    }
    Ok(())
}
