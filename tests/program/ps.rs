//! ps: what is listed, filtered, shortened and formatted; that it asks nobody for permission.

use crate::support::{ALPINE, Store, everyone_with_alpine};

fn names(store: &Store, arguments: &[&str]) -> String {
    let outcome = store
        .onggi(["ps", "--format", "{{.Names}}"].iter().chain(arguments))
        .run();
    let text = outcome.code(0).stderr("").stdout_text();
    text.lines().collect::<Vec<_>>().join(" ")
}

fn run(store: &Store, words: &[&str]) -> String {
    let outcome = store.onggi(words).run();
    outcome.code(0).stdout_text().trim().to_owned()
}

/// Three containers: one that was never started, one that has ended, one that runs.
fn three(store: &Store) -> [String; 3] {
    let label = ["--label", "tier=1"];
    let new = run(
        store,
        &[
            "create", "--name", "new", label[0], label[1], ALPINE, "true",
        ],
    );
    let ended = store.onggi([
        "run", "--name", "ended", "-l", "tier=2", ALPINE, "sh", "-c", "exit 3",
    ]);
    ended.run().code(3);
    let up = [
        "run",
        "-d",
        "--name",
        "up",
        "--network",
        "host",
        ALPINE,
        "sleep",
        "1000",
    ];
    let up = run(store, &up);
    let ended = run(store, &["ps", "-qf", "name=ended", "-a", "--no-trunc"]);
    [new, ended, up]
}

#[test]
fn filters_choose() {
    for store in everyone_with_alpine() {
        let [new, ended, _] = three(&store);
        let image = run(&store, &["images", "-q"]);
        for (arguments, expected) in [
            (&[][..], "up"),
            (&["-a"], "up ended new"),
            (&["-l"], "up"),
            (&["-n", "2"], "up ended"),
            (&["-n", "-1"], "up"),
            (&["-f", "status=created"], "new"),
            (&["-f", "status=exited"], "ended"),
            (&["-f", "status=running", "-f", "status=created"], "up new"),
            (&["-f", "status=paused"], ""),
            (&["-a", "-f", "exited=3"], "ended"),
            (&["-a", "-f", "exited=0"], ""),
            (&["-a", "-f", "name=e"], "ended new"),
            (&["-a", "-f", "name=^/?up$"], "up"),
            (&["-a", "-f", &format!("id={}", &new[..10])], "new"),
            (&["-a", "-f", "label=tier"], "ended new"),
            (&["-a", "-f", "label=tier=2"], "ended"),
            (&["-a", "-f", "label=tier", "-f", "label=tier=1"], "new"),
            (&["-a", "-f", "before=up"], "ended new"),
            (&["-a", "-f", &format!("since={ended}")], "up"),
            (&["-a", "-f", &format!("ancestor={ALPINE}")], "up ended new"),
            (&["-a", "-f", &format!("ancestor={image}")], "up ended new"),
            (&["-a", "-f", "ancestor=nothing"], ""),
            (&["-a", "-f", "network=host"], "up"),
            (&["-a", "-f", "network=none"], "ended new"),
            (&["-a", "-f", "health=none"], "up ended new"),
            (&["-a", "-f", "health=healthy"], ""),
            (&["-a", "-f", "is-task=false"], "up ended new"),
            (&["-a", "-f", "is-task=true"], ""),
            (&["-a", "-f", "volume=x"], ""),
            (&["-a", "-f", "publish=80"], ""),
            (&["-a", "-f", "expose=80/tcp"], ""),
        ] {
            assert_eq!(names(&store, arguments), expected, "{arguments:?}");
        }
        for (filter, message) in [
            ("status=x", "invalid filter 'status=x'"),
            ("health=x", "invalid filter 'health=x'"),
            ("exited=x", "invalid filter 'exited=x'"),
            ("publish=x", "invalid filter 'publish=x'"),
            ("x=y", "invalid filter 'x'"),
            ("before=nobody", "No such container: nobody"),
        ] {
            let outcome = store.onggi(["ps", "-a", "-f", filter]).run();
            outcome.code(1).stdout("").stderr_has(message);
        }
    }
}

#[test]
fn columns_are_dockers() {
    for store in everyone_with_alpine() {
        let [_, ended, up] = three(&store);
        let table = run(&store, &["ps"]);
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let lines: Vec<&str> = table.lines().collect();
        let heading = [
            "CONTAINER",
            "ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES",
        ];
        assert_eq!(words(lines[0]), heading);
        assert!(
            lines[1].starts_with(&up[..12]) && lines[1].ends_with("   up"),
            "{table}"
        );
        assert!(
            lines[1].contains("   \"sleep 1000\"   ") && lines[1].contains("   Up "),
            "{table}"
        );
        for spelling in [
            &["container", "ls"][..],
            &["container", "list"],
            &["container", "ps"],
        ] {
            assert_eq!(words(&run(&store, spelling))[0..8], heading);
        }
        let of_ended = |template: &str, more: &[&str]| {
            let words = ["ps", "-a", "-f", "name=ended", "--format", template];
            run(&store, &[&words[..], more].concat())
        };
        assert!(of_ended("{{.Status}}", &[]).starts_with("Exited (3) "));
        let template =
            "{{.State}} {{.Image}} {{.Command}} {{.Label \"tier\"}} {{.Labels}} {{.Networks}}";
        assert_eq!(
            of_ended(template, &[]),
            format!("exited {ALPINE} \"sh -c 'exit 3'\" 2 tier=2 none")
        );
        assert_eq!(of_ended("{{.ID}}", &["--no-trunc"]), ended);
        assert_eq!(
            of_ended("table {{.Names}}\\t{{.State}}", &[]),
            "NAMES     STATE\nended     exited"
        );
        let json: serde_json::Value = serde_json::from_str(&of_ended("json", &[])).unwrap();
        let keys: Vec<_> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys.join(" "),
            "Command CreatedAt ID Image Labels LocalVolumes Mounts Names Networks Platform Ports RunningFor Size \
             State Status"
        );
        // The image has lost the name that the containers were made by.
        let id = run(&store, &["images", "-q", "--no-trunc"]);
        run(&store, &["tag", ALPINE, "kept:1"]);
        store.onggi(["rmi", "-f", ALPINE]).run().code(0);
        assert_eq!(of_ended("{{.Image}}", &[]), id["sha256:".len()..][..12]);
        assert_eq!(of_ended("{{.Image}}", &["--no-trunc"]), id);
    }
}

#[test]
fn sizes_are_what_was_written() {
    for store in everyone_with_alpine() {
        let write = "head -c 12345 /dev/zero >/file";
        store
            .onggi(["run", "--name", "writer", ALPINE, "sh", "-c", write])
            .run()
            .code(0);
        let size = run(&store, &["ps", "-as", "--format", "{{.Size}}"]);
        assert!(
            size.starts_with("12.3kB (virtual ") && size.ends_with("MB)"),
            "{size}"
        );
        assert_eq!(run(&store, &["ps", "-a", "--format", "{{.Size}}"]), size);
        let table = run(&store, &["ps", "-as"]);
        assert!(table.lines().next().unwrap().ends_with("SIZE"), "{table}");
        let json = run(&store, &["ps", "-a", "--format", "json"]);
        assert!(json.contains("\"Size\":\"0B\""), "{json}");
    }
}
