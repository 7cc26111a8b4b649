//! port of a container into which no port leads; see network_settings for one that has some.

use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn port_tells_that_there_is_none() {
    for store in everyone_with_alpine() {
        let create = ["create", "--name", "web", ALPINE, "true"];
        store.onggi(create).run().code(0);
        store.onggi(["port", "web"]).run().code(0).stdout("");
        let long = ["container", "port", "web"];
        store.onggi(long).run().code(0).stdout("");
        for (words, message) in [
            (
                ["port", "web", "80"],
                "No public port '80' published for web",
            ),
            (
                ["port", "web", "80/udp"],
                "No public port '80/udp' published for web",
            ),
            (["port", "web", "http"], "invalid port (http)"),
            (["port", "nobody", "80"], "No such container: nobody"),
        ] {
            store
                .onggi(words)
                .run()
                .code(1)
                .stdout("")
                .stderr_has(message);
        }
    }
}
