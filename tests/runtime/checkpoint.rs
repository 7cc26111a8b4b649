//! Checkpoints, with the criu that `ONGGI_CRIU` names, or the one in PATH.

use crate::scene::{Scene, scenes};
use crate::support::life::until;
use crate::support::{User, skip};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
fn counting(scene: &Scene) -> PathBuf {
    let shared = scene.store.home().join("shared");
    std::fs::create_dir(&shared).unwrap();
    scene.change(|config| {
        let mount = json!({ "destination": "/shared", "source": shared, "options": ["bind"] });
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
    scene.script("n=0; until test -e /shared/stop; do n=$((n+1)); echo $n > /shared/n; sleep 0.05; done; exit 7");
    shared
}

/// What the container has counted to.
fn count(shared: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(shared.join("n")).ok()?;
    text.trim().parse().ok()
}

/// Where this command's standard error goes.
fn said(scene: &Scene, verb: &str) -> PathBuf {
    scene.store.home().join(format!("said-{verb}"))
}

/// With this criu; what stays of it would hold pipes open.
fn call(scene: &Scene, criu: &str, words: &[&str]) -> Command {
    let mut command = scene.call(["--criu", criu]).args(words).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(said(scene, words[0])).unwrap());
    command
}

fn succeeds(scene: &Scene, criu: &str, words: &[&str]) {
    let done = call(scene, criu, words).status().unwrap();
    let said = std::fs::read_to_string(said(scene, words[0]));
    assert!(done.success(), "{words:?}: {said:?}");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(criu) = criu() else { return };
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let shared = counting(&scene);
        let images = scene.store.home().join("images");
        let images = ["--image-path", images.to_str().unwrap()];
        let bundle = scene.bundle();
        let bundle = ["--bundle", bundle.to_str().unwrap()];
        let checkpoint = [&["checkpoint"], &images[..], &["web"]].concat();
        let restore = [&["restore", "--detach"], &images[..], &bundle, &["web"]].concat();
        let early = call(&scene, &criu, &restore).status().unwrap();
        assert_eq!(early.code(), Some(1));
        scene.make(&["run", "--detach", "web"]).code(0);
        until("it counts", || count(&shared) > Some(10));
        succeeds(
            &scene,
            &criu,
            &[&["checkpoint", "--leave-running"], &images[..], &["web"]].concat(),
        );
        assert_eq!(scene.status("web"), "running");
        std::fs::remove_dir_all(images[1]).unwrap();
        succeeds(&scene, &criu, &checkpoint);
        let gone = scene.run(["state", "web"]);
        gone.code(1).stderr_has("does not exist");
        let before = count(&shared).unwrap();
        assert!(before > 10);
        std::fs::write(shared.join("n"), "0").unwrap();
        succeeds(&scene, &criu, &restore);
        assert_eq!(scene.status("web"), "running");
        until("it goes on", || count(&shared) > Some(before));
        assert!(count(&shared) < Some(before + 1000));
        let release = scene.run(["exec", "web", "cat", "/etc/alpine-release"]);
        release.code(0).stdout("3.20.3\n");
        let masked = "echo x > /proc/keys; chmod 600 /proc/keys 2>&1";
        scene.run(["exec", "web", "sh", "-c", masked]).code(1);
        // Once more, and the caller stays until it ends.
        std::fs::remove_dir_all(images[1]).unwrap();
        succeeds(&scene, &criu, &checkpoint);
        let attended = [&["restore"], &images[..], &bundle, &["web"]].concat();
        let mut attended = call(&scene, &criu, &attended).spawn().unwrap();
        until("it is there", || scene.run(["state", "web"]).succeeded());
        std::fs::write(shared.join("stop"), "").unwrap();
        assert_eq!(attended.wait().unwrap().code(), Some(7));
        scene.assert_empty();
    }
}

/// A page server takes the memory where the container is to go.
#[test]
fn memory_may_go_to_a_server() {
    let Some(criu) = criu() else { return };
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let shared = counting(&scene);
        scene.make(&["run", "--detach", "web"]).code(0);
        until("it counts", || count(&shared) > Some(10));
        let directory = scene.store.home().join("images");
        std::fs::create_dir(&directory).unwrap();
        let images = ["--image-path", directory.to_str().unwrap()];
        let port = free_port().to_string();
        let mut server = Command::new(&criu)
            .args([
                "page-server",
                "--images-dir",
                images[1],
                "--address",
                "127.0.0.1",
            ])
            .args(["--port", &port])
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let listens = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            table.contains(&format!(
                ":{:04X} 00000000:0000 0A",
                port.parse::<u16>().unwrap()
            ))
        };
        until("the server listens", listens);
        for wrong in ["nowhere", "127.0.0.1:x"] {
            let failed = scene.run(["--criu", &criu, "checkpoint", "--page-server", wrong, "web"]);
            failed.code(1).stderr_has("is not ADDRESS:PORT");
        }
        let words = [
            "checkpoint",
            "--page-server",
            &address,
            images[0],
            images[1],
            "web",
        ];
        succeeds(&scene, &criu, &words);
        assert!(server.wait().unwrap().success());
        let before = count(&shared).unwrap();
        let bundle = scene.bundle();
        let restore = ["restore", "--detach", "--bundle", bundle.to_str().unwrap()];
        succeeds(&scene, &criu, &[&restore[..], &images, &["web"]].concat());
        until("it goes on", || count(&shared) > Some(before));
        scene.run(["delete", "--force", "web"]).code(0);
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
