//! kill: a signal for the program.

use crate::support::life::{DEAF, until};
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn it_has_ended_when_the_command_has() {
    for store in everyone_with_alpine() {
        let id = store.detached("one", &["--restart", "always"], DEAF);
        store.onggi(["kill", "one"]).run().code(0).stdout("one\n");
        // Whoever kills it does not want it back.
        assert_eq!(store.status("one"), "exited 137");
        let words = format!("cannot kill container: one: container {id} is not running");
        store.refused(["kill", "one"], &words);
        store.ok(["create", "--name", "two", ALPINE, "true"]);
        store.refused(["kill", "-s", "HUP", "two"], "is not running");
        store.refused(["kill", "missing"], "No such container: missing");
    }
}

#[test]
fn signals_by_all_their_names() {
    for store in everyone_with_alpine() {
        let script = "for number in 1 10 15 37; do trap \"echo $number >>/got\" $number; done; touch /ready; while :; do sleep 0.1; done";
        store.detached("one", &[], script);
        let mut expected = String::new();
        for (signal, number) in [
            ("HUP", 1),
            ("SIGHUP", 1),
            ("hup", 1),
            ("sigusr1", 10),
            ("10", 10),
            ("TERM", 15),
            ("RTMIN+3", 37),
            ("SIGRTMIN+3", 37),
            ("37", 37),
        ] {
            store.ok(["kill", "--signal", signal, "one"]);
            expected += &format!("{number}\n");
            until(signal, || {
                store.ok(["exec", "one", "sh", "-c", "cat /got || true"]) == expected
            });
        }
        for signal in ["NONE", "0", "65", "-1", ""] {
            let outcome = store.onggi(["kill", "-s", signal, "one"]).run();
            outcome.code(125).stderr_has("nvalid signal");
        }
        assert_eq!(store.status("one"), "running 0");
        for (name, signal) in [
            ("two", "KILL"),
            ("three", "SIGKILL"),
            ("four", "kill"),
            ("five", "9"),
        ] {
            store.detached(name, &[], DEAF);
            store.ok(["kill", "-s", signal, name]);
            assert_eq!(store.status(name), "exited 137", "{signal}");
        }
    }
}

#[test]
fn a_paused_or_restarting_one() {
    for store in everyone_with_alpine() {
        for signal in ["KILL", "TERM"] {
            store.detached(signal, &["--init"], DEAF);
            store.ok(["pause", signal]);
            store.ok(["kill", "-s", signal, signal]);
            until(signal, || store.status(signal).starts_with("exited 1"));
        }
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
        store.ok(["kill", "again"]);
        assert_eq!(store.status("again").split(' ').next(), Some("exited"));
    }
}
