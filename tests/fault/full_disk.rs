//! A disk that is full from any point of a command on: the command says so and leaves nothing half made.

use crate::cases::{self, Case, Traced};
use crate::check::assert_clean;
use crate::support::{ALPINE, Need, OwnMounts, Store, User, everyone_in_memory, requires};
use crate::tracer::{Fault, trace};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::path::PathBuf;

/// At how many calls of a command the disk is full, at most.
const POINTS: (usize, usize) = (10, 3);
/// Bytes that are left on a disk: from none to what some commands can do with.
const ROOM: [u64; 4] = [0, 4 << 10, 24 << 10, 100 << 10];

const CASES: [&Case; 8] = [
    &cases::RUN_IN_THE_BACKGROUND,
    &cases::CREATE,
    &cases::STOP,
    &cases::REMOVE,
    &cases::REMOVE_RUNNING,
    &cases::RENAME,
    &cases::COMMIT,
    &cases::LOAD,
];

/// A command that failed for that reason says so; what makes room succeeds.
fn assert_said(case: &Case, code: Option<i32>, stderr: &str) {
    let frees = case.words[0] == "rm";
    match code {
        Some(0) => {}
        Some(1 | 125) if !frees => assert!(
            stderr.contains("No space left on device") || stderr.contains("disk full"),
            "{:?}: {stderr}",
            case.words
        ),
        _ => panic!("{:?} ends with {code:?}: {stderr}", case.words),
    }
}

#[test]
fn no_call_finds_room_from_some_point_on() {
    for store in everyone_in_memory() {
        cases::make_archive(&store);
        let points = match store.user {
            User::Root => POINTS.0,
            _ => POINTS.1,
        };
        for case in CASES {
            cases::prepare(&store, case);
            // More than there are: nothing fails, all are counted.
            let whole = trace(&store, case.words, Fault::DiskFull(usize::MAX));
            cases::settle(&store, case, &whole);
            let points = points.min(whole.points);
            for index in 0..points {
                cases::prepare(&store, case);
                let point = 1 + index * whole.points / points;
                let traced = trace(&store, case.words, Fault::DiskFull(point));
                eprintln!("{:?}", traced);
                assert_said(case, traced.code, &traced.stderr);
                cases::settle(&store, case, &traced);
            }
        }
    }
}

/// A small disk in place of the data root, in a mount namespace of its own: no other process sees it, and it goes with
/// the process that holds it.
struct Disk {
    _mounts: OwnMounts,
    data: PathBuf,
}

impl Disk {
    /// With what the store has already.
    fn below(store: &mut Store) -> Self {
        let script = "umask 077; cp -a \"$1\" \"$2\"; mount -t tmpfs -o size=40m,mode=700 tmpfs \"$1\"; \
                      chown --reference=\"$2\" \"$1\"; cp -a \"$2/.\" \"$1\"";
        let copied = [store.data(), store.path().join("copy")];
        let _mounts = OwnMounts::prepared(store, script, &copied);
        let data = store.seen(&store.data());
        Self { _mounts, data }
    }

    /// Leaves `room` bytes to others.
    fn fill(&self, room: u64) {
        let free = rustix::fs::statvfs(&self.data).unwrap();
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(room);
        let file = File::create(self.data.join("filler")).unwrap();
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.data.join("filler")).unwrap();
    }
}

#[test]
fn a_disk_filled_to_the_last_byte() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    for mut store in everyone_in_memory() {
        cases::make_archive(&store);
        let disk = Disk::below(&mut store);
        assert_clean(&store);
        for case in CASES {
            for room in ROOM {
                cases::prepare(&store, case);
                disk.fill(room);
                let outcome = store.onggi(case.words).run();
                // Shown where one of the following expectations fails.
                eprintln!(
                    "{room} bytes left, {:?}: {:?}",
                    case.words,
                    outcome.stderr_text()
                );
                for words in [&["ps", "-a"][..], &["images"]] {
                    store.onggi(words).run().code(0).stderr("");
                }
                disk.empty();
                let traced = Traced::of(&outcome);
                assert_said(case, traced.code, &traced.stderr);
                cases::settle(&store, case, &traced);
            }
        }
    }
}

#[test]
fn images_go_from_a_full_disk() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    for mut store in everyone_in_memory() {
        let tar = store.file("empty.tar", vec![0; 10240]);
        for name in ["one", "two"] {
            let words = ["import", tar.to_str().unwrap(), name];
            store.onggi(words).run().code(0);
        }
        let disk = Disk::below(&mut store);
        disk.fill(0);
        store.onggi(["rmi", "one"]).run().code(0).stderr("");
        let left = store.onggi(["images", "--format", "{{.Repository}}"]).run();
        let mut left: Vec<String> = left.code(0).stdout_text().lines().map(Into::into).collect();
        left.sort();
        assert_eq!(left, ["alpine", "two"]);
        let prune = store.onggi(["image", "prune", "-af"]).run();
        prune.code(0).stderr("").stdout_has("untagged: two:latest");
        store.onggi(["images", "-q"]).run().code(0).stdout("");
        disk.empty();
        assert_clean(&store);
        assert!(store.alpine());
    }
}

#[test]
fn a_start_on_a_full_disk_leaves_no_mark() {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    for mut store in everyone_in_memory() {
        store.ok(["create", "--name", "new", ALPINE, "true"]);
        store.ok(["run", "--name", "old", ALPINE, "true"]);
        let disk = Disk::below(&mut store);
        disk.fill(0);
        for name in ["new", "old"] {
            let start = store.onggi(["start", name]).run();
            start.code(1).stderr_has("No space left on device");
        }
        disk.empty();
        assert_clean(&store);
        for name in ["new", "old"] {
            store.onggi(["start", "-a", name]).run().code(0);
        }
    }
}
