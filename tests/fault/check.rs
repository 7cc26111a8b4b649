//! `system check`: each inconsistency is found, nothing is changed by looking, and `--repair` mends what it says.

use crate::support::{ALPINE, Outcome, Store, everyone_in_memory};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Fails unless everything is consistent.
#[track_caller]
pub fn assert_clean(store: &Store) {
    let check = || store.onggi(["system", "check"]).run();
    let patience = Instant::now() + Duration::from_secs(5);
    let mut outcome = check();
    // Where there is much to do, a process that was killed takes a while to be gone; one that stays is an orphan.
    while !outcome.succeeded() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(50));
        outcome = check();
    }
    outcome
        .code(0)
        .stdout("The store is consistent\n")
        .stderr("");
}

/// The words of what is found.
#[track_caller]
fn kinds(outcome: &Outcome) -> Vec<String> {
    let findings = outcome.json()["Findings"].as_array().unwrap().clone();
    let mut kinds: Vec<String> = findings
        .iter()
        .map(|finding| finding["Kind"].as_str().unwrap().to_owned())
        .collect();
    kinds.sort();
    kinds
}

/// A store with an image, two containers and something wrong with it.
struct Wrong {
    /// What is done to it, after which exactly these kinds are found.
    make: fn(&Store, &Parts) -> &'static [&'static str],
    /// What `--repair` leaves for the user.
    left: &'static [&'static str],
    /// The image has to be taken in again afterwards.
    loses_image: bool,
}

struct Parts {
    /// The directory of a container that has ended.
    ended: PathBuf,
    image: PathBuf,
    layer: PathBuf,
}

/// Leaves what only the owner of a store can make.
fn own(store: &Store, path: &Path) {
    use std::os::unix::fs::lchown;
    let _ = lchown(path, Some(store.account.uid), Some(store.account.gid));
}

fn directory(store: &Store, path: PathBuf) -> PathBuf {
    std::fs::create_dir(&path).unwrap();
    own(store, &path);
    path
}

fn file(store: &Store, path: PathBuf, content: &[u8]) {
    std::fs::write(&path, content).unwrap();
    own(store, &path);
}

const WRONG: &[Wrong] = &[
    Wrong {
        make: |store, _| {
            let lost = directory(store, store.data().join("layers").join("0".repeat(64)));
            directory(store, lost.join("tree"));
            &["orphan-layer"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            let dead = directory(store, store.data().join("staging/dead"));
            file(store, dead.join("file"), b"x");
            &["dead-staging"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            file(
                store,
                store.data().join("images/tags.json.new-01234567"),
                b"{",
            );
            &["leftover-file"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, parts| {
            file(store, parts.ended.join("state.json.new-01234567"), b"{");
            &["leftover-temporary"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            let half = directory(store, store.data().join("containers").join("1".repeat(64)));
            directory(store, half.join("upper"));
            &["half-container"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, parts| {
            let id = parts.ended.file_name().unwrap();
            file(store, store.data().join("pending").join(id), b"");
            file(
                store,
                store.data().join("pending").join("2".repeat(64)),
                b"",
            );
            &["stale-mark", "stale-mark"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, parts| {
            let name = |name: &str| store.data().join("names").join(name);
            symlink("3".repeat(64), name("nobody")).unwrap();
            symlink(parts.ended.file_name().unwrap(), name("other")).unwrap();
            own(store, &name("nobody"));
            own(store, &name("other"));
            &["stale-name", "stale-name"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            std::fs::remove_file(store.data().join("names/ended")).unwrap();
            &["lost-name"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            std::fs::write(parts.ended.join("state.json"), b"").unwrap();
            &["damaged-state"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            std::fs::write(parts.ended.join("container.json"), b"").unwrap();
            &["damaged-container"]
        },
        left: &["damaged-container"],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            let path = parts.ended.join("state.json");
            let state = std::fs::read_to_string(&path).unwrap();
            let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
            state["finished"] = "".into();
            // Another process by now.
            state["monitor"]["start_time"] = 1.into();
            std::fs::write(&path, state.to_string()).unwrap();
            &["unsettled"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            let path = parts.ended.join("container.json");
            let record = std::fs::read_to_string(&path).unwrap();
            let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
            record["options"]["auto_remove"] = true.into();
            std::fs::write(&path, record.to_string()).unwrap();
            &["leftover-container"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            std::fs::remove_file(parts.image.join("image.json")).unwrap();
            &["damaged-image"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            std::fs::write(parts.image.join("config.json"), b"{}").unwrap();
            &["damaged-image"]
        },
        left: &["damaged-image"],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            std::fs::write(store.data().join("images/tags.json"), b"").unwrap();
            &["damaged-names"]
        },
        left: &[],
        loses_image: true,
    },
    Wrong {
        make: |store, _| {
            let path = store.data().join("images/tags.json");
            let names = std::fs::read_to_string(&path).unwrap();
            let mut names: serde_json::Value = serde_json::from_str(&names).unwrap();
            let lost =
                serde_json::json!({"image": format!("sha256:{}", "4".repeat(64)), "tagged": ""});
            names["references"]["docker.io/library/lost:latest"] = lost;
            std::fs::write(&path, names.to_string()).unwrap();
            &["dangling-name"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |_, parts| {
            std::fs::remove_file(parts.layer.join("tree/bin/busybox")).unwrap();
            &["missing-layer"]
        },
        left: &["missing-layer"],
        loses_image: false,
    },
    Wrong {
        make: |store, parts| {
            std::fs::rename(&parts.layer, store.path().join("aside")).unwrap();
            &["lost-layer", "lost-layer", "missing-layer"]
        },
        left: &["lost-layer", "lost-layer", "missing-layer"],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            std::fs::write(store.data().join("store.json"), b"").unwrap();
            &["damaged-store"]
        },
        left: &[],
        loses_image: false,
    },
    Wrong {
        make: |store, _| {
            std::fs::remove_dir(store.data().join("pending")).unwrap();
            &["missing-directory"]
        },
        left: &[],
        loses_image: false,
    },
];

fn parts(store: &Store) -> Parts {
    store
        .onggi(["create", "--name", "made", ALPINE, "true"])
        .run()
        .code(0);
    store
        .onggi(["run", "--name", "ended", ALPINE, "true"])
        .run()
        .code(0);
    let told = store
        .onggi(["inspect", "-f", "{{.Id}} {{.Image}}", "ended"])
        .run()
        .stdout_text();
    let (id, image) = told.trim().split_once(" sha256:").unwrap();
    let key = store
        .onggi(["inspect", "-f", "{{index .RootFS.Layers 0}}", ALPINE])
        .run()
        .stdout_text();
    let key = key.trim().strip_prefix("sha256:").unwrap();
    Parts {
        ended: store.data().join("containers").join(id),
        image: store.data().join("images").join(image),
        layer: store.data().join("layers").join(key),
    }
}

#[test]
fn each_inconsistency_is_found_and_mended() {
    for store in everyone_in_memory() {
        for wrong in WRONG {
            let parts = parts(&store);
            assert_clean(&store);
            let expected = (wrong.make)(&store, &parts);
            let before = store.snapshot();
            let outcome = store.onggi(["system", "check", "--json"]).run();
            assert_eq!(kinds(&outcome), expected);
            outcome.code(1);
            store.assert_unchanged(&before);
            let told = store.onggi(["system", "check"]).run();
            told.code(1);
            assert_eq!(told.stdout_text().lines().count(), expected.len() + 1);
            for kind in expected {
                told.stdout_has(&format!("{kind}: "));
            }
            // What can be mended is, and everything that does not need the rest works.
            let code = i32::from(!wrong.left.is_empty());
            let repaired = store.onggi(["system", "check", "--repair", "--json"]).run();
            repaired.code(code);
            let outcome = store.onggi(["system", "check", "--json"]).run();
            outcome.code(code);
            assert_eq!(kinds(&outcome), wrong.left);
            for words in [
                &["ps", "-a"][..],
                &["images"],
                &["info"],
                &["run", "--rm", "hello"],
            ] {
                store.onggi(words).run().code(0);
            }
            store.onggi(["rm", "-f", "made", "ended"]).run();
            if code != 0 {
                // What only the user can mend: the image comes again.
                store.onggi(["rmi", "-f", ALPINE]).run();
                assert!(store.alpine());
            } else if wrong.loses_image {
                store.onggi(["image", "prune", "-af"]).run().code(0);
                assert!(store.alpine());
            }
            store.onggi(["system", "check"]).run().code(0);
        }
    }
}

#[test]
fn a_layer_of_other_bytes_is_found_by_a_deep_look() {
    for store in everyone_in_memory() {
        let parts = parts(&store);
        let path = parts.layer.join("tree/etc/alpine-release");
        std::fs::write(&path, b"3.20.4\n").unwrap();
        assert_clean(&store);
        let outcome = store.onggi(["system", "check", "--deep", "--json"]).run();
        outcome.code(1);
        assert_eq!(kinds(&outcome), ["missing-layer"]);
        // Where no container needs the image it goes, and can be taken in again.
        store.onggi(["rm", "made", "ended"]).run().code(0);
        store
            .onggi(["system", "check", "--deep", "--repair"])
            .run()
            .code(0)
            .stdout_has("mended");
        store.onggi(["images", "-q"]).run().code(0).stdout("");
        assert!(store.alpine());
        store
            .shell(&[], "cat /etc/alpine-release")
            .run()
            .stdout("3.20.3\n");
    }
}

#[test]
fn what_is_at_work_is_no_finding() {
    for store in everyone_in_memory() {
        store
            .onggi(["run", "-d", "--name", "up", ALPINE, "sleep", "1000"])
            .run()
            .code(0);
        assert_clean(&store);
        store.onggi(["rm", "-f", "up"]).run().code(0);
        assert_clean(&store);
    }
}

#[test]
fn a_program_without_its_monitor_is_ended() {
    for store in everyone_in_memory() {
        for options in [&["--name", "left"][..], &["--name", "left", "--rm"]] {
            let words = ["run", "-d"].iter().chain(options);
            store
                .onggi(words.chain(&[ALPINE, "sleep", "1000"]))
                .run()
                .code(0);
            let pid = store
                .onggi(["inspect", "-f", "{{.State.Pid}}", "left"])
                .run();
            let program: u32 = pid.code(0).stdout_text().trim().parse().unwrap();
            let status = std::fs::read_to_string(format!("/proc/{program}/status")).unwrap();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
            crate::kill(parent.unwrap().parse().unwrap());
            store.onggi(["system", "check", "--repair"]).run().code(0);
            assert_clean(&store);
            store.assert_no_process_is_left();
            store.onggi(["rm", "-f", "left"]).run().code(0);
            assert_clean(&store);
        }
    }
}

/// A monitor that is killed, or cut off with the machine, between its socket and the first state of the run.
#[test]
fn the_socket_of_a_run_without_a_state_goes_with_the_next_command() {
    for store in everyone_in_memory() {
        for options in [&[][..], &["--rm"]] {
            let words = ["create"].iter().chain(options);
            let made = store.onggi(words.chain(&[ALPINE, "true"])).run();
            let id = made.code(0).stdout_text().trim().to_owned();
            let socket = store.data().join("containers").join(&id).join("attach");
            // A path longer than an address of a socket can be.
            let (of, mode) = (rustix::fs::FileType::Socket, 0o600.into());
            rustix::fs::mknodat(rustix::fs::CWD, &socket, of, mode, 0).unwrap();
            own(&store, &socket);
            file(&store, store.data().join("pending").join(&id), b"");
            store.onggi(["run", "--rm", ALPINE, "true"]).run().code(0);
            assert!(!socket.exists());
            assert_clean(&store);
            store.onggi(["rm", &id]).run().code(0);
        }
    }
}
