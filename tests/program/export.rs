//! export: the root file system of a container as a tar archive.

use crate::support::{ALPINE, Store, User, everyone_with_alpine};
use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;

/// The members of an archive as another program than ours reads it: name → (mode and type, owner, content or link).
fn members(bytes: &[u8]) -> BTreeMap<String, (tar::EntryType, u32, (u64, u64), String)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().unwrap());
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let link = entry
            .link_name_bytes()
            .map(|link| String::from_utf8(link.into_owned()).unwrap());
        let mut content = Vec::new();
        entry.by_ref().take(100).read_to_end(&mut content).unwrap();
        let content = link.unwrap_or_else(|| String::from_utf8_lossy(&content).into_owned());
        (name, (kind, mode, owner, content))
    });
    entries.collect()
}

fn export(store: &Store, name: &str) -> Vec<u8> {
    let outcome = store.onggi(["export", name]).run();
    outcome.code(0).stderr("").stdout_bytes().to_vec()
}

#[test]
fn the_whole_tree_and_nothing_that_is_mounted() {
    use tar::EntryType as T;
    for store in everyone_with_alpine() {
        let script = "echo hi >/made; ln /made /name; ln -s /etc/passwd /link; mkfifo /pipe; rm /etc/motd; \
                      chmod 4755 /made; touch /tmp/hidden; echo x >/dev/shm/x; \
                      d=/$(printf 'long%.0s' $(seq 40)); mkdir -p $d$d; echo deep >$d$d/file";
        store
            .onggi([
                "run", "--name", "web", "--tmpfs", "/tmp", ALPINE, "sh", "-c", script,
            ])
            .run()
            .code(0);
        let found = members(&export(&store, "web"));
        let root = (0, 0);
        for (name, expected) in [
            ("made", (T::Regular, 0o4755, root, "hi\n")),
            ("name", (T::Link, 0o4755, root, "made")),
            ("link", (T::Symlink, 0o777, root, "/etc/passwd")),
            ("pipe", (T::Fifo, 0o644, root, "")),
            ("tmp/", (T::Directory, 0o1777, root, "")),
            ("etc/shadow", (T::Regular, 0o640, (0, 42), "")),
        ] {
            let (kind, mode, owner, content) = &found[name];
            let shown = if name == "etc/shadow" {
                ""
            } else {
                content.as_str()
            };
            assert_eq!(
                (*kind, *mode, *owner, shown),
                expected,
                "{name} as {:?}",
                store.user
            );
        }
        let long = "long".repeat(40);
        assert_eq!(found[&format!("{long}/{long}/file")].3, "deep\n");
        for name in [
            "etc/motd",
            "tmp/hidden",
            "proc/self",
            "dev/null",
            "dev/shm/x",
            "./",
            "/",
        ] {
            assert!(!found.contains_key(name), "{name}");
        }
        assert!(found.contains_key("proc/") && found.contains_key("etc/hosts"));
    }
}

#[test]
fn into_a_file_that_is_there_whole_or_not_at_all() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "--name", "web", ALPINE, "true"])
            .run()
            .code(0);
        let piped = export(&store, "web");
        store
            .onggi(["container", "export", "-o", "out.tar", "web"])
            .run()
            .code(0)
            .stdout("");
        assert!(std::fs::read(store.home().join("out.tar")).unwrap() == piped);
        store
            .onggi(["export", "-o", "none/out.tar", "web"])
            .run()
            .code(1)
            .stderr_has("none/out.tar");
        store
            .onggi(["export", "-o", "x.tar", "nobody"])
            .run()
            .code(1)
            .stderr_has("No such container: nobody");
        let left: Vec<_> = std::fs::read_dir(store.home())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["out.tar"]);
        // What goes out comes in again.
        store.onggi(["import", "out.tar", "again"]).run().code(0);
        store
            .onggi(["run", "--rm", "again", "cat", "/etc/alpine-release"])
            .run()
            .code(0)
            .stdout("3.20.3\n");
    }
}

#[test]
fn a_terminal_is_refused() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "--name", "web", ALPINE, "true"])
            .run()
            .code(0);
        let mut terminal =
            crate::support::terminal::Terminal::start(&store, ["export", "web"], 24, 80);
        terminal.shows("cowardly refusing to save to a terminal. Use the -o flag or redirect");
        assert_eq!(terminal.code(), Some(1));
    }
}

#[test]
fn holes_times_and_attributes_stay() {
    for store in everyone_with_alpine() {
        let script = "truncate -s 64M /holes; echo x | dd of=/holes bs=1 seek=33554432 conv=notrunc 2>/dev/null; \
                      stat -c '%s %y' /holes";
        let outcome = store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .run();
        let said = outcome.code(0).stdout_text();
        let bytes = export(&store, "web");
        assert!(bytes.len() < 32 << 20, "{}", bytes.len());
        let archive = store.file("out.tar", bytes);
        let target = store.home().join("unpacked");
        std::fs::create_dir(&target).unwrap();
        let tar = Command::new("tar")
            .arg("-C")
            .arg(&target)
            .arg("-xf")
            .arg(archive)
            .arg("holes")
            .status();
        assert!(tar.unwrap().success());
        let stat = Command::new("stat")
            .args(["-c", "%s %y"])
            .arg(target.join("holes"))
            .env("TZ", "UTC")
            .output();
        assert_eq!(String::from_utf8(stat.unwrap().stdout).unwrap(), said);
        use std::os::unix::fs::{FileExt, MetadataExt};
        let file = std::fs::File::open(target.join("holes")).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, 33_554_432).unwrap();
        assert_eq!(byte, *b"x");
        assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
    }
}

#[test]
fn owners_are_those_that_the_container_sees() {
    for store in everyone_with_alpine() {
        let script = "cd /tmp; touch own; id -u; id -g";
        let [option, value] = store.own_user_namespace();
        let words = [
            "run", "--name", "kept", option, value, ALPINE, "sh", "-c", script,
        ];
        let outcome = store.onggi(words).run();
        let ids: Vec<u64> = outcome
            .code(0)
            .stdout_text()
            .lines()
            .map(|id| id.parse().unwrap())
            .collect();
        let found = members(&export(&store, "kept"));
        assert_eq!(found["tmp/own"].2, (ids[0], ids[1]), "as {:?}", store.user);
        assert_eq!(found["etc/shadow"].2, (0, 42), "as {:?}", store.user);
        assert!(store.user == User::Root || ids[0] != 0);
    }
}
