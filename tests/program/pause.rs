//! pause and unpause: all processes of a container stand still, and go on.

use crate::support::life::{OBEDIENT, state_of, until};
use crate::support::{ALPINE, Store, everyone_with_alpine};

/// The processes of the store's containers.
fn inside(store: &Store, monitor: u32) -> Vec<u32> {
    let all = store.processes().into_iter();
    all.filter(|pid| *pid != monitor).collect()
}

#[test]
fn none_slips_through() {
    let forking = "for n in 1 2 3; do (while :; do /bin/true; done) & done; touch /ready; while :; do echo x >>/count; sleep 0.01; done";
    for store in everyone_with_alpine() {
        store.detached("one", &[], forking);
        let monitor = store.monitor("one");
        let count = store
            .data()
            .join("containers")
            .join(store.field("one", "{{.Id}}"))
            .join("upper/count");
        let size = || std::fs::metadata(&count).unwrap().len();
        for _ in 0..5 {
            assert_eq!(store.ok(["pause", "one"]), "one\n");
            assert_eq!(store.status("one"), "paused 0");
            // One that was just ending may be waited for no more.
            let is_stopped = |pid: &u32| matches!(state_of(*pid), Some('T' | 'Z'));
            let inside = || inside(&store, monitor);
            until("all are stopped", || inside().iter().all(is_stopped));
            let (before, stopped) = (size(), inside());
            assert!(stopped.len() >= 4, "{stopped:?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(inside(), stopped);
            assert_eq!(size(), before);
            assert_eq!(store.ok(["unpause", "one"]), "one\n");
            assert_eq!(store.status("one"), "running 0");
            until("it goes on", || size() > before);
        }
        store.ok(["rm", "-f", "one"]);
        until("no process is left", || store.processes().is_empty());
    }
}

#[test]
fn what_is_paused_is_shown_so_and_refuses_what_needs_it() {
    for store in everyone_with_alpine() {
        let id = store.detached("one", &[], OBEDIENT);
        store.refused(["unpause", "one"], &format!("container {id} is not paused"));
        store.ok(["pause", "one"]);
        store.refused(
            ["pause", "one"],
            &format!("container {id} is already paused"),
        );
        let ps = store
            .onggi(["ps", "--format", "{{.Status}} {{.State}}"])
            .run();
        ps.code(0).stdout_has("(Paused) paused\n");
        assert_eq!(
            store.field("one", "{{.State.Paused}} {{.State.Running}}"),
            "true true"
        );
        store.refused(["exec", "one", "true"], "paused");
        store.refused(
            ["start", "one"],
            "cannot start a paused container, try unpause instead",
        );
        store.refused(
            ["attach", "one"],
            "You cannot attach to a paused container, unpause it first",
        );
        store.refused(
            ["rm", "one"],
            "cannot remove container \"/one\": container is paused and must be unpaused first",
        );
        store.ok(["stop", "one"]);
        assert_eq!(store.status("one"), "exited 7");
        store.refused(["pause", "one"], &format!("container {id} is not running"));
        store.refused(
            ["unpause", "one"],
            &format!("container {id} is not running"),
        );
        store.ok(["create", "--name", "two", ALPINE, "true"]);
        store.refused(["pause", "two"], "is not running");
        store.refused(["pause", "missing"], "No such container: missing");
    }
}

/// Whoever stops the processes is one of them for a moment. It may fail, but must not hold up the monitor.
#[test]
fn a_container_that_fights_back_does_not_hold_up_its_monitor() {
    for store in everyone_with_alpine() {
        for signal in ["STOP", "KILL"] {
            let program =
                format!("(while :; do kill -{signal} -1; done) & while :; do sleep 1; done");
            store.ok(["run", "-d", "--name", "one", ALPINE, "sh", "-c", &program]);
            for _ in 0..3 {
                for command in ["pause", "unpause"] {
                    let said = store.onggi([command, "one"]).run().stderr_text();
                    assert!(!said.contains("does not answer"), "{said}");
                }
            }
            store.ok(["rm", "-f", "one"]);
        }
        until("no process is left", || store.processes().is_empty());
    }
}
