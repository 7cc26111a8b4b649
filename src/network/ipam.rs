//! Addresses: which subnets a new network gets, and which address of its subnet a container gets.
//!
//! Both families are numbers here. Nothing here knows files: who has an address is for the caller to say.
//!
//! Invariant: the gateway, the addresses with a name, and those that mean the subnet itself or everybody in it are never
//! given to a container.

use super::record::Subnet;
pub use crate::settings::AddressPool as Pool;
use anyhow::Result;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Docker's pools for IPv4.
pub fn default_pools() -> Vec<Pool> {
    let pool = |second: u8, prefix, size| {
        let first = if second == 168 { 192 } else { 172 };
        let base = Ipv4Addr::new(first, second, 0, 0);
        IpNet::new(base.into(), prefix)
            .ok()
            .map(|base| Pool { base, size })
    };
    let pools = [
        pool(17, 16, 16),
        pool(18, 16, 16),
        pool(19, 16, 16),
        pool(20, 14, 16),
        pool(24, 14, 16),
        pool(28, 14, 16),
        pool(168, 16, 20),
    ];
    pools.into_iter().flatten().collect()
}

/// The first piece of one of the pools that overlaps nothing which is taken.
pub fn free_subnet<'a>(
    pools: impl IntoIterator<Item = &'a Pool>,
    taken: &[IpNet],
) -> Option<IpNet> {
    pools.into_iter().find_map(|pool| free_piece(pool, taken))
}

fn free_piece(pool: &Pool, taken: &[IpNet]) -> Option<IpNet> {
    let (first, last) = (number(pool.base.network()), number(pool.base.broadcast()));
    let size = pool.base.max_prefix_len().checked_sub(pool.size)?;
    let mut at = first;
    loop {
        let piece = IpNet::new(address(at, &pool.base), pool.size).ok()?;
        let in_the_way = taken
            .iter()
            .filter(|taken| overlap(taken, &piece))
            .map(|taken| number(taken.broadcast()).max(number(piece.broadcast())))
            .max();
        let Some(end) = in_the_way else {
            return Some(piece);
        };
        // The first piece behind all of that.
        at = end
            .checked_shr(size.into())?
            .checked_add(1)?
            .checked_shl(size.into())?;
        if at > last || at <= first {
            return None;
        }
    }
}

/// Whether some address is in both.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether an address of a subnet means the subnet itself or everybody in it.
pub fn is_special(subnet: &IpNet, address: IpAddr) -> bool {
    has_network_address(subnet)
        && (address == subnet.network() || (address.is_ipv4() && address == subnet.broadcast()))
}

/// Whether containers may get that address of a subnet, which it is in.
pub fn may_be_given(subnet: &Subnet, address: IpAddr) -> bool {
    !is_special(&subnet.subnet, address)
        && subnet.gateway != Some(address)
        && !subnet.auxiliary.values().any(|named| *named == address)
}

/// The next address of a subnet after the one that was given last; those of which `is_taken` says so are left out.
pub fn next(
    subnet: &Subnet,
    last: Option<IpAddr>,
    mut is_taken: impl FnMut(IpAddr) -> Result<bool>,
) -> Result<Option<IpAddr>> {
    let pool = subnet.range.unwrap_or(subnet.subnet);
    let (first, end) = (number(pool.network()), number(pool.broadcast()));
    let start = match last.filter(|last| pool.contains(last)) {
        Some(last) => number(last).saturating_add(1),
        None => first,
    };
    for candidate in (start..=end).chain(first..start) {
        let candidate = address(candidate, &pool);
        if may_be_given(subnet, candidate) && !is_taken(candidate)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// Two addresses are no subnet with an address of its own (RFC 3021, RFC 6164), and one is none either.
fn has_network_address(subnet: &IpNet) -> bool {
    subnet.max_prefix_len() - subnet.prefix_len() > 1
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The number as an address of the family of a subnet that it is in.
fn address(number: u128, subnet: &IpNet) -> IpAddr {
    match subnet {
        IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn subnet(text: &str, gateway: &str, range: &str, auxiliary: &[&str]) -> Subnet {
        let named = |address: &&str| ((*address).to_owned(), address.parse().unwrap());
        Subnet {
            subnet: net(text),
            gateway: gateway.parse().ok(),
            range: range.parse().ok(),
            auxiliary: auxiliary.iter().map(named).collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn a_new_network_gets_what_nothing_else_has() {
        let v6 = [Pool {
            base: net("fd12:3456:789a::/48"),
            size: 64,
        }];
        let v4 = default_pools();
        for (pools, taken, expected) in [
            (&v4[..], &[][..], Some("172.17.0.0/16")),
            (&v4, &["172.17.0.0/16"], Some("172.18.0.0/16")),
            (
                &v4,
                &["172.17.3.0/24", "172.18.255.255/32"],
                Some("172.19.0.0/16"),
            ),
            (&v4, &["172.16.0.0/12"], Some("192.168.0.0/20")),
            (
                &v4,
                &["172.16.0.0/12", "192.168.1.0/24", "192.168.17.0/24"],
                Some("192.168.32.0/20"),
            ),
            (
                &v4,
                &["172.16.0.0/12", "192.168.0.0/17", "192.168.128.0/18"],
                Some("192.168.192.0/20"),
            ),
            (&v4, &["172.16.0.0/12", "192.168.0.0/16"], None),
            (
                &v4,
                &["172.16.0.0/12", "192.168.240.1/32"],
                Some("192.168.0.0/20"),
            ),
            (&v6, &["172.17.0.0/16"], Some("fd12:3456:789a::/64")),
            (
                &v6,
                &["fd12:3456:789a::/64", "fd12:3456:789a:1::/64"],
                Some("fd12:3456:789a:2::/64"),
            ),
            (&v6, &["fd00::/8"], None),
            (
                &[Pool {
                    base: net("0.0.0.0/0"),
                    size: 1,
                }],
                &["0.0.0.0/1", "128.0.0.0/1"],
                None,
            ),
            (
                &[Pool {
                    base: net("::/0"),
                    size: 0,
                }],
                &["::/0"],
                None,
            ),
        ] {
            let taken: Vec<IpNet> = taken.iter().map(|text| net(text)).collect();
            assert_eq!(free_subnet(pools, &taken), expected.map(net), "{taken:?}");
        }
    }

    #[test]
    fn addresses_go_up_from_the_last_one() {
        let tiny = subnet("10.0.0.0/29", "10.0.0.1", "", &["10.0.0.3"]);
        let ranged = subnet("10.0.0.0/16", "10.0.0.1", "10.0.5.0/30", &[]);
        let v6 = subnet("fd00::/64", "fd00::1", "", &[]);
        let pair = subnet("10.0.0.0/31", "10.0.0.0", "", &[]);
        let single = subnet("10.0.0.1/32", "10.0.0.1", "", &[]);
        for (subnet, last, taken, expected) in [
            (&tiny, "", &[][..], Some("10.0.0.2")),
            (&tiny, "10.0.0.2", &[], Some("10.0.0.4")),
            (&tiny, "10.0.0.4", &["10.0.0.5"], Some("10.0.0.6")),
            (&tiny, "10.0.0.6", &[], Some("10.0.0.2")),
            (
                &tiny,
                "10.0.0.4",
                &["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"],
                None,
            ),
            (&tiny, "10.9.9.9", &[], Some("10.0.0.2")),
            (&ranged, "", &[], Some("10.0.5.0")),
            (&ranged, "10.0.5.3", &["10.0.5.0"], Some("10.0.5.1")),
            (&ranged, "10.0.9.9", &[], Some("10.0.5.0")),
            (&v6, "", &[], Some("fd00::2")),
            (
                &v6,
                "fd00::ffff:ffff:ffff:ffff",
                &["fd00::2"],
                Some("fd00::3"),
            ),
            (&pair, "", &[], Some("10.0.0.1")),
            (&single, "", &[], None),
        ] {
            let is_taken = |address: IpAddr| Ok(taken.contains(&&*address.to_string()));
            let found = next(subnet, last.parse().ok(), is_taken).unwrap();
            let expected = expected.map(|text| text.parse::<IpAddr>().unwrap());
            assert_eq!(found, expected, "{subnet:?} after {last}");
        }
    }
}
