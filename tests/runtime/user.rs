//! Whose ids, capabilities and limits a program has (config.md, "POSIX platform user", "Linux Process", "POSIX Process").

use crate::scene::scenes;
use crate::support::User;
use serde_json::{Value, json};

#[test]
fn ids_are_those_that_are_there() {
    for scene in scenes() {
        let other = |config: &mut Value| {
            config["process"]["user"] = json!({ "uid": 405, "gid": 100, "additionalGids": [5, 6] });
        };
        if scene.store.user == User::Root {
            let told = scene.shell_with(
                other,
                "id -u; id -g; id -G; grep Cap /proc/self/status | cut -f 2 | uniq | wc -l",
            );
            told.code(0).stdout_has("405\n100\n100 5 6\n");
        } else {
            scene.refuses("that the container's user namespace does not have", other);
        }
        scene.assert_empty();
    }
}

#[test]
fn capabilities_are_those_of_the_sets() {
    for scene in scenes() {
        let set = |config: &mut Value| {
            let kill = json!(["CAP_KILL"]);
            let both = json!(["CAP_KILL", "CAP_CHOWN"]);
            config["process"]["capabilities"] = json!({ "bounding": both, "permitted": both, "inheritable": kill,
                "effective": both, "ambient": kill });
        };
        // The permitted set of root after execve(2) is the bounding set (capabilities(7)).
        let told = scene.shell_with(set, "grep Cap /proc/self/status | cut -f 2 | sed 's/^0*//'");
        told.code(0).stdout("20\n21\n21\n21\n20\n");
        let none = |config: &mut Value| {
            config["process"]
                .as_object_mut()
                .unwrap()
                .remove("capabilities");
        };
        let told = scene.shell_with(
            none,
            "grep CapEff /proc/self/status | cut -f 2 | sed 's/^0*//'",
        );
        told.code(0).stdout("\n");
        let unknown = |config: &mut Value| {
            config["process"]["capabilities"]["bounding"] = json!(["CAP_FLY", "CAP_KILL"]);
        };
        scene
            .shell_with(unknown, "true")
            .code(0)
            .stderr_has("there is no capability \"CAP_FLY\"");
        scene.assert_empty();
    }
}

#[test]
fn limits_are_set_once() {
    for scene in scenes() {
        let limits = |config: &mut Value| {
            config["process"]["rlimits"] = json!([
                { "type": "RLIMIT_NOFILE", "soft": 50, "hard": 60 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
                { "type": "RLIMIT_FSIZE", "soft": 4096, "hard": 8192 },
            ]);
        };
        let told = scene.shell_with(
            limits,
            "ulimit -Sn; ulimit -Hn; ulimit -Hc; grep '^Max file size' /proc/self/limits | tr -s ' '",
        );
        told.code(0)
            .stdout("50\n60\n0\nMax file size 4096 8192 bytes \n");
        scene.refuses("has RLIMIT_NOFILE twice", |config| {
            let one = json!({ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 60 });
            config["process"]["rlimits"] = json!([one, one]);
        });
        scene.refuses("RLIMIT_FLY", |config| {
            config["process"]["rlimits"] = json!([{ "type": "RLIMIT_FLY", "soft": 1, "hard": 1 }]);
        });
        scene.refuses("set the resource limit `nofile`", |config| {
            config["process"]["rlimits"] =
                json!([{ "type": "RLIMIT_NOFILE", "soft": 60, "hard": 50 }]);
        });
        scene.assert_empty();
    }
}

/// setresuid(2) would take it for "as it is".
#[test]
fn minus_one_is_nobody() {
    for scene in scenes() {
        for id in ["uid", "gid"] {
            scene.refuses("4294967295 is nobody's id", |config| {
                config["process"]["user"][id] = json!(4294967295_u32);
            });
        }
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        for user in ["4294967295", "0:4294967295"] {
            let exec = scene.run(["exec", "--user", user, "web", "id"]);
            exec.code(255)
                .stdout("")
                .stderr_has("4294967295 is nobody's id");
        }
        let relative = scene.run(["exec", "--cwd", "etc", "web", "pwd"]);
        relative
            .code(255)
            .stderr_has("--cwd: `etc` is not absolute");
        scene.run(["delete", "--force", "web"]).code(0);
        std::os::unix::fs::symlink("/etc", scene.state().join("link")).unwrap();
        let linked = scene.make(&["create", "link"]);
        linked.code(1).stderr_has("already exists");
        std::fs::remove_file(scene.state().join("link")).unwrap();
        scene.assert_empty();
    }
}
