//! The networks of a store: making, finding and removing their records. What lives of a network is in [`super::endpoint`],
//! its bridge is for others.
//!
//! Invariants. A network is renamed into place whole and renamed away whole, both under `networks/lock`, under which
//! also subnets are chosen: no two networks ever overlap. Whoever gives out an address holds [`lock`], so no container
//! is ever in a network that is gone.

use super::ipam::{self, Pool};
use super::record::{BUILT_IN, DEFAULT, Driver, Network, Subnet, VERSION};
use super::surroundings::{self, Surroundings};
use crate::error::{Error, Kind, bad_input, not_found};
use crate::paths::Paths;
use crate::paths::network::network_record_in;
use crate::store::atomic::{self, Durability};
use crate::store::damage::{self, damaged};
use crate::store::id;
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv6Net};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::Ipv6Addr;

/// The default bridge of the machine's store and of a user's.
const DEFAULT_INTERFACE: &str = "onggi0";
/// Docker's option for the name of a bridge.
pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";

#[derive(Deserialize)]
struct Version {
    version: u32,
}

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

fn read_all(paths: &Paths) -> Result<Vec<Network>> {
    let directory = paths.networks();
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read `{}`", directory.display()))?,
    };
    let mut networks: Vec<Network> = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read `{}`", directory.display()))?;
        let Some(id) = entry.file_name().into_string().ok().filter(|id| is_id(id)) else {
            continue;
        };
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

/// Fails for one that is damaged; `None` when it is removed meanwhile.
fn read(paths: &Paths, id: &str) -> Result<Option<Network>> {
    let directory = paths.network(id);
    let record = network_record_in(&directory);
    let text = match std::fs::read(&record) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match directory.exists() {
                true => Err(damaged(&record, "it is missing").into()),
                false => Ok(None),
            };
        }
        text => text.with_context(|| format!("read `{}`", record.display()))?,
    };
    // Of another version nothing else can be relied on.
    let Version { version } =
        serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
    if version != VERSION {
        let message = format!(
            "the format of `{}` is version {version}, this program knows {VERSION}",
            record.display()
        );
        return Err(Error::new(Kind::Unsupported, message)
            .hint("a newer onggi knows it")
            .into());
    }
    let network: Network =
        serde_json::from_slice(&text).map_err(|error| damaged(&record, error))?;
    match network.id == id {
        true => Ok(Some(network)),
        false => Err(damaged(&record, format!("it is that of {}", network.id)).into()),
    }
}

/// Gives a network that nobody else has its place. The names are locked.
fn write(paths: &Paths, network: &Network) -> Result<()> {
    let staging = Staging::new(&paths.staging())?;
    let made = crate::paths::network::staged_network(staging.path());
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
    let mut network = Network {
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
    };
    if driver != Driver::Bridge {
        return Ok(network);
    }
    // Root's stores share one namespace, a user's has its own.
    let is_alone = paths.is_of_the_machine() || !rustix::process::geteuid().is_root();
    network.interface = match is_alone {
        true => DEFAULT_INTERFACE.to_owned(),
        false => bridge_name(&network.id),
    };
    let option = |name: &str, value: &str| (format!("com.docker.network.{name}"), value.to_owned());
    network.options = BTreeMap::from([
        option("bridge.default_bridge", "true"),
        option("bridge.enable_icc", "true"),
        option("bridge.enable_ip_masquerade", "true"),
        option("bridge.host_binding_ipv4", "0.0.0.0"),
        option("bridge.name", &network.interface),
        option("driver.mtu", "1500"),
    ]);
    network.ipv6 = surroundings::has_ipv6();
    let chooser = Chooser::new(others)?;
    network.subnets.push(subnet(chooser.ipv4()?));
    if network.ipv6 {
        network.subnets.push(subnet(chooser.ipv6(paths)?));
    }
    Ok(network)
}

/// What the bridge of a network is called that does not say.
fn bridge_name(id: &str) -> String {
    format!("br-{}", &id[..12])
}

fn subnet(subnet: IpNet) -> Subnet {
    Subnet {
        subnet,
        gateway: Some(ipam::first_address(&subnet)),
        range: None,
        auxiliary: BTreeMap::new(),
    }
}

/// Chooses subnets that nobody has.
struct Chooser {
    networks: Vec<IpNet>,
    surroundings: Surroundings,
    pools: Vec<Pool>,
}

impl Chooser {
    fn new(networks: &[Network]) -> Result<Self> {
        let subnets = networks.iter().flat_map(|network| &network.subnets);
        Ok(Self {
            networks: subnets.map(|subnet| subnet.subnet).collect(),
            surroundings: Surroundings::look(),
            pools: ipam::default_pools(),
        })
    }

    fn ipv4(&self) -> Result<IpNet> {
        let pools = self.pools.iter().filter(|pool| pool.base.addr().is_ipv4());
        self.free(&pools.cloned().collect::<Vec<_>>())
    }

    fn ipv6(&self, paths: &Paths) -> Result<IpNet> {
        let pools = self.pools.iter().filter(|pool| pool.base.addr().is_ipv6());
        let mut pools: Vec<Pool> = pools.cloned().collect();
        if pools.is_empty() {
            pools.push(Pool {
                base: unique_local(paths)?.into(),
                size: 64,
            });
        }
        self.free(&pools)
    }

    /// Somebody whose VPN has a route for all private addresses gets one of these rather than none.
    fn free(&self, pools: &[Pool]) -> Result<IpNet> {
        let near = [&self.networks[..], &self.surroundings.direct].concat();
        let all = [&near[..], &self.surroundings.routed].concat();
        let found = ipam::free_subnet(pools, &all).or_else(|| ipam::free_subnet(pools, &near));
        found.ok_or_else(|| {
            let message = "all predefined address pools have been fully subnetted";
            let hint = "name a subnet with --subnet, remove networks that nothing uses with `onggi network prune`, or \
                        set more pools with the setting `default-address-pools`";
            Error::new(Kind::Conflict, message).hint(hint).into()
        })
    }
}

/// The prefix of the store's own addresses (RFC 4193, section 3.2), which is made up once. The names are locked.
fn unique_local(paths: &Paths) -> Result<Ipv6Net> {
    const LENGTH: u8 = 48;
    let path = paths.unique_local_prefix();
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        text => {
            let text = text.with_context(|| format!("read `{}`", path.display()))?;
            let prefix: Option<Ipv6Net> = text.trim().parse().ok();
            let is_right = |prefix: &Ipv6Net| prefix.prefix_len() == LENGTH;
            return prefix
                .filter(is_right)
                .ok_or_else(|| damaged(&path, "it is no prefix of 48 bits").into());
        }
    }
    let random = u128::from_str_radix(&id::random_hex(10)?, 16)?;
    let address = Ipv6Addr::from((0xfd << 120) | (random << 80));
    let prefix = Ipv6Net::new(address, LENGTH)?;
    atomic::write(&path, format!("{prefix}\n").as_bytes(), Durability::Durable)?;
    Ok(prefix)
}
