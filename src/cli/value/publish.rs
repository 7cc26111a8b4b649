//! Ports: `--publish` and `--expose`. Grammar, order of the checks and words are Docker's (`-p` in docker-run(1)).
//!
//! Docker takes port 0 of a container, which nothing can listen on; here it is refused.

use crate::container::options::PortRequest;
use crate::error::{Error, bad_input};
use crate::network::endpoint::Protocol;
use std::net::IpAddr;
use std::str::FromStr;

/// `[[address:]host-ports:]container-ports[/protocol]`, or `target=…,published=…,protocol=…`.
pub fn publish(text: &str) -> Result<PortRequest, Error> {
    match text.contains('=') {
        true => short(&from_long(text)?),
        false => short(text),
    }
}

/// The long form as a short one; what it does not know counts for nothing, as in Docker.
fn from_long(text: &str) -> Result<String, Error> {
    let (mut target, mut published, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some(("target", value)) => target = value,
            Some(("published", value)) => published = value,
            Some(("protocol", value)) => protocol = value,
            Some(_) => {}
            None => {
                return Err(bad_input(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                )));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

fn short(text: &str) -> Result<PortRequest, Error> {
    let (ports, protocol) = split_protocol(text);
    let mut parts: Vec<&str> = ports.split(':').collect();
    let container = parts.pop().unwrap_or_default();
    let host = parts.pop().unwrap_or_default();
    let address = address(&parts.join(":"))?;
    if container.is_empty() {
        return Err(bad_input(format!("no port specified: {text}<empty>")));
    }
    let invalid = |what: &str, ports: &str| bad_input(format!("invalid {what}: {ports}"));
    let targets = range(container)
        .ok()
        .filter(|(first, _)| *first > 0)
        .ok_or_else(|| invalid("containerPort", container))?;
    let published = match host {
        "" | "0" => None,
        _ => Some(
            range(host)
                .ok()
                .filter(|(first, _)| *first > 0)
                .ok_or_else(|| invalid("hostPort", host))?,
        ),
    };
    let count = |(first, last): (u16, u16)| last - first;
    if published.is_some_and(|ports| count(ports) != count(targets)) && count(targets) > 0 {
        return Err(bad_input(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        )));
    }
    Ok(PortRequest {
        address,
        host: published,
        container: targets,
        protocol: protocol_of(protocol)?,
    })
}

/// `--expose`: `port[-port][/protocol]`, every port by itself.
pub fn expose(text: &str) -> Result<Vec<String>, Error> {
    if text.contains(':') {
        let message = format!("invalid port format for --expose: {text}");
        return Err(bad_input(message));
    }
    let (ports, protocol) = split_protocol(text);
    let (first, last) = range(ports)
        .and_then(|ports| match ports.0 {
            0 => Err("nothing can listen on port 0".to_owned()),
            _ => Ok(ports),
        })
        .map_err(|why| {
            bad_input(format!(
                "invalid range format for --expose: {text}, error: {why}"
            ))
        })?;
    let protocol = protocol_of(protocol)?.word();
    let each = (first..=last).map(|port| format!("{port}/{protocol}"));
    Ok(each.collect())
}

/// What stands before the first slash, and what behind it.
fn split_protocol(text: &str) -> (&str, &str) {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    match protocol {
        "" => (ports, "tcp"),
        protocol => (ports, protocol),
    }
}

fn protocol_of(text: &str) -> Result<Protocol, Error> {
    Protocol::from_word(text).ok_or_else(|| bad_input(format!("invalid proto: {text}")))
}

/// An address of the host; IPv6 with or without brackets.
fn address(text: &str) -> Result<Option<IpAddr>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match IpAddr::from_str(inner.unwrap_or(text)) {
        Ok(address) if inner.is_none() || address.is_ipv6() => Ok(Some(address)),
        _ => Err(bad_input(format!("invalid IP address: {text}"))),
    }
}

/// `port` or `first-last`; the message is that of Docker's library.
fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".to_owned());
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("invalid range specified for port: {text}")),
    }
}

fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(number),
        _ => {
            let why = if digits {
                "value out of range"
            } else {
                "invalid syntax"
            };
            Err(format!("strconv.ParseUint: parsing {text:?}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    /// As `address host container/protocol`.
    fn published(text: &str) -> Result<String, String> {
        let request = publish(text).map_err(|error| error.message)?;
        let range = |(first, last): (u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        Ok(format!(
            "{} {} {}/{}",
            request.address.map_or("*".to_owned(), |it| it.to_string()),
            request.host.map_or("*".to_owned(), range),
            range(request.container),
            request.protocol.word()
        ))
    }

    #[test]
    fn published_ports() {
        let check = |cases: &[(&str, &str)]| {
            for (text, expected) in cases {
                assert_eq!(published(text).unwrap(), *expected, "{text}");
            }
        };
        check(&[
            ("80", "* * 80/tcp"),
            (":80", "* * 80/tcp"),
            ("0:80", "* * 80/tcp"),
            ("8080:80", "* 8080 80/tcp"),
            ("8080:80/", "* 8080 80/tcp"),
            ("8080:80/UDP", "* 8080 80/udp"),
            ("8080:80/sctp", "* 8080 80/sctp"),
            ("80-82", "* * 80-82/tcp"),
            ("8000-8002:80-82", "* 8000-8002 80-82/tcp"),
            ("8000-8002:80", "* 8000-8002 80/tcp"),
            ("8000-8000:80", "* 8000 80/tcp"),
            ("127.0.0.1::80", "127.0.0.1 * 80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1 8080 80/tcp"),
            ("0.0.0.0:80-81:80", "0.0.0.0 80-81 80/tcp"),
            ("[::1]:8080:80", "::1 8080 80/tcp"),
            ("::1:8080:80", "::1 8080 80/tcp"),
            ("[::]:1:3", ":: 1 3/tcp"),
            ("1-65535:1-65535/udp", "* 1-65535 1-65535/udp"),
            ("target=80,published=8080", "* 8080 80/tcp"),
            (
                "target=80,published=127.0.0.1:8080-8081,protocol=udp,mode=host",
                "127.0.0.1 8080-8081 80/udp",
            ),
            ("target=80", "* * 80/tcp"),
        ]);
    }

    #[test]
    fn ports_that_are_none() {
        for (text, expected) in [
            ("", "no port specified: <empty>"),
            ("80:", "no port specified: 80:<empty>"),
            ("80:/tcp", "no port specified: 80:/tcp<empty>"),
            ("x:80", "invalid hostPort: x"),
            ("70000:80", "invalid hostPort: 70000"),
            ("90-80:90", "invalid hostPort: 90-80"),
            ("0-1:80-81", "invalid hostPort: 0-1"),
            ("+80:80", "invalid hostPort: +80"),
            ("80-:80", "invalid hostPort: 80-"),
            ("1-2-3:80", "invalid hostPort: 1-2-3"),
            ("127.0.0.1:80", "invalid hostPort: 127.0.0.1"),
            ("80:x", "invalid containerPort: x"),
            ("x:y/foo", "invalid containerPort: y"),
            ("-80", "invalid containerPort: -80"),
            ("80:65536", "invalid containerPort: 65536"),
            ("80:0", "invalid containerPort: 0"),
            ("80:90-80", "invalid containerPort: 90-80"),
            ("80:80/foo", "invalid proto: foo"),
            ("8080:80/tcp/udp", "invalid proto: tcp/udp"),
            ("1.2.3:80:80", "invalid IP address: 1.2.3"),
            ("localhost:80:80", "invalid IP address: localhost"),
            ("a:b:c:d", "invalid IP address: a:b"),
            ("[::1:80:80", "invalid IP address: [::1"),
            ("[127.0.0.1]:80:80", "invalid IP address: [127.0.0.1]"),
            ("[fe80::1%lo]:80:80", "invalid IP address: [fe80::1%lo]"),
            (
                "8000-8002:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 8000-8002",
            ),
            (
                "8000:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 8000",
            ),
            ("target=80,published=x", "invalid hostPort: x"),
            (
                "target=80,baz",
                "invalid publish opts format (should be name=value but got 'baz')",
            ),
            (
                "target=80,=3",
                "invalid publish opts format (should be name=value but got '=3')",
            ),
        ] {
            assert_eq!(published(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn exposed_ports() {
        check(
            |text| expose(text).map_err(|error| error.message),
            &[
                ("80", r#"["80/tcp"]"#),
                ("80/UDP", r#"["80/udp"]"#),
                ("80/", r#"["80/tcp"]"#),
                ("80-82/sctp", r#"["80/sctp", "81/sctp", "82/sctp"]"#),
                ("80:90", "! invalid port format for --expose: 80:90"),
                ("80/foo", "! invalid proto: foo"),
                (
                    "0-1",
                    "! invalid range format for --expose: 0-1, error: nothing can listen on port 0",
                ),
                (
                    "/tcp",
                    "! invalid range format for --expose: /tcp, error: empty string specified for ports",
                ),
                (
                    "x",
                    "! invalid range format for --expose: x, error: strconv.ParseUint: parsing \"x\": invalid syntax",
                ),
                (
                    "70000",
                    "! invalid range format for --expose: 70000, error: strconv.ParseUint: parsing \"70000\": value \
                     out of range",
                ),
                (
                    "82-80",
                    "! invalid range format for --expose: 82-80, error: invalid range specified for port: 82-80",
                ),
            ],
        );
    }
}
