//! commit: what a container has changed becomes an image.

use crate::support::{ALPINE, Store, User, everyone_with_alpine};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::io::Write;

/// Runs a script in a container that stays, as `web`.
fn changed_by(store: &Store, script: &str) {
    store
        .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
        .run()
        .code(0);
}

/// Commits `web`; gives the id.
fn commit(store: &Store, arguments: &[&str]) -> String {
    let outcome = store.onggi(["commit"].iter().chain(arguments)).run();
    let id = outcome.code(0).stderr("").stdout_text().trim().to_owned();
    let hex = id.strip_prefix("sha256:").unwrap_or_default();
    assert!(
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    id
}

fn inspect(store: &Store, image: &str) -> serde_json::Value {
    store
        .onggi(["image", "inspect", image])
        .run()
        .code(0)
        .json()[0]
        .clone()
}

#[test]
fn the_files_are_those_of_the_container() {
    for store in everyone_with_alpine() {
        let script = "echo hi >/made; ln /made /name; ln -s made /link; mkfifo /pipe; rm /etc/motd; \
                      rm -r /media; mkdir /media; touch /media/new; chmod 4711 /made; chown 33:44 /media; \
                      echo x >>/etc/shadow; truncate -s 32M /holes; stat -c %y /made";
        let outcome = store
            .onggi(["run", "--name", "web", ALPINE, "sh", "-c", script])
            .run();
        let time = outcome.code(0).stdout_text();
        commit(&store, &["web", "made:1"]);
        store.onggi(["rm", "web"]).run().code(0);
        let look = "cat /name; readlink /link; stat -c '%a %h %y' /made; stat -c %F /pipe; ls /media; \
                    ls /etc/motd 2>/dev/null; stat -c %u:%g /media /etc/shadow; stat -c '%s %b' /holes";
        let owners = match store.user {
            // The image knows the owners; a container with a single id cannot show them.
            User::Single => "0:0\n0:0",
            _ => "33:44\n0:42",
        };
        let expected = format!("hi\nmade\n4711 2 {time}fifo\nnew\n{owners}\n33554432 0\n");
        store
            .onggi(["run", "--rm", "made:1", "sh", "-c", look])
            .run()
            .code(0)
            .stdout(&expected);
        store
            .onggi([
                "run",
                "--rm",
                ALPINE,
                "sh",
                "-c",
                "test ! -e /made && test -e /etc/motd",
            ])
            .run()
            .code(0);
    }
}

#[test]
fn owners_of_the_image_come_back_with_a_single_id() {
    for store in everyone_with_alpine() {
        changed_by(&store, "echo x >>/etc/shadow; echo x >/etc/new");
        commit(&store, &["web", "made:1"]);
        store
            .onggi(["save", "-o", "made.tar", "made:1"])
            .run()
            .code(0);
        let mut archive =
            tar::Archive::new(std::fs::File::open(store.home().join("made.tar")).unwrap());
        let layers = archive.entries().unwrap().filter_map(|entry| {
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry.unwrap(), &mut content).unwrap();
            (content.len() > 1024).then_some(content)
        });
        let mut owners = Vec::new();
        for layer in layers {
            let mut layer = tar::Archive::new(&layer[..]);
            let Ok(entries) = layer.entries() else {
                continue;
            };
            let mut found = Vec::new();
            for entry in entries.map_while(Result::ok) {
                let header = entry.header();
                found.push((
                    entry.path().unwrap().display().to_string(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                ));
            }
            if found.len() == 3 {
                owners = found;
            }
        }
        let expected = [("etc/", 0, 0), ("etc/new", 0, 0), ("etc/shadow", 0, 42)];
        assert_eq!(
            owners,
            expected.map(|(name, uid, gid)| (name.to_owned(), uid, gid)),
            "as {:?}",
            store.user
        );
    }
}

#[test]
fn the_configuration_is_the_containers_and_then_what_was_asked_for() {
    for store in everyone_with_alpine() {
        let options = [
            "create",
            "--name",
            "web",
            "-e",
            "A=1",
            "-w",
            "/srv",
            "-u",
            "0:0",
            "-l",
            "a=b",
            "--expose",
            "443",
            "-v",
            "/kept",
            "-v",
            "named:/named",
        ];
        store
            .onggi(options.iter().chain(&[ALPINE, "echo", "hi"]))
            .run()
            .code(0);
        commit(
            &store,
            &[
                "-a",
                "Jane <j@example.org>",
                "-m",
                "what was done",
                "web",
                "plain",
            ],
        );
        let image = inspect(&store, "plain");
        let config = &image["Config"];
        assert_eq!(config["Cmd"], json!(["echo", "hi"]));
        assert_eq!(
            (&config["WorkingDir"], &config["User"]),
            (&"/srv".into(), &"0:0".into())
        );
        assert_eq!(config["Labels"], json!({"a": "b"}));
        assert!(config["Env"].as_array().unwrap().contains(&"A=1".into()));
        assert_eq!(
            (&image["Author"], &image["Comment"]),
            (&"Jane <j@example.org>".into(), &"what was done".into())
        );
        let changes = [
            "CMD [\"cat\", \"/etc/alpine-release\"]",
            "ENV B=\"2 3\"",
            "EXPOSE 80 81/udp",
            "LABEL c=d",
            "USER 33",
            "VOLUME /data",
            "WORKDIR sub",
            "ONBUILD RUN x",
            "STOPSIGNAL SIGINT",
            "ENTRYPOINT [\"/usr/bin/env\"]",
        ];
        let mut arguments: Vec<&str> = changes
            .iter()
            .flat_map(|change| ["--change", change])
            .collect();
        arguments.extend(["web", "changed:2"]);
        commit(&store, &arguments);
        let config = inspect(&store, "changed:2")["Config"].clone();
        assert_eq!(config["Cmd"], json!(["cat", "/etc/alpine-release"]));
        assert_eq!(config["Entrypoint"], json!(["/usr/bin/env"]));
        assert_eq!(
            config["ExposedPorts"],
            json!({"443/tcp": {}, "80/tcp": {}, "81/udp": {}})
        );
        assert_eq!(config["Labels"], json!({"a": "b", "c": "d"}));
        assert_eq!(
            (&config["User"], &config["WorkingDir"]),
            (&"33".into(), &"/srv/sub".into())
        );
        assert_eq!(
            (&config["Volumes"], &config["OnBuild"]),
            (&json!({"/data": {}, "/kept": {}}), &json!(["RUN x"]))
        );
        assert_eq!(config["StopSignal"], "SIGINT");
        assert!(config["Env"].as_array().unwrap().contains(&"B=2 3".into()));
    }
}

#[test]
fn history_has_one_step_more() {
    for store in everyone_with_alpine() {
        changed_by(&store, "echo 12345678 >/made");
        let id = commit(&store, &["-m", "one file", "web"]);
        let format = "{{.CreatedBy}}|{{.Comment}}|{{.Size}}";
        let outcome = store
            .onggi(["history", "--no-trunc", "--format", format, &id])
            .run();
        let first = outcome
            .code(0)
            .stdout_text()
            .lines()
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(first, "sh -c echo 12345678 >/made|one file|9B");
        let layers = |image: &str| {
            inspect(&store, image)["RootFS"]["Layers"]
                .as_array()
                .unwrap()
                .len()
        };
        assert_eq!((layers(ALPINE), layers(&id)), (1, 2));
        // Nothing changed: the step is there, and no layer.
        store
            .onggi(["create", "--name", "same", ALPINE, "true"])
            .run()
            .code(0);
        let id = commit(&store, &["same"]);
        assert_eq!(layers(&id), 1);
        let outcome = store.onggi(["history", "-q", &id]).run();
        assert_eq!(outcome.code(0).stdout_text().lines().count(), 2);
    }
}

#[test]
fn on_an_image_that_was_committed() {
    for store in everyone_with_alpine() {
        changed_by(&store, "echo 1 >/a; echo 1 >/b; rm /etc/motd");
        commit(&store, &["web", "one"]);
        let script = "rm /a; echo 2 >/b; echo 2 >/etc/motd";
        store
            .onggi(["run", "--name", "two", "one", "sh", "-c", script])
            .run()
            .code(0);
        store
            .onggi(["diff", "two"])
            .run()
            .code(0)
            .stdout("D /a\nC /b\nC /etc\nA /etc/motd\n");
        commit(&store, &["two", "two"]);
        let look = "ls /a 2>/dev/null; cat /b /etc/motd";
        store
            .onggi(["run", "--rm", "two", "sh", "-c", look])
            .run()
            .code(0)
            .stdout("2\n2\n");
    }
}

#[test]
fn of_a_container_that_runs_and_goes_on() {
    for store in everyone_with_alpine() {
        let script = "echo ready; while read line; do echo $line >>/lines; echo got $line; done";
        let mut client = store
            .onggi(["run", "-i", "--name", "web", ALPINE, "sh", "-c", script])
            .spawn();
        super::life_cycle::wait_until_ready(&mut client);
        let mut input = client.stdin.take().unwrap();
        for (number, flags) in [&[][..], &["--no-pause"], &["--pause=false"], &["-p"]]
            .iter()
            .enumerate()
        {
            writeln!(input, "{number}").unwrap();
            let output = client.stdout.as_mut().unwrap();
            let mut said = vec![0; format!("got {number}\n").len()];
            std::io::Read::read_exact(output, &mut said).unwrap();
            let name = format!("lines:{number}");
            commit(&store, &[flags, &["web", name.as_str()][..]].concat());
            let expected: String = (0..=number).map(|line| format!("{line}\n")).collect();
            store
                .onggi(["run", "--rm", &name, "cat", "/lines"])
                .run()
                .code(0)
                .stdout(&expected);
            store
                .onggi(["inspect", "-f", "{{.State.Status}}", "web"])
                .run()
                .code(0)
                .stdout("running\n");
        }
        drop(input);
        assert_eq!(client.wait().unwrap().code(), Some(0));
    }
}

/// Waits until the container is in that state.
fn await_status(store: &Store, wanted: &str) {
    for _ in 0..2000 {
        let status = ["inspect", "-f", "{{.State.Status}}", "web"];
        if store.onggi(status).run().code(0).stdout_text().trim() == wanted {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("it is never {wanted}");
}

#[test]
fn a_client_that_is_killed_lets_the_container_go_on() {
    for store in everyone_with_alpine() {
        let script = "dd if=/dev/urandom of=/big bs=1M count=200; sleep 1000";
        let run = ["run", "-d", "--name", "web", ALPINE, "sh", "-c", script];
        store.onggi(run).run().code(0);
        let mut size = String::new();
        while !size.starts_with("209715200") {
            let exec = ["exec", "web", "sh", "-c", "stat -c %s /big || true"];
            size = store.onggi(exec).run().code(0).stdout_text();
        }
        // It goes on for moments only between looks, so that none of them comes too late, however long one takes.
        let mut client = store.onggi(["commit", "web", "big"]).spawn();
        let process = Pid::from_child(&client);
        let is_paused = || {
            kill_process(process, Signal::STOP).unwrap();
            let status = ["inspect", "-f", "{{.State.Status}}", "web"];
            store.onggi(status).run().code(0).stdout_text().trim() == "paused"
        };
        while !is_paused() {
            assert!(client.try_wait().unwrap().is_none(), "it is never paused");
            kill_process(process, Signal::CONT).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        client.kill().unwrap();
        client.wait().unwrap();
        await_status(&store, "running");
        store.onggi(["rm", "-f", "web"]).run().code(0);
    }
}

#[test]
fn what_fails_leaves_nothing() {
    for store in everyone_with_alpine() {
        changed_by(&store, "echo x >/made");
        let before = store.snapshot();
        for (arguments, message) in [
            (&["nobody"][..], "No such container: nobody"),
            (&["-c", "RUN x", "web"], "run is not a valid change command"),
            (&["-c", "ENV", "web"], "ENV requires at least one argument"),
            (&["web", "UPPER:1"], "invalid reference format"),
            (
                &["web", &format!("x@sha256:{}", "a".repeat(64))],
                "digest reference",
            ),
        ] {
            let outcome = store.onggi(["commit"].iter().chain(arguments)).run();
            outcome
                .expect(!outcome.stderr_text().is_empty(), "a message")
                .stdout("");
            assert!(
                outcome
                    .stderr_text()
                    .to_lowercase()
                    .contains(&message.to_lowercase()),
                "{arguments:?}: {}",
                outcome.stderr_text()
            );
            store.assert_unchanged(&before);
        }
    }
}

#[test]
fn a_name_goes_over() {
    for store in everyone_with_alpine() {
        changed_by(&store, "echo x >/made");
        let first = commit(&store, &["web", "made"]);
        let outcome = store
            .onggi(["container", "commit", "-m", "again", "web", "made"])
            .run();
        outcome
            .code(0)
            .stdout_has(&format!("renaming the old one with ID {first}"));
        let outcome = store.onggi(["images", "-q", "--no-trunc", "made"]).run();
        assert!(!outcome.code(0).stdout_text().contains(&first));
    }
}

#[test]
fn a_hostile_tree_is_only_a_tree() {
    for store in everyone_with_alpine() {
        // Names that mean something to layers, links out of the root in place of directories.
        let script = "ln -s ../../../../../../etc /up; rm -r /media; ln -s /../../etc /media; \
                      touch /.wh.etc '/.wh..wh..opq'; mkdir -p /d; touch '/d/.wh..wh..opq'";
        changed_by(&store, script);
        let outcome = store.onggi(["commit", "web", "hostile"]).run();
        // A file that would be read as a whiteout cannot be in a layer (OCI image-spec, layer.md).
        outcome.code(1).stderr_has(".wh.");
        store
            .onggi(["run", "--rm", ALPINE, "test", "-e", "/etc/motd"])
            .run()
            .code(0);
    }
}
