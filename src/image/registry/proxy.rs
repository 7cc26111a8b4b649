//! Which proxy leads to a host: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in small letters first, as
//! curl and Docker understand them.
//!
//! `NO_PROXY` lists hosts (with all their subdomains, a leading dot or `*.` changes nothing but the host itself),
//! addresses, networks (`10.0.0.0/8`), each with an optional port, or `*`. This machine is never reached by a proxy.

use crate::error::{Error, bad_input};
use std::net::IpAddr;
use ureq::Proxy;

/// The proxy that the environment names for a host.
pub fn find(https: bool, host: &str, port: u16) -> Result<Option<Proxy>, Error> {
    let own = match https {
        true => ["https_proxy", "HTTPS_PROXY"],
        false => ["http_proxy", "HTTP_PROXY"],
    };
    let variables = own.into_iter().chain(["all_proxy", "ALL_PROXY"]);
    let Some((name, text)) = variables.filter_map(variable).next() else {
        return Ok(None);
    };
    let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(variable);
    let exceptions = exceptions.map(|(_, text)| text).unwrap_or_default();
    if is_local(host) || is_excepted(&exceptions, host, port) {
        return Ok(None);
    }
    let refused = |why: &str| {
        bad_input(format!(
            "the variable `{name}` names no usable proxy: {why}"
        ))
    };
    let proxy = Proxy::new(&text).map_err(|_| refused("it is no URL"))?;
    use ureq::ProxyProtocol::{Http, Https};
    match proxy.protocol() {
        Http | Https => Ok(Some(proxy)),
        other => Err(refused(&format!("{other} is not supported"))
            .hint("a proxy that takes CONNECT: http://HOST:PORT")),
    }
}

fn variable(name: &str) -> Option<(String, String)> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some((name.to_owned(), value))
}

/// Whether a host is this machine by its name.
pub fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = &host.to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ']).map(str::trim).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let (Some(address), Some((network, length))) = (address, entry.split_once('/')) {
            return is_within(address, network, length);
        }
        if let (Some(address), Ok(other)) = (address, entry.parse::<IpAddr>()) {
            return address == other;
        }
        let (name, only) = match entry.rsplit_once(':') {
            Some((name, only)) if !name.contains(':') || name.ends_with(']') => {
                (name.to_owned(), only.parse::<u16>().ok())
            }
            _ => (entry, None),
        };
        if only.is_some_and(|only| only != port) {
            return false;
        }
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let domain = name.trim_start_matches('*');
        match domain.strip_prefix('.') {
            _ if name.is_empty() => false,
            Some(_) => host.ends_with(domain),
            None => host == domain || host.ends_with(&format!(".{domain}")),
        }
    })
}

fn is_within(address: IpAddr, network: &str, length: &str) -> bool {
    let Ok(length) = length.parse::<u32>() else {
        return false;
    };
    let shift = |bits: u32| bits.saturating_sub(length);
    match (address, network.parse::<IpAddr>()) {
        (IpAddr::V4(one), Ok(IpAddr::V4(other))) => {
            let different = u32::from(one) ^ u32::from(other);
            different.checked_shr(shift(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), Ok(IpAddr::V6(other))) => {
            let different = u128::from(one) ^ u128::from(other);
            different.checked_shr(shift(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_hosts_domains_networks_and_ports() {
        for (list, host, excepted) in [
            ("", "a.org", false),
            ("*", "a.org", true),
            ("a.org", "a.org", true),
            ("a.org", "x.A.org", true),
            ("a.org", "ba.org", false),
            (".a.org", "a.org", false),
            ("*.a.org, b.org", "x.a.org", true),
            ("a.org:443", "a.org", true),
            ("a.org:80", "a.org", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "a.org", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.0.0.0/x", "10.1.2.3", false),
            ("fd00::/8", "[fd00::1]", true),
            ("fd00::1", "[fd00::1]", true),
            ("1.2.3.4", "1.2.3.4", true),
            (",,", "a.org", false),
        ] {
            assert_eq!(is_excepted(list, host, 443), excepted, "{list} {host}");
        }
        for (host, local) in [
            ("localhost", true),
            ("127.1.2.3", true),
            ("[::1]", true),
            ("a.localhost", true),
            ("10.0.0.1", false),
            ("localhost.org", false),
        ] {
            assert_eq!(is_local(host), local, "{host}");
        }
    }
}
