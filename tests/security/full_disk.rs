//! A container that fills the disk on which everything lies: what it is and does is told as ever, others go on, it can
//! be ended and removed, and then there is room again.

use crate::support::OwnMounts;
use crate::support::{ALPINE, Need, Store, User, everyone, requires};
use crate::unwalled;
use std::process::Command;

/// Puts a small disk in place of the data directory.
fn small_disk(store: &mut Store) -> OwnMounts {
    let mounts = OwnMounts::of(store);
    let mut mount = Command::new("nsenter");
    mount.args([
        "-m",
        "-t",
        &mounts.pid().to_string(),
        "--",
        "mount",
        "-t",
        "tmpfs",
        "-o",
    ]);
    let owner = format!(
        "size=48m,mode=700,uid={},gid={}",
        store.account.uid, store.account.gid
    );
    mount.args([&owner, "tmpfs"]).arg(store.data());
    unwalled::run(mount).code(0);
    mounts
}

#[test]
fn one_container_fills_it() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    for mut store in everyone() {
        let _mounts = small_disk(&mut store);
        if !store.alpine() {
            return;
        }
        if store.user != User::Root && !store.shell(&[], "true").run().succeeded() {
            crate::support::skip("this kernel's tmpfs cannot hold an ordinary user's overlay");
            continue;
        }
        store.detached("other", &[], "touch /ready; exec sleep 100000");
        // It says that it is done in the one way that needs no room.
        let fill = "touch /ready /said; dd if=/dev/zero of=/fill bs=64k 2>/said; rm /ready; exec sleep 100000";
        store.ok(["run", "-d", "--name", "web", ALPINE, "sh", "-c", fill]);
        crate::support::life::until("it is full", || {
            let look = "test -e /fill && test ! -e /ready";
            store
                .onggi(["exec", "web", "sh", "-c", look])
                .run()
                .succeeded()
        });
        // All of it, for everybody.
        let write = [
            "exec",
            "other",
            "dd",
            "if=/dev/zero",
            "of=/file",
            "bs=64k",
            "count=1",
        ];
        store
            .onggi(write)
            .run()
            .code(1)
            .stderr_has("No space left on device");
        assert_eq!(store.status("web"), "running 0");
        assert_eq!(store.status("other"), "running 0");
        store
            .onggi(["exec", "other", "echo", "here"])
            .run()
            .code(0)
            .stdout("here\n");
        let names = ["ps", "--format", "{{.Names}}"];
        store.onggi(names).run().code(0).stdout("web\nother\n");
        let refused = store
            .onggi(["run", "--name", "third", ALPINE, "true"])
            .run();
        // It leaves nothing half-made behind.
        refused
            .code(125)
            .stderr_has("No space left on device")
            .stderr_has("onggi system df");
        let all = ["ps", "-a", "--format", "{{.Names}}"];
        store.onggi(all).run().code(0).stdout("web\nother\n");
        store.ok(["stop", "-t", "0", "web"]);
        assert_eq!(store.status("web"), "exited 137");
        store.ok(["rm", "web"]);
        // Room again.
        store
            .shell(
                &[],
                "dd if=/dev/zero of=/fill bs=1M count=10 2>/dev/null && echo fits",
            )
            .run()
            .code(0)
            .stdout("fits\n");
        store.ok(["rm", "-f", "other"]);
    }
}
