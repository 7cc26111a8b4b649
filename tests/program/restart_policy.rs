//! --restart: who is started again, how often, and what ends it.

use crate::life_cycle::send;
use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn field(store: &Store, template: &str) -> String {
    let outcome = store.onggi(["inspect", "-f", template, "web"]).run();
    outcome.code(0);
    outcome.stdout_text().trim().to_owned()
}

fn run(store: &Store, policy: &str, script: &str) {
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        policy,
        "--stop-signal",
        "KILL",
    ];
    let program = [ALPINE, "sh", "-c", script];
    let words = words.iter().chain(&program);
    store.onggi(words).run().code(0);
}

#[track_caller]
fn await_field(store: &Store, template: &str, holds: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let found = field(store, template);
        if holds(&found) {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{template} stays {found}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const COUNT: &str = "{{.RestartCount}}";
const STATE: &str = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";

fn at_least(least: u32) -> impl Fn(&str) -> bool {
    move |found| found.parse::<u32>().unwrap() >= least
}

fn remove(store: &Store) {
    store.onggi(["rm", "-f", "web"]).run().code(0);
}

#[test]
fn failures_are_counted_up_to_the_maximum() {
    for store in everyone_with_alpine() {
        run(&store, "on-failure:2", "echo x >>/starts; exit 3");
        await_field(&store, STATE, |found| found == "exited 3 2");
        store.onggi(["cp", "web:/starts", "."]).run().code(0);
        let starts = std::fs::read_to_string(store.home().join("starts")).unwrap();
        assert_eq!(starts, "x\n".repeat(3));
        // A user's start begins the count anew.
        store.onggi(["start", "web"]).run().code(0);
        await_field(&store, STATE, |found| found == "exited 3 2");
        remove(&store);
        // What ends well is not started again, at whatever start that is.
        run(
            &store,
            "on-failure",
            "echo x >>/starts; test $(wc -l </starts) -gt 2",
        );
        await_field(&store, STATE, |found| found == "exited 0 2");
        remove(&store);
        run(&store, "no", "exit 3");
        await_field(&store, STATE, |found| found == "exited 3 0");
        remove(&store);
    }
}

#[test]
fn every_end_is_the_beginning_of_the_next_run_until_it_is_stopped() {
    for store in everyone_with_alpine() {
        for policy in ["always", "unless-stopped"] {
            run(&store, policy, "exit 0");
            await_field(&store, COUNT, at_least(3));
            store.onggi(["stop", "web"]).run().code(0);
            let count = field(&store, COUNT);
            assert_eq!(field(&store, "{{.State.Status}}"), "exited");
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(field(&store, COUNT), count);
            remove(&store);
        }
    }
}

#[test]
fn a_program_that_is_killed_comes_back() {
    for store in everyone_with_alpine() {
        run(&store, "always", "exec sleep 1000");
        let first = field(&store, "{{.State.Pid}}");
        send("KILL", first.parse().unwrap());
        let second = await_field(&store, "{{.State.Pid}}", |pid| {
            ![&first, "0"].contains(&pid)
        });
        assert_ne!(first, second);
        assert_eq!(field(&store, STATE), "running 0 1");
        // Killed by a user it stays away.
        store.onggi(["kill", "web"]).run().code(0);
        await_field(&store, STATE, |found| found == "exited 137 1");
        remove(&store);
    }
}

#[test]
fn the_times_between_grow() {
    for store in everyone_with_alpine() {
        run(&store, "always", "cat /proc/uptime >>/starts; exit 1");
        await_field(&store, COUNT, at_least(5));
        store.onggi(["stop", "web"]).run().code(0);
        store.onggi(["cp", "web:/starts", "."]).run().code(0);
        let text = std::fs::read_to_string(store.home().join("starts")).unwrap();
        // In hundredths of a second.
        let start = |line: &str| line.split(' ').next().unwrap().replace('.', "").parse();
        let starts: Vec<i64> = text.lines().map(|line| start(line).unwrap()).collect();
        // A slow machine makes a pause longer and none shorter: 0.1, 0.2, 0.4, 0.8 seconds at least, but for what
        // the file's own rounding takes away.
        for (count, least) in [(1, 9), (2, 29), (3, 69), (4, 149)] {
            assert!(starts[count] - starts[0] >= least, "{text}");
        }
        remove(&store);
    }
}

#[test]
fn the_policy_can_be_changed_while_it_runs() {
    for store in everyone_with_alpine() {
        run(&store, "no", "exec sleep 1000");
        let update = |policy: &str| {
            let words = ["update", "--restart", policy, "web"];
            store.onggi(words).run().code(0).stdout("web\n");
        };
        let end = || send("KILL", field(&store, "{{.State.Pid}}").parse().unwrap());
        update("always");
        end();
        await_field(&store, STATE, |found| found == "running 0 1");
        assert_eq!(
            field(&store, "{{.HostConfig.RestartPolicy.Name}}"),
            "always"
        );
        update("on-failure:7");
        let policy =
            "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";
        assert_eq!(field(&store, policy), "on-failure:7");
        update("no");
        end();
        await_field(&store, STATE, |found| found == "exited 137 1");
        remove(&store);
        let both = ["run", "--rm", "--restart", "always", ALPINE, "true"];
        let refused = "conflicting options: cannot specify both --restart and --rm";
        store.onggi(both).run().code(125).stderr_has(refused);
        let words = [
            "run", "-d", "--rm", "--name", "web", ALPINE, "sleep", "1000",
        ];
        store.onggi(words).run().code(0);
        let words = ["update", "--restart", "always", "web"];
        let refused = "Restart policy cannot be updated because AutoRemove is enabled";
        store.onggi(words).run().code(1).stderr_has(refused);
        remove(&store);
    }
}

#[test]
fn the_pause_before_the_next_run_can_be_ended() {
    for store in everyone_with_alpine() {
        let restarting = |found: &str| found == "restarting";
        run(&store, "always", "exit 4");
        // The pauses are long by now.
        await_field(&store, COUNT, at_least(4));
        await_field(&store, "{{.State.Status}}", restarting);
        let ps = [
            "ps",
            "--filter",
            "status=restarting",
            "--format",
            "{{.Status}}",
        ];
        let shown = store.onggi(ps).run().code(0).stdout_text();
        assert!(
            shown.is_empty() || shown.starts_with("Restarting (4) "),
            "{shown}"
        );
        let state = "{{.State.Status}} {{.State.ExitCode}}";
        let start = Instant::now();
        loop {
            store.onggi(["stop", "web"]).run().code(0);
            let found = field(&store, state);
            store.onggi(["start", "web"]).run().code(0);
            await_field(&store, "{{.State.Status}}", restarting);
            if found == "exited 4" {
                break;
            }
            // On a busy machine the pause was over, and the program was ended instead.
            assert_eq!(found, "exited 137");
            assert!(start.elapsed() < PATIENCE);
        }
        await_field(&store, COUNT, at_least(4));
        await_field(&store, "{{.State.Status}}", restarting);
        let starts = || {
            let words = [
                "events",
                "--since",
                "0",
                "--until",
                "0s",
                "--filter",
                "event=start",
            ];
            let told = store.onggi(words).run();
            told.code(0).stdout_text().lines().count()
        };
        let before = starts();
        store.onggi(["restart", "web"]).run().code(0);
        // It began anew: fewer than there were starts since. Otherwise there would be those of before in it.
        let count: usize = field(&store, COUNT).parse().unwrap();
        let since = starts() - before;
        assert!(count < since, "{count} {since}");
        remove(&store);
    }
}

#[test]
fn what_cannot_be_started_is_not_tried_again() {
    for store in everyone_with_alpine() {
        let words = [
            "run",
            "-d",
            "--name",
            "web",
            "--restart",
            "always",
            ALPINE,
            "/no/such",
        ];
        store.onggi(words).run().code(127);
        assert_eq!(field(&store, COUNT), "0");
        assert_eq!(field(&store, "{{.State.ExitCode}}"), "127");
        assert!(!field(&store, "{{.State.Error}}").is_empty());
        store.assert_no_process_is_left();
        remove(&store);
    }
}

#[test]
fn a_killed_monitor_leaves_a_true_record_in_a_run_and_in_a_pause() {
    for store in everyone_with_alpine() {
        for (script, code) in [("exec sleep 1000", "137"), ("exit 4", "4")] {
            run(&store, "always", script);
            if code == "4" {
                await_field(&store, COUNT, at_least(4));
                stop_in_a_pause(&store);
            }
            let start = Instant::now();
            while !store.processes().is_empty() {
                for pid in store.processes() {
                    signal("-KILL", pid);
                }
                assert!(start.elapsed() < PATIENCE);
            }
            // A process that is just going names nothing any more and is still there.
            let expected = format!("exited {code}");
            let state = "{{.State.Status}} {{.State.ExitCode}}";
            await_field(&store, state, |found| found == expected);
            store.onggi(["start", "web"]).run().code(0);

            remove(&store);
        }
    }
}

/// A monitor that cannot go on does not begin the next run.
fn stop_in_a_pause(store: &Store) {
    loop {
        await_field(store, "{{.State.Status}}", |found| found == "restarting");
        let processes = store.processes();
        processes.iter().for_each(|pid| signal("-STOP", *pid));
        if field(store, "{{.State.Status}}") == "restarting" {
            return;
        }
        processes.iter().for_each(|pid| signal("-CONT", *pid));
    }
}

/// It may have ended by itself.
fn signal(name: &str, pid: u32) {
    let mut command = std::process::Command::new("kill");
    command.args([name, &pid.to_string()]);
    let _ = command.stderr(std::process::Stdio::null()).status();
}
