//! The bridge of a network (`ip-link(8)`, type bridge): the switch that its containers are on, and their gateway.
//!
//! Its MAC address is derived from the network's id, so it does not change when ports come and go, and no container's
//! table of neighbours gets old. A bridge that was there before the network, which
//! `com.docker.network.bridge.name` can name, is used as it is and stays.

use crate::error::{Error, Kind, bad_input};
use crate::network::link::{self, Link, Mac, Wanted, Which};
use crate::network::record::Network;
use crate::network::sysctl;
use crate::sys::netlink::{Batch, Socket};
use anyhow::{Context, Result};
use ipnet::IpNet;
use rustix::io::Errno;

/// Makes it unless one was `found`, and gives it the gateway's addresses.
pub fn ensure(socket: &Socket, network: &Network, found: Option<Link>) -> Result<Link> {
    let name = &network.interface;
    let found = match found {
        Some(found) => found,
        None => create(socket, network)?,
    };
    check(name, &found)?;
    let mut batch = Batch::default();
    if !found.up {
        link::set_up(&mut batch, Which::Index(found.index));
    }
    for subnet in &network.subnets {
        if let Some(gateway) = subnet.gateway {
            let address = IpNet::new(gateway, subnet.subnet.prefix_len())?;
            link::add_address(&mut batch, found.index, address);
            link::own_at_once(&mut batch, found.index, address);
        }
    }
    if let Some(mac) = found.mac.filter(|_| network.has_ipv6()) {
        link::add_address(
            &mut batch,
            found.index,
            IpNet::new(link::link_local(mac).into(), 64)?,
        );
    }
    socket
        .apply_unless(&batch, &[Errno::EXIST])
        .with_context(|| format!("give the bridge `{name}` its addresses"))?;
    Ok(found)
}

/// Refuses an interface of that name which is another thing.
pub fn check(name: &str, found: &Link) -> Result<(), Error> {
    match found.kind == "bridge" {
        true => Ok(()),
        false => Err(taken(name)),
    }
}

/// The name is that of another thing.
pub fn taken(name: &str) -> Error {
    let message = format!("the interface `{name}` is there already and is no bridge");
    let hint = "name another with `--opt com.docker.network.bridge.name=NAME`";
    Error::new(Kind::Conflict, message).hint(hint)
}

fn create(socket: &Socket, network: &Network) -> Result<Link> {
    let name = &network.interface;
    let which = Which::Name(name);
    let mut batch = Batch::default();
    let wanted = Wanted {
        name,
        mac: mac(&network.id),
        mtu: mtu(network)?,
        namespace: None,
    };
    link::create(&mut batch, &wanted, &link::Kind::Bridge);
    link::set_alias(&mut batch, which, &alias(network));
    if sysctl::has_ipv6() {
        link::no_automatic_address(&mut batch, which);
    }
    // It is there already where another command was faster.
    socket
        .apply_unless(&batch, &[Errno::EXIST])
        .map_err(|refusal| link::refused(&refusal, &link::Kind::Bridge))
        .with_context(|| format!("make the bridge `{name}`"))?;
    sysctl::ignore_routers(name)?;
    match network.has_ipv6() {
        true => sysctl::enable_ipv6(name)?,
        false => sysctl::disable_ipv6(name)?,
    }
    link::find(socket, name)?.with_context(|| format!("the bridge `{name}` is gone again"))
}

/// Removes it, if it was made for the network.
pub fn remove(socket: &Socket, network: &Network) -> Result<()> {
    let name = &network.interface;
    let Some(found) = link::find(socket, name)?.filter(|found| found.alias == alias(network))
    else {
        return Ok(());
    };
    let mut batch = Batch::default();
    link::delete(&mut batch, Which::Index(found.index));
    socket
        .apply_unless(&batch, &[Errno::NODEV])
        .with_context(|| format!("remove the interface `{name}`"))
}

/// What is written beside interfaces that were made for a network.
pub fn alias(network: &Network) -> String {
    format!("onggi network {}", network.id)
}

/// The longest packet, if it was given.
pub fn mtu(network: &Network) -> Result<Option<u32>> {
    let Some(text) = network.options.get("com.docker.network.driver.mtu") else {
        return Ok(None);
    };
    // Docker takes 0 for what the driver has by itself.
    match text.parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(mtu) if mtu <= 65535 => Ok(Some(mtu)),
        _ => Err(bad_input(format!(
            "invalid MTU `{text}`: a number up to 65535 is needed"
        ))
        .into()),
    }
}

fn mac(id: &str) -> Option<Mac> {
    // Locally administered, of one station.
    let mut mac = [2, 0, 0, 0, 0, 0];
    for (at, byte) in mac[1..].iter_mut().enumerate() {
        *byte = u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(mac)
}
