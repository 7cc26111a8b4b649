//! `--device`, `--device-cgroup-rule`, `--privileged`: which nodes of the host a container gets, and where. The filter of
//! the control group is tried in the virtual machine (`tests/vm/devices`).

use crate::support::{ALPINE, Outcome, User, everyone_with_alpine};

/// A device that nobody can write to, whatever it is called: `ENOSPC`.
fn is_full(path: &str) -> String {
    format!("(echo x >{path}) 2>&1 | grep -q 'No space left' && head -c 1 {path} | wc -c")
}

#[test]
fn nodes_are_where_they_are_wanted() {
    for store in everyone_with_alpine() {
        for (device, path) in [
            ("/dev/full:/dev/other", "/dev/other"),
            ("/dev/full:/dev/other:rw", "/dev/other"),
            ("/dev/full:/dev/a/b/c", "/dev/a/b/c"),
            ("/dev/full:/opt/deep/full", "/opt/deep/full"),
            ("/dev/full:/dev/../opt/full", "/opt/full"),
            ("/dev/full:/dev/null", "/dev/null"),
            ("/dev/./full:/x:rwm", "/x"),
        ] {
            store
                .shell(&["--device", device], &is_full(path))
                .run()
                .code(0)
                .stdout("1\n")
                .stderr("");
        }
        // The default ones are there beside them.
        let script = "test -c /dev/null && test -c /dev/tty && readlink /dev/ptmx && ls /dev/full";
        let options = ["--device", "/dev/full:/dev/other"];
        let outcome = store.shell(&options, script).run();
        outcome.code(0).stdout("pts/ptmx\n/dev/full\n");
        // The last one that is to be at a place is.
        let options = ["--device", "/dev/zero:/x", "--device", "/dev/full:/x"];
        store.shell(&options, &is_full("/x")).run().code(0);
    }
}

#[test]
fn a_node_is_that_of_the_host() {
    for store in everyone_with_alpine() {
        let tun = std::path::Path::new("/dev/net/tun");
        if !tun.exists() {
            crate::support::skip("there is no /dev/net/tun");
            return;
        }
        let outcome = store
            .shell(
                &["--device", "/dev/net/tun"],
                "stat -c '%t:%T %a' /dev/net/tun",
            )
            .run();
        use std::os::unix::fs::MetadataExt;
        let mode = tun.metadata().unwrap().mode() & 0o777;
        outcome.code(0).stdout(&format!("a:c8 {mode:o}\n"));
    }
}

#[test]
fn links_and_directories_are_resolved_on_the_host() {
    for store in everyone_with_alpine() {
        let directory = store.home().join("devices");
        std::fs::create_dir_all(directory.join("below")).unwrap();
        std::fs::write(directory.join("text"), "no device").unwrap();
        std::os::unix::fs::symlink("/dev/full", directory.join("link")).unwrap();
        let link = format!("{}:/dev/other", directory.join("link").display());
        store
            .shell(&["--device", &link], &is_full("/dev/other"))
            .run()
            .code(0);
        // Nothing but nodes counts, and links in a directory are not followed.
        let refused = store
            .shell(&["--device", &directory.display().to_string()], "true")
            .run();
        refused.code(125).stderr_has("not a device node");
        if store.user == User::Root {
            mknod(&directory.join("one"), 7);
            mknod(&directory.join("below/two"), 5);
            let option = format!("{}:/dev/mine", directory.display());
            let script = format!("{} && find /dev/mine | sort", is_full("/dev/mine/one"));
            let outcome = store.shell(&["--device", &option], &script).run();
            let all = "1\n/dev/mine\n/dev/mine/below\n/dev/mine/below/two\n/dev/mine/one\n";
            outcome.code(0).stdout(all);
        }
    }
}

fn mknod(path: &std::path::Path, minor: u32) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let mode = Mode::from(0o666);
    mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        mode,
        makedev(1, minor),
    )
    .unwrap();
}

#[test]
fn what_is_no_device_is_refused_in_dockers_words() {
    for store in everyone_with_alpine() {
        let gathering = "error gathering device information while adding custom device";
        for (device, message) in [
            (
                "/dev/nosuch",
                format!("{gathering} \"/dev/nosuch\": no such file or directory"),
            ),
            (
                "/etc/passwd:/dev/x",
                format!("{gathering} \"/etc/passwd\": not a device node"),
            ),
            ("/dev/full:/x:rx", "bad mode specified: rx".to_owned()),
            (
                "/dev/full:/x:r:w",
                "bad format for path: /dev/full:/x:r:w".to_owned(),
            ),
            ("/dev/full:x", "x is not an absolute path".to_owned()),
            ("/dev/full:/", "`/`".to_owned()),
        ] {
            let outcome = store.shell(&["--device", device], "true").run();
            outcome.code(125).stderr_has(&message);
        }
        let outcome = store
            .shell(&["--device-cgroup-rule", "c 10:200"], "true")
            .run();
        outcome
            .code(125)
            .stderr_has("invalid device cgroup format 'c 10:200'");
        // Of all that nothing is left.
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

#[test]
fn a_hostile_image_leads_no_node_out_of_the_root() {
    for store in everyone_with_alpine() {
        let outside = store.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let traps = format!(
            "ln -s {0} /absolute; ln -s {0}/file /file; ln -s /etc /inside",
            outside.display()
        );
        let make = store.onggi(["run", "--name", "traps", ALPINE, "sh", "-c", &traps]);
        make.run().code(0);
        store.onggi(["commit", "traps", "hostile"]).run().code(0);
        store.onggi(["rm", "traps"]).run().code(0);
        let run = |device: &str, script: &str| -> Outcome {
            let run = [
                "run", "--rm", "--device", device, "hostile", "sh", "-c", script,
            ];
            store.onggi(run).run()
        };
        // What they name is made, as seen from the container's root.
        for (target, made) in [("/absolute/x", "x"), ("/absolute/y/z", "y/z")] {
            let made = outside.join(made);
            let script = is_full(made.to_str().unwrap());
            run(&format!("/dev/full:{target}"), &script).code(0);
        }
        // mknod(2) replaces no link; a node that is bound has what that names.
        let outcome = run("/dev/full:/file", "true");
        match store.user {
            User::Root => outcome.code(125).stderr_has("/file"),
            _ => outcome.code(0),
        };
        run("/dev/full:/inside/x", &is_full("/etc/x")).code(0);
        let left = std::fs::read_dir(&outside).unwrap().count();
        assert_eq!(left, 0, "nothing was made outside");
        assert!(!std::path::Path::new("/etc/x").exists());
    }
}

#[test]
fn a_container_keeps_its_devices_when_it_is_started_again() {
    for store in everyone_with_alpine() {
        let script = is_full("/opt/full");
        let create = [
            "run",
            "--name",
            "box",
            "--device",
            "/dev/full:/opt/full",
            ALPINE,
            "sh",
            "-c",
        ];
        let create = store.onggi(create.iter().copied().chain([script.as_str()]));
        create.run().code(0).stdout("1\n");
        store
            .onggi(["start", "-a", "box"])
            .run()
            .code(0)
            .stdout("1\n");
        let format = "{{json .HostConfig.Devices}} {{json .HostConfig.DeviceCgroupRules}} {{json .HostConfig.DeviceRequests}}";
        let shown = store.onggi(["inspect", "--format", format, "box"]).run();
        shown.code(0).stdout(
            "[{\"PathOnHost\":\"/dev/full\",\"PathInContainer\":\"/opt/full\",\"CgroupPermissions\":\"rwm\"}] null null\n",
        );
    }
}

#[test]
fn a_rule_that_cannot_be_enforced_is_explained() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        let options = [
            "--device-cgroup-rule",
            "c 10:200 rwm",
            "--device",
            "/dev/full:/dev/x:r",
        ];
        let outcome = store.shell(&options, "true").run();
        let why = "only root may load filters for devices";
        outcome
            .code(0)
            .stderr_has(&format!("--device-cgroup-rule has no effect: {why}"))
            .stderr_has(&format!(
                "the access `r` to `/dev/x` is not enforced: {why}"
            ));
    }
}

#[test]
fn nodes_that_a_container_makes_are_no_way_to_the_hosts_devices() {
    for store in everyone_with_alpine() {
        // Memory of the kernel; the first disk.
        for (kind, numbers) in [("c", "1 1"), ("b", "254 0"), ("b", "8 0")] {
            let script = format!(
                "for place in / /dev /tmp; do mknod $place/node {kind} {numbers} 2>/dev/null; \
                 head -c 1 $place/node >/got 2>/dev/null; wc -c </got; done"
            );
            let outcome = store.shell(&[], &script).run();
            outcome.code(0).stdout("0\n0\n0\n");
        }
    }
}

#[test]
fn privileged_has_all_of_them() {
    for store in everyone_with_alpine() {
        let options = ["--privileged", "--device", "/dev/full:/opt/full"];
        let script = format!("{} && test -c /dev/fuse && echo all", is_full("/opt/full"));
        if !std::path::Path::new("/dev/fuse").exists() {
            crate::support::skip("there is no /dev/fuse");
            return;
        }
        let outcome = store.shell(&options, &script).run();
        outcome.code(0).stdout("1\nall\n").stderr("");
    }
}
