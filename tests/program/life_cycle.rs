//! create, start, ps, inspect, rm: a container from its making to its removal.

use crate::support::{ALPINE, Outcome, Store, everyone_with_alpine};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command};

/// Waits for the line `ready`, sends the signal to the client and expects the container to end with that code.
pub fn assert_signal_ends_with(mut client: Child, signal: &str, code: i32) {
    wait_until_ready(&mut client);
    send(signal, client.id());
    assert_eq!(client.wait().unwrap().code(), Some(code));
}

/// Waits for the line `ready`; the rest of the output stays unread.
pub fn wait_until_ready(client: &mut Child) {
    let mut line = String::new();
    let mut output = BufReader::with_capacity(6, client.stdout.as_mut().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
}

/// kill(1).
pub fn send(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args(["-s", signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// A container that has said `ready` and then sleeps until somebody ends it.
pub fn sleeper(store: &Store, options: &[&str]) -> Child {
    let script = "echo ready; exec sleep 1000";
    let mut client = store
        .onggi(
            ["run"]
                .iter()
                .chain(options)
                .chain(&[ALPINE, "sh", "-c", script]),
        )
        .spawn();
    wait_until_ready(&mut client);
    client
}

fn field(store: &Store, name: &str, template: &str) -> String {
    let outcome = store.onggi(["inspect", "-f", template, name]).run();
    outcome.code(0);
    outcome.stdout_text().trim().to_owned()
}

#[test]
fn create_start_and_remove() {
    for store in everyone_with_alpine() {
        let created = store
            .onggi([
                "create",
                "--name",
                "web",
                ALPINE,
                "sh",
                "-c",
                "echo hi; exit 3",
            ])
            .run();
        let id = created.code(0).stdout_text().trim().to_owned();
        assert!(
            id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        store.onggi(["ps", "-q"]).run().code(0).stdout("");
        store
            .onggi(["ps", "-aq", "--no-trunc"])
            .run()
            .code(0)
            .stdout(&format!("{id}\n"));
        store
            .onggi(["ps", "-a", "--format", "{{.Names}} {{.Status}} {{.Image}}"])
            .run()
            .code(0)
            .stdout("web Created alpine:3.20\n");
        store
            .onggi(["start", "-a", "web"])
            .run()
            .code(3)
            .stdout("hi\n");
        let outcome = store
            .onggi(["ps", "-a", "--format", "{{.ID}} {{.Status}}"])
            .run();
        outcome
            .code(0)
            .stdout_has(&id[..12])
            .stdout_has("Exited (3)");
        assert_eq!(
            field(
                &store,
                &id[..5],
                "{{.State.ExitCode}} {{.State.Status}} {{.Name}}"
            ),
            "3 exited /web"
        );
        // It can run again, and keeps what it wrote.
        store
            .onggi(["start", "-a", "web"])
            .run()
            .code(3)
            .stdout("hi\n");
        store.onggi(["rm", "web"]).run().code(0).stdout("web\n");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        store
            .onggi(["rm", "web"])
            .run()
            .code(1)
            .stderr_has("No such container: web");
        store.onggi(["inspect", "web"]).run().code(1);
    }
}

#[test]
fn what_it_wrote_is_there_the_next_time() {
    for store in everyone_with_alpine() {
        let script = "cat /count 2>/dev/null; echo x >>/count";
        store
            .onggi(["create", "--name", "one", ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        store.onggi(["start", "-a", "one"]).run().code(0).stdout("");
        store
            .onggi(["start", "-a", "one"])
            .run()
            .code(0)
            .stdout("x\n");
    }
}

#[test]
fn input_through_start() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "-i", "--name", "one", ALPINE, "cat"])
            .run()
            .code(0);
        store
            .onggi(["start", "-a", "-i", "one"])
            .stdin("hello")
            .run()
            .code(0)
            .stdout("hello");
    }
}

#[test]
fn names_are_taken_once() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "--name", "one", ALPINE, "true"])
            .run()
            .code(0);
        let before = store.snapshot();
        let outcome = store.onggi(["run", "--name", "one", ALPINE, "true"]).run();
        outcome
            .code(125)
            .stderr_has("one")
            .stderr_has("already in use");
        store
            .onggi(["run", "--name", "-bad", ALPINE, "true"])
            .run()
            .code(125);
        store.assert_unchanged(&before);
        store.onggi(["rm", "one"]).run().code(0);
        store
            .onggi(["run", "--rm", "--name", "one", ALPINE, "true"])
            .run()
            .code(0);
    }
}

#[test]
fn removed_at_the_end_without_a_trace() {
    for store in everyone_with_alpine() {
        store.shell(&[], "true").run().code(0);
        let before = store.snapshot();
        store
            .shell(&[], "mkdir -p /a/b; chmod 0 /a; exit 4")
            .run()
            .code(4);
        store
            .onggi(["run", "--rm", ALPINE, "no-such-program"])
            .run()
            .code(127);
        store.assert_unchanged(&before);
        store.assert_no_process_is_left();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(store.path().to_str().unwrap()));
    }
}

#[test]
fn a_running_container_is_kept_or_killed() {
    for store in everyone_with_alpine() {
        let client = sleeper(&store, &["--name", "sleepy"]);
        let outcome = store
            .onggi(["ps", "--format", "{{.Names}} {{.Status}} {{.Command}}"])
            .run();
        outcome.code(0).stdout_has("sleepy Up ");
        assert_eq!(field(&store, "sleepy", "{{.State.Running}}"), "true");
        store
            .onggi(["rm", "sleepy"])
            .run()
            .code(1)
            .stderr_has("running");
        store
            .onggi(["rm", "-f", "sleepy"])
            .run()
            .code(0)
            .stdout("sleepy\n");
        Outcome::of("run", client.wait_with_output().unwrap()).code(137);
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

#[test]
fn signals_reach_the_container() {
    for store in everyone_with_alpine() {
        for (signal, code) in [("TERM", 9), ("INT", 9), ("HUP", 9), ("USR1", 9)] {
            let script = format!("trap 'exit 9' {signal}; echo ready; while :; do sleep 0.1; done");
            assert_signal_ends_with(store.shell(&[], &script).spawn(), signal, code);
        }
    }
}

#[test]
fn a_killed_process_1_is_137() {
    for store in everyone_with_alpine() {
        let client = sleeper(&store, &["--name", "victim"]);
        send(
            "KILL",
            field(&store, "victim", "{{.State.Pid}}").parse().unwrap(),
        );
        Outcome::of("run", client.wait_with_output().unwrap()).code(137);
        assert_eq!(
            field(&store, "victim", "{{.State.ExitCode}} {{.State.Running}}"),
            "137 false"
        );
    }
}

#[test]
fn the_id_is_written_once() {
    for store in everyone_with_alpine() {
        let created = store
            .onggi(["create", "--cidfile", "id", ALPINE, "true"])
            .run();
        let id = created.code(0).stdout_text();
        assert_eq!(
            std::fs::read_to_string(store.home().join("id")).unwrap(),
            id.trim()
        );
        store
            .onggi(["run", "--cidfile", "id", ALPINE, "true"])
            .run()
            .code(125)
            .stderr_has("id");
        store
            .onggi(["ps", "-aq", "--no-trunc"])
            .run()
            .code(0)
            .stdout(&id);
    }
}

#[test]
fn inspect_tells_what_was_asked_for() {
    for store in everyone_with_alpine() {
        let options = [
            "create",
            "--name",
            "wanted",
            "-e",
            "A=1",
            "-h",
            "box",
            "-w",
            "/tmp",
            "-l",
            "a=b",
            "--read-only",
            "-u",
            "0:0",
        ];
        store
            .onggi(options.iter().chain(&[ALPINE, "echo", "hi"]))
            .run()
            .code(0);
        let outcome = store.onggi(["inspect", "wanted"]).run();
        let json = outcome.code(0).json();
        let config = &json[0]["Config"];
        assert_eq!(
            (&config["Hostname"], &config["WorkingDir"], &config["User"]),
            (&"box".into(), &"/tmp".into(), &"0:0".into())
        );
        assert_eq!(config["Cmd"], serde_json::json!(["echo", "hi"]));
        assert_eq!(config["Labels"]["a"], "b");
        assert!(config["Env"].as_array().unwrap().contains(&"A=1".into()));
        assert_eq!(json[0]["HostConfig"]["ReadonlyRootfs"], true);
        assert_eq!(json[0]["State"]["Status"], "created");
    }
}
