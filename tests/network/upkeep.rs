//! What is put back, refused and told of networks beside containers that come and go.

use crate::scene::{HOST, Place, WORLD, at};
use crate::support::{ALPINE, Need, User, requires};
use crate::town::{EVERYONE, PORT, Town, run, told_by_tcp, town};
use std::fs::File;
use std::os::unix::fs::MetadataExt;

/// Where the bridges of a user are: the one thread of his network process that is elsewhere knows.
fn networks_of(town: &Town, user: User) -> Place {
    if user == User::Root {
        return Place::here();
    }
    let namespace = |path: &str| std::fs::metadata(path).map(|found| found.ino()).ok();
    let own = namespace("/proc/thread-self/ns/net");
    for pid in town.store.processes() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !name.starts_with("onggi-network") {
            continue;
        }
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let path = task.unwrap().path().join("ns/net");
            if namespace(path.to_str().unwrap()) != own {
                return Place::at(File::open(path).unwrap());
            }
        }
    }
    panic!("there is no network process");
}

#[test]
fn reload_puts_back_what_is_gone() {
    if !requires(&[Need::Program("nft")]) {
        return;
    }
    for user in EVERYONE {
        town(user, move |town| {
            let (one, _other) = (run(town, "one", &[]), run(town, "other", &[]));
            let networks = networks_of(town, user);
            let way = |family: usize| told_by_tcp(&one, &at(WORLD[family], PORT));
            way(0).unwrap();
            let template = "{{index .Options \"com.docker.network.bridge.name\"}}";
            let shown = town.onggi(&["network", "inspect", "-f", template, "bridge"]);
            networks.ip(&format!("link delete {}", shown.stdout_text().trim()));
            let flushed = networks.command("nft").args(["flush", "ruleset"]).status();
            assert!(flushed.unwrap().success());
            if user != User::Root {
                networks.ip("route flush table main");
            }
            town.onggi(&["network", "reload"]).code(0);
            for family in [0, 1] {
                let from = way(family).unwrap();
                assert_eq!(from.ip().to_string(), HOST[family]);
            }
            let address = town.store.field("other", "{{.NetworkSettings.IPAddress}}");
            town.onggi(&["exec", "one", "ping", "-c", "1", "-W", "5", &address])
                .code(0);
        });
    }
}

#[test]
fn the_host_is_reached_by_its_name_without_a_way_out() {
    for user in EVERYONE {
        town(user, move |town| {
            town.onggi(&["network", "create", "--internal", "inner"])
                .code(0);
            let gateway = ["network", "inspect", "-f"];
            let template = "{{(index .IPAM.Config 0).Gateway}}";
            let told = |network: &str| {
                let shown = town.onggi(&[&gateway[..], &[template, network]].concat());
                shown.code(0).stdout_text().trim().to_owned()
            };
            let named = ["--add-host", "machine:host-gateway"];
            run(
                town,
                "inside",
                &[&named[..], &["--network", "inner"]].concat(),
            );
            let expected = format!("{}\tmachine", told("inner"));
            town.onggi(&["exec", "inside", "cat", "/etc/hosts"])
                .stdout_has(&expected);
            town.host.ip("route del default");
            town.host.ip("-6 route del default");
            let out = run(town, "out", &named);
            let from = told_by_tcp(&out, &at(&told("bridge"), PORT));
            match user {
                // There, the server at the bridge's own address would have to be one.
                User::Root => assert!(from.is_err()),
                _ => drop(from.unwrap()),
            }
        });
    }
}

#[test]
fn no_container_is_made_in_a_network_that_a_prune_has_removed() {
    town(User::Subuid, |town| {
        for turn in 0..20 {
            town.onggi(&["network", "create", "gone"]).code(0);
            let create = [
                "create",
                "--name",
                "late",
                "--network",
                "gone",
                ALPINE,
                "true",
            ];
            let created = town.store.onggi(create).without("ONGGI_NETWORK").spawn();
            // Some come before it, some after it.
            std::thread::sleep(std::time::Duration::from_millis(turn));
            town.onggi(&["network", "prune", "-f"]).code(0);
            let created = created.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&created.stderr);
            let is_there = town.onggi(&["network", "exists", "gone"]).exit_code() == Some(0);
            assert_eq!(created.status.success(), is_there, "{said}");
            match is_there {
                true => {
                    town.onggi(&["start", "late"]).code(0);
                    town.onggi(&["rm", "-f", "late"]).code(0);
                    town.onggi(&["network", "rm", "gone"]).code(0);
                }
                false => assert!(said.contains("network gone not found"), "{said}"),
            }
        }
    });
}

#[test]
fn inspect_tells_what_containers_may_reach() {
    for user in EVERYONE {
        town(user, |town| {
            run(town, "free", &["-p", "8080:80"]);
            run(town, "shut", &["--egress", "deny"]);
            run(town, "some", &["--egress", "example.com:443,10.1.0.0/16"]);
            let shown = town.onggi(&["network", "inspect", "bridge"]);
            let shown = shown.code(0);
            shown.stdout_has("free: *:8080/tcp leads to ");
            shown.stdout_has("shut: reaches nobody");
            shown.stdout_has("some: reaches example.com:443, 10.1.0.0/16 and nobody else");
        });
    }
}

#[test]
fn a_network_without_addresses_gives_none() {
    for user in EVERYONE {
        town(user, |town| {
            let create = ["network", "create", "--ipam-driver", "null"];
            town.onggi(&[&create[..], &["bare"]].concat()).code(0);
            town.onggi(&[&create[..], &["--subnet", "10.1.0.0/24", "x"]].concat())
                .code(1)
                .stderr_has("the IPAM driver null gives out no addresses");
            town.onggi(&["network", "create", "--ipam-driver", "dhcp", "x"])
                .code(1)
                .stderr_has("could not find plugin dhcp in v1 plugin registry: plugin not found");
            let words = ["run", "--rm", "--network", "bare", ALPINE, "ip", "address"];
            let shown = town.onggi(&words);
            shown
                .code(0)
                .stdout_has(" eth0@")
                .stdout_lacks("scope global");
            let template = "{{.IPAM.Driver}} {{len .IPAM.Config}}";
            town.onggi(&["network", "inspect", "-f", template, "bare"])
                .stdout("null 0\n");
        });
    }
}

#[test]
fn a_port_that_another_container_has_is_told_with_its_name() {
    for user in EVERYONE {
        town(user, |town| {
            run(town, "first", &["-p", "8080-8085:80-85"]);
            let words = ["run", "--rm", "-p", "8083:80", ALPINE, "true"];
            town.onggi(&words)
                .code(125)
                .stderr_has("Bind for 0.0.0.0:8083 failed: port is already allocated")
                .stderr_has("container `first` has it");
        });
    }
}
