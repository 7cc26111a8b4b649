//! Capabilities (config.md, "capabilities").

use crate::scene::scenes;
use crate::support::User;
use serde_json::{Value, json};

/// What is added for one program stays across execve(2) where it is inheritable.
#[test]
fn one_more_program_has_what_is_added() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        scene.change(|config| {
            config["process"]["capabilities"] = json!({
                "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"],
                "permitted": ["CAP_KILL", "CAP_CHOWN"],
                "effective": ["CAP_KILL"],
                "inheritable": ["CAP_CHOWN", "CAP_SYSLOG"],
                "ambient": ["CAP_CHOWN"],
            });
        });
        scene.make(&["run", "--detach", "web"]).code(0);
        // CHOWN is 0, KILL is 5, SYS_NICE is 23, SYSLOG is 34.
        let (chown, kill, nice, syslog) = (1u64, 1 << 5, 1 << 23, 1 << 34);
        let held = chown | kill;
        for (added, permitted, bounding, ambient) in [
            (&[][..], held, held | syslog, chown),
            (
                &["--cap", "CAP_SYSLOG"],
                held | syslog,
                held | syslog,
                chown | syslog,
            ),
            (
                &["--cap", "CAP_SYS_NICE"],
                held | nice,
                held | syslog | nice,
                chown,
            ),
        ] {
            let exec = scene.call(["exec"]).args(added);
            let told = exec
                .args(["web", "grep", "^Cap", "/proc/self/status"])
                .run();
            told.code(0).stdout(&format!(
                "CapInh:\t{:016x}\nCapPrm:\t{permitted:016x}\nCapEff:\t{permitted:016x}\nCapBnd:\t{bounding:016x}\n\
                 CapAmb:\t{ambient:016x}\n",
                chown | syslog
            ));
        }
        let unknown = ["exec", "--cap", "CAP_DREAM", "web", "true"];
        scene
            .run(unknown)
            .code(0)
            .stderr_has("warning: there is no capability `CAP_DREAM`, which --cap names");
        let process = scene.store.file(
            "process.json",
            json!({ "args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 },
                "capabilities": { "effective": ["CAP_DREAM"] } })
            .to_string(),
        );
        scene
            .call(["exec", "--process", process.to_str().unwrap(), "web"])
            .run()
            .code(0)
            .stderr_has("warning: there is no capability \"CAP_DREAM\"");
        scene.run(["delete", "--force", "web"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn what_cannot_be_ambient_is_warned_of() {
    for scene in scenes() {
        scene.script("grep CapAmb /proc/self/status");
        scene.change(|config| {
            let sets = &mut config["process"]["capabilities"];
            sets["inheritable"] = json!(["CAP_KILL"]);
            sets["ambient"] = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"]);
        });
        let run = scene.make(&["run", "web"]);
        run.code(0)
            .stdout_has("CapAmb:\t0000000000000020\n")
            .stderr_has("can't raise ambient capability CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE: ");
        scene.assert_empty();
    }
}

/// What the caller has lost and what no kernel knows is left out; callers read of it in the log, and what the program
/// prints is its own.
#[test]
fn a_capability_that_is_not_to_be_had_is_warned_of() {
    for scene in scenes().filter(|scene| scene.store.user == User::Root) {
        scene.script("grep CapEff /proc/self/status");
        scene.change(|config| {
            let sets = config["process"]["capabilities"].as_object_mut().unwrap();
            for set in sets.values_mut() {
                *set = json!(["CAP_CHOWN", "CAP_SYS_TIME", "CAP_DREAM"]);
            }
        });
        let log = scene.store.home().join("log");
        let bundle = scene.bundle();
        let onggi = scene.call(["--log-format", "json", "--log"]);
        let onggi = onggi.args([log.as_os_str(), "run".as_ref(), "--bundle".as_ref()]);
        let onggi = onggi
            .args([bundle.as_os_str(), "web".as_ref()])
            .into_command();
        let mut command = scene.store.command("setpriv");
        command.args(["--bounding-set", "-sys_time"]);
        command.arg(onggi.get_program()).args(onggi.get_args());
        let printed = crate::support::Outcome::of("setpriv", command.output().unwrap());
        printed
            .code(0)
            .stdout("CapEff:\t0000000000000001\n")
            .stderr("");
        let told: Vec<Value> = std::fs::read_to_string(log)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told: Vec<_> = told
            .iter()
            .map(|line| {
                (
                    line["level"].as_str().unwrap(),
                    line["msg"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    "warning",
                    "there is no capability \"CAP_DREAM\", which `process.capabilities` has"
                ),
                (
                    "warning",
                    "the container goes without CAP_SYS_TIME: onggi has not got it itself"
                ),
            ]
        );
        scene.assert_empty();
    }
}
