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
        scene.refuses("a container needs a mount namespace", |config| {
            set(config, "mount", None)
        });
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
