//! Command lines that are not understood: callers read why in the log, and see runc's exit codes.

use crate::scene::{Scene, scenes};
use crate::support::{Outcome, life::until, store::program};
use serde_json::{Value, json};

/// With these words before the others the log is this file; what it says, and then it is empty.
fn log(scene: &Scene) -> ([String; 4], impl Fn() -> Vec<(String, String)> + use<>) {
    let path = scene.store.home().join("log.json");
    let options = ["--log", path.to_str().unwrap(), "--log-format", "json"].map(str::to_owned);
    let told = move || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            (field("level"), field("msg"))
        });
        lines.collect()
    };
    (options, told)
}

#[test]
fn what_is_not_understood_is_in_the_log() {
    for scene in scenes() {
        let (options, told) = log(&scene);
        for (words, code, message) in [
            (&["state", "--nosuch", "x"][..], 1, "unknown flag: --nosuch"),
            (&["state"], 1, "'onggi runtime state' requires 1 argument"),
            (
                &["exec"],
                1,
                "'onggi runtime exec' requires at least 1 argument",
            ),
            (&["delete", "a", "b"], 1, "requires 1 argument"),
            (&["exec", "--cap"], 1, "flag needs an argument: --cap"),
            (
                &["create", "--preserve-fds", "x", "y"],
                1,
                "invalid argument \"x\" for \"--preserve-fds\" flag",
            ),
            (
                &["kill", "web", "FOO"],
                1,
                "invalid argument \"FOO\": invalid signal: FOO",
            ),
            (&["frob"], 3, "unknown command: onggi runtime frob"),
            (&["help", "frob"], 3, "unknown command: onggi runtime frob"),
            (
                &["frob", "--help"],
                3,
                "unknown command: onggi runtime frob",
            ),
            (
                &["--cgroup-manager=foo", "state", "web"],
                1,
                "it is not cgroupfs, systemd or disabled",
            ),
            (&["--nosuch", "state", "web"], 1, "unknown flag: --nosuch"),
        ] {
            let failed = scene.call(&options).args(words).run();
            failed.code(code).stdout("").stderr_has(message);
            let told = told();
            assert_eq!(told.len(), 1, "{words:?}: {told:?}");
            assert_eq!(told[0].0, "error", "{words:?}");
            assert!(told[0].1.contains(message), "{words:?}: {told:?}");
            assert!(!told[0].1.contains("Usage"), "{words:?}: {told:?}");
        }
        scene.store.onggi(["frob"]).run().code(125);
        scene.store.onggi(["ps", "--nosuch"]).run().code(125);
        scene.assert_empty();
    }
}

/// What is called by another name than its own says that name.
#[test]
fn help_is_of_what_was_called() {
    for scene in scenes() {
        let bin = scene.store.home().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for name in ["runc", "crun", "onggi-runtime"] {
            std::os::unix::fs::symlink(program(), bin.join(name)).unwrap();
            let call = |words: &[&str]| {
                let output = scene.store.command(bin.join(name)).args(words).output();
                Outcome::of(name, output.unwrap())
            };
            for words in [&["state", "--help"][..], &["help", "state"]] {
                call(words)
                    .code(0)
                    .stdout_has(&format!("Usage:  {name} state ID\n"));
            }
            for words in [&["--help"][..], &["help"]] {
                call(words)
                    .code(0)
                    .stdout_has(&format!("Usage:  {name} [OPTIONS] COMMAND\n"))
                    .stdout_has("--log-format string")
                    .stdout_has(&format!("Run '{name} COMMAND --help'"))
                    .stdout_lacks(" runtime COMMAND");
            }
            call(&["state"])
                .code(1)
                .stderr_has(&format!("{name}: '{name} state' requires 1 argument"))
                .stderr_has(&format!("Usage:  {name} state ID\n"));
            call(&["frob"])
                .code(3)
                .stderr_has(&format!("{name}: unknown command: {name} frob\n"))
                .stderr_has(&format!("Run '{name} --help'"));
        }
        let plain = scene.store.onggi(["runtime", "state", "--help"]).run();
        plain.code(0).stdout_has("Usage:  onggi runtime state ID\n");
    }
}

#[test]
fn each_error_tells_what_is_wrong() {
    for scene in scenes() {
        let long = "a".repeat(300);
        scene
            .run(["state", &long])
            .code(1)
            .stderr_has("an id has at most 255 characters, and this has 300");
        scene.run(["state", "a b"]).code(1).stderr_has("make an id");
        scene
            .run(["checkpoint", "nobody"])
            .code(1)
            .stderr_has("container `nobody` does not exist")
            .stderr_lacks("criu");
        scene
            .make(&["create", "--config", "-", "web"])
            .code(1)
            .stderr_has("there is no configuration `-`");
        scene.program(&[""]);
        scene
            .make(&["create", "web"])
            .code(1)
            .stderr_has("exec: \"\": executable file not found in $PATH");
        scene.assert_empty();
    }
}

/// A bundle's author has no options of `run`.
#[test]
fn hints_name_fields_of_the_configuration() {
    for scene in scenes() {
        scene.program(&["true"]);
        let refused = |change: &dyn Fn(&mut Value), hint: &str| {
            let before = std::fs::read(scene.bundle().join("config.json")).unwrap();
            scene.change(change);
            let made = scene.make(&["create", "web"]);
            made.code(1).stderr_has("\ntry: ").stderr_has(hint);
            let text = made.stderr_text();
            for option in ["--limits", "--security-opt", "--uidmap", "--userns"] {
                assert!(!text.contains(option), "{text}");
            }
            scene.store.file("bundle/config.json", before);
        };
        let mapped = |config: &mut Value| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            if !namespaces.contains(&json!({ "type": "user" })) {
                namespaces.push(json!({ "type": "user" }));
                let map = json!([{ "containerID": 0, "hostID": 100000, "size": 10 }]);
                config["linux"]["uidMappings"] = map.clone();
                config["linux"]["gidMappings"] = map;
            }
            config["process"]["user"] = json!({ "uid": 4000000, "gid": 0 });
        };
        refused(&mapped, "`linux.uidMappings`");
        std::os::unix::fs::symlink("/tmp", scene.bundle().join("rootfs/link")).unwrap();
        let hidden = |config: &mut Value| config["linux"]["maskedPaths"] = json!(["/link/x"]);
        refused(&hidden, "`linux.maskedPaths`");
        scene.assert_empty();
    }
}

/// crun's, with which podman asks for it.
#[test]
fn there_may_be_no_control_group() {
    for scene in scenes() {
        scene.program(&["cat", "/proc/self/cgroup"]);
        let bundle = scene.bundle();
        let words = ["run", "--bundle", bundle.to_str().unwrap(), "web"];
        let manager = "--cgroup-manager=disabled";
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        scene.change(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|one| one["type"] != "cgroup");
        });
        scene.call([manager]).args(words).run().code(0).stdout(&own);
        scene.change(|config| config["linux"]["resources"]["pids"] = json!({ "limit": 50 }));
        scene
            .call([manager])
            .args(words)
            .run()
            .code(1)
            .stderr_has("limits of the `pids` controller cannot be applied: the container is to have no control group");
        scene.assert_empty();
    }
}

/// crun's: the id is an expression.
#[test]
fn several_are_killed_and_deleted_at_once() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        for id in ["web-1", "web-2", "db"] {
            scene.make(&["run", "--detach", id]).code(0);
        }
        scene
            .run(["delete", "--regex", "web-(1|2)$"])
            .code(0)
            .stderr_has("`web-1`: cannot delete container `web-1` that is not stopped");
        scene.run(["kill", "--regex", "^web", "KILL"]).code(0);
        until("they have stopped", || {
            ["web-1", "web-2"].map(|id| scene.status(id)) == ["stopped", "stopped"]
        });
        assert_eq!(scene.status("db"), "running");
        scene
            .run(["delete", "--regex", "web-(1|2)$"])
            .code(0)
            .stderr("");
        scene.run(["list", "--quiet"]).code(0).stdout("db\n");
        scene
            .run(["delete", "--regex", "("])
            .code(1)
            .stderr_has("invalid regular expression `(`");
        scene.run(["delete", "--force", "--regex", "."]).code(0);
        scene.assert_empty();
    }
}
