//! Containers of which something is missing: the record, or all that a maker who was killed did not come to.

use crate::scene::{Scene, scenes};
use crate::support::User;
use crate::support::life::until;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Does it to a file.
type Damage = (&'static str, fn(&Path));

/// What may become of a record.
const DAMAGES: [Damage; 5] = [
    ("empty", |path| fs::write(path, "").unwrap()),
    ("cut off", |path| {
        let text = fs::read(path).unwrap();
        fs::write(path, &text[..text.len() / 2]).unwrap();
    }),
    ("of another kind", |path| {
        fs::write(path, "{\"version\":1}").unwrap()
    }),
    ("a directory", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("missing", |path| fs::remove_file(path).unwrap()),
];

fn record(scene: &Scene, id: &str) -> std::path::PathBuf {
    scene.state().join(id).join("state.json")
}

/// One that is told of by nobody is no reason to leave its processes behind.
#[test]
fn one_whose_record_is_damaged_is_removed_by_force() {
    for scene in scenes() {
        let told = scene.store.file("told", "");
        let hook = format!("cat >> {}", told.display());
        scene.change(|config| {
            config["process"]["args"] = json!(["sleep", "1000"]);
            config["hooks"]["poststop"] =
                json!([{ "path": "/bin/sh", "args": ["sh", "-c", hook] }]);
        });
        scene.make(&["create", "other"]).code(0);
        let before = scene.store.processes();
        for (name, damage) in DAMAGES {
            for verb in [&["create"][..], &["run", "--detach"]] {
                fs::write(&told, "").unwrap();
                scene.make(&[verb, &["web"]].concat()).code(0);
                damage(&record(&scene, "web"));
                for words in [&["state", "web"][..], &["ps", "web"], &["delete", "web"]] {
                    let refused = scene.call(words).run();
                    refused.code(1);
                    if name != "a directory" {
                        refused.stderr_has("`delete --force web` removes it");
                    }
                }
                scene
                    .make(&["create", "web"])
                    .code(1)
                    .stderr_has("already exists");
                let listed = scene.run(["list", "--quiet"]);
                listed.code(0).stdout("other\n").stderr_has("web");
                scene.run(["list"]).code(0).stdout_has("other");
                assert_eq!(scene.status("other"), "created");
                scene.run(["delete", "--force", "web"]).code(0).stderr("");
                assert!(!scene.state().join("web").exists(), "{name}");
                // Its end is told as always.
                let told: serde_json::Value =
                    serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
                assert_eq!(told["bundle"], scene.bundle().to_str().unwrap(), "{name}");
                let left = || scene.store.processes();
                until("only the other one is left", || {
                    left().len() == before.len()
                });
            }
        }
        scene.run(["delete", "other"]).code(0);
        scene.assert_empty();
    }
}

#[test]
fn one_that_has_ended_goes_with_a_damaged_record() {
    for scene in scenes() {
        scene.program(&["true"]);
        for (name, damage) in DAMAGES {
            scene.make(&["run", "--keep", "web"]).code(0);
            damage(&record(&scene, "web"));
            let without = scene.run(["delete", "web"]);
            // Without a process nothing tells it from one whose maker was killed.
            without.code(if name == "missing" { 0 } else { 1 });
            scene.run(["delete", "--force", "web"]).code(0).stderr("");
            scene.assert_empty();
        }
    }
}

/// Makes what a maker leaves that is killed while that kind of hook runs.
fn kill_maker(scene: &Scene, kind: &str) {
    let begun = scene.store.file("begun", "");
    // Nobody else is to wait for the file.
    let script = format!("echo >> {}; exec sleep 1000", begun.display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    scene.change(|config| config["hooks"] = json!({ kind: hook }));
    let bundle = scene.bundle();
    let create = scene.call(["create".as_ref(), "--bundle".as_ref(), bundle.as_os_str()]);
    let mut command = create.args(["web"]).into_command();
    let none = std::process::Stdio::null;
    command.stdin(none()).stdout(none()).stderr(none());
    let mut maker = command.spawn().unwrap();
    until("the hook runs", || !fs::read(&begun).unwrap().is_empty());
    let children = format!("/proc/{0}/task/{0}/children", maker.id());
    let children = fs::read_to_string(children).unwrap();
    maker.kill().unwrap();
    maker.wait().unwrap();
    if kind != "createContainer" {
        // It belongs to nobody any more, and would go on.
        for pid in children.split_whitespace() {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if ["sh\n", "sleep\n"].contains(&&*name) {
                let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            }
        }
    }
    scene.store.assert_no_process_is_left();
    scene.change(|config| config["hooks"] = json!({}));
}

#[test]
fn what_a_killed_maker_leaves_is_in_nobodys_way() {
    for scene in scenes() {
        scene.program(&["echo", "here"]);
        let mut inherits = vec![false];
        if scene.store.user == User::Root {
            inherits.push(true);
        }
        for inherits in inherits {
            if inherits {
                scene.change(|config| {
                    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
                    list.retain(|one| {
                        !["mount", "cgroup"].contains(&one["type"].as_str().unwrap())
                    });
                });
            }
            for kind in ["prestart", "createRuntime", "createContainer"] {
                kill_maker(&scene, kind);
                scene
                    .run(["state", "web"])
                    .code(1)
                    .stderr_has("container `web` does not exist");
                scene.run(["list", "--quiet"]).code(0).stdout("").stderr("");
                scene.run(["delete", "web"]).code(0).stderr("");
                scene.assert_empty();
                kill_maker(&scene, kind);
                scene.make(&["run", "web"]).code(0).stdout("here\n");
                scene.assert_empty();
                kill_maker(&scene, kind);
                scene.run(["delete", "--force", "web"]).code(0).stderr("");
                scene.assert_empty();
                assert!(!mounts().contains(scene.store.path().to_str().unwrap()));
            }
        }
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// Wherever it is killed.
#[test]
fn a_maker_may_be_killed_at_any_time() {
    for scene in scenes() {
        scene.program(&["true"]);
        let socket = scene.store.home().join("service");
        let _service = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
        let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap())];
        for step in 0..16 {
            let bundle = scene.bundle();
            let create = scene.call(["create".as_ref(), "--bundle".as_ref(), bundle.as_os_str()]);
            let mut command = create.args(["web"]).into_command();
            let none = std::process::Stdio::null;
            command.stdin(none()).stdout(none()).stderr(none());
            let mut maker = command.envs(variables).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(4 * step));
            maker.kill().unwrap();
            maker.wait().unwrap();
            // It may have been quicker.
            if !record(&scene, "web").exists() {
                scene.make_with(&variables, &["create", "web"]).code(0);
            }
            scene.run(["delete", "--force", "web"]).code(0).stderr("");
            scene.assert_empty();
        }
    }
}

/// None of them is to fail because another one was quicker.
#[test]
fn many_may_remove_it_at_once() {
    for scene in scenes() {
        scene.program(&["sleep", "1000"]);
        for round in 0..6 {
            match round {
                0 | 1 => scene.make(&["create", "web"]).code(0),
                2 => scene.make(&["create", "web"]).code(0),
                _ => scene.make(&["run", "--detach", "web"]).code(0),
            };
            if round == 2 {
                fs::write(record(&scene, "web"), "").unwrap();
            }
            let all: Vec<_> = (0..8)
                .map(|_| {
                    let mut command = scene.call(["delete", "--force", "web"]).into_command();
                    let piped = std::process::Stdio::piped;
                    command.stdout(piped()).stderr(piped()).spawn().unwrap()
                })
                .collect();
            for one in all {
                let ended = one.wait_with_output().unwrap();
                let outcome = crate::support::Outcome::of("delete --force web", ended);
                outcome.code(0).stderr("");
            }
            scene.assert_empty();
        }
    }
}

#[test]
fn one_of_two_takes_the_place_of_a_killed_maker() {
    for scene in scenes() {
        scene.program(&["true"]);
        for _ in 0..8 {
            fs::create_dir_all(scene.state().join("web")).unwrap();
            let (uid, gid) = (scene.store.account.uid, scene.store.account.gid);
            for path in [scene.state(), scene.state().join("web")] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
            let bundle = scene.bundle();
            let all: Vec<_> = (0..3)
                .map(|_| {
                    let create =
                        scene.call(["create".as_ref(), "--bundle".as_ref(), bundle.as_os_str()]);
                    let mut command = create.args(["web"]).into_command();
                    let none = std::process::Stdio::null;
                    command.stdin(none()).stdout(none()).stderr(none());
                    command.spawn().unwrap()
                })
                .collect();
            let made = all.into_iter().map(|mut one| one.wait().unwrap());
            assert_eq!(made.filter(std::process::ExitStatus::success).count(), 1);
            scene.run(["delete", "web"]).code(0);
            scene.assert_empty();
        }
    }
}
