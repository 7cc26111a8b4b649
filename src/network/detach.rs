//! What of a network goes with a container, and with the network: interfaces and rules. What is gone already is no error.

use crate::network::attach::pair_name;
use crate::network::endpoint::Endpoint;
use crate::network::home::Home;
use crate::network::link::{self, Which};
use crate::network::record::{Driver, Network};
use crate::network::{bridge, nftables};
use crate::sys::namespace::inside_network;
use crate::sys::netlink::Batch;
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Takes a container out of a network: its interface and its rules are gone. What is gone already is no error, and one
/// failure keeps nothing else from being done.
pub fn disconnect(
    home: &Home,
    network: &Network,
    endpoint: &Endpoint,
    container: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let withdrawn = withdraw(home, network, endpoint).map(drop);
    let removed = match (network.driver, container) {
        (Driver::Bridge, _) => home.inside(|| delete_link(&endpoint.host_interface)),
        (_, Some(container)) => inside_network(container, || delete_link(&endpoint.interface))?,
        (_, None) => Ok(()),
    };
    withdrawn.and(removed)
}

/// Removes what is left of endpoints that nobody holds any more. Until this has returned, their addresses and ports must
/// not be given out again: an element of a rule does not tell whose it is.
pub fn sweep(home: &Home, dead: &[Endpoint]) -> Result<()> {
    if dead.is_empty() {
        return Ok(());
    }
    home.inside(|| {
        let mut result = Ok(());
        for endpoint in dead {
            if home.routes && !endpoint.ports.is_empty() {
                result = result.and(nftables::unpublish(endpoint));
            }
            // Who was killed may not have written it down any more.
            let name = pair_name(endpoint);
            result = result.and(delete_link(&name));
            result = result.and(nftables::egress::sweep(&name));
        }
        result
    })
}

/// Takes back the rules of a container that has ended: [`remove_interfaces`] is the rest. What is returned, where there was
/// something, waits when it is dropped.
pub fn withdraw(
    home: &Home,
    network: &Network,
    endpoint: &Endpoint,
) -> Result<Option<nftables::Deleted>> {
    match home.routes {
        true => home
            .inside(|| nftables::withdraw(network, endpoint))
            .map(Some),
        false => Ok(None),
    }
}

/// Deletes interfaces of containers that have ended, for each of which the kernel takes about 10 ms. Without it they go
/// with the containers' namespaces, if nobody else is in these.
pub fn remove_interfaces(home: &Home, names: &[String]) -> Result<()> {
    home.inside(|| names.iter().try_for_each(|name| delete_link(name)))
}

fn delete_link(name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    link::delete(&mut batch, Which::Name(name));
    link::socket()?
        .apply_unless(&batch, &[Errno::NODEV])
        .with_context(|| format!("remove the interface `{name}`"))
}

/// Removes what the containers of a network shared.
pub fn remove(home: &Home, network: &Network) -> Result<()> {
    match network.driver {
        Driver::Bridge => home.inside(|| {
            let rules = match home.routes {
                true => nftables::remove(network),
                false => Ok(()),
            };
            rules.and(bridge::remove(&link::socket()?, network))
        }),
        Driver::Macvlan | Driver::Ipvlan => {
            home.inside(|| bridge::remove(&link::socket()?, network))
        }
        Driver::Host | Driver::None => Ok(()),
    }
}
