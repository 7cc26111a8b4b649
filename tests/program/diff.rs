//! diff: what a container has changed of its image.

use crate::support::{ALPINE, Store, User, everyone_with_alpine};

/// Runs a script in a container that stays, as `web`.
fn changed_by(store: &Store, script: &str) {
    store
        .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
        .run()
        .code(0);
}

#[test]
fn added_changed_and_deleted_sorted_by_path() {
    for store in everyone_with_alpine() {
        let cases: &[(&str, &str)] = &[
            ("true", ""),
            ("echo x >/new", "A /new\n"),
            ("rm /etc/motd", "C /etc\nD /etc/motd\n"),
            (
                "mkdir -p /a/b; ln -s /etc/passwd /a/link",
                "A /a\nA /a/b\nA /a/link\n",
            ),
            ("chmod 600 /etc/passwd", "C /etc\nC /etc/passwd\n"),
            // A new directory of the old name, with one of the files that the old one had.
            (
                "cp /media/cdrom/x /x 2>/dev/null; rm -r /media; mkdir -p /media/usb /media/new",
                "C /media\nD /media/cdrom\nD /media/floppy\nA /media/new\n",
            ),
            ("rm -r /media", "D /media\n"),
            ("rm -r /media; echo x >/media", "C /media\n"),
            (
                "rm /etc/motd; mkdir /etc/motd; touch /etc/motd/x",
                "C /etc\nC /etc/motd\nA /etc/motd/x\n",
            ),
            // Copied up, and the same again.
            ("chmod 600 /etc/motd; chmod 644 /etc/motd", ""),
            ("rm -r /srv; mkdir /srv", ""),
            (
                "mkfifo /p; touch '/b a' /b-a; mkdir /b; touch /b/c",
                "A /b\nA /b a\nA /b-a\nA /b/c\nA /p\n",
            ),
            (
                "printf 'x\\n' >\"$(printf '/a\\033[31m\\nb')\"",
                "A /a\\x1b[31m\\nb\n",
            ),
            ("mkdir /mnt/x && chmod 700 /mnt", "C /mnt\nA /mnt/x\n"),
        ];
        for (script, expected) in cases {
            changed_by(&store, script);
            let before = store.snapshot();
            for spelling in [&["diff", "web"][..], &["container", "diff", "web"]] {
                store
                    .onggi(spelling)
                    .run()
                    .code(0)
                    .stdout(expected)
                    .stderr("");
            }
            store.assert_unchanged(&before);
            store.onggi(["rm", "web"]).run().code(0);
        }
    }
}

#[test]
fn what_is_mounted_does_not_count() {
    for store in everyone_with_alpine() {
        store
            .onggi([
                "run",
                "--name",
                "web",
                "--tmpfs",
                "/tmp",
                ALPINE,
                "touch",
                "/tmp/x",
                "/dev/shm/y",
            ])
            .run()
            .code(0);
        store.onggi(["diff", "web"]).run().code(0).stdout("");
    }
}

#[test]
fn of_a_container_that_never_ran_and_of_one_that_runs() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "--name", "new", ALPINE, "true"])
            .run()
            .code(0);
        store.onggi(["diff", "new"]).run().code(0).stdout("");
        let script = "echo x >/made; rm /etc/motd; echo ready; exec sleep 1000";
        let mut client = store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .spawn();
        super::life_cycle::wait_until_ready(&mut client);
        store
            .onggi(["diff", "web"])
            .run()
            .code(0)
            .stdout("C /etc\nD /etc/motd\nA /made\n");
        store.onggi(["rm", "-f", "web"]).run().code(0);
        client.wait().unwrap();
        store
            .onggi(["diff", "web"])
            .run()
            .code(1)
            .stderr_has("No such container: web");
    }
}

#[test]
fn a_change_of_owner_counts_where_there_are_owners() {
    for store in everyone_with_alpine() {
        changed_by(&store, "chown 33:44 /etc/motd");
        let expected = match store.user {
            User::Single => "",
            _ => "C /etc\nC /etc/motd\n",
        };
        store.onggi(["diff", "web"]).run().code(0).stdout(expected);
    }
}
