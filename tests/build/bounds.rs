//! Dockerfiles that ask for too much: each is refused in time, and nothing of it is left half-made.

use crate::support::{Store, everyone_in_memory};
use std::fmt::Write;
use std::net::TcpListener;

/// What is said of a Dockerfile that is refused.
fn refused(store: &Store, file: &str, options: &[&str], part: &str) -> String {
    store.file("context/Dockerfile", file);
    let words = ["build", "--progress", "plain", "-t", "app", "context"];
    let outcome = store.onggi(words.iter().chain(options)).run();
    outcome.code(1).stderr_has(part).stderr_lacks("panicked");
    outcome.stderr_text()
}

#[test]
fn stages_that_need_one_another_are_so_many_at_most() {
    for store in everyone_in_memory() {
        let chain = |from: &dyn Fn(usize) -> String| {
            let mut file = "FROM scratch AS s0\n".to_owned();
            for number in 1..3000 {
                let _ = writeln!(file, "{}", from(number));
            }
            file
        };
        let bases = chain(&|number| format!("FROM s{} AS s{number}", number - 1));
        let copies = chain(&|number| {
            let before = number - 1;
            format!("FROM scratch AS s{number}\nCOPY --from=s{before} / /")
        });
        for file in [bases, copies] {
            refused(&store, &file, &[], "more than 128 stages need one another");
        }
    }
}

#[test]
fn what_an_image_says_is_so_long_at_most() {
    for store in everyone_in_memory() {
        let before = store.ok(["images", "-aq"]);
        let big = format!("FROM scratch\nARG big={}\n", "x".repeat(100_000));
        let many = |verb: &str| {
            let mut file = big.clone();
            for number in 0..100 {
                let _ = writeln!(file, "{verb} n{number}=$big");
            }
            file
        };
        for verb in ["ENV", "LABEL", "ARG"] {
            let told = refused(&store, &many(verb), &[], "config would be larger than");
            assert!(told.contains("Dockerfile:"), "{told}");
        }
        let doubled = format!("{big}ENV a=$big$big\n");
        refused(&store, &doubled, &[], "the expanded text is too long");
        assert_eq!(store.ok(["images", "-aq"]), before);
        store.assert_no_process_is_left();
    }
}

#[test]
fn a_time_that_cannot_be_is_refused_before_any_step() {
    for store in everyone_in_memory() {
        let file = "FROM alpine:3.20\nRUN echo it has run\n";
        let year_11476 = "300000000000";
        let argument = format!("SOURCE_DATE_EPOCH={year_11476}");
        let told = refused(&store, file, &["--build-arg", &argument], year_11476);
        assert!(!told.contains("\nit has run"), "{told}");
        let words = ["build", "--source-date-epoch", year_11476, "context"];
        let outcome = store.onggi(words).run();
        outcome.code(125).stderr_has(year_11476);
    }
}

#[test]
fn a_pull_that_fails_ends_the_others() {
    for store in everyone_in_memory() {
        // One answers never, the other is not there.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = (silent.local_addr().unwrap(), silent);
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let file = format!(
            "FROM {}/x AS silent\nFROM {}/y\nCOPY --from=silent / /\n",
            silent.0,
            gone.unwrap()
        );
        refused(&store, &file, &[], "127.0.0.1");
        store.assert_no_process_is_left();
    }
}

#[test]
fn what_an_archive_has_that_no_context_can_have_is_told() {
    for store in everyone_in_memory() {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: tar::EntryType, content: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content).unwrap();
        };
        let file = b"FROM scratch\nCOPY file /\n";
        add("Dockerfile", tar::EntryType::Regular, file);
        add("file", tar::EntryType::Regular, b"1");
        add("null", tar::EntryType::Char, b"");
        let archive = archive.into_inner().unwrap();
        let built = store.onggi(["build", "--progress", "plain", "-"]);
        let built = built.stdin(archive).run();
        built.code(0).stderr_has("`null` is a device");
    }
}
