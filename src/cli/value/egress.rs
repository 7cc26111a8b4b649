//! `--egress`: what a container may reach, `deny` or `HOST[:PORT],…`.
//!
//! A host is an address, a subnet, a name, or `*.` and a domain for all names below it. IPv6 stands in brackets where a
//! port follows. Names are kept in small letters without the last dot, so that whoever compares them need not.

use ipnet::IpNet;
use std::net::IpAddr;

/// The hosts of one `--egress`; none: nothing is reached.
pub fn egress(text: &str) -> Result<Vec<String>, String> {
    match text {
        "deny" => Ok(Vec::new()),
        _ => text.split(',').map(destination).collect(),
    }
}

/// One `HOST[:PORT]`.
fn destination(text: &str) -> Result<String, String> {
    if text == "deny" {
        return Err("\"deny\" stands alone: what is not named is denied anyway".to_owned());
    }
    let invalid =
        || format!("{text:?} is neither a name, an address nor a subnet with or without a port");
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
    if is_address(text) {
        return Ok(text.to_ascii_lowercase());
    }
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = match bracketed {
        Some(inner) if is_address(inner) && inner.contains(':') => host.to_ascii_lowercase(),
        None if is_address(host) && !host.contains(':') => host.to_owned(),
        None => name(host).ok_or_else(invalid)?,
        Some(_) => return Err(invalid()),
    };
    match port {
        None => Ok(host),
        Some(port) if !port.starts_with('+') && port.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(format!("{host}:{port}"))
        }
        Some(_) => Err(invalid()),
    }
}

/// A domain name (RFC 1123), of which the first label may be `*`. One of digits only would be an address.
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let labels = text.strip_prefix("*.").unwrap_or(&text);
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = labels.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    (text.len() <= 253 && labels.split('.').all(is_label) && !is_number).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn hosts_and_ports() {
        check(
            egress,
            &[
                ("deny", "[]"),
                ("Example.COM.", r#"["example.com"]"#),
                (
                    "example.com:443,*.example.org,10.0.0.1:53",
                    r#"["example.com:443", "*.example.org", "10.0.0.1:53"]"#,
                ),
                (
                    "10.0.0.0/8,10.0.0.0/8:80,fd00::/8,FD00::1,[fd00::1]:80,[fd00::/8]:80,[fd00::1]",
                    r#"["10.0.0.0/8", "10.0.0.0/8:80", "fd00::/8", "fd00::1", "[fd00::1]:80", "[fd00::/8]:80", "[fd00::1]"]"#,
                ),
                (
                    "deny,a",
                    "! \"deny\" stands alone: what is not named is denied anyway",
                ),
            ],
        );
        for text in [
            "",
            ",",
            "a,,b",
            "a b",
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            ":80",
            "*",
            "*.",
            "a.*",
            "-a",
            "1.2.3",
            "1.2.3.256",
            "[10.0.0.1]:80",
            "[a]:80",
            "[::1",
            "10.0.0.0/33",
            "http://a",
            "a/b",
        ] {
            assert!(egress(text).is_err(), "{text:?}");
        }
    }
}
