//! One more program in a container.

use crate::scene::scenes;
use crate::support::life::until;
use serde_json::json;

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
        exec("", "--preserve-fds 9", "true")
            .code(255)
            .stderr_has("pass descriptor 6 on");
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
