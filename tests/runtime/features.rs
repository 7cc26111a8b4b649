//! `features` tells the truth (features.md, features-linux.md): what it lists can be had, and what runc lists is listed
//! but for what this does not do.

use crate::scene::{Scene, scenes};
use crate::support::{Need, User, requires};
use serde_json::{Value, json};

fn features(scene: &Scene) -> Value {
    scene.run(["features"]).code(0).json()
}

fn is_alone(option: &str) -> bool {
    !option.ends_with("idmap") && option != "remount"
}

fn words(features: &Value, pointer: &str) -> Vec<String> {
    serde_json::from_value(features.pointer(pointer).unwrap().clone()).unwrap()
}

#[test]
fn what_runc_lists_is_listed() {
    let Some(scene) = scenes().next() else {
        return;
    };
    if !requires(&[Need::Program("runc")]) {
        return;
    }
    let output = std::process::Command::new("runc")
        .arg("features")
        .output()
        .unwrap();
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ours = features(&scene);
    for (pointer, left_out) in [
        ("/hooks", &[][..]),
        ("/mountOptions", &[]),
        ("/linux/namespaces", &[]),
        ("/linux/capabilities", &[]),
        ("/linux/seccomp/actions", &[]),
        ("/linux/seccomp/operators", &[]),
    ] {
        let ours = words(&ours, pointer);
        for word in words(&theirs, pointer) {
            let is_left_out = left_out.contains(&word.as_str());
            assert_eq!(ours.contains(&word), !is_left_out, "{pointer} {word}");
        }
    }
    assert_eq!(
        theirs["linux"]["seccomp"]["enabled"],
        ours["linux"]["seccomp"]["enabled"]
    );
    assert_eq!(ours["linux"]["cgroup"]["v1"], false);
}

/// Each option on a mount of its own.
#[test]
fn each_mount_option_that_is_listed_is_one() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let options = words(&features(&scene), "/mountOptions");
        let source = scene.store.home().join("share");
        std::fs::create_dir(&source).unwrap();
        scene.change(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            // Those take mappings, and a file system that can have them; and nothing is there that could be mounted anew.
            for option in options.iter().filter(|option| is_alone(option)) {
                let target = format!("/dev/{option}");
                mounts.push(json!({ "destination": target, "type": "bind", "source": source, "options": ["bind", option] }));
            }
        });
        scene.script("awk '$5 ~ \"^/dev/\" { print $5 }' /proc/self/mountinfo");
        let printed = scene.make(&["run", "web"]).code(0).stdout_text();
        for option in options.iter().filter(|option| is_alone(option)) {
            let target = format!("/dev/{option}");
            assert!(
                printed.lines().any(|line| line == target),
                "{option}: {printed}"
            );
        }
        scene.assert_empty();
    }
}
