//! rename: another name for a container, whatever state it is in.

use crate::support::life::OBEDIENT;
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn everything_follows() {
    for store in everyone_with_alpine() {
        let id = store.detached("old", &["-h", "box"], OBEDIENT);
        store
            .onggi(["rename", "old", "new"])
            .run()
            .code(0)
            .stdout("")
            .stderr("");
        store
            .onggi(["ps", "--format", "{{.Names}}"])
            .run()
            .code(0)
            .stdout("new\n");
        assert_eq!(
            store.field("new", "{{.Name}} {{.Id}}"),
            format!("/new {id}")
        );
        store.refused(["inspect", "old"], "old");
        assert_eq!(store.ok(["exec", "new", "hostname"]), "box\n");
        // The old one is free, and its monitor minds the new one.
        store.ok(["create", "--name", "old", ALPINE, "true"]);
        store.ok(["stop", "new"]);
        assert_eq!(store.status("new"), "exited 7");
        store.ok(["rename", &id[..12], "/third"]);
        store.ok(["start", "third"]);
        store.ok(["rm", "-f", "third", "old"]);
        assert_eq!(
            std::fs::read_dir(store.data().join("names"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn what_cannot_be() {
    for store in everyone_with_alpine() {
        let one = store.ok(["create", "--name", "one", ALPINE, "true"]);
        store.ok(["create", "--name", "two", ALPINE, "true"]);
        // Whoever changes a record makes its lock.
        store.ok(["update", "--restart", "no", "one", "two"]);
        let before = store.snapshot();
        let taken = format!(
            "Conflict. The container name \"/one\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
            one.trim()
        );
        store.refused(["rename", "two", "one"], &taken);
        store.refused(["rename", "two", "/one"], &taken);
        store.refused(
            ["rename", "one", "one"],
            "Renaming a container with the same name as its current name",
        );
        store.refused(
            ["rename", "one", "_x"],
            "Invalid container name (_x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        );
        store.refused(["rename", "one", ""], "");
        store.refused(["rename", "missing", "three"], "No such container: missing");
        store.assert_unchanged(&before);
    }
}

/// The link of the new name comes first, then the record, then the link of the old name goes.
#[test]
fn a_rename_that_was_killed_is_there_whole_or_not_at_all() {
    for store in everyone_with_alpine() {
        let id = store.ok(["create", "--name", "one", ALPINE, "true"]);
        let link = |name: &str| {
            std::os::unix::fs::symlink(id.trim(), store.data().join("names").join(name)).unwrap()
        };
        // Before the record was written.
        link("early");
        store.refused(["inspect", "early"], "early");
        assert_eq!(store.field("one", "{{.Name}}"), "/one");
        store.ok(["create", "--name", "early", ALPINE, "true"]);
        store.ok(["rm", "early"]);
        // After it: the old name leads nowhere and can be had.
        store.ok(["rename", "one", "two"]);
        link("one");
        store.refused(["inspect", "one"], "one");
        store.ok(["rename", "two", "one"]);
        assert_eq!(store.field("one", "{{.Name}}"), "/one");
        link("two");
        store.ok(["rm", "one"]);
        store.ok(["create", "--name", "two", ALPINE, "true"]);
        store.ok(["rm", "two"]);
        assert_eq!(
            std::fs::read_dir(store.data().join("names"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn the_monitor_announces_the_new_name() {
    for store in everyone_with_alpine() {
        store.detached("old", &[], OBEDIENT);
        store.ok(["rename", "old", "new"]);
        store.ok(["stop", "new"]);
        let actions = store.ok([
            "events",
            "--until",
            "0s",
            "--filter",
            "container=new",
            "--format",
            "{{.Action}}",
        ]);
        assert!(actions.contains("die\n"), "{actions}");
    }
}
