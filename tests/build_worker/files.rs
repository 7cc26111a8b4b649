//! `WORKDIR`, `COPY` and what `COPY --from` means.

use super::Test;
use super::drive::{Script, command, give, members, on_alpine, order, shell};
use super::run::assert_nothing_is_left;
use super::support::everyone_with_alpine;
use super::support::life::until;
use onggi::build::copy::plan::{Part, Plan, Selector};
use onggi::build::worker::order::{Answer, Copy, Layers, Order, Select};
use std::io::Write;
use std::process::Stdio;

/// All of them.
pub const TESTS: &[Test] = &[
    (
        "directories_are_made_where_they_are_not",
        directories_are_made_where_they_are_not,
    ),
    (
        "files_of_layers_and_texts_are_copied",
        files_of_layers_and_texts_are_copied,
    ),
    ("a_copy_ends_with_its_build", a_copy_ends_with_its_build),
];

fn directory(path: &str, owner: &str) -> Order {
    Order::Directory {
        base: Layers::default(),
        path: path.to_owned(),
        owner: owner.to_owned(),
        epoch: 77,
    }
}

fn directories_are_made_where_they_are_not() {
    for store in everyone_with_alpine() {
        let orders = vec![
            directory("/a/b", "daemon"),
            directory("/a/b", ""),
            order(shell("ln -s /a /link")),
            directory("/link/c", "5:6"),
            directory("/etc/hostname/x", ""),
            directory("/x", "no-such-user"),
        ];
        let told = give(&store, &on_alpine(orders));
        let of = |index: usize| members(&store, told[index].layer());
        assert_eq!(of(0), ["a/ 755 2:2 77 0", "a/b/ 755 2:2 77 0"]);
        told[1].nothing();
        assert_eq!(of(3), ["a/ 755 2:2 77 0", "a/c/ 755 5:6 77 0"]);
        assert!(told[4].failure().contains("/etc/hostname"), "{:?}", told[4]);
        assert!(told[5].failure().contains("no-such-user"), "{:?}", told[5]);
    }
}

/// A builder that is killed while its worker writes a file which is long: 24 GB of nothing.
fn a_copy_ends_with_its_build() {
    for store in everyone_with_alpine() {
        let long = store.file("long", "");
        let grown = std::fs::File::options().write(true).open(&long);
        grown.unwrap().set_len(24 << 30).unwrap();
        let download = Part::Download {
            descriptor: 0,
            name: "long".to_owned(),
            modified: 0,
            unpack: false,
        };
        let script = Script {
            files: vec![long],
            ..on_alpine(vec![copy(download, "/long", false)])
        };
        let mut builder = command(&store)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let text = serde_json::to_vec(&script).unwrap();
        builder.stdin.take().unwrap().write_all(&text).unwrap();
        until("part of the layer is there", || {
            let mut used = store.command("du");
            let used = used.arg("-sm").arg(store.data().join("staging")).output();
            let used = String::from_utf8_lossy(&used.unwrap().stdout).into_owned();
            let megabytes = used.split_whitespace().next().map(str::parse::<u32>);
            megabytes.is_some_and(|megabytes| megabytes.is_ok_and(|megabytes| megabytes > 8))
        });
        builder.kill().unwrap();
        builder.wait().unwrap();
        assert_nothing_is_left(&store);
    }
}

fn copy(part: Part, destination: &str, linked: bool) -> Order {
    Order::Copy(Box::new(Copy {
        base: (!linked).then(Layers::default),
        epoch: 88,
        plan: Plan {
            parts: vec![part],
            destination: destination.to_owned(),
            ..Plan::default()
        },
    }))
}

fn of_image(source: &str) -> Selector {
    Selector {
        sources: vec![source.to_owned()],
        ..Selector::default()
    }
}

fn files_of_layers_and_texts_are_copied() {
    for store in everyone_with_alpine() {
        let layers = |source: &str| Part::Layers {
            layers: Layers::default(),
            selector: of_image(source),
        };
        let text = |content: &str| Part::Text {
            name: "text".to_owned(),
            content: content.to_owned(),
        };
        let select = |source: &str| {
            Order::Select(Box::new(Select {
                layers: Layers::default(),
                selector: of_image(source),
            }))
        };
        let orders = vec![
            copy(layers("/etc/shadow"), "/to/", false),
            copy(text("hello"), "/linked/", true),
            order(shell("cat /linked/text; wc -l < /to/shadow")),
            copy(layers("/none"), "/to/", false),
            select("/etc/shadow"),
            select("/etc/shadow"),
            select("/none"),
        ];
        let told = give(&store, &on_alpine(orders));
        let shadow = members(&store, told[0].layer());
        assert_eq!(shadow.len(), 2, "{shadow:?}");
        // The group of the shadows.
        assert!(
            shadow[1].starts_with("to/shadow 640 0:42 88 "),
            "{shadow:?}"
        );
        let linked = members(&store, told[1].layer());
        assert_eq!(linked, ["linked/ 755 0:0 88 0", "linked/text 644 0:0 88 5"]);
        assert!(told[2].output[0].starts_with("hello"), "{:?}", told[2]);
        assert!(told[3].failure().contains("none"), "{:?}", told[3]);
        let digest = |index: usize| match &told[index].last {
            Answer::Selected { digest, .. } => digest.clone(),
            other => panic!("nothing was selected as {:?}: {other:?}", store.user),
        };
        assert_eq!(digest(4), digest(5));
        assert!(told[6].failure().contains("none"), "{:?}", told[6]);
    }
}
