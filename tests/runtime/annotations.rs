//! Annotations that do something (crun(1), runc's properties of systemd), and those that do not.

use crate::scene::scenes;
use crate::support::User;
use serde_json::{Value, json};

fn annotate(key: &str, value: &str) -> impl Fn(&mut Value) {
    let (key, value) = (key.to_owned(), value.to_owned());
    move |config| config["annotations"] = json!({ &key: value })
}

#[test]
fn what_is_known_is_done_or_refused() {
    for scene in scenes() {
        let unknown = scene.shell_with(annotate("run.oci.nothing", "1"), "true");
        unknown
            .code(0)
            .stderr_has("warning: the annotation `run.oci.nothing` is unknown");
        scene
            .shell_with(annotate("org.example", "1"), "true")
            .code(0)
            .stderr("");
        let of_scope = scene.shell_with(
            annotate("org.systemd.property.TasksMax", "uint64 5"),
            "true",
        );
        of_scope
            .code(0)
            .stderr_has("`org.systemd.property.TasksMax` needs --systemd-cgroup");
        for (key, value, message) in [
            (
                "org.systemd.property.TasksMax",
                "uint64",
                "annotation `org.systemd.property.TasksMax`",
            ),
            (
                "run.oci.handler",
                "krun",
                "the annotation `run.oci.handler` is not supported",
            ),
            (
                "run.oci.delegate-cgroup",
                "x",
                "`run.oci.delegate-cgroup` is not supported",
            ),
            (
                "run.oci.systemd.force_cgroup_v1",
                "/x",
                "`run.oci.systemd.force_cgroup_v1` is not supported",
            ),
            (
                "run.oci.seccomp.plugins",
                "/x",
                "`run.oci.seccomp.plugins` is not supported",
            ),
            (
                "run.oci.seccomp_bpf_data",
                "/x",
                "`run.oci.seccomp_bpf_data` is not supported",
            ),
            ("run.oci.timens_offset", "1 5 0", "need a time namespace"),
            (
                "run.oci.mount_context_type",
                "x",
                "is not a context of a mount",
            ),
            (
                "run.oci.pidfd_receiver",
                "/nowhere",
                "connect to the socket `/nowhere`",
            ),
            ("run.oci.hooks.stdout", "x", "is not an absolute path"),
        ] {
            scene.refuses(message, annotate(key, value));
        }
        let offsets = |config: &mut Value| {
            annotate("run.oci.timens_offset", "boottime 777777777 0")(config);
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({ "type": "time" }));
        };
        let told = scene.shell_with(offsets, "cut -d . -f 1 /proc/uptime");
        let seconds: u64 = told.code(0).stdout_text().trim().parse().unwrap();
        assert!(seconds > 777_777_777, "{seconds}");
        let calls = |config: &mut Value| {
            config["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["no_such_call"], "action": "SCMP_ACT_ERRNO" }] });
        };
        scene.shell_with(calls, "true").code(0);
        scene.refuses("there is no system call `no_such_call`", |config| {
            calls(config);
            annotate("run.oci.seccomp_fail_unknown_syscall", "1")(config);
        });
        scene.assert_empty();
    }
}

#[test]
fn hooks_print_into_files() {
    for scene in scenes() {
        let (out, err) = (
            scene.store.file("out", "before\n"),
            scene.store.file("err", ""),
        );
        let hook = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("echo {name}; echo not {name} >&2")] }]);
        let change = |config: &mut Value| {
            config["annotations"] =
                json!({ "run.oci.hooks.stdout": out, "run.oci.hooks.stderr": err });
            config["hooks"] = json!({});
            for name in [
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                config["hooks"][name] = hook(name);
            }
        };
        scene.shell_with(change, "true").code(0);
        let names = "createRuntime\ncreateContainer\nstartContainer\npoststart\npoststop\n";
        assert_eq!(
            std::fs::read_to_string(&out).unwrap(),
            format!("before\n{names}")
        );
        assert_eq!(
            std::fs::read_to_string(&err)
                .unwrap()
                .matches("not ")
                .count(),
            5
        );
        scene.assert_empty();
    }
}

/// Only root may have other groups than its own.
#[test]
fn groups_of_the_caller_are_kept() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        let line = format!(
            "exec setpriv --groups 1234,5678 onggi runtime --root {} run --bundle bundle web",
            scene.state().display()
        );
        scene.program(&["id", "-G"]);
        scene.store.script(&line).run().code(0).stdout("0\n");
        scene.change(annotate("run.oci.keep_original_groups", "1"));
        scene
            .store
            .script(&line)
            .run()
            .code(0)
            .stdout("0 1234 5678\n");
        scene.assert_empty();
    }
}
