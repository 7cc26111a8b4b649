//! Mounts of a container (config.md, "Mounts").

use crate::scene::scenes;
use crate::support::User;
use serde_json::{Value, json};

/// Adds mounts at the end.
fn add(mounts: Value) -> impl Fn(&mut Value) {
    move |config| {
        let list = config["mounts"].as_array_mut().unwrap();
        list.extend(mounts.as_array().unwrap().iter().cloned());
    }
}

/// The options of the mounts at a path, from the first to the last.
const OPTIONS: &str = "options() { awk -v at=$1 '$5 == at { print $6 }' /proc/self/mountinfo; }; ";

#[test]
fn what_is_there_is_changed() {
    for scene in scenes() {
        let mounts = json!([
            { "destination": "/memory", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"] },
            { "destination": "/memory", "options": ["remount", "nodev", "size=128k"] },
            { "destination": "/memory", "type": "bind", "source": "none", "options": ["bind", "remount", "ro"] },
        ]);
        let script = format!(
            "{OPTIONS} options /memory; df -k /memory | awk 'NR == 2 {{ print $2 }}'; ! touch /memory/x"
        );
        let told = scene.shell_with(add(mounts), &script);
        told.code(0).stdout("ro,nosuid,nodev,relatime\n128\n");
        for destination in ["/nowhere", "/etc", "/bin/sh"] {
            let mounts = json!([{ "destination": destination, "options": ["remount", "ro"] }]);
            scene.refuses(
                "nothing is mounted there that could be changed",
                add(mounts),
            );
        }
        // A link of the image's leads to no other mount.
        std::os::unix::fs::symlink("/proc", scene.bundle().join("rootfs/link")).unwrap();
        let link = json!([{ "destination": "/link", "options": ["remount", "rw"] }]);
        scene.refuses("nothing is mounted there", add(link));
        scene.assert_empty();
    }
}

/// Attributes of a mount alone, and of those below it (mount_setattr(2)).
#[test]
fn attributes_are_those_of_the_options() {
    for scene in scenes() {
        scene.store.file("tree/below/file", "x");
        let source = scene.store.home().join("tree");
        let bind = |options: &[&str]| {
            let inner = json!({ "destination": "/tree/below", "type": "tmpfs", "source": "tmpfs" });
            let tree = json!({ "destination": "/tree", "source": source, "options": ["rbind"] });
            let changed = json!({ "destination": "/tree", "options": options });
            add(json!([tree, inner, changed]))
        };
        let script = format!("{OPTIONS} options /tree; options /tree/below");
        for (words, own, other) in [
            (&["ro"][..], "ro", "rw"),
            (&["rro"], "ro", "ro"),
            (&["nosuid", "nodev", "noexec"], "nosuid,nodev,noexec", "rw"),
            (
                &["rnosuid", "rnodev", "rnoexec"],
                "nosuid,nodev,noexec",
                "nosuid,nodev,noexec",
            ),
            (&["noatime"], "noatime", "relatime"),
            (&["rnoatime"], "noatime", "noatime"),
            (&["nodiratime"], "nodiratime", "relatime"),
            (&["nosymfollow"], "nosymfollow", "relatime"),
            (&["rro", "rw"], "rw", "ro"),
        ] {
            // Times of what comes from a namespace of more privilege stay as they are.
            if words[0].contains("atime") && scene.store.user != User::Root {
                continue;
            }
            let words: Vec<&str> = words.iter().copied().chain(["remount"]).collect();
            let told = scene
                .shell_with(bind(&words), &script)
                .code(0)
                .stdout_text();
            let lines: Vec<&str> = told.lines().collect();
            assert!(
                lines[0].contains(own) && lines[1].contains(other),
                "{words:?}: {told}"
            );
        }
        scene.assert_empty();
    }
}

#[test]
fn what_is_mounted_is_as_the_options_say() {
    for scene in scenes() {
        let file = scene
            .store
            .file("bundle/beside", "beside the configuration");
        let home = file.parent().unwrap();
        let mounts = json!([
            // Relative to the bundle.
            { "destination": "/relative", "source": "beside", "options": ["bind", "ro"] },
            { "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] },
            { "destination": "/opt/new/deep", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k", "mode=0700", "ro"] },
            { "destination": "/../../up", "source": home, "type": "bind", "options": ["rbind", "rro"] },
            // Each after the other: the later one covers the earlier one.
            { "destination": "/srv", "type": "tmpfs", "source": "tmpfs" },
            { "destination": "/srv", "source": home, "options": ["bind"] },
        ]);
        let script = "cat /relative; echo; cat /etc/alpine-release; touch /etc/x && stat -c %a /etc /opt/new/deep; \
            ls /up /srv | grep -c beside; ! touch /up/x /relative /opt/new/deep/x 2>/dev/null";
        let told = scene.shell_with(add(mounts), script);
        told.code(0)
            .stdout("beside the configuration\n3.20.3\n755\n700\n2\n");
        assert!(!scene.bundle().join("rootfs/etc/x").exists());
        scene.assert_empty();
    }
}

/// Links of the image's stay inside, and nothing comes into `/proc`.
#[test]
fn nothing_is_mounted_outside_or_over_the_processes() {
    for scene in scenes() {
        let outside = scene.store.home().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let rootfs = scene.bundle().join("rootfs");
        std::os::unix::fs::symlink(&outside, rootfs.join("out")).unwrap();
        std::os::unix::fs::symlink("../../../../../..", rootfs.join("up")).unwrap();
        std::os::unix::fs::symlink("/proc/self", rootfs.join("self")).unwrap();
        let tmpfs = |destination: &str| {
            add(json!([{ "destination": destination, "type": "tmpfs", "source": "tmpfs" }]))
        };
        let inside = format!(
            "awk '$5 == \"{}\"' /proc/self/mountinfo | wc -l",
            outside.display()
        );
        scene
            .shell_with(tmpfs("/out"), &inside)
            .code(0)
            .stdout("1\n");
        scene
            .shell_with(
                tmpfs("/up/srv"),
                "awk '$5 == \"/srv\"' /proc/self/mountinfo | wc -l",
            )
            .code(0)
            .stdout("1\n");
        for destination in ["/proc/self", "/self/attr", "/proc/sys"] {
            scene.refuses("lies in the container's `/proc`", tmpfs(destination));
        }
        scene.refuses("a mount has an empty `destination`", tmpfs(""));
        scene
            .shell_with(tmpfs("srv"), "true")
            .code(0)
            .stderr_has("is not absolute: it is taken for `/srv`");
        for (mount, message) in [
            (
                json!({ "destination": "/x", "options": ["bind"] }),
                "has no source",
            ),
            (
                json!({ "destination": "/x", "source": "/nowhere", "options": ["bind"] }),
                "open `/nowhere`",
            ),
            (
                json!({ "destination": "/x", "source": "/tmp", "options": ["bind", "nosuch"] }),
                "unknown option `nosuch`",
            ),
            (
                json!({ "destination": "/x", "type": "nosuchfs", "source": "x" }),
                "nosuchfs",
            ),
            (
                json!({ "destination": "/x", "type": "tmpfs", "source": "x", "options": ["nosuch=1"] }),
                "nosuch=1",
            ),
            (
                json!({ "destination": "/bin/sh/x", "type": "tmpfs", "source": "x" }),
                "/bin/sh/x",
            ),
        ] {
            scene.refuses(message, add(json!([mount])));
        }
        scene.assert_empty();
    }
}

/// A group that the user namespace does not have keeps no terminal from coming to be.
#[test]
fn terminals_need_no_group() {
    for scene in scenes() {
        scene.change(|config| {
            let options = config["mounts"][2]["options"].as_array_mut().unwrap();
            options.retain(|word| word != "gid=5");
            options.push(json!("gid=5"));
            config["process"]["terminal"] = json!(true);
        });
        scene.shell("tty").code(0).stdout("/dev/pts/0\n");
        scene.assert_empty();
    }
}

/// Nothing of the host's is to be seen, and the kernel has changed no root.
#[test]
fn a_root_can_cover_another() {
    for scene in scenes() {
        scene.script("cat /etc/alpine-release; awk '{ print $5 }' /proc/self/mountinfo | sort | uniq | grep -c /; ls / | wc -l");
        let run = |options: &[&str]| {
            let call = scene.call(["run", "--bundle"]).args([scene.bundle()]);
            call.args(options).args(["web"]).run()
        };
        let pivoted = run(&[]).code(0).stdout_text();
        run(&["--no-pivot"]).code(0).stdout(&pivoted).stderr("");
        scene.program(&["sleep", "1000"]);
        scene
            .make(&["run", "--no-pivot", "--detach", "web"])
            .code(0);
        scene
            .run(["exec", "web", "cat", "/etc/alpine-release"])
            .code(0)
            .stdout("3.20.3\n");
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

/// What has `ro` is read-only for the container; until then it gets what belongs in it.
#[test]
fn what_is_read_only_is_filled_first() {
    for scene in scenes() {
        let change = |config: &mut Value| {
            config["process"]["terminal"] = json!(true);
            config["process"]["cwd"] = json!("/memory/below/here");
            let mounts = config["mounts"].as_array_mut().unwrap();
            let dev = mounts
                .iter_mut()
                .find(|mount| mount["destination"] == "/dev")
                .unwrap();
            dev["options"].as_array_mut().unwrap().push(json!("ro"));
            let tmpfs = |target: &str, options: &[&str]| json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options });
            mounts.extend([
                tmpfs("/memory", &["ro"]),
                tmpfs("/memory/below", &["ro", "mode=755"]),
                tmpfs("/other", &["ro"]),
                json!({ "destination": "/other", "options": ["remount", "rw"] }),
                tmpfs("/group", &["shared"]),
            ]);
        };
        let script = format!(
            "{OPTIONS} pwd; for at in /dev /memory /memory/below /other; do options $at; done; \
            for name in null pts/ptmx console; do test -c /dev/$name || echo no $name; done; test -d /dev/shm || echo no shm; \
            for at in /dev /memory . /other; do touch $at/x 2>/dev/null && echo $at; done; grep -c ' /group .* shared:' /proc/self/mountinfo"
        );
        let told = scene.shell_with(change, &script).code(0).stdout_text();
        let told = told.replace('\r', "");
        let lines: Vec<&str> = told.lines().collect();
        let [cwd, dev, memory, below, other, written, shared] = lines[..] else {
            panic!("{told}");
        };
        assert_eq!(
            (cwd, written, shared),
            ("/memory/below/here", "/other", "1")
        );
        for line in [dev, memory, below] {
            assert!(line.starts_with("ro"), "{told}");
        }
        assert!(other.starts_with("rw"), "{told}");
        scene.assert_empty();
    }
}

/// A source below the root is one of the container's: earlier mounts have made it, or the image, whose links lead nowhere else.
#[test]
fn sources_below_the_root_are_the_containers() {
    for scene in scenes() {
        scene.store.file("tree/deep/file", "of the host");
        scene.store.file("bundle/beside", "beside");
        let source = scene.store.home().join("tree");
        let rootfs = scene.bundle().join("rootfs");
        std::os::unix::fs::symlink("/etc", rootfs.join("link")).unwrap();
        let bind = |source: &str, target: &str, word: &str| json!({ "destination": target, "source": source, "options": [word] });
        let own = |path: &str| format!("{}{path}", rootfs.display());
        let mounts = json!([
            bind(source.to_str().unwrap(), "/srv", "bind"),
            { "destination": "/srv/deep", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"] },
            bind(&own("/link/alpine-release"), "/srv/deep/release", "bind"),
            // With what is mounted in it; and where callers of runc have it.
            bind(&own("/srv"), &own("/opt/all"), "rbind"),
            bind("rootfs/srv", "/opt/own", "bind"),
            bind(&own("/../beside"), "/opt/beside", "bind"),
        ]);
        // Who owns none of them sees no mount without those that lie below it.
        let mounts = match scene.store.user {
            User::Root => mounts,
            _ => json!(
                mounts
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|mount| mount["destination"] != "/opt/own")
                    .collect::<Vec<_>>()
            ),
        };
        let script = "cat /opt/all/deep/release; cat /opt/own/deep/file; echo; cat /opt/beside";
        let told = scene.shell_with(add(mounts), &format!("({script}) 2>/dev/null"));
        told.code(0).stdout(match scene.store.user {
            User::Root => "3.20.3\nof the host\nbeside",
            _ => "3.20.3\n\nbeside",
        });
        for (path, message) in [
            ("/nowhere", "open `/nowhere` in the container"),
            ("/proc/self/root", "open `/proc/self/root` in the container"),
        ] {
            scene.refuses(message, add(json!([bind(&own(path), "/opt/x", "rbind")])));
        }
        if scene.store.user == User::Root {
            let owner = scene.store.home().join("tree/deep/file");
            std::os::unix::fs::chown(owner, Some(3), Some(4)).unwrap();
            let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
            let mapped = json!({ "destination": "/mapped", "source": own("/srv"), "options": ["bind"], "uidMappings": ids, "gidMappings": ids });
            let mounts = json!([bind(source.to_str().unwrap(), "/srv", "bind"), mapped]);
            let told = scene.shell_with(add(mounts), "stat -c %u:%g /mapped/deep/file");
            told.code(0).stdout("1003:1004\n");
        }
        scene.assert_empty();
    }
}

/// What is named by way of a process lies in a mount of that one's namespace (proc_pid_root(5)).
#[test]
fn sources_may_be_named_by_a_process() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        scene.store.file("tree/file", "x");
        let tree = scene.store.home().join("tree");
        let source = format!("/proc/{}/root{}", std::process::id(), tree.display());
        let tree = json!([{ "destination": "/tree", "source": source, "options": ["bind"] }]);
        let told = scene.shell_with(add(tree), "cat /tree/file");
        told.code(0).stdout("x");
        scene.assert_empty();
    }
}
