//! `features` tells the truth (features.md, features-linux.md): what it lists can be had, and what runc lists is listed
//! but for what this does not do.

use crate::scene::{Scene, scenes};
use crate::support::{Need, User, requires, skip};
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

/// Each mode and each flag of a memory policy, as the kernel then shows it (numa(7)).
#[test]
fn each_memory_policy_that_is_listed_is_one() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        skip("this kernel has no memory policies");
        return;
    }
    for scene in scenes() {
        let features = features(&scene);
        let modes = words(&features, "/linux/memoryPolicy/modes");
        let shown = [
            ("MPOL_DEFAULT", "", "default"),
            ("MPOL_BIND", "0", "bind:0"),
            ("MPOL_INTERLEAVE", "0", "interleave:0"),
            ("MPOL_WEIGHTED_INTERLEAVE", "0", "weighted interleave:0"),
            ("MPOL_PREFERRED", "0", "prefer:0"),
            ("MPOL_PREFERRED_MANY", "0", "prefer (many):0"),
            ("MPOL_LOCAL", "", "local"),
        ];
        assert_eq!(modes, shown.map(|(mode, ..)| mode));
        let policy =
            |policy: Value| move |config: &mut Value| config["linux"]["memoryPolicy"] = policy;
        let maps = "cut -d ' ' -f 2- /proc/self/numa_maps | head -1";
        for (mode, nodes, shown) in shown {
            let told = scene.shell_with(policy(json!({ "mode": mode, "nodes": nodes })), maps);
            // Younger than Linux 5.15 and 6.9.
            if !told.succeeded()
                && ["MPOL_PREFERRED_MANY", "MPOL_WEIGHTED_INTERLEAVE"].contains(&mode)
            {
                skip(format_args!("this kernel does not know {mode}"));
                continue;
            }
            let told = told.code(0).stdout_text();
            assert!(told.starts_with(shown), "{mode}: {told}");
        }
        let flags = words(&features, "/linux/memoryPolicy/flags");
        let shown = [
            ("MPOL_F_NUMA_BALANCING", "bind=balancing:0"),
            ("MPOL_F_RELATIVE_NODES", "bind=relative:0"),
            ("MPOL_F_STATIC_NODES", "bind=static:0"),
        ];
        assert_eq!(flags, shown.map(|(flag, _)| flag));
        for (flag, shown) in shown {
            let wanted = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] });
            let told = scene.shell_with(policy(wanted), maps).code(0).stdout_text();
            assert!(told.starts_with(shown), "{flag}: {told}");
        }
        // Whoever joins has it too.
        scene.change(policy(json!({ "mode": "MPOL_BIND", "nodes": "0" })));
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        let told = scene.run(["exec", "web", "sh", "-c", maps]);
        told.code(0).stdout_has("bind:0");
        scene.run(["delete", "--force", "web"]).code(0);
        for (wanted, message) in [
            (
                json!({ "mode": "MPOL_BIND" }),
                "`linux.memoryPolicy`: the kernel takes no such mode",
            ),
            (
                json!({ "mode": "MPOL_LOCAL", "nodes": "0" }),
                "`linux.memoryPolicy`: the kernel takes no such mode",
            ),
            (
                json!({ "mode": "MPOL_BIND", "nodes": "1023" }),
                "`linux.memoryPolicy`: the kernel takes no such mode",
            ),
            (
                json!({ "mode": "MPOL_BIND", "nodes": "some" }),
                "`some` of the list `some` is no number",
            ),
            (
                json!({ "mode": "MPOL_NONE", "nodes": "0" }),
                "`linux.memoryPolicy.mode` of `config.json`",
            ),
            (
                json!({ "nodes": "0" }),
                "`linux.memoryPolicy` of `config.json`",
            ),
        ] {
            scene.refuses(message, policy(wanted));
        }
        scene.assert_empty();
    }
}

/// What it could do, and this host cannot, is refused by name.
#[test]
fn what_the_host_lacks_is_refused() {
    let exists = |path: &str| std::path::Path::new(path).exists();
    for scene in scenes() {
        let features = features(&scene);
        for module in ["apparmor", "selinux", "intelRdt"] {
            assert_eq!(features["linux"][module]["enabled"], true, "{module}");
        }
        let set = |pointer: &'static str, value: Value| {
            move |config: &mut Value| {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                config.pointer_mut(parent).unwrap()[key] = value;
            }
        };
        if exists("/sys/fs/selinux/enforce") {
            skip("this host has SELinux");
        } else {
            let message = "selinux is disabled or not supported";
            let label = json!("system_u:system_r:container_t:s0:c1,c2");
            scene.refuses(message, set("/process/selinuxLabel", label.clone()));
            scene.refuses(message, set("/linux/mountLabel", label));
        }
        if exists("/sys/kernel/security/apparmor") {
            skip("this host has AppArmor");
        } else {
            let message = "AppArmor is disabled or not supported";
            scene.refuses(
                message,
                set("/process/apparmorProfile", json!("some-profile")),
            );
            // That is what it is.
            let unconfined = set("/process/apparmorProfile", json!("unconfined"));
            scene.shell_with(unconfined, "true").code(0);
        }
        if exists("/sys/fs/resctrl/schemata") {
            skip("this host has resctrl");
        } else {
            let message = "`linux.intelRdt` needs the file system resctrl, and none is mounted";
            for wanted in [
                json!({}),
                json!({ "closID": "some" }),
                json!({ "l3CacheSchema": "L3:0=f" }),
                json!({ "memBwSchema": "MB:0=20" }),
                json!({ "schemata": ["L3:0=f"] }),
                json!({ "enableMonitoring": true }),
            ] {
                scene.refuses(message, set("/linux/intelRdt", wanted));
            }
        }
        scene.refuses(
            "`linux.intelRdt.closID` is no name",
            set("/linux/intelRdt", json!({ "closID": "../up" })),
        );
        // Empty ones ask for nothing.
        for pointer in [
            "/process/selinuxLabel",
            "/process/apparmorProfile",
            "/linux/mountLabel",
        ] {
            scene.shell_with(set(pointer, json!("")), "true").code(0);
        }
        scene.assert_empty();
    }
}
