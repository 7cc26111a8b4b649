//! What is mounted read-only stays so for whoever has all power in a user namespace below the container's own: the
//! kernel locks the flag when mounts are copied to there (mount_namespaces(7), "Restrictions on mount namespaces").

use crate::support::everyone_with_alpine;

/// Attempts on `/m`, with what came of each; the first shows that there is power over mounts at all.
const ATTEMPTS: &str = "mount -o remount,bind,ro,noexec /m; echo $?; mount -o remount,bind,rw /m; echo $?; \
     mount --bind /m /mnt && mount -o remount,bind,rw /mnt; echo $?; \
     touch /m/new /mnt/new 2>/dev/null; echo $?; umount /m 2>/dev/null; touch /m/new; echo $?";

#[test]
fn in_a_user_namespace_below() {
    for store in everyone_with_alpine() {
        let made = store.command("mkdir").arg("data").status().unwrap();
        assert!(made.success());
        let seccomp = ["--security-opt", "seccomp=unconfined"];
        let free = [
            "--security-opt",
            "apparmor=unconfined",
            "--cap-add",
            "SYS_ADMIN",
        ];
        let script = format!("unshare -Urm sh -c '{ATTEMPTS}'");
        for mount in [
            "type=bind,source=./data,target=/m,readonly",
            "type=bind,source=./data,target=/m,readonly,bind-recursive=writable",
            "type=volume,source=data,target=/m,readonly",
        ] {
            let options = [&seccomp[..], &free, &["--mount", mount]].concat();
            let outcome = store.shell(&options, &script).run();
            let text = outcome.stdout_text();
            let codes: Vec<&str> = text.lines().collect();
            let [power, rest @ ..] = &codes[..] else {
                panic!("{text} {}", outcome.stderr_text());
            };
            assert_eq!(*power, "0", "{}", outcome.stderr_text());
            assert_eq!(rest.len(), 4, "{text}");
            assert!(rest.iter().all(|code| *code != "0"), "{text}");
            assert_eq!(
                std::fs::read_dir(store.home().join("data"))
                    .unwrap()
                    .count(),
                0
            );
            let files = store.data().join("volumes/data/_data");
            assert!(!files.join("new").exists());
        }
    }
}
