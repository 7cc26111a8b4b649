//! What is mounted into a container and what it may write.

use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn the_image_is_never_written() {
    for store in everyone_with_alpine() {
        store
            .shell(
                &[],
                "rm -rf /usr /etc/alpine-release; echo x >/bin/new; ls /usr /etc/alpine-release",
            )
            .run()
            .code(1);
        store
            .onggi(["run", "--rm", ALPINE, "cat", "/etc/alpine-release"])
            .run()
            .code(0)
            .stdout("3.20.3\n");
        store.shell(&[], "ls /bin/new").run().code(1);
    }
}

#[test]
fn hosts_and_resolver() {
    for store in everyone_with_alpine() {
        let options = [
            "-h",
            "box",
            "--add-host",
            "jar:192.0.2.7",
            "--add-host",
            "six:2001:db8::1",
        ];
        let outcome = store.shell(&options, "cat /etc/hosts").run();
        outcome
            .code(0)
            .stdout_has("127.0.0.1\tlocalhost\n")
            .stdout_has("192.0.2.7\tjar\n")
            .stdout_has("2001:db8::1\tsix\n");
        let options = [
            "--dns",
            "192.0.2.53",
            "--dns-search",
            "example.org",
            "--dns-option",
            "ndots:2",
        ];
        let outcome = store.shell(&options, "cat /etc/resolv.conf").run();
        outcome
            .code(0)
            .stdout("nameserver 192.0.2.53\nsearch example.org\noptions ndots:2\n");
        store
            .shell(
                &[],
                "echo '192.0.2.8 added' >>/etc/hosts && grep -c added /etc/hosts",
            )
            .run()
            .code(0)
            .stdout("1\n");
    }
}

#[test]
fn read_only_root_with_writable_corners() {
    for store in everyone_with_alpine() {
        let script = "touch /x 2>/dev/null || echo no; touch /dev/shm/x && touch /t/x && echo yes";
        store
            .shell(&["--read-only", "--tmpfs", "/t"], script)
            .run()
            .code(0)
            .stdout("no\nyes\n");
    }
}

#[test]
fn tmpfs_and_shared_memory_have_their_size() {
    for store in everyone_with_alpine() {
        let script = "df -k /t /dev/shm | awk 'NR > 1 { print $2, $6 }'; stat -c %a /t /dev/shm";
        let options = ["--tmpfs", "/t:size=1m,mode=1770", "--shm-size", "2m"];
        store
            .shell(&options, script)
            .run()
            .code(0)
            .stdout("1024 /t\n2048 /dev/shm\n1770\n1777\n");
        store
            .shell(&[], "df -k /dev/shm | awk 'NR > 1 { print $2 }'")
            .run()
            .code(0)
            .stdout("65536\n");
    }
}

#[test]
fn devices_are_dockers() {
    for store in everyone_with_alpine() {
        let names =
            "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
        store
            .shell(&[], "echo $(ls /dev)")
            .run()
            .code(0)
            .stdout(&format!("{names}\n"));
        let script = "for name in null zero full random urandom tty; do stat -c %t:%T:%a /dev/$name; done; \
                      echo x >/dev/null && head -c 4 /dev/zero | wc -c; echo x >/dev/full || echo full";
        let numbers = "1:3:666\n1:5:666\n1:7:666\n1:8:666\n1:9:666\n5:0:666\n4\nfull\n";
        store.shell(&[], script).run().code(0).stdout(numbers);
    }
}

#[test]
fn new_files_belong_to_who_makes_them() {
    for store in everyone_with_alpine() {
        let script = "touch /tmp/a; chown 33:44 /tmp/a; stat -c %u:%g /tmp/a; mkdir /tmp/b; stat -c %u:%g:%a /tmp/b";
        let expected = match store.user {
            crate::support::User::Single => "0:0\n0:0:755\n",
            _ => "33:44\n0:0:755\n",
        };
        store.shell(&[], script).run().code(0).stdout(expected);
    }
}
