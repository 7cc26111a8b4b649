//! network create, ls, inspect, connect, disconnect, rm, prune, exists: what they do, print and refuse.

use crate::support::{ALPINE, Store, User, everyone, everyone_with_alpine, store as store_of};
use serde_json::{Value, json};

fn names(store: &Store, words: &[&str]) -> Vec<String> {
    let format = ["network", "ls", "--format", "{{.Name}}"];
    let outcome = store.onggi([&format[..], words].concat()).run();
    let listed = outcome.code(0).stdout_text();
    listed.lines().map(str::to_owned).collect()
}

fn inspect(store: &Store, name: &str) -> Value {
    let mut shown = store.onggi(["network", "inspect", name]).run().json();
    shown[0].take()
}

/// A container that belongs to a network and does not run.
fn member(store: &Store, name: &str, network: &str) {
    let id = store.ok([
        "create",
        "--name",
        name,
        "--network",
        "none",
        ALPINE,
        "true",
    ]);
    let path = store
        .data()
        .join("containers")
        .join(id.trim())
        .join("container.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let options = record["options"].as_object_mut().unwrap();
    assert_eq!(options.remove("network"), Some(json!("none")));
    let request = json!({"network": network, "id": inspect(store, network)["Id"]});
    options.insert("networks".to_owned(), json!([request]));
    std::fs::write(&path, record.to_string()).unwrap();
}

/// The first line of what is said to a command that fails so.
fn refused(store: &Store, arguments: &[&str], code: i32) -> String {
    let outcome = store.onggi(arguments.iter().copied()).run();
    outcome.code(code).stdout("");
    let said = outcome.stderr_text();
    said.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn three_networks_are_there_from_the_start() {
    for store in everyone() {
        let table = store.ok(["network", "ls"]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "NETWORK ID     NAME      DRIVER    SCOPE");
        for (line, rest) in lines[1..].iter().zip([
            "bridge    bridge    local",
            "host      host      local",
            "none      null      local",
        ]) {
            assert_eq!(&line[12..], format!("   {rest}"), "{table}");
        }
        assert_eq!(
            store.ok(["network", "list"]),
            table,
            "ids stay what they are"
        );
        let bridge = inspect(&store, "bridge");
        let options = &bridge["Options"];
        assert_eq!(options["com.docker.network.bridge.default_bridge"], "true");
        assert_eq!(
            bridge["IPAM"]["Config"][0]["Subnet"]
                .as_str()
                .unwrap()
                .split('/')
                .count(),
            2
        );
        for name in ["bridge", "host", "none"] {
            let said = refused(&store, &["network", "rm", name], 1);
            assert_eq!(
                said,
                format!("onggi: {name} is a pre-defined network and cannot be removed")
            );
            store.ok(["network", "exists", name]);
        }
        assert_eq!(store.ok(["network", "prune", "--force"]), "");
    }
}

#[test]
fn a_network_is_made_shown_and_removed() {
    for store in everyone() {
        let id = store.ok([
            "network",
            "create",
            "--subnet",
            "10.83.0.0/16",
            "--ip-range",
            "10.83.5.0/24",
            "--gateway",
            "10.83.0.9",
            "--aux-address",
            "printer=10.83.5.7",
            "--internal",
            "--attachable",
            "--label",
            "a=1",
            "--label",
            "b",
            "--ipv6=false",
            "-o",
            "com.docker.network.driver.mtu=1400",
            "--ipam-opt",
            "x=y",
            "shop",
        ]);
        let id = id.trim();
        assert_eq!(id.len(), 64);
        let shown = inspect(&store, "shop");
        let created = shown["Created"].as_str().unwrap();
        assert!(created.parse::<jiff::Timestamp>().is_ok(), "{created}");
        let expected = json!({
            "Name": "shop", "Id": id, "Created": created, "Scope": "local", "Driver": "bridge",
            "EnableIPv4": true, "EnableIPv6": false,
            "IPAM": {
                "Driver": "default",
                "Options": {"x": "y"},
                "Config": [{
                    "Subnet": "10.83.0.0/16", "IPRange": "10.83.5.0/24", "Gateway": "10.83.0.9",
                    "AuxiliaryAddresses": {"printer": "10.83.5.7"},
                }],
            },
            "Internal": true, "Attachable": true, "Ingress": false, "ConfigFrom": {"Network": ""},
            "ConfigOnly": false, "Containers": {}, "Options": {"com.docker.network.driver.mtu": "1400"},
            "Labels": {"a": "1", "b": ""},
        });
        let fields = expected.as_object().unwrap();
        for (name, value) in fields {
            assert_eq!(shown[name], *value, "{name}");
        }
        let order: Vec<&String> = shown.as_object().unwrap().keys().collect();
        assert!(
            order.iter().copied().take(fields.len()).eq(fields.keys()),
            "{order:?}"
        );
        for name in ["shop", id, &id[..9]] {
            let format = [
                "network",
                "inspect",
                "-f",
                "{{.Name}} {{.ID}} {{(index .IPAM.Config 0).Gateway}}",
                name,
            ];
            assert_eq!(store.ok(format), format!("shop {id} 10.83.0.9\n"));
        }
        let format = [
            "inspect",
            "--type",
            "network",
            "-f",
            "{{.Labels.a}}",
            "shop",
        ];
        assert_eq!(store.ok(format), "1\n");
        store.ok(["network", "create", "other"]);
        for (filter, expected) in [
            ("name=^sh", &["shop"][..]),
            ("name=o", &["host", "none", "other", "shop"]),
            ("label=a", &["shop"]),
            ("label=a=2", &[]),
            ("type=custom", &["other", "shop"]),
            ("type=builtin", &["bridge", "host", "none"]),
            ("driver=null", &["none"]),
            ("driver=bridge", &["bridge", "other", "shop"]),
            ("scope=local", &["bridge", "host", "none", "other", "shop"]),
            ("scope=swarm", &[]),
            ("dangling=true", &["other", "shop"]),
            ("dangling=false", &["bridge", "host", "none"]),
            (&format!("id={}", &id[..6]), &["shop"]),
        ] {
            assert_eq!(names(&store, &["-f", filter]), expected, "{filter}");
        }
        let quiet = store.ok(["network", "ls", "-q", "-f", "name=shop"]);
        assert_eq!(quiet, format!("{}\n", &id[..12]));
        let quiet = store.ok(["network", "ls", "-q", "--no-trunc", "-f", "name=shop"]);
        assert_eq!(quiet, format!("{id}\n"));
        let outcome = store
            .onggi(["network", "rm", "shop", "nope", &id[..9]])
            .run();
        outcome
            .code(1)
            .stdout("shop\n")
            .stderr_has("network nope not found");
        let gone = ["network", "rm", "--force", "nope"];
        store.onggi(gone).run().code(0).stdout("").stderr("");
        store
            .onggi(["network", "exists", "shop"])
            .run()
            .code(1)
            .stdout("")
            .stderr("");
        store
            .onggi(["network", "inspect", "shop", "bridge"])
            .run()
            .code(1)
            .stderr_has("network shop not found");
        let events = [
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            "type=network",
            "--format",
        ];
        let format =
            "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}} {{.Actor.ID}}";
        let outcome = store.onggi([&events[..], &[format]].concat()).run();
        let events = outcome.code(0).stdout_text();
        let of_shop = |action: &str| format!("{action} shop bridge {id}");
        assert!(
            events.contains(&of_shop("create")) && events.contains(&of_shop("destroy")),
            "{events}"
        );
    }
}

#[test]
fn names_are_sorted_as_people_do() {
    let Some(store) = store_of(User::Root) else {
        return;
    };
    for name in ["net10", "net9", "a", "net010"] {
        store.ok(["network", "create", name]);
    }
    assert_eq!(
        names(&store, &["-f", "type=custom"]),
        ["a", "net9", "net10", "net010"]
    );
}

#[test]
fn a_damaged_record_is_told_and_removed() {
    for store in everyone() {
        let id = store.ok(["network", "create", "bad"]);
        let record = store
            .data()
            .join("networks")
            .join(id.trim())
            .join("network.json");
        std::fs::write(&record, "{").unwrap();
        let outcome = store.onggi(["network", "ls"]).run();
        outcome
            .code(0)
            .stdout_has("bridge")
            .stdout_lacks("bad")
            .stderr_has("is left out");
        store
            .onggi(["system", "check"])
            .run()
            .code(1)
            .stdout_has("damaged-network");
        store.onggi(["system", "check", "--repair"]).run().code(0);
        assert_eq!(names(&store, &["-f", "type=custom"]), [""; 0]);
        store.onggi(["system", "check"]).run().code(0);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for store in everyone() {
        store.ok(["network", "create", "--subnet", "10.84.0.0/24", "taken"]);
        let before = names(&store, &[]);
        let user = if store.user == User::Root { 0 } else { 1 };
        let macvlan = [
            "parent interface nope0 was not found on the host",
            "network driver macvlan is for root",
        ][user];
        let overlapping =
            "invalid pool request: Pool overlaps with other one on this address space";
        for (arguments, said) in [
            (&["taken"][..], "network with name taken already exists"),
            (
                &["bridge"],
                "operation is not permitted on predefined bridge network",
            ),
            (
                &["default"],
                "operation is not permitted on predefined default network",
            ),
            (&[""], "invalid network name: \"\""),
            (&["a/b"], "invalid network name: \"a/b\""),
            (&["../x"], "invalid network name: \"../x\""),
            (&["a:b"], "invalid network name: \"a:b\""),
            (&["그물"], "invalid network name: \"그물\""),
            (&["--subnet", "10.84.0.128/25", "x"], overlapping),
            (&["--subnet", "10.0.0.0/8", "x"], overlapping),
            (
                &["--subnet", "10.85.0.1/24", "x"],
                "invalid network config: invalid subnet 10.85.0.1/24: it should be 10.85.0.0/24",
            ),
            (
                &["--subnet", "nope", "x"],
                "invalid network config: invalid subnet nope: invalid CIDR block notation",
            ),
            (
                &["--subnet", "10.85.0.0/24,10.85.0.0/25", "x"],
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                &["--subnet", "10.85.0.0/24,10.86.0.0/24", "x"],
                "bridge driver doesn't support multiple subnets",
            ),
            (
                &["--gateway", "10.85.0.1", "x"],
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                &["--subnet", "10.85.0.0/24", "--gateway", "10.86.0.1", "x"],
                "no matching subnet for gateway 10.86.0.1",
            ),
            (
                &["--subnet", "10.85.0.0/24", "--gateway", "10.85.0.255", "x"],
                "invalid network config: invalid gateway 10.85.0.255",
            ),
            (
                &[
                    "--subnet",
                    "10.85.0.0/24",
                    "--ip-range",
                    "10.86.0.0/25",
                    "x",
                ],
                "no matching subnet for range 10.86.0.0/25",
            ),
            (
                &[
                    "--subnet",
                    "10.85.0.0/24",
                    "--aux-address",
                    "a=10.86.0.1",
                    "x",
                ],
                "no matching subnet for aux-address 10.86.0.1",
            ),
            (
                &["--subnet", "127.1.0.0/16", "x"],
                "invalid network config: invalid subnet 127.1.0.0/16",
            ),
            (
                &["--ipv4=false", "--ipv6=false", "x"],
                "IPv4 or IPv6 must be enabled",
            ),
            (
                &["--ipv6=false", "--subnet", "fd00:84::/64", "x"],
                "an IPv6 subnet is named although --ipv6 is false",
            ),
            (
                &["-d", "overlay", "x"],
                "network driver overlay is for clusters",
            ),
            (
                &["-d", "host", "x"],
                "only one instance of \"host\" network is allowed",
            ),
            (
                &["-d", "weave", "x"],
                "could not find plugin weave in v1 plugin registry: plugin not found",
            ),
            (&["-d", "macvlan", "-o", "parent=nope0", "x"], macvlan),
            (
                &["--ipam-driver", "dhcp", "x"],
                "could not find plugin dhcp",
            ),
            (
                &["-o", "com.docker.network.driver.mtu=12", "x"],
                "failed to parse com.docker.network.driver.mtu value: \"12\"",
            ),
            (
                &[
                    "-o",
                    "com.docker.network.bridge.name=much-too-long-name",
                    "x",
                ],
                "failed to parse com.docker.network.bridge.name",
            ),
            (
                &["-o", "com.docker.network.bridge.enable_icc=perhaps", "x"],
                "failed to parse com.docker.network.bridge.enable_icc",
            ),
        ] {
            let code = if said.starts_with("network driver") {
                125
            } else {
                1
            };
            let line = refused(&store, &[&["network", "create"], arguments].concat(), code);
            assert!(
                line.starts_with(&format!("onggi: {said}")),
                "{arguments:?}: {line}"
            );
        }
        for arguments in [
            &["create"][..],
            &["create", "a", "b"],
            &["rm"],
            &["create", "--scope", "local", "x"],
            &["create", "--opt", "=x", "x"],
        ] {
            refused(&store, &[&["network"], arguments].concat(), 125);
        }
        for (filter, said) in [
            ("type=x", "invalid filter: 'type'='x'"),
            ("dangling=x", "invalid filter 'dangling=[x]'"),
            ("x=y", "invalid filter 'x'"),
        ] {
            let line = refused(&store, &["network", "ls", "-f", filter], 1);
            assert_eq!(line, format!("onggi: {said}"));
        }
        let bridge = "com.docker.network.bridge.name=lo";
        let line = refused(&store, &["network", "create", "-o", bridge, "x"], 1);
        assert_eq!(
            line,
            "onggi: the interface `lo` is there already and is no bridge"
        );
        for driver in ["macvlan", "ipvlan"].into_iter().filter(|_| user == 0) {
            let words = ["network", "create", "-d", driver, "-o", "parent=lo", "x"];
            let said = format!("onggi: loopback interface is not a valid {driver} parent link");
            assert_eq!(refused(&store, &words, 1), said);
        }
        assert_eq!(names(&store, &[]), before);
        store
            .onggi(["network", "create", "-o", "foo=1", "odd"])
            .run()
            .code(0)
            .stderr_has("knows no option foo");
    }
}

#[test]
fn options_of_containers_that_make_no_sense_are_refused() {
    for store in everyone_with_alpine() {
        for (options, said) in [
            (&["-p", "8080:80/tcp/udp"][..], "invalid proto: tcp/udp"),
            (&["--expose", "80/tcp/udp"], "invalid proto: tcp/udp"),
            (
                &["--network", "bridge", "--link", "nope:x"],
                "could not get container for nope: No such container: nope",
            ),
            (
                &["--link-local-ip", "0.0.0.0"],
                "invalid link-local IP address: 0.0.0.0",
            ),
        ] {
            let outcome = store
                .onggi([&["create"], options, &[ALPINE, "true"]].concat())
                .run();
            outcome.code(125).stderr_has(said);
        }
    }
}

#[test]
fn networks_of_containers_stay() {
    for store in everyone_with_alpine() {
        for name in ["used", "free", "labelled"] {
            let label = format!("--label=kind={name}");
            store.ok(["network", "create", &label, name]);
        }
        member(&store, "web", "used");
        let pruned = store.ok(["network", "prune", "-f", "--filter", "label!=kind=labelled"]);
        assert_eq!(pruned, "Deleted Networks:\nfree\n\n");
        assert_eq!(names(&store, &["-f", "dangling=true"]), ["labelled"]);
        let outcome = store.onggi(["network", "prune"]).stdin("n\n").run();
        outcome
            .code(1)
            .stdout_has("This will remove all custom networks not used by at least one container.");
        store.ok(["rm", "web"]);
        let all = store.ok(["network", "prune", "-f"]);
        assert_eq!(all, "Deleted Networks:\nlabelled\nused\n\n");
    }
}

#[test]
fn a_container_that_does_not_run_joins_and_leaves() {
    for store in everyone_with_alpine() {
        store.ok([
            "network",
            "create",
            "--subnet",
            "10.87.0.0/24",
            "--ipv6=false",
            "first",
        ]);
        store.ok(["network", "create", "second"]);
        member(&store, "web", "first");
        store.ok([
            "create",
            "--name",
            "alone",
            "--network",
            "none",
            ALPINE,
            "true",
        ]);
        store.ok([
            "create",
            "--name",
            "hosted",
            "--network",
            "host",
            ALPINE,
            "true",
        ]);
        store.ok(["network", "connect", "--alias", "www,shop", "second", "web"]);
        let said = |arguments: &[&str]| refused(&store, &[&["network"], arguments].concat(), 1);
        for (arguments, expected) in [
            (
                &["connect", "second", "web"][..],
                "endpoint with name web already exists in network second",
            ),
            (&["connect", "nope", "web"], "network nope not found"),
            (&["connect", "second", "nope"], "No such container: nope"),
            (
                &["connect", "host", "web"],
                "container cannot be disconnected from host network or connected to host network",
            ),
            (
                &["connect", "second", "hosted"],
                "container cannot be disconnected from host network or connected to host network",
            ),
            (
                &["connect", "second", "alone"],
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
            ),
            (
                &["connect", "--ip", "10.99.0.1", "second", "web"],
                "no configured subnet or ip-range contain the IP address 10.99.0.1",
            ),
            (
                &["connect", "--ip", "172.17.0.9", "bridge", "web"],
                "user specified IP address is supported on user defined networks only",
            ),
            (
                &["disconnect", "bridge", "web"],
                "container web is not connected to network bridge",
            ),
        ] {
            let line = said(arguments);
            assert!(
                line.starts_with(&format!("onggi: {expected}")),
                "{arguments:?}: {line}"
            );
        }
        store.ok(["network", "disconnect", "first", "web"]);
        let line = said(&["disconnect", "first", "web"]);
        assert_eq!(
            line,
            "onggi: container web is not connected to network first"
        );
        let line = said(&["disconnect", "--force", "first", "web"]);
        assert_eq!(
            line,
            "onggi: container web is not connected to network first"
        );
        let line = said(&["connect", "--ip", "10.87.0.1", "first", "web"]);
        assert!(
            line.contains("10.87.0.1 is the gateway of network first"),
            "{line}"
        );
        store.ok(["network", "connect", "--ip", "10.87.0.40", "first", "web"]);
        assert_eq!(names(&store, &["-f", "dangling=true"]), [""; 0]);
    }
}
