//! `NOTIFY_SOCKET` (sd_notify(3)): a container says that it is ready, and nothing else of what it says comes out.

use crate::scene::{Scene, scenes};
use crate::support::life::until;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The socket of a service manager, and its path.
fn manager(scene: &Scene) -> (UnixDatagram, PathBuf) {
    let path = scene.store.home().join("manager");
    let socket = UnixDatagram::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    (socket, path)
}

fn hears(manager: &UnixDatagram) -> String {
    let mut message = [0; 1024];
    let length = manager.recv(&mut message).unwrap();
    String::from_utf8(message[..length].to_vec()).unwrap()
}

fn hears_nothing(manager: &UnixDatagram) {
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 1024]).is_err());
    manager.set_nonblocking(false).unwrap();
}

/// A command that stays.
fn begin(scene: &Scene, path: &str, words: &[&str]) -> Child {
    let mut command = scene.call(words).env("NOTIFY_SOCKET", path).into_command();
    let nothing = Stdio::null;
    command.stdin(nothing()).stdout(nothing()).stderr(nothing());
    command.spawn().unwrap()
}

/// Says something to the socket that the container has.
fn says(scene: &Scene, message: &str) {
    let socket = scene.state().join("web/notify/notify.sock");
    // It exists a moment before everybody may write to it.
    let mode = || Some(std::fs::metadata(&socket).ok()?.permissions().mode() & 0o777);
    until("it listens to everybody", || mode() == Some(0o777));
    let ours = UnixDatagram::unbound().unwrap();
    until("it takes a message", || {
        ours.send_to(message.as_bytes(), &socket).is_ok()
    });
}

#[test]
fn readiness_is_passed_on_and_nothing_else() {
    for scene in scenes() {
        let (socket, path) = manager(&scene);
        let path = path.to_str().unwrap();
        scene
            .script("test -S $NOTIFY_SOCKET && echo $NOTIFY_SOCKET; rm $NOTIFY_SOCKET; sleep 1000");
        scene
            .make_with(&[("NOTIFY_SOCKET", path)], &["create", "web"])
            .code(0);
        let mut start = begin(&scene, path, &["start", "web"]);
        says(&scene, "STATUS=hello\nMAINPID=1\nFDSTORE=1\nXREADY=1");
        says(&scene, &format!("READY=1{}", "x".repeat(5000)));
        until("it runs", || scene.status("web") == "running");
        assert!(start.try_wait().unwrap().is_none());
        hears_nothing(&socket);
        says(&scene, "MAINPID=1\nREADY=1\nSTATUS=hello");
        assert!(start.wait().unwrap().success());
        let pid = scene.run(["state", "web"]).json()["pid"].clone();
        assert_eq!(hears(&socket), format!("READY=1\nMAINPID={pid}\n"));
        hears_nothing(&socket);
        assert!(scene.printed().starts_with("/run/notify/notify.sock\n"));
        assert!(scene.state().join("web/notify/notify.sock").exists());
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn who_stays_goes_on_and_who_ends_is_not_waited_for() {
    for scene in scenes() {
        let (socket, path) = manager(&scene);
        let path = path.to_str().unwrap();
        let bundle = scene.bundle();
        let bundle = bundle.to_str().unwrap();
        scene.program(&["sleep", "1000"]);
        let mut run = begin(&scene, path, &["run", "--bundle", bundle, "web"]);
        says(&scene, "READY=1");
        assert_eq!(hears(&socket), "READY=1\n");
        scene.run(["kill", "web", "KILL"]).code(0);
        assert_eq!(run.wait().unwrap().code(), Some(137));
        scene.program(&["true"]);
        scene
            .make_with(&[("NOTIFY_SOCKET", path)], &["run", "--detach", "web"])
            .code(0);
        hears_nothing(&socket);
        scene.run(["delete", "--force", "web"]).code(0);
        scene
            .make_with(&[("NOTIFY_SOCKET", path)], &["create", "web"])
            .code(0);
        let unreachable = scene
            .call(["start", "web"])
            .env("NOTIFY_SOCKET", "/nowhere");
        unreachable
            .run()
            .code(1)
            .stderr_has("reach the service manager at NOTIFY_SOCKET");
        assert_eq!(scene.status("web"), "created");
        // Who starts it has nobody to tell.
        scene.run(["start", "web"]).code(0);
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}
