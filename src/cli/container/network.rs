//! Which networks `run` and `create` ask for, and which ports: `--network`, `--ip`, `--publish` and the like. What
//! contradicts what, in Docker's words; whether the networks are there is seen when the container is made.

use crate::cli::value::network_request::{self as value, Attachment, BRIDGE};
use crate::cli::value::{egress, publish};
use crate::container::options::{NetworkMode, NetworkRequest, Options};
use crate::error::{Error, bad_input};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Options of `run` and `create`.
#[derive(clap::Args)]
pub struct NetworkFlags {
    /// What it may reach: "deny", or names, addresses and subnets (host[:port],...)
    #[arg(long, value_parser = egress::egress)]
    egress: Vec<Vec<String>>,
    /// Expose a port or a range of ports
    #[arg(long)]
    expose: Vec<String>,
    /// IPv4 address (172.30.100.104)
    #[arg(long, value_name = "ip", value_parser = value::ipv4)]
    ip: Option<Ipv4Addr>,
    /// IPv6 address (2001:db8::33)
    #[arg(long, value_name = "ip", value_parser = value::ipv6)]
    ip6: Option<Ipv6Addr>,
    /// Find another container by a further name (container[:alias])
    #[arg(long, value_parser = value::link)]
    link: Vec<String>,
    /// Add an address of the link
    #[arg(long, value_parser = value::link_local)]
    link_local_ip: Vec<IpAddr>,
    /// MAC address of its interface (92:d0:c6:0a:29:33)
    #[arg(long)]
    mac_address: Option<String>,
    /// Network: its name, name=...,alias=...,ip=..., "host", "none", "container:<name|id>", "ns:<path>", "slirp4netns" or "pasta"
    #[arg(long, alias = "net", value_name = "network")]
    network: Vec<String>,
    /// Further name that others in the network find it by
    #[arg(long, alias = "net-alias", value_parser = value::alias)]
    network_alias: Vec<String>,
    /// Let a port of the host lead to one of the container ([[address:]host:]container[/protocol])
    #[arg(short, long)]
    publish: Vec<String>,
    /// Publish all exposed ports on any ports of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
}

impl NetworkFlags {
    /// Puts the plain values where they belong; the rest of the options, which some contradict, is there already.
    pub fn into_options(self, options: &mut Options) -> Result<(), Error> {
        let mut attachments = Vec::new();
        for text in &self.network {
            attachments.push(attachment(text)?);
        }
        let own = self.own_request()?;
        match attachments.first_mut() {
            Some(first) => merge(&mut first.request, own)?,
            None if own == NetworkRequest::default() => {}
            None => attachments.push(Attachment {
                target: "default".to_owned(),
                request: NetworkRequest {
                    network: BRIDGE.to_owned(),
                    ..own
                },
                ..Attachment::default()
            }),
        }
        for attachment in &attachments {
            check(attachment)?;
        }
        refuse_combinations(&attachments)?;
        let mode = attachments.first().map(|first| first.mode.clone());
        options.network = mode.unwrap_or_default();
        match attachments.first_mut() {
            Some(first) if first.is_user_defined() => first.request.links = self.link,
            _ => options.links = self.link,
        }
        if options.network == NetworkMode::Private {
            options.networks = attachments.into_iter().map(|one| one.request).collect();
        }
        options.publish_all = self.publish_all;
        for text in &self.publish {
            options.ports.push(publish::publish(text)?);
        }
        for text in &self.expose {
            let ports = publish::expose(text)?;
            let known = &options.exposed;
            let new: Vec<String> = match known.is_empty() {
                true => ports,
                false => ports
                    .into_iter()
                    .filter(|port| !known.contains(port))
                    .collect(),
            };
            options.exposed.extend(new);
        }
        options.egress = egress(self.egress)?;
        refuse_contradictions(options)
    }

    /// What the options beside `--network` ask of the first network.
    fn own_request(&self) -> Result<NetworkRequest, Error> {
        let mac = self.mac_address.as_deref().filter(|text| !text.is_empty());
        Ok(NetworkRequest {
            aliases: self.network_alias.clone(),
            ipv4: self.ip,
            ipv6: self.ip6,
            link_local: self.link_local_ip.clone(),
            mac: mac.map(value::mac_address).transpose().map_err(bad_input)?,
            ..NetworkRequest::default()
        })
    }
}

/// One `--network`. As in Docker, some mistakes are told with the option's name around them and some are not.
fn attachment(text: &str) -> Result<Attachment, Error> {
    value::attachment(text).map_err(|why| match why.starts_with("no name") {
        true => bad_input(why),
        false => bad_input(format!(
            "invalid argument {text:?} for \"--network\" flag: {why}"
        )),
    })
}

/// Options for the first network may stand by themselves or in `--network`, but not at both places.
fn merge(request: &mut NetworkRequest, own: NetworkRequest) -> Result<(), Error> {
    for (flag, what, twice) in [
        (
            "--network-alias",
            "alias",
            !request.aliases.is_empty() && !own.aliases.is_empty(),
        ),
        (
            "--ip",
            "IPv4 address",
            request.ipv4.is_some() && own.ipv4.is_some(),
        ),
        (
            "--ip6",
            "IPv6 address",
            request.ipv6.is_some() && own.ipv6.is_some(),
        ),
        (
            "--mac-address",
            "MAC address",
            request.mac.is_some() && own.mac.is_some(),
        ),
        (
            "--link-local-ip",
            "link-local IP addresses",
            !request.link_local.is_empty() && !own.link_local.is_empty(),
        ),
    ] {
        if twice {
            return Err(bad_input(format!(
                "conflicting options: cannot specify both {flag} and per-network {what}"
            )));
        }
    }
    request.aliases.extend(own.aliases);
    request.ipv4 = request.ipv4.or(own.ipv4);
    request.ipv6 = request.ipv6.or(own.ipv6);
    request.link_local.extend(own.link_local);
    request.mac = request.mac.take().or(own.mac);
    Ok(())
}

/// What can be asked of one network that is not one's own.
fn check(attachment: &Attachment) -> Result<(), Error> {
    let request = &attachment.request;
    if attachment.is_user_defined() {
        return Ok(());
    }
    if !request.aliases.is_empty() {
        return Err(bad_input(
            "network-scoped aliases are only supported for user-defined networks",
        ));
    }
    if request.ipv4.is_some() || request.ipv6.is_some() {
        return Err(bad_input(
            "user specified IP address is supported on user defined networks only",
        )
        .hint("make a network with `onggi network create` and name it with --network"));
    }
    if attachment.mode == NetworkMode::Private {
        return Ok(());
    }
    if request.mac.is_some() {
        return Err(conflict("mac-address and the network mode"));
    }
    if *request != NetworkRequest::default() {
        return Err(conflict("options of a network and the network mode"));
    }
    Ok(())
}

/// Several networks are all of the user's making, and each is named once.
fn refuse_combinations(attachments: &[Attachment]) -> Result<(), Error> {
    for (at, attachment) in attachments.iter().enumerate() {
        let same = |other: &Attachment| {
            other.target == attachment.target
                || (!other.request.network.is_empty()
                    && other.request.network == attachment.request.network)
        };
        if attachments[..at].iter().any(same) {
            return Err(bad_input(format!(
                "network {:?} is specified multiple times",
                attachment.target
            )));
        }
    }
    let own = attachments
        .iter()
        .filter(|one| one.is_user_defined())
        .count();
    if own > 0 && own < attachments.len() {
        return Err(conflict(
            "cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    if own == 0 && attachments.len() > 1 {
        return Err(bad_input(
            "container sharing network namespace with another container or host cannot be connected to any other \
             network",
        ));
    }
    Ok(())
}

/// All `--egress` together.
fn egress(given: Vec<Vec<String>>) -> Result<Option<Vec<String>>, Error> {
    if given.is_empty() {
        return Ok(None);
    }
    let deny = given.iter().any(Vec::is_empty);
    let hosts = given.concat();
    match deny && !hosts.is_empty() {
        true => Err(conflict("--egress deny and further destinations")),
        false => Ok(Some(hosts)),
    }
}

/// Who has the network of somebody else has its names, addresses and ports too.
fn refuse_contradictions(options: &Options) -> Result<(), Error> {
    let shared = matches!(options.network, NetworkMode::Container(_));
    let is = |given: bool, why: &'static str| given.then_some(why);
    let dns = [&options.dns, &options.dns_search, &options.dns_options];
    let first = match &options.network {
        NetworkMode::Container(_) => [
            is(options.hostname.is_some(), "hostname and the network mode"),
            is(
                !options.links.is_empty(),
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            is(
                dns.iter().any(|words| !words.is_empty()),
                "dns and the network mode",
            ),
            is(
                !options.extra_hosts.is_empty(),
                "custom host-to-IP mapping and the network mode",
            ),
            is(
                !options.ports.is_empty() || options.publish_all,
                "port publishing and the container type network mode",
            ),
            is(
                !options.exposed.is_empty(),
                "port exposing and the container type network mode",
            ),
        ]
        .into_iter()
        .flatten()
        .next(),
        NetworkMode::Host => is(
            !options.links.is_empty(),
            "host type networking can't be used with links. This would result in undefined behavior",
        ),
        NetworkMode::Private => None,
        _ => is(!options.links.is_empty(), "links and the network mode"),
    };
    let reaches_by_itself = !matches!(options.network, NetworkMode::Private | NetworkMode::None);
    let egress = is(
        options.egress.is_some() && (shared || reaches_by_itself),
        "--egress and the network mode",
    );
    first.or(egress).map_or(Ok(()), |why| Err(conflict(why)))
}

fn conflict(what: &str) -> Error {
    bad_input(format!("conflicting options: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, Command, FromArgMatches};

    fn parse(words: &str) -> Result<Options, String> {
        let command = NetworkFlags::augment_args(Command::new("run").no_binary_name(true));
        let words = words.split_whitespace();
        let matches = command.try_get_matches_from(words).unwrap();
        let flags = NetworkFlags::from_arg_matches(&matches).unwrap();
        let mut options = Options::default();
        flags
            .into_options(&mut options)
            .map_err(|error| error.message)?;
        Ok(options)
    }

    #[test]
    fn flags_beside_network_are_of_the_first_one() {
        let options = parse(
            "--network a --network b --network-alias x --ip 10.1.0.2 --ip6 fd00::2 --link db:data \
             --link-local-ip 169.254.1.1 --mac-address 02:42:AC:11:00:02",
        );
        let options = options.unwrap();
        assert_eq!(options.network, NetworkMode::Private);
        let first = NetworkRequest {
            network: "a".to_owned(),
            aliases: vec!["x".to_owned()],
            ipv4: Some(Ipv4Addr::new(10, 1, 0, 2)),
            ipv6: Some("fd00::2".parse().unwrap()),
            link_local: vec!["169.254.1.1".parse().unwrap()],
            mac: Some("02:42:ac:11:00:02".to_owned()),
            links: vec!["db:data".to_owned()],
            ..NetworkRequest::default()
        };
        let second = NetworkRequest {
            network: "b".to_owned(),
            ..NetworkRequest::default()
        };
        assert_eq!(options.networks, [first, second]);
        assert!(options.links.is_empty());
    }

    #[test]
    fn without_network_the_creation_chooses() {
        let options = parse("--link db -p 80-81 -P --expose 53/udp --expose 53-54/udp").unwrap();
        assert_eq!(options.network, NetworkMode::Private);
        assert!(options.networks.is_empty() && options.publish_all);
        assert_eq!(options.links, ["db:db"]);
        assert_eq!(options.ports[0].container, (80, 81));
        assert_eq!(options.exposed, ["53/udp", "54/udp"]);
        assert_eq!(options.egress, None);
        let options = parse("--mac-address 02:42:ac:11:00:02 --egress deny").unwrap();
        assert_eq!(options.networks[0].network, "bridge");
        assert_eq!(options.egress, Some(Vec::new()));
        let options = parse("--network container:db").unwrap();
        assert_eq!(options.network, NetworkMode::Container("db".to_owned()));
        assert!(options.networks.is_empty());
    }

    #[test]
    fn contradictions_have_dockers_words() {
        let conflicts = [
            (
                "--network a --network host",
                "cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                "--network bridge --network a",
                "cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                "--network name=a,alias=x --network-alias y",
                "cannot specify both --network-alias and per-network alias",
            ),
            (
                "--network name=a,ip=1.2.3.4 --ip 1.2.3.5",
                "cannot specify both --ip and per-network IPv4 address",
            ),
            (
                "--network name=a,ip6=::1 --ip6 ::2",
                "cannot specify both --ip6 and per-network IPv6 address",
            ),
            (
                "--network a:mac=02:42:ac:11:00:02 --mac-address 02:42:ac:11:00:03",
                "cannot specify both --mac-address and per-network MAC address",
            ),
            (
                "--network name=a,link-local-ip=169.254.1.1 --link-local-ip ::1",
                "cannot specify both --link-local-ip and per-network link-local IP addresses",
            ),
            (
                "--network host --mac-address 02:42:ac:11:00:02",
                "mac-address and the network mode",
            ),
            (
                "--network name=host,gw-priority=1",
                "options of a network and the network mode",
            ),
            (
                "--network host --link a",
                "host type networking can't be used with links. This would result in undefined behavior",
            ),
            (
                "--network container:a --link a",
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            ("--network none --link a", "links and the network mode"),
            (
                "--network container:a -p 80",
                "port publishing and the container type network mode",
            ),
            (
                "--network container:a -P",
                "port publishing and the container type network mode",
            ),
            (
                "--network container:a --expose 80",
                "port exposing and the container type network mode",
            ),
            (
                "--network host --egress deny",
                "--egress and the network mode",
            ),
            (
                "--egress deny --egress a",
                "--egress deny and further destinations",
            ),
        ];
        for (words, expected) in conflicts {
            let expected = format!("conflicting options: {expected}");
            assert_eq!(parse(words).unwrap_err(), expected, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_in_dockers_words() {
        let aliases = "network-scoped aliases are only supported for user-defined networks";
        let address = "user specified IP address is supported on user defined networks only";
        for (words, expected) in [
            ("--network-alias x", aliases),
            ("--network bridge --network-alias x", aliases),
            ("--network none --network-alias x", aliases),
            ("--network container:a --network-alias x", aliases),
            ("--ip 1.2.3.4", address),
            ("--network bridge:ip=1.2.3.4", address),
            ("--network host --ip6 ::1", address),
            (
                "--network a --network name=a",
                "network \"a\" is specified multiple times",
            ),
            (
                "--network host --network host",
                "network \"host\" is specified multiple times",
            ),
            (
                "--network bridge --network default",
                "network \"default\" is specified multiple times",
            ),
            (
                "--network host --network none",
                "container sharing network namespace with another container or host cannot be connected to any other \
                 network",
            ),
            ("--network=", "no name set for network"),
            (
                "--network a:foo=x",
                "invalid argument \"a:foo=x\" for \"--network\" flag: invalid field key foo",
            ),
            ("--mac-address zz", "zz is not a valid mac address"),
            ("-p x:80", "invalid hostPort: x"),
            ("--expose 80:90", "invalid port format for --expose: 80:90"),
        ] {
            assert_eq!(parse(words).unwrap_err(), expected, "{words}");
        }
    }
}
