//! System-call filters (config-linux.md, "Seccomp").

use crate::scene::scenes;
use crate::support::life::until;
use crate::support::seccomp_agent::{Agent, METADATA};
use crate::support::{Need, requires};
use serde_json::{Value, json};

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

/// A process of its own, for the container's first one and for those that join it, whenever the filter is loaded.
#[test]
fn an_agent_answers_for_calls() {
    if !requires(&[Need::Program("python3")]) {
        return;
    }
    for scene in scenes() {
        let mut agent = Agent::start(&scene.store, "answer");
        let calls =
            json!({ "names": ["getppid", "mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" });
        let wanted = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [calls] });
        scene.change(policy(agent.asked(wanted)));
        let asks = "echo $PPID; mkdir /dev/shm/x 2>&1; test ! -e /dev/shm/x && echo not made";
        let answered =
            "4242\nmkdir: can't create directory '/dev/shm/x': Bad file descriptor\nnot made\n";
        let number = |told: &Value, key: &str| told[key].as_i64().unwrap();
        for privileges in [true, false] {
            scene.change(|config| {
                config["process"]["noNewPrivileges"] = json!(privileges);
                config["annotations"]["colour"] = json!("red");
            });
            scene.script(&format!("{asks}; exec sleep 1000"));
            scene.make(&["create", "web"]).code(0);
            let told = agent.told();
            let init = number(&scene.run(["state", "web"]).code(0).json(), "pid");
            assert_eq!(told["fds"], json!(["seccompFd"]));
            assert_eq!(told["metadata"], METADATA);
            assert_eq!(told["state"]["id"], "web");
            assert_eq!(told["state"]["status"], "creating");
            assert_eq!(told["state"]["annotations"]["colour"], "red");
            assert_eq!(number(&told, "pid"), init);
            assert_eq!(number(&told["state"], "pid"), init);
            // Also while it waits to be started.
            for status in ["created", "running"] {
                let exec = scene.run(["exec", "web", "sh", "-c", asks]);
                exec.code(0).stdout(answered);
                let told = agent.told();
                assert_eq!(told["state"]["status"], status);
                assert_eq!(number(&told["state"], "pid"), init);
                assert_ne!(number(&told, "pid"), init);
                if status == "created" {
                    scene.run(["start", "web"]).code(0);
                    until("it is answered", || scene.printed() == answered);
                }
            }
            scene.run(["delete", "--force", "web"]).code(0);
        }
        drop(agent);
        scene.assert_empty();
    }
}

#[test]
fn an_agent_that_goes_away_or_is_not_there() {
    if !requires(&[Need::Program("python3")]) {
        return;
    }
    for scene in scenes() {
        let agent = Agent::start(&scene.store, "close");
        scene.change(policy(agent.asked(rule("SCMP_ACT_NOTIFY", json!({})))));
        // A call that nobody answers is none.
        scene
            .shell("mkdir /dev/shm/x 2>&1")
            .code(1)
            .stdout_has("Function not implemented");
        drop(agent);
        for verb in ["create", "run"] {
            let refused = scene.make(&[verb, "web"]);
            let message = "failed to connect with seccomp agent";
            refused.code(1).stderr_has(message);
            scene.assert_empty();
        }
    }
}
