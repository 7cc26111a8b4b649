//! CVE-2019-14271: a helper that has entered the container's root loads a library from there, as root of the host.
//! This program is one static file: it loads nothing and starts nothing but itself.

use crate::situation::{Entry, hostile};
use crate::support::{Need, Store, User, requires, store};
use crate::unwalled;
use std::path::Path;
use std::process::Command;

/// What a command and its children have opened for reading and executed, by strace(1); but for `start`, whose children
/// are the container's as well.
fn trace(store: &Store, command: Command) -> Vec<String> {
    let log = store.path().join("trace");
    let mut strace = store.command("strace");
    strace.args([
        "-f",
        "-qq",
        "-e",
        "trace=openat,openat2,open,execve,execveat",
        "-o",
    ]);
    strace
        .arg(&log)
        .arg(command.get_program())
        .args(command.get_args());
    unwalled::run(strace).code(0);
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The lines that show a library, a plugin or a configuration of the C library, or a program other than ours.
fn foreign(lines: &[String]) -> Vec<&String> {
    let names = [".so", "nsswitch", "/etc/passwd", "gconv", "locale"];
    let own = |line: &str| line.contains("/onggi") || line.contains("execveat(");
    let is_foreign = |line: &&String| {
        let line = line.split_once(' ').map_or("", |(_, call)| call.trim());
        let absolute = line.contains("(AT_FDCWD, \"/");
        let library = absolute && names.iter().any(|name| line.contains(name));
        library || (line.starts_with("exec") && !own(line))
    };
    lines.iter().filter(is_foreign).collect()
}

fn prepared() -> Option<Store> {
    if !requires(&[Need::Root, Need::Program("strace")]) {
        return None;
    }
    let store = store(User::Root)?;
    let library = b"not a library";
    let entries = ["libnss_files.so.2", "libc.so.6", "libnss_compat.so.2"];
    let paths = entries.map(|name| format!("lib/x86_64-linux-gnu/{name}"));
    let mut files: Vec<_> = paths
        .iter()
        .map(|path| (path.as_str(), Entry::File(library, 0o755)))
        .collect();
    files.push((
        "etc/nsswitch.conf",
        Entry::File(b"passwd: files compat\n", 0o644),
    ));
    hostile(&store, &files).then_some(store)
}

#[test]
fn nothing_is_loaded_from_the_container() {
    let Some(store) = prepared() else { return };
    store.file("file", "x");
    for runs in [false, true] {
        match runs {
            true => store.ok(["run", "-d", "--name", "web", "hostile", "sleep", "1000"]),
            false => store.ok(["create", "--name", "web", "hostile", "true"]),
        };
        for words in [
            &["cp", "file", "web:/etc/file"][..],
            &["cp", "web:/etc", "copied"],
            &["export", "-o", "exported", "web"],
            &["commit", "web", "committed"],
            &["diff", "web"],
        ] {
            let lines = trace(&store, store.onggi(words).into_command());
            assert!(!lines.is_empty());
            assert!(
                foreign(&lines).is_empty(),
                "{words:?}: {:#?}",
                foreign(&lines)
            );
        }
        store.ok(["rm", "-f", "web"]);
        std::fs::remove_dir_all(store.home().join("copied")).unwrap();
    }
}

/// It could not: there is no loader that it asks for (elf(5), `PT_INTERP`).
#[test]
fn the_program_has_no_interpreter() {
    let names_loader = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let header = &bytes[..bytes.len().min(4096)];
        header
            .windows(9)
            .any(|window| window == b"/ld-linux" || window == b"ld-linux-")
    };
    assert!(!names_loader(crate::support::store::program()));
    assert!(names_loader(Path::new("/bin/ls")));
}

/// The helper of old: a program of the host's that has changed its root and then looks for its libraries.
#[test]
fn without_the_wall() {
    let Some(store) = prepared() else { return };
    let mut command = Command::new("ls");
    command.args(["-l", "/etc"]);
    let lines = trace(&store, command);
    assert!(foreign(&lines).iter().any(|line| line.contains(".so")));
}
