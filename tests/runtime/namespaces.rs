//! Namespaces of a container (config-linux.md, "Namespaces"): new ones, and those that are there.

use crate::scene::{Scene, scenes};
use crate::support::User;
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

const KINDS: [(&str, &str); 7] = [
    ("mount", "mnt"),
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn of_host(file: &str) -> String {
    let link = std::fs::read_link(format!("/proc/self/ns/{file}")).unwrap();
    link.to_str().unwrap().to_owned()
}

/// Puts a kind into the configuration, with a path or new; or takes it out.
fn set(config: &mut Value, kind: &str, path: Option<Option<&str>>) {
    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|one| one["type"] != kind);
    match path {
        Some(Some(path)) => list.push(json!({ "type": kind, "path": path })),
        Some(None) => list.push(json!({ "type": kind })),
        None => {}
    }
}

#[test]
fn each_kind_is_new_or_that_of_the_host() {
    for scene in scenes() {
        for (kind, file) in KINDS {
            let link = format!("readlink /proc/self/ns/{file}");
            let new = scene.shell_with(|config| set(config, kind, Some(None)), &link);
            new.code(0).stdout_lacks(&of_host(file)).stdout_has(file);
            // A hostname needs its namespace, and who has no process file system of its own sees that of the host.
            if ["mount", "uts", "pid"].contains(&kind) {
                continue;
            }
            let without = |config: &mut Value| {
                set(config, kind, None);
                // Who does not own the namespace mounts none, and this host may show none.
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|mount| mount["type"] != "mqueue");
            };
            let shared = scene.shell_with(without, &link);
            shared.code(0).stdout(&format!("{}\n", of_host(file)));
        }
        scene.refuses("host name needs a UTS namespace", |config| {
            set(config, "uts", None)
        });
        scene.refuses("has the type `pid` twice", |config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.push(json!({ "type": "pid" }));
        });
        scene.refuses("not an absolute path", |config| {
            set(config, "network", Some(Some("ns/net")))
        });
        scene.refuses("open the namespace `/nowhere`", |config| {
            set(config, "network", Some(Some("/nowhere")))
        });
        scene.refuses("`/proc/self/ns/net` is not a ipc namespace", |config| {
            set(config, "ipc", Some(Some("/proc/self/ns/net")));
        });
        scene.assert_empty();
    }
}

/// A process of root's with a namespace of its own.
struct Holder(Child);

impl Holder {
    fn new(options: &[&str]) -> Self {
        let mut child = Command::new("unshare")
            .args(options)
            .args(["sh", "-c", "echo ready; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 6]).unwrap();
        Self(child)
    }

    fn path(&self, file: &str) -> String {
        let own = format!("/proc/{}/ns/{file}", self.0.id());
        match file {
            "pid" | "time" => format!("{own}_for_children"),
            _ => own,
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn root() -> impl Iterator<Item = Scene> {
    scenes().filter(|scene| scene.store.user == User::Root)
}

/// Joining takes power over them, which an ordinary user has over none that is not below an own user namespace.
#[test]
fn those_that_are_there_are_joined() {
    for scene in root() {
        for (kind, file, options) in [
            ("mount", "mnt", &["--mount", "--propagation", "private"][..]),
            ("network", "net", &["--net"]),
            ("ipc", "ipc", &["--ipc"]),
            ("uts", "uts", &["--uts"]),
            ("cgroup", "cgroup", &["--cgroup"]),
            ("pid", "pid", &["--pid", "--fork", "--kill-child"]),
            ("time", "time", &["--time"]),
        ] {
            let holder = Holder::new(options);
            let path = holder.path(file);
            let expected = std::fs::read_link(&path).unwrap();
            let script = format!("readlink /proc/self/ns/{file}; cat /etc/alpine-release");
            let joined = scene.shell_with(|config| set(config, kind, Some(Some(&path))), &script);
            let expected = format!("{}\n3.20.3\n", expected.display());
            joined.code(0).stdout(&expected);
            if kind == "mount" {
                // exec finds the way, too.
                scene.change(|config| set(config, kind, Some(Some(&path))));
                scene.program(&["sleep", "1000"]);
                scene.make(&["run", "--detach", "web"]).code(0);
                scene
                    .run(["exec", "web", "cat", "/etc/alpine-release"])
                    .code(0)
                    .stdout("3.20.3\n");
                scene.run(["delete", "--force", "web"]).code(0);
                scene.change(|config| set(config, kind, Some(None)));
            }
        }
        scene.refuses("is the mount namespace of the host", |config| {
            set(config, "mount", Some(Some("/proc/self/ns/mnt")));
        });
        scene.refuses(
            "cannot be put into a mount namespace that is there",
            |config| {
                set(config, "mount", Some(Some("/proc/self/ns/mnt")));
                set(config, "user", Some(None));
                let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
                config["linux"]["uidMappings"] = ids.clone();
                config["linux"]["gidMappings"] = ids;
            },
        );
        scene.assert_empty();
    }
}

/// Those of the configuration are made where the caller is, below the container's root, and are gone with the container.
#[test]
fn mounts_of_the_caller_are_inherited() {
    for scene in scenes() {
        let without = |config: &mut Value| {
            set(config, "mount", None);
            set(config, "cgroup", None);
            config["root"]["readonly"] = json!(false);
        };
        if scene.store.user != User::Root {
            // What is mounted in a namespace of somebody else's is theirs to say.
            scene.refuses("`user` needs a namespace of type `mount`", without);
            continue;
        }
        let rootfs = scene.bundle().join("rootfs");
        let mounts = || {
            let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let places = all
                .lines()
                .map(|line| line.split(' ').nth(4).unwrap().to_owned());
            let own = places.filter(|place| place.starts_with(rootfs.to_str().unwrap()));
            own.collect::<Vec<_>>()
        };
        let host = scene.store.file("host/file", "of the host");
        scene.change(without);
        scene.change(|config| {
            let source = host.parent().unwrap();
            let bind = json!({ "destination": "/host", "source": source, "options": ["bind"] });
            config["mounts"].as_array_mut().unwrap().push(bind);
            config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/etc/motd"]);
            config["linux"]["readonlyPaths"] = json!(["/usr"]);
            config["root"]["readonly"] = json!(true);
        });
        scene.script(
            "readlink /proc/self/ns/mnt; cat /etc/alpine-release /host/file /etc/motd; echo; ! touch /x /usr/x 2>/dev/null; sleep 1000",
        );
        scene.make(&["create", "web"]).code(0);
        for place in ["", "/proc", "/dev/pts", "/host", "/etc/motd", "/usr"] {
            assert!(
                mounts().contains(&format!("{}{place}", rootfs.display())),
                "{place}"
            );
        }
        scene.run(["start", "web"]).code(0);
        // It is nobody's whose root is the host's.
        let exec = [
            "exec",
            "web",
            "sh",
            "-c",
            "readlink /proc/self/ns/mnt; cat /etc/alpine-release; pwd",
        ];
        let expected = format!("{}\n3.20.3\n", of_host("mnt"));
        scene.run(exec).code(0).stdout(&format!("{expected}/\n"));
        scene.run(["delete", "--force", "web"]).code(0);
        assert_eq!(scene.printed(), format!("{expected}of the host\n"));
        // Its directory is mounted on itself, for callers who take that off.
        assert_eq!(mounts(), [rootfs.to_str().unwrap()]);
        std::fs::write(rootfs.join("writable"), "").unwrap();
        assert!(host.exists() && !rootfs.join("host/file").exists());
        // That does not grow.
        scene.shell("true").code(0);
        assert_eq!(mounts(), [rootfs.to_str().unwrap()]);
        let unmount = || {
            Command::new("umount")
                .arg("--recursive")
                .arg(&rootfs)
                .status()
                .unwrap()
        };
        assert!(unmount().success());
        // Nothing is left of one that cannot be made, early or late.
        scene.refuses("open `/nowhere`", |config| {
            let bind = json!({ "destination": "/x", "source": "/nowhere", "options": ["bind"] });
            config["mounts"].as_array_mut().unwrap().push(bind);
        });
        scene.refuses("/etc/motd/x", |config| {
            let bind =
                json!({ "destination": "/etc/motd/x", "source": "/tmp", "options": ["bind"] });
            config["mounts"].as_array_mut().unwrap().push(bind);
        });
        assert_eq!(mounts(), [""; 0]);
        scene.refuses(
            "`linux.rootfsPropagation` needs a namespace of type `mount`",
            |config| {
                config["linux"]["rootfsPropagation"] = json!("shared");
            },
        );
        // Who has taken them off already has done so.
        scene.make(&["create", "web"]).code(0);
        let detached = Command::new("umount")
            .args(["--recursive", "--lazy"])
            .arg(&rootfs)
            .status();
        assert!(detached.unwrap().success());
        scene.run(["delete", "web"]).code(0);
        assert_eq!(mounts(), [""; 0]);
        scene.assert_empty();
    }
}
