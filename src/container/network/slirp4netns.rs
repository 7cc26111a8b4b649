//! `--network slirp4netns[:OPTION=VALUE,…]`: what slirp4netns(1) is told, and which addresses follow from that. The options
//! are those of podman-run(1). Ports are told by the socket that slirp4netns listens at, one by one.

use super::program::{Command, NAMESPACE, READY, Readiness};
use crate::error::{Error, Kind, bad_input};
use crate::network::endpoint::Publication;
use crate::network::forward::Wanted;
use crate::network::surroundings;
use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The interface in the container.
const INTERFACE: &str = "tap0";

/// Where it is told of ports, in the directory that it is started in.
const SOCKET: &str = "slirp4netns";

/// The largest that it takes (`--mtu`).
const MTU_MAX: u32 = 65_521;

/// What can be asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    subnet: Ipv4Net,
    mtu: u32,
    ipv6: bool,
    allow_host_loopback: bool,
    outbound: [Option<String>; 2],
}

impl Options {
    /// Those behind the colon.
    pub fn parse(words: &[String]) -> Result<Self, Error> {
        let mut options = Self {
            subnet: Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 2, 0), 24),
            mtu: 65_520,
            ipv6: surroundings::has_ipv6(),
            allow_host_loopback: false,
            outbound: [None, None],
        };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let wrong = |why: &str| bad_input(format!("slirp4netns: {word:?}: {why}"));
            let truth = || {
                value
                    .parse()
                    .map_err(|_| wrong("neither \"true\" nor \"false\""))
            };
            match name {
                "allow_host_loopback" => options.allow_host_loopback = truth()?,
                "enable_ipv6" => options.ipv6 = truth()?,
                "mtu" => {
                    let mtu = value
                        .parse()
                        .ok()
                        .filter(|mtu| (68..=MTU_MAX).contains(mtu));
                    options.mtu = mtu.ok_or_else(|| wrong("no number from 68 to 65521"))?;
                }
                "cidr" => {
                    let subnet: Option<Ipv4Net> = value.parse().ok();
                    let fits = |subnet: &Ipv4Net| subnet.prefix_len() <= 25;
                    let subnet = subnet.filter(fits);
                    let subnet =
                        subnet.ok_or_else(|| wrong("no IPv4 subnet of at most 25 bits"))?;
                    options.subnet = subnet.trunc();
                }
                "outbound_addr" if !value.is_empty() => {
                    options.outbound[0] = Some(value.to_owned());
                }
                "outbound_addr6" if !value.is_empty() => {
                    options.outbound[1] = Some(value.to_owned());
                }
                "port_handler" if value == "slirp4netns" => {}
                "port_handler" if value == "rootlesskit" => {
                    return Err(wrong("ports are carried by slirp4netns itself here")
                        .hint("leave it out; a bridge network carries them faster and tells the client's address"));
                }
                _ => {
                    return Err(wrong("no option that there is").hint(
                        "allow_host_loopback, cidr, enable_ipv6, mtu, outbound_addr, outbound_addr6 and port_handler",
                    ));
                }
            }
        }
        Ok(options)
    }

    fn host(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()) + number)
    }

    /// The container's address.
    pub fn address(&self) -> IpAddr {
        self.host(100).into()
    }

    /// Where it answers queries for names.
    pub fn resolver(&self) -> Ipv4Addr {
        self.host(3)
    }

    /// The address by which the host's loopback is reached, if that is allowed.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.allow_host_loopback.then(|| self.host(2).into())
    }

    /// How it is called, for ports or without.
    pub fn command(&self, path: PathBuf, has_ports: bool) -> Command {
        let mut words = vec![
            "--configure".to_owned(),
            format!("--ready-fd={READY}"),
            format!("--mtu={}", self.mtu),
            format!("--cidr={}", self.subnet),
            "--netns-type=path".to_owned(),
        ];
        let flags = [
            (
                !self.allow_host_loopback,
                "--disable-host-loopback".to_owned(),
            ),
            (self.ipv6, "--enable-ipv6".to_owned()),
            (has_ports, format!("--api-socket={SOCKET}")),
        ];
        words.extend(
            flags
                .into_iter()
                .filter(|(is_on, _)| *is_on)
                .map(|(_, word)| word),
        );
        let names = ["--outbound-addr", "--outbound-addr6"];
        for (name, value) in names.into_iter().zip(&self.outbound) {
            words.extend(value.iter().map(|value| format!("{name}={value}")));
        }
        words.extend([NAMESPACE, INTERFACE].map(str::to_owned));
        Command {
            name: "slirp4netns",
            path,
            arguments: words.into_iter().map(OsString::from).collect(),
            readiness: Readiness::Written,
        }
    }
}

/// Makes way for the socket: one may be left of a killed one.
pub fn clear(directory: &Path) {
    let _ = std::fs::remove_file(directory.join(SOCKET));
}

/// Says which addresses are meant by all of the host's, and refuses those that it cannot have.
pub fn narrow(ports: &mut [Wanted]) -> Result<(), Error> {
    for port in ports {
        match port.address {
            None => port.address = Some(Ipv4Addr::UNSPECIFIED.into()),
            Some(IpAddr::V4(_)) => {}
            Some(IpAddr::V6(address)) => {
                let message =
                    format!("slirp4netns publishes on IPv4 addresses only, not on {address}");
                return Err(bad_input(message).hint("--network pasta and bridge networks do both"));
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Value>,
}

/// Opens ports of the host that lead to the container; the socket is gone after that.
pub fn publish(directory: &Path, ports: &[Publication]) -> Result<()> {
    let place = openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let place = place.with_context(|| format!("open `{}`", directory.display()))?;
    // The whole path may be longer than an address of a socket (unix(7)).
    let socket = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", place.as_raw_fd()));
    for port in ports {
        for at in 0..port.count {
            let question = json!({ "execute": "add_hostfwd", "arguments": {
                "proto": port.protocol.word(),
                "host_addr": port.address,
                "host_port": port.host + at,
                "guest_port": port.container + at,
            }});
            let mut stream = UnixStream::connect(&socket).context("connect to slirp4netns")?;
            stream
                .write_all(question.to_string().as_bytes())
                .context("ask slirp4netns")?;
            stream
                .shutdown(Shutdown::Write)
                .context("ask slirp4netns")?;
            let mut text = String::new();
            stream
                .read_to_string(&mut text)
                .context("listen to slirp4netns")?;
            let answer: Answer = serde_json::from_str(&text)
                .with_context(|| format!("slirp4netns answers {text:?}"))?;
            if let Some(error) = answer.error {
                let why = error
                    .get("desc")
                    .and_then(Value::as_str)
                    .unwrap_or("no reason told");
                let message = format!("slirp4netns cannot publish port {}: {why}", port.host + at);
                return Err(Error::new(Kind::Conflict, message).into());
            }
        }
    }
    clear(directory);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Options, Error> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        Options::parse(&words)
    }

    fn told(words: &[&str], has_ports: bool) -> String {
        let command = parse(words)
            .unwrap()
            .command("/usr/bin/slirp4netns".into(), has_ports);
        let words: Vec<_> = command
            .arguments
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect();
        words.join(" ")
    }

    #[test]
    fn options_are_podmans() {
        assert_eq!(
            told(&["enable_ipv6=false"], false),
            "--configure --ready-fd=3 --mtu=65520 --cidr=10.0.2.0/24 --netns-type=path --disable-host-loopback netns tap0"
        );
        let words = [
            "allow_host_loopback=true",
            "mtu=1500",
            "cidr=10.9.1.7/24",
            "enable_ipv6=true",
            "outbound_addr=eth0",
            "outbound_addr6=2001:db8::1",
            "port_handler=slirp4netns",
        ];
        assert_eq!(
            told(&words, true),
            "--configure --ready-fd=3 --mtu=1500 --cidr=10.9.1.0/24 --netns-type=path --enable-ipv6 \
             --api-socket=slirp4netns --outbound-addr=eth0 --outbound-addr6=2001:db8::1 netns tap0"
        );
        let options = parse(&words).unwrap();
        assert_eq!(options.resolver().to_string(), "10.9.1.3");
        assert_eq!(options.address().to_string(), "10.9.1.100");
        assert_eq!(options.gateway().unwrap().to_string(), "10.9.1.2");
        assert_eq!(parse(&[]).unwrap().gateway(), None);
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for word in [
            "mtu=67",
            "mtu=65522",
            "mtu",
            "cidr=10.0.2.0/26",
            "cidr=fd00::/64",
            "enable_ipv6=yes",
            "allow_host_loopback",
            "outbound_addr=",
            "port_handler=rootlesskit",
            "port_handler=x",
            "nonsense",
        ] {
            let said = parse(&[word]).unwrap_err().message;
            assert!(
                said.starts_with(&format!("slirp4netns: {word:?}: ")),
                "{said}"
            );
        }
    }
}
