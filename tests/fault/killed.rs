//! The processes of a command are killed at each system call that changes something. Afterwards everything works,
//! what was acknowledged is there, and an ordinary command has swept what was left.

use crate::cases::{self, Case};
use crate::support::{Store, User, everyone_in_memory};
use crate::tracer::{Fault, trace};

/// At how many calls of a command it is hit, at most: as root, and as an ordinary user, whose way differs little.
const POINTS: (usize, usize) = (20, 6);

/// Runs the command once to count its calls, then kills it at calls spread over all of them.
fn hit_everywhere(store: &Store, case: &Case, points: usize) {
    cases::prepare(store, case);
    let whole = trace(store, case.words, Fault::None);
    assert_eq!(whole.code, Some(0), "{:?}: {whole:?}", case.words);
    assert!(whole.points > 3, "{whole:?}");
    cases::settle(store, case, &whole);
    let points = points.min(whole.points);
    for index in 0..points {
        cases::prepare(store, case);
        let point = 1 + index * whole.points / points;
        let traced = trace(store, case.words, Fault::Kill(point));
        cases::settle(store, case, &traced);
    }
}

fn hit(case: &Case) {
    for store in everyone_in_memory() {
        cases::make_archive(&store);
        let points = match store.user {
            User::Root => POINTS.0,
            _ => POINTS.1,
        };
        hit_everywhere(&store, case, points);
    }
}

#[test]
fn run_in_the_background() {
    hit(&cases::RUN_IN_THE_BACKGROUND);
}

#[test]
fn run_and_remove() {
    hit(&cases::RUN_AND_REMOVE);
}

#[test]
fn create() {
    hit(&cases::CREATE);
}

#[test]
fn stop() {
    hit(&cases::STOP);
}

#[test]
fn rm() {
    hit(&cases::REMOVE);
}

#[test]
fn rm_of_what_runs() {
    hit(&cases::REMOVE_RUNNING);
}

#[test]
fn create_with_a_volume() {
    hit(&cases::FILL);
}

#[test]
fn volume_rm() {
    hit(&cases::REMOVE_VOLUME);
}

#[test]
fn rename() {
    hit(&cases::RENAME);
}

#[test]
fn commit() {
    hit(&cases::COMMIT);
}

#[test]
fn load() {
    hit(&cases::LOAD);
}

#[test]
fn tag() {
    hit(&cases::TAG);
}
