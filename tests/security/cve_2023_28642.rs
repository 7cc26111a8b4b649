//! CVE-2023-28642: `/proc` of the image is a link and the user mounts something at its target, so that the label of the
//! program is written to a file of that mount.

use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::unwalled;

const LINK: [(&str, Entry<'_>); 2] = [
    ("elsewhere", Entry::Directory),
    ("proc", Entry::Link("/elsewhere")),
];

#[test]
fn the_target_of_the_link_is_mounted_on() {
    for store in everyone_in_memory() {
        if !hostile(&store, &LINK) {
            return;
        }
        for options in [
            &[][..],
            &["--security-opt", "systempaths=unconfined"],
            &["--privileged"],
        ] {
            for target in ["/elsewhere", "/proc", "/elsewhere/self", "/proc/self/attr"] {
                let tmpfs = ["--tmpfs", target];
                run_hostile(&store, &[&tmpfs, options].concat(), "echo ran")
                    .code(125)
                    .stdout("")
                    .stderr_has("lies in the container's `/proc`");
            }
        }
    }
}

/// Where nothing refuses it, what is meant for the kernel is in the file of the mount.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let script = "umount /proc; rmdir /proc; mkdir /elsewhere; ln -s /elsewhere /proc;
            mount -t proc proc /proc; mount -t tmpfs none /elsewhere; mkdir -p /elsewhere/self/attr;
            echo label >/proc/self/attr/exec; cat /elsewhere/self/attr/exec";
        unwalled(&store, script).code(0).stdout("label\n");
    }
}

/// The mount alone is nothing that is refused, nor the link where nothing is to be guarded.
#[test]
fn each_alone_is_let_through() {
    for store in everyone_in_memory() {
        if !hostile(&store, &LINK) {
            return;
        }
        let open = [
            "--security-opt",
            "systempaths=unconfined",
            "--tmpfs",
            "/srv",
        ];
        run_hostile(&store, &open, "stat -f -c %T /elsewhere /proc/self/ /srv")
            .code(0)
            .stdout("proc\nproc\ntmpfs\n");
    }
}
