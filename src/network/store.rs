//! The networks of a store: making, finding and removing their records. What lives of a network is in [`super::endpoint`],
//! its bridge is for others.
//!
//! Invariants. A network is renamed into place whole and renamed away whole, both under `networks/lock`, under which
//! also subnets are chosen: no two networks ever overlap. Whoever gives out an address holds [`lock`], so no container
//! is ever in a network that is gone.

mod choose;

use super::endpoint::{self, Endpoint};
use super::ipam;
use super::options;
use super::parent::isolated_name;
use super::record::{BUILT_IN, DEFAULT, Driver, Network, VERSION};
use super::request::Request;
use super::surroundings;
use super::{bridge, link};
use crate::error::{self, Error, Kind, bad_input, not_found};
use crate::paths::Paths;
use crate::paths::network::{network_record_in, staged_network};
use crate::store::atomic::{self, Durability};
use crate::store::damage::{self, damaged};
use crate::store::lock::Lock;
use crate::store::staging::{Staging, Trash};
use crate::store::{directory, id, record};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// The default bridge of the machine's store and of a user's.
const DEFAULT_INTERFACE: &str = "onggi0";

/// All networks by name. One whose record is damaged is left out and noted.
pub fn all(paths: &Paths) -> Result<Vec<Network>> {
    let found = read_all(paths)?;
    let is_there = |name: &&str| found.iter().any(|network| network.name == **name);
    if BUILT_IN.iter().all(is_there) {
        return Ok(found);
    }
    let _lock = lock_names(paths)?;
    let mut found = read_all(paths)?;
    for name in BUILT_IN {
        if !found.iter().any(|network| network.name == name) {
            let made = built_in(paths, name, &found)?;
            write(paths, &made)?;
            found.push(made);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The network that is meant by a whole id, a name, or a prefix of an id that no other has.
pub fn find(paths: &Paths, name: &str) -> Result<Network> {
    if is_id(name)
        && let Some(found) = read(paths, name)?
    {
        return Ok(found);
    }
    let mut networks = all(paths)?;
    if let Some(at) = networks.iter().position(|network| network.name == name) {
        return Ok(networks.swap_remove(at));
    }
    let is_prefix = |network: &Network| !name.is_empty() && network.id.starts_with(name);
    networks.retain(is_prefix);
    match networks.len() {
        0 => Err(missing(name).into()),
        1 => Ok(networks.swap_remove(0)),
        count => {
            let message =
                format!("network {name} is ambiguous ({count} matches found based on ID prefix)");
            Err(bad_input(message).into())
        }
    }
}

/// Whether there is a network of that id, whatever its record says.
pub fn is_there(paths: &Paths, id: &str) -> bool {
    paths.network(id).exists()
}

/// Docker's words.
pub fn missing(name: &str) -> Error {
    not_found(format!("network {name} not found"))
        .hint("`onggi network ls` lists those that are there")
}

/// Whether a text has the form of an id.
pub fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(is_digit)
}

/// Keeps the addresses of a network from being given out by others, and the network from being removed.
pub fn lock(paths: &Paths, network: &Network) -> Result<Lock> {
    lock_by_id(paths, &network.id)?.ok_or_else(|| missing(&network.name).into())
}

/// Likewise; `None` when there is no such network.
pub(super) fn lock_by_id(paths: &Paths, id: &str) -> Result<Option<Lock>> {
    let directory = paths.network(id);
    match Lock::directory(&directory) {
        Ok(lock) if lock.is_of(&directory) => Ok(Some(lock)),
        Err(error) if directory.exists() => Err(error),
        _ => Ok(None),
    }
}

/// Keeps others from making and removing networks.
fn lock_names(paths: &Paths) -> Result<Lock> {
    let networks = paths.networks();
    std::fs::create_dir_all(&networks)
        .with_context(|| format!("create `{}`", networks.display()))?;
    Lock::exclusive(&paths.networks_lock())
}

/// All ids that there are.
fn ids(paths: &Paths) -> Result<Vec<String>> {
    let mut ids = directory::names(&paths.networks())?;
    ids.retain(|name| is_id(name));
    Ok(ids)
}

fn read_all(paths: &Paths) -> Result<Vec<Network>> {
    let mut networks: Vec<Network> = Vec::new();
    for id in ids(paths)? {
        match read(paths, &id) {
            Ok(found) => networks.extend(found),
            Err(error) => {
                damage::note(format_args!("network {} is left out", &id[..12]), &error);
            }
        }
    }
    networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(networks)
}

/// The ids of networks that cannot be read, and why.
pub fn unreadable(paths: &Paths) -> Result<Vec<(String, anyhow::Error)>> {
    let ids = ids(paths)?.into_iter();
    let unreadable = ids.filter_map(|id| read(paths, &id).err().map(|error| (id, error)));
    Ok(unreadable.collect())
}

/// Whether a record that cannot be read will never be: its content makes no sense.
pub fn is_damage(error: &anyhow::Error) -> bool {
    error::kind(error) == Some(Kind::BadInput)
}

/// Removes a network whose record makes no sense.
pub fn discard_damaged(paths: &Paths, id: &str) -> Result<()> {
    let _lock = lock_names(paths)?;
    let _addresses = lock_by_id(paths, id)?;
    match read(paths, id) {
        Err(error) if is_damage(&error) => discard(paths, id),
        _ => Ok(()),
    }
}

/// Fails for one that is damaged; `None` when it is removed meanwhile.
fn read(paths: &Paths, id: &str) -> Result<Option<Network>> {
    let directory = paths.network(id);
    let path = network_record_in(&directory);
    match record::read::<Network>(&directory, &path, VERSION)? {
        Some(other) if other.id != id => {
            Err(damaged(&path, format!("it is that of {}", other.id)).into())
        }
        found => Ok(found),
    }
}

/// Gives a network that nobody else has its place. The names are locked.
fn write(paths: &Paths, network: &Network) -> Result<()> {
    let staging = Staging::new(&paths.staging())?;
    let made = staged_network(staging.path());
    std::fs::create_dir(&made).with_context(|| format!("create `{}`", made.display()))?;
    atomic::write(
        &network_record_in(&made),
        &serde_json::to_vec_pretty(network)?,
        Durability::Durable,
    )?;
    let place = paths.network(&network.id);
    std::fs::rename(&made, &place).with_context(|| format!("rename to `{}`", place.display()))?;
    atomic::sync_directory(&paths.networks())
}

fn built_in(paths: &Paths, name: &str, others: &[Network]) -> Result<Network> {
    let driver = match name {
        DEFAULT => Driver::Bridge,
        "host" => Driver::Host,
        _ => Driver::None,
    };
    let mut network = plain(name, driver)?;
    if driver != Driver::Bridge {
        return Ok(network);
    }
    // Root's stores share one namespace, a user's has its own.
    let is_alone = paths.is_of_the_machine() || !rustix::process::geteuid().is_root();
    network.interface = match is_alone {
        true => DEFAULT_INTERFACE.to_owned(),
        false => bridge_name(&network.id),
    };
    network.options = [
        (options::DEFAULT_BRIDGE, "true"),
        (options::ICC, "true"),
        (options::MASQUERADE, "true"),
        (options::HOST_BINDING, "0.0.0.0"),
        (options::BRIDGE_NAME, &network.interface),
        (options::MTU, "1500"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    network.ipv6 = surroundings::has_ipv6();
    choose::subnets(paths, &mut network, others)?;
    Ok(network)
}

fn plain(name: &str, driver: Driver) -> Result<Network> {
    Ok(Network {
        version: VERSION,
        id: id::random_hex(64)?,
        name: name.to_owned(),
        created: jiff::Timestamp::now().to_string(),
        driver,
        interface: String::new(),
        subnets: Vec::new(),
        internal: false,
        attachable: false,
        ipv4: true,
        ipv6: false,
        options: BTreeMap::new(),
        ipam_options: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
}

/// What the bridge of a network is called that does not say.
fn bridge_name(id: &str) -> String {
    format!("br-{}", &id[..12])
}

/// Makes a network.
pub fn create(paths: &Paths, request: &Request) -> Result<Network> {
    request.check_name()?;
    let driver = request.driver()?;
    let mut network = Network {
        subnets: request.subnets(driver)?,
        internal: request.internal,
        attachable: request.attachable,
        options: request.options.clone(),
        ipam_options: request.ipam_options.clone(),
        labels: request.labels.clone(),
        ..plain(&request.name, driver)?
    };
    match request.gives_addresses()? {
        true => choose_families(request, &mut network)?,
        false => (network.ipv4, network.ipv6) = (false, false),
    }
    options::check(driver, &network.options, network.internal, network.ipv6)?;
    name_interface(&mut network)?;
    // The default bridge has the first choice of subnets.
    all(paths)?;
    let _lock = lock_names(paths)?;
    let others = read_all(paths)?;
    for other in &others {
        refuse_collision(&network, other)?;
    }
    if driver == Driver::Bridge && !request.of_a_user {
        surroundings::refuse_own_links(&network)?;
        if let Some(found) = link::find(&link::socket()?, &network.interface)? {
            bridge::check(&network.interface, &found)?;
        }
    }
    choose::subnets(paths, &mut network, &others)?;
    write(paths, &network)?;
    Ok(network)
}

fn choose_families(request: &Request, network: &mut Network) -> Result<(), Error> {
    let is_named = |is_v4: bool| {
        let mut subnets = network.subnets.iter();
        subnets.any(|subnet| subnet.subnet.addr().is_ipv4() == is_v4)
    };
    let usual = network.driver == Driver::Bridge && surroundings::has_ipv6();
    network.ipv4 = request.ipv4.unwrap_or(true);
    network.ipv6 = request.ipv6.unwrap_or(usual || is_named(false));
    for (on, is_v4) in [(network.ipv4, true), (network.ipv6, false)] {
        if !on && is_named(is_v4) {
            let number = if is_v4 { 4 } else { 6 };
            let message = format!("an IPv{number} subnet is named although --ipv{number} is false");
            return Err(bad_input(message));
        }
    }
    if !network.ipv4 && !network.ipv6 {
        return Err(bad_input("IPv4 or IPv6 must be enabled"));
    }
    if network.ipv6 && !surroundings::has_ipv6() {
        let message = "IPv6 is off on this host";
        let hint = "the kernel parameter net.ipv6.conf.all.disable_ipv6 says so, or the kernel has no IPv6";
        return Err(Error::new(Kind::Unsupported, message).hint(hint));
    }
    Ok(())
}

/// Finds out what the network's interface is, or will be, called.
fn name_interface(network: &mut Network) -> Result<(), Error> {
    let asked = |name| network.options.get(name).filter(|name| !name.is_empty());
    network.interface = match (
        network.driver,
        asked(options::BRIDGE_NAME),
        asked(options::PARENT),
    ) {
        (Driver::Bridge, Some(name), _) => name.clone(),
        (Driver::Bridge, None, _) => bridge_name(&network.id),
        (Driver::Macvlan | Driver::Ipvlan, _, Some(parent)) => {
            surroundings::check_parent(parent)?;
            parent.clone()
        }
        (Driver::Macvlan | Driver::Ipvlan, _, None) => isolated_name(network),
        (Driver::Host | Driver::None, ..) => String::new(),
    };
    Ok(())
}

fn refuse_collision(new: &Network, other: &Network) -> Result<(), Error> {
    if new.name == other.name {
        let message = format!("network with name {} already exists", new.name);
        return Err(Error::new(Kind::Conflict, message));
    }
    let bridges = (new.driver, other.driver) == (Driver::Bridge, Driver::Bridge);
    if bridges && new.interface == other.interface {
        let message = format!(
            "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
            new.name, new.interface, other.name, other.interface
        );
        return Err(Error::new(Kind::Conflict, message));
    }
    for subnet in &new.subnets {
        let mut subnets = other.subnets.iter();
        if let Some(found) = subnets.find(|other| ipam::overlap(&other.subnet, &subnet.subnet)) {
            let message = format!(
                "invalid pool request: Pool overlaps with other one on this address space: {} with {} of network {}",
                subnet.subnet, found.subnet, other.name
            );
            return Err(Error::new(Kind::Conflict, message));
        }
    }
    Ok(())
}

/// Removes a network that no container is in. What killed processes have left of it is swept before that.
pub fn remove(paths: &Paths, network: &Network) -> Result<()> {
    if network.is_built_in() {
        let message = format!(
            "{} is a pre-defined network and cannot be removed",
            network.name
        );
        return Err(Error::new(Kind::Conflict, message).into());
    }
    let _lock = lock_names(paths)?;
    let _addresses = lock(paths, network)?;
    let live = endpoint::live(paths, &network.id)?;
    if !live.is_empty() {
        let shown = |endpoint: &Endpoint| {
            let id = endpoint.container.get(..12).unwrap_or_default();
            format!("name:{:?} id:{id:?}", endpoint.name)
        };
        let message = format!(
            "error while removing network: network {} has active endpoints ({})",
            network.name,
            live.iter().map(shown).collect::<Vec<_>>().join(", ")
        );
        let names: Vec<&str> = live.iter().map(|endpoint| &*endpoint.name).collect();
        let hint = format!(
            "stop these containers, or `onggi network disconnect {} CONTAINER`: {}",
            network.name,
            names.join(" ")
        );
        return Err(Error::new(Kind::Conflict, message).hint(hint).into());
    }
    discard(paths, &network.id)
}

/// Takes a network away with what is left of its endpoints. Both locks are held, and go along.
fn discard(paths: &Paths, id: &str) -> Result<()> {
    let mut trash = Trash::new(paths.staging());
    trash.discard(&paths.network(id))?;
    atomic::sync_directory(&paths.networks())?;
    let endpoints = paths.endpoints(id);
    match std::fs::remove_dir_all(&endpoints) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove `{}`", endpoints.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
