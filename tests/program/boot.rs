//! boot: what is started after the machine was. The end of a boot is played by killing everything at once and giving
//! the processes in the records another boot id, as they would have after it.

use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::time::{Duration, Instant};

fn field(store: &Store, name: &str, template: &str) -> String {
    let outcome = store.onggi(["inspect", "-f", template, name]).run();
    outcome.code(0);
    outcome.stdout_text().trim().to_owned()
}

fn make(store: &Store, name: &str, policy: &str, script: &str) {
    let run = [
        "run",
        "-d",
        "--name",
        name,
        "--restart",
        policy,
        "--stop-signal",
        "KILL",
    ];
    let program = [ALPINE, "sh", "-c", script];
    let words = run.iter().chain(&program);
    store.onggi(words).run().code(0);
}

/// Ends all processes of the store as a power cut does, and begins another boot.
fn cut_power(store: &Store) {
    let start = Instant::now();
    while !store.processes().is_empty() {
        for pid in store.processes() {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .stderr(std::process::Stdio::null())
                .status();
        }
        assert!(start.elapsed() < Duration::from_secs(30));
    }
    let current = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let former = "00000000-0000-4000-8000-000000000000";
    for entry in std::fs::read_dir(store.data().join("containers")).unwrap() {
        let path = entry.unwrap().path().join("state.json");
        if let Ok(text) = std::fs::read_to_string(&path) {
            std::fs::write(&path, text.replace(current.trim(), former)).unwrap();
        }
    }
}

/// The names of what `boot` has started, sorted.
fn boot(store: &Store, code: i32) -> String {
    let outcome = store.onggi(["boot"]).run();
    outcome.code(code);
    let text = outcome.stdout_text();
    let ids = text.lines();
    let mut names: Vec<String> = ids
        .map(|id| field(store, id, "{{.Name}}").replace('/', ""))
        .collect();
    names.sort();
    names.join(" ")
}

#[test]
fn what_docker_would_start_is_started() {
    for store in everyone_with_alpine() {
        for policy in ["no", "on-failure", "always", "unless-stopped"] {
            for what in ["runs", "stopped"] {
                make(
                    &store,
                    &format!("{policy}-{what}"),
                    policy,
                    "exec sleep 1000",
                );
            }
            let stopped = format!("{policy}-stopped");
            store.onggi(["stop", &stopped]).run().code(0);
            store
                .onggi([
                    "create",
                    "--name",
                    &format!("{policy}-created"),
                    "--restart",
                    policy,
                ])
                .args([ALPINE, "sleep", "1000"])
                .run()
                .code(0);
        }
        make(&store, "finished", "on-failure", "exit 0");
        make(&store, "used-up", "on-failure:1", "exit 3");
        store.onggi(["wait", "finished"]).run().code(0);
        let start = Instant::now();
        while field(&store, "used-up", "{{.State.Status}} {{.RestartCount}}") != "exited 1" {
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        cut_power(&store);
        assert_eq!(
            field(
                &store,
                "always-runs",
                "{{.State.Status}} {{.State.ExitCode}}"
            ),
            "exited 255"
        );
        // As in Docker, on-failure asks for the exit code and not for the reason: 137 of the one that was stopped.
        assert_eq!(
            boot(&store, 0),
            "always-runs always-stopped on-failure-runs on-failure-stopped unless-stopped-runs"
        );
        assert_eq!(
            field(&store, "always-stopped", "{{.State.Status}}"),
            "running"
        );
        assert_eq!(
            field(&store, "unless-stopped-stopped", "{{.State.Status}}"),
            "exited"
        );
        assert_eq!(
            field(&store, "always-created", "{{.State.Status}}"),
            "created"
        );
        // What runs is left alone, and what a user stops after the boot stays so.
        let before = field(&store, "always-runs", "{{.State.Pid}}");
        store
            .onggi(["stop", "always-stopped", "on-failure-stopped"])
            .run()
            .code(0);
        assert_eq!(boot(&store, 0), "");
        assert_eq!(field(&store, "always-runs", "{{.State.Pid}}"), before);
        // Until the next one.
        cut_power(&store);
        assert_eq!(
            boot(&store, 0),
            "always-runs always-stopped on-failure-runs on-failure-stopped unless-stopped-runs"
        );
    }
}

#[test]
fn the_end_of_a_monitor_is_made_good() {
    for store in everyone_with_alpine() {
        make(&store, "web", "always", "exec sleep 1000");
        let pid = field(&store, "web", "{{.State.Pid}}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        crate::life_cycle::send("KILL", parent.unwrap().parse().unwrap());
        let start = Instant::now();
        while field(&store, "web", "{{.State.Status}}") != "exited" {
            assert!(start.elapsed() < Duration::from_secs(60));
        }
        assert_eq!(field(&store, "web", "{{.State.ExitCode}}"), "137");
        assert_eq!(boot(&store, 0), "web");
        assert_eq!(field(&store, "web", "{{.State.Status}}"), "running");
    }
}

#[test]
fn one_that_cannot_be_started_keeps_none_from_its_turn() {
    for store in everyone_with_alpine() {
        make(&store, "first", "always", "exec sleep 1000");
        let id = field(&store, "first", "{{.Id}}");
        make(&store, "second", "always", "exec sleep 1000");
        store
            .onggi([
                "run", "-d", "--rm", "--name", "gone", ALPINE, "sleep", "1000",
            ])
            .run()
            .code(0);
        cut_power(&store);
        let upper = store.data().join("containers").join(&id).join("upper");
        std::fs::rename(&upper, upper.with_file_name("elsewhere")).unwrap();
        let outcome = store.onggi(["boot"]).run();
        outcome
            .code(1)
            .stderr_has(&format!("start container {id}: "));
        assert_eq!(field(&store, "second", "{{.State.Status}}"), "running");
        assert!(field(&store, "first", "{{.State.Error}}").contains("upper"));
        // Containers with --rm of the former boot are swept.
        store.onggi(["inspect", "gone"]).run().code(1);
        std::fs::rename(upper.with_file_name("elsewhere"), &upper).unwrap();
        assert_eq!(boot(&store, 0), "first");
        store
            .onggi(["boot", "now"])
            .run()
            .code(125)
            .stderr_has("accepts no arguments");
    }
}

#[test]
fn a_run_was_over_when_this_boot_began() {
    for store in everyone_with_alpine() {
        make(&store, "web", "no", "exec sleep 1000");
        cut_power(&store);
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let began = stat.lines().find_map(|line| line.strip_prefix("btime "));
        let began: i64 = began.unwrap().parse().unwrap();
        let ended = |store: &Store| {
            let finished: jiff::Timestamp = field(store, "web", "{{.State.FinishedAt}}")
                .parse()
                .unwrap();
            (finished.as_second() - began).abs() <= 2
        };
        // Known before anybody has written it down, and so afterwards.
        assert!(ended(&store));
        let shown = store.onggi(["ps", "-a", "--format", "{{.Status}}"]).run();
        let shown = shown.code(0).stdout_text();
        assert!(
            shown.starts_with("Exited (255) ") && shown.ends_with(" ago\n"),
            "{shown}"
        );
        store
            .onggi(["create", "--name", "other", ALPINE, "true"])
            .run()
            .code(0);
        assert!(ended(&store));
        assert_eq!(field(&store, "web", "{{.State.ExitCode}}"), "255");
    }
}
