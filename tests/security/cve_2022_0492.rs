//! CVE-2022-0492: a cgroup hierarchy that can be written to runs a program of the container's as root of the host
//! (`release_agent` of version 1); a user namespace of one's own was enough to mount one.

use crate::situation::{exec_shell, web};
use crate::support::{ALPINE, User, everyone_in_memory, skip};

const WRITE: &str = "for file in $(find /sys/fs/cgroup -maxdepth 2 -name release_agent -o -maxdepth 2 -name cgroup.procs); do
        (exec 3>>$file) 2>/dev/null && echo writable $file
    done; true";
/// Each controller is tried, and a hierarchy without any.
const MOUNT: &str =
    "mount -t cgroup2 none /x && echo mounted 2; for name in memory rdma cpu none,name=systemd; do
        mount -t cgroup -o $name none /x && echo mounted $name && umount /x
    done 2>/dev/null; true";

#[test]
fn no_hierarchy_can_be_written_to() {
    for store in everyone_in_memory() {
        store.shell(&[], WRITE).run().code(0).stdout("");
        web(&store, &[], "");
        exec_shell(&store, &[], WRITE).code(0).stdout("");
    }
}

#[test]
fn no_hierarchy_can_be_mounted() {
    for store in everyone_in_memory() {
        let direct = format!("mkdir /x; {MOUNT}");
        store.shell(&[], &direct).run().code(0).stdout("");
        for flags in ["-Ur", "-Urm"] {
            let script = format!("mkdir /x; unshare {flags} sh -c '{MOUNT}'");
            let outcome = store.shell(&[], &script).run();
            outcome.code(1).stdout("").stderr_has("unshare: ");
        }
        store
            .shell(&[], "unshare -Ur true")
            .run()
            .code(1)
            .stderr_has("Operation not permitted");
    }
}

/// Without the filter the user namespace is there; with everything open, a hierarchy as well.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        store
            .shell(
                &["--security-opt", "seccomp=unconfined"],
                "unshare -Ur true",
            )
            .run()
            .code(0);
        if store.user != User::Root {
            continue;
        }
        let run = ["run", "--rm", "--privileged", ALPINE, "sh", "-c"];
        let mount = format!("mkdir -p /x; {MOUNT}");
        let outcome = store.onggi(run.iter().chain(&[mount.as_str()])).run();
        if !std::path::Path::new("/sys/fs/cgroup").is_dir() {
            skip("no cgroups on this host");
            continue;
        }
        outcome.stdout_has("mounted");
        store
            .shell(&["--privileged"], WRITE)
            .run()
            .stdout_has("writable /sys/fs/cgroup/");
    }
}
