//! rm: containers go, whatever state they are in, and nothing of them stays.

use crate::life_cycle::send;
use crate::support::life::{DEAF, until};
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn by_force_from_any_state() {
    for store in everyone_with_alpine() {
        let before = store.snapshot();
        let monitors = ["running", "paused", "monitor-stopped", "monitor-killed"].map(|name| {
            store.detached(name, &["--restart", "always"], DEAF);
            (name, store.monitor(name))
        });
        store.ok(["pause", "paused"]);
        send("STOP", monitors[2].1);
        send("KILL", monitors[3].1);
        store.ok([
            "run",
            "-d",
            "--restart",
            "always",
            "--name",
            "again",
            ALPINE,
            "false",
        ]);
        until("restarting", || store.status("again") == "restarting 1");
        store.ok(["create", "--name", "created", ALPINE, "true"]);
        let names = [
            "running",
            "paused",
            "monitor-stopped",
            "monitor-killed",
            "again",
            "created",
        ];
        for name in &names[..3] {
            store.refused(["rm", name], "cannot remove container \"/");
        }
        store.refused(["rm", "running"], "cannot remove container \"/running\": container is running: stop the container before removing or force remove");
        // Each of its pauses is short, and it may be running when it is to go.
        let restarting = "cannot remove container \"/again\": container is restarting: stop the container before removing or force remove";
        until("a pause is met", || {
            let refused = store.refused(["rm", "again"], "cannot remove container \"/again\": ");
            refused.stderr_text().contains(restarting)
        });
        let outcome = store.onggi(["rm", "-f"].iter().chain(&names)).run();
        outcome
            .code(0)
            .stdout(&(names.join("\n") + "\n"))
            .stderr("");
        let events = |line: &&String| !line.contains("/events/current ");
        let (before, after) = (before.iter().filter(events), store.snapshot());
        assert!(before.eq(after.iter().filter(events)), "{after:#?}");
        until("no process is left", || store.processes().is_empty());
    }
}

#[test]
fn several_and_one_is_missing() {
    for store in everyone_with_alpine() {
        for name in ["one", "two", "three"] {
            store.ok(["create", "--name", name, ALPINE, "true"]);
        }
        let outcome = store.onggi(["rm", "one", "missing", "two"]).run();
        outcome
            .code(1)
            .stdout("one\ntwo\n")
            .stderr_has("No such container: missing");
        let outcome = store.onggi(["rm", "-f", "missing", "three"]).run();
        outcome
            .code(0)
            .stdout("three\n")
            .stderr_has("No such container: missing");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

#[test]
fn volumes_and_links() {
    for store in everyone_with_alpine() {
        store.ok(["create", "--name", "one", ALPINE, "true"]);
        store.refused(
            ["rm", "-l", "one"],
            "Conflict, cannot remove the default link name of the container",
        );
        assert_eq!(store.ok(["rm", "-v", "one"]), "one\n");
    }
}

#[test]
fn one_whose_record_is_damaged_goes_by_force_only() {
    for store in everyone_with_alpine() {
        let run = [
            "run",
            "--name",
            "web",
            ALPINE,
            "sh",
            "-c",
            "echo precious >/data",
        ];
        store.onggi(run).run().code(0);
        let id = store.onggi(["ps", "-aq", "--no-trunc"]).run().stdout_text();
        let record = store
            .data()
            .join("containers")
            .join(id.trim())
            .join("container.json");
        std::fs::write(&record, "x").unwrap();
        store
            .onggi(["rm", "web"])
            .run()
            .code(1)
            .stderr_has("is damaged");
        assert!(record.exists());
        store
            .onggi(["rm", "-f", "web"])
            .run()
            .code(0)
            .stdout("web\n");
    }
}
