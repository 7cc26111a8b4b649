//! volume create, ls, inspect, rm, prune, exists, export, import: what they do, print and refuse; and what is in a volume.

use crate::support::life::DEAF;
use crate::support::{ALPINE, Store, User, everyone, everyone_with_alpine, store as store_of};

/// What `stat` says of all below the current directory, times and link counts included.
const LISTING: &str = "find . | sort | while read -r f; do stat -c '%n %f %u:%g %s %Y %h %t,%T' \"$f\"; done; \
     find . -type l | sort | while read -r f; do readlink \"$f\"; done; find . -type f | sort | xargs md5sum";

fn names(store: &Store, words: &[&str]) -> Vec<String> {
    let outcome = store.onggi([&["volume", "ls", "-q"], words].concat()).run();
    outcome
        .code(0)
        .stdout_text()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn is_mounted(store: &Store) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.contains(store.data().join("volumes").to_str().unwrap())
}

#[test]
fn a_volume_is_made_shown_and_removed() {
    for store in everyone() {
        assert_eq!(
            store.ok(["volume", "create", "--label", "a=1", "--label", "b", "data"]),
            "data\n"
        );
        assert_eq!(store.ok(["volume", "create", "data"]), "data\n");
        assert_eq!(store.ok(["volume", "create", "--name", "older"]), "older\n");
        let unnamed = store.ok(["volume", "create"]);
        let unnamed = unnamed.trim();
        assert_eq!(unnamed.len(), 64);
        let table = store.ok(["volume", "ls"]);
        assert!(
            table.starts_with("DRIVER    VOLUME NAME\nlocal     "),
            "{table}"
        );
        for (filter, expected) in [
            ("name=^dat", &["data"][..]),
            ("label=a", &["data"]),
            ("label=a=2", &[]),
            ("label!=a", &[unnamed, "older"]),
            ("label=com.docker.volume.anonymous", &[unnamed]),
            ("driver=nfs", &[]),
            ("dangling=false", &[]),
        ] {
            let mut expected: Vec<&str> = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(names(&store, &["-f", filter]), expected, "{filter}");
        }
        let shown = store.onggi(["volume", "inspect", "data"]).run().json();
        let data = store.data().join("volumes/data/_data");
        assert_eq!(shown[0]["Mountpoint"], data.to_str().unwrap());
        assert_eq!(shown[0]["Labels"], serde_json::json!({"a": "1", "b": ""}));
        assert_eq!(shown[0]["Options"], serde_json::Value::Null);
        assert_eq!(
            store.ok([
                "inspect",
                "--type",
                "volume",
                "-f",
                "{{.Scope}} {{.Labels}}",
                "data"
            ]),
            "local map[a:1 b:]\n"
        );
        std::fs::write(data.join("file"), "12345").unwrap();
        let count = "{{.UsageData.RefCount}}";
        assert_eq!(store.ok(["volume", "inspect", "-f", count, "data"]), "0\n");
        assert_eq!(
            store.ok([
                "volume",
                "ls",
                "--format",
                "{{.Name}} {{.Label \"a\"}}",
                "-f",
                "label=a"
            ]),
            "data 1\n"
        );
        store
            .onggi(["volume", "exists", "data"])
            .run()
            .code(0)
            .stdout("");
        store
            .onggi(["volume", "exists", "nope"])
            .run()
            .code(1)
            .stdout("");
        assert_eq!(store.ok(["volume", "rm", "data"]), "data\n");
        store
            .refused(
                ["volume", "rm", "data", "older"],
                "get data: no such volume",
            )
            .stdout("older\n");
        assert_eq!(store.ok(["volume", "rm", "-f", "data"]), "data\n");
        assert_eq!(names(&store, &[]), [unnamed]);
        assert!(!store.data().join("volumes/data").exists());
    }
}

#[test]
fn what_makes_no_volume_is_refused() {
    let Some(store) = store_of(User::Root) else {
        return;
    };
    store.ok([
        "volume",
        "create",
        "-o",
        "type=tmpfs",
        "-o",
        "device=tmpfs",
        "there",
    ]);
    for (words, message) in [
        (&["a"][..], "create a: volume name is too short"),
        (
            &["a/b"],
            "create a/b: \"a/b\" includes invalid characters for a local volume name",
        ),
        (&["자료"], "\"자료\" includes invalid characters"),
        (
            &["--name", "x1", "x2"],
            "cannot specify a volume name through both --name and as a positional arg",
        ),
        (
            &["-d", "nope", "vol"],
            "error looking up volume plugin nope",
        ),
        (&["-o", "x=y", "vol"], "create vol: invalid option: \"x\""),
        (
            &["-o", "type=tmpfs", "vol"],
            "missing required option: \"device\"",
        ),
        (
            &["-o", "o=bind", "-o", "device=rel", "-o", "type=none", "vol"],
            "no absolute path",
        ),
        (
            &["-o", "type=nfs", "-o", "device=:/a", "vol"],
            "missing `addr`",
        ),
        (
            &["-o", "type=ramfs", "-o", "device=x", "there"],
            "create there: conflict: volume name must be unique",
        ),
    ] {
        let outcome = store.onggi([&["volume", "create"], words].concat()).run();
        outcome.code(1).stdout("").stderr_has(message);
    }
    let outcome = store
        .onggi(["volume", "create", "-o", "size=10g", "vol"])
        .run();
    outcome
        .code(125)
        .stderr_has("quota size requested but no quota support");
    for (words, message) in [
        (["ls", "--filter", "x=y"], "invalid filter 'x'"),
        (
            ["ls", "--filter", "dangling=x"],
            "invalid filter 'dangling=[x]'",
        ),
        (["prune", "--filter", "until=x"], "failed to parse value"),
    ] {
        let outcome = store.onggi([&["volume"], &words[..]].concat()).run();
        outcome.code(1).stdout("").stderr_has(message);
    }
    assert_eq!(names(&store, &[]), ["there"]);
}

#[test]
fn one_that_is_used_stays_and_its_users_are_named() {
    for store in everyone_with_alpine() {
        let id = store.ok([
            "create",
            "--name",
            "web",
            "-v",
            "data:/data",
            "-v",
            "/anonymous",
            ALPINE,
            "true",
        ]);
        let id = id.trim();
        let message = format!("remove data: volume is in use - [{id}]");
        store
            .refused(["volume", "rm", "-f", "data"], &message)
            .stderr_has("onggi rm web");
        let users = store.ok(["volume", "inspect", "-f", "{{json .Containers}}", "data"]);
        assert_eq!(
            users,
            format!("{{\"{id}\":{{\"Name\":\"web\",\"Status\":\"created\"}}}}\n")
        );
        assert_eq!(names(&store, &["-f", "dangling=false"]).len(), 2);
        store.ok(["volume", "create", "free"]);
        store.ok(["volume", "create"]);
        let question = "WARNING! This will remove anonymous local volumes not used by at least one container.\n\
                        Are you sure you want to continue? [y/N] ";
        let no = store.onggi(["volume", "prune"]).stdin("n\n").run();
        no.code(1)
            .stdout(question)
            .stderr_has("volume prune has been cancelled");
        let pruned = store.ok(["volume", "prune", "-f"]);
        assert!(
            pruned.starts_with("Deleted Volumes:\n")
                && pruned.contains("\n\nTotal reclaimed space: "),
            "{pruned}"
        );
        assert_eq!(names(&store, &["-f", "dangling=true"]), ["free"]);
        store.ok(["rm", "-v", "web"]);
        assert_eq!(names(&store, &[]), ["data", "free"]);
        let pruned = store.ok(["volume", "prune", "-af"]);
        assert!(
            pruned.starts_with("Deleted Volumes:\ndata\nfree\n\nTotal "),
            "{pruned}"
        );
        let told = store.ok([
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "-f",
            "type=volume",
            "-f",
            "volume=free",
            "--format",
            "{{.Action}} {{.Actor.Attributes.driver}}",
        ]);
        assert_eq!(told, "create local\ndestroy local\n");
    }
}

#[test]
fn a_new_volume_gets_all_that_the_image_has() {
    let make = "mkdir -p /tree/a/b /tree/empty; cd /tree; echo one >a/one; ln a/one again; ln -s /etc/passwd link; \
                mkfifo pipe; dd if=/dev/zero of=holes bs=1 count=0 seek=1000000 2>/dev/null; echo x >>holes; \
                chmod 4755 a/one; chmod 1711 a/b; chown 5:6 again a/b link 2>/dev/null; chmod 4755 a/one; \
                touch -d '2001-02-03 04:05:06' a/one a/b empty; chmod 750 .; touch -d '2002-03-04 05:06:07' a .";
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--name", "maker", ALPINE, "sh", "-c", make])
            .run()
            .code(0);
        store.ok(["commit", "maker", "tree"]);
        let look = format!("cd /tree && {LISTING}");
        let expected = store.ok(["run", "--rm", "tree", "sh", "-c", &look]);
        assert!(expected.lines().count() > 12, "{expected}");
        let found = store.ok(["run", "--rm", "-v", "vol:/tree", "tree", "sh", "-c", &look]);
        assert_eq!(found, expected);
        let blocks = store.ok([
            "run",
            "--rm",
            "-v",
            "vol:/tree",
            "tree",
            "stat",
            "-c",
            "%b",
            "/tree/holes",
        ]);
        assert!(blocks.trim().parse::<u64>().unwrap() < 100, "{blocks}");
        // What is there is never replaced, and a volume that is to stay empty does.
        store.ok([
            "run",
            "--rm",
            "-v",
            "vol:/tree",
            "tree",
            "sh",
            "-c",
            "echo two >/tree/a/one; rm -r /tree/empty",
        ]);
        let again = store.ok([
            "run",
            "--rm",
            "-v",
            "vol:/tree",
            "tree",
            "sh",
            "-c",
            "cat /tree/a/one; ls /tree",
        ]);
        assert_eq!(again, "two\na\nagain\nholes\nlink\npipe\n");
        assert_eq!(
            store.ok([
                "run",
                "--rm",
                "-v",
                "bare:/tree:nocopy",
                "tree",
                "ls",
                "-A",
                "/tree"
            ]),
            ""
        );
        store.ok(["rm", "maker"]);
        assert_eq!(names(&store, &[]), ["bare", "vol"]);
        store.ok(["volume", "rm", "vol", "bare"]);
    }
}

#[test]
fn two_at_once_see_a_fresh_volume_whole() {
    for store in everyone_with_alpine() {
        let look = ["sh", "-c", "find /usr /etc | sort | md5sum"];
        let expected = store
            .onggi([&["run", "--rm", ALPINE], &look[..]].concat())
            .run()
            .code(0)
            .stdout_text();
        for round in 0..3 {
            let usr = format!("usr{round}:/usr");
            let etc = format!("etc{round}:/etc");
            let children = [(); 3].map(|()| {
                let words = ["run", "--rm", "-v", &usr, "-v", &etc, ALPINE];
                store.onggi([&words, &look[..]].concat()).spawn()
            });
            for child in children {
                let output = child.wait_with_output().unwrap();
                let (out, error) = (
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr),
                );
                assert_eq!(out, expected, "{error}");
            }
        }
    }
}

#[test]
fn what_the_options_name_is_mounted_as_long_as_it_is_used() {
    for store in everyone_with_alpine() {
        let memory = [
            "volume",
            "create",
            "-o",
            "type=tmpfs",
            "-o",
            "device=tmpfs",
            "-o",
            "o=size=1m,mode=750",
            "memory",
        ];
        store.ok(memory);
        let up = |name: &str, options: &[&str]| {
            store.detached(name, &[&["-v", "memory:/m"], options].concat(), DEAF);
        };
        up("one", &[]);
        up("two", &[]);
        store.ok(["exec", "one", "sh", "-c", "echo shared >/m/file"]);
        assert_eq!(store.ok(["exec", "two", "cat", "/m/file"]), "shared\n");
        assert_eq!(
            store.ok([
                "exec",
                "two",
                "sh",
                "-c",
                "stat -c %a /m; df -k /m | tail -n 1 | awk '{print $2}'"
            ]),
            "750\n1024\n"
        );
        store.ok(["rm", "-f", "one"]);
        assert_eq!(store.ok(["exec", "two", "cat", "/m/file"]), "shared\n");
        store.refused(["volume", "rm", "memory"], "volume is in use");
        store.ok(["system", "check"]);
        store.ok(["rm", "-f", "two"]);
        assert!(!is_mounted(&store));
        assert_eq!(
            store.ok(["run", "--rm", "-v", "memory:/m", ALPINE, "ls", "-A", "/m"]),
            ""
        );
        let directory = store.home().join("자료");
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("file"), "from the host\n").unwrap();
        let device = format!("device={}", directory.display());
        store.ok([
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            "o=bind,ro",
            "-o",
            &device,
            "bound",
        ]);
        let script = "cat /b/file; touch /b/new 2>&1";
        let outcome = store
            .onggi(["run", "--rm", "-v", "bound:/b", ALPINE, "sh", "-c", script])
            .run();
        outcome
            .code(1)
            .stdout("from the host\ntouch: /b/new: Read-only file system\n");
        std::fs::remove_file(directory.join("file")).unwrap();
        std::fs::remove_dir(&directory).unwrap();
        let outcome = store
            .onggi(["run", "--rm", "-v", "bound:/b", ALPINE, "true"])
            .run();
        outcome
            .code(125)
            .stderr_has("failed to mount local volume")
            .stderr_has("자료");
        assert!(!is_mounted(&store));
        store.ok(["volume", "rm", "memory", "bound"]);
    }
}

#[test]
fn an_archive_of_a_volume_makes_the_same_again() {
    for store in everyone_with_alpine() {
        let make = "cd /v; chmod 700 .; chown 7:8 . 2>/dev/null; mkdir d; echo one >d/f; ln d/f g; ln -s d l; chmod 4711 d/f; \
                    touch -d '2001-02-03 04:05:06' d/f d .";
        let look = format!("cd /v; {LISTING}");
        store
            .onggi(["run", "--rm", "-v", "from:/v", ALPINE, "sh", "-c", make])
            .run()
            .code(0);
        let expected = store.ok(["run", "--rm", "-v", "from:/v", ALPINE, "sh", "-c", &look]);
        let file = store.home().join("from.tar");
        store.ok(["volume", "export", "from", "-o", file.to_str().unwrap()]);
        store.refused(
            ["volume", "import", "to", file.to_str().unwrap()],
            "get to: no such volume",
        );
        store.ok(["volume", "create", "to"]);
        store.ok(["volume", "import", "to", file.to_str().unwrap()]);
        assert_eq!(
            store.ok(["run", "--rm", "-v", "to:/v", ALPINE, "sh", "-c", &look]),
            expected
        );
        let archive = store.onggi(["volume", "export", "to"]).run();
        store.ok(["volume", "create", "again"]);
        store
            .onggi(["volume", "import", "again", "-"])
            .stdin(archive.code(0).stdout_bytes())
            .run()
            .code(0);
        assert_eq!(
            store.ok(["run", "--rm", "-v", "again:/v", ALPINE, "sh", "-c", &look]),
            expected
        );
        store.refused(
            ["volume", "export", "nope"],
            "export volume nope: get nope: no such volume",
        );
    }
}

#[test]
fn archives_that_come_at_once_are_unpacked_one_after_the_other() {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..500 {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(0);
        let name = format!("{}/{number}", number % 10);
        builder
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    let archive = builder.into_inner().unwrap();
    for store in everyone() {
        store.ok(["volume", "create", "vol"]);
        let file = store.file("vol.tar", &archive);
        for _ in 0..5 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| store.ok(["volume", "import", "vol", file.to_str().unwrap()]));
                }
            });
        }
    }
}

#[test]
fn a_hostile_archive_stays_in_the_volume() {
    use tar::{Builder, EntryType, Header};
    let archive = |entries: &[(&str, EntryType, &str)]| {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, link) in entries {
            let mut header = Header::new_ustar();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_cksum();
            builder.append(&header, std::io::empty()).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let file = EntryType::Regular;
    for store in everyone() {
        store.ok(["volume", "create", "vol"]);
        let before = std::fs::read_dir(store.home()).unwrap().count();
        let home = store.home().display().to_string();
        let out = [
            (
                archive(&[("../evil", file, "")]),
                "leads out of the destination",
            ),
            (
                archive(&[("l", EntryType::Symlink, &home), ("l/evil", file, "")]),
                "is a symbolic link",
            ),
            (
                archive(&[("h", EntryType::Link, "../volume.json")]),
                "leads out of the destination",
            ),
            (
                archive(&[
                    ("l", EntryType::Symlink, "/"),
                    ("h", EntryType::Link, "l/etc/passwd"),
                ]),
                "is a symbolic link",
            ),
        ];
        for (bytes, message) in out {
            let outcome = store
                .onggi(["volume", "import", "vol", "-"])
                .stdin(bytes)
                .run();
            outcome
                .code(1)
                .stderr_has("import into volume vol")
                .stderr_has(message);
        }
        assert_eq!(std::fs::read_dir(store.home()).unwrap().count(), before);
        let mut inside: Vec<_> = std::fs::read_dir(store.data().join("volumes/vol"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        inside.sort();
        assert_eq!(inside, ["_data", "importing", "volume.json"]);
    }
}

#[test]
fn a_damaged_one_is_told_of_and_mended() {
    for store in everyone_with_alpine() {
        store.ok(["volume", "create", "bad"]);
        store.ok(["volume", "create", "good"]);
        let directory = store.data().join("volumes/bad");
        std::fs::write(directory.join("_data/file"), "kept").unwrap();
        std::fs::write(directory.join("volume.json"), "{").unwrap();
        let listed = store.onggi(["volume", "ls", "-q"]).run();
        listed
            .code(0)
            .stdout("good\n")
            .stderr_has("volume bad is left out");
        store.refused(["volume", "inspect", "bad"], "is damaged");
        let outcome = store
            .onggi(["run", "--rm", "-v", "bad:/b", ALPINE, "true"])
            .run();
        outcome.code(125).stderr_has("is damaged");
        let checked = store.onggi(["system", "check"]).run();
        checked.expect(
            checked.stdout_text().contains("damaged-volume"),
            "the damage is found",
        );
        store.onggi(["system", "check", "--repair"]).run().code(0);
        assert_eq!(
            store.ok(["run", "--rm", "-v", "bad:/b", ALPINE, "cat", "/b/file"]),
            "kept"
        );
        std::fs::remove_file(directory.join("volume.json")).unwrap();
        store.ok(["volume", "rm", "bad"]);
        assert_eq!(names(&store, &[]), ["good"]);
    }
}
