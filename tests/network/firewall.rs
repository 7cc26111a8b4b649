//! Beside the rules that Docker and firewalld make: what is in the way is told with the line that mends it, that line does,
//! nothing of theirs is changed, and ours come back after a flush.

use crate::containers::run;
use crate::scene::{HOST, Place, WORLD, at, tell_client};
use crate::support::{Need, Outcome, User, requires};
use crate::town::{PORT, Town, told_by_tcp, town};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

/// Docker's, with a container of its own at 8081.
const DOCKER: &str = "\
*nat
:PREROUTING ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.200.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 10.200.0.2:80
COMMIT
*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 10.200.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
";

/// firewalld's, whose chain accepts what comes to its end, but for its last rule.
const FIREWALLD: &str = "
table inet firewalld {
    chain nat_POSTROUTING {
        type nat hook postrouting priority srcnat + 10; policy accept;
    }
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        ct state invalid drop
        jump filter_INPUT_ZONES
        reject with icmpx admin-prohibited
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname lo accept
        ct state invalid drop
        jump filter_FORWARD_ZONES
        reject with icmpx admin-prohibited
    }
    chain filter_INPUT_ZONES {
        goto filter_IN_public
    }
    chain filter_FORWARD_ZONES {
        goto filter_FWD_public
    }
    chain filter_IN_public {
        tcp dport 22 accept
        meta l4proto { icmp, ipv6-icmp } accept
    }
    chain filter_IN_trusted {
        accept
    }
    chain filter_FWD_public {
        oifname out accept
    }
    chain filter_FWD_trusted {
        accept
    }
}
";
/// What firewalld does when an interface comes to the zone of those that are trusted.
const TRUSTED: [&str; 2] = [
    "insert rule inet firewalld filter_FORWARD_ZONES iifname BRIDGE goto filter_FWD_trusted",
    "insert rule inet firewalld filter_INPUT_ZONES iifname BRIDGE goto filter_IN_trusted",
];

const NEEDS: [Need; 3] = [
    Need::Root,
    Need::Program("nft"),
    Need::Program("iptables-nft-restore"),
];

/// A program on the town's host.
#[track_caller]
fn here(words: &[&str], input: &str) -> String {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let outcome = Outcome::of(&words.join(" "), child.wait_with_output().unwrap());
    outcome.code(0).stdout_text()
}

/// All tables but ours, without what they have counted.
fn foreign() -> String {
    let tables = here(&["nft", "list", "tables"], "");
    let others = tables.lines().filter(|line| !line.ends_with(" onggi"));
    let list = |table: &str| {
        let words: Vec<&str> = ["nft", "--stateless", "list"]
            .into_iter()
            .chain(table.split(' '))
            .collect();
        here(&words, "")
    };
    others.map(list).collect()
}

/// What a start tells of rules that are in the way: the lines that mend it.
fn remedies(outcome: &Outcome) -> Vec<String> {
    let told = outcome.code(0).stderr_text();
    let warnings = told
        .lines()
        .filter(|line| line.contains("which is not onggi's"));
    let remedy = |line: &str| line.split_once(", as root: ").unwrap().1.to_owned();
    warnings.map(remedy).collect()
}

/// A container of that name in the network `own`, with a server and a published port.
fn start(town: &Town, name: &str, port: u16) -> (Outcome, Place) {
    let publish = format!("{port}:80");
    let words = [
        "run",
        "-d",
        "--name",
        name,
        "--network",
        "own",
        "-p",
        &publish,
    ];
    let image = [crate::support::ALPINE, "sleep", "1000"];
    let outcome = town.onggi(&[&words[..], &image].concat());
    outcome.code(0);
    let inside = town.inside(name);
    inside.serve("[::]:80", tell_client);
    (outcome, inside)
}

/// Whether a container gets out, and is reached by its port from the world.
fn reaches(town: &Town, inside: &Place, port: u16) -> [[bool; 2]; 2] {
    let is = |from: &Place, to: &str, seen: &str| {
        told_by_tcp(from, to).is_ok_and(|told| told.ip().to_string() == seen)
    };
    [0, 1].map(|side| {
        [
            is(inside, &at(WORLD[side], PORT), HOST[side]),
            is(&town.world, &at(HOST[side], port), WORLD[side]),
        ]
    })
}

#[test]
fn beside_docker() {
    if !requires(&NEEDS) {
        return;
    }
    town(User::Root, |town| {
        town.host.ip(
            "link add docker0 type bridge\naddr add 10.200.0.1/16 dev docker0\nlink set docker0 up",
        );
        town.onggi(&["network", "create", "own"]).code(0);
        for restore in ["iptables-nft-restore", "ip6tables-nft-restore"] {
            let filter = DOCKER.split_once("*filter").unwrap().1;
            let rules = match restore {
                "iptables-nft-restore" => DOCKER.to_owned(),
                // Its container has no address of IPv6.
                _ => format!("*filter{}", filter.replace("-d 10.200.0.2/32 ", "")),
            };
            here(&[restore], &rules);
        }
        let theirs = foreign();
        let (first, inside) = start(town, "first", 8080);
        let remedies = remedies(&first);
        assert_eq!(remedies.len(), 2, "{remedies:?}");
        assert_eq!(reaches(town, &inside, 8080), [[false; 2]; 2]);
        assert_eq!(foreign(), theirs);
        for remedy in remedies {
            assert!(remedy.contains("tables -I DOCKER-USER "), "{remedy}");
            here(&["sh", "-c", &remedy], "");
        }
        assert_eq!(reaches(town, &inside, 8080), [[true; 2]; 2]);
        // Nobody is told again, and a flush of all takes nothing away for longer than until a reload.
        town.onggi(&["rm", "-f", "first"]).code(0);
        let (second, inside) = start(town, "second", 8080);
        second.stderr("");
        comes_back(town, &inside);
    });
}

#[test]
fn beside_firewalld() {
    if !requires(&NEEDS) {
        return;
    }
    town(User::Root, |town| {
        town.onggi(&["network", "create", "own"]).code(0);
        here(&["nft", "-f", "-"], FIREWALLD);
        let theirs = foreign();
        let (first, inside) = start(town, "first", 8080);
        let bridge = town.onggi(&[
            "network",
            "inspect",
            "-f",
            "{{printf \"%.12s\" .Id}}",
            "own",
        ]);
        let bridge = format!("br-{}", bridge.code(0).stdout_text().trim());
        let remedy = format!(
            "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
        );
        assert_eq!(remedies(&first), [remedy]);
        // What was led to a container by a port is let through.
        let [ipv4, ipv6] = reaches(town, &inside, 8080);
        assert_eq!([ipv4[1], ipv6[1]], [true; 2]);
        assert_eq!(foreign(), theirs);
        for rule in TRUSTED {
            here(&["nft", &rule.replace("BRIDGE", &bridge)], "");
        }
        assert_eq!(reaches(town, &inside, 8080), [[true; 2]; 2]);
        town.onggi(&["rm", "-f", "first"]).code(0);
        let (second, inside) = start(town, "second", 8080);
        second.stderr("");
        comes_back(town, &inside);
    });
}

/// After everything was flushed; what others make then stays as it is.
fn comes_back(town: &Town, inside: &Place) {
    // What comes first in a set is the kernel's choice.
    let ours = || -> BTreeSet<String> {
        let text = here(
            &["nft", "--stateless", "list", "table", "inet", "onggi"],
            "",
        );
        let parts = text.split([',', '\n', '\t', '{', '}']).map(str::trim);
        let parts = parts.map(|part| part.trim_start_matches("elements = "));
        parts.map(str::to_owned).collect()
    };
    // It makes the default network's as well, where nobody has been yet.
    town.onggi(&["network", "reload"]).code(0);
    let before = ours();
    here(&["nft", "flush", "ruleset"], "");
    here(&["nft", "-f", "-"], FIREWALLD);
    let theirs = foreign();
    assert_eq!(reaches(town, inside, 8080), [[false; 2]; 2]);
    town.onggi(&["network", "reload"]).code(0);
    assert_eq!(foreign(), theirs);
    assert_eq!(ours(), before);
    here(&["nft", "delete", "table", "inet", "firewalld"], "");
    assert_eq!(reaches(town, inside, 8080), [[true; 2]; 2]);
    run(town, "beside", &["--network", "own"]);
    town.onggi(&["rm", "-f", "beside"]).code(0);
}
