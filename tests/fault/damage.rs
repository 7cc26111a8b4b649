//! A damaged or missing file costs what it describes and nothing else: everything else goes on and names it.

use crate::support::life::until;
use crate::support::{ALPINE, Store, everyone_in_memory};
use std::path::PathBuf;

/// What a file may look like that a disk or a hand has damaged.
const DAMAGE: [Option<&[u8]>; 4] = [
    None,
    Some(b""),
    Some(b"{\"version\""),
    Some(b"\0\0\0\0\0\0"),
];

/// Writes with the tests' own rights, so that the file stays whose it is.
fn damage(path: &PathBuf, content: Option<&[u8]>) {
    match content {
        None => std::fs::remove_file(path).unwrap(),
        Some(content) => std::fs::write(path, content).unwrap(),
    }
}

fn create(store: &Store, name: &str) -> String {
    let made = store
        .onggi(["create", "--name", name, ALPINE, "true"])
        .run();
    made.code(0).stdout_text().trim().to_owned()
}

fn names(store: &Store) -> String {
    let listed = store.onggi(["ps", "-a", "--format", "{{.Names}}"]).run();
    listed.code(0).stdout_text()
}

/// The monitor lets go of its container before it tells the last client and ends.
fn ends(store: &Store) {
    until("no process is left", || store.processes().is_empty());
}

#[test]
fn the_record_of_a_container() {
    for store in everyone_in_memory() {
        create(&store, "good");
        for content in &DAMAGE[1..] {
            let id = create(&store, "bad");
            let record = store
                .data()
                .join("containers")
                .join(&id)
                .join("container.json");
            damage(&record, *content);
            let listed = store.onggi(["ps", "-a", "--format", "{{.Names}}"]).run();
            listed
                .code(0)
                .stdout("good\n")
                .stderr_has(&id[..12])
                .stderr_has(record.to_str().unwrap())
                .stderr_has("onggi system check");
            assert_eq!(listed.stderr_text().lines().count(), 1);
            store.onggi(["images"]).run().code(0);
            store.onggi(["info"]).run().code(0);
            store.onggi(["image", "prune", "-f"]).run().code(0);
            store.onggi(["inspect", "good"]).run().code(0);
            store.onggi(["start", "-a", "good"]).run().code(0);
            store.shell(&[], "true").run().code(0);
            store
                .onggi(["start", "bad"])
                .run()
                .code(1)
                .stderr_has("damaged");
            store
                .onggi(["rm", "-f", "bad"])
                .run()
                .code(0)
                .stdout("bad\n");
            assert_eq!(names(&store), "good\n");
        }
    }
}

#[test]
fn the_state_of_a_container() {
    for store in everyone_in_memory() {
        for content in DAMAGE {
            let id = create(&store, "bad");
            store.onggi(["start", "-a", "bad"]).run().code(0);
            let state = store.data().join("containers").join(&id).join("state.json");
            damage(&state, content);
            let listed = store
                .onggi(["ps", "-a", "--format", "{{.Names}} {{.Status}}"])
                .run();
            listed
                .code(0)
                .stdout_has("bad Exited (255)")
                .stderr_has(state.to_str().unwrap());
            // What it is and what it has written is all there.
            store.onggi(["start", "-a", "bad"]).run().code(0);
            store.onggi(["ps", "-a"]).run().code(0).stderr("");
            damage(&state, content);
            store.onggi(["rm", "bad"]).run().code(0);
        }
    }
}

#[test]
fn the_state_of_a_running_container() {
    for store in everyone_in_memory() {
        for content in [None, Some(&b""[..])] {
            let run = store
                .onggi(["run", "-d", "--name", "bad", ALPINE, "sleep", "1000"])
                .run();
            let id = run.code(0).stdout_text().trim().to_owned();
            let state = store.data().join("containers").join(&id).join("state.json");
            damage(&state, content);
            let listed = store.onggi(["ps", "-a"]).run();
            listed.code(0).stderr_has(state.to_str().unwrap());
            let check = store.onggi(["system", "check"]).run();
            check.code(1).stdout_has("damaged-state: ");
            for (words, message) in [(["start", "bad"], "damaged"), (["rm", "bad"], "running")] {
                store.onggi(words).run().code(1).stderr_has(message);
            }
            store.onggi(["rm", "-f", "bad"]).run().code(0);
            assert_eq!(names(&store), "");
            ends(&store);
        }
    }
}

/// The directory of a container that has lost its record.
fn lose(store: &Store, id: &str) -> PathBuf {
    let directory = store.data().join("containers").join(id);
    std::fs::remove_file(directory.join("container.json")).unwrap();
    directory
}

fn assert_lost(store: &Store, id: &str) {
    let record = format!("{id}/container.json");
    let listed = store.onggi(["ps", "-aq"]).run();
    listed.code(0).stdout("").stderr_has(&record);
    let check = store.onggi(["system", "check"]).run();
    check
        .code(1)
        .stdout_has("lost-record: ")
        .stdout_has(&record);
    assert_eq!(check.stdout_text().lines().count(), 2);
    for words in [["start", "bad"], ["rm", "bad"], ["stop", &id[..12]]] {
        store.onggi(words).run().code(1);
    }
}

#[test]
fn the_record_of_a_running_container_is_lost() {
    for store in everyone_in_memory() {
        let run = ["run", "-d", "--name", "bad", "--restart", "always", ALPINE];
        for name in ["bad", "id"] {
            let run = store.onggi(run).args(["sleep", "1000"]).run();
            let id = run.code(0).stdout_text().trim().to_owned();
            lose(&store, &id);
            assert_lost(&store, &id);
            let name = if name == "id" { &id[..8] } else { name };
            store.onggi(["rm", "-f", name]).run().code(0);
            ends(&store);
            crate::check::assert_clean(&store);
        }
        let run = store
            .onggi(run)
            .args(["sh", "-c", "echo x >/new; sleep 1000"])
            .run();
        let id = run.code(0).stdout_text().trim().to_owned();
        until("it has written", || {
            store
                .onggi(["exec", "bad", "test", "-s", "/new"])
                .run()
                .succeeded()
        });
        let directory = lose(&store, &id);
        store
            .onggi(["system", "check", "--repair"])
            .run()
            .code(1)
            .stdout_has("mended")
            .stdout_has("rm -f");
        ends(&store);
        // What it has written stays until somebody says that it may go.
        store.shell(&[], "true").run().code(0);
        assert!(directory.join("upper/new").exists());
        assert_lost(&store, &id);
        store.onggi(["rm", "-f", "bad"]).run().code(0);
        crate::check::assert_clean(&store);
    }
}

#[test]
fn the_record_of_a_container_that_has_ended_is_lost() {
    for store in everyone_in_memory() {
        let id = create(&store, "bad");
        store.onggi(["start", "-a", "bad"]).run().code(0);
        let directory = lose(&store, &id);
        store.onggi(["system", "check", "--repair"]).run().code(1);
        store.shell(&[], "true").run().code(0);
        assert!(directory.join("upper").exists());
        assert_lost(&store, &id);
        store.onggi(["rm", "-f", "bad"]).run().code(0);
        crate::check::assert_clean(&store);
    }
}

#[test]
fn the_records_of_an_image() {
    for store in everyone_in_memory() {
        create(&store, "good");
        for file in ["image.json", "config.json"] {
            for content in DAMAGE {
                let tar = store.file("empty.tar", vec![0; 10240]);
                let imported = store.onggi(["import", tar.to_str().unwrap(), "bad"]).run();
                let id = imported.code(0).stdout_text().trim().to_owned();
                let hex = id.strip_prefix("sha256:").unwrap();
                let path = store.data().join("images").join(hex).join(file);
                damage(&path, content);
                let listed = store.onggi(["images", "--format", "{{.Repository}}"]).run();
                listed
                    .code(0)
                    .stdout("alpine\n")
                    .stderr_has(path.to_str().unwrap());
                assert_eq!(listed.stderr_text().lines().count(), 1);
                assert_eq!(names(&store), "good\n");
                store.shell(&[], "true").run().code(0);
                store.onggi(["start", "-a", "good"]).run().code(0);
                store.onggi(["image", "prune", "-f"]).run().code(0);
                store
                    .onggi(["rmi", "bad"])
                    .run()
                    .code(1)
                    .stderr_has("damaged");
                store.onggi(["rmi", "-f", "bad"]).run().code(0);
                store.onggi(["images"]).run().code(0).stderr("");
            }
        }
    }
}

#[test]
fn the_names_of_images() {
    for store in everyone_in_memory() {
        create(&store, "good");
        damage(&store.data().join("images/tags.json"), Some(b"{"));
        for words in [
            &["images", "-q"][..],
            &["ps", "-a"],
            &["info"],
            &["start", "-a", "good"],
        ] {
            store.onggi(words).run().code(0);
        }
        let listed = store.onggi(["images", "-q"]).run();
        listed.code(0).stderr_has("tags.json");
        // By its id, everything can still be done with it.
        let id = listed.stdout_text().trim().to_owned();
        store.onggi(["run", "--rm", &id, "true"]).run().code(0);
        // What would go by the names stays.
        let prune = store.onggi(["image", "prune", "-af"]).run();
        prune.code(1).stderr_has("tags.json");
        store.onggi(["images", "-q"]).run().stdout_has(&id);
    }
}

#[test]
fn a_layer() {
    for store in everyone_in_memory() {
        let tar = store.file("empty.tar", vec![0; 10240]);
        store
            .onggi(["import", tar.to_str().unwrap(), "bad"])
            .run()
            .code(0);
        let alpine = store
            .onggi(["inspect", "-f", "{{index .RootFS.Layers 0}}", "bad"])
            .run();
        let key = alpine.code(0).stdout_text();
        let layer = store
            .data()
            .join("layers")
            .join(key.trim().strip_prefix("sha256:").unwrap());
        create(&store, "good");
        store
            .onggi(["create", "--name", "lost", "bad", "/bin/true"])
            .run()
            .code(0);
        for file in ["tree", "journal", "layer.json"] {
            let path = layer.join(file);
            let aside = store.path().join("aside");
            std::fs::rename(&path, &aside).unwrap();
            for words in [
                &["images"][..],
                &["ps", "-a"],
                &["info"],
                &["image", "prune", "-f"],
                &["start", "-a", "good"],
                &["inspect", "lost"],
            ] {
                store.onggi(words).run().code(0);
            }
            store.shell(&[], "true").run().code(0);
            // Taking the image in again heals it.
            store
                .onggi(["import", tar.to_str().unwrap(), "bad"])
                .run()
                .code(0);
            assert!(path.exists(), "{file} as {:?}", store.user);
            let _ = std::fs::remove_dir_all(&aside);
            let _ = std::fs::remove_file(&aside);
        }
        std::fs::remove_dir_all(&layer).unwrap();
        let start = store.onggi(["start", "lost"]).run();
        start.code(1).stderr_has(layer.to_str().unwrap());
        store.onggi(["rm", "lost"]).run().code(0);
        store.onggi(["rmi", "bad"]).run().code(0);
    }
}

#[test]
fn the_log_of_a_container() {
    for store in everyone_in_memory() {
        for content in DAMAGE {
            store
                .onggi(["run", "--name", "bad", ALPINE, "echo", "one"])
                .run()
                .code(0);
            let path = store.onggi(["inspect", "-f", "{{.LogPath}}", "bad"]).run();
            let path = PathBuf::from(path.code(0).stdout_text().trim());
            assert!(path.starts_with(store.data()), "{path:?}");
            damage(&path, content);
            for words in [&["ps", "-a"][..], &["info"], &["inspect", "bad"]] {
                store.onggi(words).run().code(0).stderr("");
            }
            store
                .onggi(["start", "-a", "bad"])
                .run()
                .code(0)
                .stdout("one\n");
            store.onggi(["logs", "bad"]).run().stdout_has("one");
            store.onggi(["rm", "bad"]).run().code(0);
            crate::check::assert_clean(&store);
        }
    }
}

#[test]
fn a_prune_that_cannot_remove_says_so() {
    for store in everyone_in_memory() {
        let staging = store.data().join("staging");
        std::fs::remove_dir(&staging).unwrap();
        std::fs::write(&staging, b"").unwrap();
        let prune = store.onggi(["image", "prune", "-af"]).run();
        prune.code(1).stderr_has("remove image").stdout_has("Total");
        let prune = store.onggi(["system", "prune", "-af"]).run();
        prune.code(1).stderr_has("remove image").stdout_has("Total");
        std::fs::remove_file(&staging).unwrap();
    }
}

#[test]
fn a_layer_that_lacks_files_comes_again_with_its_image() {
    for store in everyone_in_memory() {
        let key = store.ok(["inspect", "-f", "{{index .RootFS.Layers 0}}", ALPINE]);
        let key = key.trim().strip_prefix("sha256:").unwrap();
        let tree = store.data().join("layers").join(key).join("tree");
        create(&store, "needs-it");
        std::fs::remove_dir_all(tree.join("bin")).unwrap();
        // A container needs the image, so that it is for the user to mend it.
        let repair = store.onggi(["system", "check", "--repair"]).run();
        repair
            .code(1)
            .stdout_has("missing-layer: ")
            .stdout_has("`onggi load`");
        assert!(store.alpine());
        crate::check::assert_clean(&store);
        store.onggi(["start", "-a", "needs-it"]).run().code(0);
    }
}

#[test]
fn what_a_killed_maker_has_staged() {
    for store in everyone_in_memory() {
        let dead = |bytes: usize| {
            let path = store.data().join("staging").join("dead");
            std::fs::create_dir(&path).unwrap();
            std::fs::write(path.join("file"), vec![1; bytes]).unwrap();
            for path in [&path.join("file"), &path] {
                let (uid, gid) = (store.account.uid, store.account.gid);
                std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
            }
            path
        };
        let path = dead(1_000_000);
        let live = store.data().join("staging").join("live");
        std::fs::create_dir(&live).unwrap();
        let maker = std::fs::File::open(&live).unwrap();
        maker.lock().unwrap();
        let df = [
            "system",
            "df",
            "--format",
            "{{.Type}} {{.TotalCount}} {{.Active}} {{.Reclaimable}}",
        ];
        let df = store.onggi(df).run();
        df.code(0)
            .stdout_has("Staging 2 1 1.00")
            .stdout_lacks("Staging 2 1 0B");
        for words in [
            &["image", "prune", "-f"][..],
            &["container", "prune", "-f"],
            &["system", "prune", "-f"],
        ] {
            if !path.exists() {
                dead(1_000_000);
            }
            let prune = store.onggi(words).run();
            prune.code(0).stdout("Total reclaimed space: 1MB\n");
            assert!(!path.exists() && live.exists(), "{words:?}");
        }
        for words in [
            &["create", "--name", "new", ALPINE, "true"][..],
            &["start", "-a", "new"],
            &["rm", "new"],
        ] {
            dead(1);
            store.onggi(words).run().code(0);
            assert!(!path.exists() && live.exists(), "{words:?}");
        }
        drop(maker);
        std::fs::remove_dir(&live).unwrap();
    }
}
