//! CVE-2025-52565: the terminal is bound on `/dev/console`, which is a link of the image's to what is masked or
//! read-only, or the terminal itself is not the one that was made.

use crate::situation::{Entry, hostile, mount_points, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::unwalled;

const LOOK: &str =
    "stat -c '%F %t' /dev/console; readlink /proc/self/fd/0; cat /proc/self/mountinfo";

#[test]
fn the_console_is_the_terminal() {
    for store in everyone_in_memory() {
        let mut usual = None;
        for entries in [
            vec![],
            vec![("dev/console", Entry::Link("/proc/sys/kernel/core_pattern"))],
            vec![("dev/console", Entry::Link("/etc/passwd"))],
            vec![("dev/console", Entry::Directory)],
            vec![("dev/pts", Entry::Link("/proc"))],
            vec![("dev/pts", Entry::Link("/etc"))],
            vec![("dev/ptmx", Entry::Link("/proc/sysrq-trigger"))],
            vec![("dev/pts/0", Entry::Link("/etc/passwd"))],
            vec![
                ("dev", Entry::Link("/srv")),
                ("srv/console", Entry::Link("/etc/passwd")),
            ],
        ] {
            if !hostile(&store, &entries) {
                return;
            }
            let outcome = run_hostile(&store, &["-t"], LOOK);
            outcome
                .code(0)
                .stdout_has("character special file 88\r\n")
                .stdout_has("/pts/0\r\n");
            let points = mount_points(&outcome.stdout_text().replace('\r', ""));
            let count = points.len();
            assert_eq!(*usual.get_or_insert(count), count, "{points:?}");
            assert!(
                points.iter().any(|point| point.ends_with("/console")),
                "{points:?}"
            );
            assert!(!points.contains(&"/etc/passwd".to_owned()), "{points:?}");
            store.ok(["rmi", "hostile"]);
        }
    }
}

/// Where `/dev/pts` is something of the user's, there is no terminal, rather than a wrong one.
#[test]
fn only_a_terminal_is_a_terminal() {
    for store in everyone_in_memory() {
        store
            .shell(&["-t", "--tmpfs", "/dev/pts"], "echo ran")
            .run()
            .code(125)
            .stdout("")
            .stderr_has("`/dev/pts` of the container is not a devpts file system");
        store
            .shell(&["-t", "--tmpfs", "/dev/console"], "echo ran")
            .run()
            .code(125)
            .stdout("")
            .stderr_has("`/dev/console` is a directory");
    }
}

/// A mount by path goes where the link leads, and is seen there.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let script = "mkdir -p /dev; rm -f /dev/console; ln -s /etc/passwd /dev/console; \
                      mount --bind /etc/group /dev/console; cat /proc/self/mountinfo";
        let outcome = unwalled(&store, script);
        let points = mount_points(&outcome.code(0).stdout_text());
        assert!(points.contains(&"/etc/passwd".to_owned()), "{points:?}");
    }
}
