//! start: containers that were made or have ended run, and those that run already are left alone.

use crate::life_cycle::send;
use crate::support::life::{DEAF, OBEDIENT, until};
use crate::support::{ALPINE, Outcome, everyone_with_alpine};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

#[test]
fn one_that_runs_is_left_alone() {
    for store in everyone_with_alpine() {
        store.detached("one", &[], OBEDIENT);
        let pid = store.field("one", "{{.State.Pid}}");
        assert_eq!(store.ok(["start", "one"]), "one\n");
        assert_eq!(store.field("one", "{{.State.Pid}}"), pid);
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
        assert_eq!(store.ok(["start", "again"]), "again\n");
    }
}

#[test]
fn attaches_to_one_that_runs() {
    for store in everyone_with_alpine() {
        store.detached(
            "one",
            &["-i"],
            "touch /ready; read line; echo got $line; exit 3",
        );
        let outcome = store.onggi(["start", "-ai", "one"]).stdin("it\n").run();
        outcome.code(3).stdout("got it\n").stderr("");
        let mut again = store.onggi(["start", "-a", "-i", "one"]).spawn();
        again.stdin.take().unwrap().write_all(b"more\n").unwrap();
        Outcome::of("start", again.wait_with_output().unwrap())
            .code(3)
            .stdout("got more\n");
        store.refused(
            ["start", "-a", "one", "two"],
            "you cannot start and attach multiple containers at once",
        );
    }
}

#[test]
fn several_and_one_is_missing() {
    for store in everyone_with_alpine() {
        store.ok(["create", "--name", "one", ALPINE, "sleep", "1000"]);
        store.ok(["create", "--name", "bad", ALPINE, "no-such-program"]);
        store.ok(["create", "--name", "two", ALPINE, "sleep", "1000"]);
        let outcome = store.onggi(["start", "one", "missing", "bad", "two"]).run();
        outcome
            .code(1)
            .stdout("one\ntwo\n")
            .stderr_has("No such container: missing");
        outcome
            .stderr_has("no-such-program")
            .stderr_has("failed to start containers: missing, bad");
        assert_eq!(store.status("two"), "running 0");
    }
}

#[test]
fn after_the_monitor_was_killed() {
    for store in everyone_with_alpine() {
        for command in ["start", "stop", "kill", "pause", "restart", "rm"] {
            store.detached("one", &[], DEAF);
            let (monitor, pid) = (store.monitor("one"), store.field("one", "{{.State.Pid}}"));
            send("KILL", monitor);
            // What it ran dies with it.
            until("ended", || store.status("one") == "exited 137");
            store
                .onggi(["ps", "-a", "--format", "{{.Status}}"])
                .run()
                .code(0)
                .stdout_has("Exited (137)");
            let outcome = store.onggi([command, "one"]).run();
            match command {
                "kill" | "pause" => drop(outcome.code(1).stderr_has("is not running")),
                _ => drop(outcome.code(0).stdout("one\n")),
            }
            if matches!(command, "start" | "restart") {
                assert_ne!(store.field("one", "{{.State.Pid}}"), pid);
                assert_eq!(store.status("one"), "running 0");
            } else if command != "rm" {
                assert_ne!(
                    store.field("one", "{{.State.FinishedAt}}"),
                    "0001-01-01T00:00:00Z",
                    "{command}"
                );
            }
            let _ = store.onggi(["rm", "-f", "one"]).run();
        }
    }
}

/// A monitor that was stopped says nothing: whoever only looks does not mind, whoever gives orders is told why.
#[test]
fn while_the_monitor_is_stopped() {
    for store in everyone_with_alpine() {
        store.detached("one", &[], DEAF);
        send("STOP", store.monitor("one"));
        assert_eq!(store.status("one"), "running 0");
        store
            .onggi(["ps", "-q"])
            .run()
            .code(0)
            .stdout_has(&store.field("one", "{{.Id}}")[..12]);
        let orders = [
            &["kill", "one"][..],
            &["stop", "one"],
            &["pause", "one"],
            &["attach", "one"],
            &["start", "-a", "one"],
        ];
        let asked = orders.map(|words| store.onggi(words).spawn());
        for mut client in asked {
            let mut said = String::new();
            client
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            assert_eq!(client.wait().unwrap().code(), Some(1), "{said}");
            assert!(
                said.contains("does not answer") && said.contains("onggi rm -f"),
                "{said}"
            );
        }
        send("CONT", store.monitor("one"));
        until("the orders are carried out", || {
            store.status("one") == "exited 137"
        });
    }
}

/// Nothing is left beside what a container is and what it wrote.
#[test]
fn the_end_leaves_no_file_behind() {
    for store in everyone_with_alpine() {
        let id = store.detached("one", &[], DEAF);
        let monitor = store.monitor("one");
        let descriptors = std::fs::read_dir(format!("/proc/{monitor}/fd"))
            .unwrap()
            .count();
        for _ in 0..5 {
            store.ok(["restart", "-t", "0", "one"]);
            store.ok(["pause", "one"]);
            store.ok(["unpause", "one"]);
        }
        until("the clients' descriptors are closed", || {
            let open = std::fs::read_dir(format!("/proc/{monitor}/fd"));
            open.unwrap().count() == descriptors
        });
        let children =
            std::fs::read_to_string(format!("/proc/{monitor}/task/{monitor}/children")).unwrap();
        assert_eq!(children.split_whitespace().count(), 1, "{children}");
        store.ok(["kill", "one"]);
        let directory = store.data().join("containers").join(id);
        let mut left: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        left.retain(|name| {
            !["exec", "lock"].contains(&name.as_str()) && !name.ends_with("-json.log")
        });
        assert_eq!(
            left,
            [
                "container.json",
                "hostname",
                "hosts",
                "resolv.conf",
                "state.json",
                "upper",
                "work"
            ]
        );
        assert_eq!(
            std::fs::read_dir(store.data().join("pending"))
                .unwrap()
                .count(),
            0
        );
    }
}

/// A container without a work directory is one with a copy of its image's files, and this one's would be empty.
#[test]
fn the_work_directory_is_there_at_every_moment() {
    for store in everyone_with_alpine() {
        store.ok(["create", "--name", "one", ALPINE, "true"]);
        let id = store.field("one", "{{.Id}}");
        let work = store.data().join("containers").join(id).join("work");
        store.ok(["start", "-a", "one"]);
        let left = work.join("left");
        std::fs::create_dir(&left).unwrap();
        // As long as it is open nothing else gets its number.
        let open = File::open(&work).unwrap();
        store.ok(["start", "-a", "one"]);
        assert!(!left.exists() && work.join("work").exists());
        let [before, after] = [open.metadata(), work.metadata()].map(|found| found.unwrap().ino());
        assert_eq!(before, after);
    }
}
