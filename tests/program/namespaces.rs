//! Which namespaces a container has of its own, and which it shares when asked to (namespaces(7)).

use crate::support::{User, everyone_with_alpine};

fn host(kind: &str) -> String {
    std::fs::read_link(format!("/proc/self/ns/{kind}"))
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn all_but_the_users_are_its_own() {
    for store in everyone_with_alpine() {
        for kind in ["mnt", "pid", "ipc", "uts", "net", "cgroup"] {
            let outcome = store
                .shell(&[], &format!("readlink /proc/self/ns/{kind}"))
                .run();
            outcome.code(0).expect(
                outcome.stdout_text().trim() != host(kind),
                &format!("a {kind} namespace of its own"),
            );
        }
        let outcome = store.shell(&[], "readlink /proc/self/ns/user").run();
        let own = outcome.stdout_text().trim() != host("user");
        outcome.code(0).expect(
            own == (store.user != User::Root),
            "a user namespace for ordinary users only",
        );
    }
}

#[test]
fn those_of_the_host_on_demand() {
    for store in everyone_with_alpine() {
        for (option, kind) in [
            ("pid", "pid"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("network", "net"),
            ("cgroupns", "cgroup"),
        ] {
            let outcome = store
                .shell(
                    &[&format!("--{option}=host")],
                    &format!("readlink /proc/self/ns/{kind}"),
                )
                .run();
            outcome.code(0).stdout(&format!("{}\n", host(kind)));
        }
    }
}

#[test]
fn it_is_process_1_and_sees_no_other() {
    for store in everyone_with_alpine() {
        store
            .shell(&[], "echo $$ /proc/[0-9]*")
            .run()
            .code(0)
            .stdout("1 /proc/1\n");
    }
}

#[test]
fn loopback_is_up_and_alone() {
    for store in everyone_with_alpine() {
        for network in [&["--network", "none"][..], &[]] {
            let script = "ls /sys/class/net; cat /sys/class/net/lo/flags; ping -c 1 -q 127.0.0.1 >/dev/null; echo $?";
            store
                .shell(network, script)
                .run()
                .code(0)
                .stdout("lo\n0x9\n0\n");
        }
    }
}

#[test]
fn host_name_and_domain() {
    for store in everyone_with_alpine() {
        store
            .shell(
                &["-h", "jar", "--domainname", "example.org"],
                "hostname; cat /etc/hostname; cat /proc/sys/kernel/domainname",
            )
            .run()
            .code(0)
            .stdout("jar\njar\nexample.org\n");
        let outcome = store.shell(&["--cidfile", "id"], "hostname").run();
        let id = std::fs::read_to_string(store.home().join("id")).unwrap();
        outcome.code(0).stdout(&format!("{}\n", &id[..12]));
    }
}

#[test]
fn the_hosts_mounts_do_not_shine_through() {
    for store in everyone_with_alpine() {
        let path = store.path().to_str().unwrap().to_owned();
        // The overlay's own options may name the store; no mount point of the host may.
        let script = "cut -d' ' -f5 /proc/self/mountinfo | sort | tr '\\n' ' '";
        let outcome = store.shell(&[], script).run();
        outcome
            .code(0)
            .stdout_lacks(&path)
            .stdout_lacks("/mnt")
            .stdout_lacks("/work");
        assert!(
            outcome.stdout_text().starts_with("/ /dev "),
            "{}",
            outcome.stdout_text()
        );
    }
}
