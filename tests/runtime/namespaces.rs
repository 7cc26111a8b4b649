//! Namespaces of a container (config-linux.md, "Namespaces"): new ones, and those that are there.

use crate::scene::{Scene, scenes};
use crate::support::User;
use crate::support::life::until;
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

/// All but the mounts, of users too: what a container has made is theirs.
#[test]
fn those_of_another_container_are_joined() {
    for scene in scenes() {
        let before = std::fs::read(scene.bundle().join("config.json")).unwrap();
        scene.program(&["sleep", "1000"]);
        scene.change(|config| {
            if scene.store.user == User::Root {
                let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
                config["linux"]["uidMappings"] = ids.clone();
                config["linux"]["gidMappings"] = ids;
                set(config, "user", Some(None));
            }
            set(config, "time", Some(None));
            config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1337, "nanosecs": 5 } });
        });
        scene.make(&["run", "--detach", "target"]).code(0);
        let state = scene.run(["state", "target"]);
        let pid = state.code(0).json()["pid"].clone();
        let asked = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/timens_offsets; id -u; ps | grep -c 'sleep 1[0]00'; \
            for kind in cgroup ipc net pid time user uts; do readlink /proc/self/ns/$kind; done";
        let exec = |id| {
            scene
                .run(["exec", id, "sh", "-c", asked])
                .code(0)
                .stdout_text()
        };
        let alone = exec("target");
        assert!(
            alone.contains("1337") && alone.contains("\n0\n1\n"),
            "{alone}"
        );
        scene.change(|config| {
            for kind in config["linux"]["namespaces"].as_array_mut().unwrap() {
                let name = kind["type"].as_str().unwrap().to_owned();
                let file = KINDS.iter().find(|(known, _)| *known == name);
                kind["path"] = match name.as_str() {
                    "mount" => json!(""),
                    _ => json!(format!(
                        "/proc/{pid}/ns/{}",
                        file.map_or("user", |(_, file)| file)
                    )),
                };
            }
            let linux = config["linux"].as_object_mut().unwrap();
            linux.retain(|name, _| !name.ends_with("Mappings") && name != "timeOffsets");
        });
        scene.make(&["run", "--detach", "attached"]).code(0);
        assert_eq!(exec("attached"), alone.replace("\n0\n1\n", "\n0\n2\n"));
        scene.run(["kill", "attached", "KILL"]).code(0);
        until("it has ended", || scene.status("attached") == "stopped");
        scene.run(["delete", "attached"]).code(0);
        assert_eq!(exec("target"), alone);
        scene.run(["delete", "--force", "target"]).code(0);
        if scene.store.user != User::Root {
            // That of the host is nobody's to be root of.
            scene.refuses(
                "become root of the user namespace `/proc/self/ns/user`",
                |config| {
                    set(config, "user", Some(Some("/proc/self/ns/user")));
                },
            );
        }
        scene.store.file("bundle/config.json", before);
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
            let places = all.lines().map(|line| line.split(' ').nth(4).unwrap());
            let own =
                places.filter(|place| place.starts_with(scene.store.path().to_str().unwrap()));
            own.map(str::to_owned).collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        let place = |id: &str| scene.state().join(id).join("rootfs");
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
            "readlink /proc/self/ns/mnt; cat /etc/alpine-release /host/file /etc/motd; echo; \
            for place in /x /usr/x; do touch $place 2>/dev/null && echo written; done; echo so far; sleep 1000",
        );
        scene.make(&["create", "web"]).code(0);
        for inside in ["", "/proc", "/dev/pts", "/host", "/etc/motd", "/usr"] {
            let path = format!("{}{inside}", place("web").display());
            assert!(mounts().contains(&path), "{inside}");
        }
        scene.run(["start", "web"]).code(0);
        // It is nobody's whose root is the host's.
        let exec = |id| {
            let script = "readlink /proc/self/ns/mnt; cat /etc/alpine-release /host/file; pwd";
            let expected = format!("{}\n3.20.3\nof the host/\n", of_host("mnt"));
            let told = scene.run(["exec", id, "sh", "-c", script]);
            told.code(0).stdout(&expected);
        };
        exec("web");
        // Nobody else's, whoever shares its mounts.
        let processes = || {
            let told = scene.run(["ps", "--format", "json", "web"]);
            told.code(0).json().as_array().unwrap().len()
        };
        until("one sleeps there", || processes() == 1);
        let told = format!("{}\n3.20.3\nof the host\nso far\n", of_host("mnt"));
        until("it has told", || scene.printed().ends_with("so far\n"));
        assert_eq!(scene.printed(), told);
        // Another one of the same root has its own, and loses none of them.
        let of_web = mounts();
        scene.make(&["run", "--detach", "other"]).code(0);
        scene.run(["delete", "--force", "web"]).code(0);
        let of_other = |place: &String| place.replace("/web/", "/other/");
        assert_eq!(mounts(), of_web.iter().map(of_other).collect::<Vec<_>>());
        exec("other");
        scene.run(["delete", "--force", "other"]).code(0);
        assert_eq!(mounts(), none);
        std::fs::write(rootfs.join("writable"), "").unwrap();
        assert!(host.exists() && !rootfs.join("host/file").exists());
        scene.shell("true").code(0);
        assert_eq!(mounts(), none);
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
        assert_eq!(mounts(), none);
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
            .arg(place("web"))
            .status();
        assert!(detached.unwrap().success());
        scene.run(["delete", "web"]).code(0);
        assert_eq!(mounts(), none);
        scene.assert_empty();
    }
}
