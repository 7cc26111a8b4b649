//! Who is handed a descriptor of a process (pidfd_open(2)), by the option that runc has and the annotation that crun has.

use crate::scene::{Scene, scenes};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

fn listen(scene: &Scene) -> (PathBuf, UnixListener) {
    let path = scene.store.home().join("receiver");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    (path, listener)
}

/// What is said, and the number of the process whose descriptor is handed over.
fn receive(listener: &UnixListener) -> (String, String) {
    let (connection, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 64];
    let mut buffers = [IoSliceMut::new(&mut text)];
    let received = recvmsg(
        &connection,
        &mut buffers,
        &mut ancillary,
        RecvFlags::empty(),
    );
    let length = received.unwrap().bytes;
    let Some(RecvAncillaryMessage::ScmRights(mut files)) = ancillary.drain().next() else {
        panic!("nothing is handed over");
    };
    let number = files.next().unwrap();
    let told = format!("/proc/self/fdinfo/{}", number.as_raw_fd());
    let told = std::fs::read_to_string(told).unwrap();
    let pid = told.lines().find_map(|line| line.strip_prefix("Pid:\t"));
    let said = String::from_utf8(text[..length].to_vec()).unwrap();
    (said, pid.unwrap().to_owned())
}

#[test]
fn of_every_process_that_is_started() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        let (path, listener) = listen(&scene);
        let option = ["--pidfd-socket", path.to_str().unwrap()];
        for command in [&["create"][..], &["run", "--detach"]] {
            scene.make(&[command, &option, &["web"]].concat()).code(0);
            let pid = scene.run(["state", "web"]).json()["pid"].to_string();
            assert_eq!(receive(&listener), ("standard".to_owned(), pid));
            if command[0] == "create" {
                scene.run(["delete", "--force", "web"]).code(0);
            }
        }
        let exec = [&["exec"], &option[..], &["web", "sh", "-c", "exit 3"]].concat();
        scene.call(exec).run().code(3);
        // It has ended by now.
        assert_eq!(receive(&listener), ("setns".to_owned(), "-1".to_owned()));
        scene.run(["delete", "--force", "web"]).code(0);
        drop(listener);
        let failed = scene.make(&[&["create"], &option[..], &["web"]].concat());
        failed
            .code(1)
            .stderr_has("hand over a descriptor of the process: connect to the socket");
        scene.assert_empty();
    }
}

#[test]
fn of_the_first_by_an_annotation() {
    for scene in scenes() {
        let (path, listener) = listen(&scene);
        scene.change(|config| {
            config["annotations"] = json!({ "run.oci.pidfd_receiver": path });
        });
        scene.make(&["create", "web"]).code(0);
        let pid = scene.run(["state", "web"]).json()["pid"].to_string();
        assert_eq!(receive(&listener).1, pid);
        scene.run(["delete", "web"]).code(0);
        scene.assert_empty();
    }
}
