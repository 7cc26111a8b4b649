//! mount, umount: the root file system of a container at a path of the host.

use crate::support::{ALPINE, Outcome, Store, User, everyone_with_alpine};
use std::path::Path;

/// Commands on the store, as it is or, for an ordinary user, within `unshare`.
fn script(store: &Store, script: &str) -> Outcome {
    let program = crate::support::store::program().display().to_string();
    let arguments = ["sh", "-c", script, &program];
    if store.user != User::Root {
        return store.onggi(["unshare"].iter().chain(&arguments)).run();
    }
    let mut command = store.command("sh");
    command
        .args(&arguments[1..])
        .env("ONGGI_ROOT", store.data())
        .env("ONGGI_RUNROOT", store.run_root());
    crate::support::Call::new(command).run()
}

fn assert_nothing_is_mounted(store: &Store) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(store.path().to_str().unwrap()));
    let left = std::fs::read_dir(store.run_root().join("mounts"));
    assert_eq!(left.map_or(0, Iterator::count), 0, "as {:?}", store.user);
}

#[test]
fn a_container_that_does_not_run() {
    for store in everyone_with_alpine() {
        let command = [
            "run",
            "--name",
            "web",
            ALPINE,
            "sh",
            "-c",
            "echo hi >/made; rm /etc/motd",
        ];
        store.onggi(command).run().code(0);
        let look = "path=$($0 mount web) && cat $path/made && test ! -e $path/etc/motd && test \"$($0 mount web)\" = $path \
                    && $0 mount && $0 umount web && test ! -e $path && $0 mount";
        let outcome = script(&store, look);
        let text = outcome.code(0).stderr("").stdout_text();
        let lines: Vec<&str> = text.lines().collect();
        let [content, listed, unmounted] = lines[..] else {
            panic!("{lines:?}")
        };
        assert_eq!((content, unmounted), ("hi", "web"));
        let (id, path) = listed.split_once(' ').unwrap();
        assert_eq!(id.len(), 12);
        assert!(
            Path::new(path).starts_with(store.run_root()) && path.contains(id),
            "{path}"
        );
        assert_nothing_is_mounted(&store);
    }
}

#[test]
fn a_container_that_runs() {
    for store in everyone_with_alpine() {
        let command = "echo in >/made; echo ready; exec sleep 1000";
        let mut client = store
            .onggi([
                "run", "--name", "web", "--tmpfs", "/mnt", ALPINE, "sh", "-c", command,
            ])
            .spawn();
        super::life_cycle::wait_until_ready(&mut client);
        // What is mounted in it is not part of it.
        let look =
            "path=$($0 mount web); cat $path/made; ls $path/proc | wc -l; $0 umount --all | wc -c";
        script(&store, look).code(0).stdout("in\n0\n65\n");
        if store.user == User::Root {
            let write =
                "echo out >$($0 mount web)/written; $0 exec web cat /written; $0 umount web";
            script(&store, write).code(0).stdout("out\nweb\n");
        }
        store.onggi(["rm", "-f", "web"]).run().code(0);
        client.wait().unwrap();
        assert_nothing_is_mounted(&store);
    }
}

#[test]
fn a_start_goes_on_with_what_is_mounted() {
    for store in everyone_with_alpine().filter(|store| store.user == User::Root) {
        let command = "cat /from-outside; echo inside >/from-inside";
        store
            .onggi(["create", "--name", "web", ALPINE, "sh", "-c", command])
            .run()
            .code(0);
        let both = "path=$($0 mount web); echo outside >$path/from-outside; $0 start -a web; cat $path/from-inside; \
                    echo again >$path/from-outside; $0 start -a web; $0 cp web:/from-outside - | tar xO; $0 diff web";
        let expected = "outside\ninside\nagain\nagain\nA /from-inside\nA /from-outside\n";
        script(&store, both).code(0).stderr("").stdout(expected);
        // It goes with its mount.
        store.onggi(["rm", "web"]).run().code(0);
        assert_nothing_is_mounted(&store);
    }
}

#[test]
fn within_unshare_it_is_only_looked_at() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        store
            .onggi(["create", "--name", "web", ALPINE, "true"])
            .run()
            .code(0);
        script(&store, "touch $($0 mount web)/x")
            .code(1)
            .stderr_has("Read-only file system");
        for arguments in [&["mount", "web"][..], &["mount"], &["umount", "web"]] {
            store
                .onggi(arguments)
                .run()
                .code(1)
                .stderr_has("ordinary user")
                .stderr_has("onggi unshare");
        }
        store.assert_no_process_is_left();
        // The mount went with its namespace; only the empty directory is left.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(store.path().to_str().unwrap()));
    }
}

#[test]
fn lists_and_mistakes() {
    for store in everyone_with_alpine() {
        for name in ["one", "two"] {
            store
                .onggi(["create", "--name", name, ALPINE, "true"])
                .run()
                .code(0);
        }
        let outcome = script(
            &store,
            "$0 mount one two >/dev/null; $0 mount --format json; $0 umount -a >/dev/null",
        );
        let json = outcome.code(0).json();
        let all = json.as_array().unwrap();
        assert_eq!(all.len(), 2);
        for one in all {
            let (id, path) = (
                one["id"].as_str().unwrap(),
                one["mountpoint"].as_str().unwrap(),
            );
            assert!(id.len() == 64 && path.ends_with(id), "{json}");
        }
        let outcome = script(
            &store,
            "$0 mount one nobody two; $0 umount -a >/dev/null; exit 3",
        );
        outcome
            .code(3)
            .stdout_has("one /")
            .stdout_has("two /")
            .stderr_has("No such container: nobody");
        script(&store, "$0 umount")
            .code(1)
            .stderr_has("needs a container, or --all");
        script(&store, "$0 umount one").code(0).stdout("one\n");
        script(
            &store,
            "cd $($0 mount one); $0 umount one || $0 umount -f one",
        )
        .code(0)
        .stderr_has("is used at")
        .stdout("one\n");
        assert_nothing_is_mounted(&store);
    }
}
