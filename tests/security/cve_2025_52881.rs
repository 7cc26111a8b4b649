//! CVE-2025-52881: what the runtime writes to procfs (sysctls, the label of the program) goes to another file, since
//! the way there leads through links or mounts of the image's.

use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::{rootfs, unwalled};

const SYSCTL: [&str; 2] = ["--sysctl", "kernel.msgmax=4711"];
const FAKE: &str = "elsewhere/sys/kernel/msgmax";
const OPEN: [&str; 2] = ["--security-opt", "systempaths=unconfined"];

#[test]
fn sysctls_reach_the_kernel_or_nothing() {
    for store in everyone_in_memory() {
        let read = "cat /proc/sys/kernel/msgmax";
        store.shell(&SYSCTL, read).run().code(0).stdout("4711\n");
        let fake = || {
            [
                (FAKE, Entry::File(b"fake", 0o666)),
                ("proc", Entry::Link("/elsewhere")),
            ]
        };
        if !hostile(&store, &fake()) {
            return;
        }
        // The kernel's file lies over the image's.
        let read = format!("cat /proc/sys/kernel/msgmax /{FAKE}");
        run_hostile(&store, &[SYSCTL, OPEN].concat(), &read)
            .code(0)
            .stdout("4711\n4711\n");
        store.ok(["rmi", "hostile"]);
        // A mount of the user's covers it, and the kernel is told all the same.
        let entries = [
            ("proc", Entry::Link("srv/proc")),
            ("srv/proc", Entry::Directory),
        ];
        assert!(hostile(&store, &entries));
        let options = [&SYSCTL[..], &OPEN, &["--tmpfs", "/srv"]].concat();
        run_hostile(&store, &options, "ls /srv; ipcs -q -l")
            .code(0)
            .stdout_has("max size of message (bytes) = 4711\n");
    }
}

/// Names that are no parameters, or lead to others.
#[test]
fn no_other_file_is_written() {
    for store in everyone_in_memory() {
        for name in [
            "kernel.core_pattern",
            "kernel/core_pattern",
            "kernel.msgmax/../core_pattern",
            "net..kernel.core_pattern",
            "net.../../kernel/core_pattern",
            "net/../kernel/core_pattern",
            "fs.mqueue.../../kernel/core_pattern",
        ] {
            let option = format!("{name}=4711");
            store
                .shell(&["--sysctl", &option], "echo ran")
                .run()
                .code(125)
                .stdout("")
                .stderr_has(&format!("sysctl '{option}' is not allowed"));
        }
        // Of its slashes each is a dot of the name: a parameter of the network that there is not.
        store
            .shell(&["--sysctl", "net./etc/passwd=4711"], "echo ran")
            .run()
            .code(125)
            .stdout("")
            .stderr_has("open `/proc/sys/net/.etc.passwd`: No such file or directory");
    }
}

/// A writer that trusts the path fills the image's file.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let script = "umount /proc; rmdir /proc; mkdir -p /elsewhere/sys/kernel; ln -s /elsewhere /proc; \
                      echo 4711 >/proc/sys/kernel/msgmax";
        unwalled(&store, script).code(0);
        let fake = rootfs(&store).join(FAKE);
        assert_eq!(std::fs::read_to_string(fake).unwrap(), "4711\n");
    }
}
