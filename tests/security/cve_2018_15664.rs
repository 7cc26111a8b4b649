//! CVE-2018-15664: `cp` looks up a path in a container while that exchanges a directory for a link to the host; with
//! it every link and every archive that wants to lead out of the container or the destination.

use crate::probe::{self, exchange};
use crate::situation::{remove_web, web};
use crate::support::life::until;
use crate::support::{ALPINE, Need, Outcome, Store, User, everyone_in_memory, requires, store};
use crate::unwalled;
use std::path::{Path, PathBuf};
use tar::EntryType;

fn cp(store: &Store, arguments: &[&str]) -> Outcome {
    store.onggi(["cp"].iter().chain(arguments)).run()
}

fn create(store: &Store) {
    store.ok(["create", "--name", "web", ALPINE, "true"]);
}

/// What lies below a path of the container.
fn names(store: &Store, path: &str) -> Vec<String> {
    let outcome = cp(store, &[&format!("web:{path}"), "-"]);
    let mut archive = tar::Archive::new(outcome.code(0).stdout_bytes());
    let name = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let name = entry.unwrap().path().unwrap().display().to_string();
        name.trim_end_matches('/').to_owned()
    };
    let mut names: Vec<String> = archive.entries().unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn links_lead_nowhere() {
    for store in everyone_in_memory() {
        store.file("secret", "secret");
        store.file("file", "mine");
        let out = store.home().display().to_string();
        let script = format!(
            "ln -s {out} /out; ln -s ../../../../../../../..{out} /up; ln -s /chain2 /chain1; ln -s /../..{out} /chain2; \
             ln -s /loop /loop; mkdir /d; ln -s {out}/secret /d/secret; ln -s {out} /d/dir"
        );
        for runs in [false, true] {
            match runs {
                true => web(&store, &[], &script),
                false => drop(store.ok(["run", "--name", "web", ALPINE, "sh", "-c", &script])),
            }
            for link in ["/out", "/up", "/chain1", "/loop"] {
                // There is no such file for the container's programs either.
                let refused = |arguments: &[&str]| {
                    let message = match link {
                        "/loop" => "Too many levels of symbolic links",
                        _ => "Could not find the file",
                    };
                    cp(&store, arguments).code(1).stderr_has(message);
                };
                for flags in [&[][..], &["-L"]] {
                    let from = format!("web:{link}/secret");
                    refused(&[flags, &[&from, "-"]].concat());
                    let to = format!("web:{link}/planted");
                    refused(&[flags, &["file", &to]].concat());
                }
                refused(&["file", &format!("web:{link}")]);
                assert!(!store.home().join("planted").exists());
            }
            // Links come out as links, and what follows goes not through them.
            cp(&store, &["web:/d", "d"]).code(0);
            assert!(store.home().join("d/secret").is_symlink());
            cp(&store, &["web:/d/.", "d"]).code(0);
            let secret = store.home().join("secret");
            assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
            std::fs::remove_dir_all(store.home().join("d")).unwrap();
            remove_web(&store);
        }
    }
}

#[test]
fn archives_lead_nowhere() {
    for store in everyone_in_memory() {
        create(&store);
        let archive = |members: &[(&str, EntryType, &str)]| {
            let mut bytes = Vec::new();
            for (name, kind, link) in members {
                let mut header = tar::Header::new_gnu();
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
                header.set_entry_type(*kind);
                header.set_size(0);
                header.set_mode(0o755);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(0);
                header.set_cksum();
                bytes.extend_from_slice(header.as_bytes());
            }
            bytes.resize(bytes.len() + 1024, 0);
            bytes
        };
        use EntryType as T;
        for (members, message) in [
            (
                &[("../x", T::Regular, "")][..],
                "leads out of the destination",
            ),
            (
                &[("a/../../x", T::Regular, "")],
                "leads out of the destination",
            ),
            (
                &[("link", T::Link, "../../etc/passwd")],
                "leads out of the destination",
            ),
            (
                &[("l", T::Symlink, "/none"), ("l/x", T::Regular, "")],
                "leads nowhere",
            ),
            (
                &[("f", T::Regular, ""), ("f/x", T::Regular, "")],
                "is not a directory",
            ),
        ] {
            store
                .onggi(["cp", "-", "web:/srv"])
                .stdin(archive(members))
                .run()
                .code(1)
                .stderr_has(message);
        }
        // In a container a link leads where it leads for its programs, which is inside.
        let members = [
            ("out", T::Symlink, "../../../../mnt"),
            ("out/x", T::Regular, ""),
            ("/abs", T::Regular, ""),
            // A link to itself leaves what is there.
            ("abs", T::Link, "./abs"),
        ];
        store
            .onggi(["cp", "-", "web:/srv"])
            .stdin(archive(&members))
            .run()
            .code(0);
        assert_eq!(names(&store, "/mnt"), ["mnt", "mnt/x"]);
        assert!(names(&store, "/srv").contains(&"srv/abs".to_owned()));
    }
}

/// A container in which `/a/real` is a directory at one moment and a link to `target` of the host at the next.
fn racing(store: &Store) -> PathBuf {
    let target = store.home().join("target");
    let script = "mkdir target many a a/real && echo x >target/secret && ln -s \"$0\" a/link && \
                  for number in $(seq 50); do echo x >many/$number; done";
    let mut make = store.command("sh");
    make.args(["-c", script]).arg(&target);
    unwalled::run(make).code(0);
    probe::prepare(store, "web", &[], "exchange /a/real /a/link");
    cp(store, &["a", "web:/"]).code(0);
    store.ok(["start", "web"]);
    target
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn parents_that_are_exchanged_lead_nowhere() {
    for store in everyone_in_memory() {
        let target = racing(&store);
        let (mut reached, mut deceived) = (0, 0);
        // Until it has found the directory and the link.
        until("both have been met", || {
            let outcome = cp(&store, &["many/.", "web:/a/real"]);
            match outcome.succeeded() {
                true => reached += 1,
                false => deceived += u32::from(outcome.code(1).exit_code().is_some()),
            }
            let read = cp(&store, &["web:/a/real/.", "-"]);
            read.stdout_lacks("secret");
            reached.min(deceived) >= 5
        });
        let names: Vec<_> = std::fs::read_dir(&target).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}

/// The same exchange in a directory of the host's and the same number of files, by a program that trusts the path.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Root]) {
        return;
    }
    let Some(store) = store(User::Root) else {
        return;
    };
    let home = store.home();
    let target = home.join("target");
    for name in ["a", "a/real", "target"] {
        std::fs::create_dir(home.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(&target, home.join("a/link")).unwrap();
    let (one, other) = (home.join("a/real"), home.join("a/link"));
    let racer = std::thread::spawn(move || exchange(&one, &other));
    for number in 0..1000 {
        let _ = std::fs::write(home.join(format!("a/real/{number}")), "x");
    }
    assert!(!is_empty(&target), "the exchange deceives nobody");
    let mut remove = store.command("mv");
    remove.args(["a", "b"]);
    unwalled::run(remove).code(0);
    racer.join().unwrap();
}
