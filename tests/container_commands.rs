//! `ps`, `inspect`, `rm`, `start` and `info` as a user or a script sees them: which containers, in which columns,
//! with which words and exit codes. What becomes of a container is tested in `program/`.

mod support;

use support::{ALPINE, Store, User, everyone, store};

/// Root's store with Alpine and three containers, oldest first: `old` (ended with 3), `new` (never ran) and
/// `running`.
fn three() -> Option<Store> {
    let store = store(User::Root)?;
    if !store.alpine() {
        return None;
    }
    store
        .onggi([
            "run", "--name", "old", "-l", "tier=a", "-l", "x", ALPINE, "sh", "-c", "exit 3",
        ])
        .run()
        .code(3);
    store
        .onggi([
            "create",
            "--name",
            "new",
            "-l",
            "tier=b",
            "--network",
            "host",
            ALPINE,
            "true",
        ])
        .run()
        .code(0);
    store
        .onggi(["run", "-d", "--name", "running", ALPINE, "sleep", "1000"])
        .run()
        .code(0);
    Some(store)
}

fn names(store: &Store, arguments: &[&str]) -> String {
    let outcome = store
        .onggi(["ps", "--format", "{{.Names}}"])
        .args(arguments)
        .run();
    outcome.code(0).stderr("");
    outcome
        .stdout_text()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn ps_shows_those_that_fit() {
    let Some(store) = three() else { return };
    let id = store
        .onggi(["inspect", "-f", "{{.Id}}", "old"])
        .run()
        .stdout_text()
        .trim()
        .to_owned();
    let image = store
        .onggi(["inspect", "-f", "{{.Image}}", "old"])
        .run()
        .stdout_text()
        .trim()
        .to_owned();
    for (arguments, expected) in [
        (&[][..], "running"),
        (&["-a"], "running new old"),
        (&["-n", "2"], "running new"),
        (&["-l"], "running"),
        (&["-n", "-1"], "running"),
        (&["-a", "-f", "name=^n"], "new"),
        (&["-a", "-f", "name=^/old$"], "old"),
        (&["-a", "-f", "name=old", "-f", "name=new"], "new old"),
        (&["-f", "status=exited"], "old"),
        (&["-f", "status=created"], "new"),
        (&["-a", "-f", "status=running", "-f", "name=old"], ""),
        (&["-a", "-f", "exited=3"], "old"),
        (&["-a", "-f", "exited=0"], ""),
        (&["-a", "-f", "label=tier"], "new old"),
        (&["-a", "-f", "label=tier=a", "-f", "label=x"], "old"),
        (&["-a", "-f", "network=host"], "new"),
        (&["-a", "-f", "before=new"], "old"),
        (&["-a", "-f", "since=new"], "running"),
        (&["-a", "-f", "ancestor=alpine:3.20"], "running new old"),
        (&["-a", "-f", "ancestor=hello"], ""),
        (&["-a", "-f", "volume=x"], ""),
        (&["-a", "-f", "health=none"], "running new old"),
    ] {
        assert_eq!(names(&store, arguments), expected, "{arguments:?}");
    }
    assert_eq!(
        names(&store, &["-a", "-f", &format!("id={}", &id[..8])]),
        "old"
    );
    assert_eq!(
        names(&store, &["-a", "-f", &format!("ancestor={image}")]),
        "running new old"
    );
    for (filter, message) in [
        ("colour=red", "onggi: invalid filter 'colour'\n"),
        ("status=happy", "onggi: invalid filter 'status=happy'\n"),
        ("before=nobody", "onggi: No such container: nobody\n"),
    ] {
        store
            .onggi(["ps", "-f", filter])
            .run()
            .code(1)
            .stdout("")
            .stderr(message);
    }
}

#[test]
fn ps_has_dockers_columns() {
    let Some(store) = three() else { return };
    let table = store.onggi(["ps", "-a"]).run();
    let lines: Vec<String> = table.stdout_text().lines().map(str::to_owned).collect();
    let columns = |line: &str| -> Vec<String> {
        line.split("   ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        columns(&lines[0]),
        [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES"
        ]
    );
    for (line, [image, command, status, name]) in lines[1..].iter().zip([
        [ALPINE, "\"sleep 1000\"", "Up ", "running"],
        [ALPINE, "\"true\"", "Created", "new"],
        [ALPINE, "\"sh -c 'exit 3'\"", "Exited (3) ", "old"],
    ]) {
        let cells = columns(line);
        assert_eq!(
            (cells[0].len(), cells[1].as_str(), cells[2].as_str()),
            (12, image, command),
            "{line}"
        );
        assert!(
            cells[4].starts_with(status) && cells.last().unwrap() == name,
            "{line}"
        );
    }
    let sized = store.onggi(["ps", "-as"]).run();
    sized
        .code(0)
        .stdout_has("SIZE\n")
        .stdout_has("0B (virtual 7.");
    let whole = store.onggi(["ps", "-aq", "--no-trunc"]).run();
    assert!(
        whole.stdout_text().lines().all(|id| id.len() == 64)
            && whole.stdout_text().lines().count() == 3
    );
    let json = store.onggi(["ps", "--format", "json"]).run();
    let row: serde_json::Value = serde_json::from_str(json.stdout_text().trim()).unwrap();
    assert!(
        row.as_object()
            .unwrap()
            .values()
            .all(serde_json::Value::is_string),
        "{row}"
    );
    assert_eq!(
        (&row["State"], &row["Platform"]),
        (&"running".into(), &platform().into())
    );
    let labels = store
        .onggi([
            "ps",
            "-f",
            "status=exited",
            "--format",
            "{{.Label \"tier\"}} {{.Labels}}",
        ])
        .run();
    labels.stdout("a tier=a,x=\n");
}

fn platform() -> String {
    format!(
        "linux/{}",
        if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        }
    )
}

#[test]
fn inspect_shows_what_is_there_and_tells_what_is_not() {
    let Some(store) = three() else { return };
    let outcome = store.onggi(["inspect", "old", "nobody", ALPINE]).run();
    outcome.code(1).stderr("Error: No such object: nobody\n");
    let all: serde_json::Value = serde_json::from_str(&outcome.stdout_text()).unwrap();
    assert_eq!(
        (&all[0]["Name"], &all[1]["RepoTags"][0]),
        (&"/old".into(), &ALPINE.into())
    );
    store
        .onggi(["inspect", "nobody"])
        .run()
        .code(1)
        .stdout("[]\n");
    store
        .onggi(["inspect", "-f", "{{.Id}}", "nobody"])
        .run()
        .code(1)
        .stdout("")
        .stderr_has("No such object: nobody");
    store
        .onggi(["container", "inspect", ALPINE])
        .run()
        .code(1)
        .stderr("Error: No such container: alpine:3.20\n");
    store
        .onggi(["inspect", "--type", "image", "old"])
        .run()
        .code(1);
    store
        .onggi([
            "inspect",
            "--type",
            "container",
            "-f",
            "{{.State.ExitCode}}",
            "old",
        ])
        .run()
        .code(0)
        .stdout("3\n");
    store
        .onggi(["inspect", "--type", "volume", "old"])
        .run()
        .code(1)
        .stderr_has("No such volume: old");
    store
        .onggi(["inspect", "--type", "thing", "old"])
        .run()
        .code(1)
        .stderr_has("unknown type: \"thing\"");
}

#[test]
fn what_is_not_there_fails_alone() {
    let Some(store) = three() else { return };
    let outcome = store.onggi(["rm", "nobody", "old"]).run();
    outcome
        .code(1)
        .stdout("old\n")
        .stderr("onggi: No such container: nobody\n");
    store.onggi(["rm", "-f", "nobody"]).run().code(0).stdout("");
    let outcome = store.onggi(["start", "nobody", "new"]).run();
    outcome
        .code(1)
        .stdout("new\n")
        .stderr_has("failed to start containers: nobody\n");
    let outcome = store.onggi(["start", "-a", "new", "running"]).run();
    outcome
        .code(1)
        .stderr("onggi: you cannot start and attach multiple containers at once\n");
    store
        .onggi(["rm", "-l", "new"])
        .run()
        .code(1)
        .stderr("onggi: Conflict, cannot remove the default link name of the container\n");
}

#[test]
fn info_counts_and_a_foreign_name_answers() {
    let Some(store) = three() else { return };
    let format = "{{.Containers}} {{.ContainersRunning}} {{.ContainersStopped}} {{.Images}}";
    store
        .onggi(["info", "-f", format])
        .run()
        .code(0)
        .stdout("3 1 2 1\n");
    store
        .onggi(["version", "-f", "{{.Server.APIVersion}}"])
        .run()
        .code(0)
        .stdout("1.51\n");
    store
        .onggi(["info", "-f", "{{.Nothing}}"])
        .run()
        .code(1)
        .stdout("");
}

#[test]
fn hello_is_seen_from_inside_by_everyone() {
    for store in everyone() {
        for words in [
            &["run", "--rm", "hello"][..],
            &["run", "--rm", "hello:latest"],
        ] {
            let outcome = store.onggi(words).run();
            outcome
                .code(0)
                .stderr("")
                .stdout_has("  process       pid 1, uid 0, gid 0\n");
            outcome
                // The other one has the places to mount on.
                .stdout_has("  root          overlay of 2 layers and one to write to, writable\n");
            outcome
                .stdout_has("  seccomp       filter\n")
                .stdout_has(" ms from the command to here\n");
        }
        store
            .onggi(["images", "--format", "{{.Repository}}:{{.Tag}}"])
            .run()
            .stdout("hello:latest\n");
        store.onggi(["ps", "-aq"]).run().stdout("");
        let bare = store
            .onggi([
                "run",
                "--rm",
                "--user",
                "0:0",
                "--cap-drop",
                "all",
                "--read-only",
                "hello",
            ])
            .run();
        bare.code(0)
            .stdout_has("  capabilities  none\n")
            .stdout_has("one to write to, read-only\n");
    }
}
