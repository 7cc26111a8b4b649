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
        assert_eq!(store.processes(), [0u32; 0]);
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
