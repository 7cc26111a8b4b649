//! User namespaces and their mappings (config-linux.md, "User namespace mappings"), and owners of mounts.

use crate::scene::scenes;
use crate::support::User;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;

/// A user namespace of the container's own with many ids, of root.
fn map(config: &mut Value) {
    let ids = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    config["linux"]["uidMappings"] = ids.clone();
    config["linux"]["gidMappings"] = ids;
    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|one| one["type"] != "user");
    list.push(json!({ "type": "user" }));
}

#[test]
fn ids_are_those_of_the_map() {
    for scene in scenes() {
        let squeezed = "tr -s ' ' < /proc/self/uid_map; id -u; stat -c %u /proc/self/";
        match scene.store.user {
            User::Root => {
                let told = scene.shell_with(map, squeezed);
                told.code(0).stdout(" 0 100000 65536\n0\n0\n");
                let somebody = |config: &mut Value| {
                    map(config);
                    config["process"]["user"] =
                        json!({ "uid": 7, "gid": 8, "additionalGids": [9] });
                };
                scene
                    .shell_with(somebody, "id -u; id -G")
                    .code(0)
                    .stdout("7\n8 9\n");
            }
            _ => {
                let uid = std::fs::metadata(scene.bundle()).unwrap().uid();
                let told = scene.shell(squeezed);
                told.code(0).stdout(&format!(" 0 {uid} 1\n0\n0\n"));
            }
        }
        scene.refuses("need a namespace of type `user`", |config| {
            map(config);
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|one| one["type"] != "user");
        });
        scene.refuses(
            "needs `linux.uidMappings` and `linux.gidMappings`",
            |config| {
                map(config);
                config["linux"]["gidMappings"] = json!([]);
            },
        );
        if scene.store.user != User::Root {
            scene.refuses("have no root", |config| {
                config["linux"]["uidMappings"][0]["containerID"] = json!(7);
            });
            scene.refuses(
                "an ordinary user can start a container only in a user namespace",
                |config| {
                    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
                    list.retain(|one| one["type"] != "user");
                    config["linux"]["uidMappings"] = json!([]);
                    config["linux"]["gidMappings"] = json!([]);
                },
            );
        }
        scene.assert_empty();
    }
}

/// One with the ids of /etc/subuid, through newuidmap(1).
#[test]
fn subordinate_ids_are_mapped() {
    for scene in scenes().filter(|scene| scene.store.user == User::Subuid) {
        let owner = std::fs::metadata(scene.bundle()).unwrap();
        let lines = std::fs::read_to_string("/etc/subuid").unwrap();
        let first = lines.lines().find_map(|line| {
            line.strip_prefix("onggi-subuid:")?
                .split(':')
                .next()?
                .parse::<u32>()
                .ok()
        });
        let Some(first) = first else {
            crate::support::skip("onggi-subuid has no line in /etc/subuid");
            continue;
        };
        let change = |config: &mut Value| {
            let both = |own: u32| json!([{ "containerID": 0, "hostID": own, "size": 1 }, { "containerID": 1, "hostID": first, "size": 1000 }]);
            config["linux"]["uidMappings"] = both(owner.uid());
            config["linux"]["gidMappings"] = both(owner.gid());
            config["process"]["user"] = json!({ "uid": 5, "gid": 6 });
        };
        scene
            .shell_with(change, "id -u; id -g; wc -l < /proc/self/uid_map")
            .code(0)
            .stdout("5\n6\n2\n");
        scene.assert_empty();
    }
}

/// That of another container, whose ids are those of the map that this was made with.
#[test]
fn one_that_is_there_is_joined() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        for size in [65536, 1] {
            let plain = std::fs::read(scene.bundle().join("config.json")).unwrap();
            scene.change(|config| {
                map(config);
                for map in ["uidMappings", "gidMappings"] {
                    config["linux"][map][0]["size"] = json!(size);
                }
                // The group of terminals has no place among a single id.
                if size == 1 {
                    config["mounts"][2]["options"]
                        .as_array_mut()
                        .unwrap()
                        .retain(|word| word != "gid=5");
                }
            });
            scene.program(&["sleep", "1000"]);
            scene.make(&["run", "--detach", "first"]).code(0);
            let pid = scene.run(["state", "first"]).json()["pid"].clone();
            scene.store.file("bundle/config.json", &plain);
            let path = format!("/proc/{pid}/ns/user");
            let expected = std::fs::read_link(&path).unwrap();
            let join = |config: &mut Value| {
                let list = config["linux"]["namespaces"].as_array_mut().unwrap();
                list.push(json!({ "type": "user", "path": path }));
                config["process"]["terminal"] = json!(true);
            };
            let told = scene.shell_with(join, "readlink /proc/self/ns/user; id -u; tty");
            told.code(0)
                .stdout(&format!("{}\n0\n/dev/pts/0\n", expected.display()));
            // Whoever is executed there is in it too.
            scene.program(&["sleep", "1000"]);
            scene.change(|config| {
                let list = config["linux"]["namespaces"].as_array_mut().unwrap();
                list.push(json!({ "type": "user", "path": path }));
                config["process"]["terminal"] = json!(false);
            });
            scene.make(&["run", "--detach", "second"]).code(0);
            let told = scene.run(["exec", "second", "readlink", "/proc/self/ns/user"]);
            told.code(0).stdout(&format!("{}\n", expected.display()));
            scene.run(["delete", "--force", "second"]).code(0);
            scene.store.file("bundle/config.json", &plain);
            scene.run(["delete", "--force", "first"]).code(0);
        }
        scene.refuses("is not a user namespace", |config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.push(json!({ "type": "user", "path": "/proc/self/ns/net" }));
        });
        scene.assert_empty();
    }
}

/// Mounts that show other owners, with the map of the container or with their own.
#[test]
fn owners_of_mounts_are_mapped() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let source = scene.store.home().join("owned");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("file"), "x").unwrap();
        std::os::unix::fs::chown(source.join("file"), Some(3), Some(4)).unwrap();
        let own = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
        let with = |options: Value, has_own: bool, has_namespace: bool| {
            let mut mount = json!({ "destination": "/owned", "type": "bind", "source": source, "options": options });
            if has_own {
                mount["uidMappings"] = own.clone();
                mount["gidMappings"] = own.clone();
            }
            move |config: &mut Value| {
                if has_namespace {
                    map(config);
                }
                config["mounts"].as_array_mut().unwrap().push(mount);
            }
        };
        let owner = "stat -c %u:%g /owned/file";
        for (change, told) in [
            (with(json!(["bind"]), false, false), "3:4\n"),
            (with(json!(["bind"]), true, false), "1003:1004\n"),
            (with(json!(["rbind", "ridmap"]), true, false), "1003:1004\n"),
            (with(json!(["bind", "idmap"]), false, true), "3:4\n"),
            (with(json!(["bind"]), false, true), "65534:65534\n"),
            (
                with(json!(["bind", "idmap=uids=3-7-1;gids=4-8-1"]), false, false),
                "7:8\n",
            ),
        ] {
            scene.shell_with(change, owner).code(0).stdout(told);
        }
        scene.refuses(
            "ids are to be mapped",
            with(json!(["bind", "idmap"]), false, false),
        );
        scene.refuses("needs mappings of user and of group ids", |config| {
            let mount = json!({ "destination": "/owned", "source": source, "options": ["bind"], "uidMappings": own });
            config["mounts"].as_array_mut().unwrap().push(mount);
        });
        scene.assert_empty();
    }
}

/// Below the container's own root, where no link of the image's leads out, whatever the mount's propagation.
#[test]
fn owners_of_what_the_image_has_are_mapped() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let rootfs = scene.bundle().join("rootfs");
        let source = rootfs.join("owned");
        for directory in [&source, &rootfs.join("place")] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(source.join("file"), "x").unwrap();
        std::os::unix::fs::chown(source.join("file"), Some(3), Some(4)).unwrap();
        std::os::unix::fs::symlink("/owned", rootfs.join("link")).unwrap();
        let same = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        let other = json!([{ "containerID": 0, "hostID": 100_010, "size": 10 }]);
        for (name, options, maps, owner) in [
            ("owned", json!(["bind"]), None, "65534:65534"),
            ("owned", json!(["bind", "idmap"]), None, "3:4"),
            ("owned", json!(["bind"]), Some(&same), "3:4"),
            ("owned", json!(["bind"]), Some(&other), "13:14"),
            ("link", json!(["rbind", "ridmap", "shared"]), None, "3:4"),
            ("owned", json!(["bind", "shared"]), Some(&same), "3:4"),
        ] {
            let is_shared = options.to_string().contains("shared");
            let change = |config: &mut Value| {
                map(config);
                let mut mount = json!({ "destination": "/place", "type": "bind", "source": rootfs.join(name), "options": options });
                if let Some(maps) = maps {
                    mount["uidMappings"] = maps.clone();
                    mount["gidMappings"] = maps.clone();
                }
                config["mounts"].as_array_mut().unwrap().push(mount);
            };
            let script = "stat -c %u:%g /place/file; grep -c ' /place .* shared:' /proc/self/mountinfo; true";
            let told = scene.shell_with(change, script);
            let expected = format!("{owner}\n{}\n", u8::from(is_shared));
            told.code(0).stdout(&expected);
        }
        std::os::unix::fs::symlink(scene.store.home(), rootfs.join("out")).unwrap();
        scene.refuses("open `/out` in the container", |config| {
            map(config);
            let mount = json!({ "destination": "/place", "source": rootfs.join("out"), "options": ["bind", "idmap"] });
            config["mounts"].as_array_mut().unwrap().push(mount);
        });
        scene.assert_empty();
    }
}

/// A group that it shares with the host sends mounts inside, and none to the host.
#[test]
fn what_is_mounted_in_a_user_namespace_stays_there() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        std::fs::create_dir(scene.bundle().join("rootfs/share")).unwrap();
        for (bind, spread) in [
            ("bind", "shared"),
            ("rbind", "shared"),
            ("rbind", "rshared"),
        ] {
            for ids in [&[][..], &["ridmap"]] {
                let source = scene.store.home().join("share");
                std::fs::create_dir_all(source.join("inner")).unwrap();
                std::fs::create_dir_all(source.join("outer")).unwrap();
                let before = std::fs::read(scene.bundle().join("config.json")).unwrap();
                scene.change(|config| {
                    map(config);
                    let options = [&[bind, spread], ids].concat();
                    let mount =
                        json!({ "destination": "/share", "source": source, "options": options });
                    config["mounts"].as_array_mut().unwrap().push(mount);
                    for set in ["bounding", "effective", "permitted"] {
                        let set = config["process"]["capabilities"][set]
                            .as_array_mut()
                            .unwrap();
                        set.push(json!("CAP_SYS_ADMIN"));
                    }
                });
                scene.script(
                    "grep -c ' /share .* shared:' /proc/self/mountinfo; mount -t tmpfs x /share/inner && echo mounted; \
                    until grep -q ' /share/outer ' /proc/self/mountinfo; do sleep 0.1; done; echo seen",
                );
                let line = format!(
                    "unshare --mount --propagation private sh -e -c 'mount --bind share share; mount --make-shared share; \
                    onggi runtime --root {} create --bundle bundle web >told 2>&1 </dev/null; onggi runtime --root {0} start web; \
                    until grep -q mounted told; do sleep 0.1; done; ! mountpoint -q share/inner; mount -t tmpfs x share/outer; \
                    until grep -q seen told; do sleep 0.1; done; cat told; onggi runtime --root {0} delete --force web'",
                    scene.state().display()
                );
                let told = scene.store.script(&line).run();
                told.code(0).stdout("1\nmounted\nseen\n");
                scene.store.file("bundle/config.json", before);
            }
        }
        scene.assert_empty();
    }
}
