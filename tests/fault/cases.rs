//! The commands that are hit by a fault, what has to be there before each, and what has to hold after it.
#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "without a tracer few are hit")
)]

use crate::check::assert_clean;
use crate::support::{ALPINE, Outcome, Store};

/// What a traced command did.
#[derive(Debug)]
#[allow(dead_code, reason = "a failing test shows all of it")]
pub struct Traced {
    /// How many calls there were at which it could have been hit.
    pub points: usize,
    /// The call at which it was.
    pub hit: Option<String>,
    /// The exit code, `None` when it was killed.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Traced {
    /// What an untraced command did.
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            points: 0,
            hit: None,
            code: outcome.exit_code(),
            stdout: outcome.stdout_text(),
            stderr: outcome.stderr_text(),
        }
    }
}

/// A command, with what has to be there before it and what has to hold after it, hit or not.
pub struct Case {
    /// Must succeed.
    pub before: &'static [&'static [&'static str]],
    pub words: &'static [&'static str],
    /// Given what the command has said: what it has acknowledged is there.
    pub after: fn(&Store, &Traced),
}

const RUN: &[&str] = &["run", "-d", "--name", "victim", ALPINE, "sleep", "1000"];

pub const RUN_IN_THE_BACKGROUND: Case = Case {
    before: &[],
    words: RUN,
    after: |store, traced| {
        if traced.code == Some(0) {
            store.onggi(["inspect", traced.stdout.trim()]).run().code(0);
        }
    },
};

pub const RUN_AND_REMOVE: Case = Case {
    before: &[],
    words: &["run", "--rm", "--name", "victim", ALPINE, "true"],
    after: |_, _| {},
};

pub const CREATE: Case = Case {
    before: &[],
    words: &["create", "--name", "victim", ALPINE, "true"],
    after: |store, traced| {
        if traced.stdout.len() == 65 {
            store.onggi(["start", "-a", "victim"]).run().code(0);
        }
    },
};

pub const STOP: Case = Case {
    before: &[&[
        "run",
        "-d",
        "--name",
        "victim",
        "--stop-signal",
        "KILL",
        ALPINE,
        "sleep",
        "1000",
    ]],
    words: &["stop", "victim"],
    after: |store, traced| {
        if traced.stdout == "victim\n" {
            let status = store
                .onggi(["inspect", "-f", "{{.State.Status}}", "victim"])
                .run();
            status.code(0).stdout("exited\n");
        }
    },
};

pub const REMOVE: Case = Case {
    before: &[&["create", "--name", "victim", ALPINE, "true"]],
    words: &["rm", "victim"],
    after: gone,
};

pub const REMOVE_RUNNING: Case = Case {
    before: &[RUN],
    words: &["rm", "-f", "victim"],
    after: gone,
};

fn gone(store: &Store, traced: &Traced) {
    if traced.stdout == "victim\n" {
        store.onggi(["inspect", "victim"]).run().code(1);
    }
}

const LOOK: &str = "find /etc | grep -v -e hosts -e hostname -e resolv.conf | sort | md5sum";

pub const FILL: Case = Case {
    before: &[],
    words: &[
        "create",
        "--name",
        "victim",
        "-v",
        "fresh:/etc",
        ALPINE,
        "true",
    ],
    after: |store, _| {
        // Whole or empty, and so filled now: whoever sees it sees all of it.
        let whole = store.shell(&[], LOOK).run().code(0).stdout_text();
        store
            .shell(&["-v", "fresh:/etc"], LOOK)
            .run()
            .code(0)
            .stdout(&whole);
        store.onggi(["rm", "-f", "victim"]).run().code(0);
        store.onggi(["volume", "rm", "fresh"]).run().code(0);
    },
};

pub const REMOVE_VOLUME: Case = Case {
    before: &[&["run", "--rm", "-v", "fresh:/etc", ALPINE, "true"]],
    words: &["volume", "rm", "fresh"],
    after: |store, traced| {
        if traced.stdout == "fresh\n" {
            store.onggi(["volume", "exists", "fresh"]).run().code(1);
        }
        store.onggi(["volume", "rm", "-f", "fresh"]).run().code(0);
        store.onggi(["volume", "ls", "-q"]).run().code(0).stdout("");
    },
};

pub const RENAME: Case = Case {
    before: &[&["create", "--name", "old", ALPINE, "true"]],
    words: &["rename", "old", "victim"],
    after: |store, traced| {
        // One name or the other, and with an exit code of 0 the new one.
        let names = store
            .onggi(["ps", "-a", "--format", "{{.Names}}"])
            .run()
            .stdout_text();
        assert!(["old\n", "victim\n"].contains(&&*names), "{names}");
        assert!(traced.code != Some(0) || names == "victim\n");
        store.onggi(["start", "-a", names.trim()]).run().code(0);
        store.onggi(["rm", "-f", "old"]).run().code(0);
    },
};

const CHANGED: &[&str] = &[
    "run",
    "--name",
    "victim",
    ALPINE,
    "sh",
    "-c",
    "echo new >/etc/new; rm /etc/motd; mkdir -p /a/b",
];

pub const COMMIT: Case = Case {
    before: &[CHANGED],
    words: &["commit", "victim", "made:1"],
    after: |store, traced| {
        if traced.stdout.starts_with("sha256:") {
            let run = ["run", "--rm", "made:1", "cat", "/etc/new"];
            store.onggi(run).run().code(0).stdout("new\n");
        }
        store.onggi(["commit", "victim", "made:1"]).run().code(0);
        store.onggi(["rmi", "-f", "made:1"]).run().code(0);
        // Without a name, if it was killed before it had one.
        store.onggi(["image", "prune", "-f"]).run().code(0);
    },
};

/// `archive.tar` in the home directory has the image `small:1`.
pub const LOAD: Case = Case {
    before: &[],
    words: &["load", "-i", "archive.tar"],
    after: |store, traced| {
        if traced.stdout.contains("Loaded image: small:1") {
            store
                .onggi(["run", "--rm", "small:1", "cat", "/hello"])
                .run()
                .code(0)
                .stdout("hello\n");
        }
        store.onggi(["load", "-i", "archive.tar"]).run().code(0);
        store
            .onggi(["run", "--rm", "small:1", "cat", "/hello"])
            .run()
            .code(0)
            .stdout("hello\n");
        store.onggi(["rmi", "small:1"]).run().code(0);
        let images = store.onggi(["images", "-q"]).run();
        assert_eq!(images.code(0).stdout_text().lines().count(), 1);
    },
};

pub const TAG: Case = Case {
    before: &[],
    words: &["tag", ALPINE, "other:1"],
    after: |store, traced| {
        let made = store.onggi(["run", "--rm", "other:1", "true"]).run();
        if traced.code == Some(0) {
            made.code(0);
        }
        store.onggi(["rmi", "-f", "other:1"]).run().code(0);
    },
};

/// Makes what [`LOAD`] takes in: a layer on one that is here, saved and removed again.
pub fn make_archive(store: &Store) {
    for words in [
        &[
            "run",
            "--name",
            "maker",
            ALPINE,
            "sh",
            "-c",
            "echo hello >/hello",
        ][..],
        &["commit", "maker", "small:1"],
        &["rm", "maker"],
        &["save", "-o", "archive.tar", "small:1"],
        &["rmi", "small:1"],
    ] {
        store.onggi(words).run().code(0);
    }
}

/// Makes what the command needs.
pub fn prepare(store: &Store, case: &Case) {
    for words in case.before {
        store.onggi(*words).run().code(0);
    }
}

/// What has to hold whatever has happened to the command: those who only look see nothing of it, every other command
/// works, and with the next one all that was left is gone.
pub fn settle(store: &Store, case: &Case, traced: &Traced) {
    // Shown where one of the following expectations fails.
    eprintln!("{:?} as {:?}: {traced:?}", case.words, store.user);
    // Whatever is left is nothing to those who only look.
    for words in [&["ps", "-a"][..], &["images"], &["info"]] {
        store.onggi(words).run().code(0).stderr("");
    }
    (case.after)(store, traced);
    store.onggi(["rm", "-f", "victim"]).run().code(0);
    store
        .onggi(["run", "--rm", "--name", "victim", ALPINE, "true"])
        .run()
        .code(0);
    store.onggi(["tag", ALPINE, "swept:1"]).run().code(0);
    store.onggi(["rmi", "swept:1"]).run().code(0);
    assert_clean(store);
    store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    for directory in ["containers", "names", "pending"] {
        let left = std::fs::read_dir(store.seen(&store.data()).join(directory)).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    store.assert_no_process_is_left();
}
