//! wait: until programs have ended; prints how.

use crate::support::life::{DEAF, until};
use crate::support::{ALPINE, Outcome, Store, everyone_with_alpine};
use std::process::Child;

/// A `wait` that is connected to that monitor: it hears of the next end for sure.
fn waiting(store: &Store, name: &str) -> Child {
    let connections = || {
        let directory = format!("/proc/{}/fd", store.monitor(name));
        std::fs::read_dir(directory).map_or(0, Iterator::count)
    };
    let before = connections();
    let wait = store.onggi(["wait", name]).spawn();
    until("connected", || connections() > before);
    wait
}

fn printed(wait: Child) -> String {
    let outcome = Outcome::of("wait", wait.wait_with_output().unwrap());
    outcome.code(0).stderr("").stdout_text()
}

#[test]
fn each_in_its_turn() {
    for store in everyone_with_alpine() {
        for (name, code) in [("three", "exit 3"), ("none", "true")] {
            store.ok(["run", "-d", "--name", name, ALPINE, "sh", "-c", code]);
        }
        store
            .onggi(["wait", "three", "none"])
            .run()
            .code(0)
            .stdout("3\n0\n")
            .stderr("");
        // They have ended already.
        let outcome = store.onggi(["wait", "none", "missing", "three"]).run();
        outcome
            .code(1)
            .stdout("0\n3\n")
            .stderr_has("No such container: missing");
        store.ok(["create", "--name", "new", ALPINE, "true"]);
        store.onggi(["wait", "new"]).run().code(0).stdout("0\n");
    }
}

#[test]
fn whatever_ends_it() {
    for store in everyone_with_alpine() {
        for (name, ending) in [
            ("killed", &["kill", "killed"][..]),
            ("removed", &["rm", "-f", "removed"]),
            ("stopped", &["stop", "-t", "0", "stopped"]),
        ] {
            store.detached(name, &[], DEAF);
            let waits = [waiting(&store, name), waiting(&store, name)];
            store.onggi(ending).run().code(0);
            for wait in waits {
                assert_eq!(printed(wait), "137\n", "{name}");
            }
        }
        // One that goes when it ends takes its code along, but whoever waits has it.
        store.detached("gone", &["--rm"], "touch /ready; sleep 1000; exit 4");
        let wait = waiting(&store, "gone");
        store.end_sleep("gone");
        assert_eq!(printed(wait), "4\n");
        store.refused(["wait", "gone"], "No such container: gone");
    }
}

#[test]
fn one_that_is_started_again_has_ended_before() {
    for store in everyone_with_alpine() {
        store.detached(
            "one",
            &["--restart", "always"],
            "touch /ready; sleep 1000; exit 1",
        );
        let wait = waiting(&store, "one");
        store.end_sleep("one");
        assert_eq!(printed(wait), "1\n");
        store.ok(["rm", "-f", "one"]);
        // Its last end, which the policy lets be.
        store.ok([
            "run",
            "-d",
            "--restart",
            "on-failure:1",
            "--name",
            "two",
            ALPINE,
            "sh",
            "-c",
            "exit 3",
        ]);
        until("given up", || store.status("two") == "exited 3");
        assert_eq!(store.ok(["wait", "two"]), "3\n");
    }
}

#[test]
fn a_killed_monitor_is_an_end() {
    for store in everyone_with_alpine() {
        store.detached("one", &[], DEAF);
        let wait = waiting(&store, "one");
        crate::life_cycle::send("KILL", store.monitor("one"));
        assert_eq!(printed(wait), "137\n");
    }
}
