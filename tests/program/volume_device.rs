//! Volumes with a device: what is mounted as long as somebody uses it.

use crate::support::{ALPINE, Need, OwnMounts, User, everyone_with_alpine, requires};
use std::process::Command;

#[test]
fn memory_is_the_same_for_all_who_use_it_at_the_same_time() {
    for store in everyone_with_alpine() {
        let volume = [
            "volume",
            "create",
            "--opt",
            "type=tmpfs",
            "--opt",
            "device=tmpfs",
        ];
        let words = volume.into_iter().chain(["--opt", "o=size=1m", "memory"]);
        store.onggi(words).run().code(0);
        store.detached(
            "first",
            &["-v", "memory:/m"],
            "echo shared >/m/file; touch /ready; exec sleep 1000",
        );
        let read = ["run", "--rm", "-v", "memory:/m", ALPINE, "cat", "/m/file"];
        store.onggi(read).run().code(0).stdout("shared\n");
        store
            .onggi(["volume", "rm", "memory"])
            .run()
            .code(1)
            .stderr_has("volume is in use");
        store.ok(["rm", "-f", "first"]);
        // It went with its last user.
        store.onggi(read).run().code(1).stderr_has("No such file");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(store.data().to_str().unwrap()),
            "as {:?}",
            store.user
        );
        store.ok(["volume", "rm", "memory"]);
    }
}

#[test]
fn a_directory_of_the_host_under_a_name() {
    for store in everyone_with_alpine() {
        let directory = store.home().join("named");
        store.command("mkdir").arg(&directory).status().unwrap();
        let device = format!("device={}", directory.display());
        let words = [
            "volume",
            "create",
            "-o",
            "type=none",
            "-o",
            &device,
            "-o",
            "o=bind",
            "named",
        ];
        store.onggi(words).run().code(0);
        let run = ["run", "--rm", "-v", "named:/m", ALPINE, "touch", "/m/made"];
        store.onggi(run).run().code(0);
        assert!(directory.join("made").exists(), "as {:?}", store.user);
        store.ok(["volume", "rm", "named"]);
        assert!(directory.join("made").exists(), "as {:?}", store.user);
    }
}

#[test]
fn what_the_host_has_mounted_below_a_named_directory_stays() {
    for mut store in everyone_with_alpine() {
        if !requires(&[Need::Root, Need::Program("nsenter")]) {
            return;
        }
        let directory = store.home().join("named");
        let script = "mount --make-rprivate /
            mkdir $1; mount -t tmpfs tmpfs $1; mount --make-shared $1
            mkdir -m 777 $1/below; mount -t tmpfs tmpfs $1/below; chmod -R 777 $1";
        let mounts = OwnMounts::prepared(&mut store, script, &[&directory]);
        let device = format!("device={}", directory.display());
        for kind in ["bind", "rbind"] {
            // Users cannot take away what hides a part of a directory from them.
            if kind == "bind" && store.user != User::Root {
                continue;
            }
            let option = format!("o={kind}");
            let words = ["volume", "create", "-o", "type=none", "-o", &device, "-o"];
            let words = words.into_iter().chain([&*option, kind]);
            store.onggi(words).run().code(0);
            let from = format!("{kind}:/m");
            let made = format!("/m/below/{kind}");
            let run = ["run", "--rm", "-v", &from, ALPINE, "touch", &made];
            store.onggi(run).run().code(0);
            store.ok(["volume", "rm", kind]);
            let table = format!("/proc/{}/mountinfo", mounts.pid());
            let table = std::fs::read_to_string(table).unwrap();
            let is_there = |path: &str| table.contains(&format!(" {path} "));
            let below = directory.join("below");
            assert!(
                is_there(directory.to_str().unwrap()) && is_there(below.to_str().unwrap()),
                "{kind} as {:?}: {table}",
                store.user
            );
            let mut look = Command::new("nsenter");
            look.args(["-m", "-t", &mounts.pid().to_string(), "test", "-e"]);
            let seen = look.arg(below.join(kind)).status().unwrap().success();
            // Without `r`, what is mounted below is not part of it.
            assert_eq!(seen, kind == "rbind", "as {:?}", store.user);
        }
    }
}
