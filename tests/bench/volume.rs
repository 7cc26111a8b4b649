//! How long it takes to fill a volume with what an image has there, beside `cp -a` of the same files.
//!
//! `cargo bench --bench volume`. 10,000 files of a few kilobytes in 100 directories, as a package manager leaves them. Ours
//! is the whole command `create`, with all that it does besides. Everything lies on one file system (that of
//! `ONGGI_TEST_TMP`, else `/var/tmp`); what a round has written is removed before the next, outside of the time.

#[path = "measure.rs"]
mod measure;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, race, rounds};
use std::path::Path;
use std::process::Command;
use support::{Store, User, store};

fn main() {
    for user in [User::Root, User::Subuid] {
        if let Some(store) = store(user) {
            measure_fill(&store, user);
        }
    }
}

fn measure_fill(store: &Store, user: User) {
    let files = store.home().join("files");
    make_files(&files.join("data"));
    let archive = store.home().join("files.tar");
    let tar = Command::new("tar")
        .arg("cf")
        .arg(&archive)
        .arg("-C")
        .arg(&files)
        .arg("data")
        .status();
    assert!(tar.unwrap().success());
    store
        .onggi(["import", archive.to_str().unwrap(), "files"])
        .run()
        .code(0);
    let run = |words: &[&str]| drop(store.onggi(words.iter().copied()).run());
    let contenders = vec![
        Contender::new("onggi create -v NEW:/data", || {
            run(&["rm", "-f", "filled"]);
            run(&["volume", "rm", "-f", "vol"]);
            let words = [
                "create",
                "--name",
                "filled",
                "-v",
                "vol:/data",
                "files",
                "/x",
            ];
            store.onggi(words).into_command()
        }),
        Contender::new("cp -a", || {
            let copy = store.home().join("copy");
            let _ = std::fs::remove_dir_all(&copy);
            let mut command = store.command("cp");
            command.arg("-a").arg(files.join("data")).arg(copy);
            command
        }),
    ];
    race(&format!("10,000 files, {user:?}"), rounds(11), contenders);
}

fn make_files(top: &Path) {
    for directory in 0..100 {
        let directory = top.join(format!("package-{directory}"));
        std::fs::create_dir_all(&directory).unwrap();
        for file in 0..100 {
            let content = vec![b'x'; 100 + file * 137 % 8000];
            std::fs::write(directory.join(format!("file-{file}")), content).unwrap();
        }
    }
}
