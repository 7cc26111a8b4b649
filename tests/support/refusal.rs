//! A place where nobody makes a user namespace.

use super::{Call, Outcome, Store};
use std::io::Write;
use std::process::Command;

/// What the command of a store comes to in a user namespace that lets its processes make none. Needs root and the programs
/// `unshare` and `setpriv`.
pub fn without_user_namespaces(store: &Store, call: Call) -> Outcome {
    let call = call.into_command();
    // The limit belongs to a user namespace: the host's stays as it is.
    let script = "read mapped; exec sh -c 'echo 0 >/proc/sys/user/max_user_namespaces || exit 99; uid=$1 gid=$2; shift 2; \
                  exec setpriv --reuid $uid --regid $gid --clear-groups \"$@\"' sh \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["--user", "sh", "-c", script, "sh"]);
    outer.args([store.account.uid, store.account.gid].map(|id| id.to_string()));
    outer.arg(call.get_program()).args(call.get_args());
    outer.env("HOME", store.home()).current_dir(store.home());
    outer.envs(
        call.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let mut outer = Call::new(outer).spawn();
    wait_for_user_namespace(outer.id());
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", outer.id()), "0 0 4294967295").unwrap();
    }
    outer.stdin.take().unwrap().write_all(b"mapped\n").unwrap();
    Outcome::of(
        &format!("{call:?} without user namespaces"),
        outer.wait_with_output().unwrap(),
    )
}

/// Waits until the process has left the user namespace of the tests.
fn wait_for_user_namespace(pid: u32) {
    let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    while link(&pid.to_string()) == link("self") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
