//! Volumes with a device: what is mounted as long as somebody uses it.

use crate::support::{ALPINE, Need, OwnMounts, User, everyone_with_alpine, requires};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

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

#[test]
fn who_reads_or_writes_a_volume_for_long_keeps_no_container_from_starting() {
    for store in everyone_with_alpine() {
        let directory = store.home().join("named");
        let script = "mkdir named && head -c 1000000 /dev/zero >named/zeros && chmod -R 777 named";
        store.command("sh").args(["-c", script]).status().unwrap();
        let device = format!("device={}", directory.display());
        let words = ["volume", "create", "-o", "type=none", "-o", "o=bind", "-o"];
        store.onggi(words).args([&*device, "named"]).run().code(0);
        let mut export = store.onggi(["volume", "export", "named"]).into_command();
        let mut export = export.stdout(Stdio::piped()).spawn().unwrap();
        let mut rest = export.stdout.take().unwrap();
        // It is at work from here on, and waits for its reader.
        rest.read_exact(&mut [0]).unwrap();
        let run = [
            "run",
            "--rm",
            "-v",
            "named:/etc/apk",
            ALPINE,
            "ls",
            "/etc/apk",
        ];
        store.onggi(run).run().code(0).stdout("zeros\n");
        assert!(export.try_wait().unwrap().is_none(), "as {:?}", store.user);
        std::io::copy(&mut rest, &mut std::io::sink()).unwrap();
        assert!(export.wait().unwrap().success(), "as {:?}", store.user);

        store.ok(["volume", "create", "empty"]);
        let mut import = store
            .onggi(["volume", "import", "empty", "-"])
            .into_command();
        let import = import.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut import = import.spawn().unwrap();
        let archive = ["run", "--rm", "-v", "empty:/etc/apk", ALPINE];
        let archive = archive
            .into_iter()
            .chain(["tar", "c", "-C", "/etc", "hosts"]);
        let archive = store.onggi(archive).run();
        archive.code(0);
        let mut stream = import.stdin.take().unwrap();
        stream.write_all(archive.stdout_bytes()).unwrap();
        drop(stream);
        assert!(import.wait().unwrap().success(), "as {:?}", store.user);
        let look = ["run", "--rm", "-v", "empty:/m", ALPINE, "ls", "/m"];
        let seen = store.onggi(look).run().code(0).stdout_text();
        assert!(
            seen.contains("hosts\n") && seen.contains("world\n"),
            "{seen}"
        );
    }
}

#[test]
fn two_who_start_at_once_share_a_fresh_device() {
    for store in everyone_with_alpine() {
        let options = ["type=tmpfs", "device=tmpfs", "o=mode=777"];
        let options = options.into_iter().flat_map(|option| ["-o", option]);
        let create = ["volume", "create", "memory"].into_iter().chain(options);
        store.onggi(create).run().code(0);
        for name in ["one", "two"] {
            let words = ["create", "--name", name, "-v", "memory:/m", ALPINE];
            let script = format!("touch /m/{name}; exec sleep 100000");
            let words = words.into_iter().chain(["sh", "-c", &script]);
            store.onggi(words).run().code(0);
        }
        for _ in 0..8 {
            let started = ["one", "two"].map(|name| store.onggi(["start", name]).spawn());
            for started in started {
                let output = started.wait_with_output().unwrap();
                assert!(output.status.success(), "as {:?}: {output:?}", store.user);
            }
            for name in ["one", "two"] {
                let both = "until test -e /m/one && test -e /m/two; do sleep 0.01; done";
                store.ok(["exec", name, "sh", "-c", both]);
            }
            store.ok(["kill", "one", "two"]);
            store.ok(["wait", "one", "two"]);
        }
    }
}
