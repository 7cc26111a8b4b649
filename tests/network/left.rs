//! Containers whose networks are gone, left, shared or renamed, each user on a host of his own.

use crate::containers::run;
use crate::support::{ALPINE, User};
use crate::town::{EVERYONE, Town, town};

#[track_caller]
fn ok(town: &Town, words: &[&str]) -> String {
    town.onggi(words).code(0).stdout_text().trim().to_owned()
}

#[test]
fn a_removed_network_is_named_and_can_be_left() {
    for user in EVERYONE {
        town(user, |town| {
            for force in [&[][..], &["-f"]] {
                let id = ok(town, &["network", "create", "gone"]);
                run(town, "box", &["--network", "gone"]);
                ok(town, &["stop", "-t", "0", "box"]);
                ok(town, &["network", "rm", "gone"]);
                town.onggi(&["start", "box"])
                    .code(1)
                    .stderr_has("has been removed")
                    .stderr_has("onggi network disconnect gone box");
                // One of the same name is another.
                ok(town, &["network", "create", "gone"]);
                town.onggi(&["start", "box"]).code(1);
                ok(town, &["network", "rm", "gone"]);
                let name = if force.is_empty() { "gone" } else { &id[..12] };
                let disconnect = [&["network", "disconnect"], force, &[name, "box"]].concat();
                ok(town, &disconnect);
                town.onggi(&disconnect).code(1);
                ok(town, &["start", "box"]);
                ok(town, &["exec", "box", "sh", "-c", "! ip link show eth0"]);
                ok(town, &["rm", "-f", "box"]);
            }
        });
    }
}

#[test]
fn who_has_left_all_networks_can_come_back() {
    for user in EVERYONE {
        town(user, |town| {
            ok(town, &["network", "create", "one"]);
            run(town, "box", &["--network", "one"]);
            ok(town, &["network", "disconnect", "one", "box"]);
            ok(town, &["restart", "-t", "0", "box"]);
            assert_eq!(
                town.store.field("box", "{{.HostConfig.NetworkMode}}"),
                "one"
            );
            ok(
                town,
                &[
                    "exec",
                    "box",
                    "sh",
                    "-c",
                    "ip link show lo && ! ip link show eth0",
                ],
            );
            ok(town, &["network", "connect", "one", "box"]);
            ok(town, &["exec", "box", "ip", "link", "show", "eth0"]);
            ok(town, &["network", "disconnect", "one", "box"]);
            ok(town, &["stop", "-t", "0", "box"]);
            ok(town, &["network", "connect", "one", "box"]);
            ok(town, &["start", "box"]);
            ok(town, &["exec", "box", "ip", "link", "show", "eth0"]);
        });
    }
}

#[test]
fn another_name_is_known_at_once() {
    for user in EVERYONE {
        town(user, |town| {
            ok(town, &["network", "create", "one"]);
            run(town, "old", &["--network", "one"]);
            run(town, "friend", &["--network", "one"]);
            ok(town, &["rename", "old", "new"]);
            ok(town, &["exec", "friend", "getent", "hosts", "new"]);
            town.onggi(&["exec", "friend", "getent", "hosts", "old"])
                .code(2);
            let template = "{{range .Containers}}{{.Name}} {{end}}";
            let names = ok(town, &["network", "inspect", "-f", template, "one"]);
            assert!(names.contains("new") && !names.contains("old"), "{names}");
            let names = town
                .store
                .field("new", "{{json .NetworkSettings.Networks.one.DNSNames}}");
            assert!(
                names.contains("\"new\"") && !names.contains("\"old\""),
                "{names}"
            );
        });
    }
}

#[test]
fn who_shares_a_stopped_containers_network_is_no_orphan() {
    for user in EVERYONE {
        town(user, |town| {
            run(town, "aa", &["--add-host", "marked:192.0.2.7"]);
            run(town, "bb", &["--network", "container:aa"]);
            // The files are those of the one whose network it is.
            run(town, "cc", &["--network", "container:bb"]);
            ok(town, &["exec", "cc", "grep", "marked", "/etc/hosts"]);
            ok(town, &["exec", "-d", "bb", "sleep", "1001"]);
            ok(town, &["stop", "-t", "0", "aa"]);
            ok(town, &["system", "check"]);
            ok(town, &["system", "check", "--repair"]);
            for name in ["bb", "cc"] {
                assert_eq!(town.store.field(name, "{{.State.Running}}"), "true");
            }
            ok(town, &["exec", "bb", "pgrep", "-f", "sleep 1001"]);
        });
    }
}

#[test]
fn a_subnet_of_the_hosts_own_links_is_refused() {
    town(User::Root, |town| {
        town.onggi(&["network", "create", "--subnet", "198.51.100.0/25", "own"])
            .code(1)
            .stderr_has("is being used on the host by interface out");
        // The host has come there since.
        ok(
            town,
            &["network", "create", "--subnet", "10.201.0.0/24", "later"],
        );
        town.host.ip("addr add 10.201.0.2/24 dev out");
        let run = ["run", "--rm", "--network", "later", ALPINE, "true"];
        town.onggi(&run).stderr_has(
            "subnet 10.201.0.0/24 of network later is being used on the host by interface out",
        );
        town.host.ip("addr del 10.201.0.2/24 dev out");
        ok(town, &run);
    });
}

#[test]
fn what_it_may_reach_is_shown() {
    town(User::Root, |town| {
        run(town, "box", &["--egress", "198.51.100.2:80"]);
        let shown = town.store.field("box", "{{json .HostConfig.Egress}}");
        assert_eq!(shown, "[\"198.51.100.2:80\"]");
        let rules = ok(
            town,
            &["network", "inspect", "-f", "{{json .Rules}}", "bridge"],
        );
        assert!(
            rules.contains("box: reaches 198.51.100.2:80 and nobody else"),
            "{rules}"
        );
    });
}
