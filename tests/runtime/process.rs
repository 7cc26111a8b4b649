//! The program and what it runs as (config.md, "Process").

use crate::scene::scenes;
use crate::support::life::until;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

fn set(pointer: &'static str, value: Value) -> impl FnOnce(&mut Value) {
    move |config| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[key] = value;
    }
}

#[test]
fn the_program_is_as_it_is_written() {
    for scene in scenes() {
        scene.change(|config| {
            config["process"]["env"] = json!(["PATH=/bin:/usr/bin", "A=one two", "EMPTY="]);
            config["process"]["cwd"] = json!("/usr");
        });
        let told = scene.shell("env | sort; pwd; umask; cat /proc/self/oom_score_adj");
        let told = told.code(0).stdout_text();
        assert!(
            told.starts_with("A=one two\nEMPTY=\nHOME=/root\nPATH=/bin:/usr/bin\n"),
            "{told}"
        );
        assert!(told.contains("\n/usr\n0022\n"), "{told}");
        // Made where it is missing, before the root is read-only.
        for is_read_only in [true, false] {
            let missing = |config: &mut Value| {
                config["process"]["cwd"] = json!(format!("/made/for/{is_read_only}"));
                config["process"]["user"]["umask"] = json!(0o077);
                config["process"]["oomScoreAdj"] = json!(777);
                config["root"]["readonly"] = json!(is_read_only);
            };
            let told = scene.shell_with(
                missing,
                "pwd; umask; cat /proc/self/oom_score_adj; touch /dev/shm/x; stat -c %a /dev/shm/x",
            );
            told.code(0)
                .stdout(&format!("/made/for/{is_read_only}\n0077\n777\n600\n"));
        }
        for wanted in [true, false] {
            let told = scene.shell_with(
                set("/process/noNewPrivileges", json!(wanted)),
                "grep NoNewPrivs /proc/self/status",
            );
            told.code(0)
                .stdout(&format!("NoNewPrivs:\t{}\n", u8::from(wanted)));
        }
        let labelled = scene.shell_with(set("/process/user/username", json!("somebody")), "id -u");
        labelled
            .code(0)
            .stdout("0\n")
            .stderr_has("`process.user.username` is for Windows");
        scene.assert_empty();
    }
}

#[test]
fn what_cannot_be_a_program_is_refused() {
    for scene in scenes() {
        scene.refuses(
            "`process.cwd` is not an absolute path",
            set("/process/cwd", json!("usr")),
        );
        scene.refuses("`process.args` is empty", set("/process/args", json!([])));
        scene.refuses(
            "`process.commandLine` is for Windows",
            set("/process/commandLine", json!("x")),
        );
        scene.refuses(
            "executable file not found",
            set("/process/args", json!(["nosuch"])),
        );
        scene.refuses(
            "permission denied",
            set("/process/args", json!(["/etc/alpine-release"])),
        );
        for limit in 0..4 {
            let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": limit, "hard": limit }]);
            scene.refuses(
                "the limit of open files is too small",
                set("/process/rlimits", limit),
            );
        }
        let groups = json!(vec![1; 65537]);
        scene.refuses(
            "`process.user.additionalGids` has more than 65536 groups",
            set("/process/user/additionalGids", groups),
        );
        scene.refuses("the character NUL", set("/process/args", json!(["a\0b"])));
        scene.refuses(
            "cannot enter the working directory",
            set("/process/cwd", json!("/etc/alpine-release")),
        );
        scene.assert_empty();
    }
}

/// It is needed only when the container is started (runtime.md, "Start").
#[test]
fn without_a_process_nothing_is_started() {
    for scene in scenes() {
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo hook >&2; exit 3"] }]);
        scene.change(|config| {
            config.as_object_mut().unwrap().remove("process");
            config["hooks"]["startContainer"] = hook;
        });
        scene.make(&["create", "web"]).code(0).stdout("");
        assert_eq!(scene.status("web"), "created");
        let missing = "no command specified: the configuration has no `process`";
        scene.run(["start", "web"]).code(1).stderr_has(missing);
        until("it has stopped", || scene.status("web") == "stopped");
        scene.run(["delete", "web"]).code(0);
        scene.make(&["run", "web"]).code(1).stderr_has(missing);
        scene.assert_empty();
    }
}

#[test]
fn who_has_no_interpreter_is_told() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        for (text, what) in [
            ("#!/nowhere/sh -e\ntrue\n", "interpreter \"/nowhere/sh\""),
            ("#! /bin/sh\r\ntrue\r\n", "interpreter \"/bin/sh\\r\""),
        ] {
            let script = scene.store.file("bundle/rootfs/bin/own", text);
            std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
            let missing =
                format!("exec /bin/own: no such file or directory: its {what} is missing");
            for name in ["/bin/own", "own"] {
                scene.program(&[name]);
                let run = scene.make(&["run", "other"]);
                run.code(1).stderr_has(&missing);
                let exec = scene.run(["exec", "web", name]);
                exec.code(255).stderr_has(&missing);
            }
        }
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn a_terminal_has_its_size() {
    for scene in scenes() {
        scene.change(|config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({ "height": 33, "width": 99 });
        });
        let told = scene.shell("stty size; tty; test -c /dev/console && echo console");
        told.code(0).stdout("33 99\n/dev/pts/0\nconsole\n");
        scene.assert_empty();
    }
}
