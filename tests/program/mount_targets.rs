//! Where mounts come to lie: places that are missing, of the wrong kind, behind links, or in one another.

use crate::support::{ALPINE, Store, everyone_with_alpine};
use std::path::Path;

/// A directory of the user's with a file.
fn source(store: &Store, name: &str) -> String {
    let path = store.home().join(name);
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), name).unwrap();
    for path in [&path, &path.join("file")] {
        let (uid, gid) = (store.account.uid, store.account.gid);
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

/// An image in which a script has been run.
fn image(store: &Store, script: &str) -> String {
    let words = ["run", "--name", "made", ALPINE, "sh", "-c", script];
    store.onggi(words).run().code(0);
    store.onggi(["commit", "made", "made:1"]).run().code(0);
    store.onggi(["rm", "made"]).run().code(0);
    "made:1".to_owned()
}

#[test]
fn links_lead_to_places_inside() {
    for store in everyone_with_alpine() {
        let image = image(
            &store,
            "ln -s /not/there /dangling; ln -s ../relative/here /etc/up; ln -s /etc /conf; ln -s loop /loop; \
             ln -s /etc/motd /to-file",
        );
        let a = source(&store, "a");
        let run = |source: &str, target: &str, script: &str| {
            let volume = format!("{source}:{target}");
            let words = ["run", "--rm", "-v", &volume, &image, "sh", "-c", script];
            store.onggi(words).run()
        };
        let file = format!("{a}/file");
        for (target, place) in [
            ("/dangling", "/not/there"),
            ("/dangling/deeper", "/not/there/deeper"),
            ("/etc/up", "/relative/here"),
            ("/conf/new", "/etc/new"),
            ("/plain/new", "/plain/new"),
        ] {
            let script = format!("cat {place}/file");
            run(&a, target, &script).code(0).stdout("a");
            run(&file, target, &format!("cat {place}"))
                .code(0)
                .stdout("a");
        }
        run(&file, "/to-file", "cat /etc/motd").code(0).stdout("a");
        for (source, target, said) in [
            (
                &a,
                "/loop",
                "`/loop` leads through too many symbolic links, or in a circle",
            ),
            (
                &a,
                "/loop/x",
                "`/loop/x` leads through too many symbolic links, or in a circle",
            ),
            (
                &a,
                "/etc/passwd",
                "`/etc/passwd` is a file in the image, and a directory is to be mounted there",
            ),
            (
                &file,
                "/usr",
                "`/usr` is a directory in the image, and a file is to be mounted there",
            ),
            (
                &a,
                "/etc/passwd/x",
                "`/etc/passwd/x` cannot be made: on the way to it there is a file",
            ),
            (&a, "/proc/1", "`/proc/1` lies in the container's `/proc`"),
        ] {
            run(source, target, "true").code(125).stderr_has(said);
        }
        assert!(!Path::new("/not").exists() && !Path::new("/relative").exists());
        store.assert_no_process_is_left();
    }
}

#[test]
fn mounts_in_one_another() {
    for store in everyone_with_alpine() {
        let (a, b) = (source(&store, "a"), source(&store, "b"));
        let run = |own: &[&str], first: &str, second: &str, script: &str| {
            let options = [&["-v", first, "-v", second], own].concat();
            store.shell(&options, script).run()
        };
        let (parent, child) = (format!("{a}:/x"), format!("{b}:/x/sub"));
        run(&[], &format!("{parent}:ro"), &child, "true")
            .code(125)
            .stderr_has("`/x/sub` is not there, and it cannot be made: the mount that it belongs to is read-only")
            .stderr_has("make it in the source of that mount, or mount that without `ro`");
        // In whatever order they are given.
        run(&[], &child, &parent, "cat /x/file /x/sub/file")
            .code(0)
            .stdout("ab");
        assert!(Path::new(&a).join("sub").is_dir());
        assert_eq!(std::fs::read_dir(format!("{a}/sub")).unwrap().count(), 0);
        for own in [&[][..], &store.own_user_namespace()] {
            run(
                own,
                &format!("{parent}:ro"),
                &child,
                "cat /x/sub/file; touch /x/new || touch /x/sub/new",
            )
            .code(
                match own.is_empty() || store.own_user_namespace()[0] == "--userns" {
                    true => 0,
                    false => 1,
                },
            )
            .stdout("b");
        }
    }
}

#[test]
fn what_lxcfs_shows() {
    for store in everyone_with_alpine() {
        let file = store.file("uptime", "12.00 34.00\n");
        let volume = format!("{}:/proc/uptime:ro", file.display());
        for own in [&[][..], &store.own_user_namespace()] {
            let options = [&["-v", &volume], own].concat();
            store
                .shell(&options, "cat /proc/uptime")
                .run()
                .code(0)
                .stdout("12.00 34.00\n");
        }
        for target in [
            "/proc/version",
            "/proc/sys/kernel/hostname",
            "/proc/self/attr/exec",
            "/proc",
        ] {
            let volume = format!("{}:{target}", file.display());
            let outcome = store.shell(&["-v", &volume], "true").run();
            outcome.code(125);
        }
    }
}

#[test]
fn a_thousand_mounts() {
    for store in everyone_with_alpine() {
        let a = source(&store, "a");
        let own = store.own_user_namespace();
        for own in [&[][..], &own] {
            let volumes: Vec<String> = (0..1000).map(|at| format!("{a}:/x/{at}")).collect();
            let mut options: Vec<&str> = volumes.iter().flat_map(|volume| ["-v", volume]).collect();
            options.extend(own);
            let script = "grep -c ' /x/' /proc/self/mountinfo; cat /x/999/file; ulimit -n";
            // Programs that ask for their descriptors by number have those that they expect.
            let call = store.shell(&options, script).into_command();
            let mut limited = store.command("sh");
            limited.args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\""]);
            limited.arg(call.get_program()).args(call.get_args());
            let limited = crate::support::Call::new(limited).run();
            limited.code(0).stdout("1000\na1024\n");
        }
    }
}

#[test]
fn places_that_an_image_lacks_are_no_change_and_every_containers_own() {
    for store in everyone_with_alpine() {
        let (a, file) = (source(&store, "a"), store.home().join("a/file"));
        let volumes = [
            format!("{a}:/new/one"),
            format!("{a}:/etc/new/two"),
            format!("{}:/new/file", file.display()),
        ];
        let create = |name: &str, script: &str| {
            let volumes = volumes.iter().flat_map(|volume| ["-v", volume]);
            let words = ["create", "--name", name].into_iter().chain(volumes);
            let program = [ALPINE, "sh", "-c", script];
            store.onggi(words.chain(program)).run().code(0);
        };
        let script = "cat /new/one/file /etc/new/two/file /new/file; ls /etc/hostname /new; stat -c %a /new /new/file; \
                      echo > /new/mine";
        create("first", script);
        create("second", script);
        let shown = "aaa/etc/hostname\n\n/new:\nfile\none\n755\n644\n";
        for name in ["first", "second"] {
            store
                .onggi(["start", "-a", name])
                .run()
                .code(0)
                .stdout(shown);
        }
        let changes = "A /new\nA /new/mine\n";
        store.onggi(["diff", "first"]).run().code(0).stdout(changes);
        // What it has written is there the next time, with the places.
        let again = shown.replace("file\none", "file\nmine\none");
        store
            .onggi(["start", "-a", "first"])
            .run()
            .code(0)
            .stdout(&again);
        store.onggi(["rm", "first", "second"]).run().code(0);
        let kept = std::fs::read_dir(store.data().join("mount-points")).unwrap();
        assert_eq!(kept.count(), 1, "{:?}", store.user);
        create("third", "true");
        store.onggi(["start", "-a", "third"]).run().code(0);
        store.onggi(["diff", "third"]).run().code(0).stdout("");
        store.onggi(["rm", "third"]).run().code(0);
    }
}
