//! Subnets for a network that names none: from the pools of the settings or Docker's, where nobody else is.

use crate::error::{Error, Kind};
use crate::network::ipam::{self, Pool};
use crate::network::record::{Network, Subnet};
use crate::network::surroundings::Surroundings;
use crate::paths::Paths;
use crate::settings::Settings;
use crate::store::atomic::{self, Durability};
use crate::store::damage::damaged;
use crate::store::id;
use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv6Net};
use std::io::ErrorKind;
use std::net::Ipv6Addr;

/// Gives a network the subnets that it lacks.
pub(super) fn subnets(paths: &Paths, network: &mut Network, others: &[Network]) -> Result<()> {
    let has = |is_v4: bool| {
        let mut subnets = network.subnets.iter();
        subnets.any(|subnet| subnet.subnet.addr().is_ipv4() == is_v4)
    };
    let (lacks_ipv4, lacks_ipv6) = (network.ipv4 && !has(true), network.ipv6 && !has(false));
    if lacks_ipv4 || lacks_ipv6 {
        let own: Vec<IpNet> = network.subnets.iter().map(|subnet| subnet.subnet).collect();
        let chooser = Chooser::new(others, own)?;
        if lacks_ipv4 {
            network.subnets.push(Subnet::of(chooser.ipv4()?)?);
        }
        if lacks_ipv6 {
            network.subnets.push(Subnet::of(chooser.ipv6(paths)?)?);
        }
    }
    network
        .subnets
        .sort_by_key(|subnet| subnet.subnet.addr().is_ipv6());
    Ok(())
}

/// Chooses subnets that nobody has.
struct Chooser {
    networks: Vec<IpNet>,
    surroundings: Surroundings,
    pools: Vec<Pool>,
}

impl Chooser {
    fn new(networks: &[Network], mut taken: Vec<IpNet>) -> Result<Self> {
        let subnets = networks.iter().flat_map(|network| &network.subnets);
        taken.extend(subnets.map(|subnet| subnet.subnet));
        Ok(Self {
            networks: taken,
            surroundings: Surroundings::look(),
            pools: Settings::load()?.address_pools,
        })
    }

    fn ipv4(&self) -> Result<IpNet> {
        let pools: Vec<Pool> = self.pools_of(|base| base.addr().is_ipv4());
        match pools.is_empty() {
            true => self.free(&ipam::default_pools()),
            false => self.free(&pools),
        }
    }

    fn ipv6(&self, paths: &Paths) -> Result<IpNet> {
        let pools: Vec<Pool> = self.pools_of(|base| base.addr().is_ipv6());
        if !pools.is_empty() {
            return self.free(&pools);
        }
        self.free(&[Pool {
            base: unique_local(paths)?.into(),
            size: 64,
        }])
    }

    fn pools_of(&self, fits: fn(&IpNet) -> bool) -> Vec<Pool> {
        let pools = self.pools.iter().filter(|pool| fits(&pool.base));
        pools.cloned().collect()
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
