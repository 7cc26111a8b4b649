//! Capabilities, system calls, privileges and paths that a container does not have (capabilities(7), seccomp(2)).

use crate::support::{Store, User, everyone_with_alpine};

/// A field of `/proc/self/status`, as a container with these options sees it.
fn status(store: &Store, options: &[&str], field: &str) -> String {
    let outcome = store
        .shell(
            options,
            &format!("sed -n 's/^{field}:\\t//p' /proc/self/status"),
        )
        .run();
    outcome.code(0);
    outcome.stdout_text().trim().to_owned()
}

#[test]
fn capabilities_are_dockers() {
    for store in everyone_with_alpine() {
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(status(&store, &[], set), "00000000a80425fb", "{set}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(status(&store, &[], set), "0000000000000000", "{set}");
        }
        assert_eq!(
            status(&store, &["--cap-drop", "ALL"], "CapBnd"),
            "0000000000000000"
        );
        assert_eq!(
            status(&store, &["--cap-drop=all", "--cap-add", "chown"], "CapEff"),
            "0000000000000001"
        );
        assert_eq!(
            status(&store, &["--cap-add", "SYS_ADMIN"], "CapEff"),
            "00000000a82425fb"
        );
        assert_eq!(
            status(&store, &["--cap-drop", "CAP_CHOWN"], "CapEff"),
            "00000000a80425fa"
        );
    }
}

#[test]
fn an_ordinary_user_inside_has_none() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Single) {
        assert_eq!(
            status(&store, &["-u", "1000"], "CapEff"),
            "0000000000000000"
        );
        assert_eq!(
            status(&store, &["-u", "1000"], "CapBnd"),
            "00000000a80425fb"
        );
    }
}

#[test]
fn privileged_has_what_its_maker_has() {
    for store in everyone_with_alpine() {
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t"));
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        let all = format!("{:016x}", (2u64 << last.trim().parse::<u32>().unwrap()) - 1);
        // A new user namespace gives all of them, over what belongs to it.
        let expected = if store.user == User::Root {
            own.unwrap()
        } else {
            &all
        };
        assert_eq!(status(&store, &["--privileged"], "CapBnd"), expected);
        store
            .shell(
                &["--privileged"],
                "mount -t tmpfs none /mnt && ls /sys/firmware >/dev/null",
            )
            .run()
            .code(0);
    }
}

#[test]
fn system_calls_are_filtered() {
    for store in everyone_with_alpine() {
        assert_eq!(status(&store, &[], "Seccomp"), "2");
        // Docker's policy without CAP_SYS_ADMIN: no new user namespace.
        store
            .shell(&[], "unshare -U true")
            .run()
            .code(1)
            .stderr_has("Operation not permitted");
        let unconfined = ["--security-opt", "seccomp=unconfined"];
        if store.user != User::Single {
            assert_eq!(status(&store, &unconfined, "Seccomp"), "0");
        }
        store.shell(&unconfined, "unshare -U true").run().code(0);
    }
}

#[test]
fn a_policy_of_ones_own() {
    for store in everyone_with_alpine() {
        let policy = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}]}"#;
        let option = format!("seccomp={}", store.file("policy.json", policy).display());
        let outcome = store
            .shell(&["--security-opt", &option], "touch /x && mkdir /y")
            .run();
        outcome.code(1).stderr_has("Quota exceeded");
        let broken = format!("seccomp={}", store.file("broken.json", "{").display());
        store
            .shell(&["--security-opt", &broken], "true")
            .run()
            .code(125)
            .stderr_has("broken.json");
    }
}

#[test]
fn no_new_privileges_on_demand() {
    for store in everyone_with_alpine() {
        assert_eq!(
            status(
                &store,
                &["--security-opt", "no-new-privileges"],
                "NoNewPrivs"
            ),
            "1"
        );
        if store.user == User::Root {
            assert_eq!(status(&store, &[], "NoNewPrivs"), "0");
        }
    }
}

#[test]
fn paths_are_masked_and_read_only() {
    for store in everyone_with_alpine() {
        let script = "ls -A /sys/firmware | wc -l; wc -c </proc/keys; (echo 1 >/proc/sys/kernel/hostname) 2>&1 | grep -c 'Read-only'; \
                      (mkdir /sys/fs/cgroup/x || mkdir /sys/x) 2>&1 | grep -c 'Read-only'";
        let outcome = store.shell(&[], script).run();
        outcome.expect(
            outcome.stdout_text().starts_with("0\n0\n"),
            "nothing to see in what is masked",
        );
        outcome.expect(outcome.stdout_text().ends_with("1\n2\n"), "read-only paths");
        let masks = |options| {
            store
                .shell(options, "grep -c ' /proc/' /proc/self/mountinfo")
                .run()
                .stdout_text()
        };
        assert!(masks(&[]).trim().parse::<u32>().unwrap() > 5);
        assert_eq!(
            masks(&["--security-opt", "systempaths=unconfined"]).trim(),
            "0"
        );
    }
}

#[test]
fn paths_are_masked_and_unmasked_on_demand() {
    for store in everyone_with_alpine() {
        let mask = ["--security-opt", "mask=/etc/alpine-release:/etc/apk"];
        let script = "wc -c </etc/alpine-release; ls -A /etc/apk | wc -l";
        store.shell(&mask, script).run().code(0).stdout("0\n0\n");
        let count = "grep -c ' /proc/' /proc/self/mountinfo";
        let all = ["--security-opt", "unmask=ALL"];
        store.shell(&all, count).run().stdout("0\n");
        let one = ["--security-opt", "unmask=/proc/sys*"];
        let script = "grep -c -e ' /proc/sys ' -e ' /proc/sysrq-trigger ' /proc/self/mountinfo; grep -c ' /proc/keys ' /proc/self/mountinfo";
        store.shell(&one, script).run().stdout("0\n1\n");
        let relative = ["--security-opt", "mask=etc"];
        store
            .shell(&relative, "true")
            .run()
            .code(125)
            .stderr_has("is not an absolute path");
    }
}

#[test]
fn capabilities_that_no_kernel_has_are_named_as_docker_does() {
    for store in everyone_with_alpine() {
        for flag in ["--cap-add", "--cap-drop"] {
            let outcome = store.shell(&[flag, "nope"], "true").run();
            outcome.code(125).stderr_has("unknown capability: \"nope\"");
        }
        let all = status(
            &store,
            &["--cap-add", "all", "--cap-drop", "cap_chown"],
            "CapEff",
        );
        let privileged = status(&store, &["--privileged"], "CapEff");
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        assert_eq!(number(&all), number(&privileged) & !1);
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(status(&store, &["--privileged"], set), "0000000000000000");
        }
    }
}
