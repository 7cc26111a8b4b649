//! The root directory: nothing leads above it, and whoever comes later finds the container's, wherever its first
//! process has gone.

use crate::situation::{exec, exec_shell};
use crate::support::{everyone_in_memory, life};
use crate::{probe, unwalled};

/// A root below the root.
const JAIL: &str =
    "mkdir -p /jail/bin /jail/lib; cp /bin/busybox /jail/bin; cp /lib/ld-musl* /jail/lib";

#[test]
fn the_way_up_ends_at_the_root() {
    for store in everyone_in_memory() {
        let script = "cd /proc/1/root/../../.. && cat etc/alpine-release; ls /proc/1/cwd/../../../etc/alpine-release";
        store
            .shell(&[], script)
            .run()
            .code(0)
            .stdout("3.20.3\n/proc/1/cwd/../../../etc/alpine-release\n");
        // Also with the power to change the root again, which every container's root has.
        let secret = store.file("secret", "");
        let task = format!("climb {}", secret.display());
        for options in [&[][..], &["--privileged"]] {
            let outcome = probe::run(&store, options, &task);
            assert_eq!(probe::lines(outcome.code(0)), ["inside"]);
        }
    }
}

#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let secret = store.file("secret", "");
        let task = format!("climb {}", secret.display());
        let program = probe::program(&store);
        unwalled::put(&store, &program, "probe");
        let outcome = unwalled::unwalled(&store, &probe::words("/probe", &task));
        assert_eq!(probe::lines(outcome.code(0)), ["outside"]);
    }
}

/// The first process has gone to user and network namespaces of its own: the others go where it went, but stay the
/// users that they are.
#[test]
fn process_1_in_a_nested_user_namespace() {
    for store in everyone_in_memory() {
        let script = "touch /ready; exec unshare -U -n sleep 100000";
        store.detached("web", &["--security-opt", "seccomp=unconfined"], script);
        life::until("it has gone there", || {
            let script = "readlink /proc/1/exe; tr '\\0' ' ' </proc/1/cmdline";
            exec_shell(&store, &[], script).stdout_text() == "/bin/busybox\nsleep 100000 "
        });
        exec(&store, &[], &["id", "-u"]).code(0).stdout("0\n");
        let script = "test $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) && \
                      test $(readlink /proc/self/ns/user) != $(readlink /proc/1/ns/user)";
        exec_shell(&store, &["--privileged"], script).code(0);
    }
}

/// A process that has changed its root does not take the others along.
#[test]
fn process_1_with_another_root() {
    for store in everyone_in_memory() {
        let script = format!("{JAIL}; touch /ready; exec chroot /jail /bin/busybox sleep 100000");
        store.detached("web", &[], &script);
        life::until("it has gone there", || {
            // A link of procfs, which only who may trace it can read.
            let look = ["readlink", "/proc/1/root"];
            exec(&store, &["--privileged"], &look).stdout_text() == "/jail\n"
        });
        exec(&store, &[], &["ls", "-d", "/jail"])
            .code(0)
            .stdout("/jail\n");
    }
}
