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
