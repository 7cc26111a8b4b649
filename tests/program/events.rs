//! events: what is announced, how it is filtered and shown, and that a reader follows.

use crate::support::{ALPINE, Store, everyone, everyone_with_alpine};
use std::io::{BufRead, BufReader};

/// The events so far, by this template.
fn past(store: &Store, arguments: &[&str], template: &str) -> Vec<String> {
    let command = [
        "events", "--since", "0", "--until", "0s", "--format", template,
    ];
    let outcome = store.onggi(command.iter().chain(arguments)).run();
    let text = outcome.code(0).stdout_text();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_happens_to_images_and_containers_is_told_in_order() {
    for store in everyone_with_alpine() {
        let run = |words: &[&str]| {
            let outcome = store.onggi(words).run();
            outcome.code(0).stdout_text().trim().to_owned()
        };
        let image = run(&["images", "-q", "--no-trunc"]);
        let id = run(&["create", "--name", "web", "--label", "a=b", ALPINE, "true"]);
        run(&["tag", ALPINE, "other:1"]);
        run(&["rm", "web"]);
        run(&["rmi", "other:1"]);
        run(&["image", "prune", "-f"]);
        let template = "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}";
        assert_eq!(
            past(&store, &[], template),
            [
                format!("image import {image} {image}"),
                format!("container create {id} web"),
                format!("image tag {image} other:1"),
                format!("container destroy {id} web"),
                format!("image untag {image} {image}"),
                "image prune  <no value>".to_owned(),
            ]
        );
        let count = |filter: &[&str]| past(&store, filter, "x").len();
        for (filter, expected) in [
            (&["-f", "type=container"][..], 2),
            (&["-f", "container=web"], 2),
            (&["-f", &format!("container={}", &id[..8])], 2),
            (&["-f", "label=a=b"], 2),
            (&["-f", "label=a=c"], 0),
            (&["-f", "event=create", "-f", "event=destroy"], 2),
            (&["-f", "event=tag", "-f", "type=container"], 0),
            (&["-f", &format!("image={ALPINE}")], 2),
        ] {
            assert_eq!(count(filter), expected, "{filter:?}");
        }
        let json = past(&store, &["-f", "event=create"], "json");
        let event: serde_json::Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(event["Actor"]["Attributes"]["a"], "b");
        assert_eq!(
            (&event["from"], &event["status"]),
            (&ALPINE.into(), &"create".into())
        );
        // Each in its place of time: what is later than the first is everything but the first.
        let nanoseconds: Vec<i128> = past(&store, &[], "{{.TimeNano}}")
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert!(nanoseconds.is_sorted());
        let next = nanoseconds[0] + 1;
        let since = format!("{}.{:09}", next / 1_000_000_000, next % 1_000_000_000);
        let later = ["system", "events", "--since", &since, "--until", "0s"];
        let later = store.onggi(later).run();
        assert_eq!(later.code(0).stdout_text().lines().count(), 5);
        later.stdout_has(&format!(
            "container create {id} (a=b, image={ALPINE}, name=web)\n"
        ));
    }
}

#[test]
fn a_reader_follows_and_ends_with_whom_it_writes_to() {
    for store in everyone_with_alpine() {
        let follow = ["events", "--since", "0", "-f", "type=container"];
        let mut reader = store
            .onggi(follow)
            .args(["--format", "{{.Action}}"])
            .spawn();
        let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
        // Once it has told of one, whatever comes is news to it.
        for name in ["early", "late"] {
            store
                .onggi(["create", "--name", name, ALPINE, "true"])
                .run()
                .code(0);
            assert_eq!(lines.next().unwrap().unwrap(), "create");
            store.onggi(["rm", name]).run().code(0);
            assert_eq!(lines.next().unwrap().unwrap(), "destroy");
        }
        drop(lines);
        assert_eq!(reader.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn what_cannot_be_understood_is_refused() {
    for store in everyone() {
        let refused = |arguments: &[&str], code: i32, text: &str| {
            let outcome = store.onggi(["events"].iter().chain(arguments)).run();
            outcome.code(code).stdout("").stderr_has(text);
        };
        refused(&["--format", "{{.Nothing}}"], 64, "Error parsing format: ");
        refused(&["--format", "{{"], 64, "Error parsing format: ");
        refused(&["-f", "x=y"], 1, "invalid filter 'x'");
        refused(
            &["-f", "x"],
            125,
            "bad format of filter (expected name=value)",
        );
        let time = "failed to parse value as time or duration: \"yesterday\"";
        refused(&["--since", "yesterday"], 1, time);
        refused(
            &["--since", "1m", "--until", "2m"],
            1,
            "is after until time (2m)",
        );
        store
            .onggi(["events", "--until", "1ms"])
            .run()
            .code(0)
            .stdout("");
    }
}

#[test]
fn what_happens_to_a_renamed_one_has_its_new_name() {
    for store in everyone_with_alpine() {
        store.detached("old", &[], "touch /ready; sleep 1000");
        store.ok(["rename", "old", "new"]);
        store.ok(["kill", "new"]);
        store.ok(["wait", "new"]);
        let template = "{{.Action}} {{.Actor.Attributes.name}}";
        let found = past(
            &store,
            &["-f", "event=start", "-f", "event=kill", "-f", "event=die"],
            template,
        );
        assert_eq!(found, ["start old", "kill new", "die new"]);
    }
}
