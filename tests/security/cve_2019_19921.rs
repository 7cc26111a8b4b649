//! CVE-2019-19921: `/proc` of the image, or a directory above what is mounted, is a symbolic link; what is masked and
//! read-only by its path is somewhere else then.

use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled;

/// Says for what is to be read-only or masked whether it is; nothing where all is well. What is opened for writing is
/// not written to.
pub const LOOK: &str = "for path in /proc/sys/kernel/core_pattern /proc/sys/kernel/msgmax /proc/irq/default_smp_affinity /proc/sysrq-trigger; do
        test -e $path && (exec 3>>$path) 2>/dev/null && echo writable $path
    done
    for path in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/acpi /proc/scsi /sys/firmware; do
        test -f $path && echo bare $path
        test -d $path && test -n \"$(ls -A $path)\" && echo bare $path
    done; true";

const REFUSAL: &str = "cannot be hidden or made read-only: a symbolic link is on the way to it";

#[test]
fn the_mount_point_is_a_link() {
    for store in everyone_in_memory() {
        for target in [
            "/elsewhere",
            "elsewhere",
            "srv/../elsewhere",
            "/chain",
            "/nowhere/deep",
        ] {
            let entries = [
                ("elsewhere", Entry::Directory),
                ("chain", Entry::Link("elsewhere")),
                ("proc", Entry::Link(target)),
            ];
            if !hostile(&store, &entries) {
                return;
            }
            // Whatever process file system it is that is mounted there.
            for options in [&[][..], &["-v", "/proc:/proc"]] {
                run_hostile(&store, options, LOOK)
                    .code(125)
                    .stdout("")
                    .stderr_has(REFUSAL);
            }
            store.ok(["rmi", "hostile"]);
        }
    }
}

/// Also where the user says what is to be masked, and where the link is in what the user mounts.
#[test]
fn a_link_on_the_way_to_what_is_masked() {
    for store in everyone_in_memory() {
        let entries = [
            ("srv/link", Entry::Link("/etc")),
            ("srv/dangling", Entry::Link("/nowhere")),
        ];
        if !hostile(&store, &entries) {
            return;
        }
        for path in ["/srv/link", "/srv/link/passwd", "/srv/dangling"] {
            let option = format!("mask={path}");
            run_hostile(&store, &["--security-opt", &option], "echo ran")
                .code(125)
                .stdout("")
                .stderr_has(&format!("`{path}` {REFUSAL}"));
        }
        let outcome = run_hostile(
            &store,
            &["--security-opt", "mask=/etc/passwd"],
            "cat /srv/link/passwd",
        );
        outcome.code(0).stdout("");

        let directory = store.home().join("sys");
        let mut make = store.command("sh");
        let script = "mkdir -p \"$0/fs/cgroup\" && ln -s /etc \"$0/firmware\"";
        make.args(["-c", script]).arg(&directory);
        unwalled::run(make).code(0);
        let bind = format!("{}:/sys", directory.display());
        store
            .shell(&["-v", &bind], LOOK)
            .run()
            .code(125)
            .stdout("")
            .stderr_has(&format!("`/sys/firmware` {REFUSAL}"));
        let open = ["-v", &bind, "--security-opt", "systempaths=unconfined"];
        store
            .shell(&open, LOOK)
            .run()
            .code(0)
            .stdout_has("bare /sys/firmware\n");
    }
}

/// In a container of an honest image there is nothing to be seen; where the wall is taken away, there is, also by way
/// of the link.
#[test]
fn without_the_wall() {
    let open = ["--security-opt", "systempaths=unconfined"];
    for store in everyone_in_memory() {
        store.shell(&[], LOOK).run().code(0).stdout("");
        store
            .shell(&open, LOOK)
            .run()
            .code(0)
            .stdout_has("writable /proc/sys/kernel/msgmax\n")
            .stdout_has("bare /proc/keys\n");
        let entries = [
            ("elsewhere", Entry::Directory),
            ("proc", Entry::Link("/elsewhere")),
        ];
        if hostile(&store, &entries) {
            run_hostile(&store, &open, LOOK)
                .code(0)
                .stdout_has("bare /proc/keys\n");
        }
    }
}
