//! What callers read: the log (`--log`, `--log-format`).

use crate::scene::scenes;
use serde_json::Value;

#[test]
fn errors_are_in_the_log_too() {
    for scene in scenes() {
        let path = scene.store.home().join("log.json");
        let log = ["--log", path.to_str().unwrap(), "--log-format", "json"];
        let failed = scene.call(log).args(["state", "nobody"]).run();
        failed
            .code(1)
            .stderr_has("container `nobody` does not exist");
        let text = std::fs::read_to_string(&path).unwrap();
        let line: Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "error");
        assert_eq!(line["msg"], "container `nobody` does not exist");
        scene
            .call(["--log-format", "xml", "list"])
            .run()
            .code(1)
            .stderr_has("invalid log-format: xml");
    }
}

#[test]
fn steps_are_told_when_asked_for() {
    for scene in scenes() {
        scene.program(&["sh", "-c", "exit 3"]);
        let bundle = scene.bundle();
        let run = ["run", "--bundle", bundle.to_str().unwrap(), "web"];
        scene.call(run).run().code(3).stderr("");
        let told = scene.call(["--debug"]).args(run).run();
        told.code(3);
        for step in [
            "bundle `",
            "created `web`: process",
            "started `web`",
            "`web` ended with 3",
        ] {
            told.stderr_has(&format!("level=debug msg=\"{step}"));
        }
        let path = scene.store.home().join("log.json");
        let log = [
            "--debug",
            "--log-format",
            "json",
            "--log",
            path.to_str().unwrap(),
        ];
        let failed = scene.call(log).args(["state", "nobody"]).run();
        failed.code(1).stderr_lacks("debug");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"level\":\"debug\""), "{text}");
        scene.assert_empty();
    }
}
