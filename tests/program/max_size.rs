//! The setting `storage.max-size`: which images go when others come, which stay, and what is told.

use crate::support::{ALPINE, Call, Store, everyone, everyone_with_alpine};
use std::fs::File;
use std::time::{Duration, SystemTime};

/// A tar archive with one file of so many bytes, of which each `seed` makes another.
fn archive(seed: u8, size: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8 ^ seed).collect();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &content[..]).unwrap();
    builder.into_inner().unwrap()
}

/// Imports 1 MB.
fn import(store: &Store, name: &str, seed: u8) -> Call {
    let call = store.onggi(["import", "-", name]);
    call.stdin(archive(seed, 1 << 20))
}

/// The names of all images, sorted.
fn images(store: &Store) -> String {
    let listed = store.onggi(["images", "--format", "{{.Repository}}"]).run();
    let listed = listed.code(0).stdout_text();
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

/// Makes an image as if it was last used so many hours ago.
fn age(store: &Store, name: &str, hours: u64) {
    let id = store
        .onggi(["image", "inspect", "--format", "{{.Id}}", name])
        .run();
    let id = id.code(0).stdout_text();
    let directory = store
        .data()
        .join("images")
        .join(id.trim().trim_start_matches("sha256:"));
    let time = SystemTime::now() - Duration::from_secs(hours * 3600);
    File::open(directory).unwrap().set_modified(time).unwrap();
}

#[test]
fn those_go_that_were_not_used_for_longest() {
    for store in everyone() {
        for (seed, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            import(&store, name, seed as u8).run().code(0).stderr("");
        }
        for (name, hours) in [("a", 4), ("b", 2), ("c", 3), ("d", 5)] {
            age(&store, name, hours);
        }
        // To give an image a name, and to make or start a container of it, is to use it.
        store.onggi(["tag", "d", "again"]).run().code(0);
        let limited = |name: &str, seed: u8, max: &str| {
            let call = import(&store, name, seed).env("ONGGI_STORAGE_MAX_SIZE", max);
            let outcome = call.run();
            outcome.code(0).stderr_text()
        };
        let told = limited("e", 4, "4500KB");
        assert!(
            told.starts_with("removed what was not used for longest, ")
                && told.ends_with(" (4.5MB): a:latest\n"),
            "{told}"
        );
        assert_eq!(images(&store), "again b c d e");
        store
            .onggi(["create", "--name", "of-c", "c", "/file"])
            .run()
            .code(0);
        let told = limited("f", 5, "4500KB");
        assert!(told.ends_with(": b:latest\n"), "{told}");
        store.onggi(["rm", "of-c"]).run().code(0);
        // All but what has just come or was just used may go, and that is not enough.
        for (name, hours) in [("c", 1), ("d", 1), ("e", 2), ("f", 2)] {
            age(&store, name, hours);
        }
        store
            .onggi(["create", "--name", "of-e", "e", "/file"])
            .run()
            .code(0);
        let told = limited("g", 6, "1MB");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2, "{told}");
        assert!(
            lines[0].contains("f:latest") && lines[0].contains("again:latest, d:latest"),
            "{told}"
        );
        assert!(
            lines[1].starts_with("onggi: warning: images take 2.")
                && lines[1].contains("storage.max-size (1MB)"),
            "{told}"
        );
        assert_eq!(images(&store), "e g");
        store.onggi(["system", "check"]).run().code(0);
        store.onggi(["start", "of-e"]).run();
        let wrong = import(&store, "h", 7)
            .env("ONGGI_STORAGE_MAX_SIZE", "much")
            .run();
        wrong
            .code(1)
            .stderr_has("setting `storage.max-size` is `much`, expected a size");
    }
}

/// To remove an image whose layers another one needs would free nothing.
#[test]
fn what_gives_nothing_back_stays() {
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--name", "one", ALPINE, "touch", "/new"])
            .run()
            .code(0);
        store.onggi(["commit", "one", "child"]).run().code(0);
        store.onggi(["rm", "one"]).run().code(0);
        store
            .onggi(["create", "--name", "two", "child", "true"])
            .run()
            .code(0);
        age(&store, ALPINE, 9);
        let told = import(&store, "new", 1)
            .env("ONGGI_STORAGE_MAX_SIZE", "2MB")
            .run();
        told.code(0)
            .stderr_lacks("removed")
            .stderr_has("more than storage.max-size");
        assert_eq!(images(&store), "alpine child new");
    }
}

#[test]
fn load_and_commit_count_too() {
    for store in everyone_with_alpine() {
        import(&store, "old", 1).run().code(0);
        age(&store, "old", 1);
        let saved = store.onggi(["save", ALPINE]).run();
        let saved = saved.code(0).stdout_bytes().to_vec();
        let load = store
            .onggi(["load"])
            .stdin(saved)
            .env("ONGGI_STORAGE_MAX_SIZE", "8700kB");
        load.run().code(0).stderr_has("old:latest");
        assert_eq!(images(&store), "alpine");
        import(&store, "old", 1).run().code(0);
        age(&store, "old", 1);
        let write = "head -c 300000 /dev/urandom >/file";
        store
            .onggi(["run", "--name", "one", ALPINE, "sh", "-c", write])
            .run()
            .code(0);
        let commit = store
            .onggi(["commit", "one", "new"])
            .env("ONGGI_STORAGE_MAX_SIZE", "9MB");
        commit.run().code(0).stderr_has("old:latest");
        assert_eq!(images(&store), "alpine new");
    }
}
