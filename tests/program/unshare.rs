//! unshare: a program where the files of an ordinary user's containers can be reached.

use crate::support::{ALPINE, User, everyone_with_alpine};

#[test]
fn a_program_is_root_of_the_containers_files() {
    for store in everyone_with_alpine() {
        let command = [
            "run",
            "--name",
            "web",
            ALPINE,
            "sh",
            "-c",
            "echo hi >/made; chown 33:44 /made",
        ];
        store.onggi(command).run().code(0);
        let script = "id -u; stat -c %u:%g \"$1\"/containers/*/upper/made; exit 7";
        let data = store.data().display().to_string();
        let outcome = store
            .onggi(["unshare", "sh", "-c", script, "sh", &data])
            .run();
        match store.user {
            User::Root => drop(
                outcome
                    .code(125)
                    .stderr_has("unshare is for ordinary users")
                    .stdout(""),
            ),
            User::Subuid => drop(outcome.code(7).stderr("").stdout("0\n33:44\n")),
            User::Single => drop(outcome.code(7).stderr("").stdout("0\n0:0\n")),
        }
    }
}

#[test]
fn what_cannot_be_executed() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        store
            .onggi(["unshare", "no-such-program"])
            .run()
            .code(127)
            .stderr_has("no-such-program");
        store
            .onggi(["unshare", "/etc/passwd"])
            .run()
            .code(126)
            .stderr_has("/etc/passwd");
    }
}

#[test]
fn without_a_program_it_is_the_shell() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        let shell = store
            .onggi(["unshare"])
            .env("SHELL", "/bin/sh")
            .stdin("id -u; exit 5\n");
        shell.run().code(5).stdout("0\n");
        store
            .onggi(["unshare"])
            .without("SHELL")
            .stdin("exit 6\n")
            .run()
            .code(6);
    }
}

#[test]
fn commands_within_are_on_the_same_store() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        let program = crate::support::store::program().display().to_string();
        let script = "$0 run --name in alpine:3.20 sh -c 'echo hi >/made; id -u' && $0 diff in && $0 commit in made >/dev/null && \
                      $0 run --rm made cat /made && $0 cp in:/made - | tar xO && $0 unshare id -u && $0 ps -aq | wc -l";
        store
            .onggi(["unshare", "sh", "-c", script, &program])
            .run()
            .code(0)
            .stderr("")
            .stdout("0\nA /made\nhi\nhi\n0\n1\n");
        // Outside it is all the same.
        store
            .onggi(["diff", "in"])
            .run()
            .code(0)
            .stdout("A /made\n");
        store
            .onggi(["run", "--rm", "made", "cat", "/made"])
            .run()
            .code(0)
            .stdout("hi\n");
        store.onggi(["rm", "in"]).run().code(0);
    }
}
