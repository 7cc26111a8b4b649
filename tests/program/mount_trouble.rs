//! Mounts that cannot be, and what is said of them: places that are not there, devices, and more than there may be.

use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn what_is_mounted_read_only_on_etc_has_the_containers_own_files() {
    for store in everyone_with_alpine() {
        let made = store.command("mkdir").arg("empty").status().unwrap();
        assert!(made.success());
        let empty = store.home().join("empty");
        let outcome = store.shell(&["-v", "./empty:/etc:ro"], "true").run();
        outcome.code(125).stderr_has(
            "`/etc` is mounted read-only and has no place for the container's own resolv.conf, hostname, hosts\n",
        );
        let (first, last) = (empty.join("resolv.conf"), empty.join("hosts"));
        outcome.stderr_has(&format!("try: make them, empty: touch {}", first.display()));
        outcome.stderr_has(&format!("{}; or mount it without `ro`\n", last.display()));
        assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
        for name in ["empty/resolv.conf", "empty/hostname", "empty/hosts"] {
            store.file(name, "");
        }
        let look = "grep -q localhost /etc/hosts && ls /etc";
        let outcome = store.shell(&["-v", "./empty:/etc:ro"], look).run();
        outcome.code(0).stdout("hostname\nhosts\nresolv.conf\n");
        assert_eq!(std::fs::read(&last).unwrap(), b"");
        // One that is mounted itself needs no place of its own, and a writable mount gets one.
        std::fs::remove_file(&last).unwrap();
        let outcome = store.shell(&["-v", "./empty:/etc"], "cat /etc/hosts").run();
        outcome.code(0).stdout_has("localhost");
        // As Docker leaves it.
        assert_eq!(std::fs::read(&last).unwrap(), b"");
    }
}

#[test]
fn a_device_is_no_directory() {
    for store in everyone_with_alpine() {
        for volume in ["data:/dev/null", "./data:/dev/urandom"] {
            let outcome = store.shell(&["-v", volume], "echo ran").run();
            outcome
                .code(125)
                .stdout("")
                .stderr_has("cannot mount a directory on `/dev/");
            store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        }
        let outcome = store.shell(
            &["-v", "/dev/zero:/dev/null"],
            "head -c 1 /dev/null | wc -c",
        );
        outcome.run().code(0).stdout("1\n");
    }
}

#[test]
fn more_than_a_process_may_have_open() {
    for store in everyone_with_alpine() {
        let words = |count: usize| {
            let mounts = (0..count).map(|number| format!("-v ./data:/m/{number}"));
            let mounts = mounts.collect::<Vec<_>>().join(" ");
            let program = store.onggi(Vec::<&str>::new()).into_command();
            let program = [program.get_program()]
                .into_iter()
                .chain(program.get_args());
            let program: Vec<_> = program
                .map(|word| word.to_str().unwrap().to_owned())
                .collect();
            format!(
                "ulimit -S -n 64; ulimit -H -n 256; exec {} run --rm {mounts} {ALPINE} ls /m",
                program.join(" ")
            )
        };
        let run = |count: usize| {
            let mut shell = store.command("sh");
            crate::support::Call::new({
                shell.args(["-c", &words(count)]);
                shell
            })
            .run()
        };
        let outcome = run(200);
        outcome.code(125).stdout("").stderr_has(
            "200 mounts need as many open files and 100 more, and this user may have 256 (RLIMIT_NOFILE, hard)\ntry: raise it: ",
        );
        assert!(!store.home().join("data").exists());
        // The soft limit is no hindrance.
        let text = run(150).code(0).stdout_text();
        assert_eq!(text.lines().count(), 150);
    }
}
