//! CVE-2024-21626: a descriptor of the host's stays open and is made the working directory, or is simply there.

use crate::situation::{exec_shell, web};
use crate::support::{ALPINE, Call, Outcome, Store, everyone_in_memory};
use crate::unwalled::{LEAKED, unwalled};

/// A shell that has two files open and then becomes the program with these words.
fn with_open_files(store: &Store, words: &[&str]) -> Call {
    let onggi = store.onggi(words).into_command();
    let mut shell = store.command("sh");
    let script = "exec 7</ 9</etc/passwd; exec \"$0\" \"$@\"";
    shell
        .args(["-c", script])
        .arg(onggi.get_program())
        .args(onggi.get_args());
    Call::new(shell)
}

/// What stands for a directory of the host's.
fn descriptors() -> impl Iterator<Item = String> {
    (3..11).flat_map(|number| {
        [
            format!("/proc/self/fd/{number}"),
            format!("/proc/1/fd/{number}"),
            format!("/proc/self/fd/{number}/.."),
            format!("/proc/1/fd/{number}/../.."),
        ]
    })
}

#[test]
fn as_working_directory_of_run() {
    for store in everyone_in_memory() {
        for path in descriptors() {
            let words = ["run", "--rm", "-w", &path, ALPINE, "ls", "-a"];
            refused(&with_open_files(&store, &words).run(), &path);
        }
    }
}

/// There is no program, and the working directory is why.
#[track_caller]
fn refused(outcome: &Outcome, path: &str) {
    let is_refused = matches!(outcome.exit_code(), Some(125 | 126));
    let said = outcome.stderr_text();
    outcome.stdout("").expect(is_refused, "a refusal").expect(
        said.contains(&format!("the working directory `{path}`")),
        "the reason",
    );
}

#[test]
fn as_working_directory_of_exec() {
    for store in everyone_in_memory() {
        web(&store, &[], "");
        for path in descriptors() {
            let words = ["exec", "-w", &path, "web", "ls", "-a"];
            refused(&with_open_files(&store, &words).run(), &path);
        }
        // Also not by way of a link that the container puts there.
        exec_shell(&store, &[], "ln -s /proc/self/fd/7 /seven").code(0);
        let words = ["exec", "-w", "/seven", "web", "ls", "-a"];
        refused(&with_open_files(&store, &words).run(), "/seven");
    }
}

/// What a working directory lacks is made, as root: through a descriptor of the host's that would be on the host.
#[test]
fn no_working_directory_is_made_outside() {
    for store in everyone_in_memory() {
        for number in 3..20 {
            for up in [0, 3] {
                let path = format!("/proc/self/fd/{number}/{}made-outside", "../".repeat(up));
                refused(&store.shell(&["-w", &path], "echo ran").run(), &path);
            }
        }
        let mut place = Some(store.data());
        while let Some(directory) = place {
            assert!(
                !directory.join("made-outside").exists(),
                "in {}",
                directory.display()
            );
            place = directory.parent().map(Into::into);
        }
        let deep = store
            .shell(&["-w", "/srv/../new/./deep"], "pwd; stat -c %a .")
            .run();
        deep.code(0).stdout("/new/deep\n755\n");
    }
}

#[test]
fn no_descriptor_is_inherited() {
    for store in everyone_in_memory() {
        // The fourth is the one by which ls reads the directory.
        let list = ["ls", "/proc/self/fd"];
        let run = [&["run", "--rm", ALPINE][..], &list].concat();
        with_open_files(&store, &run)
            .run()
            .code(0)
            .stdout("0\n1\n2\n3\n");
        web(&store, &[], "");
        let exec = [&["exec", "-i", "web"][..], &list].concat();
        with_open_files(&store, &exec)
            .run()
            .code(0)
            .stdout("0\n1\n2\n3\n");
    }
}

#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        store.file("secret", "");
        let script = format!(
            "ls /proc/self/fd; cd /proc/self/fd/{LEAKED} && ls -a && mkdir ../made-outside"
        );
        unwalled(&store, &script)
            .stdout_has(&format!("\n{LEAKED}\n"))
            .stdout_has("..")
            .stdout_has("secret");
        let made = store.path().join("made-outside");
        // The directory above belongs to whoever runs the tests.
        assert_eq!(made.exists(), store.user == crate::support::User::Root);
    }
}
