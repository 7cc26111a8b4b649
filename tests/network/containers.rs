//! Containers in networks, each user on a host of his own: several networks, many containers, what is left of killed ones.

use crate::scene::{HOST, WORLD, at, tell_client};
use crate::support::life::until;
use crate::support::{ALPINE, Need, Outcome, User, requires};
use crate::town::{KNOWN, OTHER, PORT, Town, told_by_tcp, town};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::process::Command;

const EVERYONE: [User; 3] = [User::Root, User::Subuid, User::Single];

/// A container that does nothing, in the background.
#[track_caller]
pub fn run(town: &Town, name: &str, options: &[&str]) {
    let words = [
        &["run", "-d", "--name", name],
        options,
        &[ALPINE, "sleep", "1000"],
    ];
    town.onggi(&words.concat()).code(0);
}

#[track_caller]
fn exec(town: &Town, name: &str, script: &str) -> Outcome {
    town.onggi(&["exec", name, "timeout", "10", "sh", "-c", script])
}

/// What the host says of the whole of networks: rules of nftables and interfaces.
fn rules_and_links() -> String {
    let shown = Command::new("sh")
        .args(["-c", "nft list ruleset; ip -brief link"])
        .output()
        .unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

#[track_caller]
fn default_route(town: &Town, name: &str, network: &str) {
    let gateways = town.onggi(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Gateway}} {{end}}",
        network,
    ]);
    let gateways = gateways.code(0).stdout_text();
    let mut gateways = gateways.split_whitespace();
    for family in ["-4", "-6"] {
        let gateway = gateways.next().unwrap();
        let shown = exec(town, name, &format!("ip {family} route show default"));
        shown.stdout_has(&format!("default via {gateway} "));
        let routes = shown.stdout_text().matches("default").count();
        shown.expect(routes == 1, "one default route");
    }
}

#[test]
fn default_routes_and_ports_follow_the_networks() {
    for user in EVERYONE {
        town(user, |town| {
            for network in ["front", "back", "more"] {
                town.onggi(&["network", "create", network]).code(0);
            }
            run(town, "friend", &["--network", "front"]);
            let (front, back) = ("front", "name=back,gw-priority=5");
            let both = ["--network", front, "--network", back, "-p", "8080:8080"];
            run(town, "both", &both);
            let inside = town.inside("both");
            inside.serve("[::]:8080", tell_client);
            let serves = |network: &str| {
                default_route(town, "both", network);
                for side in [0, 1] {
                    let from = told_by_tcp(&town.world, &at(HOST[side], 8080)).unwrap();
                    assert_eq!(from.ip().to_string(), WORLD[side]);
                    let from = told_by_tcp(&town.host, &at(["127.0.0.1", "::1"][side], 8080));
                    assert!(from.is_ok(), "{from:?}");
                    let from = told_by_tcp(&inside, &at(WORLD[side], PORT)).unwrap();
                    assert_eq!(from.ip().to_string(), HOST[side]);
                }
                town.onggi(&["port", "both"])
                    .stdout("8080/tcp -> 0.0.0.0:8080\n8080/tcp -> [::]:8080\n");
            };
            serves("back");
            exec(town, "both", "getent hosts friend").code(0);
            town.onggi(&["network", "disconnect", "back", "both"])
                .code(0);
            serves("front");
            exec(town, "both", "ip link").code(0).stdout_lacks("eth1");
            // One of lower priority changes nothing, one of higher priority leads out.
            let connect = ["network", "connect", "--gw-priority"];
            town.onggi(&[&connect[..], &["-1", "more", "both"]].concat())
                .code(0);
            serves("front");
            town.onggi(&[&connect[..], &["1", "back", "both"]].concat())
                .code(0);
            serves("back");
            exec(town, "friend", "getent hosts both").code(0);
            for network in ["front", "back", "more"] {
                town.onggi(&["network", "disconnect", network, "both"])
                    .code(0);
            }
            exec(town, "friend", "getent hosts both").code(2);
            let refused = told_by_tcp(&town.world, &at(HOST[0], 8080)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            town.onggi(&["network", "connect", "front", "both"]).code(0);
            serves("front");
        });
    }
}

#[test]
fn many_at_once_have_an_address_each() {
    for user in EVERYONE {
        town(user, |town| {
            town.onggi(&["network", "create", "crowd"]).code(0);
            let start = |number: usize| {
                let name = format!("c{number}");
                let words = [
                    "run",
                    "-d",
                    "--name",
                    &name,
                    "--network",
                    "crowd",
                    ALPINE,
                    "sleep",
                    "1000",
                ];
                town.store.onggi(words).without("ONGGI_NETWORK").spawn()
            };
            let started: Vec<_> = (0..20).map(start).collect();
            for child in started {
                let output = child.wait_with_output().unwrap();
                Outcome::of("run", output).code(0);
            }
            let template =
                "{{range .Containers}}{{.IPv4Address}} {{.IPv6Address}} {{.MacAddress}} {{end}}";
            let shown = town.onggi(&["network", "inspect", "-f", template, "crowd"]);
            let addresses = shown.code(0).stdout_text();
            let addresses: BTreeSet<&str> = addresses.split_whitespace().collect();
            shown.expect(
                addresses.len() == 60,
                "20 containers with addresses of their own",
            );
            exec(town, "c0", "for n in $(seq 19); do getent hosts c$n || exit 1; ping -c 1 -W 5 c$n || exit 2; done").code(0);
        });
    }
}

#[test]
fn nothing_of_a_killed_monitor_is_left_after_the_next_command() {
    if !requires(&[Need::Program("nft")]) {
        return;
    }
    for user in EVERYONE {
        town(user, move |town| {
            run(town, "stays", &[]);
            let before = (user == User::Root).then(rules_and_links);
            run(town, "dies", &["-p", "8099:80", "-p", "[::1]:8099:80/udp"]);
            if user == User::Root {
                let now = rules_and_links();
                assert!(now.contains(". 8099 :"), "{now}");
            }
            let pid: u32 = town.store.field("dies", "{{.State.Pid}}").parse().unwrap();
            let monitor = i32::try_from(town.store.monitor("dies")).unwrap();
            let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
            rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
            until("its program has ended", || {
                crate::support::life::state_of(pid).is_none_or(|state| state == 'Z')
            });
            // Without anything to do with networks.
            town.onggi(&["run", "--rm", "--network", "none", ALPINE, "true"])
                .code(0);
            if let Some(before) = before {
                assert_eq!(rules_and_links(), before);
            }
            let left = "{{range .Containers}}{{.Name}} {{end}}";
            town.onggi(&["network", "inspect", "-f", left, "bridge"])
                .code(0)
                .stdout("stays \n");
            town.onggi(&["start", "dies"]).code(0);
            town.onggi(&["port", "dies", "80/tcp"])
                .code(0)
                .stdout("0.0.0.0:8099\n[::]:8099\n");
        });
    }
}

#[test]
fn ports_are_the_same_after_a_restart() {
    for user in EVERYONE {
        town(user, |town| {
            run(town, "web", &["-p", "8080:80"]);
            for _ in 0..2 {
                town.onggi(&["port", "web"])
                    .code(0)
                    .stdout("80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
                town.inside("web").serve("[::]:80", tell_client);
                for side in [0, 1] {
                    let from = told_by_tcp(&town.world, &at(HOST[side], 8080)).unwrap();
                    assert_eq!(from.ip().to_string(), WORLD[side]);
                }
                town.onggi(&["restart", "-t", "0", "web"]).code(0);
            }
        });
    }
}

#[test]
fn what_a_container_had_is_free_as_soon_as_it_has_ended() {
    for user in EVERYONE {
        town(user, |town| {
            let subnet = ["--subnet", "10.77.0.0/24"];
            let create = [&["network", "create", "own"], &subnet[..]].concat();
            let options = ["--network", "own", "--ip", "10.77.0.5", "-p", "8080:80"];
            let run = ["run", "--rm", "--name", "brief"];
            let gateway = ["ping", "-c", "1", "-W", "5", "10.77.0.1"];
            let run = [&run, &options[..], &[ALPINE], &gateway].concat();
            // Nobody waits in between.
            for _ in 0..5 {
                town.onggi(&create).code(0);
                town.onggi(&run).code(0);
                town.onggi(&run).code(0);
                town.onggi(&["network", "rm", "own"]).code(0);
            }
            town.onggi(&create).code(0);
            let create = ["create", "--name", "again"];
            town.onggi(&[&create, &options[..], &[ALPINE], &gateway].concat())
                .code(0);
            for _ in 0..5 {
                town.onggi(&["start", "-a", "again"]).code(0);
            }
        });
    }
}

#[test]
fn an_internal_network_leads_nowhere() {
    for user in EVERYONE {
        town(user, |town| {
            town.onggi(&["network", "create", "--internal", "inner"])
                .code(0);
            let options = [
                "run",
                "-d",
                "--name",
                "one",
                "--network",
                "inner",
                "-p",
                "8080:80",
            ];
            let discarded = "published ports are discarded: network inner is internal";
            town.onggi(&[&options[..], &[ALPINE, "sleep", "1000"]].concat())
                .code(0)
                .stderr_has(discarded);
            run(town, "two", &["--network", "inner"]);
            town.onggi(&["port", "one"]).code(0).stdout("");
            let inside = town.inside("one");
            inside.serve("[::]:80", tell_client);
            for side in [0, 1] {
                assert!(told_by_tcp(&inside, &at(WORLD[side], PORT)).is_err());
                assert!(told_by_tcp(&town.world, &at(HOST[side], 8080)).is_err());
            }
            exec(town, "two", "nc -w 5 one 80 < /dev/null").code(0);
            exec(town, "two", &format!("getent hosts {}", KNOWN.0)).code(2);
        });
    }
}

#[test]
fn mistakes_that_show_at_the_start_are_told() {
    for user in EVERYONE {
        town(user, |town| {
            for (options, said) in [
                (
                    &["-p", "8080:80", "-p", "8080:81"][..],
                    "it is published twice for this container",
                ),
                (
                    &["--network", "ns:/etc/passwd"],
                    "`/etc/passwd` is no network namespace",
                ),
            ] {
                let words = [&["run", "--rm"], options, &[ALPINE, "true"]].concat();
                town.onggi(&words).code(125).stderr_has(said);
            }
            run(town, "one", &[]);
            run(town, "two", &["--network", "container:one"]);
            town.onggi(&["rm", "-f", "one"]).code(0);
            town.onggi(&["restart", "-t", "0", "two"])
                .code(1)
                .stderr_has("which has been removed");
        });
    }
}

#[test]
fn who_has_left_the_network_none_comes_into_others() {
    for user in EVERYONE {
        town(user, |town| {
            let prefix = "com.docker.network.container_iface_prefix=web";
            town.onggi(&["network", "create", "--opt", prefix, "prefixed"])
                .code(0);
            run(town, "apart", &["--network", "none"]);
            town.onggi(&["network", "connect", "prefixed", "apart"])
                .code(1)
                .stderr_has("try: `onggi network disconnect none CONTAINER`");
            town.onggi(&["network", "disconnect", "none", "apart"])
                .code(0);
            town.onggi(&["restart", "-t", "0", "apart"]).code(0);
            let connect = [
                "network", "connect", "--link", "nope:x", "prefixed", "apart",
            ];
            town.onggi(&connect)
                .code(0)
                .stderr_has("there is no container nope yet");
            exec(town, "apart", "ip -o link show web0").code(0);
            town.onggi(&["network", "connect", "bridge", "apart"])
                .code(0);
            exec(town, "apart", "ip -o link show eth0").code(0);
        });
    }
}

#[test]
fn name_servers_are_those_that_are_wished_for() {
    for user in EVERYONE {
        town(user, |town| {
            let search = ["--dns-search", "example.org", "--dns-option", "ndots:1"];
            run(
                town,
                "asks",
                &[&["--dns", KNOWN.1][..], &search[..]].concat(),
            );
            exec(town, "asks", "getent ahostsv4 other")
                .code(0)
                .stdout_has(OTHER.1);
            exec(town, "asks", &format!("getent ahostsv4 {}", KNOWN.0)).code(2);
        });
    }
}

/// The programs that a trace shows to have been executed: their paths, and the name that the program under test gets where
/// it executes itself by a descriptor, which has no path.
fn executed(trace: &str) -> BTreeSet<String> {
    let done = |line: &&str| line.ends_with(" = 0") || line.ends_with("<unfinished ...>");
    let done = trace.lines().filter(done);
    let program = |line: &str| {
        let mut quoted = line.split('"').skip(1).step_by(2);
        let (path, name) = (quoted.next()?, quoted.next()?);
        Some(if path.is_empty() { name } else { path }.to_owned())
    };
    done.filter_map(program).collect()
}

/// All that networks are for; containers are gone at its end, and with them what carried their connections.
const EVERYTHING: &str = "
    onggi network create own
    onggi network create --internal other
    onggi run --rm --network own -p 8080:80 -p 8080:80/udp alpine:3.20 /bin/sleep 1
    onggi run --rm --egress known.example.org:80,198.51.100.2 alpine:3.20 /bin/true
    onggi create --name one --network own -p 8080:80 alpine:3.20 /bin/sleep 1000
    onggi start one
    onggi run -d --name two --network own --link one:first alpine:3.20 /bin/sleep 1000
    onggi exec two /bin/ping -c 1 -W 10 one
    onggi network connect other one
    onggi network disconnect own one
    onggi network inspect own other bridge
    onggi port one
    onggi network reload
    onggi restart -t 0 one
    onggi rm -f one two
    onggi network prune -f
";

#[test]
fn no_foreign_program_is_executed() {
    if !requires(&[Need::Program("strace")]) {
        return;
    }
    for user in EVERYONE {
        town(user, move |town| {
            let log = town.store.path().join("trace");
            let script = town.store.script(EVERYTHING).without("ONGGI_NETWORK");
            let script = script.into_command();
            // As root, which keeps what the privileges of newuidmap are.
            let mut strace = Command::new("strace");
            strace
                .args(["-f", "-qq", "-e", "trace=execve,execveat", "-u"])
                .arg(&town.store.account.name)
                .arg("-o")
                .arg(&log)
                .args(["/bin/sh", "-e", "-c", EVERYTHING])
                .env_clear()
                .current_dir(town.store.home());
            for (name, value) in script.get_envs() {
                if let Some(value) = value {
                    strace.env(name, value);
                }
            }
            Outcome::of("strace", strace.output().unwrap()).code(0);
            let trace = std::fs::read_to_string(&log).unwrap();
            let mut executed = executed(&trace);
            let program = town.store.home().join("bin/onggi");
            for own in [
                program.to_str().unwrap(),
                "/bin/sleep",
                "/bin/true",
                "/bin/ping",
            ] {
                assert!(executed.remove(own), "{own}: {executed:?}");
            }
            let ours = ["/bin/sh", "onggi-monitor", "onggi-network", "onggi-exec"];
            executed.retain(|path| !ours.contains(&path.as_str()));
            let helpers: &[&str] = match user {
                User::Subuid => &["/usr/bin/newuidmap", "/usr/bin/newgidmap"],
                User::Root | User::Single => &[],
            };
            executed.retain(|path| !helpers.contains(&path.as_str()));
            assert!(executed.is_empty(), "{executed:?}\n{trace}");
        });
    }
}

#[test]
fn whoever_may_change_networks_changes_no_others_in_a_user_namespace_of_its_own() {
    for user in EVERYONE {
        town(user, move |town| {
            // Somebody in it is root, whom nsenter(1) becomes.
            let own = match user {
                User::Root => town.store.own_user_namespace(),
                User::Subuid => ["--uidmap", "0:0:1000"],
                User::Single => ["--uidmap", "0:0:1"],
            };
            let power = ["--cap-add", "NET_ADMIN"];
            run(town, "apart", &[&own[..], &power].concat());
            run(town, "beside", &power);
            // The other end of a container's interface is in the namespace of the networks, and so is what it is to be put on.
            let attempt = |name: &str| {
                let pid = town.store.field(name, "{{.State.Pid}}");
                let mut enter = Command::new("nsenter");
                enter.args(["-t", &pid, "-n"]);
                if user != User::Root || name == "apart" {
                    enter.arg("-U");
                }
                enter.args(["ip", "link", "add", "link", "if1", "link-netnsid", "0"]);
                let output = enter.args(["name", "evil", "type", "macvlan"]).output();
                Outcome::of(name, output.unwrap()).stderr_text()
            };
            let refused = attempt("apart");
            assert!(
                refused.contains("Operation not permitted"),
                "{user:?}: {refused}"
            );
            // Without one the kernel goes on to what is wrong with that: the README says so.
            let other = attempt("beside");
            assert!(other.contains("Invalid argument"), "{user:?}: {other}");
            town.onggi(&["rm", "-f", "apart", "beside"]).code(0);
        });
    }
}

/// The processes that carry connections of this store.
pub fn network_processes(town: &Town) -> Vec<u32> {
    let carries = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.starts_with(b"onggi-network\0")
    };
    town.store.processes().into_iter().filter(carries).collect()
}

#[test]
fn a_killed_network_process_is_replaced() {
    for user in [User::Subuid, User::Single] {
        town(user, |town| {
            town.onggi(&["network", "create", "own"]).code(0);
            run(town, "one", &["--network", "own", "-p", "8080:80"]);
            let inside = town.inside("one");
            inside.serve("[::]:80", tell_client);
            let serves = || {
                [0, 1].into_iter().all(|side| {
                    let client = told_by_tcp(&town.world, &at(HOST[side], 8080));
                    let host = told_by_tcp(&inside, &at(WORLD[side], PORT));
                    client.is_ok_and(|client| client.ip().to_string() == WORLD[side])
                        && host.is_ok_and(|host| host.ip().to_string() == HOST[side])
                })
            };
            assert!(serves());
            let [process] = network_processes(town)[..] else {
                panic!("{:?}", network_processes(town));
            };
            let killed = rustix::process::Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
            rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
            until("another one carries its connections", serves);
            let [another] = network_processes(town)[..] else {
                panic!("{:?}", network_processes(town));
            };
            assert_ne!(another, process);
            // The next one is in the same network.
            run(town, "two", &["--network", "own"]);
            exec(town, "two", "nc -w 5 one 80 < /dev/null").code(0);
            town.onggi(&["restart", "-t", "0", "one"]).code(0);
            exec(town, "two", "ping -c 1 -W 5 one").code(0);
        });
    }
}
