//! `cargo bench --bench context`: how long it takes to tell what a build context of 20,000 files holds, the first time
//! and again, beside `tar c | sha256sum`, which reads the same files. Also the memory that 100,000 files take.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use onggi::build::context::Context;
use onggi::build::copy::plan::Selector;
use onggi::paths::Paths;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FILES: usize = 20_000;
const MANY: usize = 100_000;
/// Files of a directory.
const TOGETHER: usize = 100;
const RUNS: usize = 5;

fn main() {
    let place = tempfile::tempdir().unwrap();
    let paths = Paths::new(place.path().join("store"), place.path().join("run"));
    let context = place.path().join("context");
    make(&context, FILES, 4096);
    // What was changed a moment ago is not remembered.
    std::thread::sleep(Duration::from_millis(100));
    let tar = least(|| {
        let mut tar = Command::new("tar")
            .args(["--sort=name", "-c", "."])
            .current_dir(&context)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut sum = Command::new("sha256sum")
            .stdin(tar.stdout.take().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(sum.wait().unwrap().success() && tar.wait().unwrap().success());
    });
    let first = least(|| {
        let _ = std::fs::remove_dir_all(paths.build_digests());
        look(&context, &paths, FILES);
    });
    let again = least(|| look(&context, &paths, FILES));
    println!("{FILES} files: tar | sha256sum {tar:?}, first {first:?}, again {again:?}");
    let many = place.path().join("many");
    make(&many, MANY, 10);
    let before = memory();
    look(&many, &paths, MANY);
    println!(
        "{MANY} files: {} MB more at most",
        (memory() - before) / 1024
    );
}

fn make(root: &Path, count: usize, size: usize) {
    for number in 0..count {
        let directory = root.join((number / TOGETHER).to_string());
        if number % TOGETHER == 0 {
            std::fs::create_dir_all(&directory).unwrap();
        }
        let content = format!("{number}\n").repeat(size / 5);
        std::fs::write(directory.join(number.to_string()), content).unwrap();
    }
}

fn look(root: &Path, paths: &Paths, count: usize) {
    let context = Context::directory(root, paths).unwrap();
    let everything = Selector {
        sources: vec![".".to_owned()],
        ..Selector::default()
    };
    let selection = context.select(&everything).unwrap();
    assert_eq!(selection.entries().count(), count + count / TOGETHER);
    assert!(!selection.digest().hex().is_empty());
}

fn least(mut what: impl FnMut()) -> Duration {
    let measured = (0..RUNS).map(|_| {
        let begun = Instant::now();
        what();
        begun.elapsed()
    });
    measured.min().unwrap()
}

/// The most memory that this process has had, in KiB (proc_pid_status(5)).
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}
