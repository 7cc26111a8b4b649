//! Capabilities that cannot be given (config.md, "capabilities").

use crate::scene::scenes;
use crate::support::User;
use serde_json::{Value, json};

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
