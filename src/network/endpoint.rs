//! The place of one container in one network: its addresses, names and published ports.
//!
//! It is a file in the run root that whoever keeps the container running holds locked: an endpoint whose lock is free is
//! nobody's, and its addresses can be given out again. So neither a crash nor a power cut leaks an address.
//!
//! ```text
//! networks/NETWORK/CONTAINER   its endpoint, whole at any time; locked
//! networks/NETWORK/ADDRESS ──▶ CONTAINER: whether an address is free is one look, however many are in use
//! ```
//!
//! Invariants. Addresses are given out under the lock of the network, and a link to an address is there before the
//! endpoint that has it. A file is locked before it gets its name and stays so until it has lost it; readers take no
//! lock of the network, and look again when the file that they found free has no name any more.

use super::ipam;
use super::record::{Driver, Network, Subnet};
use super::store;
use crate::error::{Error, Kind, bad_input};
use crate::paths::Paths;
use crate::paths::network::{address_in, endpoint_in, last_addresses_in, new_endpoint_in};
use crate::store::damage;
use crate::store::id;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The content of that file.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct Endpoint {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The network's id.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// The container's name.
    pub name: String,
    /// Further names that others in the network find it by, its host name among them.
    pub aliases: Vec<String>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its MAC address as text, `02:42:…`; empty where the driver gives none.
    pub mac: String,
    /// Its interface in the container.
    pub interface: String,
    /// The other end of that in the namespace of the networks; empty where there is none.
    pub host_interface: String,
    /// Process 1 of the container, by its number in the caller's pid namespace: 0 until there is one.
    pub pid: i32,
    /// Ports of the host that lead here.
    pub ports: Vec<Publication>,
}

/// A run of ports of the host that leads to a run of ports of a container.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Publication {
    /// The host's address; `None`: all of both families.
    pub address: Option<IpAddr>,
    /// First port of the host; chosen already.
    pub host: u16,
    /// First port of the container.
    pub container: u16,
    /// How many.
    pub count: u16,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
}

/// What has ports.
#[derive(
    Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// tcp(7).
    #[default]
    Tcp,
    /// udp(7).
    Udp,
    /// sctp(7).
    Sctp,
}

impl Protocol {
    /// The one that is written so, in small or capital letters.
    pub fn from_word(word: &str) -> Option<Self> {
        let mut all = [Self::Tcp, Self::Udp, Self::Sctp].into_iter();
        all.find(|protocol| protocol.word().eq_ignore_ascii_case(word))
    }

    /// As it is written behind a port.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// What a container wants of a network.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Further names.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6: Option<Ipv6Addr>,
    /// A fixed MAC address.
    pub mac: Option<String>,
    /// Its interface in the container.
    pub interface: String,
    /// Ports of the host that lead to it.
    pub ports: Vec<Publication>,
}

/// An endpoint that nobody else has as long as this lives: dropping it gives it back. A process that was forked off with
/// it must not drop it.
#[derive(Debug)]
pub struct Reserved {
    endpoint: Endpoint,
    /// Endpoints of killed processes whose addresses this one has, or that were of the same container: their links and
    /// rules are to be swept before it is connected.
    pub replaced: Vec<Endpoint>,
    directory: PathBuf,
    lock: Option<Lock>,
}

impl Reserved {
    /// What it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Changes what others read of it: anything but its addresses and its container.
    pub fn update(&mut self, change: impl FnOnce(&mut Endpoint)) -> Result<()> {
        let mut changed = self.endpoint.clone();
        change(&mut changed);
        // The old one is let go when the new one has its name.
        self.lock = Some(write(&self.directory, &changed)?);
        self.endpoint = changed;
        Ok(())
    }

    /// Leaves it to who holds the lock from now on, who makes it [`Reserved::of`] that again.
    pub fn into_lock(mut self) -> Option<Lock> {
        self.lock.take()
    }

    /// What another process has reserved and left to this one.
    pub fn of(paths: &Paths, endpoint: Endpoint, lock: Lock) -> Self {
        Self {
            directory: paths.endpoints(&endpoint.network),
            endpoint,
            replaced: Vec::new(),
            lock: Some(lock),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // Before the lock is let go: nobody else has given out its addresses until then.
        if self.lock.is_some() {
            remove(&self.directory, &self.endpoint);
        }
    }
}

/// Whether a network can give what is wanted, in Docker's words.
pub fn check(network: &Network, wanted: &Wanted) -> Result<(), Error> {
    let fixed = [wanted.ipv4.map(IpAddr::V4), wanted.ipv6.map(IpAddr::V6)];
    for address in fixed.into_iter().flatten() {
        if network.is_built_in() {
            let message = "user specified IP address is supported on user defined networks only";
            let hint = "`onggi network create --subnet` makes one";
            return Err(bad_input(message).hint(hint));
        }
        let Some(subnet) = subnet_of(network, address) else {
            let message = format!(
                "no configured subnet or ip-range contain the IP address {address}: network {} has {}",
                network.name,
                network.subnets_in_words()
            );
            return Err(bad_input(message));
        };
        if subnet.gateway == Some(address) {
            let message = format!(
                "Address already in use: {address} is the gateway of network {}",
                network.name
            );
            return Err(Error::new(Kind::Conflict, message));
        }
        if !ipam::may_be_given(subnet, address) {
            let message = format!(
                "address {address} of network {} is set aside: no container gets it",
                network.name
            );
            return Err(bad_input(message));
        }
    }
    Ok(())
}

fn subnet_of(network: &Network, address: IpAddr) -> Option<&Subnet> {
    network
        .subnets
        .iter()
        .find(|subnet| subnet.subnet.contains(&address))
}

/// Gives a container a place in a network.
pub fn reserve(paths: &Paths, network: &Network, wanted: &Wanted) -> Result<Reserved> {
    check(network, wanted)?;
    let _lock = store::lock(paths, network)?;
    let directory = paths.endpoints(&network.id);
    let attempt = || Giver::new(&directory, network).give(wanted);
    match attempt() {
        Err(error) if !directory.exists() => {
            std::fs::create_dir_all(&directory)
                .with_context(|| format!("create `{}` since {error:#}", directory.display()))?;
            attempt()
        }
        given => given,
    }
}

/// Who gives out addresses of a network; its lock is held.
struct Giver<'a> {
    directory: &'a Path,
    network: &'a Network,
    replaced: Vec<Endpoint>,
}

/// Whose an address is.
enum Holder {
    Nobody,
    /// A killed process.
    Dead(Endpoint),
    Live(Endpoint),
}

impl<'a> Giver<'a> {
    fn new(directory: &'a Path, network: &'a Network) -> Self {
        Self {
            directory,
            network,
            replaced: Vec::new(),
        }
    }

    fn give(mut self, wanted: &Wanted) -> Result<Reserved> {
        match read(&endpoint_in(self.directory, &wanted.container))? {
            Some((_, true)) => {
                let message = format!(
                    "endpoint with name {} already exists in network {}",
                    wanted.name, self.network.name
                );
                return Err(Error::new(Kind::Conflict, message).into());
            }
            Some((old, false)) => self.replace(old),
            None => {}
        }
        let last = self.last();
        let ipv4 = self.address(wanted.ipv4.map(IpAddr::V4), last, IpAddr::is_ipv4)?;
        let ipv6 = self.address(wanted.ipv6.map(IpAddr::V6), last, IpAddr::is_ipv6)?;
        let addresses = [ipv4, ipv6];
        for address in addresses.into_iter().flatten() {
            let link = address_in(self.directory, address);
            // What is there leads nowhere.
            let _ = std::fs::remove_file(&link);
            symlink(&wanted.container, &link)
                .with_context(|| format!("create `{}`", link.display()))?;
        }
        let endpoint = endpoint(self.network, wanted, addresses)?;
        let lock = write(self.directory, &endpoint)?;
        let given = |wanted: bool, address: Option<IpAddr>, last| match wanted {
            true => last,
            false => address.or(last),
        };
        self.remember([
            given(wanted.ipv4.is_some(), ipv4, last[0]),
            given(wanted.ipv6.is_some(), ipv6, last[1]),
        ]);
        Ok(Reserved {
            endpoint,
            replaced: self.replaced,
            directory: self.directory.to_owned(),
            lock: Some(lock),
        })
    }

    /// The address of one family, if the network has that.
    fn address(
        &mut self,
        fixed: Option<IpAddr>,
        last: [Option<IpAddr>; 2],
        is_of_family: fn(&IpAddr) -> bool,
    ) -> Result<Option<IpAddr>> {
        if let Some(fixed) = fixed {
            return self.fixed(fixed).map(Some);
        }
        let mut subnets = self.network.subnets.iter();
        let Some(subnet) = subnets.find(|subnet| is_of_family(&subnet.subnet.addr())) else {
            return Ok(None);
        };
        let last = last.into_iter().flatten().find(is_of_family);
        let free = |address| Ok(!matches!(self.holder(address)?, Holder::Nobody));
        if let Some(found) = ipam::next(subnet, last, free)? {
            return Ok(Some(found));
        }
        // Those of killed processes only then: somebody may still talk to one of these.
        let without_a_process = |address| Ok(matches!(self.holder(address)?, Holder::Live(_)));
        let Some(found) = ipam::next(subnet, last, without_a_process)? else {
            let family = if subnet.subnet.addr().is_ipv4() { 4 } else { 6 };
            let message = format!(
                "no available IPv{family} addresses on this network's address pools: {} ({})",
                self.network.name, self.network.id
            );
            let hint = "stop a container that is in it, or make a network with a larger subnet";
            return Err(Error::new(Kind::Conflict, message).hint(hint).into());
        };
        self.take_over(found)?;
        Ok(Some(found))
    }

    fn fixed(&mut self, address: IpAddr) -> Result<IpAddr> {
        if let Holder::Live(holder) = self.holder(address)? {
            let message = format!(
                "Address already in use: {address} in network {} is that of container {}",
                self.network.name, holder.name
            );
            return Err(Error::new(Kind::Conflict, message).into());
        }
        self.take_over(address)?;
        Ok(address)
    }

    fn take_over(&mut self, address: IpAddr) -> Result<()> {
        if let Holder::Dead(old) = self.holder(address)? {
            self.replace(old);
        }
        Ok(())
    }

    fn replace(&mut self, old: Endpoint) {
        remove(self.directory, &old);
        self.replaced.push(old);
    }

    fn holder(&self, address: IpAddr) -> Result<Holder> {
        let link = address_in(self.directory, address);
        let container = match std::fs::read_link(&link) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Holder::Nobody),
            container => container.with_context(|| format!("read `{}`", link.display()))?,
        };
        Ok(match read(&self.directory.join(container))? {
            Some((endpoint, _)) if !endpoint.has(address) => Holder::Nobody,
            Some((endpoint, true)) => Holder::Live(endpoint),
            Some((endpoint, false)) => Holder::Dead(endpoint),
            None => Holder::Nobody,
        })
    }

    /// Those of both families that were given last. It is no harm to have forgotten.
    fn last(&self) -> [Option<IpAddr>; 2] {
        let text = std::fs::read_to_string(last_addresses_in(self.directory)).unwrap_or_default();
        let addresses = || text.lines().filter_map(|line| line.parse().ok());
        [
            addresses().find(IpAddr::is_ipv4),
            addresses().find(IpAddr::is_ipv6),
        ]
    }

    fn remember(&self, addresses: [Option<IpAddr>; 2]) {
        let lines = addresses.into_iter().flatten();
        let text: String = lines.map(|address| format!("{address}\n")).collect();
        let _ = std::fs::write(last_addresses_in(self.directory), text);
    }
}

impl Endpoint {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.map(IpAddr::V4);
        ipv4.into_iter().chain(self.ipv6.map(IpAddr::V6))
    }

    /// Whether an address is its.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses().any(|own| own == address)
    }
}

fn endpoint(
    network: &Network,
    wanted: &Wanted,
    addresses: [Option<IpAddr>; 2],
) -> Result<Endpoint> {
    let ipv4 = addresses
        .into_iter()
        .flatten()
        .find_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
    let ipv6 = addresses
        .into_iter()
        .flatten()
        .find_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        });
    let mac = match (&wanted.mac, network.driver) {
        (_, Driver::Host | Driver::None | Driver::Ipvlan) => String::new(),
        (Some(mac), _) => mac.clone(),
        (None, Driver::Bridge | Driver::Macvlan) => mac(ipv4)?,
    };
    Ok(Endpoint {
        id: id::random_hex(64)?,
        network: network.id.clone(),
        container: wanted.container.clone(),
        name: wanted.name.clone(),
        aliases: wanted.aliases.clone(),
        ipv4,
        ipv6,
        mac,
        interface: wanted.interface.clone(),
        ports: wanted.ports.clone(),
        ..Endpoint::default()
    })
}

/// Docker's, from the IPv4 address; else a random one that is locally administered (IEEE 802, section 8.2).
fn mac(ipv4: Option<Ipv4Addr>) -> Result<String> {
    let random;
    let digits: Vec<u8> = match ipv4 {
        Some(address) => address.octets().to_vec(),
        None => {
            random = u32::from_str_radix(&id::random_hex(8)?, 16)?;
            random.to_be_bytes().to_vec()
        }
    };
    let digits: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("02:42:{}", digits.join(":")))
}

/// Gives an endpoint its name, and the lock of the file.
fn write(directory: &Path, endpoint: &Endpoint) -> Result<Lock> {
    let path = endpoint_in(directory, &endpoint.container);
    let new = new_endpoint_in(directory, &endpoint.container);
    let _ = std::fs::remove_file(&new);
    let context = || format!("write `{}`", new.display());
    let mut file = File::create_new(&new).with_context(context)?;
    file.write_all(&serde_json::to_vec(endpoint)?)
        .with_context(context)?;
    let lock = Lock::of_new(file, &new)?;
    std::fs::rename(&new, &path).with_context(|| format!("rename to `{}`", path.display()))?;
    Ok(lock)
}

/// An endpoint, and whether somebody holds it; `None` when there is none any more.
fn read(path: &Path) -> Result<Option<(Endpoint, bool)>> {
    loop {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("open `{}`", path.display()))?,
        };
        let mut text = Vec::with_capacity(1024);
        file.read_to_end(&mut text)
            .with_context(|| format!("read `{}`", path.display()))?;
        let held = match Lock::try_share(file, path)? {
            None => true,
            Some(lock) if lock.is_of(path) => false,
            Some(_) => continue,
        };
        let endpoint = serde_json::from_slice(&text);
        let endpoint = endpoint.map_err(|error| damage::damaged(path, error))?;
        return Ok(Some((endpoint, held)));
    }
}

/// Removes the links of an endpoint, and then itself.
fn remove(directory: &Path, endpoint: &Endpoint) {
    for address in endpoint.addresses() {
        let link = address_in(directory, address);
        if std::fs::read_link(&link).is_ok_and(|holder| holder == Path::new(&endpoint.container)) {
            let _ = std::fs::remove_file(link);
        }
    }
    let _ = std::fs::remove_file(endpoint_in(directory, &endpoint.container));
}

/// That of a container which runs in a network.
pub fn of(paths: &Paths, network: &str, container: &str) -> Result<Option<Endpoint>> {
    let found = read(&endpoint_in(&paths.endpoints(network), container))?;
    Ok(found.filter(|(_, held)| *held).map(|(live, _)| live))
}

/// The endpoints of a network whose containers run, by name.
pub fn live(paths: &Paths, network: &str) -> Result<Vec<Endpoint>> {
    let mut live = all(paths, network)?;
    live.retain(|(_, held)| *held);
    live.sort_by(|(a, _), (b, _)| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(live.into_iter().map(|(endpoint, _)| endpoint).collect())
}

/// Whether that endpoint is still there and held.
pub fn is_live(paths: &Paths, endpoint: &Endpoint) -> bool {
    let path = endpoint_in(&paths.endpoints(&endpoint.network), &endpoint.container);
    matches!(read(&path), Ok(Some((found, true))) if found.id == endpoint.id)
}

/// What killed processes have left, to be swept and then [`forget`]: all networks' endpoints that nobody holds.
pub fn dead(paths: &Paths) -> Result<Vec<Endpoint>> {
    let mut dead = Vec::new();
    for network in names(&paths.all_endpoints())? {
        let endpoints = all(paths, &network)?.into_iter();
        dead.extend(endpoints.filter(|(_, held)| !held).map(|(dead, _)| dead));
    }
    Ok(dead)
}

/// All that are there; what cannot be read is left out and noted.
fn all(paths: &Paths, network: &str) -> Result<Vec<(Endpoint, bool)>> {
    let directory = paths.endpoints(network);
    let mut endpoints = Vec::new();
    for container in names(&directory)? {
        match read(&endpoint_in(&directory, &container)) {
            Ok(found) => endpoints.extend(found),
            Err(error) => damage::note(
                format_args!("the endpoint of container {container} is left out"),
                &error,
            ),
        }
    }
    Ok(endpoints)
}

/// The names in a directory that are ids.
fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("read `{}`", directory.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read `{}`", directory.display()))?;
        let name = entry.file_name().into_string();
        names.extend(name.ok().filter(|name| store::is_id(name)));
    }
    Ok(names)
}

/// Removes an endpoint that nobody holds.
pub fn forget(paths: &Paths, endpoint: &Endpoint) -> Result<()> {
    let _lock = store::lock_by_id(paths, &endpoint.network)?;
    let directory = paths.endpoints(&endpoint.network);
    let path = endpoint_in(&directory, &endpoint.container);
    if let Some((found, false)) = read(&path)?
        && found.id == endpoint.id
    {
        remove(&directory, endpoint);
        let _ = std::fs::remove_file(new_endpoint_in(&directory, &endpoint.container));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
