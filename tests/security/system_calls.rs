//! System calls that a container has no business with (keyctl, bpf, userfaultfd, io_uring and others): the default
//! profile refuses them before the kernel looks at them.

use crate::probe;
use crate::support::{User, everyone_in_memory};

#[test]
fn they_are_refused() {
    for store in everyone_in_memory() {
        for options in [
            &[][..],
            &["--security-opt", "no-new-privileges"],
            &["--network", "none"],
        ] {
            let lines = probe::lines(probe::run(&store, options, "calls").code(0));
            assert_eq!(lines.len(), probe::CALLS.len() + 2, "{lines:?}");
            for line in &lines {
                assert!(
                    line.ends_with(" EPERM"),
                    "{line} as {:?} with {options:?}",
                    store.user
                );
            }
        }
    }
}

/// Without the filter the kernel looks at them, and has something else to say.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let refused = |options: &[&str]| {
            let lines = probe::lines(probe::run(&store, options, "calls").code(0));
            lines.iter().filter(|line| line.ends_with(" EPERM")).count()
        };
        if store.user == User::Root {
            assert_eq!(refused(&["--privileged"]), 0);
        }
        assert!(refused(&["--privileged"]) < 15);
        assert!(refused(&["--security-opt", "seccomp=unconfined"]) < 25);
    }
}
