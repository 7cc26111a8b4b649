//! Volumes with a device: what is mounted as long as somebody uses it.

use crate::support::{ALPINE, everyone_with_alpine};

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
