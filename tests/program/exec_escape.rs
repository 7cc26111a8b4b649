//! exec into containers that wait for it: what runs there has moved elsewhere, replaced files that are looked at, or
//! reaches for the descriptors and the program of the host.

use crate::exec::{call, exec, run, shell, until, web};
use crate::support::store::copy_program;
use crate::support::{ALPINE, Call, everyone_with_alpine};

/// The first process has gone to user and network namespaces of its own: the others go where it went, but stay the
/// users that they are.
#[test]
fn process_1_in_a_nested_user_namespace() {
    for store in everyone_with_alpine() {
        run(
            &store,
            &["--security-opt", "seccomp=unconfined"],
            "touch /tmp/ready; exec unshare -U -n sleep 100000",
        );
        until("it has gone there", || {
            shell(&store, &[], "readlink /proc/1/exe").stdout_text() == "/bin/busybox\n"
                && shell(&store, &[], "tr '\\0' ' ' </proc/1/cmdline").stdout_text()
                    == "sleep 100000 "
        });
        exec(&store, &[], &["id", "-u"]).code(0).stdout("0\n");
        let script = "test $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) && \
                      test $(readlink /proc/self/ns/user) != $(readlink /proc/1/ns/user)";
        shell(&store, &["--privileged"], script).code(0);
    }
}

/// A process that has changed its root does not take the others along.
#[test]
fn process_1_with_another_root() {
    for store in everyone_with_alpine() {
        run(
            &store,
            &[],
            "mkdir -p /jail/bin /jail/lib; cp /bin/busybox /jail/bin; cp /lib/ld-musl* /jail/lib; touch /tmp/ready; \
             exec chroot /jail /bin/busybox sleep 100000",
        );
        exec(&store, &[], &["ls", "-d", "/jail"])
            .code(0)
            .stdout("/jail\n");
    }
}

#[test]
fn no_descriptor_of_ours_is_inside() {
    for store in everyone_with_alpine() {
        web(&store);
        let onggi = call(&store, &["-i"], &["sh", "-c", "exec ls /proc/self/fd"]).into_command();
        let mut outer = store.command("sh");
        outer
            .args(["-c", "exec 7</ 9</etc/passwd; exec \"$0\" \"$@\""])
            .arg(onggi.get_program())
            .args(onggi.get_args());
        // The last one is what ls reads.
        Call::new(outer).run().code(0).stdout("0\n1\n2\n3\n");
        for number in 3..16 {
            for path in [
                format!("/proc/self/fd/{number}"),
                format!("/proc/self/fd/{number}/.."),
            ] {
                let outcome = shell(&store, &["-w", &path], "ls -d etc/hostname root/.. lib/apk");
                outcome.expect(!outcome.succeeded(), "no directory of the host");
            }
        }
    }
}

/// CVE-2019-5736, by way of exec: what runs while the program is on its way is opened for writing, and the program
/// is itself what is executed.
#[test]
fn the_program_cannot_be_written_from_inside() {
    for store in everyone_with_alpine() {
        let bytes = std::fs::read(crate::support::store::program()).unwrap();
        let program = store.file("onggi", "");
        copy_program(crate::support::store::program(), &program);
        let own = |call: Call| {
            let call = call.into_command();
            let mut own = store.command(&program);
            own.args(call.get_args());
            Call::new(own).run()
        };
        let attack = "touch /tmp/ready; while :; do for pid in /proc/[0-9]*; do \
                      (echo x >$pid/exe) 2>/dev/null; (exec 3<$pid/exe && echo x >/proc/self/fd/3) 2>/dev/null; done; done";
        let words = [
            "run",
            "-d",
            "--cap-add",
            "SYS_PTRACE",
            "--name",
            "web",
            ALPINE,
            "sh",
            "-c",
            attack,
        ];
        own(store.onggi(words)).code(0);
        for _ in 0..20 {
            own(call(&store, &[], &["true"])).code(0);
        }
        own(call(&store, &[], &["/proc/self/exe", "--version"]));
        let script = "printf '#!/proc/self/exe\\n' >/s; chmod 755 /s";
        own(call(&store, &[], &["sh", "-c", script])).code(0);
        own(call(&store, &[], &["/s"]));
        assert!(
            std::fs::read(&program).unwrap() == bytes,
            "the program has been changed"
        );
    }
}

#[test]
fn hostile_files() {
    for store in everyone_with_alpine() {
        run(
            &store,
            &[],
            "rm /etc/passwd; mkfifo /etc/passwd; rm /etc/group; ln -s /proc/self/fd/0 /etc/group; touch /tmp/ready; \
             exec sleep 100000",
        );
        call(&store, &["-i"], &["grep", "Uid", "/proc/self/status"])
            .stdin("root:x:5:")
            .run()
            .code(0)
            .stdout("Uid:\t0\t0\t0\t0\n");
        store.onggi(["rm", "-f", "web"]).run().code(0);
        run(
            &store,
            &["--privileged"],
            "mount -t tmpfs none /dev/pts; mknod /dev/pts/ptmx c 5 2 || touch /dev/pts/ptmx; touch /tmp/ready; exec sleep 100000",
        );
        exec(&store, &["-t"], &["true"])
            .code(126)
            .stderr_has("`/dev/pts` of the container is not a devpts file system");
        shell(
            &store,
            &["--privileged"],
            "umount /dev/pts; mount --bind /dev/null /dev/pts/ptmx",
        )
        .code(0);
        exec(&store, &["-t"], &["true"])
            .code(126)
            .stderr_has("`/dev/pts/ptmx` of the container is covered by something else");
    }
}
