//! CVE-2022-29162: the same by `exec` (see CVE-2022-24769), also with capabilities of its own.

use crate::cve_2022_24769::{NONE, OPTIONS, by_a_caller_with_some};
use crate::situation::{exec_shell, remove_web, web};
use crate::support::{Need, User, everyone_in_memory, requires};
use crate::unwalled;

const INHERITABLE: &str = "grep CapInh /proc/self/status";

#[test]
fn exec_gives_none() {
    for store in everyone_in_memory() {
        for options in OPTIONS {
            if options.contains(&"-u") {
                // Its first process could not say that it is ready.
                continue;
            }
            web(&store, options, "");
            exec_shell(&store, &[], INHERITABLE).code(0).stdout(NONE);
            exec_shell(&store, &["--privileged"], INHERITABLE)
                .code(0)
                .stdout(NONE);
            if store.user == User::Root && requires(&[Need::Program("setpriv")]) {
                let words = ["exec", "--privileged", "web", "sh", "-c", INHERITABLE];
                unwalled::run(by_a_caller_with_some(&store, &words))
                    .code(0)
                    .stdout(NONE);
            }
            remove_web(&store);
        }
    }
}

/// nsenter(1) goes in with what its caller has.
#[test]
fn without_the_wall() {
    if !requires(&[
        Need::Root,
        Need::Program("setpriv"),
        Need::Program("nsenter"),
    ]) {
        return;
    }
    let Some(store) = crate::support::store(User::Root).filter(crate::support::Store::alpine)
    else {
        return;
    };
    web(&store, &[], "");
    let pid = store.field("web", "{{.State.Pid}}");
    let mut enter = store.command("setpriv");
    enter.args(["--inh-caps=+net_raw,+chown", "nsenter", "-t", &pid, "-a"]);
    enter.args(["sh", "-c", INHERITABLE]);
    unwalled::run(enter)
        .code(0)
        .stdout("CapInh:\t0000000000002001\n");
}
