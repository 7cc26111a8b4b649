//! The commands on images, as root and as both kinds of ordinary user.

use super::plan::{self, Plan};
use super::support::{ALPINE, Store, everyone, image};
use std::process::Stdio;

/// The program on that store, which must end well.
#[track_caller]
fn onggi(store: &Store, arguments: &[&str]) -> String {
    let outcome = store.onggi(arguments).run();
    outcome.code(0);
    outcome.stdout_text()
}

#[test]
fn an_imported_root_file_system_is_listed_named_described_and_removed() {
    for store in everyone() {
        if !store.alpine() {
            continue;
        }
        let table = onggi(&store, &["images"]);
        let [header, row] = table.lines().collect::<Vec<_>>()[..] else {
            panic!("{table}")
        };
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(header),
            ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
        );
        assert_eq!(words(row)[..2], ["alpine", "3.20"]);
        assert!(row.trim_end().ends_with("7.79MB"), "{row}");
        let id = onggi(&store, &["images", "-q", "--no-trunc", "alpine"]);
        assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
        onggi(&store, &["tag", ALPINE, "local/alpine:test"]);
        assert_eq!(
            onggi(&store, &["images", "-q", "--no-trunc", "local/alpine"]),
            id
        );
        assert_eq!(onggi(&store, &["images", "-q", "-f", "dangling=true"]), "");
        let inspected = store.onggi(["image", "inspect", ALPINE]).run().json();
        assert_eq!(
            inspected[0]["RepoTags"],
            serde_json::json!(["alpine:3.20", "local/alpine:test"])
        );
        assert_eq!(inspected[0]["Size"], 7_792_915);
        let history = onggi(&store, &["history", "--format", "json", ALPINE]);
        let history: serde_json::Value = serde_json::from_str(&history).unwrap();
        assert!(
            history["Comment"]
                .as_str()
                .unwrap()
                .starts_with("Imported from /"),
            "{history}"
        );
        assert_eq!(onggi(&store, &["rmi", ALPINE]), "Untagged: alpine:3.20\n");
        let removed = onggi(&store, &["rmi", "local/alpine:test"]);
        let lines: Vec<&str> = removed.lines().collect();
        assert_eq!(
            (lines[0], lines[1]),
            (
                "Untagged: local/alpine:test",
                &*format!("Deleted: {}", id.trim())
            )
        );
        assert_eq!(
            (
                lines.len(),
                std::fs::read_dir(store.data().join("layers"))
                    .unwrap()
                    .count()
            ),
            (3, 0)
        );
    }
}

#[test]
fn what_is_saved_by_one_is_loaded_by_another() {
    let mut archive: Option<Vec<u8>> = None;
    for store in everyone() {
        match &archive {
            None => {
                let Some(file) = image("archives/test-docker-image.tar") else {
                    return;
                };
                onggi(
                    &store,
                    &[
                        "load",
                        "-q",
                        "--platform",
                        "linux/amd64",
                        "-i",
                        file.to_str().unwrap(),
                    ],
                );
            }
            Some(bytes) => {
                let outcome = store
                    .onggi(["load", "--platform", "linux/amd64"])
                    .stdin(bytes.clone())
                    .run();
                outcome.code(0).stdout("Loaded image: dive-test:latest\n");
            }
        }
        let file = store.home().join("out.tar");
        onggi(&store, &["save", "-o", file.to_str().unwrap(), "dive-test"]);
        let bytes = std::fs::read(&file).unwrap();
        assert!(
            archive.as_ref().is_none_or(|before| *before == bytes),
            "{:?} saves other bytes",
            store.user
        );
        let streamed = store
            .onggi(["save", "dive-test"])
            .into_command()
            .output()
            .unwrap();
        assert!(
            streamed.status.success() && streamed.stdout == bytes,
            "{:?}: the stream differs from the file",
            store.user
        );
        archive = Some(bytes);
    }
}

#[test]
fn changes_and_the_message_go_into_the_config() {
    for store in everyone() {
        let file = store.file("root.tar", plan::tar(&[("etc/motd", b"hi")]));
        let mut arguments = vec!["import", "-m", "made by hand", "--platform", "linux/arm64"];
        for change in [
            "ENTRYPOINT [\"/bin/x\"]",
            "ENV A=1",
            "EXPOSE 80",
            "WORKDIR /srv",
        ] {
            arguments.extend(["-c", change]);
        }
        arguments.extend([file.to_str().unwrap(), "made"]);
        let id = onggi(&store, &arguments);
        let inspected = store
            .onggi(["image", "inspect", "made:latest"])
            .run()
            .json();
        assert_eq!(inspected[0]["Id"], id.trim());
        assert_eq!(inspected[0]["Comment"], "made by hand");
        assert_eq!(inspected[0]["Architecture"], "arm64");
        let config = &inspected[0]["Config"];
        assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/x"]));
        assert_eq!(
            (&config["Env"][0], &config["WorkingDir"]),
            (&"A=1".into(), &"/srv".into())
        );
        let outcome = store
            .onggi(["import", "-c", "RUN make", file.to_str().unwrap()])
            .run();
        outcome
            .code(1)
            .stderr_has("run is not a valid change command");
        store
            .onggi(["import", "http://localhost/x.tar"])
            .run()
            .code(125)
            .stderr_has("not supported yet");
    }
}

#[test]
fn bad_archives_end_with_1_and_one_line() {
    for store in everyone() {
        let outcome = store.onggi(["load"]).stdin("hello, world").run();
        outcome
            .code(1)
            .stdout("")
            .stderr_has("load standard input: it is no whole tar archive");
        assert_eq!(outcome.stderr_text().lines().count(), 1);
        store
            .onggi(["load", "-i", "/nonexistent"])
            .run()
            .code(1)
            .stderr_has("open `/nonexistent`");
        store
            .onggi(["import", "-"])
            .stdin("hello")
            .run()
            .code(1)
            .stdout("");
        assert_eq!(onggi(&store, &["images", "-q"]), "");
        assert_eq!(
            std::fs::read_dir(store.data().join("staging"))
                .unwrap()
                .count(),
            0
        );
        assert_eq!(
            std::fs::read_dir(store.data().join("layers"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn missing_images_are_told_in_dockers_words() {
    for store in everyone() {
        for command in [&["rmi"][..], &["history"], &["image", "inspect"], &["save"]] {
            let outcome = store.onggi(command).args(["nosuch"]).run();
            outcome.code(1).stderr_has("No such image: nosuch:latest");
        }
        store
            .onggi(["tag", "nosuch", "other"])
            .run()
            .code(1)
            .stderr_has("No such image: nosuch:latest");
        store
            .onggi(["rmi", "-f", "nosuch"])
            .run()
            .code(0)
            .stderr_has("No such image: nosuch:latest");
        store
            .onggi(["images", "-f", "colour=red"])
            .run()
            .code(1)
            .stderr_has("invalid filter 'colour'");
    }
}

#[test]
fn prune_asks_before_it_removes() {
    for store in everyone() {
        let file = store.file("root.tar", plan::tar(&[("etc/motd", b"hi")]));
        onggi(&store, &["import", file.to_str().unwrap()]);
        let no = store.onggi(["image", "prune"]).stdin("n\n").run();
        no.code(1)
            .stdout_has("This will remove all dangling images")
            .stderr_has("image prune has been cancelled");
        let yes = store.onggi(["image", "prune"]).stdin("y\n").run();
        yes.code(0)
            .stdout_has("Deleted Images:\ndeleted: sha256:")
            .stdout_has("\nTotal reclaimed space: 2B\n");
        assert_eq!(
            onggi(&store, &["image", "prune", "-f"]),
            "Total reclaimed space: 0B\n"
        );
    }
}

/// A load that is killed in the middle leaves nothing that the next command does not sweep.
#[test]
fn a_killed_load_is_swept() {
    for store in everyone() {
        let layout = Plan::new().write();
        let archive = plan::archive(layout.path(), false);
        let mut call = store.onggi(["load"]).into_command();
        let mut child = call
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), &archive[..1024]).unwrap();
        let staging = store.data().join("staging");
        // What is tried out while the store is made comes before its record.
        let is_made = || store.data().join("store.json").exists();
        while !is_made() || std::fs::read_dir(&staging).map_or(0, Iterator::count) == 0 {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 1);
        let outcome = store.onggi(["load"]).stdin(archive).run();
        outcome.code(0).stdout("Loaded image: test:1\n");
        assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
    }
}

#[test]
fn import_of_what_save_wrote_is_doubted() {
    for store in everyone().filter(Store::alpine) {
        let archive = store.home().join("saved.tar");
        let archive = archive.to_str().unwrap();
        onggi(&store, &["save", "-o", archive, ALPINE]);
        let outcome = store.onggi(["import", archive]).run();
        outcome.code(0).stderr_has(&format!(
            "`onggi load -i {archive}` takes them in as what they are"
        ));
    }
}

#[test]
fn a_template_that_is_none_ends_with_64_where_one_object_is_shown() {
    for store in everyone().take(1).filter(Store::alpine) {
        for command in [
            &["inspect", "-f", "{{", ALPINE][..],
            &["image", "inspect", "-f", "{{", ALPINE],
            &["info", "-f", "{{"],
        ] {
            let outcome = store.onggi(command).run();
            outcome
                .code(64)
                .stderr_has("template parsing error: template: :1: unclosed action");
        }
        store
            .onggi(["inspect", "-f", "{{.Nope}}", ALPINE])
            .run()
            .code(1);
        store.onggi(["images", "--format", "{{"]).run().code(1);
    }
}
