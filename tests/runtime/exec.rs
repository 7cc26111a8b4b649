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
