//! Processes that are killed: the next command finds the truth, and nothing is in its way.

use crate::life_cycle::{send, sleeper};
use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::time::{Duration, Instant};

/// Waits until the container is no longer shown as running.
#[track_caller]
fn wait_until_ended(store: &Store) {
    let start = Instant::now();
    while !store
        .onggi(["ps", "-q"])
        .run()
        .code(0)
        .stdout_text()
        .is_empty()
    {
        assert!(start.elapsed() < Duration::from_secs(30), "still running");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_client_may_be_killed() {
    for store in everyone_with_alpine() {
        let mut client = sleeper(&store, &["--name", "left"]);
        client.kill().unwrap();
        client.wait().unwrap();
        store
            .onggi(["ps", "--format", "{{.Names}}"])
            .run()
            .code(0)
            .stdout("left\n");
        store.onggi(["rm", "-f", "left"]).run().code(0);
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        store.assert_no_process_is_left();
    }
}

/// What was written without an fsync a power cut may leave as an empty file, and the socket may be there.
#[test]
fn the_state_may_be_empty_after_a_power_cut() {
    for store in everyone_with_alpine() {
        let run = store.onggi(["run", "-d", "--name", "cut", ALPINE, "sleep", "1000"]);
        let id = run.run().code(0).stdout_text().trim().to_owned();
        for pid in store.processes() {
            send("KILL", pid);
        }
        wait_until_ended(&store);
        let state = store.data().join("containers").join(id).join("state.json");
        std::fs::write(&state, b"").unwrap();
        store.onggi(["run", "--rm", ALPINE, "true"]).run().code(0);
        store.onggi(["system", "check"]).run().code(0);
        let shown = "{{.State.Status}} {{.State.ExitCode}}";
        let inspect = store.onggi(["inspect", "-f", shown, "cut"]).run();
        inspect.code(0).stdout("exited 255\n");
        store.onggi(["rm", "cut"]).run().code(0);
    }
}

#[test]
fn everything_of_it_may_be_killed() {
    for store in everyone_with_alpine() {
        for options in [&["--name", "dead"][..], &["--rm", "--name", "dead"]] {
            let mut client = sleeper(&store, options);
            for pid in store.processes() {
                send("KILL", pid);
            }
            client.wait().unwrap();
            wait_until_ended(&store);
            store.onggi(["inspect", "dead"]).run();
            store.onggi(["rm", "-f", "dead"]).run();
            // The name is free again.
            store
                .onggi(["run", "--rm", "--name", "dead", ALPINE, "echo", "alive"])
                .run()
                .code(0)
                .stdout("alive\n");
            store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        }
    }
}

#[test]
fn the_monitor_takes_its_container_along() {
    for store in everyone_with_alpine() {
        let mut client = sleeper(&store, &["--name", "orphan"]);
        let inspected = store
            .onggi(["inspect", "-f", "{{.State.Pid}}", "orphan"])
            .run();
        let init: u32 = inspected.code(0).stdout_text().trim().parse().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
        let monitor = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:\t"))
            .unwrap();
        send("KILL", monitor.parse().unwrap());
        client.wait().unwrap();
        wait_until_ended(&store);
        let start = Instant::now();
        while std::path::Path::new(&format!("/proc/{init}/root")).exists() {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "process 1 outlives its monitor"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        store.onggi(["rm", "orphan"]).run().code(0);
    }
}

#[test]
fn a_loader_may_be_killed_at_any_time() {
    for store in everyone_with_alpine() {
        let Some(image) = crate::support::image("grootfs/garden-rootfs") else {
            return;
        };
        let words = ["load", "-i", image.to_str().unwrap()];
        for milliseconds in [1, 3, 10, 30, 100] {
            let mut loader = store.onggi(words).spawn();
            std::thread::sleep(Duration::from_millis(milliseconds));
            loader.kill().unwrap();
            loader.wait().unwrap();
        }
        store.onggi(words).run().code(0);
        let loaded = store.snapshot();
        store.onggi(["images"]).run().code(0);
        assert!(
            !loaded.iter().any(|line| line.contains("/staging/")),
            "half-made things are left"
        );
    }
}

#[test]
fn killed_creations_leave_their_names_free() {
    for store in everyone_with_alpine() {
        for round in 0..40u64 {
            let mut maker = store
                .onggi(["create", "--name", "half", ALPINE, "true"])
                .spawn();
            std::thread::sleep(Duration::from_micros(round * 150));
            maker.kill().unwrap();
            maker.wait().unwrap();
            // Made or not made, and nothing between.
            let made = store
                .onggi(["ps", "-aq"])
                .run()
                .stdout_text()
                .lines()
                .count()
                == 1;
            let code = if made { 0 } else { 1 };
            store.onggi(["rm", "half"]).run().code(code);
        }
        store
            .onggi(["run", "--rm", "--name", "half", ALPINE, "true"])
            .run()
            .code(0);
        for directory in ["containers", "names", "pending"] {
            let left = std::fs::read_dir(store.data().join(directory))
                .unwrap()
                .count();
            assert_eq!(left, 0, "{directory}");
        }
    }
}

#[test]
fn the_callers_process_group_and_mask_are_not_the_containers() {
    for store in everyone_with_alpine() {
        let onggi = store.onggi([""; 0]).into_command();
        let program = onggi.get_program().to_str().unwrap().to_owned();
        let words: Vec<String> = onggi
            .get_args()
            .map(|word| word.to_str().unwrap().to_owned())
            .collect();
        let script = format!(
            "umask 077; {program} {words} run --rm {ALPINE} stat -c %a /etc/hosts; \
             setsid sh -c '{program} {words} run -d --name far {ALPINE} sleep 60; kill -KILL 0'",
            words = words.join(" ")
        );
        let mut shell = store.command("/bin/sh");
        let output = shell.args(["-c", &script]).output().unwrap();
        assert!(output.stdout.starts_with(b"644\n"), "{output:?}");
        store
            .onggi(["ps", "--format", "{{.Names}}"])
            .run()
            .code(0)
            .stdout("far\n");
        store.onggi(["rm", "-f", "far"]).run().code(0);
    }
}

#[test]
fn nothing_outlives_a_container_that_shares_the_hosts_processes() {
    for store in everyone_with_alpine() {
        let seconds = 70_000 + std::process::id() % 9999;
        let script = format!("sleep {seconds} & true");
        store
            .onggi(["run", "--rm", "--pid", "host", ALPINE, "sh", "-c", &script])
            .run()
            .code(0);
        let left = std::process::Command::new("pgrep")
            .args(["-f", &format!("^sleep {seconds}")])
            .status()
            .unwrap();
        assert_eq!(left.code(), Some(1), "sleep {seconds} goes on");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    for store in everyone_with_alpine() {
        let mut command = store
            .onggi(["run", "--rm", ALPINE, "echo", "lost"])
            .into_command();
        command.stdout(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"));
    }
}
