//! Options of the drivers, by Docker's names: which there are, and what their values may be. What they do is for who
//! connects containers.

use super::bridge;
use super::record::Driver;
use crate::error::{Error, bad_input};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The name of a bridge's interface.
pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// Whether containers of a bridge reach one another.
pub const ICC: &str = "com.docker.network.bridge.enable_icc";
/// Whether they go out by an address of the host.
pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// Where ports are published that name no address.
pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
/// Marks the default bridge.
pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
/// How IPv4 goes in and out.
pub const GATEWAY_MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
/// How IPv6 goes in and out.
pub const GATEWAY_MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
/// The address that containers go out by.
pub const HOST_IPV4: &str = "com.docker.network.host_ipv4";
/// Likewise.
pub const HOST_IPV6: &str = "com.docker.network.host_ipv6";
/// The largest packet.
pub const MTU: &str = "com.docker.network.driver.mtu";
/// How the names of interfaces in containers begin.
pub const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
/// The interface of the host that those of containers are on.
pub const PARENT: &str = "parent";
/// How interfaces of the same parent see one another.
pub const MACVLAN_MODE: &str = "macvlan_mode";
/// Whether packets are switched or routed.
pub const IPVLAN_MODE: &str = "ipvlan_mode";
/// As [`MACVLAN_MODE`].
pub const IPVLAN_FLAG: &str = "ipvlan_flag";

/// The name of the loopback interface.
const LOOPBACK: &str = "lo";
/// The longest name of an interface (`IFNAMSIZ`), without the zero that ends it.
const LONGEST_INTERFACE: usize = 15;
/// Every IPv4 packet of that size passes everywhere (RFC 791).
const SMALLEST_MTU: u32 = 68;
/// Likewise (RFC 8200, section 5).
const SMALLEST_MTU_IPV6: u32 = 1280;
const LARGEST_MTU: u32 = 65535;

/// Refuses values that mean nothing.
pub fn check(
    driver: Driver,
    options: &BTreeMap<String, String>,
    internal: bool,
    ipv6: bool,
) -> Result<(), Error> {
    for (name, value) in options.iter().filter(|(name, _)| knows(driver, name)) {
        let wrong = |expected: &str| {
            Err(bad_input(format!(
                "failed to parse {name} value: {value:?} ({expected})"
            )))
        };
        match &**name {
            // It is in every network namespace.
            BRIDGE_NAME if value == LOOPBACK => return Err(bridge::taken(value)),
            PARENT if value == LOOPBACK => {
                let message = format!(
                    "loopback interface is not a valid {} parent link",
                    driver.word()
                );
                let hint = "`ip link` lists the interfaces; without `parent` containers reach one another only";
                return Err(bad_input(message).hint(hint));
            }
            BRIDGE_NAME | PARENT if !is_interface(value) => {
                return wrong(
                    "a name of an interface has 1 to 15 characters, no spaces and no slashes",
                );
            }
            INTERFACE_PREFIX if !is_interface(&format!("{value}00")) => {
                return wrong(
                    "names of interfaces have at most 15 characters, no spaces and no slashes",
                );
            }
            ICC | MASQUERADE | DEFAULT_BRIDGE if flag(value).is_none() => {
                return wrong("true or false");
            }
            HOST_BINDING | HOST_IPV4 if value.parse::<Ipv4Addr>().is_err() => {
                return wrong("an IPv4 address");
            }
            HOST_IPV6 if value.parse::<Ipv6Addr>().is_err() => return wrong("an IPv6 address"),
            MTU => {
                let least = if ipv6 {
                    SMALLEST_MTU_IPV6
                } else {
                    SMALLEST_MTU
                };
                let mtu = value.parse::<u32>();
                // Docker's 0: whatever is usual.
                if !mtu.is_ok_and(|mtu| mtu == 0 || (least..=LARGEST_MTU).contains(&mtu)) {
                    return wrong(&format!("a number from {least} to {LARGEST_MTU}"));
                }
            }
            GATEWAY_MODE_IPV4 | GATEWAY_MODE_IPV6 => gateway_mode(value, internal)?,
            MACVLAN_MODE => mode(value, "macvlan", &["bridge", "private", "vepa", "passthru"])?,
            IPVLAN_MODE => mode(value, "ipvlan", &["l2", "l3", "l3s"])?,
            IPVLAN_FLAG => mode(value, "ipvlan flag", &["bridge", "private", "vepa"])?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a driver does something by an option.
pub fn knows(driver: Driver, name: &str) -> bool {
    let all = [MTU, INTERFACE_PREFIX];
    let own: &[&str] = match driver {
        Driver::Bridge => &[
            BRIDGE_NAME,
            ICC,
            MASQUERADE,
            HOST_BINDING,
            DEFAULT_BRIDGE,
            GATEWAY_MODE_IPV4,
            GATEWAY_MODE_IPV6,
            HOST_IPV4,
            HOST_IPV6,
        ],
        Driver::Macvlan => &[PARENT, MACVLAN_MODE],
        Driver::Ipvlan => &[PARENT, IPVLAN_MODE, IPVLAN_FLAG],
        Driver::Host | Driver::None => &[],
    };
    all.contains(&name) || own.contains(&name)
}

/// What Go takes for a yes or a no.
pub fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Whether the kernel takes a text for the name of an interface.
pub fn is_interface(name: &str) -> bool {
    let is_allowed = |c: char| !c.is_whitespace() && !c.is_control() && !"/:".contains(c);
    (1..=LONGEST_INTERFACE).contains(&name.len())
        && ![".", ".."].contains(&name)
        && name.chars().all(is_allowed)
}

fn gateway_mode(value: &str, internal: bool) -> Result<(), Error> {
    match value {
        "nat" | "nat-unprotected" | "routed" => Ok(()),
        "isolated" if internal => Ok(()),
        "isolated" => Err(bad_input(
            "gateway mode 'isolated' can only be used for an internal network",
        )),
        _ => Err(bad_input(format!("unknown gateway mode {value}"))
            .hint("nat, nat-unprotected, routed or isolated")),
    }
}

fn mode(value: &str, what: &str, known: &[&str]) -> Result<(), Error> {
    if value.is_empty() || known.contains(&value) {
        return Ok(());
    }
    let usual = known.first().copied().unwrap_or_default();
    Err(bad_input(format!(
        "requested {what} mode '{value}' is not valid, '{usual}' mode is the driver default"
    ))
    .hint(known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        use Driver::{Bridge, Ipvlan, Macvlan};
        for (driver, name, good, bad) in [
            (Bridge, BRIDGE_NAME, "br0", "a/b"),
            (Bridge, BRIDGE_NAME, "fifteen-letters", "sixteen--letters"),
            (Bridge, ICC, "False", "no"),
            (Bridge, MASQUERADE, "1", ""),
            (Bridge, HOST_BINDING, "127.0.0.1", "::1"),
            (Bridge, HOST_IPV6, "fd00::1", "10.0.0.1"),
            (Bridge, MTU, "1280", "67"),
            (Bridge, MTU, "9000", "65536"),
            (Bridge, MTU, "0", "-1"),
            (Bridge, GATEWAY_MODE_IPV4, "routed", "isolated"),
            (Bridge, GATEWAY_MODE_IPV6, "nat", "x"),
            (Macvlan, PARENT, "eth0.10", "a b"),
            (Macvlan, MACVLAN_MODE, "passthru", "l2"),
            (Ipvlan, IPVLAN_MODE, "l3s", "bridge"),
            (Ipvlan, IPVLAN_FLAG, "vepa", "l2"),
            (Ipvlan, INTERFACE_PREFIX, "net", "fourteen-letter"),
        ] {
            let checked = |value: &str| {
                let options = BTreeMap::from([(name.to_owned(), value.to_owned())]);
                check(driver, &options, false, false)
            };
            assert!(checked(good).is_ok(), "{name}={good}");
            assert!(checked(bad).is_err(), "{name}={bad}");
        }
        let small = BTreeMap::from([(MTU.to_owned(), "1000".to_owned())]);
        assert!(check(Bridge, &small, false, true).is_err());
        assert!(!knows(Bridge, PARENT) && !knows(Macvlan, ICC) && knows(Ipvlan, MTU));
    }
}
