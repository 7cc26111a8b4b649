//! The root file system (config.md, "Root"; config-linux.md, "Rootfs Mount Propagation", "Masked Paths", "Readonly Paths").

use crate::scene::scenes;
use serde_json::{Value, json};

#[test]
fn it_is_where_it_is_said_to_be() {
    for scene in scenes() {
        scene
            .shell("touch /x 2>&1")
            .code(1)
            .stdout_has("Read-only file system");
        let writable = |config: &mut Value| config["root"]["readonly"] = json!(false);
        scene.shell_with(writable, "touch /x").code(0);
        assert!(scene.bundle().join("rootfs/x").exists());
        let absolute = scene.bundle().join("rootfs");
        scene
            .shell_with(|config| config["root"]["path"] = json!(absolute), "true")
            .code(0);
        std::os::unix::fs::symlink("rootfs", scene.bundle().join("link")).unwrap();
        scene
            .shell_with(
                |config| config["root"]["path"] = json!("link"),
                "cat /etc/alpine-release",
            )
            .code(0);
        for (path, message) in [
            ("nowhere", "the root file system"),
            ("config.json", "is not a directory"),
            ("", "`root.path` is empty"),
        ] {
            scene.refuses(message, |config| config["root"]["path"] = json!(path));
        }
        scene.refuses("the configuration has no `root`", |config| {
            config.as_object_mut().unwrap().remove("root");
        });
        scene.assert_empty();
    }
}

#[test]
fn later_mounts_spread_as_wanted() {
    for scene in scenes() {
        let of_root = "awk '$5 == \"/\" { for (i = 7; $i != \"-\"; i++) printf \"%s \", $i; print \"\" }' /proc/self/mountinfo | sed 's/:[0-9]*//g'";
        for (word, shown) in [
            ("private", ""),
            ("rprivate", ""),
            ("shared", "shared "),
            ("rshared", "shared "),
            ("unbindable", "unbindable "),
        ] {
            let told = scene.shell_with(
                |config| config["linux"]["rootfsPropagation"] = json!(word),
                of_root,
            );
            told.code(0).stdout(&format!("{shown}\n"));
        }
        // Of whom depends on the host.
        for word in ["slave", "rslave"] {
            let told = scene.shell_with(
                |config| config["linux"]["rootfsPropagation"] = json!(word),
                of_root,
            );
            told.code(0).stdout_lacks("shared");
        }
        scene.refuses(
            "the propagation `sideways` of the root is unknown",
            |config| {
                config["linux"]["rootfsPropagation"] = json!("sideways");
            },
        );
        scene.assert_empty();
    }
}

#[test]
fn paths_are_hidden_or_cannot_be_written() {
    for scene in scenes() {
        let paths = |config: &mut Value| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"] = json!(["/etc/alpine-release", "/usr", "/nowhere"]);
            config["linux"]["readonlyPaths"] = json!(["/var", "/etc/passwd", "/nowhere/else"]);
        };
        let script = "cat /etc/alpine-release; ls /usr; touch /var/x; echo x >> /etc/passwd; touch /opt/x && echo done";
        let told = scene.shell_with(paths, &format!("({script}) 2>&1"));
        let told = told.code(0).stdout_text();
        assert!(
            told.starts_with("touch") && told.ends_with("done\n"),
            "{told}"
        );
        assert_eq!(told.matches("Read-only file system").count(), 2, "{told}");
        for list in ["maskedPaths", "readonlyPaths"] {
            scene.refuses(
                &format!("`linux.{list}` is not an absolute path"),
                |config| {
                    config["linux"][list] = json!(["usr"]);
                },
            );
            std::os::unix::fs::symlink("/etc", scene.bundle().join("rootfs").join(list)).unwrap();
            scene.refuses("a symbolic link is on the way", |config| {
                config["linux"][list] = json!([format!("/{list}")]);
            });
        }
        scene.assert_empty();
    }
}

#[test]
fn the_configuration_may_lie_elsewhere() {
    for scene in scenes() {
        scene.program(&["echo", "here"]);
        let own = scene.bundle().join("config.json");
        let other = scene.store.home().join("other.json");
        std::fs::rename(&own, &other).unwrap();
        let other = other.to_str().unwrap();
        scene
            .make(&["run", "web"])
            .code(1)
            .stderr_has("there is no configuration");
        for option in ["--config", "-f"] {
            // What is relative is so to the bundle, which is not where it lies.
            scene
                .make(&["run", option, other, "web"])
                .code(0)
                .stdout("here\n");
        }
        let failed = scene.make(&["create", "--config", "/nowhere", "web"]);
        failed
            .code(1)
            .stderr_has("there is no configuration `/nowhere`");
        std::fs::rename(other, own).unwrap();
        scene.assert_empty();
    }
}
