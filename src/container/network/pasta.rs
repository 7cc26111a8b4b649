//! `--network pasta[:OPTION,…]`: what passt(1) is told. Words behind the colon are its own options, after ours, so that they
//! prevail.

use super::program::{Command, NAMESPACE, Readiness};
use crate::network::endpoint::{Protocol, Publication};
use crate::sys::namespace::is_initial_user;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where it takes queries for names, which it passes on to the host's resolvers, unless it is told of another address.
const RESOLVER: &str = "169.254.1.1";

/// The option for that.
const FORWARD: &str = "--dns-forward";

/// Where the container asks for names.
pub fn resolver(options: &[String]) -> &str {
    let mut words = options.iter().map(String::as_str);
    let named = words.find_map(|word| match word.strip_prefix(FORWARD)? {
        "" => Some(None),
        value => value.strip_prefix('=').map(Some),
    });
    let value = named.and_then(|value| value.or_else(|| words.next()));
    value.unwrap_or(RESOLVER)
}

/// Makes it reach the host's loopback by the address of the gateway, as podman calls it: it does so unless it is told not to.
const MAP_GATEWAY: &str = "--map-gw";

/// How it is called.
pub fn command(
    path: PathBuf,
    options: &[String],
    ports: &[Publication],
    directory: &Path,
) -> Command {
    let mut words: Vec<OsString> = ["--config-net", "--quiet", "--netns"]
        .map(OsString::from)
        .to_vec();
    words.push(directory.join(NAMESPACE).into());
    if rustix::process::geteuid().is_root() && is_initial_user() {
        // It would become `nobody`, who may not enter the namespace.
        words.extend(["--runas", "0:0"].map(OsString::from));
    }
    let is_named = |names: [&str; 2]| {
        let mut all = options.iter();
        all.any(|word| {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            let is_short = !word.starts_with("--") && word.starts_with(names[0]);
            is_short || name == names[1]
        })
    };
    if !options.iter().any(|word| word == MAP_GATEWAY) {
        words.push("--no-map-gw".into());
    }
    if !is_named([FORWARD; 2]) {
        words.extend([FORWARD, RESOLVER].map(OsString::from));
    }
    for (protocol, names) in [
        (Protocol::Tcp, ["-t", "--tcp-ports"]),
        (Protocol::Udp, ["-u", "--udp-ports"]),
    ] {
        let published = ports.iter().filter(|port| port.protocol == protocol);
        let before = words.len();
        for port in published {
            words.extend([names[0].into(), specification(port).into()]);
        }
        if words.len() == before && !is_named(names) {
            words.extend([names[0], "none"].map(OsString::from));
        }
    }
    for names in [["-T", "--tcp-ns"], ["-U", "--udp-ns"]] {
        if !is_named(names) {
            words.extend([names[0], "none"].map(OsString::from));
        }
    }
    let own = options.iter().filter(|word| *word != MAP_GATEWAY);
    words.extend(own.map(OsString::from));
    Command {
        name: "pasta",
        path,
        arguments: words,
        readiness: Readiness::Daemon,
    }
}

/// `ADDRESS/FIRST-LAST:FIRST-LAST`, of the host and of the container.
fn specification(port: &Publication) -> String {
    let address = port.address.map_or(String::new(), |it| format!("{it}/"));
    let range = |first: u16| format!("{first}-{}", first + (port.count - 1));
    format!("{address}{}:{}", range(port.host), range(port.container))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(options: &[&str], ports: &[Publication]) -> String {
        let options: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
        let made = command("/usr/bin/pasta".into(), &options, ports, Path::new("/c"));
        let words: Vec<_> = made
            .arguments
            .iter()
            .map(|word| word.to_str().unwrap())
            .collect();
        let words = words.join(" ").replace("--runas 0:0 ", "");
        let own = words.strip_prefix("--config-net --quiet --netns /c/netns ");
        own.unwrap().to_owned()
    }

    #[test]
    fn ports_and_own_words_are_told() {
        let port = |address: Option<&str>, host, container, count, protocol| Publication {
            address: address.map(|text| text.parse().unwrap()),
            host,
            container,
            count,
            protocol,
        };
        let dns = "--dns-forward 169.254.1.1";
        for (options, ports, expected) in [
            (
                &[][..],
                &[][..],
                format!("--no-map-gw {dns} -t none -u none -T none -U none"),
            ),
            (
                &["--map-gw", "--mtu", "1500"],
                &[
                    port(None, 8000, 80, 3, Protocol::Tcp),
                    port(Some("::1"), 65_535, 65_535, 1, Protocol::Tcp),
                    port(Some("127.0.0.1"), 53, 53, 1, Protocol::Udp),
                ],
                format!(
                    "{dns} -t 8000-8002:80-82 -t ::1/65535-65535:65535-65535 -u 127.0.0.1/53-53:53-53 -T none -U none \
                     --mtu 1500"
                ),
            ),
            (
                &[
                    "-tall",
                    "--udp-ports=all",
                    "--dns-forward",
                    "10.0.0.1",
                    "-T",
                    "80",
                    "--udp-ns",
                    "53",
                ],
                &[],
                "--no-map-gw -tall --udp-ports=all --dns-forward 10.0.0.1 -T 80 --udp-ns 53"
                    .to_owned(),
            ),
        ] {
            assert_eq!(told(options, ports), expected);
        }
    }

    #[test]
    fn names_are_asked_for_where_queries_are_taken() {
        for (options, expected) in [
            (&[][..], RESOLVER),
            (&["--dns-forward", "10.0.0.1", "-4"], "10.0.0.1"),
            (&["-4", "--dns-forward=10.0.0.2"], "10.0.0.2"),
            (&["--dns-forwarder", "10.0.0.3"], RESOLVER),
        ] {
            let options: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(resolver(&options), expected);
        }
    }
}
