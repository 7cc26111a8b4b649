//! CVE-2019-16884: something is mounted over `/proc`, so that what the runtime tells the kernel there (the label of the
//! program, its score) is told to a file, or what was to be masked is bare.

use crate::situation::{Entry, hostile, mount_points, mount_points_of, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::unwalled;

const REFUSAL: &str = "lies in the container's `/proc`";

/// The mounts below `/proc` that cover neither what is to be masked nor what is to be read-only.
fn odd<'a>(points: &'a [String], usual: &[String]) -> Vec<&'a String> {
    let below = |point: &&String| point.starts_with("/proc/") && !usual.contains(point);
    points.iter().filter(below).collect()
}

#[test]
fn by_an_option() {
    for store in everyone_in_memory() {
        for path in [
            "/proc",
            "/proc/",
            "/proc/self",
            "/proc/self/attr",
            "/proc/1",
            "/proc/sys",
            "/srv/../proc/self",
        ] {
            for options in [&[][..], &["--privileged"]] {
                let outcome = store
                    .shell(&[&["--tmpfs", path], options].concat(), "echo ran")
                    .run();
                outcome.code(125).stdout("").stderr_has(REFUSAL);
            }
        }
    }
}

/// What is mounted into every container goes where a link of the image leads.
#[test]
fn by_a_link_of_the_image() {
    for store in everyone_in_memory() {
        for (name, target) in [
            ("etc/hosts", "/proc/self/attr/exec"),
            ("etc/hosts", "/proc/1/oom_score_adj"),
            ("etc/hostname", "../proc/self/environ"),
            ("etc/resolv.conf", "/proc/keys"),
            ("etc/resolv.conf", "/proc/thread-self/oom_score_adj"),
            ("dev", "/proc/self"),
            ("sys", "/proc/sys"),
            ("dev", "proc/1/task/1"),
        ] {
            if !hostile(&store, &[(name, Entry::Link(target))]) {
                return;
            }
            for options in [&[][..], &["--security-opt", "systempaths=unconfined"]] {
                run_hostile(&store, options, "echo ran")
                    .code(125)
                    .stdout("")
                    .stderr_has(REFUSAL);
            }
            store.ok(["rmi", "hostile"]);
        }
        // The kernel makes no new names there.
        if !hostile(&store, &[("etc/hosts", Entry::Link("/proc/nothing"))]) {
            return;
        }
        run_hostile(&store, &[], "echo ran")
            .code(125)
            .stdout("")
            .stderr_has("open `/etc/hosts`: No such file or directory");
        store.ok(["rmi", "hostile"]);
        if !hostile(&store, &[("srv/link", Entry::Link("/proc/self/attr"))]) {
            return;
        }
        run_hostile(&store, &["--tmpfs", "/srv/link"], "echo ran")
            .code(125)
            .stderr_has(REFUSAL);
        run_hostile(&store, &["--tmpfs", "/srv"], "echo ran")
            .code(0)
            .stdout("ran\n");
    }
}

/// Where nothing refuses it, the same mounts are made, and seen.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let usual = mount_points_of(&store, &[]);
        assert!(odd(&usual, &usual).is_empty());
        let script = "mount -t tmpfs none /proc/1/attr; touch /hosts; mount --bind /hosts /proc/1/oom_score_adj;
            cat /proc/self/mountinfo; echo 1 >/proc/1/oom_score_adj; cat /hosts";
        let outcome = unwalled(&store, script);
        outcome.code(0).expect(
            outcome.stdout_text().ends_with("\n1\n"),
            "a file that is told the score",
        );
        let text = outcome.stdout_text();
        let found = mount_points(&text);
        assert_eq!(odd(&found, &usual).len(), 2, "{text}");
    }
}
