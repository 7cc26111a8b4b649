//! One more program in a container.

use crate::scene::scenes;
use crate::support::User;
use crate::support::life::until;
use serde_json::{Value, json};

#[test]
fn a_program_joins_and_is_told_its_words() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        let exec = |words: &[&str]| scene.call(["exec"]).args(words).run();
        exec(&["web", "sh", "-c", "echo $$ >&2; exit 5"]).code(5);
        exec(&[
            "--env",
            "A=b",
            "--cwd",
            "/tmp",
            "web",
            "sh",
            "-c",
            "echo $A; pwd",
        ])
        .code(0)
        .stdout("b\n/tmp\n");
        exec(&["web", "cat", "/proc/1/comm"])
            .code(0)
            .stdout("sleep\n");
        exec(&["web", "nosuch"])
            .code(255)
            .stderr_has("executable file not found in $PATH");
        exec(&["web"]).code(255).stderr_has("no command is given");
        let process = json!({ "args": ["sh", "-c", "echo file $X"], "cwd": "/", "env": ["X=y", "PATH=/bin"],
            "user": { "uid": 0, "gid": 0 } });
        let path = scene.store.file("process.json", process.to_string());
        exec(&["--process", path.to_str().unwrap(), "web"])
            .code(0)
            .stdout("file y\n");
        scene.run(["kill", "web", "KILL"]).code(0);
        until("it has stopped", || scene.status("web") == "stopped");
        exec(&["web", "true"])
            .code(255)
            .stderr_has("cannot exec in a stopped container");
        scene.run(["delete", "web"]).code(0);
        scene.assert_empty();
    }
}

/// Also where it runs as somebody else (the descriptors are those of the caller, whoever owns the files).
#[test]
fn descriptors_are_passed_on() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        for (number, name) in [(3, "three"), (4, "four"), (5, "five")] {
            scene.store.file(name, format!("{name} at {number}"));
        }
        let state = scene.state();
        let exec = |variables: &str, options: &str, script: &str| {
            let line = format!(
                "exec 3<three 4<four 5<five; {variables} exec onggi runtime --root {} exec {options} web sh -c '{script}'",
                state.display()
            );
            scene.store.script(&line).run()
        };
        exec(
            "",
            "--preserve-fds 2",
            "cat <&3; cat <&4; ls /proc/self/fd | tr \"\\n\" \" \"",
        )
        .code(0)
        .stdout("three at 3four at 40 1 2 3 4 5 ");
        exec(
            "LISTEN_FDS=1",
            "",
            "cat <&3; echo \" $LISTEN_FDS\"; test $LISTEN_PID = $$; test ! -e /proc/self/fd/4",
        )
        .code(0)
        .stdout("three at 3 1\n");
        exec(
            "LISTEN_FDS=1",
            "--preserve-fds 2",
            "cat <&3; cat <&4; cat <&5; echo \" $LISTEN_FDS\"",
        )
        .code(0)
        .stdout("three at 3four at 4five at 5 1\n");
        // Some of them are closed, and the others stay where they are; what this program has opened itself is not among them.
        exec(
            "exec 4<&-;",
            "--preserve-fds 5",
            "cat <&3; cat <&5; ls /proc/self/fd | tr \"\\n\" \" \"",
        )
        .code(0)
        .stdout("three at 3five at 50 1 2 3 4 5 ");
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn one_that_is_left_goes_on() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        let path = scene.store.home().join("exec-pid");
        let words = [
            "--detach",
            "--pid-file",
            path.to_str().unwrap(),
            "web",
            "sleep",
            "2000",
        ];
        let mut command = scene.call(["exec"]).args(words).into_command();
        let nothing = std::process::Stdio::null;
        let status = command
            .stdin(nothing())
            .stdout(nothing())
            .stderr(nothing())
            .status();
        assert!(status.unwrap().success());
        let pid = std::fs::read_to_string(&path).unwrap();
        let told = scene.run(["ps", "--format", "json", "web"]).code(0).json();
        let pids: Vec<String> = told
            .as_array()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(pids.contains(&pid), "{pids:?} {pid}");
        scene.run(["delete", "--force", "web"]).code(0);
        until("nothing is left", || scene.store.processes().is_empty());
        scene.assert_empty();
    }
}

/// `LISTEN_FDS` is in the environment of all that a service has started: it is for the process that `LISTEN_PID` names, and no
/// other refuses to start because of it.
#[test]
fn descriptors_of_another_process_are_not_awaited() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        scene.store.file("three", "three");
        let state = scene.state();
        let exec = |variables: &str| {
            let line = format!(
                "exec 3<&- 4<&-; {variables} exec onggi runtime --root {} exec web sh -c 'echo ${{LISTEN_FDS-none}} ${{LISTEN_FDNAMES-none}}; \
                 ls /proc/self/fd | tr \"\\n\" \" \"'",
                state.display()
            );
            scene.store.script(&line).run()
        };
        let nothing = "none none\n0 1 2 3 ";
        for stray in [
            "export LISTEN_FDS=1;",
            "export LISTEN_FDS=1 LISTEN_PID=1 LISTEN_FDNAMES=web;",
            "exec 3<three; export LISTEN_FDS=1 LISTEN_PID=1;",
            "exec 3<three; export LISTEN_FDS=2;",
            "export LISTEN_FDS=x LISTEN_PID=$$;",
        ] {
            exec(stray).code(0).stdout(nothing);
        }
        exec("exec 3<three; export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web;")
            .code(0)
            .stdout("1 web\n0 1 2 3 4 ");
        exec("exec 3<three; export LISTEN_FDS=2 LISTEN_PID=$$;")
            .code(255)
            .stderr_has("pass descriptor 4 on, which LISTEN_FDS=2 speaks of");
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

/// A first process is told of them under the number that it has for itself.
#[test]
fn a_first_process_is_told_of_its_descriptors() {
    for scene in scenes() {
        scene.script("cat <&3; echo \" $LISTEN_FDS $LISTEN_PID ${LISTEN_FDNAMES-none}\"");
        scene.store.file("three", "three");
        let (state, bundle) = (scene.state(), scene.bundle());
        let run = |variables: &str| {
            let line = format!(
                "exec 3<three; {variables} exec onggi runtime --root {} run --bundle {} web",
                state.display(),
                bundle.display()
            );
            scene.store.script(&line).run()
        };
        run("export LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=web;")
            .code(0)
            .stdout("three 1 1 web\n");
        run("export LISTEN_FDS=1;")
            .code(0)
            .stdout("three 1 1 none\n");
        scene.assert_empty();
    }
}

/// What is lost by fork(2) is the program's all the same.
#[test]
fn a_program_has_the_scheduler_that_its_children_have_not() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        let exec = |scheduler: Value, more: Value| {
            let script = "awk '{ print $41, $19 }' /proc/$$/stat; awk '{ print $41, $19 }' /proc/self/stat; ionice -p $$";
            let mut process = json!({ "args": ["sh", "-c", script], "cwd": "/", "env": ["PATH=/bin:/usr/bin"],
                "user": { "uid": 0, "gid": 0 }, "scheduler": scheduler,
                "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 0 } });
            for (key, value) in more.as_object().unwrap() {
                process[key] = value.clone();
            }
            let path = scene.store.file("process.json", process.to_string());
            let words = ["exec", "--process", path.to_str().unwrap(), "web"];
            scene.call(words).run()
        };
        let batch = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        exec(batch.clone(), json!({}))
            .code(0)
            .stdout("3 5\n3 5\nidle\n");
        let reset = json!(["SCHED_FLAG_RESET_ON_FORK"]);
        let mut own = batch;
        own["flags"] = reset.clone();
        let gone = json!({ "args": ["nosuch"] });
        exec(own.clone(), json!({}))
            .code(0)
            .stdout("3 5\n3 5\nidle\n");
        exec(own, gone).code(255).stderr_has("not found in $PATH");
        let fifo = json!({ "policy": "SCHED_FIFO", "priority": 10, "flags": reset });
        let ran = exec(fifo, json!({}));
        match scene.store.user {
            User::Root => ran.code(0).stdout("1 0\n0 0\nidle\n"),
            _ => ran.code(255).stderr_has("set the scheduler"),
        };
        let deadline = json!({ "policy": "SCHED_DEADLINE", "runtime": 10000000, "deadline": 50000000, "period": 50000000 });
        let alone = json!({ "args": ["awk", "{ print $41 }", "/proc/self/stat"] });
        let ran = exec(deadline, alone);
        match scene.store.user {
            User::Root => ran.code(0).stdout("6\n"),
            _ => ran.code(255).stderr_has("set the scheduler"),
        };
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}
