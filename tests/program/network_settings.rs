//! What ps, port and inspect tell of a container's networks while it runs: what is in the files of its endpoints, as
//! long as somebody holds them. The test writes and holds one itself, so that nothing has to be connected.

use crate::support::{ALPINE, Store, everyone_with_alpine};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::chown;
use std::path::Path;

/// The id of the default network, which is made when somebody first looks for networks.
fn bridge(store: &Store) -> String {
    let template = "{{range .NetworkSettings.Networks}}{{.NetworkID}}{{end}}";
    let none = store.onggi(["inspect", "-f", template, "web"]).run();
    assert_eq!(none.code(0).stdout_text().trim().len(), 64);
    let records = std::fs::read_dir(store.data().join("networks")).unwrap();
    let records = records.filter_map(|entry| {
        let text = std::fs::read(entry.unwrap().path().join("network.json")).ok()?;
        serde_json::from_slice::<Value>(&text).ok()
    });
    let mut records = records.filter(|record| record["name"] == "bridge");
    records.next().unwrap()["id"].as_str().unwrap().to_owned()
}

fn write(store: &Store, path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
    chown(path, Some(store.account.uid), Some(store.account.gid)).unwrap();
}

#[test]
fn endpoints_that_are_held_are_told() {
    for store in everyone_with_alpine() {
        let run = ["run", "-d", "--name", "web", "--expose", "443", ALPINE];
        let run = store.onggi(run).args(["sleep", "1000"]).run();
        let id = run.code(0).stdout_text().trim().to_owned();
        let network = bridge(&store);
        let path = store
            .data()
            .join("containers")
            .join(&id)
            .join("container.json");
        let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        record["options"]["network"] = "private".into();
        record["options"]["networks"] =
            json!([{"network": "bridge", "id": network, "links": ["db:data"]}]);
        write(&store, &path, &record);
        let endpoints = store.run_root().join("networks").join(&network);
        std::fs::create_dir_all(&endpoints).unwrap();
        let path = endpoints.join(&id);
        let endpoint = json!({
            "id": "0123", "network": network, "container": id, "name": "web", "ipv4": "172.17.0.2",
            "mac": "02:42:ac:11:00:02", "interface": "eth0",
            "ports": [
                {"address": null, "host": 8080, "container": 80, "count": 3, "protocol": "tcp"},
                {"address": "127.0.0.1", "host": 53, "container": 53, "count": 1, "protocol": "udp"},
            ],
        });
        write(&store, &path, &endpoint);
        let told = |words: &[&str]| store.onggi(words).run().code(0).stderr("").stdout_text();
        let ports = ["ps", "--format", "{{.Ports}}|{{.Networks}}"];
        assert_eq!(told(&ports), "|bridge\n", "nobody holds it");
        let held = File::open(&path).unwrap();
        flock(&held, FlockOperation::LockExclusive).unwrap();
        assert_eq!(
            told(&ports),
            "127.0.0.1:53->53/udp, 443/tcp, 0.0.0.0:8080-8082->80-82/tcp, [::]:8080-8082->80-82/tcp|bridge\n"
        );
        assert_eq!(told(&["port", "web", "80"]), "0.0.0.0:8080\n[::]:8080\n");
        assert_eq!(told(&["port", "web", "53/udp"]), "127.0.0.1:53\n");
        let all = told(&["port", "web"]);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 7);
        assert_eq!(
            lines[..2],
            ["53/udp -> 127.0.0.1:53", "80/tcp -> 0.0.0.0:8080"]
        );
        let exposed = store.onggi(["port", "web", "443"]).run();
        exposed
            .code(1)
            .stderr_has("No public port '443' published for web");
        let settings = &store.onggi(["inspect", "web"]).run().json()[0]["NetworkSettings"];
        let of_bridge = &settings["Networks"]["bridge"];
        for (field, expected) in [
            ("EndpointID", json!("0123")),
            ("IPAddress", json!("172.17.0.2")),
            ("MacAddress", json!("02:42:ac:11:00:02")),
        ] {
            assert_eq!(
                (&settings[field], &of_bridge[field]),
                (&expected, &expected)
            );
        }
        assert_eq!(of_bridge["NetworkID"], network.as_str());
        assert_eq!(of_bridge["Links"], json!(["db:data"]));
        let gateway = of_bridge["Gateway"].as_str().unwrap();
        assert_eq!(settings["Gateway"], gateway);
        let sandbox = settings["SandboxKey"].as_str().unwrap();
        assert!(sandbox.starts_with("/proc/") && sandbox.ends_with("/ns/net"));
        assert_eq!(settings["Ports"]["443/tcp"], Value::Null);
        assert_eq!(
            settings["Ports"]["82/tcp"],
            json!([{"HostIp": "0.0.0.0", "HostPort": "8082"}, {"HostIp": "::", "HostPort": "8082"}])
        );
        let first = "{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}";
        assert_eq!(told(&["inspect", "-f", first, "web"]), "8080\n");
        let fits = |filter: &str| told(&["ps", "-f", filter, "--format", "{{.Names}}"]);
        assert_eq!(fits("network=bridge"), "web\n");
        assert_eq!(fits(&format!("network={}", &network[..8])), "web\n");
        assert_eq!(fits("network=none"), "");
        drop(held);
        assert_eq!(told(&["port", "web"]), "");
    }
}
