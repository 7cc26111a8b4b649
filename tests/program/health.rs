//! Health checks: what is asked for and what the image says, the states, the log, what is done about the unhealthy.

use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn field(store: &Store, name: &str, template: &str) -> String {
    let outcome = store.onggi(["inspect", "-f", template, name]).run();
    outcome.code(0);
    outcome.stdout_text().trim().to_owned()
}

/// Waits until a field has that value, which it gets without anybody's doing.
#[track_caller]
fn await_field(store: &Store, name: &str, template: &str, wanted: &str) {
    let start = Instant::now();
    loop {
        let found = field(store, name, template);
        if found == wanted {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{template} is {found}, not {wanted}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A container named `web` that sleeps, with these options.
fn sleeper(store: &Store, options: &[&str]) {
    let run = ["run", "-d", "--init", "--name", "web"];
    let program = [ALPINE, "sleep", "1000"];
    let words = run.iter().chain(options).chain(&program);
    store.onggi(words).run().code(0);
}

fn remove(store: &Store) {
    store.onggi(["rm", "-f", "web"]).run().code(0);
}

const STATUS: &str = "{{.State.Health.Status}}";
const STREAK: &str = "{{.State.Health.FailingStreak}}";

#[test]
fn a_container_becomes_healthy_and_unhealthy() {
    for store in everyone_with_alpine() {
        let check = "echo looking; test -e /ok";
        sleeper(
            &store,
            &[
                "--health-cmd",
                check,
                "--health-interval",
                "100ms",
                "--health-retries",
                "2",
            ],
        );
        assert!(["starting", "unhealthy"].contains(&field(&store, "web", STATUS).as_str()));
        await_field(&store, "web", STATUS, "unhealthy");
        store.onggi(["exec", "web", "touch", "/ok"]).run().code(0);
        await_field(&store, "web", STATUS, "healthy");
        assert_eq!(field(&store, "web", STREAK), "0");
        let ps = [
            "ps",
            "--filter",
            "health=healthy",
            "--format",
            "{{.Names}} {{.Status}}",
        ];
        let shown = store.onggi(ps).run();
        shown.code(0).stdout_has("web Up ").stdout_has(" (healthy)");
        await_field(&store, "web", "{{len .State.Health.Log}}", "5");
        let log = store.onggi(["inspect", "web"]).run().json();
        let last = &log[0]["State"]["Health"]["Log"][4];
        assert_eq!(
            (&last["ExitCode"], &last["Output"]),
            (&0.into(), &"looking\n".into())
        );
        let time = |name: &str| {
            last[name]
                .as_str()
                .unwrap()
                .parse::<jiff::Timestamp>()
                .unwrap()
        };
        assert!(time("Start") <= time("End"));
        store.onggi(["exec", "web", "rm", "/ok"]).run().code(0);
        await_field(&store, "web", STATUS, "unhealthy");
        let events = [
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "-f",
            "event=health_status",
        ];
        let told = store.onggi(events).args(["--format", "{{.Action}}"]).run();
        told.code(0)
            .stdout("health_status: unhealthy\nhealth_status: healthy\nhealth_status: unhealthy\n");
        remove(&store);
    }
}

#[test]
fn it_starts_as_starting_and_what_does_not_run_is_unhealthy() {
    for store in everyone_with_alpine() {
        let create = [
            "create",
            "--name",
            "web",
            "--health-cmd",
            "true",
            ALPINE,
            "sleep",
            "1000",
        ];
        store.onggi(create).run().code(0);
        assert_eq!(field(&store, "web", "{{json .State.Health}}"), "null");
        let check = r#"{"Test":["CMD-SHELL","true"]}"#;
        assert_eq!(field(&store, "web", "{{json .Config.Healthcheck}}"), check);
        store.onggi(["start", "web"]).run().code(0);
        // The first probe comes after the first interval.
        let health = r#"{"Status":"starting","FailingStreak":0,"Log":[]}"#;
        assert_eq!(field(&store, "web", "{{json .State.Health}}"), health);
        let ps = store.onggi(["ps", "--format", "{{.Status}}"]).run();
        ps.code(0).stdout_has(" (health: starting)\n");
        store.onggi(["kill", "web"]).run().code(0);
        store.onggi(["wait", "web"]).run().code(0);
        assert_eq!(field(&store, "web", STATUS), "unhealthy");
        remove(&store);
    }
}

#[test]
fn a_probe_is_run_on_demand() {
    for store in everyone_with_alpine() {
        let probe = || store.onggi(["healthcheck", "run", "web"]).run();
        sleeper(
            &store,
            &["--health-cmd", "test -e /ok", "--health-interval", "1h"],
        );
        probe().code(1).stdout("unhealthy\n");
        assert_eq!(field(&store, "web", STREAK), "1");
        store.onggi(["exec", "web", "touch", "/ok"]).run().code(0);
        probe().code(0).stdout("");
        assert_eq!(field(&store, "web", STATUS), "healthy");
        store.onggi(["pause", "web"]).run().code(0);
        probe().code(125).stderr_has("is paused");
        store.onggi(["unpause", "web"]).run().code(0);
        probe().code(0);
        store.onggi(["kill", "web"]).run().code(0);
        store.onggi(["wait", "web"]).run().code(0);
        probe().code(125).stderr_has("is not running");
        remove(&store);
        sleeper(&store, &[]);
        probe().code(125).stderr_has("has no defined healthcheck");
        remove(&store);
        probe().code(125).stderr_has("No such container: web");
    }
}

#[test]
fn a_probe_ends_at_its_timeout_with_all_it_has_started() {
    for store in everyone_with_alpine() {
        let check = "echo before; sleep 777 & sleep 778; true";
        sleeper(
            &store,
            &[
                "--health-cmd",
                check,
                "--health-interval",
                "1h",
                "--health-timeout",
                "1s500ms",
            ],
        );
        let probe = store.onggi(["healthcheck", "run", "web"]).run();
        probe.code(1).stdout("unhealthy\n");
        let last = "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}";
        assert_eq!(
            field(&store, "web", last),
            "-1 Health check exceeded timeout (1.5s): before"
        );
        let left = store
            .onggi(["exec", "web", "pgrep", "-f", "sleep 77"])
            .run();
        left.code(1).stdout("");
        // One that writes without end neither fills the record nor waits for somebody to read.
        remove(&store);
        let check = "head -c 300000 /dev/zero | tr '\\0' x; exit 3";
        sleeper(&store, &["--health-cmd", check, "--health-interval", "1h"]);
        store.onggi(["healthcheck", "run", "web"]).run().code(1);
        let told = field(&store, "web", last);
        let expected = format!("3 {}...", "x".repeat(4096));
        assert!(told == expected, "{} characters: {told}", told.len());
        remove(&store);
    }
}

#[test]
fn failures_of_the_start_period_do_not_count() {
    for store in everyone_with_alpine() {
        let period = [
            "--health-start-period",
            "1h",
            "--health-start-interval",
            "100ms",
        ];
        let check = ["--health-cmd", "false", "--health-retries", "1"];
        sleeper(&store, &[&check[..], &period].concat());
        await_field(&store, "web", "{{len .State.Health.Log}}", "5");
        assert_eq!(
            field(&store, "web", &format!("{STATUS} {STREAK}")),
            "starting 0"
        );
        remove(&store);
    }
}

#[test]
fn a_check_that_cannot_be_run_is_a_failure_that_says_why() {
    for store in everyone_with_alpine() {
        let check = "HEALTHCHECK --interval=1h --retries=1 CMD [\"/no/such/program\"]";
        let image = imported(&store, check);
        store
            .onggi([
                "run", "-d", "--init", "--name", "web", &image, "sleep", "1000",
            ])
            .run()
            .code(0);
        store.onggi(["healthcheck", "run", "web"]).run().code(1);
        assert_eq!(field(&store, "web", STATUS), "unhealthy");
        let last = field(
            &store,
            "web",
            "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}",
        );
        assert!(
            last.starts_with("-1 ") && last.contains("/no/such/program"),
            "{last}"
        );
        remove(&store);
    }
}

/// Alpine's files again, with this instruction.
fn imported(store: &Store, change: &str) -> String {
    let image = "checked:1";
    let file = format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    );
    let path = crate::support::image(&file).expect("it was there a moment ago");
    store
        .onggi(["import", "--change", change, path.to_str().unwrap(), image])
        .run()
        .code(0);
    image.to_owned()
}

#[test]
fn single_values_win_over_the_images() {
    for store in everyone_with_alpine() {
        let change = "HEALTHCHECK --interval=1m30s --retries=2 CMD test -e /ok";
        let image = imported(&store, change);
        let described = |options: &[&str]| {
            let create = ["create", "--name", "web"];
            let words = create
                .iter()
                .chain(options)
                .copied()
                .chain([image.as_str(), "true"]);
            store.onggi(words).run().code(0);
            let check = field(&store, "web", "{{json .Config.Healthcheck}}");
            remove(&store);
            check
        };
        assert_eq!(
            described(&[]),
            r#"{"Test":["CMD-SHELL","test -e /ok"],"Interval":90000000000,"Retries":2}"#
        );
        assert_eq!(
            described(&["--health-interval", "10s", "--health-timeout", "3s"]),
            r#"{"Test":["CMD-SHELL","test -e /ok"],"Interval":10000000000,"Timeout":3000000000,"Retries":2}"#
        );
        assert_eq!(
            described(&["--health-cmd", "exit 0"]),
            r#"{"Test":["CMD-SHELL","exit 0"],"Interval":90000000000,"Retries":2}"#
        );
        assert_eq!(
            described(&["--no-healthcheck"]),
            r#"{"Test":["NONE"],"Interval":90000000000,"Retries":2}"#
        );
        let run = [
            "run",
            "-d",
            "--init",
            "--name",
            "web",
            "--no-healthcheck",
            &image,
        ];
        store.onggi(run).args(["sleep", "1000"]).run().code(0);
        assert_eq!(field(&store, "web", "{{json .State.Health}}"), "null");
        store.onggi(["healthcheck", "run", "web"]).run().code(125);
        remove(&store);
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_dockers_words() {
    for store in everyone_with_alpine() {
        for (options, text) in [
            (
                &["--no-healthcheck", "--health-cmd", "true"][..],
                "--no-healthcheck conflicts with --health-* options",
            ),
            (
                &["--health-interval", "-1s"],
                "--health-interval cannot be negative",
            ),
            (
                &["--health-retries", "-1"],
                "--health-retries cannot be negative",
            ),
            (
                &["--health-timeout", "1us"],
                "Timeout in Healthcheck cannot be less than 1ms",
            ),
            (
                &["--health-interval", "10"],
                "invalid argument \"10\" for \"--health-interval\" flag: time: missing unit in duration \"10\"",
            ),
            (
                &["--health-on-failure", "panic"],
                "supported actions are none,kill,restart,stop",
            ),
            (
                &["--health-on-failure", "kill"],
                "cannot set an on-failure action without a health check",
            ),
        ] {
            let create = ["create"].iter().chain(options).chain(&[ALPINE, "true"]);
            store.onggi(create).run().code(125).stderr_has(text);
        }
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

#[test]
fn the_unhealthy_are_killed_restarted_or_stopped() {
    for store in everyone_with_alpine() {
        let check = [
            "--health-cmd",
            "false",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
        ];
        let with = |action: &[&'static str]| {
            let options = [&check[..], &["--health-on-failure"], action].concat();
            sleeper(&store, &options);
        };
        with(&["kill"]);
        await_field(
            &store,
            "web",
            "{{.State.Status}} {{.State.ExitCode}}",
            "exited 137",
        );
        remove(&store);
        // The policy does not start again what was stopped.
        with(&["stop", "--restart", "always"]);
        await_field(
            &store,
            "web",
            "{{.State.Status}} {{.State.ExitCode}}",
            "exited 143",
        );
        assert_eq!(field(&store, "web", "{{.RestartCount}}"), "0");
        remove(&store);
        with(&["kill", "--restart", "always"]);
        let start = Instant::now();
        while field(&store, "web", "{{.RestartCount}}")
            .parse::<u32>()
            .unwrap()
            < 2
        {
            assert!(start.elapsed() < PATIENCE, "it is not started again");
        }
        remove(&store);
        with(&["restart"]);
        let first = field(&store, "web", "{{.State.Pid}}");
        let start = Instant::now();
        loop {
            let now = field(&store, "web", "{{.State.Pid}}");
            if ![first.as_str(), "0"].contains(&now.as_str()) {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "it is not started again");
        }
        remove(&store);
        // A program that does not care is killed when its time is over.
        let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
        let program = [ALPINE, "sh", "-c", stubborn];
        let run = [
            "run",
            "-d",
            "--name",
            "web",
            "--stop-timeout",
            "1",
            "--health-on-failure",
            "stop",
        ];
        let words = run.iter().chain(&check).chain(&program);
        store.onggi(words).run().code(0);
        await_field(
            &store,
            "web",
            "{{.State.Status}} {{.State.ExitCode}}",
            "exited 137",
        );
        remove(&store);
    }
}

#[test]
fn a_paused_container_is_not_probed() {
    for store in everyone_with_alpine() {
        let check = "sleep 0.2; echo x >>/log";
        sleeper(
            &store,
            &["--health-cmd", check, "--health-interval", "50ms"],
        );
        await_field(&store, "web", STATUS, "healthy");
        store.onggi(["pause", "web"]).run().code(0);
        let log = field(&store, "web", "{{json .State.Health.Log}}");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(field(&store, "web", "{{json .State.Health.Log}}"), log);
        store.onggi(["unpause", "web"]).run().code(0);
        let start = Instant::now();
        while field(&store, "web", "{{json .State.Health.Log}}") == log {
            assert!(start.elapsed() < PATIENCE, "it is not probed any more");
        }
        remove(&store);
    }
}

#[test]
fn no_prober_outlives_its_container_or_its_monitor() {
    for store in everyone_with_alpine() {
        for pid in ["private", "host"] {
            // Without an init, which would leave its child behind where there is no pid namespace.
            let check = ["--health-cmd", "sleep 1000", "--health-interval", "50ms"];
            let run = ["run", "-d", "--name", "web", "--stop-signal", "KILL"];
            let shared = ["--pid", pid];
            let options = match pid {
                "host" => &shared[..],
                _ => &[],
            };
            let program = [ALPINE, "sleep", "1000"];
            let words = run.iter().chain(&check).chain(options).chain(&program);
            store.onggi(words).run().code(0);
            std::thread::sleep(Duration::from_millis(400));
            store.onggi(["stop", "web"]).run().code(0);
            await_silence(&store);
            store.onggi(["start", "web"]).run().code(0);
            std::thread::sleep(Duration::from_millis(400));
            let monitor = monitor(&field(&store, "web", "{{.State.Pid}}"));
            crate::life_cycle::send("KILL", monitor);
            store.onggi(["rm", "-f", "web"]).run().code(0);
            await_silence(&store);
        }
    }
}

#[test]
fn a_monitor_without_a_check_sleeps() {
    for store in everyone_with_alpine() {
        sleeper(&store, &[]);
        let pid = monitor(&field(&store, "web", "{{.State.Pid}}"));
        let woken = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let mut lines = status.lines();
            let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:\t"));
            count.unwrap().parse::<u64>().unwrap()
        };
        // Until it has seen off whoever started it.
        let start = Instant::now();
        loop {
            let before = woken();
            std::thread::sleep(Duration::from_secs(1));
            if woken() == before {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "it wakes up again and again");
        }
        remove(&store);
    }
}

fn monitor(pid: &str) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    parent.unwrap().parse().unwrap()
}

#[track_caller]
fn await_silence(store: &Store) {
    let start = Instant::now();
    while !store.processes().is_empty() {
        assert!(start.elapsed() < PATIENCE, "{:?} go on", store.processes());
        std::thread::sleep(Duration::from_millis(20));
    }
}
