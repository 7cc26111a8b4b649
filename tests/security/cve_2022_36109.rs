//! CVE-2022-36109: without its own group among the others, a program that takes on another group gets rid of what that
//! forbids it.

use crate::support::{ALPINE, User, everyone_in_memory};
use std::process::Command;

const LIST: &str = "sed -n 's/^Groups:\t//p' /proc/self/status";

#[test]
fn the_own_group_is_among_the_others() {
    for store in everyone_in_memory() {
        if store.user == User::Single {
            // There is nobody else to be.
            continue;
        }
        for (user, groups) in [("nobody", "65534 \n"), ("1000:1000", "1000 \n")] {
            let run = ["run", "--rm", "-u", user, ALPINE, "sh", "-c", LIST];
            store.onggi(run).run().code(0).stdout(groups);
        }
    }
}

/// A program that is given a group and no others lacks its own there.
#[test]
fn without_the_wall() {
    if !crate::support::requires(&[
        crate::support::Need::Program("setpriv"),
        crate::support::Need::Root,
    ]) {
        return;
    }
    let mut bare = Command::new("setpriv");
    bare.args([
        "--reuid=1000",
        "--regid=1000",
        "--clear-groups",
        "sh",
        "-c",
        LIST,
    ]);
    crate::unwalled::run(bare).code(0).stdout(" \n");
}
