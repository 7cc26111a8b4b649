//! update: what is done when the program ends may change while it runs.

use crate::support::life::{OBEDIENT, until};
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn the_restart_policy_of_one_that_runs() {
    for store in everyone_with_alpine() {
        store.detached("one", &[], "touch /ready; sleep 1000; exit 1");
        let policy = || {
            store.field("one", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}")
        };
        assert_eq!(policy(), "no 0");
        assert_eq!(
            store.ok(["update", "--restart", "on-failure:1", "one"]),
            "one\n"
        );
        assert_eq!(policy(), "on-failure 1");
        store.end_sleep("one");
        until("started again", || {
            store.field("one", "{{.RestartCount}}") == "1"
        });
        store.ok(["update", "--restart", "no", "one"]);
        store.end_sleep("one");
        until("ended", || store.status("one") == "exited 1");
        store.ok(["update", "--restart", "always", "one"]);
        assert_eq!(policy(), "always 0");
    }
}

#[test]
fn what_cannot_be() {
    for store in everyone_with_alpine() {
        store.detached("gone", &["--rm"], OBEDIENT);
        store.refused(
            ["update", "--restart", "always", "gone"],
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        );
        store.ok(["update", "--restart", "no", "gone"]);
        store.refused(
            ["update", "gone"],
            "you must provide one or more flags when using this command",
        );
        store.ok(["create", "--name", "two", ALPINE, "true"]);
        let outcome = store
            .onggi(["update", "--restart", "no", "missing", "two"])
            .run();
        outcome
            .code(1)
            .stdout("two\n")
            .stderr_has("No such container: missing");
        store
            .onggi(["update", "--restart", "sometimes", "two"])
            .run()
            .code(125)
            .stderr_has("sometimes");
    }
}
