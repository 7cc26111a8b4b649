//! A container as people make it by hand, out of unshare(1) and chroot(1): its own processes, mounts and root, and none
//! of the walls. What succeeds in here is an attempt that can succeed.

use crate::support::store::copy_program;
use crate::support::{Outcome, Store, User, image};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The descriptor of the host's that such a container has inherited: the home directory of its maker.
pub const LEAKED: i32 = 7;

/// Runs a script in one of Alpine.
pub fn unwalled(store: &Store, script: &str) -> Outcome {
    let script = format!("mount -t proc proc /proc; {script}");
    unwalled_command(store, &["sh", "-c", &script])
}

/// Puts a file of the host's into its root.
pub fn put(store: &Store, file: &Path, name: &str) {
    copy_program(file, &rootfs(store).join(name));
}

/// Its root, on the host.
pub fn rootfs(store: &Store) -> PathBuf {
    let rootfs = store.home().join("rootfs");
    if !rootfs.exists() {
        unpack(store);
    }
    rootfs
}

fn unwalled_command(store: &Store, words: &[&str]) -> Outcome {
    let rootfs = rootfs(store);
    let mut command = store.command("sh");
    let leak = format!("exec {LEAKED}<.; exec \"$0\" \"$@\"");
    command.args(["-c", &leak, "unshare", "-m", "-p", "-f", "-u", "-i"]);
    if store.user != User::Root {
        command.arg("-r");
    }
    command.arg("chroot").arg(&rootfs).args(words);
    run(command)
}

/// Runs any command of the host's and takes what it leaves.
pub fn run(mut command: Command) -> Outcome {
    let line = format!("{command:?}");
    Outcome::of(&line, command.output().unwrap())
}

fn unpack(store: &Store) {
    let file = format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    );
    let script = "mkdir rootfs && tar -xzf - -C rootfs --no-same-owner";
    let mut tar = store.command("sh");
    tar.args(["-c", script]);
    tar.stdin(std::fs::File::open(image(&file).unwrap()).unwrap());
    run(tar).code(0);
}

/// The ground of the other tests: it is a container, and it has no walls.
#[test]
fn it_is_one() {
    for store in crate::support::everyone_in_memory() {
        let script = "cat /etc/alpine-release; echo $$; mount -t tmpfs none /mnt && echo mounted; grep Seccomp: /proc/self/status";
        unwalled(&store, script)
            .code(0)
            .stdout_has("3.20.3\n")
            .stdout_has("\n1\n")
            .stdout_has("mounted")
            .stdout_has("Seccomp:\t0");
    }
}
