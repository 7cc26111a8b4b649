//! CVE-2023-27561, which brought CVE-2019-19921 back: other directories on the way to guarded paths are links, and
//! something of the user's is mounted on the way as well.

use crate::cve_2019_19921::LOOK;
use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;

#[test]
fn another_directory_is_a_link() {
    for store in everyone_in_memory() {
        for (entries, options) in [
            (vec![("sys", Entry::Link("/srv"))], &[][..]),
            // The link leads into what the user's own mount covers.
            (
                vec![
                    ("srv/proc", Entry::Directory),
                    ("proc", Entry::Link("srv/proc")),
                ],
                &["--tmpfs", "/srv"],
            ),
            (
                vec![
                    ("srv/sys", Entry::Directory),
                    ("sys", Entry::Link("srv/sys")),
                ],
                &["--tmpfs", "/srv"],
            ),
            // Both in one place: the second covers the first.
            (vec![("sys", Entry::Link("/proc"))], &[]),
            (vec![("proc", Entry::Link("/sys"))], &[]),
            (vec![("proc", Entry::Link("/dev"))], &[]),
            (vec![("proc", Entry::Link("/"))], &[]),
            (vec![("proc", Entry::File(b"", 0o644))], &[]),
        ] {
            if !hostile(&store, &entries) {
                return;
            }
            run_hostile(&store, options, LOOK).code(125).stdout("");
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
