//! `--volumes-from`: what another container has mounted, read-only where that is asked.

use super::mount_flag::{assert_refused, volumes};
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn mounts_are_those_of_the_other() {
    for store in everyone_with_alpine() {
        store.file("file", "from-host\n");
        let script = "echo kept > /named/a; echo too > /nameless/b";
        let run = [
            "run",
            "--name",
            "web",
            "-v",
            "data:/named",
            "-v",
            "/nameless",
            "-v",
            "./file:/file:ro",
        ];
        store
            .onggi(run)
            .args([ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        let read = "cat /named/a /nameless/b /file";
        let outcome = store
            .shell(
                &["--volumes-from", "web"],
                &format!("{read}; touch /named/c"),
            )
            .run();
        outcome.code(0).stdout("kept\ntoo\nfrom-host\n").stderr("");
        let outcome = store
            .shell(
                &["--volumes-from", "web:ro"],
                "touch /named/d || touch /nameless/d",
            )
            .run();
        outcome
            .code(1)
            .stderr_has("/named/d: Read-only file system")
            .stderr_has("/nameless/d: Read-only file system");
        let outcome = store.shell(&["--volumes-from", "web"], "touch /file").run();
        outcome.code(1).stderr_has("Read-only file system");
        // Its own mount wins.
        let own = ["--volumes-from", "web", "-v", "other:/named"];
        store
            .shell(&own, "ls -A /named; ls /nameless")
            .run()
            .code(0)
            .stdout("b\n");
    }
}

#[test]
fn a_volume_without_a_name_goes_with_the_last_that_has_it() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "--name", "one", "-v", "/x", ALPINE, "true"])
            .run()
            .code(0);
        store
            .onggi([
                "create",
                "--name",
                "two",
                "--volumes-from",
                "one",
                ALPINE,
                "true",
            ])
            .run()
            .code(0);
        let template = "{{json .HostConfig.VolumesFrom}} {{len .Mounts}}";
        store
            .onggi(["inspect", "-f", template, "two"])
            .run()
            .code(0)
            .stdout("[\"one\"] 1\n");
        store.onggi(["rm", "-v", "one"]).run().code(0);
        assert_eq!(volumes(&store).len(), 1);
        store.onggi(["rm", "-v", "two"]).run().code(0);
        assert_eq!(volumes(&store), [""; 0]);
    }
}

#[test]
fn what_cannot_be_leaves_nothing() {
    for store in everyone_with_alpine() {
        for (value, message) in [
            ("", "volumes-from specification cannot be an empty string"),
            (
                ":ro",
                "volumes-from specification cannot be an empty string",
            ),
            ("missing", "No such container: missing"),
            ("missing:ro", "No such container: missing"),
            ("missing:nocopy", "invalid mode: nocopy"),
            ("missing:rslave", "invalid mode: rslave"),
            ("missing:ro,rw", "invalid mode: ro,rw"),
        ] {
            assert_refused(
                &store,
                &["-v", "made:/made", "--volumes-from", value],
                message,
            );
        }
    }
}
