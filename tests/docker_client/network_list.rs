//! Networks: what `network ls` and `network inspect` print of a store, and what Docker's client prints when an engine
//! tells it the same.

use crate::client;
use crate::server::{Answers, Server};
use crate::support::{User, skip, store};
use crate::tables::{FORMATS, compare};
use serde_json::Value;

const OF_LISTS: &[&str] = &[
    "json",
    "table {{.Name}}\\t{{.IPv4}}\\t{{.IPv6}}\\t{{.Internal}}\\t{{.CreatedAt}}\\t{{.Labels}}",
    "{{.Label \"com.example.one-two\"}}|{{.Label \"none\"}}|{{.Driver}} {{.Scope}}",
    "{{.Label}}",
];
const OF_ONE: &[&str] = &[
    "json",
    "{{.}}",
    "{{json .}}",
    "{{.Id}} {{.ID}}",
    "{{.Name}} {{.Created}} {{.Scope}} {{.Driver}} {{.EnableIPv4}} {{.EnableIPv6}} {{.Internal}} {{.Attachable}}",
    "{{.IPAM}} {{json .IPAM}} {{json .IPAM.Config}}",
    "{{range .IPAM.Config}}{{.Subnet}}|{{.IPRange}}|{{.Gateway}}|{{.AuxAddress}} {{end}}",
    "{{(index .IPAM.Config 0).Gateway}}",
    "{{range .IPAM.Config}}{{.AuxiliaryAddresses}}{{end}}",
    "{{range $id, $one := .Containers}}{{$id}} {{$one.Name}} {{$one.IPv4Address}}{{end}}",
    "{{len .Containers}} {{.Containers}}",
    "{{.Options}} {{index .Options \"com.docker.network.driver.mtu\"}} {{.Labels}}",
    "{{.ConfigFrom}} {{.ConfigFrom.Network}} {{.ConfigOnly}} {{.Ingress}} {{.Peers}} {{.Services}}",
    "{{.Nope}}",
];

#[test]
fn networks_are_shown_as_docker_does() {
    let mut clients = client::clients();
    // Earlier ones know neither `--format json` nor the family of a network.
    clients.retain(|client| client.go >= 24);
    if clients.is_empty() {
        return skip("no docker client of version 28 or later");
    }
    let Some(store) = store(User::Root).filter(|_| !clients.is_empty()) else {
        return;
    };
    store.ok(["network", "create", "net10"]);
    store.ok(["network", "create", "net9", "--internal", "--ipv6=false"]);
    store.ok([
        "network",
        "create",
        "--label",
        "com.example.one-two=three four",
        "--subnet",
        "10.70.0.0/16",
        "--ip-range",
        "10.70.1.0/24",
        "--aux-address",
        "a=10.70.1.1",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "shop",
    ]);
    let names = ["bridge", "host", "none", "net10", "net9", "shop"];
    let inspected = |name: &str| {
        // With our own `Rules`: what is shown whole is shown as it came.
        let mut shown = store.onggi(["network", "inspect", name]).run().json();
        shown[0].take()
    };
    let all: Vec<Value> = names.iter().map(|name| inspected(name)).collect();
    let each = names.iter().zip(&all);
    let each = each.map(|(name, value)| (format!("/networks/{name}"), value.clone()));
    let list = ("/networks".to_owned(), Value::Array(all.clone()));
    let server = Server::start(Answers::from_iter(each.chain([list])));
    let mut differences = Vec::new();
    for client in &clients {
        for flags in [&[][..], &["--no-trunc"], &["-q"], &["-q", "--no-trunc"]] {
            let arguments = [&["network", "ls"], flags].concat();
            differences.extend(compare(&store, &server, client, &arguments));
        }
        for format in FORMATS.iter().chain(OF_LISTS) {
            let arguments = ["network", "ls", "--format", format];
            differences.extend(compare(&store, &server, client, &arguments));
        }
        for format in OF_ONE {
            let arguments = [
                "network", "inspect", "--format", format, "shop", "bridge", "net9",
            ];
            differences.extend(compare(&store, &server, client, &arguments));
        }
        for name in ["shop", "host"] {
            let arguments = ["network", "inspect", name];
            differences.extend(compare(&store, &server, client, &arguments));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
