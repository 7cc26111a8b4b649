//! Packet rules (nf_tables), written by this process over netlink, in a table of our own. Where the kernel routes for
//! networks, they translate addresses, lead published ports inside, and keep networks apart.
//!
//! [`layout`] is what is always the same; networks and endpoints are elements of its sets, which can be made from a
//! [`Network`] and an [`Endpoint`] alone, to be added and to be deleted.

pub mod egress;
mod elements;
pub mod foreign;
pub mod layout;
pub mod rule;
pub mod transaction;

use crate::network::endpoint::Endpoint;
use crate::network::forwarding::Closed;
use crate::network::record::Network;
use crate::sys::netlink::{Refusal, Socket};
use anyhow::{Context, Result};
use elements::Elements;
use layout::Version;
use rustix::io::Errno;
use transaction::{Element, Key, Transaction, has_chain, has_element, socket};

pub use elements::describe;

/// Makes the table and what of it belongs to a network, unless it is there; what is `closed` stays so.
pub fn ensure(network: &Network, closed: Closed) -> Result<()> {
    let socket = socket().map_err(refused)?;
    let bridge = Key::new().interface(&network.interface);
    let table = layout::TABLE;
    let is_there = || {
        if !has_chain(&socket, table, layout::PORTS)?
            || !has_element(&socket, table, &layout::BRIDGES, &bridge)?
        {
            return Ok(false);
        }
        for version in Version::BOTH
            .into_iter()
            .filter(|one| closed[*one as usize])
        {
            let family = Key::new().protocol(version.number());
            if !has_element(&socket, table, &layout::CLOSED, &family)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if is_there().map_err(refused)? {
        return Ok(());
    }
    let mut transaction = Transaction::new(table);
    layout::write(&mut transaction);
    elements::of_network(network).add(&mut transaction);
    elements::of_closed(closed).add(&mut transaction);
    transaction
        .commit(&socket)
        .map_err(refused)
        .context("make the packet rules")
}

/// Deletes what belongs to a network.
pub fn remove(network: &Network) -> Result<()> {
    let deleted = delete(&elements::of_network(network)).map(drop);
    deleted.context("delete the packet rules of the network")
}

/// What was deleted is out of use, but the kernel has not forgotten it yet: dropping this waits for that, 10 ms and more.
#[derive(Debug)]
#[must_use = "dropping it waits"]
pub struct Deleted(
    #[allow(dead_code, reason = "the close of the socket is what waits")] Option<Socket>,
);

/// Leads the ports of an endpoint to it. A port can have only one place to lead to, and it was reserved by whoever calls:
/// if it leads elsewhere, that is a leftover.
pub fn publish(network: &Network, endpoint: &Endpoint) -> Result<()> {
    let elements = elements::of_endpoint(network, endpoint);
    if elements.is_empty() {
        return Ok(());
    }
    let publish = || {
        let socket = socket()?;
        let mut transaction = Transaction::new(layout::TABLE);
        elements.add(&mut transaction);
        match transaction.commit(&socket) {
            Err(refusal) if refusal.errno == Errno::EXIST => {}
            result => return result,
        }
        let mut transaction = Transaction::new(layout::TABLE);
        elements
            .present(&socket, |_, _| true)?
            .delete(&mut transaction);
        elements.add(&mut transaction);
        transaction.commit(&socket)
    };
    publish().map_err(refused).context("publish ports")
}

/// Takes that back.
pub fn withdraw(network: &Network, endpoint: &Endpoint) -> Result<Deleted> {
    delete(&elements::of_endpoint(network, endpoint)).context("withdraw published ports")
}

/// Takes that back where nobody knows how it was published.
pub fn unpublish(endpoint: &Endpoint) -> Result<()> {
    let deleted = delete(&elements::of_unknown(endpoint)).map(drop);
    deleted.context("withdraw published ports")
}

/// Makes the whole table anew in one step, with these networks and what is in them, and what is `closed`.
pub fn reload<'a>(
    networks: impl Iterator<Item = (&'a Network, &'a [Endpoint])>,
    closed: Closed,
) -> Result<()> {
    let mut transaction = Transaction::new(layout::TABLE);
    transaction.add_table().delete_table();
    layout::write(&mut transaction);
    elements::of_closed(closed).add(&mut transaction);
    for (network, endpoints) in networks {
        elements::of_network(network).add(&mut transaction);
        for endpoint in endpoints {
            elements::of_endpoint(network, endpoint).add(&mut transaction);
        }
    }
    let made = socket().and_then(|socket| transaction.commit(&socket));
    made.map_err(refused).context("make the packet rules")
}

/// Deletes elements, of which some may be gone already, or lead elsewhere: those are another's.
fn delete(elements: &Elements) -> Result<Deleted> {
    if elements.is_empty() {
        return Ok(Deleted(None));
    }
    let delete = || {
        let socket = socket()?;
        let mut transaction = Transaction::new(layout::TABLE);
        // To add what is there does nothing, and what has been added can be deleted.
        elements.add(&mut transaction);
        elements.delete(&mut transaction);
        match transaction.commit(&socket) {
            // The table, or the network's part of it, is gone.
            Err(refusal) if refusal.errno == Errno::NOENT => return Ok(Deleted(Some(socket))),
            Err(refusal) if refusal.errno == Errno::EXIST => {}
            result => return result.map(|()| Deleted(Some(socket))),
        }
        let mut transaction = Transaction::new(layout::TABLE);
        let own = |wanted: &Element, found: &Element| wanted.value == found.value;
        elements.present(&socket, own)?.delete(&mut transaction);
        transaction.commit(&socket)?;
        Ok(Deleted(Some(socket)))
    };
    delete().map_err(refused)
}

/// Why the kernel refused rules, in words that help.
fn refused(refusal: Refusal) -> anyhow::Error {
    use crate::error::{Error, Kind};
    let error = |kind, message: &str| Error::new(kind, format!("{message}: {refusal}"));
    match refusal.errno {
        Errno::PERM | Errno::ACCESS => error(Kind::Denied, "packet rules cannot be changed").into(),
        Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::INVAL => error(
            Kind::Unsupported,
            "this kernel has no nf_tables, or parts of it are missing",
        )
        .hint("load them as root: modprobe -a nf_tables nft_chain_nat nft_fib_inet nft_masq")
        .into(),
        _ => refusal.into(),
    }
}
