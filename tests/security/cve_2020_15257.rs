//! CVE-2020-15257: who listens at an abstract address (unix(7)) is reached by everybody in the same network namespace,
//! whatever the file systems; with the host's network, a container is among them. That is said to whoever asks for it.

use crate::probe;
use crate::support::{ALPINE, Store, everyone_in_memory};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use std::os::fd::OwnedFd;

const WARNING: &str = "abstract socket";

/// Listens at an address of that name as long as it is held.
fn listener(store: &Store, number: u32) -> (OwnedFd, String) {
    let name = format!(
        "onggi-test-{}-{number}-{:?}",
        std::process::id(),
        store.user
    );
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    bind(&socket, &address).unwrap();
    listen(&socket, 1).unwrap();
    (socket, name)
}

#[test]
fn nobody_is_reached_from_a_network_of_ones_own() {
    for store in everyone_in_memory() {
        let (_socket, name) = listener(&store, 1);
        let task = format!("connect {name}");
        for options in [
            &[][..],
            &["--network", "none"],
            &["--privileged"],
            &["--cap-add", "ALL"],
        ] {
            let outcome = probe::run(&store, options, &task);
            assert_eq!(
                probe::lines(outcome.code(0)),
                ["Connection refused (os error 111)"]
            );
        }
    }
}

#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let (_socket, name) = listener(&store, 2);
        let outcome = probe::run(&store, &["--network", "host"], &format!("connect {name}"));
        assert_eq!(probe::lines(outcome.code(0)), ["connected"]);
    }
}

#[test]
fn it_is_told() {
    for store in everyone_in_memory() {
        let run = |options: &[&str]| {
            let words = ["run", "--rm"].iter().chain(options);
            let outcome = store.onggi(words.chain(&[ALPINE, "true"])).run();
            outcome.code(0);
            outcome.stderr_text()
        };
        let (_socket, name) = listener(&store, 3);
        let told = run(&["--network", "host"]);
        assert!(
            told.contains(WARNING) && told.lines().count() == 1,
            "{told}"
        );
        assert!(told.contains("CVE-2020-15257"), "{told} {name}");
        assert_eq!(run(&[]), "");
        assert_eq!(run(&["--network", "none"]), "");
        assert_eq!(run(&["--network", "host", "--privileged"]), "");
        let created = store
            .onggi(["create", "--network", "host", ALPINE, "true"])
            .run();
        created.code(0).stderr_has(WARNING);
    }
}

/// Where nobody listens there is nothing to tell.
#[test]
fn nothing_is_told_without_need() {
    let Some(store) = crate::support::store(crate::support::User::Root).filter(Store::alpine)
    else {
        return;
    };
    let run = ["run", "--rm", "--network", "host", ALPINE, "true"];
    let onggi = store.onggi(run).into_command();
    let mut alone = store.command("unshare");
    alone
        .arg("-n")
        .arg(onggi.get_program())
        .args(onggi.get_args());
    crate::unwalled::run(alone).code(0).stderr("");
}
