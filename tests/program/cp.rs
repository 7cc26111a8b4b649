//! cp: files between a container and the host, both ways and as streams.

use crate::support::{ALPINE, Outcome, Store, User, everyone_with_alpine};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// What is there afterwards, or what is wrong.
type Expected = Result<Vec<String>, &'static str>;

/// A container that never ran, as `web`.
pub fn stopped(store: &Store) {
    store
        .onggi(["create", "--name", "web", ALPINE, "true"])
        .run()
        .code(0);
}

/// A container that runs until it is removed, as `web`.
pub fn running(store: &Store, options: &[&str], script: &str) -> Child {
    let script = format!("{script}\necho ready; exec sleep 1000");
    let command = [ALPINE, "sh", "-c", &script];
    let mut client = store
        .onggi(
            ["run", "--name", "web"]
                .iter()
                .chain(options)
                .chain(&command),
        )
        .spawn();
    super::life_cycle::wait_until_ready(&mut client);
    client
}

pub fn remove(store: &Store, client: Option<Child>) {
    store.onggi(["rm", "-f", "web"]).run().code(0);
    client.map(|mut client| client.wait().unwrap());
}

pub fn cp(store: &Store, arguments: &[&str]) -> Outcome {
    store.onggi(["cp"].iter().chain(arguments)).run()
}

/// All below a directory: names with a slash after directories, contents after files.
pub fn listing(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(below) = waiting.pop() {
        for entry in std::fs::read_dir(directory.join(&below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            let full = directory.join(&path);
            let kind = full.symlink_metadata().unwrap();
            lines.push(if kind.is_dir() {
                waiting.push(path.clone());
                format!("{}/", path.display())
            } else if kind.is_symlink() {
                format!(
                    "{} -> {}",
                    path.display(),
                    full.read_link().unwrap().display()
                )
            } else {
                format!(
                    "{}={}",
                    path.display(),
                    std::fs::read_to_string(full).unwrap()
                )
            });
        }
    }
    lines.sort();
    lines
}

/// The names in a directory of the container, as the stream has them.
pub fn names(store: &Store, path: &str) -> Vec<String> {
    let outcome = cp(store, &[&format!("web:{path}"), "-"]);
    let mut archive = tar::Archive::new(outcome.code(0).stdout_bytes());
    let mut names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().path().unwrap().display().to_string();
            name.trim_end_matches('/').to_owned()
        })
        .collect();
    names.sort();
    names
}

/// A tree of the user's in the home directory: `src/{file,dir/inner,link}`.
fn source(store: &Store) -> PathBuf {
    let script = "mkdir -p src/dir; echo -n 1 >src/file; echo -n 2 >src/dir/inner; ln -s dir/inner src/link; \
                  chmod 640 src/file; chmod 750 src/dir; touch -d '2001-02-03 04:05:06.123456789' src/file";
    assert!(
        store
            .command("sh")
            .args(["-c", script])
            .status()
            .unwrap()
            .success()
    );
    store.home().join("src")
}

#[test]
fn to_the_host_by_dockers_table() {
    for store in everyone_with_alpine() {
        stopped(&store);
        let source = source(&store);
        cp(&store, &["src", "web:/src"])
            .code(0)
            .stdout("")
            .stderr("");
        let whole = |name: &str| -> Vec<String> {
            let lines = ["dir/", "dir/inner=2", "file=1", "link -> dir/inner"];
            let mut lines: Vec<_> = lines.iter().map(|line| format!("{name}{line}")).collect();
            lines.extend((!name.is_empty()).then(|| name.to_owned()));
            lines.sort();
            lines
        };
        assert_eq!(listing(&source), whole(""));
        let owned = |lines: &[&str]| {
            lines
                .iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        };
        // What is copied, to what, what is there before, what there is then.
        type Before = fn(&Path);
        let nothing: Before = |_| {};
        let directory: Before = |path| std::fs::create_dir(path.join("to")).unwrap();
        let file: Before = |path| std::fs::write(path.join("to"), "old").unwrap();
        let to_file: Before = |path| {
            std::fs::write(path.join("old"), "old").unwrap();
            symlink("old", path.join("to")).unwrap();
        };
        let to_directory: Before = |path| {
            std::fs::create_dir(path.join("real")).unwrap();
            symlink("real", path.join("to")).unwrap();
        };
        let to_nothing: Before = |path| symlink("made", path.join("to")).unwrap();
        let cases: Vec<(&str, &str, Before, Expected)> = vec![
            ("/src", "to", nothing, Ok(whole("to/"))),
            ("/src", "to/", nothing, Ok(whole("to/"))),
            ("/src/", "to", nothing, Ok(whole("to/"))),
            ("src", "to", nothing, Ok(whole("to/"))),
            ("/usr/../src", "to", nothing, Ok(whole("to/"))),
            ("/src/.", "to", nothing, Ok(whole("to/"))),
            ("/src/.", "to", directory, Ok(whole("to/"))),
            ("/src", "to", file, Err("cannot copy directory")),
            ("/src/file", "to", nothing, Ok(owned(&["to=1"]))),
            ("/src/file", "to/", nothing, Err("no such directory")),
            (
                "/src/file",
                "to",
                directory,
                Ok(owned(&["to/", "to/file=1"])),
            ),
            (
                "/src/file",
                "to/other",
                directory,
                Ok(owned(&["to/", "to/other=1"])),
            ),
            ("/src/file", "to", file, Ok(owned(&["to=1"]))),
            (
                "/src/file",
                "to",
                to_file,
                Ok(owned(&["old=1", "to -> old"])),
            ),
            (
                "/src/file",
                "to",
                to_nothing,
                Ok(owned(&["made=1", "to -> made"])),
            ),
            (
                "/src/file",
                "to",
                to_directory,
                Ok(owned(&["real/", "real/file=1", "to -> real"])),
            ),
            ("/src/link", "to", nothing, Ok(owned(&["to -> dir/inner"]))),
            (
                "/src/file",
                "to/no/way",
                directory,
                Err("invalid output path: directory"),
            ),
            (
                "/src/none",
                "to",
                nothing,
                Err("Could not find the file /src/none in container web"),
            ),
            (
                "/src/file/",
                "to",
                nothing,
                Err("`/src/file` is not a directory"),
            ),
            (
                "/src/file/x",
                "to",
                nothing,
                Err("Could not find the file /src/file/x in container web"),
            ),
        ];
        for (from, to, before, expected) in cases {
            let place = tempfile::tempdir_in(store.home()).unwrap();
            before(place.path());
            let script = "chown -R \"$1\" \"$2\"";
            let owner = format!("{}:{}", store.account.uid, store.account.gid);
            let given = Command::new("sh")
                .args(["-c", script, "sh", &owner])
                .arg(place.path())
                .status();
            assert!(given.unwrap().success());
            let there = listing(place.path());
            let target = format!("{}/{to}", place.path().display());
            let outcome = cp(&store, &[&format!("web:{from}"), &target]);
            match expected {
                Ok(lines) => {
                    outcome.code(0).stdout("").stderr("");
                    assert_eq!(listing(place.path()), lines, "{from} to {to}");
                }
                Err(message) => {
                    outcome.code(1).stderr_has(message);
                    assert_eq!(listing(place.path()), there, "{from} to {to}");
                }
            }
        }
    }
}

#[test]
fn to_a_container_by_dockers_table() {
    for store in everyone_with_alpine() {
        source(&store);
        let script = "mkdir /to; echo old >/old; ln -s /to /link; ln -s old /name; mkfifo /pipe; ln -s /none /dangling";
        for runs in [false, true] {
            let client = match runs {
                true => Some(running(&store, &[], script)),
                false => {
                    store
                        .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
                        .run()
                        .code(0);
                    None
                }
            };
            let tree = |name: &str| {
                ["", "/dir", "/dir/inner", "/file", "/link"]
                    .map(|line| format!("{name}{line}"))
                    .to_vec()
            };
            let both = |one: &[&str], tree: Vec<String>| {
                let mut all: Vec<_> = one
                    .iter()
                    .map(|line| (*line).to_owned())
                    .chain(tree)
                    .collect();
                all.sort();
                all.dedup();
                all
            };
            let cases: Vec<(&str, &str, &str, Expected)> = vec![
                ("src", "/new", "/new", Ok(tree("new"))),
                ("src", "to", "/to", Ok(both(&["to"], tree("to/src")))),
                ("./src/.", "/to/deep", "/to/deep", Ok(tree("deep"))),
                (
                    "src/file",
                    "/to/src",
                    "/to/src/file",
                    Ok(vec!["file".into()]),
                ),
                ("src/file", "/link/", "/to/file", Ok(vec!["file".into()])),
                (
                    "src/file",
                    "/link/other",
                    "/to/other",
                    Ok(vec!["other".into()]),
                ),
                ("src/file", "/name", "/old", Ok(vec!["old".into()])),
                ("src/file", "/dangling", "/none", Ok(vec!["none".into()])),
                ("src", "/old", "", Err("cannot copy directory")),
                ("src/file", "/none2/", "", Err("no such directory")),
                (
                    "src/file",
                    "/none2/x",
                    "",
                    Err("Could not find the file /none2/x in container web"),
                ),
                (
                    "src/file",
                    "/pipe",
                    "",
                    Err("must be a directory or a regular file: got a named pipe"),
                ),
                (
                    "src/none",
                    "/",
                    "",
                    Err("src/none: no such file or directory"),
                ),
            ];
            for (from, to, look, expected) in cases {
                let outcome = cp(&store, &[from, &format!("web:{to}")]);
                match expected {
                    Ok(lines) => {
                        outcome.code(0).stdout("").stderr("");
                        assert_eq!(names(&store, look), lines, "{from} to {to}");
                    }
                    Err(message) => drop(outcome.code(1).stderr_has(message)),
                }
            }
            remove(&store, client);
        }
    }
}

#[test]
fn modes_and_times_stay_and_owners_are_roots() {
    for store in everyone_with_alpine() {
        source(&store);
        let client = running(&store, &[], "");
        let stat = |path: &str| {
            let outcome = store
                .onggi(["exec", "web", "stat", "-c", "%u:%g %a %y", path])
                .run();
            outcome.code(0).stdout_text()
        };
        cp(&store, &["src/.", "web:/srv/src"]).code(0);
        assert_eq!(
            stat("/srv/src/file"),
            "0:0 640 2001-02-03 04:05:06.123456789 +0000\n"
        );
        assert!(stat("/srv/src/dir").starts_with("0:0 750 "));
        // What the caller's files belong to: root is root, and an ordinary user is root of the container.
        cp(&store, &["-a", "src/file", "web:/srv/kept"]).code(0);
        assert!(stat("/srv/kept").starts_with("0:0 640 "));
        if store.user == User::Root {
            std::os::unix::fs::chown(store.home().join("src/file"), Some(33), Some(44)).unwrap();
            cp(&store, &["src/file", "web:/srv/not"]).code(0);
            assert!(stat("/srv/not").starts_with("0:0 640 "));
            cp(&store, &["--archive", "src/file", "web:/srv/kept"]).code(0);
            assert!(stat("/srv/kept").starts_with("33:44 640 "));
        }
        cp(&store, &["web:/srv/src", "back"]).code(0);
        let file = store.home().join("back/file").metadata().unwrap();
        assert_eq!(
            (file.mtime(), file.mtime_nsec()),
            (981_173_106, 123_456_789)
        );
        assert_eq!(
            (file.uid(), file.gid()),
            (store.account.uid, store.account.gid)
        );
        assert_eq!(file.mode() & 0o7777, 0o640);
        remove(&store, Some(client));
    }
}

#[test]
fn set_user_id_does_not_come_out_with_another_owner() {
    for store in everyone_with_alpine() {
        let script = "cp /bin/busybox /evil; chmod 6755 /evil; chown 33:44 /etc/motd";
        store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        cp(&store, &["web:/evil", "."]).code(0);
        let mode = |name: &str| {
            store
                .home()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!(mode("evil"), 0o755);
        cp(&store, &["-a", "web:/evil", "kept"]).code(0);
        cp(&store, &["-a", "web:/etc/motd", "motd"]).code(0);
        let owner = store.home().join("motd").metadata().unwrap();
        let (kept, ids) = match store.user {
            User::Root => (0o6755, (33, 44)),
            _ => (0o755, (store.account.uid, store.account.gid)),
        };
        assert_eq!((mode("kept"), (owner.uid(), owner.gid())), (kept, ids));
    }
}

#[test]
fn links_are_followed_where_that_is_asked_for() {
    for store in everyone_with_alpine() {
        let script = "ln -s /etc/alpine-release /release; mkdir /d; echo x >/d/x; ln -s d /dir";
        store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        cp(&store, &["-L", "web:/release", "."]).code(0);
        assert_eq!(
            std::fs::read_to_string(store.home().join("release")).unwrap(),
            "3.20.3\n"
        );
        cp(&store, &["web:/dir", "link"]).code(0);
        assert_eq!(
            store.home().join("link").read_link().unwrap(),
            Path::new("d")
        );
        cp(&store, &["web:/dir/", "dir"]).code(0);
        cp(&store, &["--follow-link", "web:/dir", "again"]).code(0);
        for name in ["dir/x", "again/x"] {
            assert_eq!(
                std::fs::read_to_string(store.home().join(name)).unwrap(),
                "x\n"
            );
        }
        cp(&store, &["link", "web:/srv/link"]).code(0);
        cp(&store, &["-L", "dir/x", "web:/srv/x"]).code(0);
        assert_eq!(names(&store, "/srv"), ["srv", "srv/link", "srv/x"]);
    }
}

#[test]
fn streams() {
    for store in everyone_with_alpine() {
        stopped(&store);
        let below = names(&store, "/etc/apk");
        assert_eq!((below[0].as_str(), below[1].as_str()), ("apk", "apk/arch"));
        assert!(below.contains(&"apk/protected_paths.d".to_owned()));
        assert_eq!(names(&store, "/etc/alpine-release"), ["alpine-release"]);
        assert_eq!(names(&store, "/home/."), ["."]);
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(2);
        header.set_mode(0o604);
        header.set_uid(33);
        header.set_gid(44);
        header.set_mtime(1);
        archive
            .append_data(&mut header, "deep/down/file", &b"hi"[..])
            .unwrap();
        let plain = archive.into_inner().unwrap();
        let mut packed = Command::new("gzip")
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut packed.stdin.take().unwrap(), &plain).unwrap();
        let packed = packed.wait_with_output().unwrap().stdout;
        for (number, stream) in [plain.clone(), packed].into_iter().enumerate() {
            let target = format!("/srv/{number}");
            store
                .onggi(["cp", "-", &format!("web:{target}")])
                .stdin(stream.clone())
                .run()
                .code(1)
                .stderr_has(&format!("destination \"web:{target}\" must be a directory"));
            store
                .onggi(["container", "cp", "-", "web:/mnt"])
                .stdin(stream)
                .run()
                .code(0)
                .stdout("")
                .stderr("");
            let outcome = cp(&store, &["web:/mnt/deep/down/file", "-"]);
            let mut back = tar::Archive::new(outcome.code(0).stdout_bytes());
            let entry = back.entries().unwrap().next().unwrap().unwrap();
            let ids = match store.user {
                User::Single => (0, 0),
                _ => (33, 44),
            };
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), ids);
            assert_eq!(
                (header.mode().unwrap(), header.mtime().unwrap()),
                (0o604, 1)
            );
        }
        for (stream, message) in [
            (&b"no tar archive"[..], "read the archive"),
            (&plain[..700], "read the archive"),
        ] {
            store
                .onggi(["cp", "-", "web:/mnt"])
                .stdin(stream)
                .run()
                .code(1)
                .stderr_has(message);
        }
    }
}

#[test]
fn what_it_says() {
    for store in everyone_with_alpine() {
        stopped(&store);
        store.file("file", "x");
        store.file("a:b", "x");
        for (arguments, message) in [
            (
                ["web:/a", "web:/b"],
                "copying between containers is not supported",
            ),
            (["a", "b"], "must specify at least one container source"),
            (["", "web:/"], "source can not be empty"),
            (["file", ""], "destination can not be empty"),
            (["nobody:/a", "."], "No such container: nobody"),
            (["file", "nobody:/a"], "No such container: nobody"),
        ] {
            cp(&store, &arguments).code(1).stderr_has(message);
        }
        cp(&store, &["./a:b", "web:/srv"]).code(0);
        assert_eq!(names(&store, "/srv"), ["srv", "srv/a:b"]);
        let mut terminal =
            crate::support::terminal::Terminal::start(&store, ["cp", "file", "web:/srv"], 24, 80);
        terminal.shows("Successfully copied 2.05kB to web:/srv");
        assert_eq!(terminal.code(), Some(0));
        store
            .onggi(["create", "--read-only", "--name", "fixed", ALPINE, "true"])
            .run()
            .code(0);
        cp(&store, &["file", "fixed:/srv"])
            .code(1)
            .stderr_has("container rootfs is marked read-only");
    }
}

#[test]
fn what_is_mounted_in_a_running_container_is_reached() {
    for store in everyone_with_alpine() {
        store.file("file", "hi");
        let client = running(
            &store,
            &["--tmpfs", "/mounted"],
            "echo -n in >/mounted/made",
        );
        cp(&store, &["file", "web:/mounted"]).code(0);
        store
            .onggi(["exec", "web", "cat", "/mounted/file", "/mounted/made"])
            .run()
            .code(0)
            .stdout("hiin");
        cp(&store, &["web:/mounted", "out"]).code(0);
        assert_eq!(listing(&store.home().join("out")), ["file=hi", "made=in"]);
        // What the kernel makes up is left out where nobody asked for it.
        let all = names(&store, "/");
        assert!(
            all.contains(&"./proc".to_owned())
                && !all.iter().any(|name| name.starts_with("./proc/"))
        );
        cp(&store, &["web:/proc/sys/kernel/hostname", "-"]).code(0);
        remove(&store, Some(client));
        cp(&store, &["web:/mounted", "."]).code(1);
    }
}

#[test]
fn directories_and_files_do_not_take_each_others_places_unasked() {
    for store in everyone_with_alpine() {
        source(&store);
        let script = "mkdir -p /to/src/file/deep /back; touch /to/src/dir /back/src";
        store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .run()
            .code(0);
        cp(&store, &["src", "web:/to"])
            .code(1)
            .stderr_has("cannot overwrite non-directory \"src/dir\" with directory \"src/dir\"");
        cp(&store, &["src/file", "web:/to/src"])
            .code(1)
            .stderr_has("cannot overwrite directory \"file\" with non-directory \"file\"");
        cp(&store, &["--overwrite", "src", "web:/to"]).code(0);
        assert_eq!(
            names(&store, "/to/src"),
            ["src", "src/dir", "src/dir/inner", "src/file", "src/link"]
        );
    }
}
