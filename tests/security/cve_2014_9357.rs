//! CVE-2014-9357: to unpack an image in the form of xz(1), a program is started where the image's files are, which may
//! be the image's. Nothing is started here.

use crate::situation::{Entry, members};
use crate::support::{Need, Store, User, requires, store};
use crate::unwalled;
use std::process::Command;

/// The programs that a command has executed, by strace(1).
fn executed(store: &Store, command: &Command) -> Vec<String> {
    let log = store.path().join("trace");
    let mut strace = store.command("strace");
    strace.args(["-f", "-qq", "-e", "trace=execve,execveat", "-o"]);
    strace
        .arg(&log)
        .arg(command.get_program())
        .args(command.get_args());
    unwalled::run(strace).code(0);
    let text = std::fs::read_to_string(log).unwrap();
    let done = text.lines().filter(|line| line.contains(" = 0"));
    done.map(str::to_owned).collect()
}

fn prepared() -> Option<Store> {
    let needs = ["strace", "xz", "zstd", "gzip"].map(Need::Program);
    if !requires(&needs) || !requires(&[Need::Root]) {
        return None;
    }
    let store = store(User::Root)?;
    let program: &[u8] = b"#!/bin/sh\ntouch /started\n";
    let entries = ["usr/bin/xz", "bin/xz", "xz", "usr/bin/unpigz"];
    let entries = entries.map(|path| (path, Entry::File(program, 0o755)));
    store.file("image", members(&entries));
    let mut pack = store.command("sh");
    pack.args(["-c", "xz -k image && zstd -q image && gzip -k image"]);
    unwalled::run(pack).code(0);
    Some(store)
}

#[test]
fn nothing_is_started_to_unpack() {
    let Some(store) = prepared() else { return };
    for file in ["image.xz", "image.zst", "image.gz", "image"] {
        let programs = executed(&store, &store.onggi(["import", file]).into_command());
        assert_eq!(programs.len(), 1, "{programs:?}");
    }
}

/// tar(1) starts one, and that is seen.
#[test]
fn without_the_wall() {
    let Some(store) = prepared() else { return };
    let mut tar = Command::new("tar");
    tar.args(["-tf", "image.xz"]);
    let programs = executed(&store, &tar);
    assert!(
        programs.iter().any(|line| line.contains("/xz\"")),
        "{programs:?}"
    );
}
