//! System-call filters (config-linux.md, "Seccomp").

use crate::scene::scenes;
use serde_json::{Value, json};
use std::io::Read;

fn policy(policy: Value) -> impl FnOnce(&mut Value) {
    move |config| config["linux"]["seccomp"] = policy
}

/// One rule for mkdir(2), beside which everything is allowed.
fn rule(action: &str, more: Value) -> Value {
    let mut rule = json!({ "names": ["mkdir", "mkdirat"], "action": action });
    rule.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
}

#[test]
fn calls_are_answered_as_the_policy_says() {
    for scene in scenes() {
        scene.change(|config| config["root"]["readonly"] = json!(false));
        let make = "mkdir /made 2>&1; echo $?";
        for (action, more, told) in [
            ("SCMP_ACT_ERRNO", json!({}), "Operation not permitted\n1\n"),
            (
                "SCMP_ACT_ERRNO",
                json!({ "errnoRet": 28 }),
                "No space left on device\n1\n",
            ),
            ("SCMP_ACT_KILL_PROCESS", json!({}), "159\n"),
            ("SCMP_ACT_KILL", json!({}), "159\n"),
            ("SCMP_ACT_TRAP", json!({}), "159\n"),
            ("SCMP_ACT_LOG", json!({}), "0\n"),
            // Of no rule's: another mode.
            (
                "SCMP_ACT_ERRNO",
                json!({ "args": [{ "index": 1, "value": 5, "op": "SCMP_CMP_EQ" }] }),
                "0\n",
            ),
        ] {
            let made = scene.bundle().join("rootfs/made");
            let outcome = scene.shell_with(policy(rule(action, more)), make);
            let said = outcome.code(0).stdout_text();
            assert!(said.ends_with(told), "{action}: {said}");
            assert_eq!(made.exists(), told == "0\n", "{action}");
            let _ = std::fs::remove_dir(made);
        }
        let mut with_flags = rule("SCMP_ACT_ERRNO", json!({}));
        with_flags["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
        with_flags["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        scene
            .shell_with(policy(with_flags), make)
            .code(0)
            .stdout_has("1\n");
        scene.shell("grep Seccomp: /proc/self/status").code(0);
        scene.assert_empty();
    }
}

/// Hooks that are the container's are under its filter, whenever that is loaded.
#[test]
fn hooks_of_the_start_are_filtered() {
    for scene in scenes() {
        let make = json!([{ "path": "/bin/mkdir", "args": ["mkdir", "/dev/shm/x"] }]);
        scene.change(policy(rule("SCMP_ACT_KILL_PROCESS", json!({}))));
        let killed =
            "error running startContainer hook #0: `/bin/mkdir`: signal 31 (bad system call";
        for privileges in [true, false] {
            scene.change(|config| {
                config["process"]["noNewPrivileges"] = json!(privileges);
                config["hooks"] = json!({ "startContainer": make });
            });
            scene.make(&["run", "web"]).code(1).stderr_has(killed);
        }
        scene.assert_empty();
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    for scene in scenes() {
        for (wrong, message) in [
            (
                json!({ "defaultAction": "SCMP_ACT_MAYBE" }),
                "SCMP_ACT_MAYBE",
            ),
            (json!({}), "defaultAction"),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
                "needs a `listenerPath`",
            ),
            (rule("SCMP_ACT_NOTIFY", json!({})), "needs `listenerPath`"),
            (
                rule(
                    "SCMP_ACT_ERRNO",
                    json!({ "args": [{ "index": 9, "value": 5, "op": "SCMP_CMP_EQ" }] }),
                ),
                "argument index 9",
            ),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["NO_SUCH_FLAG"] }),
                "NO_SUCH_FLAG",
            ),
            (
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"] }),
                "SCMP_ARCH_Z80",
            ),
        ] {
            scene.refuses(message, policy(wrong));
        }
        scene.assert_empty();
    }
}

/// Who listens is told of the container and gets what the calls come out of.
#[test]
fn an_agent_is_told() {
    for scene in scenes() {
        let path = scene.store.home().join("agent");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&path, everybody).unwrap();
        let mut notify = rule("SCMP_ACT_NOTIFY", json!({}));
        notify["listenerPath"] = json!(path);
        notify["listenerMetadata"] = json!("own words");
        let agent = std::thread::spawn(move || {
            let mut told = String::new();
            let (mut connection, _) = listener.accept().unwrap();
            connection.read_to_string(&mut told).unwrap();
            told
        });
        scene.change(policy(notify));
        // The listener is closed as soon as the connection is: a call that nobody answers is none.
        scene
            .shell("mkdir /tmp/x 2>&1")
            .code(1)
            .stdout_has("Function not implemented");
        let told: Value = serde_json::from_str(&agent.join().unwrap()).unwrap();
        assert_eq!(told["metadata"], "own words");
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!(told["state"]["id"], "web");
        assert_eq!(told["state"]["status"], "creating");
        scene.assert_empty();
    }
}
