//! CVE-2023-27561, which brought CVE-2019-19921 back: other directories on the way to guarded paths are links, and
//! something of the user's is mounted on the way as well.

use crate::cve_2019_19921::LOOK;
use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;

/// What is to be masked or read-only lies somewhere else.
const GUARD: &str = "cannot be hidden or made read-only: a symbolic link is on the way to it";
/// Two of what is mounted for every container in one place, so that one covers the other.
const COVER: &str = "lies in the container's `/proc`";

#[test]
fn another_directory_is_a_link() {
    for store in everyone_in_memory() {
        let over: &[&str] = &["--tmpfs", "/srv"];
        for (entries, options, refusal) in [
            (vec![("sys", Entry::Link("/srv"))], &[][..], GUARD),
            // The link leads into what the user's own mount covers.
            (
                vec![
                    ("srv/proc", Entry::Directory),
                    ("proc", Entry::Link("srv/proc")),
                ],
                over,
                GUARD,
            ),
            (
                vec![
                    ("srv/sys", Entry::Directory),
                    ("sys", Entry::Link("srv/sys")),
                ],
                over,
                GUARD,
            ),
            (vec![("sys", Entry::Link("/proc"))], &[], COVER),
            (vec![("proc", Entry::Link("/sys"))], &[], COVER),
            (vec![("proc", Entry::Link("/dev"))], &[], COVER),
            (vec![("proc", Entry::Link("/"))], &[], GUARD),
            (
                vec![("proc", Entry::File(b"", 0o644))],
                &[],
                "mount `proc` on `/proc`: `/proc` is a file in the image, and a directory is to be mounted there",
            ),
        ] {
            if !hostile(&store, &entries) {
                return;
            }
            run_hostile(&store, options, LOOK)
                .code(125)
                .stdout("")
                .stderr_has(refusal);
            store.ok(["rmi", "hostile"]);
        }
    }
}

/// The same look sees what is bare, and such an image is otherwise one that runs.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        if !hostile(&store, &[("sys", Entry::Link("/srv"))]) {
            return;
        }
        let open = ["--security-opt", "systempaths=unconfined"];
        run_hostile(&store, &open, LOOK)
            .code(0)
            .stdout_has("bare /proc/keys\n");
    }
}
