//! What stands in the config of an image, and that it is the same every time.

use crate::support::everyone_with_alpine;
use serde_json::json;

const FILE: &str = "FROM alpine:3.20\nLABEL a=b\nENV A=1 B=\"x y\"\nWORKDIR /w\nWORKDIR sub\nEXPOSE 80 53/udp\nVOLUME /v [\"x\"]\nUSER 7:8\n\
                    STOPSIGNAL SIGINT\nSHELL [\"/bin/ash\", \"-c\"]\nHEALTHCHECK --interval=30s --retries=2 CMD true\n\
                    ENTRYPOINT [\"e\"]\nCMD c $A\nONBUILD RUN x\nCOPY --chown=1:2 f /f\n";

#[test]
fn the_config_says_what_the_dockerfile_does() {
    for (number, store) in everyone_with_alpine().enumerate() {
        store.file("context/Dockerfile", FILE);
        store.file("context/f", "f");
        let words = [
            "build",
            "-t",
            "app",
            "--label",
            "more=1",
            "--iidfile",
            "id",
            "context",
        ];
        store.onggi(words).run().code(0);
        let inspected = store.onggi(["image", "inspect", "app"]).run();
        inspected.code(0);
        let found = &inspected.json()[0];
        let id = std::fs::read_to_string(store.home().join("id")).unwrap();
        assert_eq!(found["Id"], json!(id));
        let config = &found["Config"];
        for (field, expected) in [
            ("Labels", json!({"a": "b", "more": "1"})),
            ("WorkingDir", json!("/w/sub")),
            ("ExposedPorts", json!({"53/udp": {}, "80/tcp": {}})),
            ("User", json!("7:8")),
            ("StopSignal", json!("SIGINT")),
            ("Shell", json!(["/bin/ash", "-c"])),
            (
                "Healthcheck",
                json!({"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_i64, "Retries": 2}),
            ),
            ("Entrypoint", json!(["e"])),
            ("Cmd", json!(["/bin/ash", "-c", "c $A"])),
            ("OnBuild", json!(["RUN x"])),
        ] {
            assert_eq!(config[field], expected, "{field}");
        }
        let history = store
            .onggi(["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"])
            .run();
        history
            .stdout_has("COPY --chown=1:2 f /f # buildkit")
            .stdout_has(
                "HEALTHCHECK &{[\"CMD-SHELL\" \"true\"] \"30s\" \"0s\" \"0s\" \"0s\" '\\x02'}",
            )
            .stdout_has("WORKDIR /w/sub")
            .stdout_has("ENV A=1 B=x y")
            .stdout_has("CMD [\"/bin/ash\" \"-c\" \"c $A\"]");
        // Who has a single id sees all files as his own.
        if number == 0 {
            let owner = [
                "run",
                "--rm",
                "--entrypoint",
                "stat",
                "app",
                "-c",
                "%u:%g",
                "/f",
            ];
            store.onggi(owner).run().code(0).stdout("1:2\n");
        }
    }
}

#[test]
fn two_cold_builds_give_the_same_image() {
    let text = "FROM alpine:3.20\nRUN mkdir /d && echo x > /d/x && ln -s x /d/y && ln /d/x /d/z\nCOPY f /f\nWORKDIR /new\n";
    let mut layers = std::collections::BTreeSet::new();
    for store in everyone_with_alpine() {
        store.file("context/Dockerfile", text);
        store.file("context/f", "f");
        let build = || {
            let call = store.onggi(["build", "-q", "--no-cache", "context"]);
            let built = call.env("SOURCE_DATE_EPOCH", "1700000000").run();
            built.code(0);
            built.stdout_text()
        };
        let first = build();
        assert_eq!(build(), first);
        let words = ["image", "inspect", "-f", "{{.Created}}", first.trim()];
        store.onggi(words).run().stdout("2023-11-14T22:13:20Z\n");
        let words = [
            "image",
            "inspect",
            "-f",
            "{{json .RootFS.Layers}}",
            first.trim(),
        ];
        layers.insert(store.onggi(words).run().stdout_text());
    }
    // Whoever builds it, with whatever ids.
    assert!(layers.len() <= 1, "{layers:?}");
}
