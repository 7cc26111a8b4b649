//! Interfaces on one of the host's: macvlan and ipvlan networks (`ip-link(8)`). What a container gets is made in its
//! namespace at once; the host's interface is the parent, or one for a single 802.1q number of it, which is named
//! `eth0.50` and is made where it is missing.

use crate::error::{Error, Kind as ErrorKind};
use crate::network::bridge::alias;
use crate::network::link::{self, Kind, Link, Wanted, Which};
use crate::network::options::{IPVLAN_FLAG, IPVLAN_MODE, MACVLAN_MODE};
use crate::network::record::{Driver, Network};
use crate::sys::netlink::{Batch, Socket};
use anyhow::{Context, Result};
use rustix::io::Errno;

/// The parent, made if it is one of a single number, or one that leads nowhere.
pub fn ensure(socket: &Socket, network: &Network) -> Result<Link> {
    let name = &network.interface;
    if let Some(found) = link::find(socket, name)? {
        return Ok(found);
    }
    let missing = |name: &str| {
        let message = format!("parent interface {name} was not found on the host");
        let hint = "`ip link` lists the interfaces; `NAME.NUMBER` is made where NAME is there";
        Error::new(ErrorKind::NotFound, message).hint(hint)
    };
    let kind = match name.rsplit_once('.') {
        _ if *name == isolated_name(network) => Kind::Dummy,
        None => return Err(missing(name).into()),
        Some((parent, number)) => {
            let number = number
                .parse()
                .ok()
                .filter(|number| (1..4095).contains(number));
            let number: u16 = number.ok_or_else(|| missing(name))?;
            let parent = link::find(socket, parent)?.ok_or_else(|| missing(parent))?;
            Kind::Vlan(parent.index, number)
        }
    };
    let mut batch = Batch::default();
    let wanted = Wanted {
        name,
        ..Wanted::default()
    };
    link::create(&mut batch, &wanted, &kind);
    link::set_alias(&mut batch, Which::Name(name), &alias(network));
    link::set_up(&mut batch, Which::Name(name));
    socket
        .apply_unless(&batch, &[Errno::EXIST])
        .map_err(|refusal| link::refused(&refusal, &kind))
        .with_context(|| format!("make the interface `{name}`"))?;
    link::find(socket, name)?.with_context(|| format!("the interface `{name}` is gone again"))
}

/// The name of a network's interface that leads nowhere; what a network without a parent has. It is Docker's.
pub fn isolated_name(network: &Network) -> String {
    let prefix = match network.driver {
        Driver::Ipvlan => "di",
        _ => "dm",
    };
    format!("{prefix}-{}", network.id.get(..12).unwrap_or(&network.id))
}

/// What containers of a network get.
pub fn kind(network: &Network, parent: &Link) -> Kind<'static> {
    let option = |name: &str| network.options.get(name).map_or("", String::as_str);
    match network.driver {
        Driver::Ipvlan => {
            let mode = match option(IPVLAN_MODE) {
                "l3" => 1,
                "l3s" => 2,
                _ => 0,
            };
            let flags = match option(IPVLAN_FLAG) {
                "private" => 1,
                "vepa" => 2,
                _ => 0,
            };
            Kind::Ipvlan(parent.index, mode, flags)
        }
        _ => Kind::Macvlan(
            parent.index,
            match option(MACVLAN_MODE) {
                "private" => 1,
                "vepa" => 2,
                "passthru" => 8,
                _ => 4,
            },
        ),
    }
}

/// Whether containers of a network send everything out without asking who has an address: there is no gateway for them.
pub fn needs_no_gateway(network: &Network) -> bool {
    let mode = network.options.get(IPVLAN_MODE).map(String::as_str);
    network.driver == Driver::Ipvlan && matches!(mode, Some("l3" | "l3s"))
}
