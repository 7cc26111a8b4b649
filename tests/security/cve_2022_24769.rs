//! CVE-2022-24769: a container starts with inheritable capabilities, so that a program with file capabilities gets
//! them by being executed, whoever executes it (capabilities(7), "Transformation of capabilities during execve()").

use crate::situation::{exec_shell, web};
use crate::support::{ALPINE, Need, Store, User, everyone_in_memory, requires};
use crate::unwalled;
use std::process::Command;

pub const INHERITABLE: &str = "grep -h CapInh /proc/1/status /proc/self/status | sort -u";
pub const NONE: &str = "CapInh:\t0000000000000000\n";

/// The options that change what a program may do.
pub const OPTIONS: [&[&str]; 6] = [
    &[],
    &["--cap-add", "ALL"],
    &["--cap-add", "NET_ADMIN", "-u", "65534"],
    &["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"],
    &["--privileged"],
    &["--security-opt", "no-new-privileges"],
];

/// The caller's own, where it has some, are not passed on.
pub fn by_a_caller_with_some(store: &Store, words: &[&str]) -> Command {
    let onggi = store.onggi(words).into_command();
    let mut command = store.command("setpriv");
    command.args(["--inh-caps=+net_raw,+chown"]);
    command.arg(onggi.get_program()).args(onggi.get_args());
    command
}

#[test]
fn run_gives_none() {
    for store in everyone_in_memory() {
        for options in OPTIONS {
            if store.user == User::Single && options.contains(&"-u") {
                continue;
            }
            store.shell(options, INHERITABLE).run().code(0).stdout(NONE);
        }
        web(&store, &["--cap-add", "ALL"], "");
        exec_shell(&store, &[], INHERITABLE).code(0).stdout(NONE);
        if store.user == User::Root && requires(&[Need::Program("setpriv")]) {
            let words = ["run", "--rm", ALPINE, "sh", "-c", INHERITABLE];
            unwalled::run(by_a_caller_with_some(&store, &words))
                .code(0)
                .stdout(NONE);
        }
    }
}

/// A program that is started as it is keeps them.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Root, Need::Program("setpriv")]) {
        return;
    }
    let mut bare = Command::new("setpriv");
    bare.args([
        "--inh-caps=+net_raw,+chown",
        "sh",
        "-c",
        "grep CapInh /proc/self/status",
    ]);
    unwalled::run(bare)
        .code(0)
        .stdout("CapInh:\t0000000000002001\n");
}
