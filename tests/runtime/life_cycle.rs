//! Create, start, state, kill, delete (runtime.md, "Lifecycle"), and what runc has beside them.

use crate::scene::scenes;
use crate::support::User;
use crate::support::life::until;
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde_json::Value;
use std::ffi::OsStr;

#[test]
fn from_nothing_to_nothing() {
    for scene in scenes() {
        scene.script("echo begun; sleep 1000");
        let pid_file = scene.store.home().join("pid");
        let pid_path = pid_file.to_str().unwrap();
        scene
            .make(&["create", "--pid-file", pid_path, "web"])
            .code(0)
            .stdout("");
        let state = scene.run(["state", "web"]);
        let state = state.code(0).json();
        let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
        assert_eq!(state["pid"], pid);
        assert_eq!(state["status"], "created");
        let told = scene.run(["ps", "--format", "json", "web"]);
        assert_eq!(told.code(0).json(), serde_json::json!([pid]));
        if scene.store.user == User::Root {
            // What it runs from until then is within reach of the container as `/proc/1/exe` (CVE-2019-5736).
            let program = statvfs(format!("/proc/{pid}/exe")).unwrap();
            assert!(program.f_flag.contains(StatVfsMountFlags::RDONLY));
        }
        assert_eq!(state["id"], "web");
        assert_eq!(state["bundle"], scene.bundle().to_str().unwrap());
        assert!(state["ociVersion"].is_string());
        // The program has not been run, and what was changed since does not count.
        assert_eq!(scene.printed(), "");
        scene.script("echo another");
        scene.run(["start", "web"]).code(0).stdout("");
        until("it has begun", || scene.printed() == "begun\n");
        assert_eq!(scene.status("web"), "running");
        let again = scene.run(["start", "web"]);
        again
            .code(1)
            .stderr_has("cannot start an already running container");
        let deleted = scene.run(["delete", "web"]);
        deleted.code(1).stderr_has("that is not stopped: running");
        assert_eq!(scene.status("web"), "running");
        scene.run(["kill", "web", "KILL"]).code(0);
        until("it has stopped", || scene.status("web") == "stopped");
        scene
            .run(["kill", "web", "KILL"])
            .code(1)
            .stderr_has("container not running");
        let again = scene.run(["start", "web"]);
        again
            .code(1)
            .stderr_has("cannot start a container that has stopped");
        scene.run(["delete", "web"]).code(0);
        for verb in ["state", "start", "kill", "delete"] {
            scene
                .run([verb, "web"])
                .code(1)
                .stderr_has("container `web` does not exist");
        }
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn a_run_ends_as_its_program_does() {
    for scene in scenes() {
        scene.script("cat; echo error >&2; exit 7");
        let bundle = scene.bundle();
        let run = || scene.call(["run".as_ref(), "--bundle".as_ref(), bundle.as_os_str()]);
        run()
            .args(["web"])
            .stdin("hello")
            .run()
            .code(7)
            .stdout("hello")
            .stderr("error\n");
        scene.assert_empty();
        run().args(["--keep", "web"]).run().code(7);
        assert_eq!(scene.status("web"), "stopped");
        scene.run(["delete", "web"]).code(0);
        scene.script("kill -TERM $$");
        run().args(["web"]).run().code(0);
        scene.program(&["/nowhere"]);
        let missing = run().args(["web"]).run();
        missing.code(1).stderr_has("no such file or directory");
        scene.assert_empty();
    }
}

#[test]
fn who_is_created_and_never_started_goes() {
    for scene in scenes() {
        scene.make(&["create", "one"]).code(0);
        scene.make(&["create", "two"]).code(0);
        let listed = scene.run(["list", "--format", "json"]);
        let listed: Vec<Value> = serde_json::from_value(listed.code(0).json()).unwrap();
        let ids: Vec<_> = listed
            .iter()
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["one", "two"]);
        scene
            .run(["list"])
            .code(0)
            .stdout_has("ID")
            .stdout_has("created");
        scene.run(["delete", "one"]).code(0);
        scene.run(["kill", "two", "KILL"]).code(0);
        until("it has stopped", || scene.status("two") == "stopped");
        scene.run(["delete", "two"]).code(0);
        // Process 1 has no handler of its own for it, as its program would have.
        for signal in ["TERM", "INT", "34"] {
            scene.make(&["create", "two"]).code(0);
            scene.run(["kill", "two", signal]).code(0);
            until("it has stopped", || scene.status("two") == "stopped");
            scene.run(["start", "two"]).code(1).stderr_has("stopped");
            scene.run(["delete", "two"]).code(0);
        }
        scene.assert_empty();
    }
}

#[test]
fn processes_are_told_and_signals_come() {
    for scene in scenes() {
        scene.script("trap 'echo got it; exit 3' USR1; sleep 1000 & wait");
        scene.make(&["run", "--detach", "web"]).code(0);
        until("both run", || {
            let told = scene.run(["ps", "--format", "json", "web"]);
            told.code(0).json().as_array().unwrap().len() == 2
        });
        scene
            .run(["ps", "web"])
            .code(0)
            .stdout_has("PID")
            .stdout_has("sleep 1000");
        scene.run(["kill", "web", "USR1"]).code(0);
        until("it has ended", || scene.status("web") == "stopped");
        assert_eq!(scene.printed(), "got it\n");
        scene.run(["delete", "web"]).code(0);
        scene.assert_empty();
    }
}

/// Whoever may trace it gets hold of what it holds.
#[test]
fn who_waits_to_be_started_holds_its_streams_and_its_gate() {
    for scene in scenes() {
        scene.program(&["true"]);
        for (before, options, preserved) in [
            ("", "", 0),
            (
                "exec 3>/dev/zero 4>/dev/zero; LISTEN_FDS=1",
                "--preserve-fds 1",
                2,
            ),
        ] {
            let line = format!(
                "{before} exec onggi runtime --root {} create {options} --bundle {} web </dev/null >/dev/null 2>&1",
                scene.state().display(),
                scene.bundle().display(),
            );
            scene.store.script(&line).run().code(0);
            let pid = scene.run(["state", "web"]).code(0).json()["pid"].to_string();
            let held = || {
                let all = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
                // One that is being closed is gone.
                let paths = all.filter_map(|one| std::fs::read_link(one.unwrap().path()).ok());
                let mut names: Vec<String> = paths
                    .map(|path| path.to_string_lossy().split(':').next().unwrap().to_owned())
                    .collect();
                names.sort();
                names
            };
            let mut expected = vec!["/dev/null"; 3];
            expected.extend(vec!["/dev/zero"; preserved]);
            expected.push("socket");
            // The way to its maker is closed once that has ended.
            until(&format!("only {expected:?} are held"), || {
                held() == expected
            });
            scene.run(["start", "web"]).code(0);
            until("it has ended", || scene.status("web") == "stopped");
            scene.run(["delete", "web"]).code(0);
        }
        scene.assert_empty();
    }
}

/// Callers read what `create` prints to its end, and the container has a terminal.
#[test]
fn who_has_a_terminal_holds_nothing_of_the_callers() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.change(|config| config["process"]["terminal"] = serde_json::json!(true));
        let path = scene.store.home().join("console");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&path, everybody).unwrap();
        let bundle = scene.bundle();
        let words = [
            OsStr::new("create"),
            OsStr::new("--bundle"),
            bundle.as_os_str(),
        ];
        let create = scene
            .call(words)
            .args([OsStr::new("--console-socket"), path.as_os_str()]);
        create.args(["web"]).run().code(0).stdout("").stderr("");
        let (mut console, _) = listener.accept().unwrap();
        let mut name = String::new();
        std::io::Read::read_to_string(&mut console, &mut name).unwrap();
        assert_eq!(name, "/dev/ptmx");
        scene.run(["delete", "web"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn under_another_name_it_is_the_runtime() {
    for scene in scenes() {
        let bin = scene.store.home().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for name in ["runc", "crun", "onggi-runtime"] {
            std::os::unix::fs::symlink(crate::support::store::program(), bin.join(name)).unwrap();
            let mut command = scene.store.command(bin.join(name));
            command.arg("--root").arg(scene.state());
            command
                .args(["run", "--bundle"])
                .arg(scene.bundle())
                .arg("web");
            scene.script("echo here");
            let outcome = crate::support::Outcome::of(name, command.output().unwrap());
            outcome.code(0).stdout("here\n");
            let version = scene
                .store
                .command(bin.join(name))
                .arg("--version")
                .output();
            let version = crate::support::Outcome::of(name, version.unwrap());
            version
                .code(0)
                .stdout_has(&format!("{name} version "))
                .stdout_has("spec: 1.");
        }
        scene.assert_empty();
    }
}
