//! CVE-2025-31133: paths are masked with `/dev/null`, which the image has replaced by a link to something else.

use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::unwalled;

/// What the masked files are: the null device, all of them.
const KINDS: &str = "for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/latency_stats /proc/sched_debug; do
        test -e $path && stat -c '%F %t:%T' $path
    done | sort -u";
const NULL: &str = "character special file 1:3\n";

#[test]
fn the_null_device_is_the_kernels() {
    for store in everyone_in_memory() {
        for entries in [
            vec![("dev/null", Entry::Link("/proc/sys/kernel/core_pattern"))],
            vec![("dev/null", Entry::Link("/etc/passwd"))],
            vec![("dev/null", Entry::File(b"", 0o666))],
            vec![("dev/null", Entry::Fifo)],
            vec![
                ("dev", Entry::Link("/srv")),
                ("srv/null", Entry::Link("/proc/sys/kernel/core_pattern")),
            ],
        ] {
            if !hostile(&store, &entries) {
                return;
            }
            for options in [&[][..], &["--tmpfs", "/dev"], &["-t"]] {
                run_hostile(&store, options, KINDS)
                    .code(0)
                    .stdout(&NULL.replace('\n', if options == ["-t"] { "\r\n" } else { "\n" }));
                let write = "(echo x >/proc/sys/kernel/core_pattern) 2>&1 | grep -c Read-only";
                run_hostile(&store, options, write).code(0).stdout_has("1");
            }
            store.ok(["rmi", "hostile"]);
        }
    }
}

/// Something of the user's in its place is not used as a mask.
#[test]
fn nothing_else_is_mounted_there() {
    for store in everyone_in_memory() {
        let outcome = store.shell(&["--tmpfs", "/dev/null"], KINDS).run();
        outcome.code(0).stdout(NULL);
    }
}

/// A mask that is bound from a path of the image's is what the image wants it to be.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        store.shell(&[], KINDS).run().code(0).stdout(NULL);
        let script = format!(
            "rm -f /dev/null; ln -s /etc/passwd /dev/null; mount --bind /dev/null /proc/keys; {KINDS}; grep -c root /proc/keys"
        );
        unwalled(&store, &script)
            .code(0)
            .stdout_has("regular file 0:0\n");
    }
}
