//! `--network`: Docker's `NAME` and `name=NAME,alias=…`, podman's `NAME:alias=…`, and what is no network at all
//! (`host`, `none`, `container:…`, `ns:…`, `slirp4netns`, `pasta`). Whether there is such a network is not asked here.

use super::comma_separated;
use crate::container::options::{NetworkMode, NetworkRequest};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// Docker's network for who names none.
pub const BRIDGE: &str = "bridge";

/// One `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Which kind; [`NetworkMode::Private`]: the network that the request names.
    pub mode: NetworkMode,
    /// As written, which is how a mistake names it.
    pub target: String,
    /// What is asked of the network.
    pub request: NetworkRequest,
}

impl Attachment {
    /// Whether somebody made that network, so that it has names and addresses of one's own choice.
    pub fn is_user_defined(&self) -> bool {
        self.mode == NetworkMode::Private && self.request.network != BRIDGE
    }
}

/// One value of `--network`.
pub fn attachment(text: &str) -> Result<Attachment, String> {
    let mut request = NetworkRequest::default();
    let key = text.split('=').next().unwrap_or_default();
    let target = match key.split_once(':') {
        _ if !text.contains('=') => text.to_owned(),
        Some(("container" | "ns" | "slirp4netns" | "pasta", _)) => text.to_owned(),
        Some((name, _)) if !name.contains(',') => {
            let options = text.get(name.len() + 1..).unwrap_or_default();
            for field in comma_separated::fields(options)? {
                set(&mut request, &field, true)?;
            }
            name.to_owned()
        }
        _ => {
            let mut target = None;
            for field in comma_separated::fields(text)? {
                match field.split_once('=') {
                    Some((key, name)) if key.trim().eq_ignore_ascii_case("name") => {
                        target = Some(name.trim().to_owned());
                    }
                    _ => set(&mut request, &field, false)?,
                }
            }
            target.ok_or("network name/id is not specified")?
        }
    };
    if target.trim().is_empty() {
        return Err("no name set for network".to_owned());
    }
    let mode = mode(&target)?;
    if mode == NetworkMode::Private {
        request.network = match target.as_str() {
            "default" => BRIDGE.to_owned(),
            _ => target.clone(),
        };
    }
    Ok(Attachment {
        mode,
        target,
        request,
    })
}

/// What it is by its name: a network, or something else.
fn mode(target: &str) -> Result<NetworkMode, String> {
    let (kind, value) = target.split_once(':').unwrap_or((target, ""));
    let options = || {
        let words = value.split(',').filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    match kind {
        "host" if kind == target => Ok(NetworkMode::Host),
        "none" if kind == target => Ok(NetworkMode::None),
        "container" if kind != target && value.is_empty() => {
            Err("invalid container format container:<name|id>".to_owned())
        }
        "container" if kind != target => Ok(NetworkMode::Container(value.to_owned())),
        "ns" if kind != target && !value.starts_with('/') => Err(format!(
            "the path of a network namespace is absolute, and {value:?} is not"
        )),
        "ns" if kind != target => Ok(NetworkMode::Path(PathBuf::from(value))),
        "slirp4netns" => Ok(NetworkMode::Slirp4netns(options())),
        "pasta" => Ok(NetworkMode::Pasta(options())),
        _ => Ok(NetworkMode::Private),
    }
}

/// One `key=value`, by the names of Docker or of podman.
fn set(request: &mut NetworkRequest, field: &str, podman: bool) -> Result<(), String> {
    let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err(format!("invalid field {field}"));
    };
    let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
    match (key.as_str(), podman) {
        ("alias", _) => request.aliases.push(alias(value)?),
        ("ip", false) => request.ipv4 = Some(ipv4(value)?),
        ("ip6", _) => request.ipv6 = Some(ipv6(value)?),
        ("ip", true) => match ip(value)? {
            IpAddr::V4(address) => request.ipv4 = Some(address),
            IpAddr::V6(address) => request.ipv6 = Some(address),
        },
        ("mac-address", false) | ("mac", true) => request.mac = Some(mac_address(value)?),
        ("interface_name", true) => request.interface = Some(interface(value)?),
        ("link-local-ip", false) => request.link_local.push(link_local(value)?),
        ("gw-priority", false) => {
            request.gateway_priority = super::integer(value)
                .ok()
                .and_then(|number| i32::try_from(number).ok())
                .ok_or_else(|| format!("invalid gw-priority ({value}): invalid syntax"))?;
        }
        ("driver-opt", false) => {
            let (key, value) = driver_option(value)?;
            request.options.insert(key, value);
        }
        _ => return Err(format!("invalid field key {key}")),
    }
    Ok(())
}

/// An option for the driver of a network.
pub fn driver_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_ascii_lowercase(), value.trim().to_owned()))
        }
        _ => Err("invalid key value pair format in driver options".to_owned()),
    }
}

/// A name that others find a container by.
pub fn alias(text: &str) -> Result<String, String> {
    let is_part_of_none = |c: char| c.is_whitespace() || c.is_control() || "#/:,".contains(c);
    match text.is_empty() || text.len() > 253 || text.chars().any(is_part_of_none) {
        true => Err(format!("{text:?} is no name of a host")),
        false => Ok(text.to_owned()),
    }
}

/// `--link-local-ip`: any address of somebody, as in Docker.
pub fn link_local(text: &str) -> Result<IpAddr, String> {
    match ip(text)? {
        address if address.is_unspecified() => {
            Err(format!("invalid link-local IP address: {text}"))
        }
        address => Ok(address),
    }
}

/// An address of either family.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    IpAddr::from_str(text).map_err(|_| not_parsed(text))
}

/// `--ip`.
pub fn ipv4(text: &str) -> Result<Ipv4Addr, String> {
    Ipv4Addr::from_str(text).map_err(|_| not_parsed(text))
}

/// `--ip6`.
pub fn ipv6(text: &str) -> Result<Ipv6Addr, String> {
    Ipv6Addr::from_str(text).map_err(|_| not_parsed(text))
}

fn not_parsed(text: &str) -> String {
    format!("failed to parse IP: {text:?}")
}

/// The address of one interface, as `02:42:…`, `02-42-…` or `0242.…`; in small letters with colons.
pub fn mac_address(text: &str) -> Result<String, String> {
    let text = text.trim();
    let invalid = || format!("{text} is not a valid mac address");
    let (separator, width) = match text {
        _ if text.contains(':') => (':', 2),
        _ if text.contains('-') => ('-', 2),
        _ => ('.', 4),
    };
    let groups: Vec<&str> = text.split(separator).collect();
    let is_group =
        |group: &&str| group.len() == width && group.bytes().all(|byte| byte.is_ascii_hexdigit());
    if groups.len() * width != 12 || !groups.iter().all(is_group) {
        return Err(invalid());
    }
    let digits = groups.concat().to_ascii_lowercase();
    // An address with this bit is that of a group, and zero is nobody's: no interface takes either.
    let group = u8::from_str_radix(&digits[..2], 16).is_ok_and(|first| first & 1 == 1);
    if group || digits.bytes().all(|digit| digit == b'0') {
        return Err(invalid());
    }
    let octets: Vec<&str> = (0..6).map(|at| &digits[2 * at..2 * at + 2]).collect();
    Ok(octets.join(":"))
}

/// A name of an interface, as netdevice(7) takes it.
fn interface(text: &str) -> Result<String, String> {
    let strange = |c: char| c.is_whitespace() || c.is_control() || "/:%".contains(c);
    match matches!(text, "" | "." | ".." | "lo") || text.len() > 15 || text.chars().any(strange) {
        true => Err(format!("{text:?} is no name of an interface")),
        false => Ok(text.to_owned()),
    }
}

/// `--link`: `NAME[:ALIAS]`, made complete; containers are told as `/web:/app/web` by Docker's API.
pub fn link(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for links: {text}");
    if text.is_empty() {
        return Err("empty string specified for links".to_owned());
    }
    let (name, name_inside) = text.split_once(':').unwrap_or((text, text));
    let (name, name_inside) = match name.strip_prefix('/') {
        Some(name) => (name, name_inside.rsplit('/').next().unwrap_or_default()),
        None => (name, name_inside),
    };
    if name.is_empty() || name.contains('/') {
        return Err(bad());
    }
    let name_inside = alias(name_inside).map_err(|_| bad())?;
    Ok(format!("{name}:{name_inside}"))
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    /// The parts that are there, as `mode network key=value …`.
    fn told(text: &str) -> Result<String, String> {
        let Attachment { mode, request, .. } = attachment(text)?;
        let mut words = vec![match mode {
            NetworkMode::Private => request.network.clone(),
            mode => format!("{mode:?}"),
        }];
        let mut add = |key: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("{key}={value}")));
        };
        for alias in &request.aliases {
            add("alias", Some(alias.clone()));
        }
        add("ip", request.ipv4.map(|it| it.to_string()));
        add("ip6", request.ipv6.map(|it| it.to_string()));
        add("mac", request.mac);
        add("interface", request.interface);
        for address in &request.link_local {
            add("link-local", Some(address.to_string()));
        }
        let priority = request.gateway_priority;
        add("priority", (priority != 0).then(|| priority.to_string()));
        for (key, value) in &request.options {
            add(key, Some(value.clone()));
        }
        Ok(words.join(" "))
    }

    #[test]
    fn networks_and_what_is_none() {
        check(
            told,
            &[
                ("web", r#""web""#),
                ("default", r#""bridge""#),
                ("bridge", r#""bridge""#),
                ("host", r#""Host""#),
                ("name=host", r#""Host""#),
                ("none", r#""None""#),
                ("container:db", r#""Container(\"db\")""#),
                ("ns:/run/netns/a=b", r#""Path(\"/run/netns/a=b\")""#),
                ("slirp4netns", r#""Slirp4netns([])""#),
                (
                    "slirp4netns:mtu=1500,cidr=10.0.2.0/24",
                    r#""Slirp4netns([\"mtu=1500\", \"cidr=10.0.2.0/24\"])""#,
                ),
                (
                    "pasta:--mtu,1500,--a=b",
                    r#""Pasta([\"--mtu\", \"1500\", \"--a=b\"])""#,
                ),
                (
                    "container:",
                    "! invalid container format container:<name|id>",
                ),
                (
                    "ns:x",
                    "! the path of a network namespace is absolute, and \"x\" is not",
                ),
                ("", "! no name set for network"),
                (" ", "! no name set for network"),
                ("name=", "! no name set for network"),
                ("hosts", r#""hosts""#),
                ("host:x", r#""host:x""#),
            ],
        );
    }

    #[test]
    fn what_is_asked_of_a_network() {
        check(
            told,
            &[
                (
                    "name=a,alias=x,Alias=Y,ip=1.2.3.4,ip6=fd00::1,mac-address=02:42:AC:11:00:02",
                    r#""a alias=x alias=Y ip=1.2.3.4 ip6=fd00::1 mac=02:42:ac:11:00:02""#,
                ),
                (
                    "name=a, link-local-ip=169.254.1.1,gw-priority=-3,driver-opt=K.l=v=w",
                    r#""a link-local=169.254.1.1 priority=-3 k.l=v=w""#,
                ),
                (r#"name=a,"driver-opt=k=1,2""#, r#""a k=1,2""#),
                (
                    "a:alias=x,ip=1.2.3.4,ip=fd00::1,mac=0242.ac11.0002,interface_name=web0",
                    r#""a alias=x ip=1.2.3.4 ip6=fd00::1 mac=02:42:ac:11:00:02 interface=web0""#,
                ),
                ("name=a,foo=x", "! invalid field key foo"),
                ("alias=x", "! network name/id is not specified"),
                ("name=a,alias", "! invalid field alias"),
                ("name=a,", "! invalid field "),
                (
                    "name=a,link-local-ip=0.0.0.0",
                    "! invalid link-local IP address: 0.0.0.0",
                ),
                ("name=a,ip=x", "! failed to parse IP: \"x\""),
                ("name=a,ip6=1.2.3.4", "! failed to parse IP: \"1.2.3.4\""),
                ("name=a,alias=x y", "! \"x y\" is no name of a host"),
                ("name=a,mac-address=zz", "! zz is not a valid mac address"),
                (
                    "name=a,gw-priority=x",
                    "! invalid gw-priority (x): invalid syntax",
                ),
                (
                    "name=a,driver-opt=kv",
                    "! invalid key value pair format in driver options",
                ),
                (
                    "name=a,interface_name=x",
                    "! invalid field key interface_name",
                ),
                ("a:link-local-ip=::1", "! invalid field key link-local-ip"),
                (
                    "a:interface_name=much-too-long-a-name",
                    "! \"much-too-long-a-name\" is no name of an interface",
                ),
            ],
        );
    }

    #[test]
    fn addresses_of_interfaces_and_links() {
        check(
            mac_address,
            &[
                ("02-42-ac-11-00-02", r#""02:42:ac:11:00:02""#),
                ("zz", "! zz is not a valid mac address"),
                ("", "!  is not a valid mac address"),
                (
                    "2:42:ac:11:00:02",
                    "! 2:42:ac:11:00:02 is not a valid mac address",
                ),
                (
                    "01:00:5e:00:00:01",
                    "! 01:00:5e:00:00:01 is not a valid mac address",
                ),
                (
                    "00:00:00:00:00:00",
                    "! 00:00:00:00:00:00 is not a valid mac address",
                ),
                (
                    "02:42:ac:11:00:02:03:04",
                    "! 02:42:ac:11:00:02:03:04 is not a valid mac address",
                ),
            ],
        );
        check(
            link,
            &[
                ("db", r#""db:db""#),
                ("db:data", r#""db:data""#),
                ("/db:/web/data", r#""db:data""#),
                ("", "! empty string specified for links"),
                ("a:b:c", "! bad format for links: a:b:c"),
                (":b", "! bad format for links: :b"),
                ("a:", "! bad format for links: a:"),
            ],
        );
    }
}
