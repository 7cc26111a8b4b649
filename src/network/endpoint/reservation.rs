//! Giving a container a place in a network: addresses that nobody else has, fixed ones or the next that are free.

use super::{Endpoint, Publication, read, remove, write};
use crate::error::{Error, Kind, bad_input};
use crate::network::record::{Driver, Network, Subnet};
use crate::network::{ipam, store};
use crate::paths::Paths;
use crate::paths::network::{address_in, endpoint_in, last_addresses_in};
use crate::store::id;
use crate::store::lock::Lock;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// More than two addresses take as text, with the ends of their lines.
const LAST: usize = 64;

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
    /// Those that it had before, by which others may still look for it: it has them again unless they are another's by now.
    pub before: Vec<IpAddr>,
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
        let Some(subnet) = network.subnet_of(address) else {
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
        let ipv4 = match wanted.ipv4 {
            Some(fixed) => self.fixed(fixed.into()).map(Some)?,
            None => self.address(&wanted.before, last, IpAddr::is_ipv4)?,
        };
        let ipv6 = match wanted.ipv6 {
            Some(fixed) => self.fixed(fixed.into()).map(Some)?,
            None => self.address(&wanted.before, last, IpAddr::is_ipv6)?,
        };
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
        let given = |fixed: bool, address: Option<IpAddr>, last| {
            let had = address.is_some_and(|address| wanted.before.contains(&address));
            if fixed || had {
                return last;
            }
            address.or(last)
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
        before: &[IpAddr],
        last: [Option<IpAddr>; 2],
        is_of_family: fn(&IpAddr) -> bool,
    ) -> Result<Option<IpAddr>> {
        let subnets = self.network.subnets.iter();
        let subnets = subnets.filter(|subnet| is_of_family(&subnet.subnet.addr()));
        let subnets: Vec<&Subnet> = subnets.collect();
        let Some(first) = subnets.first() else {
            return Ok(None);
        };
        for subnet in &subnets {
            let pool = subnet.range.unwrap_or(subnet.subnet);
            for address in before.iter().filter(|address| pool.contains(*address)) {
                let is_free = matches!(self.holder(*address)?, Holder::Nobody);
                if is_free && ipam::may_be_given(subnet, *address) {
                    return Ok(Some(*address));
                }
            }
        }
        let last = last.into_iter().flatten().find(is_of_family);
        let free = |address| Ok(!matches!(self.holder(address)?, Holder::Nobody));
        if let Some(found) = next_of(&subnets, last, free)? {
            return Ok(Some(found));
        }
        // Those of killed processes only then: somebody may still talk to one of these.
        let without_a_process = |address| Ok(matches!(self.holder(address)?, Holder::Live(_)));
        let Some(found) = next_of(&subnets, last, without_a_process)? else {
            let family = if first.subnet.addr().is_ipv4() { 4 } else { 6 };
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
        // Of always the same length, so that nothing has to be cut off: on a disk, ext4 for one, that takes milliseconds.
        let text = format!("{text:\n<LAST$}");
        let path = last_addresses_in(self.directory);
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let _ = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    }
}

/// Of the first subnet that has one.
fn next_of(
    subnets: &[&Subnet],
    last: Option<IpAddr>,
    is_taken: impl Fn(IpAddr) -> Result<bool>,
) -> Result<Option<IpAddr>> {
    let all = subnets.iter();
    all.map(|subnet| ipam::next(subnet, last, &is_taken))
        .find_map(Result::transpose)
        .transpose()
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
