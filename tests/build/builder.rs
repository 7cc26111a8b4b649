//! What tools ask of buildx and builder: the one builder, its cache, and how that is emptied.

use crate::support::life::until;
use crate::support::{Store, everyone, everyone_in_memory, everyone_with_alpine};
use std::process::Stdio;
use std::time::Duration;

#[test]
fn there_is_one_builder() {
    let Some(store) = everyone().next() else {
        return;
    };
    let version = store.onggi(["buildx", "version"]).run();
    version.code(0).stdout_has("github.com/docker/buildx v");
    let inspected = store
        .onggi(["buildx", "inspect", "--bootstrap", "mine"])
        .run();
    inspected
        .code(0)
        .stdout_has("Name:          mine\nDriver:        onggi\n")
        .stdout_has("Status:           running\n");
    let listed = store
        .onggi(["buildx", "ls", "--format", "{{.Name}} {{.Status}}"])
        .run();
    listed.code(0).stdout("default running\n");
    let words = [
        "buildx",
        "create",
        "--name=mine",
        "--driver=docker-container",
        "--use",
    ];
    store.onggi(words).run().code(0).stdout("mine\n");
    store.onggi(["buildx", "use", "mine"]).run().code(0);
    store.onggi(["buildx", "stop"]).run().code(0);
    store.onggi(["buildx", "rm", "mine"]).run().code(0);
    let remote = store
        .onggi(["buildx", "create", "--driver=kubernetes"])
        .run();
    remote.code(125).stderr_has("is not supported");
}

#[test]
fn the_cache_is_shown_and_emptied() {
    for store in everyone() {
        store.file("c/Dockerfile", "FROM scratch\nCOPY Dockerfile /a\n");
        store.onggi(["build", "-o", "out", "c"]).run().code(0);
        let used = store
            .onggi(["buildx", "du", "--format", "{{.Type}} {{.Description}}"])
            .run();
        used.code(0)
            .stdout_has("regular [1/1] COPY Dockerfile /a\n")
            .stdout_has("source.local local source for dockerfile\n");
        let none = store
            .onggi(["builder", "prune", "-f", "--filter=until=24h"])
            .run();
        none.code(0).stdout("Total:\t0B\n");
        let refused = store.onggi(["builder", "prune"]).run();
        refused
            .code(1)
            .stderr_has("builder prune has been cancelled");
        let gone = store.onggi(["buildx", "prune", "-f"]).run();
        gone.code(0)
            .stdout_has("RECLAIMABLE")
            .stdout_lacks("Total:\t0B");
        let left = store.onggi(["buildx", "du", "--format=json"]).run();
        left.code(0).stdout("");
        let wrong = store
            .onggi(["builder", "prune", "-f", "--filter=x=y"])
            .run();
        wrong.code(1).stderr_has("invalid filter 'x'");
    }
}

/// Two steps with layers of 2 MB and 1 MB, of which an image needs the first; a cache mount with 3 MB.
const CACHED: &str = "FROM alpine:3.20 AS kept\nRUN head -c 2000000 /dev/urandom > /two\n\
                      FROM kept\nRUN head -c 1000000 /dev/urandom > /one\n\
                      RUN --mount=type=cache,id=big,target=/c head -c 3000000 /dev/urandom > /c/three\n";

fn fill(store: &Store) {
    store.file("c/Dockerfile", CACHED);
    store.ok(["build", "-q", "-t=kept", "--target=kept", "c"]);
    store.ok(["build", "-q", "-o=type=tar,dest=out.tar", "c"]);
}

/// What is left, a line for each: type, size, whether something else needs it.
fn left(store: &Store) -> Vec<String> {
    let format = "{{.Type}} {{.Size}} {{.Shared}} {{.Mutable}}";
    let told = store.ok(["buildx", "du", "--format", format]);
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

const ALL: [&str; 5] = [
    "exec.cachemount 3MB false true",
    // The step that has written to nothing else.
    "regular 0B false false",
    "regular 1MB false false",
    "regular 2MB true false",
    "source.local 0B false false",
];

#[test]
fn what_goes_is_chosen_by_filters() {
    for store in everyone_with_alpine() {
        fill(&store);
        assert_eq!(left(&store), ALL, "{:?}", store.user);
        let of = |filter: &str, format: &str| {
            store.ok(["buildx", "du", "--filter", filter, "--format", format])
        };
        let below = of("description=RUN head -c 2000000", "{{.ID}}");
        let above = of(&format!("parent={}", below.trim()), "{{.Description}}");
        assert!(
            above.contains("RUN head -c 1000000") && above.lines().count() == 1,
            "{above}"
        );
        let prune = |words: &[&str]| {
            let gone = store.onggi(["builder", "prune", "-f"]).args(words).run();
            gone.code(0);
            gone.stdout_text()
        };
        for nothing in [
            "until=24h",
            "unused-for=24h",
            "id=ffffffffffff",
            "type=source.git.checkout",
            "description=nothing",
            "inuse=true",
            "parent=ffffffffffff",
            "shared=true",
        ] {
            // What images need is left where not all is meant.
            assert_eq!(prune(&["--filter", nothing]), "Total:\t0B\n", "{nothing}");
        }
        assert_eq!(left(&store), ALL);
        let verbose = prune(&[
            "--verbose",
            "--filter=type=exec.cachemount",
            "--filter=mutable=true",
        ]);
        assert!(
            verbose.contains("Description:    cached mount big\n"),
            "{verbose}"
        );
        assert!(verbose.ends_with("Total:\t3MB\n"), "{verbose}");
        assert_eq!(left(&store), ALL[1..]);
        let one = prune(&[
            "--filter=description~=RUN head -c 1",
            "--filter=immutable=true",
            "--filter=private=1",
        ]);
        assert!(one.contains("1MB"), "{one}");
        assert_eq!(left(&store), [ALL[1], ALL[3], ALL[4]]);
        prune(&[]);
        assert_eq!(left(&store), ALL[3..4]);
        // The layer belongs to the image.
        store.ok(["run", "--rm", "kept", "test", "-s", "/two"]);
        prune(&["--all"]);
        assert_eq!(left(&store), Vec::<String>::new());
        store.ok(["run", "--rm", "kept", "test", "-s", "/two"]);
        store
            .onggi(["system", "check"])
            .run()
            .code(0)
            .stdout("The store is consistent\n");
        for (filter, part) in [
            ("until=x", "x"),
            ("nothing=1", "invalid filter 'nothing'"),
            ("shared=maybe", "invalid filter 'shared=[maybe]'"),
        ] {
            let wrong = store
                .onggi(["builder", "prune", "-f", "--filter", filter])
                .run();
            wrong.code(1).stderr_has(part);
        }
    }
}

#[test]
fn what_stays_is_chosen_by_space() {
    for store in everyone_with_alpine() {
        let megabytes = |line: &String| -> u64 {
            let size = line.split(' ').nth(1).unwrap();
            size.strip_suffix("MB")
                .map_or(0, |size| size.parse().unwrap())
        };
        fill(&store);
        for (words, least, most) in [
            (&["--max-used-space=1gb"][..], 6, 6),
            (&["--min-free-space=1b"], 6, 6),
            (&["--max-used-space=1mb", "--reserved-space=6mb"], 6, 6),
            (&["--keep-storage=5mb"], 3, 5),
            (&["--reserved-space=2500kb"], 0, 2),
            (&["--max-used-space=1500kb"], 0, 1),
            (&["--min-free-space=1000tb"], 0, 0),
        ] {
            let prune = store.onggi(["builder", "prune", "-f", "--all"]);
            prune.args(words).run().code(0);
            let left: u64 = left(&store).iter().map(megabytes).sum();
            assert!(
                (least..=most).contains(&left),
                "{words:?}: {left} as {:?}",
                store.user
            );
        }
        // What was used last stays.
        fill(&store);
        std::thread::sleep(Duration::from_millis(1100));
        store.ok(["build", "-q", "--target=kept", "c"]);
        store.ok(["builder", "prune", "-f", "--all", "--keep-storage=2500kb"]);
        assert!(
            left(&store).contains(&ALL[3].to_owned()),
            "{:?}",
            left(&store)
        );
        let wrong = store
            .onggi(["builder", "prune", "-f", "--keep-storage=much"])
            .run();
        wrong.code(125).stderr_has("keep-storage");
    }
}

/// What is copied from a stage is found by the layers of the stage, and by what is in it: it is one thing nevertheless.
#[test]
fn what_is_found_in_two_ways_counts_once() {
    for store in everyone_with_alpine() {
        let file = "FROM alpine:3.20 AS made\nRUN head -c 2000000 /dev/urandom > /two\n\
                    FROM scratch\nCOPY --from=made /two /two\n";
        store.file("c/Dockerfile", file);
        let build = || {
            let words = ["build", "-o=type=tar,dest=out.tar", "c"];
            let built = store.onggi(words).run();
            built.code(0);
            built.stderr_text()
        };
        build();
        let regular = || {
            let left = left(&store);
            left.iter()
                .filter(|line| line.starts_with("regular"))
                .count()
        };
        assert_eq!(regular(), 2, "{:?}", left(&store));
        // Both steps make the same layer.
        let used = store.ok(["buildx", "du"]);
        assert!(used.contains("\nTotal:       2MB\n"), "{used}");
        store.ok(["builder", "prune", "-af", "--keep-storage=3mb"]);
        assert_eq!(regular(), 2);
        assert_eq!(build().matches(" CACHED").count(), 3);
        store.ok(["builder", "prune", "-f"]);
        assert_eq!(left(&store), Vec::<String>::new());
        let records = store.data().join("build/cache");
        assert_eq!(std::fs::read_dir(records).unwrap().count(), 0);
        store.onggi(["system", "check"]).run().code(0);
        assert_eq!(build().matches(" CACHED").count(), 1);
    }
}

/// What a step has at this moment stays, and it is not waited for.
/// What a killed command leaves may be large: others remove a part of it each, and whoever empties the cache all.
#[test]
fn no_command_is_kept_long_by_what_a_killed_one_has_left() {
    let Some(store) = everyone_in_memory().next() else {
        return;
    };
    let dead = store.data().join("staging/dead");
    std::fs::create_dir_all(&dead).unwrap();
    std::fs::write(dead.join("file"), [7; 5000]).unwrap();
    let names = 600_000;
    for number in 0..names {
        std::fs::hard_link(dead.join("file"), dead.join(number.to_string())).unwrap();
    }
    let left = || std::fs::read_dir(&dead).map_or(0, Iterator::count);
    store.file("context/Dockerfile", "FROM scratch\nLABEL a=b\n");
    store.onggi(["build", "-q", "context"]).run().code(0);
    assert!((1..=names).contains(&left()), "{}", left());
    let pruned = store.onggi(["builder", "prune", "-f"]).run();
    pruned.code(0).stdout_lacks("Total:\t0B").stderr("");
    assert_eq!(left(), 0);
    assert!(!dead.exists());
}

#[test]
fn what_is_in_use_stays() {
    for store in everyone_with_alpine() {
        let file = "FROM alpine:3.20\nRUN --mount=type=cache,id=busy,target=/c touch /c/here; while ! test -e /c/end; do sleep 0.1; done\n";
        store.file("c/Dockerfile", file);
        let mut build = store.onggi(["build", "-q", "c"]).into_command();
        let mut build = build
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let busy = [
            "buildx",
            "du",
            "--filter=inuse=true",
            "--format={{.Description}} {{.InUse}}",
        ];
        until("the cache mount is in use", || {
            store.ok(busy).contains("cached mount busy true\n")
        });
        store.ok(["builder", "prune", "-a", "-f"]);
        assert!(store.ok(busy).contains("cached mount busy true\n"));
        let file = "FROM alpine:3.20\nRUN --mount=type=cache,id=busy,target=/c touch /c/end\n";
        store.file("other/Dockerfile", file);
        store.ok(["build", "-q", "other"]);
        assert!(build.wait().unwrap().success());
        store.ok(["builder", "prune", "-a", "-f"]);
        assert_eq!(left(&store), Vec::<String>::new());
    }
}
