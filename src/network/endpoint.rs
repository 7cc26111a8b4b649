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

mod reservation;

use super::store;
use crate::paths::Paths;
use crate::paths::network::{address_in, endpoint_in, new_endpoint_in};
use crate::store::lock::Lock;
use crate::store::{damage, directory};
use anyhow::{Context, Result};
pub use reservation::{Reserved, Wanted, check, reserve};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

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
        let endpoint: Endpoint = endpoint.map_err(|error| damage::damaged(path, error))?;
        // Other names of files are made of it.
        if path.file_name() != Some(endpoint.container.as_ref()) {
            let whose = format!("it is that of {}", endpoint.container);
            return Err(damage::damaged(path, whose).into());
        }
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
    let mut live = all(paths, network, |_| true)?;
    live.retain(|(_, held)| *held);
    live.sort_by(|(a, _), (b, _)| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(live.into_iter().map(|(endpoint, _)| endpoint).collect())
}

/// Whether there is no other one in its network, not even one that nobody holds any more.
pub fn is_alone(paths: &Paths, endpoint: &Endpoint) -> Result<bool> {
    Ok(names(&paths.endpoints(&endpoint.network))?.len() < 2)
}

/// Whether that endpoint is still there and held.
pub fn is_live(paths: &Paths, endpoint: &Endpoint) -> bool {
    let path = endpoint_in(&paths.endpoints(&endpoint.network), &endpoint.container);
    matches!(read(&path), Ok(Some((found, true))) if found.id == endpoint.id)
}

/// All networks' endpoints that nobody holds, to be [swept](sweep).
pub fn dead(paths: &Paths) -> Result<Vec<Endpoint>> {
    let mut dead = Vec::new();
    for network in names(&paths.all_endpoints())? {
        // What is held is not read at all.
        let is_free = |path: &Path| !Lock::is_held(path);
        let endpoints = all(paths, &network, is_free)?.into_iter();
        dead.extend(endpoints.filter(|(_, held)| !held).map(|(dead, _)| dead));
    }
    Ok(dead)
}

/// All of those whose files `fit`; what cannot be read is left out and noted.
fn all(paths: &Paths, network: &str, fits: fn(&Path) -> bool) -> Result<Vec<(Endpoint, bool)>> {
    let directory = paths.endpoints(network);
    let mut endpoints = Vec::new();
    for container in names(&directory)? {
        if !fits(&endpoint_in(&directory, &container)) {
            continue;
        }
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
    let mut names = directory::names(directory)?;
    names.retain(|name| store::is_id(name));
    Ok(names)
}

/// Removes what killed processes have left in any network: `clean` takes their links and rules away first. Others
/// neither do the same meanwhile nor get the addresses, so that nothing which is somebody else's by then is taken away.
pub fn sweep(paths: &Paths, mut clean: impl FnMut(&Endpoint) -> Result<()>) -> Result<()> {
    let mut result = Ok(());
    for dead in dead(paths)? {
        let _lock = store::lock_by_id(paths, &dead.network)?;
        let directory = paths.endpoints(&dead.network);
        // Somebody else may have swept it while this waited.
        let found = read(&endpoint_in(&directory, &dead.container))?;
        if !found.is_some_and(|(found, held)| found.id == dead.id && !held) {
            continue;
        }
        let cleaned = clean(&dead);
        if cleaned.is_ok() {
            remove(&directory, &dead);
            let _ = std::fs::remove_file(new_endpoint_in(&directory, &dead.container));
        }
        result = result.and(cleaned);
    }
    result
}

#[cfg(test)]
mod tests;
