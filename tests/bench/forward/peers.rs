//! Others that carry the connections of an ordinary user's container: passt(1) as pasta, and slirp4netns(1), each with a
//! network namespace of its own and a port of the host that leads to the server in it.
#![allow(clippy::print_stdout, reason = "a bench says what it leaves out")]

use crate::rate::{PORT, Running};
use crate::scene::{Place, Scene};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The port of the host that leads through pasta.
pub const PASTA: u16 = 5301;
/// The port of the host that leads through slirp4netns.
pub const SLIRP: u16 = 5302;

/// Runs this program again where everybody may open the device for taps, as udev(7) has it; slirp4netns is run by an
/// ordinary user here.
pub fn open_taps() {
    let Ok(device) = std::fs::metadata("/dev/net/tun") else {
        return;
    };
    if device.mode() & 0o006 == 0o006 || !crate::support::host::is_root() {
        return;
    }
    let script =
        "mount -t tmpfs taps /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec \"$0\" \"$@\"";
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", script]);
    let error = inside
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .exec();
    panic!("unshare: {error}");
}

/// Starts pasta on the host for that namespace; `None` where there is none.
pub fn pasta(scene: &Scene, inside: &Place) -> Option<Running> {
    let mut command = scene.host.command("pasta");
    command.args(["--foreground", "--quiet", "--config-net", "--netns-only"]);
    // Else it becomes nobody, whom the scene's user namespace does not have.
    command.args(["--runas", "0:0"]);
    command.args(["--no-map-gw", "-T", "none", "-u", "none", "-U", "none"]);
    command.args(["-t", &format!("{PASTA}:{PORT}")]);
    command.arg("--netns").arg(mounted(scene, inside, "pasta"));
    running("pasta", inside, &mut command)
}

/// A path of that namespace which does not lead through a process: pasta has fewer capabilities than this one when it
/// follows it.
fn mounted(scene: &Scene, inside: &Place, name: &str) -> PathBuf {
    let at = scene.directory.join(name);
    std::fs::write(&at, "").unwrap();
    let mut mount = Command::new("mount");
    mount.arg("--bind").arg(inside.path()).arg(&at);
    assert!(mount.status().unwrap().success());
    at
}

/// Starts slirp4netns on the host for that namespace, with the long packets that podman gives it; `None` where there is
/// none.
pub fn slirp4netns(scene: &Scene, inside: &Place) -> Option<Running> {
    let socket = scene.directory.join("slirp4netns");
    let mut command = scene.host.command("slirp4netns");
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
    assert!(answer.contains("return"), "slirp4netns: {answer}");
    Some(running)
}

/// One that has given the namespace its default route.
fn running(name: &str, inside: &Place, command: &mut Command) -> Option<Running> {
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
