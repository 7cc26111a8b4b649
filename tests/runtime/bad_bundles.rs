//! What cannot be is an error that says so, and changes nothing.

use crate::scene::scenes;
use serde_json::json;

#[test]
fn nothing_is_made_of_them() {
    for scene in scenes() {
        for (what, text, message) in [
            ("rubbish", "{", "is no JSON"),
            ("no version", "{}", "ociVersion"),
            ("a strange version", "{\"ociVersion\": \"9.0.0\"}", "9.0.0"),
        ] {
            let before = std::fs::read(scene.bundle().join("config.json")).unwrap();
            scene.store.file("bundle/config.json", text);
            scene.make(&["create", "web"]).code(1).stderr_has(message);
            scene.store.file("bundle/config.json", before);
            assert!(!scene.state().join("web").exists(), "{what}");
        }
        let empty = scene.store.file("empty/.keep", "");
        let without = scene.call(["create", "--bundle"]);
        let without = without.args([empty.parent().unwrap()]).args(["web"]).run();
        without.code(1).stderr_has("there is no configuration");
        let is_file = scene.call(["create", "--bundle"]);
        let is_file = is_file.args([&empty]).args(["web"]).run();
        is_file.code(1).stderr_has("is not a directory");
        let rootfs = scene.bundle().join("rootfs");
        let aside = scene.bundle().join("aside");
        std::fs::rename(&rootfs, &aside).unwrap();
        let unrooted = scene.make(&["create", "web"]);
        unrooted.code(1).stderr_has("the root file system");
        std::fs::rename(&aside, &rootfs).unwrap();
        scene.refuses("has an empty key", |config| {
            config["annotations"] = json!({ "": "x" })
        });
        scene.refuses("a mount covers `/`", |config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.push(json!({ "destination": "/..", "type": "tmpfs", "source": "x" }));
        });
        scene.refuses("is not an absolute path", |config| {
            config["hooks"] = json!({ "prestart": [{ "path": "true" }] });
        });
        scene.refuses("timeout` is not greater than 0", |config| {
            config["hooks"] = json!({ "prestart": [{ "path": "/bin/true", "timeout": 0 }] });
        });
        let terminal =
            |wanted: bool| scene.change(|config| config["process"]["terminal"] = json!(wanted));
        terminal(true);
        scene
            .make(&["create", "web"])
            .code(1)
            .stderr_has("--console-socket");
        terminal(false);
        scene
            .make(&["create", "--console-socket", "/nowhere", "web"])
            .code(1)
            .stderr_has("no terminal");
        for id in ["../up", "a/b", ".", ""] {
            scene
                .make(&["create", id])
                .code(1)
                .stderr_has("invalid container id");
            scene
                .run(["state", id])
                .code(1)
                .stderr_has("invalid container id");
        }
        let missing = scene
            .call(["create", "--bundle", "/nowhere/at/all", "web"])
            .run();
        missing
            .code(1)
            .stderr_has("there is no bundle `/nowhere/at/all`");
        scene.program(&["/nowhere"]);
        scene
            .make(&["create", "web"])
            .code(1)
            .stderr_has("no such file or directory");
        scene.assert_empty();
    }
}

#[test]
fn an_id_is_taken_once() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["create", "web"]).code(0);
        let pid = scene.run(["state", "web"]).json()["pid"].clone();
        scene
            .make(&["create", "web"])
            .code(1)
            .stderr_has("container with given ID already exists");
        scene
            .make(&["run", "web"])
            .code(1)
            .stderr_has("container with given ID already exists");
        assert_eq!(scene.run(["state", "web"]).json()["pid"], pid);
        scene.run(["delete", "web"]).code(0);
        scene.assert_empty();
    }
}

/// Whoever is killed while he creates leaves nothing that runs, and a name that can be used again.
#[test]
fn a_killed_maker_leaves_no_process() {
    for scene in scenes() {
        scene.change(|config| {
            let hang = json!([{ "path": "/bin/sleep", "args": ["sleep", "2"] }]);
            config["hooks"] = json!({ "createRuntime": hang });
        });
        let mut maker = scene
            .call(["create", "--bundle"])
            .args([scene.bundle()])
            .args(["web"])
            .spawn();
        crate::support::life::until("it is half made", || {
            scene.state().join("web/config.json").exists()
        });
        std::thread::sleep(std::time::Duration::from_millis(300));
        maker.kill().unwrap();
        maker.wait().unwrap();
        scene
            .run(["state", "web"])
            .code(1)
            .stderr_has("does not exist");
        scene.change(|config| {
            config["hooks"] = json!({});
            config["process"]["args"] = json!(["true"]);
        });
        scene.make(&["run", "web"]).code(0);
        crate::support::life::until("nothing is left", || scene.store.processes().is_empty());
        scene.assert_empty();
    }
}
