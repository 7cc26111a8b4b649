//! Sockets that a service manager has opened (sd_listen_fds(3)): the program gets them at the same numbers.
#![allow(clippy::disallowed_methods, reason = "every address is a number")]

use crate::support::life::until;
use crate::support::store::program;
use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

/// As systemd would start it, with the listener at 3 and again at 4.
fn activated(store: &Store, listener: &TcpListener, words: &[&str]) -> Command {
    let script =
        "exec env LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:again \"$@\" 3<&0 4<&0 </dev/null";
    let mut command = store.command("sh");
    command.args(["-c", script, "sh"]).arg(program());
    command.arg("--root").arg(store.data());
    command.arg("--runroot").arg(store.run_root()).args(words);
    let copy = OwnedFd::from(listener.try_clone().unwrap());
    command.stdin(Stdio::from(copy));
    command
}

#[test]
fn a_program_finds_the_sockets_that_it_was_given() {
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES; [ $LISTEN_PID = $$ ] && echo mine; \
                  readlink /proc/$$/fd/3; readlink /proc/$$/fd/4";
    for store in everyone_with_alpine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
        let socket = std::fs::read_link(link).unwrap();
        let socket = socket.display();
        for more in [
            &["--rm"][..],
            &["--rm", "--init"],
            &["--rm", "--pid", "host"],
        ] {
            let words = [&["run"], more, &[ALPINE, "sh", "-c", script]].concat();
            let output = activated(&store, &listener, &words).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let expected = format!("2 web:again\nmine\n{socket}\n{socket}\n");
            assert!(said.starts_with(&expected), "{more:?}: {said}{output:?}");
        }
        // Those of another process are not taken.
        let foreign = store.onggi(["run", "--rm", ALPINE, "sh", "-c", "echo $LISTEN_FDS"]);
        let foreign = foreign.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
        foreign.run().code(0).stdout("\n");
    }
}

#[test]
fn they_listen_as_long_as_the_container_is_there() {
    for store in everyone_with_alpine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let words = ["run", "-d", "--name", "kept", ALPINE, "sleep", "100000"];
        let status = activated(&store, &listener, &words).status().unwrap();
        assert!(status.success());
        drop(listener);
        // It listens as long as the container runs, although nobody else holds it.
        TcpStream::connect(address).unwrap();
        store.onggi(["restart", "-t", "0", "kept"]).run().code(0);
        TcpStream::connect(address).unwrap();
        store.onggi(["rm", "-f", "kept"]).run().code(0);
        until("the socket to be closed", || {
            TcpStream::connect(address).is_err()
        });
    }
}
