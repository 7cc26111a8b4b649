//! Policies of one's own: what each action does to a program, 32-bit calls, agents (seccomp(2), seccomp_unotify(2),
//! runtime-spec config-linux.md "Seccomp").

use crate::support::host::requires;
use crate::support::seccomp_agent::Agent;
use crate::support::{ALPINE, Call, Need, Store, everyone, everyone_with_alpine, skip};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// The option for this policy, which allows what it does not name.
fn option(store: &Store, rules: Value) -> String {
    policy(
        store,
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}),
    )
}

fn policy(store: &Store, policy: Value) -> String {
    let file = store.file("policy.json", policy.to_string());
    format!("--security-opt=seccomp={}", file.display())
}

fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": format!("SCMP_ACT_{action}")})
}

#[test]
fn each_action() {
    for store in everyone_with_alpine() {
        let mut refused = rule(&["mkdir", "mkdirat"], "ERRNO");
        refused["errnoRet"] = json!(122);
        // Without a tracer TRACE fails with ENOSYS; LOG lets go on.
        for (rule, code, complaint) in [
            (refused, 1, "Quota exceeded"),
            (rule(&["mkdir", "mkdirat"], "ERRNO"), 1, "not permitted"),
            (rule(&["mkdir", "mkdirat"], "TRACE"), 1, "not implemented"),
            (rule(&["mkdir", "mkdirat"], "LOG"), 0, ""),
            (rule(&["mkdir", "mkdirat"], "TRAP"), 159, ""),
            (rule(&["mkdir", "mkdirat"], "KILL_PROCESS"), 159, ""),
            (rule(&["mkdir", "mkdirat"], "KILL_THREAD"), 159, ""),
            (rule(&["mkdir", "mkdirat"], "KILL"), 159, ""),
        ] {
            let option = option(&store, json!([rule]));
            let outcome = store.shell(&[&option], "touch /x && exec mkdir /y").run();
            outcome.code(code).stderr_has(complaint);
        }
    }
}

/// The code looks like a fault of the program, and there is nothing else to see.
#[test]
fn that_nothing_can_end_is_said() {
    for store in everyone_with_alpine() {
        // The C library of this image tries `exit` too, again and again.
        for (names, action, code) in [
            (&["exit_group"][..], "ERRNO", 0),
            (&["exit_group"], "KILL_PROCESS", 159),
            (&["exit", "exit_group"], "TRAP", 159),
        ] {
            let option = option(&store, json!([rule(names, action)]));
            let outcome = store.shell(&[&option], "exec true").run();
            outcome.code(code).stderr_has(
                "warning: the seccomp policy does not allow `exit_group`: a program cannot end by itself",
            );
        }
        let only = rule(&["exit"], "ERRNO");
        let outcome = store
            .shell(&[&option(&store, json!([only]))], "exec true")
            .run();
        outcome.code(0).stderr("");
    }
}

/// A namespace of one kind only is denied, by a test of single bits of clone's and unshare's flags.
#[test]
fn masked_flags() {
    for store in everyone_with_alpine() {
        let uts = u64::from(rustix::thread::UnshareFlags::NEWUTS.bits());
        let mut rule = rule(&["unshare"], "ERRNO");
        rule["errnoRet"] = json!(28);
        rule["args"] =
            json!([{"index": 0, "value": uts, "valueTwo": uts, "op": "SCMP_CMP_MASKED_EQ"}]);
        let option = option(&store, json!([rule]));
        let script = "unshare -U true && unshare -U -i true && unshare -U -u -i true";
        let outcome = store.shell(&[&option], script).run();
        outcome.code(1).stderr_has("No space left");
    }
}

/// Whoever comes later has the same policy; who has all privileges has none.
#[test]
fn exec_has_the_policy_too() {
    for store in everyone_with_alpine() {
        let option = option(&store, json!([rule(&["mkdir", "mkdirat"], "ERRNO")]));
        let script = "trap exit TERM; touch /ready; sleep 100000 & wait";
        store.detached("web", &[&option], script);
        for options in [&["exec", "web"][..], &["exec", "--privileged", "web"]] {
            let outcome = store.onggi(options.iter().chain(&["mkdir", "/x"])).run();
            outcome.code(1).stderr_has("not permitted");
        }
        store.ok(["rm", "-f", "web"]);
        store
            .shell(&["--privileged"], "unshare -U true")
            .run()
            .code(0);
    }
}

/// A program of x86_64 that makes the directory `/y` by the call of i386 and ends with its errno.
#[cfg(target_arch = "x86_64")]
fn program_with_32_bit_calls() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code: &[u8] = &[
        0xb8, 39, 0, 0, 0, // mov $39, %eax: mkdir
        0xbb, 0x98, 0, 0x40, 0, // mov $0x400098, %ebx: the path
        0xb9, 0xed, 1, 0, 0, // mov $0755, %ecx
        0xcd, 0x80, // int $0x80
        0xf7, 0xd8, // neg %eax
        0x89, 0xc3, // mov %eax, %ebx
        0xb8, 1, 0, 0, 0, // mov $1, %eax: exit
        0xcd, 0x80, // int $0x80
        0xf4, 0x90, 0x90, 0x90, // hlt, and filling up to the path
    ];
    assert_eq!(HEADERS + code.len() as u64, 0x98);
    let size = HEADERS + code.len() as u64 + 3;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // ET_EXEC, EM_X86_64, version, entry, program headers, section headers, flags.
    file.extend([2u16, 62].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1u32.to_le_bytes());
    file.extend(
        [BASE + HEADERS, 64, 0]
            .iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    file.extend(0u32.to_le_bytes());
    file.extend(
        [64u16, 56, 1, 64, 0, 0]
            .iter()
            .flat_map(|half| half.to_le_bytes()),
    );
    // PT_LOAD, readable and executable, the whole file.
    file.extend([1u32, 5].iter().flat_map(|half| half.to_le_bytes()));
    let words = [0, BASE, BASE, size, size, 0x1000];
    file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    file.extend(code);
    file.extend(b"/y\0");
    file
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bits() {
    for store in everyone_with_alpine() {
        let program = store.file("narrow", program_with_32_bit_calls());
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let run = |option: &str| {
            store.ok(["create", "--name", "narrow", option, ALPINE, "/narrow"]);
            store.ok(["cp", program.to_str().unwrap(), "narrow:/narrow"]);
            let outcome = store.onggi(["start", "-a", "narrow"]).run();
            store.ok(["rm", "narrow"]);
            outcome
        };
        let unconfined = run("--security-opt=seccomp=unconfined");
        if unconfined.exit_code() == Some(139) {
            skip("the kernel runs no 32-bit calls");
            return;
        }
        unconfined.code(0);
        run("--security-opt=seccomp=builtin").code(0);
        let mut rule = rule(&["mkdir"], "ERRNO");
        rule["errnoRet"] = json!(122);
        let with = |architectures: Value| {
            let rules = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures,
                               "syscalls": [rule]});
            run(&policy(&store, rules))
        };
        with(json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])).code(122);
        // What is not listed ends the program.
        with(json!(["SCMP_ARCH_X86_64"])).code(159);
    }
}

#[test]
fn an_agent_answers_for_calls() {
    if !requires(&[Need::Program("python3")]) {
        return;
    }
    for store in everyone_with_alpine() {
        let mut agent = Agent::start(&store, "answer");
        let rules = json!([rule(&["getppid", "mkdir", "mkdirat"], "NOTIFY")]);
        let option = option_of(&agent, &store, "ALLOW", rules);
        let options = [&option, "--annotation=colour=red"];
        let script = "trap exit TERM; echo $PPID; touch /ready; sleep 100000 & wait";
        let id = store.detached("web", &options, script);
        let told = agent.told();
        let pid = store.field("web", "{{.State.Pid}}");
        assert_eq!(told["fds"], json!(["seccompFd"]));
        assert_eq!(told["metadata"], json!("for the agent"));
        assert_eq!(told["pid"].to_string(), pid);
        let state = &told["state"];
        assert_eq!(state["id"], json!(id));
        assert_eq!(state["status"], json!("creating"));
        assert_eq!(state["pid"].to_string(), pid);
        assert_eq!(state["annotations"], json!({"colour": "red"}));
        assert!(Path::new(state["bundle"].as_str().unwrap()).is_dir());
        assert_eq!(state["ociVersion"], told["ociVersion"]);
        store.onggi(["logs", "web"]).run().code(0).stdout("4242\n");

        let exec = ["exec", "web", "sh", "-c", "echo $PPID; mkdir /x"];
        let outcome = store.onggi(exec).run();
        outcome
            .code(1)
            .stdout("4242\n")
            .stderr_has("Bad file descriptor");
        let told = agent.told();
        assert_eq!(told["state"]["status"], json!("running"));
        assert_eq!(told["state"]["id"], json!(id));
        assert_eq!(told["state"]["pid"].to_string(), pid);
        assert_ne!(told["pid"].to_string(), pid);
        store.ok(["rm", "-f", "web"]);
    }
}

/// Not even starting the program goes without the agent, which is there in time all the same.
#[test]
fn an_agent_answers_for_every_call() {
    if !requires(&[Need::Program("python3")]) {
        return;
    }
    for store in everyone_with_alpine() {
        let agent = Agent::start(&store, "answer");
        let option = option_of(&agent, &store, "NOTIFY", json!([]));
        for more in [
            &[][..],
            &["--security-opt=no-new-privileges"],
            &["-t"],
            &["-u", "1000"],
        ] {
            if store.user == crate::support::User::Single && more.contains(&"-u") {
                continue;
            }
            let options = [&[option.as_str()], more].concat();
            let outcome = store.shell(&options, "echo $PPID; exit 7").run();
            outcome.code(7).stdout_has("4242");
        }
    }
}

#[test]
fn an_agent_that_goes_away() {
    if !requires(&[Need::Program("python3")]) {
        return;
    }
    for store in everyone_with_alpine() {
        let agent = Agent::start(&store, "close");
        let option = option_of(
            &agent,
            &store,
            "ALLOW",
            json!([rule(&["mkdir", "mkdirat"], "NOTIFY")]),
        );
        let outcome = store.shell(&[&option], "mkdir /x").run();
        outcome.code(1).stderr_has("not implemented");
    }
}

#[test]
fn an_agent_that_is_not_there() {
    for store in everyone_with_alpine() {
        let nobody = store.home().join("nobody.sock");
        // The first holds the program itself up; with the second it would run until it is killed.
        let calls: [&[&str]; 2] = [&["execve", "exit_group"], &["mkdir", "mkdirat"]];
        for calls in calls {
            let rules = json!([rule(calls, "NOTIFY")]);
            let listener = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules, "listenerPath": nobody});
            let option = policy(&store, listener);
            let refused = || {
                let script = ["sh", "-c", "echo ran > /trace"];
                let run = ["run", "--name", "web", &option, ALPINE];
                let call: Call = store.onggi(run.iter().chain(&script));
                call.run().code(125).stderr_has("nobody.sock");
                assert_eq!(store.ok(["diff", "web"]), "", "the program ran");
                store.ok(["rm", "web"]);
                store.assert_no_process_is_left();
            };
            refused();
            // A socket at which nobody listens any more.
            drop(UnixListener::bind(&nobody).unwrap());
            refused();
            std::fs::remove_file(&nobody).unwrap();
            // One that takes no more connections for now, so that the hand-over lasts until its patience ends.
            let busy = UnixListener::bind(&nobody).unwrap();
            std::fs::set_permissions(&nobody, Permissions::from_mode(0o777)).unwrap();
            rustix::net::listen(&busy, 0).unwrap();
            let _first = UnixStream::connect(&nobody).unwrap();
            refused();
            std::fs::remove_file(&nobody).unwrap();
        }
        let option = option_without_listener(&store);
        store
            .shell(&[&option], "true")
            .run()
            .code(125)
            .stderr_has("SCMP_ACT_NOTIFY needs `listenerPath`");
    }
}

/// Calls without a rule are answered as `default` says.
fn option_of(agent: &Agent, store: &Store, default: &str, rules: Value) -> String {
    let wanted = json!({"defaultAction": format!("SCMP_ACT_{default}"), "syscalls": rules});
    policy(store, agent.asked(wanted))
}

fn option_without_listener(store: &Store) -> String {
    option(store, json!([rule(&["mkdir", "mkdirat"], "NOTIFY")]))
}

#[test]
fn what_is_no_policy() {
    for store in everyone() {
        let refused = |value: &str, message: &str| {
            let option = format!("--security-opt=seccomp={value}");
            let outcome = store.onggi(["create", &option, ALPINE]).run();
            outcome.code(125).stderr_has(message);
        };
        let missing = store.home().join("missing.json");
        let missing = missing.to_str().unwrap();
        refused(
            missing,
            &format!("opening seccomp profile ({missing}) failed: open `{missing}`: No such file"),
        );
        let broken = store.file("broken.json", "{");
        let broken = broken.to_str().unwrap();
        refused(
            broken,
            &format!("decoding seccomp profile ({broken}) failed: EOF while parsing"),
        );
    }
}
