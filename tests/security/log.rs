//! A container that prints without end fills no more of the disk than its log may have.

use crate::support::{ALPINE, Store, everyone_in_memory};
use std::path::Path;

const SCRIPT: &str = "head -c 4000000 /dev/zero | tr '\\0' x | fold -w 100; echo; echo end";

fn size_of(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => size_of(&entry.path()),
        Ok(file) => file.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Bytes in the directory of a container that has printed four million.
fn kept(store: &Store, options: &[&str]) -> u64 {
    let run = ["run", "--name", "web"].iter().chain(options);
    let words = run.chain(&[ALPINE, "sh", "-c", SCRIPT]);
    let outcome = store.onggi(words).run();
    outcome.code(0);
    let container = store
        .data()
        .join("containers")
        .join(store.field("web", "{{.Id}}"));
    let size = size_of(&container);
    store
        .onggi(["logs", "-n", "1", "web"])
        .run()
        .code(0)
        .stdout("end\n");
    store.ok(["rm", "web"]);
    size
}

#[test]
fn rotation_bounds_it() {
    for store in everyone_in_memory() {
        for driver in ["json-file", "local"] {
            let driver = [
                "--log-driver",
                driver,
                "--log-opt",
                "max-size=20k",
                "--log-opt",
            ];
            let two = kept(
                &store,
                &[&driver[..], &["max-file=2", "--log-opt", "compress=false"]].concat(),
            );
            assert!((20_000..80_000).contains(&two), "{two}");
            let one = kept(
                &store,
                &[&driver[..], &["max-file=1", "--log-opt", "compress=false"]].concat(),
            );
            // Right after a rotation there may be no more left of it than the last line, which is asked for above.
            assert!(one < two + 1000, "{one}, {two}");
        }
    }
}

/// Without a bound all of it is kept, as Docker does it.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        assert!(kept(&store, &[]) > 4_000_000);
    }
}
