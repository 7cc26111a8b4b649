//! The processes of a command are killed at each system call that changes something. Afterwards everything works,
//! what was acknowledged is there, and an ordinary command has swept what was left.

use crate::check::assert_clean;
use crate::support::{ALPINE, Store, User, everyone_in_memory};
use crate::tracer::{Fault, Traced, trace};

/// At how many calls of a command it is hit, at most: as root, and as an ordinary user, whose way differs little.
const POINTS: (usize, usize) = (30, 10);

/// A command, with what has to be there before it and what has to hold after it, killed or not.
struct Case {
    before: &'static [&'static [&'static str]],
    words: &'static [&'static str],
    /// Given what the command has said.
    after: fn(&Store, &Traced),
}

/// Runs `words` once to count its calls, then kills it at calls spread over all of them.
fn hit_everywhere(store: &Store, case: &Case, points: usize) {
    prepare(store, case);
    let whole = trace(store, case.words, Fault::None);
    assert_eq!(whole.code, Some(0), "{:?}: {whole:?}", case.words);
    assert!(whole.points > 3, "{whole:?}");
    settle(store, case, &whole);
    for index in 0..points.min(whole.points) {
        let point = 1 + index * whole.points / points.min(whole.points);
        prepare(store, case);
        let traced = trace(store, case.words, Fault::Kill(point));
        settle(store, case, &traced);
    }
}

fn prepare(store: &Store, case: &Case) {
    for words in case.before {
        store.onggi(*words).run().code(0);
    }
}

fn settle(store: &Store, case: &Case, traced: &Traced) {
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
    assert_clean(store);
    store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    for directory in ["containers", "names", "pending"] {
        let left = std::fs::read_dir(store.data().join(directory)).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(store.processes(), [0u32; 0]);
}

fn hit(case: &Case) {
    for store in everyone_in_memory() {
        let points = match store.user {
            User::Root => POINTS.0,
            _ => POINTS.1,
        };
        hit_everywhere(&store, case, points);
    }
}

#[test]
fn run_in_the_background() {
    hit(&Case {
        before: &[],
        words: &["run", "-d", "--name", "victim", ALPINE, "sleep", "1000"],
        after: |store, traced| {
            if traced.stdout.len() == 65 {
                store.onggi(["inspect", traced.stdout.trim()]).run().code(0);
            }
        },
    });
}

#[test]
fn run_and_remove() {
    hit(&Case {
        before: &[],
        words: &["run", "--rm", "--name", "victim", ALPINE, "true"],
        after: |_, _| {},
    });
}

#[test]
fn create() {
    hit(&Case {
        before: &[],
        words: &["create", "--name", "victim", ALPINE, "true"],
        after: |store, traced| {
            let made = i32::from(traced.stdout.len() != 65);
            if made == 0 {
                store.onggi(["start", "-a", "victim"]).run().code(0);
            }
        },
    });
}

#[test]
fn rm() {
    hit(&Case {
        before: &[&["create", "--name", "victim", ALPINE, "true"]],
        words: &["rm", "victim"],
        after: |store, traced| {
            if traced.stdout == "victim\n" {
                store.onggi(["inspect", "victim"]).run().code(1);
            }
        },
    });
}

#[test]
fn rm_of_what_runs() {
    hit(&Case {
        before: &[&["run", "-d", "--name", "victim", ALPINE, "sleep", "1000"]],
        words: &["rm", "-f", "victim"],
        after: |store, traced| {
            if traced.stdout == "victim\n" {
                store.onggi(["inspect", "victim"]).run().code(1);
            }
        },
    });
}
