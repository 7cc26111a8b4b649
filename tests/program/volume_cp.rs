//! cp: files into and out of volumes, of containers that run, that ran, and that never did; and what a container cannot
//! do to the host by what lies in its volumes.

use crate::cp::{cp, listing, names};
use crate::support::{ALPINE, Need, OwnMounts, Store, User, everyone_with_alpine, requires};
use std::path::{Path, PathBuf};

fn data(store: &Store, volume: &str) -> PathBuf {
    store.data().join("volumes").join(volume).join("_data")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NeverRan,
    Runs,
    Ran,
}

/// A container with a volume at `/vol`, one within it, and a directory of the host at `/own`.
fn container(store: &Store, state: State) {
    let own = format!("{}:/own", store.home().join("own").display());
    let words = [
        "create",
        "--name",
        "web",
        "-v",
        "outer:/vol",
        "-v",
        "inner:/vol/in",
        "-v",
        &own,
        ALPINE,
        "sleep",
        "1000",
    ];
    store.onggi(words).run().code(0);
    if state != State::NeverRan {
        store.ok(["start", "web"]);
    }
    if state == State::Ran {
        store.ok(["stop", "-t", "0", "web"]);
    }
}

#[test]
fn files_reach_volumes_whether_the_container_runs_or_not() {
    for store in everyone_with_alpine() {
        store.file("file", "hi");
        for state in [State::NeverRan, State::Runs, State::Ran] {
            let own = store.home().join("own");
            let made = store.command("mkdir").arg(&own).status().unwrap();
            assert!(made.success());
            container(&store, state);
            cp(&store, &["file", "web:/vol/one"]).code(0);
            cp(&store, &["file", "web:/vol/in/two"]).code(0);
            cp(&store, &["file", "web:/own/three"]).code(0);
            cp(&store, &["file", "web:/four"]).code(0);
            assert_eq!(
                listing(&data(&store, "outer")),
                ["in/", "one=hi"],
                "{state:?}"
            );
            assert_eq!(listing(&data(&store, "inner")), ["two=hi"], "{state:?}");
            assert_eq!(listing(&own), ["three=hi"], "{state:?}");
            // Out again, from where they lie and through the directory above.
            assert_eq!(
                names(&store, "/vol"),
                ["vol", "vol/in", "vol/in/two", "vol/one"]
            );
            let out = tempfile::tempdir_in(store.home()).unwrap();
            let (user, group) = (store.account.uid, store.account.gid);
            std::os::unix::fs::chown(out.path(), Some(user), Some(group)).unwrap();
            let target = out.path().join("vol");
            cp(&store, &["web:/vol", target.to_str().unwrap()]).code(0);
            assert_eq!(listing(&target), ["in/", "in/two=hi", "one=hi"]);
            cp(&store, &["web:/own/three", "-"]).code(0);
            // What is in volumes is no change of the container.
            let changed = store.ok(["diff", "web"]);
            assert!(
                changed.contains("A /four") && !changed.contains("one"),
                "{changed}"
            );
            store.ok(["rm", "-f", "web"]);
            for place in ["outer", "inner"] {
                store.ok(["volume", "rm", place]);
            }
            std::fs::remove_dir_all(&own).unwrap();
        }
    }
}

#[test]
fn links_in_a_volume_never_lead_to_the_host() {
    for store in everyone_with_alpine() {
        store.file("file", "hi");
        let outside = store.home().join("outside");
        let made = store.command("mkdir").arg(&outside).status().unwrap();
        assert!(made.success());
        store.file("outside/secret", "of the host");
        let outside_text = outside.display().to_string();
        // Absolute, and up as far as one likes: both end in the container's own root.
        let script = format!(
            "mkdir -p /vol/deep; ln -s {outside_text} /vol/absolute; ln -s ../../../../../../../../..{outside_text} /vol/up; \
             ln -s {outside_text}/secret /vol/file; ln -s ../../../../../../../../..{outside_text} /vol/deep/up; \
             ln -s {outside_text}/made /vol/new"
        );
        store.shell(&["-v", "vol:/vol"], &script).run().code(0);
        let before = listing(&outside);
        for runs in [false, true] {
            let words = [
                "create", "--name", "web", "-v", "vol:/vol", ALPINE, "sleep", "1000",
            ];
            store.onggi(words).run().code(0);
            if runs {
                store.ok(["start", "web"]);
            }
            for way in ["absolute", "up", "deep/up"] {
                // There is no such directory in the container.
                cp(&store, &["file", &format!("web:/vol/{way}/")]).code(1);
                cp(&store, &[&format!("web:/vol/{way}/secret"), "-"]).code(1);
                cp(&store, &["-L", &format!("web:/vol/{way}"), "-"]).code(1);
            }
            cp(&store, &["-L", "web:/vol/file", "-"]).code(1);
            cp(&store, &["web:/vol/file/", "-"]).code(1);
            // It would be made in the container.
            cp(&store, &["file", "web:/vol/new"]).code(1);
            // With such a directory in the container it is that one.
            let inside = tar_of_directories(&outside);
            store
                .onggi(["cp", "-", "web:/"])
                .stdin(inside)
                .run()
                .code(0);
            for way in ["absolute", "up", "deep/up"] {
                cp(
                    &store,
                    &[
                        "file",
                        &format!("web:/vol/{way}/by-{}", way.replace('/', "-")),
                    ],
                )
                .code(0);
            }
            assert_eq!(
                names(&store, &outside_text)[1..],
                ["absolute", "deep-up", "up"].map(|way| format!("outside/by-{way}"))
            );
            assert_eq!(listing(&outside), before);
            store.ok(["rm", "-f", "web"]);
        }
        // Taken out whole, links are links.
        let words = ["create", "--name", "web", "-v", "vol:/vol", ALPINE, "true"];
        store.onggi(words).run().code(0);
        cp(&store, &["web:/vol", "taken"]).code(0);
        let taken = store.home().join("taken");
        assert_eq!(
            taken
                .join("up")
                .read_link()
                .unwrap()
                .components()
                .next_back(),
            outside.components().next_back()
        );
        assert_eq!(
            taken.join("file").read_link().unwrap(),
            outside.join("secret")
        );
        assert_eq!(listing(&outside), before);
    }
}

/// An archive with a directory and all above it.
fn tar_of_directories(path: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let below = path.strip_prefix("/").unwrap();
    let mut all: Vec<&Path> = below
        .ancestors()
        .filter(|path| *path != Path::new(""))
        .collect();
    all.reverse();
    for directory in all {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o755);
        archive
            .append_data(&mut header, directory, &[][..])
            .unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn what_is_mounted_in_a_read_only_container_is_written() {
    for store in everyone_with_alpine() {
        let own = store.home().join("own");
        let made = store.command("mkdir").arg(&own).status().unwrap();
        assert!(made.success());
        let (writable, fixed) = (
            format!("{}:/own", own.display()),
            format!("{}:/fixed:ro", own.display()),
        );
        let mounts = [
            "-v",
            "vol:/vol",
            "-v",
            "/anonymous",
            "-v",
            &writable,
            "-v",
            &fixed,
            "--tmpfs",
            "/memory",
        ];
        let options: Vec<&str> = ["--read-only"].into_iter().chain(mounts).collect();
        let script = "for place in / /etc /vol /anonymous /own /fixed /memory /dev/shm /tmp /run; do \
                      if touch $place/new 2>/dev/null; then echo $place; fi; done";
        store
            .shell(&options, script)
            .run()
            .code(0)
            .stdout("/vol\n/anonymous\n/own\n/memory\n/dev/shm\n");
        // So does cp, which writes the root file system of none that is read-only.
        store.file("file", "hi");
        let words = ["create", "--name", "web"];
        let words = words.iter().chain(&options).chain(&[ALPINE, "true"]);
        store.onggi(words).run().code(0);
        for place in ["/vol", "/anonymous", "/own"] {
            cp(&store, &["file", &format!("web:{place}/copied")]).code(0);
        }
        assert_eq!(listing(&data(&store, "vol")), ["copied=hi", "new="]);
        cp(&store, &["file", "web:/etc"])
            .code(1)
            .stderr_has("read-only");
        cp(&store, &["file", "web:/fixed/x"]).code(1);
        assert_eq!(listing(&own), ["copied=hi", "new="]);
        store.ok(["rm", "web"]);
    }
}

#[test]
fn a_container_that_does_not_run_is_seen_with_the_options_of_its_mounts() {
    for mut store in everyone_with_alpine() {
        if !requires(&[Need::Root, Need::Program("nsenter")]) {
            return;
        }
        let own = store.home().join("own");
        let script = "mount --make-rprivate /; mkdir -m 777 $1 $1/sub; mount -t tmpfs -o mode=777 tmpfs $1/sub; \
                      chown 1000:1000 $1";
        let _mounts = OwnMounts::prepared(&mut store, script, &[&own]);
        store.file("file", "hi");
        let own = own.display();
        let [writable, read_only, mapped] = [
            format!("type=bind,src={own},dst=/writable,ro,bind-recursive=writable"),
            format!("type=bind,src={own},dst=/fixed,ro"),
            format!("{own}:/mapped:idmap=uids=1000-0-1;gids=1000-0-1"),
        ];
        let mut words = vec!["create", "--name", "web"];
        words.extend(["--mount", &writable, "--mount", &read_only]);
        if store.user == User::Root {
            words.extend(["-v", &mapped]);
        }
        words.extend([ALPINE, "true"]);
        store.onggi(words).run().code(0);
        assert_eq!(names(&store, "/fixed"), ["fixed", "fixed/sub"]);
        cp(&store, &["file", "web:/writable/sub/new"]).code(0);
        for place in ["/writable/new", "/fixed/new", "/fixed/sub/other"] {
            cp(&store, &["file", &format!("web:{place}")]).code(1);
        }
        assert_eq!(names(&store, "/fixed/sub"), ["sub", "sub/new"]);
        if store.user == User::Root {
            use std::os::unix::fs::MetadataExt;
            cp(&store, &["file", "web:/mapped/new"]).code(0);
            let found = store.seen(&store.home().join("own/new")).metadata();
            assert_eq!(found.unwrap().uid(), 1000);
        }
        store.ok(["rm", "web"]);
    }
}

#[test]
fn to_read_makes_nothing_on_the_host() {
    for store in everyone_with_alpine() {
        let gone = store.home().join("gone");
        let mount = format!("{}:/opt", gone.display());
        let words = ["create", "--name", "web", "-v", &mount, ALPINE, "true"];
        store.onggi(words).run().code(0);
        for started in [false, true] {
            if started {
                store.ok(["start", "-a", "web"]);
            }
            let was_there = std::fs::remove_dir(&gone).is_ok();
            assert!(was_there || !started);
            // As it would be if the container were started.
            assert_eq!(names(&store, "/opt"), ["opt"]);
            assert_eq!(names(&store, "/bin/busybox"), ["busybox"]);
            assert!(!gone.exists());
        }
    }
}
