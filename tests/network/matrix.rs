//! What works for whom on which kind of network: each cell of the table is tried, also where it cannot work.

use crate::scene::{HOST, Place, WORLD, at, tell_client};
use crate::support::{ALPINE, User};
use crate::town::{KNOWN, NOWHERE, PORT, Town, tell_senders, told_by_tcp, told_by_udp, town};
use std::io::ErrorKind;
use std::net::IpAddr;

/// Where the container of the first kind serves, inside as well as on the host; that of each other kind at one of its
/// own, because servers in the namespace of one that has ended stay.
const PUBLISHED: u16 = 8080;
/// Where only the host serves, on all its addresses.
const HOSTS_OWN: u16 = 7001;
/// The host as it calls itself.
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Default,
    Own,
    Host,
    None,
    Joined,
    Macvlan,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::Default, "bridge (default)"),
    (Kind::Own, "bridge (own)"),
    (Kind::Host, "host"),
    (Kind::None, "none"),
    (Kind::Joined, "container:"),
    (Kind::Macvlan, "macvlan"),
];

/// Why it does not work, where it does not.
type Found = Result<(), String>;
type Check = fn(&Case<'_>) -> Found;

const COLUMNS: [(&str, Check); 12] = [
    ("out TCP", out_tcp),
    ("out UDP", out_udp),
    ("out ICMP", out_icmp),
    ("TCP v4", |case| published_tcp(case, 0)),
    ("TCP v6", |case| published_tcp(case, 1)),
    ("UDP", published_udp),
    ("client", client_address),
    ("name", name),
    ("reverse", reverse),
    ("refused", refused),
    ("hairpin", hairpin),
    ("gateway", host_gateway),
];

const ONLY_LOOPBACK: &str = "none: only a loopback interface, by the user's wish";
const NEEDS_ROOT: &str =
    "macvlan: its interface is put on one of the host's, which only root may change";
const OWN_ADDRESS: &str =
    "macvlan: it is reached at an address of its own, the host publishes nothing";
const APART: &str =
    "macvlan: the kernel passes nothing between an interface of the host and those put on it";

/// Why a cell cannot work.
fn reason(user: User, kind: Kind, column: &str) -> Option<&'static str> {
    match (kind, column) {
        (Kind::None, _) => Some(ONLY_LOOPBACK),
        (Kind::Macvlan, _) if user != User::Root => Some(NEEDS_ROOT),
        (Kind::Macvlan, "TCP v4" | "TCP v6" | "UDP" | "hairpin") => Some(OWN_ADDRESS),
        (Kind::Macvlan, "gateway") => Some(APART),
        _ => None,
    }
}

/// A container of one kind that runs, with servers in it.
struct Case<'a> {
    town: &'a Town,
    kind: Kind,
    container: &'static str,
    port: u16,
    place: Place,
    /// Where the world reaches it.
    addresses: [String; 2],
    /// A container beside it: the name by which it is found, and its address.
    neighbour: Option<(&'static str, String)>,
}

impl<'a> Case<'a> {
    fn new(town: &'a Town, kind: Kind) -> Self {
        let run = |name: &str, options: &[&str]| {
            let words = [&["run", "-d", "--name", name], options].concat();
            town.onggi(&[&words[..], &[ALPINE, "sleep", "1000"]].concat())
                .code(0);
        };
        let port = PUBLISHED + kind as u16;
        let [tcp, udp] = ["", "/udp"].map(|kind| format!("{port}:{port}{kind}"));
        let ports = ["-p", &tcp, "-p", &udp];
        let gateway = ["--add-host", "gw:host-gateway"];
        let all = |network: &[&'static str]| [network, &ports, &gateway].concat();
        let container = "subject";
        let mut neighbour = None;
        match kind {
            Kind::Default => {
                run("friend", &[]);
                run(container, &all(&["--link", "friend:mate"]));
                neighbour = Some("mate");
            }
            Kind::Own => {
                town.onggi(&["network", "create", "own"]).code(0);
                run("friend", &["--network", "own"]);
                run(container, &all(&["--network", "own"]));
                neighbour = Some("friend");
            }
            Kind::Host => run(container, &all(&["--network", "host"])),
            Kind::None => run(container, &["--network", "none"]),
            Kind::Joined => {
                run("friend", &["--network", "own"]);
                run("owner", &all(&["--network", "own"]));
                run(container, &["--network", "container:owner"]);
                neighbour = Some("friend");
            }
            Kind::Macvlan => {
                run("friend", &["--network", "lan"]);
                run(container, &all(&["--network", "lan"]));
                town.onggi(&["port", container]).code(0).stdout("");
                neighbour = Some("friend");
            }
        }
        let place = town.inside(container);
        place.serve(&format!("[::]:{port}"), tell_client);
        tell_senders(&place, &format!("[::]:{port}"));
        let [ipv4, ipv6] = ["IPAddress", "GlobalIPv6Address"];
        let address = |name: &str, field: &str| {
            let template =
                format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end}}}}");
            town.store.field(name, &template)
        };
        Self {
            town,
            kind,
            container,
            port,
            place,
            addresses: match kind {
                Kind::Macvlan => [address(container, ipv4), address(container, ipv6)],
                _ => HOST.map(str::to_owned),
            },
            neighbour: neighbour.map(|name| (name, address("friend", ipv4))),
        }
    }

    /// A program in the container: what it writes.
    fn exec(&self, words: &[&str]) -> Result<String, String> {
        let outcome = self
            .town
            .onggi(&[&["exec", self.container, "timeout", "5"], words].concat());
        match outcome.succeeded() {
            true => Ok(outcome.stdout_text()),
            false => Err(format!(
                "{words:?}: {}{}",
                outcome.stdout_text(),
                outcome.stderr_text()
            )),
        }
    }

    fn end(self) {
        for name in ["subject", "owner", "friend"] {
            self.town.onggi(&["rm", "-f", name]).code(0);
        }
    }
}

/// Both families.
fn each(try_one: impl Fn(usize) -> Found) -> Found {
    try_one(0)?;
    try_one(1)
}

fn told(what: &str, told: std::io::Result<std::net::SocketAddr>) -> Result<IpAddr, String> {
    told.map(|address| address.ip())
        .map_err(|error| format!("{what}: {error}"))
}

fn same(what: &str, found: IpAddr, expected: &str) -> Found {
    match found == expected.parse::<IpAddr>().unwrap() {
        true => Ok(()),
        false => Err(format!("{what}: {found} instead of {expected}")),
    }
}

/// Servers of the world see the host, or what has an address of its own.
fn out_tcp(case: &Case<'_>) -> Found {
    each(|family| {
        let from = told_by_tcp(&case.place, &at(WORLD[family], PORT));
        same(
            "the client",
            told(WORLD[family], from)?,
            &case.addresses[family],
        )
    })
}

fn out_udp(case: &Case<'_>) -> Found {
    each(|family| {
        let from = told_by_udp(&case.place, &at(WORLD[family], PORT));
        same(
            "the sender",
            told(WORLD[family], from)?,
            &case.addresses[family],
        )
    })
}

fn out_icmp(case: &Case<'_>) -> Found {
    each(|family| {
        case.exec(&["ping", "-c", "1", "-W", "5", WORLD[family]])
            .map(drop)
    })
}

fn published_tcp(case: &Case<'_>, family: usize) -> Found {
    for (from, to) in [
        (&case.town.world, HOST[family]),
        (&case.town.host, HOST[family]),
        (&case.town.host, LOOPBACK[family]),
    ] {
        told(to, told_by_tcp(from, &at(to, case.port)))?;
    }
    Ok(())
}

fn published_udp(case: &Case<'_>) -> Found {
    each(|family| {
        for (from, to) in [
            (&case.town.world, HOST[family]),
            (&case.town.host, HOST[family]),
            (&case.town.host, LOOPBACK[family]),
        ] {
            told(to, told_by_udp(from, &at(to, case.port)))?;
        }
        Ok(())
    })
}

fn client_address(case: &Case<'_>) -> Found {
    each(|family| {
        let to = at(&case.addresses[family], case.port);
        for from in [
            told_by_tcp(&case.town.world, &to),
            told_by_udp(&case.town.world, &to),
        ] {
            same("the client", told(&to, from)?, WORLD[family])?;
        }
        Ok(())
    })
}

/// Each line of getent(1) has an address first and a name last.
fn names(case: &Case<'_>, key: &str, database: &str, expected: &str) -> Found {
    let found = case.exec(&["getent", database, key])?;
    match found.split_whitespace().any(|word| word == expected) {
        true => Ok(()),
        false => Err(format!("{key}: {found:?} instead of {expected}")),
    }
}

fn name(case: &Case<'_>) -> Found {
    if let Some((name, address)) = &case.neighbour {
        names(case, name, "ahostsv4", address)?;
    }
    names(case, KNOWN.0, "ahostsv4", KNOWN.1)
}

/// Who is linked is known by that name, others by their name in their network.
fn reverse(case: &Case<'_>) -> Found {
    if let Some((name, address)) = &case.neighbour {
        let network = match case.kind {
            Kind::Default => "",
            Kind::Macvlan => ".lan",
            _ => ".own",
        };
        names(case, address, "hosts", &format!("{name}{network}"))?;
    }
    names(case, KNOWN.1, "hosts", KNOWN.0)
}

fn refused(case: &Case<'_>) -> Found {
    each(
        |family| match told_by_tcp(&case.place, &at(WORLD[family], NOWHERE)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{}: {other:?}", WORLD[family])),
        },
    )
}

fn hairpin(case: &Case<'_>) -> Found {
    each(|family| {
        let to = at(HOST[family], case.port);
        told(&to, told_by_tcp(&case.place, &to))?;
        told(&to, told_by_udp(&case.place, &to)).map(drop)
    })
}

fn host_gateway(case: &Case<'_>) -> Found {
    let found = case.exec(&["getent", "ahostsv4", "gw"])?;
    let gateway = found.split_whitespace().next().unwrap_or_default();
    let to = at(gateway, HOSTS_OWN);
    told(&to, told_by_tcp(&case.place, &to)).map(drop)
}

/// All columns of one kind: what is wrong in each.
fn row(town: &Town, kind: Kind) -> Vec<Found> {
    if kind == Kind::Macvlan {
        let mut create = vec!["network", "create", "-d", "macvlan", "-o", "parent=out"];
        create.extend([
            "--subnet",
            "198.51.100.0/24",
            "--ip-range",
            "198.51.100.128/25",
        ]);
        create.extend([
            "--gateway",
            WORLD[0],
            "--subnet",
            "2001:db8:5::/64",
            "--ipv6",
        ]);
        create.extend(["--gateway", WORLD[1], "lan"]);
        let made = town.onggi(&create);
        if town.store.user != User::Root {
            let said = made.stderr_text();
            made.code(125)
                .stderr_has("network driver macvlan is for root");
            return COLUMNS.map(|_| Err(said.clone())).into();
        }
        made.code(0);
    }
    let case = Case::new(town, kind);
    let found = COLUMNS.map(|(_, check)| check(&case)).into();
    case.end();
    found
}

#[allow(
    clippy::print_stdout,
    reason = "the table is told to whoever watches the tests"
)]
fn matrix(user: User) {
    town(user, move |town| {
        town.host.serve(&format!("[::]:{HOSTS_OWN}"), tell_client);
        let mut table = format!("{:18}", format!("{user:?}"));
        for (column, _) in COLUMNS {
            table += &format!("{column:>10}");
        }
        let (mut reasons, mut wrong): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
        for (kind, title) in KINDS {
            table += &format!("\n{title:18}");
            for ((column, _), found) in COLUMNS.iter().zip(row(town, kind)) {
                let cell = match (reason(user, kind, column), found) {
                    (None, Ok(())) => "yes".to_owned(),
                    (Some(why), Err(_)) => {
                        let known = reasons.iter().position(|reason| *reason == why);
                        let number = known.unwrap_or(reasons.len());
                        if known.is_none() {
                            reasons.push(why);
                        }
                        format!("no ({})", number + 1)
                    }
                    (Some(why), Ok(())) => {
                        wrong.push(format!("{title}, {column}: works, although: {why}"));
                        "YES?".to_owned()
                    }
                    (None, Err(why)) => {
                        wrong.push(format!("{title}, {column}: {why}"));
                        "NO".to_owned()
                    }
                };
                table += &format!("{cell:>10}");
            }
        }
        for (number, why) in reasons.iter().enumerate() {
            table += &format!("\n({}) {why}", number + 1);
        }
        println!("{table}");
        assert!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
    });
}

#[test]
fn matrix_of_root() {
    matrix(User::Root);
}

#[test]
fn matrix_of_a_user_with_subordinate_ids() {
    matrix(User::Subuid);
}

#[test]
fn matrix_of_a_user_with_a_single_id() {
    matrix(User::Single);
}
