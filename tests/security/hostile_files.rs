//! Files that are looked at on the way into a container, replaced by something that blocks, never ends or is not what
//! it seems: the user database and the terminals.

use crate::situation::{Entry, exec, exec_shell, hostile, remove_web, run_hostile, web};
use crate::support::everyone_in_memory;

#[test]
fn the_user_database() {
    for store in everyone_in_memory() {
        let uid = "sed -n 's/^Uid:.//p' /proc/self/status | cut -f 1";
        let database = |passwd: Entry<'_>, group: Entry<'_>| {
            hostile(&store, &[("etc/passwd", passwd), ("etc/group", group)])
        };
        // A pipe that nobody writes to, a device without an end, a loop, a directory, no text at all.
        let long = vec![b'a'; 40 << 20];
        for (passwd, group) in [
            (Entry::Fifo, Entry::Fifo),
            (Entry::Link("/dev/zero"), Entry::Link("/dev/zero")),
            (Entry::Link("passwd"), Entry::Link("/dev/stdin")),
            (
                Entry::File(&long, 0o644),
                Entry::File(b"\0\xff:\n::::", 0o644),
            ),
        ] {
            if !database(passwd, group) {
                return;
            }
            run_hostile(&store, &[], uid).code(0).stdout("0\n");
            run_hostile(&store, &["-u", "nosuch"], uid)
                .code(125)
                .stderr_has("unable to find user nosuch");
            store.ok(["rmi", "hostile"]);
        }
    }
}

/// A user with a number that is root by overflow, or words that only look like one.
#[test]
fn users_that_are_nobody() {
    for store in everyone_in_memory() {
        let file = "root:x:4294967296:0::/:\nminus:x:-1:0::/:\nplus:x:+0:0::/:\ngood:x:0:0::/:\n";
        let entries = [("etc/passwd", Entry::File(file.as_bytes(), 0o644))];
        if !hostile(&store, &entries) {
            return;
        }
        for (user, nobody) in [
            ("minus", "user minus"),
            ("4294967296", "user 4294967296"),
            ("-1", "user -1"),
            ("99999999999999999999", "user 99999999999999999999"),
            ("good:-1", "group -1"),
        ] {
            run_hostile(&store, &["-u", user], "echo ran")
                .code(125)
                .stdout("")
                .stderr_has(&format!("unable to find {nobody}: "));
        }
        run_hostile(&store, &["-u", "good"], "echo ran")
            .code(0)
            .stdout("ran\n");
    }
}

#[test]
fn while_exec_is_on_its_way() {
    for store in everyone_in_memory() {
        let script =
            "rm /etc/passwd; mkfifo /etc/passwd; rm /etc/group; ln -s /proc/self/fd/0 /etc/group";
        web(&store, &[], script);
        let words = ["exec", "-i", "web", "grep", "Uid", "/proc/self/status"];
        store
            .onggi(words)
            .stdin("root:x:5:")
            .run()
            .code(0)
            .stdout("Uid:\t0\t0\t0\t0\n");
        remove_web(&store);
        let script =
            "mount -t tmpfs none /dev/pts; mknod /dev/pts/ptmx c 5 2 || touch /dev/pts/ptmx";
        web(&store, &["--privileged"], script);
        exec(&store, &["-t"], &["true"])
            .code(126)
            .stderr_has("`/dev/pts` of the container is not a devpts file system");
        let script = "umount /dev/pts; mount --bind /dev/null /dev/pts/ptmx";
        exec_shell(&store, &["--privileged"], script).code(0);
        exec(&store, &["-t"], &["true"])
            .code(126)
            .stderr_has("`/dev/pts/ptmx` of the container is covered by something else");
    }
}

/// A program that reads such a file as if it were one does not come back.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        for passwd in [Entry::Fifo, Entry::Link("/dev/zero")] {
            if !hostile(&store, &[("etc/passwd", passwd)]) {
                return;
            }
            let read = "timeout 1 cat /etc/passwd >/dev/null; echo $?";
            run_hostile(&store, &[], read).code(0).stdout("143\n");
            store.ok(["rmi", "hostile"]);
        }
    }
}
