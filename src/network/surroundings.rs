//! What a new network must not collide with: where the host's packets already go. And whether the host has IPv6.
//!
//! proc_pid_net(5): `route` and `ipv6_route` of the network namespace of the caller; resolv.conf(5).

use super::ipam;
use super::record::{Network, Subnet};
use crate::error::{Error, Kind, bad_input, not_found};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Shorter prefixes mean everything, as those by which a VPN takes all traffic.
const SHORTEST_V4: u8 = 8;

/// Subnets that are somebody else's.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Those on the host's own links, and its name servers.
    pub direct: Vec<IpNet>,
    /// Those behind a router.
    pub routed: Vec<IpNet>,
    /// Those on the host's own links, and its routers, each with the interface.
    pub links: Vec<(IpNet, String)>,
}

impl Surroundings {
    /// Those of the caller; what cannot be read is as if there were none.
    pub fn look() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut found = Self::default();
        found.ipv4_routes(&read("/proc/thread-self/net/route"));
        found.ipv6_routes(&read("/proc/thread-self/net/ipv6_route"));
        found.name_servers(&read("/etc/resolv.conf"));
        found
    }

    /// Of `Iface Destination Gateway Flags RefCnt Use Metric Mask`, addresses in the byte order of the machine.
    fn ipv4_routes(&mut self, text: &str) {
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = |at: usize| {
                let digits = fields.get(at)?;
                let number = u32::from_str_radix(digits, 16).ok()?;
                Some(Ipv4Addr::from(number.to_ne_bytes()))
            };
            let (Some(destination), Some(gateway), Some(mask)) =
                (address(1), address(2), address(7))
            else {
                continue;
            };
            let route = IpNet::with_netmask(destination.into(), mask.into()).ok();
            if let Some(route) = route.filter(|route| route.prefix_len() >= SHORTEST_V4) {
                self.add(route, gateway.is_unspecified());
                if gateway.is_unspecified() {
                    self.links.push((route.trunc(), fields[0].to_owned()));
                }
            }
            if !gateway.is_unspecified() {
                let router = IpNet::from(IpAddr::V4(gateway));
                self.links.push((router, fields[0].to_owned()));
            }
        }
    }

    /// Of `destination prefix source prefix next-hop metric references use flags interface`, all in hexadecimal digits.
    fn ipv6_routes(&mut self, text: &str) {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = |at: usize| {
                let digits = fields.get(at).filter(|digits| digits.len() == 32)?;
                u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
            };
            let prefix = fields
                .get(1)
                .and_then(|text| u8::from_str_radix(text, 16).ok());
            let (Some(destination), Some(prefix), Some(gateway)) = (address(0), prefix, address(4))
            else {
                continue;
            };
            let everybody = destination.is_multicast() || destination.is_unicast_link_local();
            if let Ok(route) = IpNet::new(destination.into(), prefix)
                && prefix > 3
                && !everybody
            {
                self.add(route, gateway.is_unspecified());
                let interface = fields.get(9).filter(|&&interface| interface != "lo");
                if let Some(interface) = interface.filter(|_| gateway.is_unspecified()) {
                    self.links.push((route.trunc(), (*interface).to_owned()));
                }
            }
        }
    }

    fn name_servers(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("nameserver")
                && let Some(Ok(server)) = words.next().map(str::parse::<IpAddr>)
                && !server.is_loopback()
            {
                self.add(server.into(), true);
            }
        }
    }

    fn add(&mut self, subnet: IpNet, direct: bool) {
        match direct {
            true => self.direct.push(subnet.trunc()),
            false => self.routed.push(subnet.trunc()),
        }
    }
}

/// Refuses the subnets of a bridge in which the host itself is by another interface: the bridge would take the host's
/// own packets, those to its router among them.
pub fn refuse_own_links(network: &Network) -> Result<(), Error> {
    let links = Surroundings::look().links;
    for Subnet { subnet, .. } in &network.subnets {
        let is_taken = |(link, interface): &&(IpNet, String)| {
            *interface != network.interface && ipam::overlap(link, subnet)
        };
        if let Some((link, interface)) = links.iter().find(is_taken) {
            let message = format!(
                "subnet {subnet} of network {} is being used on the host by interface {interface} ({link})",
                network.name
            );
            let hint = "make the network with another --subnet, or with none: then one is chosen that is free";
            return Err(Error::new(Kind::Conflict, message).hint(hint));
        }
    }
    Ok(())
}

/// Whether the host has IPv6 (`/proc/sys/net/ipv6`).
pub fn has_ipv6() -> bool {
    let disabled = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    std::path::Path::new("/proc/thread-self/net/if_inet6").exists()
        && disabled.is_ok_and(|text| text.trim() != "1")
}

/// Whether the network namespace of the caller has an interface of that name.
pub fn has_interface(name: &str) -> bool {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let mut names = devices.lines().filter_map(|line| line.split_once(':'));
    names.any(|(found, _)| found.trim() == name)
}

/// Refuses an interface of the host that is not there; of `eth0.10`, a VLAN, it is enough that `eth0` is.
pub fn check_parent(name: &str) -> Result<(), Error> {
    if has_interface(name) {
        return Ok(());
    }
    if let Some((parent, number)) = name.rsplit_once('.') {
        if !number
            .parse()
            .is_ok_and(|number: u16| (1..=4094).contains(&number))
        {
            let message =
                format!("invalid subinterface vlan name {name}, example formatting is eth0.10");
            return Err(bad_input(message));
        }
        return check_parent(parent);
    }
    Err(
        not_found(format!("parent interface {name} was not found on the host"))
            .hint("`ip link` lists those that are there"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_those_that_lead_somewhere() {
        let mut found = Surroundings::default();
        found.ipv4_routes(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             tun0\t0000000A\t010011AC\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n\
             tun0\t00000000\t010011AC\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
             garbage\n",
        );
        found.ipv6_routes(
            "fd001234000000000000000000000000 40 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
             fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n\
             00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n\
             ff000000000000000000000000000000 08 00000000000000000000000000000000 00 \
             00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n",
        );
        found.name_servers(
            "# x\nnameserver 10.0.0.2\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n",
        );
        let shown = |nets: &[IpNet]| nets.iter().map(IpNet::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown(&found.direct),
            ["172.17.0.0/16", "fd00:1234::/64", "10.0.0.2/32"]
        );
        assert_eq!(shown(&found.routed), ["10.0.0.0/8"]);
    }
}
