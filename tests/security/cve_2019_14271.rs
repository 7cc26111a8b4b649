//! CVE-2019-14271: a helper that has entered the container's root loads a library from there, as root of the host.
//! This program is one static file: it loads nothing and starts nothing but itself.

use crate::situation::{Entry, hostile};
use crate::support::{Need, Store, User, requires, store};
use crate::unwalled;
use std::path::Path;
use std::process::Command;

/// Sends whoever looks for a user to `libnss_compat.so.2` (nsswitch.conf(5)).
const NSSWITCH: &[u8] = b"passwd: files compat\n";

/// What a command and its children have opened and executed, and which files they have mapped as code, by strace(1);
/// each descriptor with its path behind it.
fn trace(store: &Store, command: Command) -> Vec<String> {
    let log = store.path().join("trace");
    let mut strace = store.command("strace");
    strace.args(["-f", "-qq", "-y", "-e"]);
    strace.arg("trace=openat,openat2,open,execve,execveat,mmap,mprotect");
    strace
        .arg("-o")
        .arg(&log)
        .arg(command.get_program())
        .args(command.get_args());
    unwalled::run(strace).code(0);
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    // Behind the number of the process.
    let call = |line: &str| line.split_once(' ').unwrap().1.trim_start().to_owned();
    text.lines().map(call).collect()
}

/// The calls that execute another program than ours, make a file code, or look for a library, a plugin or a
/// configuration of the C library by its path. Files of the container that are copied have no such path: they are
/// opened beside a descriptor.
fn foreign(calls: &[String]) -> Vec<&String> {
    const NAMES: [&str; 6] = [
        ".so",
        "nsswitch",
        "/etc/passwd",
        "/etc/group",
        "gconv",
        "locale",
    ];
    let own = format!(
        "execve(\"{}\", ",
        crate::support::store::program().display()
    );
    let is_foreign = |call: &&String| {
        let mut words = call.split('"');
        let (before, path) = (words.next().unwrap_or_default(), words.next());
        let asked = path
            .filter(|_| before.starts_with("open"))
            .is_some_and(|path| {
                let is_by_path = path.starts_with('/') || before.contains("AT_FDCWD");
                is_by_path && NAMES.iter().any(|name| path.contains(name))
            });
        let is_code = call.starts_with('m') && call.contains("PROT_EXEC") && call.contains('<');
        asked || is_code || (call.starts_with("exec") && !call.starts_with(&own))
    };
    calls.iter().filter(is_foreign).collect()
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
    files.push(("etc/nsswitch.conf", Entry::File(NSSWITCH, 0o644)));
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
            let calls = trace(&store, store.onggi(words).into_command());
            assert!(calls.iter().any(|call| call.starts_with("execve(")));
            let found = foreign(&calls);
            assert!(found.is_empty(), "{words:?}: {found:#?}");
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

/// The helper of old: a program of the host's that has changed its root, and then asks the C library for a user. That
/// asks for the library which the container's configuration names.
#[test]
fn without_the_wall() {
    let Some(store) = prepared().filter(|_| requires(&[Need::Program("perl")])) else {
        return;
    };
    let root = unwalled::rootfs(&store);
    std::fs::write(root.join("etc/nsswitch.conf"), NSSWITCH).unwrap();
    let mut helper = Command::new("perl");
    helper.args([
        "-e",
        "chroot $ARGV[0] or die; chdir '/' or die; getpwnam 'somebody'",
    ]);
    let calls = trace(&store, {
        helper.arg(&root);
        helper
    });
    let found = foreign(&calls);
    let has = |start: &str, part: &str| {
        let is_it = |call: &&&String| call.starts_with(start) && call.contains(part);
        assert!(
            found.iter().any(|call| is_it(&call)),
            "{start} {part}: {found:#?}"
        );
    };
    has("execve(", "perl");
    has("mmap(", "/libc.so");
    has("open", "\"/etc/nsswitch.conf\"");
    has("open", "/libnss_compat.so.2\"");
}
