//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` come from outside, onto whatever the image has there: nothing
//! of the host's is written or read by it.

use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::{self, rootfs};

const NAMES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];

#[test]
fn links_lead_to_no_file_of_the_host() {
    for store in everyone_in_memory() {
        let victim = store.file("victim", "untouched");
        let path = victim.to_str().unwrap();
        for name in NAMES {
            let write = format!("echo written >/{name}; cat /{name}");
            // Where there is such a file in the image, that is what is covered; else it is made in the image.
            for (entries, refusal) in [
                (vec![(name, Entry::Link(path))], ""),
                (
                    vec![
                        ("srv/file", Entry::File(b"", 0o644)),
                        (name, Entry::Link("../srv/file")),
                    ],
                    "",
                ),
                (
                    vec![(name, Entry::Link("/proc/self/fd/1"))],
                    "leads through too many symbolic links",
                ),
                (vec![(name, Entry::Fifo)], ""),
                (vec![(name, Entry::Directory)], "is a directory"),
            ] {
                if !hostile(&store, &entries) {
                    return;
                }
                let outcome = run_hostile(&store, &[], &write);
                match refusal {
                    "" => outcome.code(0).stdout("written\n"),
                    refusal => outcome.code(125).stdout("").stderr_has(refusal),
                };
                assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
                store.ok(["rmi", "hostile"]);
            }
        }
    }
}

/// What a container writes to its own goes nowhere else, and is gone with it.
#[test]
fn the_hosts_own_are_other_files() {
    for store in everyone_in_memory() {
        let before = NAMES.map(|name| std::fs::read(format!("/{name}")).ok());
        let script = "for name in hosts hostname resolv.conf; do echo 6.6.6.6 attack >>/etc/$name; done; tail -qn 1 /etc/hosts";
        for options in [&[][..], &["--network", "host"], &["--privileged"]] {
            let outcome = store.shell(options, script).run();
            outcome.code(0).stdout("6.6.6.6 attack\n");
        }
        assert!(before == NAMES.map(|name| std::fs::read(format!("/{name}")).ok()));
    }
}

/// A program that writes them by their path in the image writes the host's file.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let victim = store.file("victim", "untouched");
        let hosts = rootfs(&store).join("etc/hosts");
        std::fs::remove_file(&hosts).unwrap();
        std::os::unix::fs::symlink(&victim, &hosts).unwrap();
        let mut write = store.command("sh");
        write.args(["-c", "echo written >\"$0\""]).arg(&hosts);
        unwalled::run(write).code(0);
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "written\n");
    }
}
