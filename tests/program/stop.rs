//! stop: the program is asked to end, and killed when it does not.

use crate::support::life::{DEAF, OBEDIENT, until};
use crate::support::{ALPINE, everyone_with_alpine};
use std::io::{BufRead, BufReader};

const REMARK: &str = "--init";

#[test]
fn asked_first_and_killed_later() {
    for store in everyone_with_alpine() {
        store.detached("polite", &[], OBEDIENT);
        let outcome = store.onggi(["stop", "polite"]).run();
        outcome.code(0).stdout("polite\n").stderr("");
        assert_eq!(store.status("polite"), "exited 7");

        // It works on the signal for longer than a second: nothing is wrong with it.
        let slow = "trap 'sleep 2; exit 8' TERM; touch /ready; while :; do sleep 0.1; done";
        store.detached("slow", &[], slow);
        store.onggi(["stop", "slow"]).run().code(0).stderr("");
        assert_eq!(store.status("slow"), "exited 8");

        store.detached("deaf", &[], DEAF);
        let outcome = store.onggi(["stop", "-t", "2", "deaf"]).run();
        outcome
            .code(0)
            .stdout("deaf\n")
            .stderr_has(REMARK)
            .stderr_has("SIGTERM");
        assert_eq!(store.status("deaf"), "exited 137");
        store.ok(["start", "deaf"]);
        store
            .onggi(["stop", "--time", "0", "deaf"])
            .run()
            .code(0)
            .stderr("");
        assert_eq!(store.status("deaf"), "exited 137");

        store.detached("with-init", &["--init"], DEAF);
        store.onggi(["stop", "with-init"]).run().code(0).stderr("");
        assert_eq!(store.status("with-init"), "exited 143");
    }
}

#[test]
fn by_the_signal_and_in_the_time_that_were_asked_for() {
    for store in everyone_with_alpine() {
        let script =
            "trap 'exit 5' USR1; trap 'exit 6' USR2; touch /ready; while :; do sleep 0.1; done";
        store.detached("one", &["--stop-signal", "USR1"], script);
        store.ok(["stop", "one"]);
        assert_eq!(store.status("one"), "exited 5");
        store.detached("two", &["--stop-signal", "USR1"], script);
        store.ok(["stop", "-s", "SIGUSR2", "two"]);
        assert_eq!(store.status("two"), "exited 6");
        store.detached("short", &["--stop-timeout", "0"], DEAF);
        store.onggi(["stop", "short"]).run().code(0).stderr("");
        assert_eq!(store.status("short"), "exited 137");
    }
}

#[test]
fn never_killed_when_the_time_is_negative() {
    for store in everyone_with_alpine() {
        store.detached("deaf", &[], DEAF);
        let mut stop = store.onggi(["stop", "-t", "-1", "deaf"]).spawn();
        // It has asked, and after the remark it only waits.
        let mut remark = String::new();
        let mut said = BufReader::new(stop.stderr.take().unwrap());
        said.read_line(&mut remark).unwrap();
        assert!(remark.contains(REMARK), "{remark}");
        assert_eq!(store.status("deaf"), "running 0");
        assert!(stop.try_wait().unwrap().is_none());
        store.ok(["kill", "deaf"]);
        assert!(stop.wait().unwrap().success());
    }
}

#[test]
fn all_are_asked_before_the_first_is_waited_for() {
    for store in everyone_with_alpine() {
        store.detached("deaf", &[], DEAF);
        store.detached("polite", &[], OBEDIENT);
        let outcome = store
            .onggi(["stop", "-t", "2", "deaf", "missing", "polite"])
            .run();
        outcome
            .code(1)
            .stdout("deaf\npolite\n")
            .stderr_has("No such container: missing");
        let finished = |name| store.field(name, "{{.State.FinishedAt}}");
        assert!(finished("polite") < finished("deaf"));
    }
}

#[test]
fn whatever_state_it_is_in() {
    for store in everyone_with_alpine() {
        store.detached("paused", &[], OBEDIENT);
        store.ok(["pause", "paused"]);
        store.ok(["stop", "paused"]);
        assert_eq!(store.status("paused"), "exited 7");
        store.ok(["stop", "paused"]);
        assert_eq!(store.status("paused"), "exited 7");
        store.ok(["create", "--name", "created", ALPINE, "true"]);
        store.ok(["stop", "created"]);
        assert_eq!(store.status("created"), "created 0");
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
        let is_restarting = || store.status("again") == "restarting 1";
        until("restarting", is_restarting);
        store.ok(["stop", "again"]);
        assert_eq!(store.status("again"), "exited 1");
        until("no process is left", || store.processes().is_empty());
    }
}
