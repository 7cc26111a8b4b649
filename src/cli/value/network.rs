//! Names and addresses: of hosts, name servers, domains.

use crate::container::options::ExtraHost;
use std::net::IpAddr;
use std::str::FromStr;

/// `name:address` or `name=address`; the address may be in brackets, or be `host-gateway`.
pub fn extra_host(text: &str) -> Result<ExtraHost, String> {
    let parts = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = parts.filter(|(name, _)| !name.is_empty()) else {
        return Err(format!("bad format for add-host: {text:?}"));
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    if address != "host-gateway" && IpAddr::from_str(bare).is_err() {
        return Err(format!("invalid IP address in add-host: {address:?}"));
    }
    if name
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '#')
    {
        return Err(format!("bad format for add-host: {text:?}"));
    }
    Ok(ExtraHost {
        name: name.to_owned(),
        address: bare.to_owned(),
    })
}

/// The address of a name server.
pub fn name_server(text: &str) -> Result<String, String> {
    match IpAddr::from_str(text.trim()) {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// A domain to search in; `.` is none.
pub fn search_domain(text: &str) -> Result<String, String> {
    let domain = text.trim();
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    let is_label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let has_letter = labels.chars().any(|c| c.is_ascii_alphabetic());
    if domain == "." || (has_letter && labels.len() <= 255 && labels.split('.').all(is_label)) {
        return Ok(domain.to_owned());
    }
    Err(format!("{text} is not a valid domain"))
}

/// An option for resolv.conf(5): one word.
pub fn resolver_option(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    is_word
        .then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is not a resolver option"))
}

/// A host name as sethostname(2) takes it.
pub fn host_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() > 64 || !text.chars().all(allowed) {
        return Err(format!("invalid hostname format: {text}"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn hosts_and_name_servers() {
        check(
            |text| extra_host(text).map(|host| format!("{} {}", host.name, host.address)),
            &[
                ("a:1.2.3.4", r#""a 1.2.3.4""#),
                ("a=::1", r#""a ::1""#),
                ("a:[::1]", r#""a ::1""#),
                ("a:::1", r#""a ::1""#),
                ("a:host-gateway", r#""a host-gateway""#),
                ("foo", r#"! bad format for add-host: "foo""#),
                (":1.2.3.4", r#"! bad format for add-host: ":1.2.3.4""#),
                ("a:b", r#"! invalid IP address in add-host: "b""#),
                ("a b:1.2.3.4", r#"! bad format for add-host: "a b:1.2.3.4""#),
                (
                    "a\nb:1.2.3.4",
                    r#"! bad format for add-host: "a\nb:1.2.3.4""#,
                ),
            ],
        );
        check(
            name_server,
            &[
                ("::1", r#""::1""#),
                ("foo", "! IP address is not correctly formatted: foo"),
            ],
        );
        check(
            search_domain,
            &[
                (".", r#"".""#),
                ("example.com.", r#""example.com.""#),
                ("a_b", "! a_b is not a valid domain"),
                ("", "!  is not a valid domain"),
                ("a..b", "! a..b is not a valid domain"),
                ("1.2", "! 1.2 is not a valid domain"),
            ],
        );
        check(
            host_name,
            &[
                ("web-1", r#""web-1""#),
                ("a b", "! invalid hostname format: a b"),
            ],
        );
    }
}
