//! Setuid programs make a user root of the container; not with `no-new-privileges`, nor where a mount says `nosuid`.

use crate::probe;
use crate::situation::{Entry, hostile, run_hostile};
use crate::support::{User, everyone_in_memory};

#[test]
fn with_and_without() {
    for store in everyone_in_memory() {
        if store.user == User::Single {
            // There is nobody else to be.
            continue;
        }
        let program = std::fs::read(probe::program(&store)).unwrap();
        if !hostile(&store, &[("probe", Entry::File(&program, 0o4755))]) {
            return;
        }
        let become_root = |options: &[&str]| {
            let options = [&["-u", "1000"], options].concat();
            let outcome = run_hostile(&store, &options, &probe::words("/probe", "identity"));
            probe::lines(outcome.code(0)).join(" ")
        };
        assert_eq!(become_root(&[]), "1000 0");
        assert_eq!(
            become_root(&["--security-opt", "no-new-privileges"]),
            "1000 1000"
        );
        assert_eq!(
            become_root(&["--security-opt", "no-new-privileges:true"]),
            "1000 1000"
        );
        assert_eq!(
            become_root(&["--security-opt", "no-new-privileges=false"]),
            "1000 0"
        );
        // A copy that root makes on a tmpfs, which is `nosuid` unless it is asked otherwise.
        for (option, effective) in [("/tmp:exec", "1000 1000"), ("/tmp:exec,suid", "1000 0")] {
            let script = "cp -p /probe /tmp; chmod 4755 /tmp/probe; touch /ready; exec sleep 1000";
            let run = [
                "run", "-d", "--name", "web", "--tmpfs", option, "hostile", "sh", "-c", script,
            ];
            store.onggi(run).run().code(0);
            crate::support::life::until("it is copied", || {
                crate::situation::exec(&store, &[], &["test", "-e", "/ready"]).succeeded()
            });
            let words = probe::words("/tmp/probe", "identity");
            let outcome = crate::situation::exec_shell(&store, &["-u", "1000"], &words);
            assert_eq!(probe::lines(outcome.code(0)).join(" "), effective);
            crate::situation::remove_web(&store);
        }
    }
}
