//! Known ways out of containers, tried.

use crate::support::store::copy_program;
use crate::support::{ALPINE, everyone_with_alpine};

/// CVE-2019-5736: the runtime's own executable is written through `/proc/PID/exe`.
#[test]
fn the_program_cannot_be_written_from_inside() {
    for store in everyone_with_alpine() {
        // A copy that belongs to the very user who runs it: nothing but the runtime protects it.
        let bytes = std::fs::read(crate::support::store::program()).unwrap();
        let program = store.file("onggi", "");
        copy_program(crate::support::store::program(), &program);
        let run = |options: &[&str], words: &[&str]| {
            let call = store
                .onggi(
                    ["run", "--rm"]
                        .iter()
                        .chain(options)
                        .chain(&[ALPINE])
                        .chain(words),
                )
                .into_command();
            let mut own = store.command(&program);
            own.args(call.get_args());
            crate::support::Call::new(own).run()
        };
        let attack =
            "exec 3</proc/1/exe; (echo x >/proc/self/fd/3) 2>&1; (echo x >/proc/1/exe) 2>&1; true";
        let outcome = run(&["--init"], &["sh", "-c", attack]);
        outcome
            .code(0)
            .stdout_lacks("Text file busy")
            .stdout_has("Read-only file system");
        // The program of the container is the runtime itself, or a script for it.
        run(&[], &["/proc/self/exe", "--version"]);
        run(
            &[],
            &[
                "sh",
                "-c",
                "printf '#!/proc/self/exe\\n' >/s; chmod 755 /s; /s",
            ],
        );
        assert!(
            std::fs::read(&program).unwrap() == bytes,
            "the program has been changed"
        );
    }
}

/// CVE-2024-21626: a descriptor of the host stays open and is made the working directory.
#[test]
fn no_descriptor_of_the_host_is_a_working_directory() {
    for store in everyone_with_alpine() {
        for number in 3..16 {
            for path in [
                format!("/proc/self/fd/{number}"),
                format!("/proc/1/fd/{number}/.."),
            ] {
                let outcome = store.shell(&["-w", &path], "ls -a").run();
                outcome.expect(
                    !outcome.stdout_text().contains(".."),
                    "no directory listing",
                );
            }
        }
    }
}

/// What a working directory lacks is made, as root: through a descriptor of the host's that would be on the host.
#[test]
fn no_working_directory_is_made_outside() {
    for store in everyone_with_alpine() {
        for number in 3..20 {
            for up in [0, 3] {
                let path = format!("/proc/self/fd/{number}/{}made-outside", "../".repeat(up));
                store.shell(&["-w", &path], "echo ran").run().stdout("");
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
    for store in everyone_with_alpine() {
        let run = store
            .onggi(["run", "--rm", ALPINE, "ls", "/proc/self/fd"])
            .into_command();
        let mut shell = store.command("sh");
        shell
            .args(["-c", "exec 7</ 9</etc/passwd; exec \"$0\" \"$@\""])
            .arg(run.get_program())
            .args(run.get_args());
        // The fourth is the one by which ls reads the directory.
        crate::support::Call::new(shell)
            .run()
            .code(0)
            .stdout("0\n1\n2\n3\n");
    }
}

/// The old root is gone, not only out of sight: the way up ends at the container's root.
#[test]
fn the_way_up_ends_at_the_root() {
    for store in everyone_with_alpine() {
        let script = "cd /proc/1/root/../../.. && cat etc/alpine-release; ls /proc/1/cwd/../../../etc/alpine-release";
        store
            .shell(&[], script)
            .run()
            .code(0)
            .stdout("3.20.3\n/proc/1/cwd/../../../etc/alpine-release\n");
    }
}

/// The host's disks are numbers that anybody knows: a node for one must open nothing, wherever it lies.
#[test]
fn device_nodes_that_a_container_makes_open_nothing() {
    let script = "for node in /node /dev/node /dev/shm/node /tmp/node; do
            mknod -m 666 $node c 1 5 2>/dev/null
            head -c 1 $node >/dev/null 2>&1 && echo opened $node
        done
        head -c 1 /dev/zero | wc -c; echo x >/dev/null; head -c 1 /dev/urandom | wc -c";
    for store in everyone_with_alpine() {
        let run = ["run", "--rm", "--tmpfs", "/tmp", ALPINE, "sh", "-c", script];
        store.onggi(run).run().code(0).stdout("1\n1\n");
        let stay = ["run", "-d", "--name", "web", ALPINE, "sleep", "1000"];
        store.onggi(stay).run().code(0);
        let exec = ["exec", "web", "sh", "-c", script];
        store.onggi(exec).run().code(0).stdout("1\n1\n");
    }
}

/// CVE-2022-36109: without its own group among the others, a program that takes on another group gets rid of what that
/// forbids it.
#[test]
fn the_own_group_is_among_the_others() {
    for store in everyone_with_alpine() {
        if store.user == crate::support::User::Single {
            continue;
        }
        for (user, groups) in [("nobody", "65534"), ("1000:1000", "1000")] {
            let run = ["run", "--rm", "-u", user, ALPINE, "sh", "-c"];
            let script = "grep Groups /proc/self/status | tr -d '\t'";
            store
                .onggi(run.iter().chain(&[script]))
                .run()
                .code(0)
                .stdout(&format!("Groups:{groups} \n"));
        }
    }
}
