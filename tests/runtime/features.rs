//! `features` tells the truth (features.md, features-linux.md): what it lists can be had, and what runc lists is listed
//! but for what this does not do.

use crate::scene::{Scene, scenes};
use crate::support::{Need, User, requires, skip};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

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

/// All that is listed of seccomp, in one policy which the kernel loads.
#[test]
fn what_is_listed_of_seccomp_is_taken() {
    for scene in scenes() {
        let features = features(&scene);
        let listed = |list: &str| words(&features, &format!("/linux/seccomp/{list}"));
        let (path, _listener) = seccomp_agent(&scene);
        // No program of this test makes them.
        let calls = [
            "acct",
            "bpf",
            "quotactl",
            "reboot",
            "settimeofday",
            "swapoff",
            "swapon",
            "syslog",
            "vhangup",
        ];
        let actions = listed("actions");
        assert_eq!(actions.len(), calls.len());
        let rules = calls.iter().zip(&actions);
        let mut rules: Vec<_> = rules
            .map(|(call, action)| json!({ "names": [call], "action": action }))
            .collect();
        for operator in listed("operators") {
            let args = json!([{ "index": 0, "value": 1, "valueTwo": 1, "op": operator }]);
            rules.push(json!({ "names": ["chroot"], "action": "SCMP_ACT_ERRNO", "args": args }));
        }
        let flags = listed("supportedFlags");
        assert!(flags.iter().all(|flag| listed("knownFlags").contains(flag)));
        let policy = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": rules,
            "architectures": listed("archs"), "flags": flags,
        });
        scene.change(|config| config["linux"]["seccomp"] = policy);
        // Some rule holds whatever address is passed.
        let told = scene.shell("grep Seccomp: /proc/self/status; chroot / true");
        told.code(1)
            .stdout("Seccomp:\t2\n")
            .stderr("chroot: can't change root directory to '/': Operation not permitted\n");
        for (list, word) in [
            ("actions", "SCMP_ACT_MAYBE"),
            ("operators", "SCMP_CMP_ROUGHLY"),
            ("archs", "SCMP_ARCH_Z80"),
            ("knownFlags", "SECCOMP_FILTER_FLAG_DREAM"),
        ] {
            assert!(!listed(list).contains(&word.to_owned()));
            scene.refuses(word, |config| {
                let policy = &mut config["linux"]["seccomp"];
                match list {
                    "actions" => policy["defaultAction"] = json!(word),
                    "operators" => policy["syscalls"][9]["args"][0]["op"] = json!(word),
                    "archs" => policy["architectures"] = json!([word]),
                    _ => policy["flags"] = json!([word]),
                }
            });
        }
        scene.assert_empty();
    }
}

/// Somebody who listens and says nothing.
fn seccomp_agent(scene: &Scene) -> (PathBuf, UnixListener) {
    let path = scene.store.home().join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    (path, listener)
}

/// As far as the kernel knows them, and root itself has them.
#[test]
fn each_capability_that_is_listed_can_be_had() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap();
    let last: u64 = read("/proc/sys/kernel/cap_last_cap")
        .trim()
        .parse()
        .unwrap();
    let status = read("/proc/self/status");
    let own = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    let own = u64::from_str_radix(own.unwrap().trim(), 16).unwrap();
    for scene in scenes() {
        let listed = words(&features(&scene), "/linux/capabilities");
        scene.change(|config| {
            for set in [
                "bounding",
                "permitted",
                "effective",
                "inheritable",
                "ambient",
            ] {
                config["process"]["capabilities"][set] = json!(listed);
            }
        });
        let known = (1 << (last + 1).min(listed.len() as u64)) - 1;
        let all = match scene.store.user {
            User::Root => known & own,
            _ => known,
        };
        let told = scene.shell("grep ^Cap /proc/self/status | cut -f 2");
        let expected = format!("{all:016x}\n").repeat(5);
        told.code(0).stdout(&expected);
        scene.assert_empty();
    }
}

#[test]
fn each_namespace_that_is_listed_is_a_new_one() {
    for scene in scenes() {
        let listed = words(&features(&scene), "/linux/namespaces");
        scene.change(|config| {
            let list = listed.iter().map(|kind| json!({ "type": kind }));
            config["linux"]["namespaces"] = list.collect();
            if scene.store.user == User::Root {
                let all = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
                config["linux"]["uidMappings"] = all.clone();
                config["linux"]["gidMappings"] = all;
            }
        });
        let kinds = listed.iter().map(|kind| match kind.as_str() {
            "mount" => "mnt",
            "network" => "net",
            kind => kind,
        });
        let links: Vec<_> = kinds.map(|kind| format!("/proc/self/ns/{kind}")).collect();
        let told = scene.shell(&format!(
            "for one in {}; do readlink $one; done",
            links.join(" ")
        ));
        let told = told.code(0).stdout_text();
        assert_eq!(told.lines().count(), links.len());
        for (link, inside) in links.iter().zip(told.lines()) {
            let outside = std::fs::read_link(link).unwrap();
            assert_ne!(outside.to_str(), Some(inside));
        }
        scene.assert_empty();
    }
}
