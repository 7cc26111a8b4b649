//! What belongs to namespaces and to the kernel: names, parameters, clocks, devices, scheduling (config.md, config-linux.md).

use crate::scene::scenes;
use crate::support::{User, skip};
use serde_json::{Value, json};

#[test]
fn names_and_parameters_are_those_of_its_namespaces() {
    for scene in scenes() {
        let names = |config: &mut Value| {
            config["hostname"] = json!("box");
            config["domainname"] = json!("example.org");
            config["linux"]["sysctl"] = json!({ "kernel.shmmni": "777" });
        };
        let told = scene.shell_with(
            names,
            "hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/shmmni",
        );
        told.code(0).stdout("box\nexample.org\n777\n");
        for (key, message) in [
            (
                "kernel.core_pattern",
                "sysctl 'kernel.core_pattern' is not in a separate kernel namespace",
            ),
            ("net.no.such", "net/no/such"),
            ("kernel.hostname", "it is what `hostname` is for"),
            (
                "net/../kernel/core_pattern",
                "is not a name of a kernel parameter",
            ),
        ] {
            scene.refuses(message, |config| {
                let list = config["linux"]["namespaces"].as_array_mut().unwrap();
                list.retain(|one| one["type"] != "network");
                list.push(json!({ "type": "network" }));
                config["linux"]["sysctl"] = json!({ key: "1" });
            });
        }
        scene.refuses("is not allowed in the host's network namespace", |config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|one| one["type"] != "network");
            config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        });
        scene.assert_empty();
    }
}

#[test]
fn clocks_are_ahead_in_a_time_namespace() {
    for scene in scenes() {
        let ahead = |config: &mut Value| {
            config["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "time" }));
            config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 555_555_555, "nanosecs": 5 }, "monotonic": { "secs": 7 } });
        };
        let told = scene.shell_with(ahead, "test $(cut -d . -f 1 /proc/uptime) -gt 555555555; echo $?; tr -s ' ' < /proc/self/timens_offsets");
        told.code(0)
            .stdout("0\nmonotonic 7 0\nboottime 555555555 5\n");
        scene.refuses("time offsets need a time namespace", |config| {
            config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 5 } });
        });
        scene.refuses("the clock `realtime` has no offset", |config| {
            config["linux"]["timeOffsets"] = json!({ "realtime": { "secs": 5 } });
        });
        scene.assert_empty();
    }
}

#[test]
fn devices_are_there() {
    for scene in scenes() {
        let usual = "for one in null zero full random urandom tty; do test -c /dev/$one || echo $one; done; \
            for one in fd stdin stdout stderr ptmx; do readlink /dev/$one; done; echo x > /dev/null";
        let told = scene.shell(usual);
        told.code(0)
            .stdout("/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\n");
        if scene.store.user == User::Root {
            let more = |config: &mut Value| {
                config["linux"]["devices"] = json!([
                    { "path": "/dev/own/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8 },
                    { "path": "/dev/pipe", "type": "p", "fileMode": 0o600 },
                ]);
            };
            let told =
                scene.shell_with(more, "stat -c '%F %t:%T %a %u:%g' /dev/own/zero /dev/pipe");
            told.code(0)
                .stdout("character special file 1:5 640 7:8\nfifo 0:0 600 0:0\n");
        }
        scene.refuses("`linux.devices[].path` is not an absolute path", |config| {
            config["linux"]["devices"] =
                json!([{ "path": "null", "type": "c", "major": 1, "minor": 3 }]);
        });
        scene.refuses("linux.devices", |config| {
            config["linux"]["devices"] =
                json!([{ "path": "/dev/x", "type": "z", "major": 1, "minor": 3 }]);
        });
        scene.assert_empty();
    }
}

#[test]
fn devices_are_there_where_nothing_is_mounted_on_dev() {
    for scene in scenes() {
        scene.change(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        });
        // What the image has in the place of one does not stay in it; twice, since what was made is there then.
        scene.store.file("bundle/rootfs/dev/full", "of the image");
        for read_only in [false, true] {
            scene.change(|config| config["root"]["readonly"] = json!(read_only));
            let told = scene.shell(
                "for one in null zero full random urandom tty; do stat -c %t:%T /dev/$one; done; \
                readlink /dev/stdout; echo x > /dev/null; head -c 3 /dev/zero | wc -c; ! echo x 2>/dev/null > /dev/full; \
                chmod 600 /dev/full 2>/dev/null && echo changed; true",
            );
            told.code(0)
                .stdout("1:3\n1:5\n1:7\n1:8\n1:9\n5:0\n/proc/self/fd/1\n3\n");
        }
        scene.assert_empty();
    }
}

#[test]
fn the_kernel_treats_it_as_wanted() {
    for scene in scenes() {
        let wanted = |config: &mut Value| {
            config["linux"]["personality"] = json!({ "domain": "LINUX32" });
            config["process"]["ioPriority"] =
                json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
            config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
        };
        let told = scene.shell_with(
            wanted,
            "uname -m; ionice -p $$; awk '{ print $41, $19 }' /proc/$$/stat",
        );
        let machine = if cfg!(target_arch = "x86_64") {
            "i686"
        } else {
            "armv8l"
        };
        told.code(0)
            .stdout_has(machine)
            .stdout_has("idle")
            .stdout_has("\n3 5\n");
        for (pointer, value, message) in [
            ("/linux/personality", json!({ "domain": "OS2" }), "OS2"),
            (
                "/process/ioPriority",
                json!({ "class": "IOPRIO_CLASS_NONE", "priority": 0 }),
                "IOPRIO_CLASS_NONE",
            ),
            (
                "/process/scheduler",
                json!({ "policy": "SCHED_LATER" }),
                "SCHED_LATER",
            ),
        ] {
            scene.refuses(message, |config| {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                config.pointer_mut(parent).unwrap()[key] = value;
            });
        }
        scene.change(|config| {
            config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
        });
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        scene
            .run([
                "exec",
                "web",
                "sh",
                "-c",
                "grep Cpus_allowed_list /proc/self/status | cut -f 2",
            ])
            .code(0)
            .stdout("0\n");
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

/// Nor one that enters it.
#[test]
fn what_the_caller_is_bound_to_does_not_bind_the_container() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        return skip("there is one processor only");
    }
    for scene in scenes() {
        let bound = |words: &str| {
            let state = scene.state();
            let line = format!(
                "taskset -c 0 onggi runtime --root {} {words}",
                state.display()
            );
            scene.store.script(&line).run().code(0).stdout_text()
        };
        let read = "sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status";
        let all = scene.store.script(read).run().code(0).stdout_text();
        scene.script(read);
        assert_eq!(bound("run --bundle bundle web"), all);
        scene.program(&["sleep", "1000"]);
        scene.make(&["run", "--detach", "web"]).code(0);
        assert_eq!(bound(&format!("exec web {read}")), all);
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

/// In a network namespace of the test's own.
#[test]
fn network_devices_become_its_own() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        scene.change(|config| {
            config["linux"]["netDevices"] = json!({ "there0": { "name": "here0" } })
        });
        scene.script("ls /sys/class/net | grep 0");
        let line = format!(
            "unshare --net sh -e -c 'ip link add there0 type veth peer name other0; ip address add 192.0.2.7/24 dev there0; \
             onggi runtime --root {} run --bundle bundle web; ! ip link show there0 2>/dev/null'",
            scene.state().display()
        );
        scene.store.script(&line).run().code(0).stdout("here0\n");
        scene.refuses("nosuch0", |config| {
            config["linux"]["netDevices"] = json!({ "nosuch0": {} })
        });
        scene.assert_empty();
    }
}

#[test]
fn what_is_of_another_platform_is_refused() {
    for scene in scenes() {
        for section in ["solaris", "windows", "vm", "zos"] {
            scene.refuses(&format!("section `{section}`"), |config| {
                config[section] = json!({})
            });
        }
        for (pointer, value) in [
            ("/linux/resources/memory/disableOOMKiller", json!(true)),
            ("/linux/resources/cpu/realtimeRuntime", json!(5)),
            ("/linux/resources/network/classID", json!(5)),
        ] {
            let name = pointer.rsplit_once('/').unwrap().1;
            let word = if name == "classID" { "network" } else { name };
            scene.refuses(word, |config| {
                let mut at = config;
                for part in pointer[1..].split('/') {
                    at = &mut at[part];
                }
                *at = value;
            });
        }
        scene.assert_empty();
    }
}
