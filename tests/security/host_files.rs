//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` come from outside, onto whatever the image has there: nothing
//! of the host's is written or read by it.

use crate::situation::{Entry, hostile, run_hostile};
use crate::support::everyone_in_memory;
use crate::unwalled::{self, rootfs};
use std::path::Path;

const NAMES: [&str; 3] = ["etc/hosts", "etc/hostname", "etc/resolv.conf"];
/// Neither the host nor the image has it, nor is it in something else that is mounted.
const ABSENT: &str = "/onggi-security-absent/place";

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

/// Whether what that path begins with is on the host.
fn is_there(path: &str) -> bool {
    Path::new(path).parent().unwrap().exists()
}

/// What a link names that leads nowhere in the image is made in the container, and nothing of it on the host.
#[test]
fn what_a_dangling_link_names_is_made_inside() {
    for store in everyone_in_memory() {
        let victim = store.file("victim", "untouched");
        let home = store.home();
        let absent = home.join("absent");
        let deep = absent.join("deep/place");
        let names = || {
            let entries = std::fs::read_dir(&home).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let [victim_path, deep_path] = [&victim, &deep].map(|path| path.to_str().unwrap());
        let relative = format!("..{deep_path}");
        let source = store.file("source", "own");
        let bind = format!("{}:/srv/link", source.display());
        let before = names();
        assert!(!is_there(ABSENT), "{ABSENT} is in the way");
        for (name, options) in [
            ("etc/hosts", &[][..]),
            ("etc/hostname", &[]),
            ("etc/resolv.conf", &["--privileged"]),
            ("srv/link", &["-v", &bind]),
            ("srv/link", &["--tmpfs", "/srv/link"]),
        ] {
            for (target, place) in [
                (victim_path, victim_path),
                (deep_path, deep_path),
                (&relative, deep_path),
                (ABSENT, ABSENT),
            ] {
                if !hostile(&store, &[(name, Entry::Link(target))]) {
                    return;
                }
                // A link as before, and what it names is where the mount is.
                let look = format!(
                    "test -L /{name} && test -e {place} && grep -c ' {place} ' /proc/self/mountinfo"
                );
                run_hostile(&store, options, &look).code(0).stdout("1\n");
                assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
                assert_eq!(names(), before, "something was made outside");
                assert!(!is_there(ABSENT), "{ABSENT} was made outside");
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
        // Also one that is not there yet.
        for target in [victim, store.home().join("absent")] {
            std::fs::remove_file(&hosts).unwrap();
            std::os::unix::fs::symlink(&target, &hosts).unwrap();
            let mut write = store.command("sh");
            write.args(["-c", "echo written >\"$0\""]).arg(&hosts);
            unwalled::run(write).code(0);
            assert_eq!(std::fs::read_to_string(&target).unwrap(), "written\n");
        }
    }
}
