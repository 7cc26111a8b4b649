//! A container that fills the table of processes, bounded by `--ulimit nproc` where there are no control groups; with
//! them by `--pids-limit`, which the virtual machine shows (`tests/vm/confined`).

use crate::support::{ALPINE, User, everyone_in_memory};

const BOMB: &str = "for number in $(seq 150); do sleep 1000 & done; echo all";

#[test]
fn processes_are_bounded() {
    for store in everyone_in_memory() {
        // A user with no other processes anywhere; with a single id there is only the own one.
        let user = match store.user {
            User::Single => "0",
            _ => "54321",
        };
        let run = |options: &[&str]| {
            let run = [&["run", "--name", "web", "-u", user], options].concat();
            let words = [&run[..], &[ALPINE, "sh", "-c", BOMB]].concat();
            store.onggi(words).run()
        };
        run(&["--ulimit", "nproc=50"])
            .stdout("")
            .stderr_has("Resource temporarily unavailable");
        // All of them end with the first.
        assert_eq!(store.field("web", "{{.State.Status}}"), "exited");
        store.ok(["rm", "web"]);
        // Without the bound the same succeeds.
        run(&[]).code(0).stdout("all\n");
        store.ok(["rm", "web"]);
    }
}
