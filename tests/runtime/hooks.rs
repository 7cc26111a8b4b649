//! Hooks at their moments (config.md, "POSIX-platform Hooks").

use crate::scene::scenes;
use crate::support::life::until;
use serde_json::{Value, json};

const NAMES: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that adds its name, the status that it was told and what is at `/` to a file.
fn hook(name: &str, file: &str) -> Value {
    let script = format!(
        "status=$(sed 's/.*\"status\":\"\\([a-z]*\\).*/\\1/'); test -e /etc/alpine-release && where=inside || where=outside; \
         echo {name} $status $where >> {file}"
    );
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"] }])
}

#[test]
fn each_is_run_at_its_moment() {
    for scene in scenes() {
        // The same file, on the host and in the container.
        let file = scene.store.file("told", "");
        let path = file.to_str().unwrap();
        scene.change(|config| {
            config["process"]["args"] = json!(["sleep", "1000"]);
            config["root"]["readonly"] = json!(false);
            for name in NAMES {
                let told = if name == "startContainer" { "/told" } else { path };
                config["hooks"][name] = hook(name, told);
            }
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.push(json!({ "destination": "/told", "source": path, "type": "bind", "options": ["bind"] }));
        });
        let told = || std::fs::read_to_string(&file).unwrap();
        scene.make(&["create", "web"]).code(0);
        let created = "prestart created outside\ncreateRuntime creating outside\ncreateContainer creating outside\n";
        assert_eq!(told(), created);
        scene.run(["start", "web"]).code(0);
        let started =
            format!("{created}startContainer created inside\npoststart running outside\n");
        assert_eq!(told(), started);
        scene.run(["delete", "--force", "web"]).code(0);
        assert_eq!(told(), format!("{started}poststop stopped outside\n"));
        scene.assert_empty();
    }
}

#[test]
fn one_of_the_start_that_names_no_variables_has_the_programs() {
    for scene in scenes() {
        let script = "test \"$A $HOME\" = 'b /root' || { env >&2; exit 1; }";
        scene.change(|config| {
            config["process"]["args"] = json!(["/bin/true"]);
            config["process"]["env"] = json!(["A=b"]);
            config["hooks"] =
                json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
        });
        scene.make(&["run", "web"]).code(0).stdout("");
        scene.assert_empty();
    }
}

/// Whom it has started goes with it, unless it ends in time.
#[test]
fn one_that_hangs_leaves_nobody_behind() {
    for scene in scenes() {
        let pids = scene.store.file("pids", "");
        let begin = format!("sleep 1000 & echo $! >> {}; ", pids.display());
        let hook = |end: &str, timeout: u32| {
            let script = format!("{begin}{end}");
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": timeout }])
        };
        let started = || {
            let told = std::fs::read_to_string(&pids).unwrap();
            let pid = told.trim().parse().unwrap();
            std::fs::write(&pids, "").unwrap();
            rustix::process::Pid::from_raw(pid).unwrap()
        };
        let is_there = |pid| {
            let path = format!("/proc/{}/stat", rustix::process::Pid::as_raw(Some(pid)));
            // Nobody may be there to reap it.
            std::fs::read_to_string(path).is_ok_and(|stat| !stat.contains(") Z "))
        };
        for kind in ["prestart", "createRuntime"] {
            scene.change(|config| config["hooks"] = json!({ kind: hook("wait", 4) }));
            let failed = scene.make(&["create", "web"]);
            failed.code(1).stderr_has("has not ended within 4 s");
            let pid = started();
            until("it has ended", || !is_there(pid));
            scene.assert_empty();
        }
        for kind in ["createRuntime", "poststart", "poststop"] {
            scene.change(|config| {
                config["process"]["args"] = json!(["true"]);
                config["hooks"] = json!({ kind: hook("true", 60) });
            });
            scene.make(&["run", "web"]).code(0);
            let pid = started();
            assert!(is_there(pid), "{kind}");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            scene.assert_empty();
        }
    }
}

#[test]
fn one_that_fails_or_hangs_ends_the_container() {
    let fails = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"] }]);
    let hangs = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
    for scene in scenes() {
        for (name, hook, message) in [
            (
                "createRuntime",
                &fails,
                "error running createRuntime hook #0: `/bin/sh`: exit status 3: why",
            ),
            ("prestart", &hangs, "has not ended within 1 s"),
            (
                "createContainer",
                &fails,
                "error running createContainer hook #0",
            ),
        ] {
            scene.change(|config| config["hooks"] = json!({ name: hook }));
            scene.change(|config| config["hooks"]["poststop"] = json!(fails));
            scene
                .make(&["create", "web"])
                .code(1)
                .stderr_has(message)
                .stderr_has("warning: error running poststop hook #0: `/bin/sh`: exit status");
            scene.assert_empty();
        }
        for (name, message) in [
            (
                "startContainer",
                "error running startContainer hook #0: `/bin/sh`: exit status",
            ),
            (
                "poststart",
                "error running poststart hook #0: `/bin/sh`: exit status",
            ),
        ] {
            scene.change(|config| config["hooks"] = json!({ name: fails }));
            scene.make(&["create", "web"]).code(0);
            scene.run(["start", "web"]).code(1).stderr_has(message);
            until("it has stopped", || scene.status("web") == "stopped");
            scene.run(["delete", "web"]).code(0);
            scene.assert_empty();
        }
        scene.change(|config| {
            config["process"]["args"] = json!(["true"]);
            config["hooks"] = json!({ "poststop": fails });
        });
        scene
            .make(&["run", "web"])
            .code(0)
            .stderr_has("warning: error running poststop hook #0: `/bin/sh`: exit status");
        scene.assert_empty();
    }
}
