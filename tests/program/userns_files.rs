//! The files of containers with ids of their own, from both sides: owners, layers, devices, streams
//! (user_namespaces(7)).

use crate::support::{ALPINE, Store, User, everyone_with_alpine};
use crate::userns::{as_user, detached};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Options that give ids of their own, with the id outside that 5 inside is.
fn nested(user: User) -> Vec<(Vec<&'static str>, u32)> {
    match user {
        User::Root => vec![(vec!["--uidmap", "0:200000:65536"], 200_005)],
        User::Subuid => vec![
            (vec!["--userns", "keep-id"], 100_005),
            (vec!["--userns", "nomap"], 100_005),
            (vec!["--userns", "auto:size=3000"], 100_005),
            (vec!["--uidmap", "0:1001:2000"], 101_005),
        ],
        User::Single => Vec::new(),
    }
}

#[test]
fn files_belong_to_whom_they_should_on_both_sides() {
    for store in everyone_with_alpine() {
        for (options, outside) in nested(store.user) {
            let script = "set -e; cat /etc/motd >/dev/stdout; chown 5:6 /etc/motd; mkdir -p /d; chown 7 /d; \
                          echo 127.0.0.9 it >>/etc/hosts; test -c /dev/null; echo x >/dev/null; \
                          stat -c %u:%g /bin/busybox /etc/shadow /etc/hosts /; touch /done; exec sleep 100000";
            let words = ["run", "-d", "--name", "web"];
            // Whoever the container starts as, root is to do this.
            let program = ["--user", "0", ALPINE, "sh", "-c", script];
            let made = store
                .onggi(words.iter().chain(&options).chain(&program))
                .run();
            made.code(0);
            let exec = |words: &[&str]| store.onggi(["exec", "web"].iter().chain(words)).run();
            crate::exec::until("the container is ready", || {
                exec(&["test", "-e", "/done"]).succeeded()
            });
            // What a program has written comes to its log a moment later.
            crate::exec::until("the log has all lines", || {
                let said = store.onggi(["logs", "web"]).run().stdout_text();
                said.ends_with("\n0:0\n0:42\n0:0\n0:0\n") && said.starts_with("Welcome to Alpine")
            });
            exec(&["stat", "-c", "%u:%g", "/etc/motd"])
                .code(0)
                .stdout("5:6\n");
            exec(&["id", "-u"]).code(0).stdout("0\n");
            let upper = upper(&store);
            let file = std::fs::metadata(upper.join("etc/motd")).unwrap();
            assert_eq!(
                (file.uid(), file.gid()),
                (outside, outside + 1),
                "{options:?}"
            );
            let directory = std::fs::metadata(upper.join("d")).unwrap();
            assert_eq!(
                (directory.uid(), directory.gid()),
                (outside + 2, outside - 5)
            );

            // Views from outside call them as the container does, whether it runs or not.
            for up in [true, false] {
                let archive = store.onggi(["cp", "web:/etc/motd", "-"]).run();
                let mut archive =
                    tar::Archive::new(std::io::Cursor::new(archive.stdout_bytes().to_vec()));
                let entry = archive.entries().unwrap().next().unwrap().unwrap();
                let owner = (entry.header().uid().unwrap(), entry.header().gid().unwrap());
                assert_eq!(owner, (5, 6), "{options:?} {up}");
                let changes = store.onggi(["diff", "web"]).run();
                let said = changes.code(0).stdout_text();
                assert_eq!(
                    said, "A /d\nA /done\nC /etc\nC /etc/motd\n",
                    "{options:?} {up}"
                );
                if up {
                    store.onggi(["kill", "web"]).run().code(0);
                }
            }
            store.onggi(["commit", "web", "made"]).run().code(0);
            let words = [
                "run",
                "--rm",
                "made",
                "stat",
                "-c",
                "%u:%g",
                "/etc/motd",
                "/d",
                "/bin/sh",
            ];
            store.onggi(words).run().code(0).stdout("5:6\n7:0\n0:0\n");
            // Another start finds what the first has left.
            store.onggi(["start", "web"]).run().code(0);
            exec(&["stat", "-c", "%u:%g", "/etc/motd"])
                .code(0)
                .stdout("5:6\n");
            store.onggi(["rm", "-f", "web"]).run().code(0);
        }
    }
}

/// Where the only container of a store keeps what it has written.
fn upper(store: &Store) -> PathBuf {
    let entries = std::fs::read_dir(store.data().join("containers")).unwrap();
    let [container] = &entries
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>()[..]
    else {
        panic!("more than one container");
    };
    container.join("upper")
}

/// The copies of layers with other owners.
fn copies(store: &Store) -> usize {
    let layers = std::fs::read_dir(store.data().join("layers")).unwrap();
    let parts = layers.flat_map(|layer| std::fs::read_dir(layer.unwrap().path()).unwrap());
    let names = parts.map(|part| part.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("mapped-")).count()
}

#[test]
fn layers_are_copied_only_where_their_mounts_cannot_be_mapped() {
    for store in everyone_with_alpine() {
        let options = store.own_user_namespace();
        let first = store.shell(&options, "true").run();
        first.code(0);
        let told = first.stderr_text();
        match store.user {
            User::Subuid => {
                assert_eq!(copies(&store), 1);
                assert!(
                    told.starts_with("copying layer ")
                        && told.ends_with(" for the ids of this container, once (1/1)\n"),
                    "{told}"
                );
            }
            User::Root | User::Single => assert_eq!((copies(&store), told.as_str()), (0, "")),
        }
        let second = store.shell(&options, "true").run();
        second.code(0).stderr("");
        let made = copies(&store);
        assert!(made < 2);
        // A container that does not run needs them for its next start.
        detached(&store, "web", &options).code(0);
        store.onggi(["kill", "web"]).run().code(0);
        let prune = |filter: &[&str]| {
            let words = ["container", "prune", "-f"].iter().chain(filter);
            let outcome = store.onggi(words).run();
            outcome.code(0).stderr("").stdout_text()
        };
        prune(&["--filter", "label=none"]);
        assert_eq!(copies(&store), made);
        let told = prune(&[]);
        assert_eq!(copies(&store), 0);
        assert_eq!(told.contains("reclaimed space: 0B"), made == 0, "{told}");
        store.shell(&options, "true").run().code(0);
        assert_eq!(copies(&store), made);
        store.onggi(["rmi", ALPINE]).run().code(0);
        assert_eq!(
            std::fs::read_dir(store.data().join("layers"))
                .unwrap()
                .count(),
            0
        );
    }
}

/// Real root has unpacked the image, with the device nodes that are in it.
#[test]
fn device_nodes_of_an_image_stay_closed() {
    let Some(store) = as_user(User::Root) else {
        return;
    };
    let make = [
        "run", "--name", "made", ALPINE, "mknod", "-m", "666", "/node", "c", "1", "3",
    ];
    store.onggi(make).run().code(0);
    store.onggi(["commit", "made", "node"]).run().code(0);
    let script = "mount -o remount,dev /; echo x >/node && echo open";
    let attempt = |options: &[&str]| {
        let words = ["run", "--rm", "--privileged"];
        let program = ["node", "sh", "-c", script];
        store
            .onggi(words.iter().chain(options).chain(&program))
            .run()
    };
    attempt(&["--userns", "host"]).code(0).stdout("open\n");
    let nested = attempt(&["--uidmap", "0:100000:65536"]);
    nested
        .stdout("")
        .stderr_has("can't create /node: Permission denied");
}

#[test]
fn a_mounted_container_goes_on_with_its_owners() {
    let Some(store) = as_user(User::Root) else {
        return;
    };
    detached(&store, "web", &["--uidmap", "0:100000:65536"]).code(0);
    store.onggi(["kill", "web"]).run().code(0);
    let path = store.onggi(["mount", "web"]).run().code(0).stdout_text();
    let path = PathBuf::from(path.trim());
    assert_eq!(
        std::fs::metadata(path.join("bin/busybox")).unwrap().uid(),
        100_000
    );
    std::fs::write(path.join("new"), "").unwrap();
    store.onggi(["start", "web"]).run().code(0);
    let words = ["exec", "web", "stat", "-c", "%u", "/bin/busybox", "/new"];
    store.onggi(words).run().code(0).stdout("0\n65534\n");
    store.onggi(["kill", "web"]).run().code(0);
    store.onggi(["umount", "web"]).run().code(0);
}

#[test]
fn terminals_and_streams_belong_to_the_program() {
    for store in everyone_with_alpine() {
        let [option, value] = store.own_user_namespace();
        let streams = "echo out >/dev/stdout; echo error >/dev/stderr";
        let outcome = store.shell(&[option, value], streams).run();
        outcome.code(0).stdout("out\n").stderr_has("error\n");
        let user = match store.user {
            User::Single => continue,
            _ => "guest",
        };
        let outcome = store.shell(&[option, value, "--user", user], streams).run();
        outcome.code(0).stdout("out\n").stderr("error\n");
        detached(&store, "web", &[option, value]).code(0);
        let words = ["exec", "--user", user, "web", "sh", "-c", streams];
        store
            .onggi(words)
            .run()
            .code(0)
            .stdout("out\n")
            .stderr("error\n");
        let terminal = [
            "exec",
            "-t",
            "--user",
            "0",
            "web",
            "sh",
            "-c",
            "stat -c %u:%g $(tty)",
        ];
        store.onggi(terminal).run().code(0).stdout_has("0:5");
        store.onggi(["rm", "-f", "web"]).run().code(0);
    }
}

#[test]
fn with_namespaces_of_the_host() {
    for store in everyone_with_alpine() {
        let [option, value] = store.own_user_namespace();
        for shared in [
            "--pid=host",
            "--network=host",
            "--ipc=host",
            "--uts=host",
            "--cgroupns=host",
        ] {
            let script = "test -d /proc/self && test -d /sys/kernel && echo fine";
            let outcome = store.shell(&[option, value, shared], script).run();
            outcome.code(0).stdout("fine\n");
        }
        let all = [
            "--privileged",
            "--pid=host",
            "--network=host",
            "--ipc=host",
            option,
            value,
        ];
        store
            .shell(&all, "echo fine")
            .run()
            .code(0)
            .stdout("fine\n");
    }
}
