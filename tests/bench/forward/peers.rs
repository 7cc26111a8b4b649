//! Others that carry the connections of an ordinary user's container: passt(1) as pasta, and slirp4netns(1), each with a
//! network namespace of its own and a port of the host that leads to the server in it.
#![allow(clippy::print_stdout, reason = "a bench says what it leaves out")]

use crate::rate::{PORT, Running};
use crate::scene::Place;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The port of the host that leads through pasta.
pub const PASTA: u16 = 5301;
/// The port of the host that leads through slirp4netns.
pub const SLIRP: u16 = 5302;

/// Starts pasta on the host for that namespace; `None` where there is none.
pub fn pasta(host: &Place, inside: &Place) -> Option<Running> {
    let mut command = host.command("pasta");
    command.args(["--foreground", "--quiet", "--config-net", "--netns-only"]);
    command.args(["--no-map-gw", "-T", "none", "-u", "none", "-U", "none"]);
    command.args(["-t", &format!("{PASTA}:{PORT}"), "--netns", &inside.path()]);
    running("pasta", inside, &mut command)
}

/// Starts slirp4netns on the host for that namespace, with the long packets that podman gives it; `None` where there is
/// none.
pub fn slirp4netns(host: &Place, inside: &Place) -> Option<Running> {
    let socket = std::env::temp_dir().join(format!("onggi-slirp-{}", std::process::id()));
    let mut command = host.command("slirp4netns");
    command.args(["--configure", "--mtu=65520", "--netns-type=path"]);
    command.arg("--api-socket").arg(&socket);
    command.args([&inside.path(), "tap0"]);
    let running = running("slirp4netns", inside, &mut command)?;
    let order = format!(
        r#"{{"execute":"add_hostfwd","arguments":{{"proto":"tcp","host_addr":"0.0.0.0","host_port":{SLIRP},"guest_port":{PORT}}}}}"#
    );
    let mut api = UnixStream::connect(&socket).unwrap();
    api.write_all(order.as_bytes()).unwrap();
    api.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    api.read_to_string(&mut answer).unwrap();
    let _ = std::fs::remove_file(socket);
    assert!(answer.contains("return"), "slirp4netns: {answer}");
    Some(running)
}

/// One that has given the namespace its default route.
fn running(name: &str, inside: &Place, command: &mut std::process::Command) -> Option<Running> {
    if !crate::support::host::has_program(name) {
        println!("  left out: {name} is not installed");
        return None;
    }
    let running = Running::start(command);
    for _ in 0..100 {
        let shown = inside
            .command("ip")
            .args(["route", "show", "default"])
            .output();
        if !shown.unwrap().stdout.is_empty() {
            return Some(running);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("  left out: {name} does not start here");
    None
}
