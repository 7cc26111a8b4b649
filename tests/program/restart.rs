//! restart: the program ends and begins again, in the same container.

use crate::support::life::{DEAF, OBEDIENT, until};
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn the_same_container_with_another_process() {
    for store in everyone_with_alpine() {
        store.detached(
            "one",
            &[],
            "trap 'exit 7' TERM; echo x >>/count; touch /ready; while :; do sleep 0.1; done",
        );
        let (pid, began) = (
            store.field("one", "{{.State.Pid}}"),
            store.field("one", "{{.State.StartedAt}}"),
        );
        let monitor = store.monitor("one");
        assert_eq!(store.ok(["restart", "one"]), "one\n");
        assert_eq!(store.status("one"), "running 0");
        assert_ne!(store.field("one", "{{.State.Pid}}"), pid);
        assert!(store.field("one", "{{.State.StartedAt}}") > began);
        assert_eq!(store.monitor("one"), monitor);
        until("it counts twice", || {
            store.ok(["exec", "one", "cat", "/count"]) == "x\nx\n"
        });
        assert_eq!(store.field("one", "{{.RestartCount}}"), "0");
    }
}

#[test]
fn whatever_state_it_is_in() {
    for store in everyone_with_alpine() {
        store.ok(["create", "--name", "one", ALPINE, "sh", "-c", DEAF]);
        for state in ["created", "stopped", "paused", "deaf"] {
            match state {
                "stopped" => drop(store.ok(["stop", "-t", "0", "one"])),
                "paused" => drop(store.ok(["pause", "one"])),
                _ => {}
            }
            store
                .onggi(["restart", "-t", "0", "one"])
                .run()
                .code(0)
                .stdout("one\n")
                .stderr("");
            assert_eq!(store.status("one"), "running 0", "{state}");
        }
        store.ok([
            "run",
            "-d",
            "--restart",
            "always",
            "--name",
            "again",
            ALPINE,
            "sh",
            "-c",
            "test -e /x && exec sleep 1000; false",
        ]);
        until("restarting", || store.status("again") == "restarting 1");
        store.ok(["restart", "-t", "0", "again"]);
        store
            .onggi(["restart", "-t", "0", "one", "missing"])
            .run()
            .code(1)
            .stdout("one\n")
            .stderr_has("No such container: missing");
    }
}

#[test]
fn one_that_goes_when_it_ends_stays() {
    for store in everyone_with_alpine() {
        let id = store.detached("one", &["--rm"], OBEDIENT);
        store.ok(["restart", "one"]);
        assert_eq!(store.field("one", "{{.Id}}"), id);
        assert_eq!(store.status("one"), "running 0");
        store.ok(["stop", "-t", "0", "one"]);
        store.refused(["inspect", "one"], "one");
        until("no process is left", || store.processes().is_empty());
    }
}

#[test]
fn by_its_policy() {
    for store in everyone_with_alpine() {
        store.ok([
            "run",
            "-d",
            "--restart",
            "on-failure:2",
            "--name",
            "one",
            ALPINE,
            "sh",
            "-c",
            "echo x >>/count; exit 3",
        ]);
        until("given up", || store.status("one") == "exited 3");
        assert_eq!(store.field("one", "{{.RestartCount}}"), "2");
        store.detached("two", &["--restart", "unless-stopped"], OBEDIENT);
        let pid = store.field("two", "{{.State.Pid}}");
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        until("it is back", || {
            let now = store.field("two", "{{.State.Status}} {{.State.Pid}}");
            now.starts_with("running") && now != format!("running {pid}")
        });
        store.ok(["stop", "-t", "0", "two"]);
        assert_eq!(store.status("two").split(' ').next(), Some("exited"));
    }
}
