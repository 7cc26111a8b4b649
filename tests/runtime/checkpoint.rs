//! Checkpoints, with the criu that `ONGGI_CRIU` names, or the one in PATH.

use crate::scene::{Scene, scenes};
use crate::support::life::until;
use crate::support::{User, skip};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn criu() -> Option<String> {
    let name = std::env::var("ONGGI_CRIU").unwrap_or("criu".to_owned());
    let told = Command::new(&name).arg("--version").output().ok();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
    let version = told
        .as_deref()
        .and_then(|told| told.strip_prefix("Version: "));
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    let works = || {
        Command::new(&name)
            .arg("check")
            .output()
            .is_ok_and(|told| told.status.success())
    };
    if major.is_none_or(|major| major < 4) || !works() {
        skip("there is no criu 4 that works here");
        return None;
    }
    Some(name)
}

#[test]
fn who_cannot_is_told_what_is_missing() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        let old = scene
            .store
            .file("old-criu", "#!/bin/sh\necho 'Version: 3.17.1'\n");
        std::fs::set_permissions(&old, PermissionsExt::from_mode(0o755)).unwrap();
        let with = |criu: &str, words: &[&str]| scene.call(["--criu", criu]).args(words).run();
        for words in [&["checkpoint", "web"][..], &["restore", "new"]] {
            if scene.store.user == User::Root {
                with("/nowhere", words)
                    .code(1)
                    .stderr_has("there is no `/nowhere`")
                    .stderr_has("install criu 4");
                with(old.to_str().unwrap(), words)
                    .code(1)
                    .stderr_has("is of version 3.17.1, and 4 is the oldest");
            } else {
                with("criu", words)
                    .code(1)
                    .stderr_has("checkpoints take root");
            }
        }
        assert_eq!(scene.status("web"), "running");
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

/// A container that counts in memory until a file of the host's appears, and ends with 7 then.
fn counting(scene: &Scene) -> std::path::PathBuf {
    let shared = scene.store.home().join("shared");
    std::fs::create_dir(&shared).unwrap();
    scene.change(|config| {
        let mount = json!({ "destination": "/shared", "source": shared, "options": ["bind"] });
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
    scene.script("n=0; until test -e /shared/stop; do n=$((n+1)); echo $n > /shared/n; sleep 0.05; done; exit 7");
    shared
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(criu) = criu() else { return };
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let shared = counting(&scene);
        let count = || {
            std::fs::read_to_string(shared.join("n"))
                .ok()?
                .trim()
                .parse::<u32>()
                .ok()
        };
        let images = scene.store.home().join("images");
        let images = images.to_str().unwrap();
        let bundle = scene.bundle();
        let call = |verb: &str, more: &[&str]| {
            let call = scene.call(["--criu", &criu, verb, "--image-path", images]);
            let mut command = call.args(more).into_command();
            let nothing = std::process::Stdio::null;
            command.stdin(nothing()).stdout(nothing()).stderr(nothing());
            command
        };
        let bundle = bundle.to_str().unwrap();
        assert!(
            call("restore", &["--bundle", bundle, "--detach", "web"])
                .status()
                .unwrap()
                .code()
                == Some(1)
        );
        let mut run = scene
            .call(["run", "--detach", "--bundle", bundle, "web"])
            .into_command();
        let nothing = std::process::Stdio::null;
        run.stdin(nothing()).stdout(nothing()).stderr(nothing());
        assert!(run.status().unwrap().success());
        until("it counts", || count() > Some(10));
        assert!(
            call("checkpoint", &["--leave-running", "web"])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(scene.status("web"), "running");
        std::fs::remove_dir_all(images).unwrap();
        scene
            .run(["--criu", &criu, "checkpoint", "--image-path", images, "web"])
            .code(0);
        scene
            .run(["state", "web"])
            .code(1)
            .stderr_has("does not exist");
        let before = count().unwrap();
        assert!(before > 10);
        std::fs::write(shared.join("n"), "0").unwrap();
        let restored = call("restore", &["--bundle", bundle, "--detach", "web"]).status();
        assert!(restored.unwrap().success());
        assert_eq!(scene.status("web"), "running");
        until("it goes on", || count() > Some(before));
        assert!(count() < Some(before + 1000));
        scene
            .run(["exec", "web", "cat", "/etc/alpine-release"])
            .code(0)
            .stdout("3.20.3\n");
        scene
            .run([
                "exec",
                "web",
                "sh",
                "-c",
                "echo x > /proc/keys; chmod 600 /proc/keys 2>&1",
            ])
            .code(1);
        // Once more, and the caller stays until it ends.
        std::fs::remove_dir_all(images).unwrap();
        assert!(call("checkpoint", &["web"]).status().unwrap().success());
        let mut attended = call("restore", &["--bundle", bundle, "web"])
            .spawn()
            .unwrap();
        until("it is there", || scene.run(["state", "web"]).succeeded());
        std::fs::write(shared.join("stop"), "").unwrap();
        assert_eq!(attended.wait().unwrap().code(), Some(7));
        scene.assert_empty();
    }
}

#[test]
fn what_cannot_be_written_down_is_refused_by_name() {
    let Some(criu) = criu() else { return };
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let images = scene.store.home().join("images");
        std::fs::create_dir(&images).unwrap();
        let restore = |message: &str| {
            let call = scene.call(["--criu", &criu, "restore", "--image-path"]);
            let call = call
                .args([images.as_path()])
                .args(["--bundle"])
                .args([scene.bundle()]);
            call.args(["web"]).run().code(1).stderr_has(message);
        };
        scene.change(|config| config["process"]["terminal"] = json!(true));
        restore("there are no checkpoints of a container with a terminal");
        scene.change(|config| {
            config["process"]["terminal"] = json!(false);
            config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true" }] });
        });
        restore("with hooks that are run before its program cannot be restored");
        scene.change(|config| config["hooks"] = json!({}));
        restore("streams.json");
        scene.assert_empty();
    }
}
