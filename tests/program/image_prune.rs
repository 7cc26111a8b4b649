//! image prune, its filters, and what is left of downloads.

use crate::support::{ALPINE, Store, everyone_with_alpine};

fn run(store: &Store, words: &[&str]) -> String {
    store.onggi(words).run().code(0).stdout_text()
}

fn images(store: &Store) -> String {
    let listed = run(store, &["images", "--format", "{{.Repository}}"]);
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

/// An image that was made at that time, with these labels.
fn image(store: &Store, name: &str, labels: &[&str]) {
    let mut words = vec!["import".to_owned()];
    for label in labels {
        words.extend(["-c".to_owned(), format!("LABEL {label}")]);
    }
    words.push("-".to_owned());
    words.extend((!name.is_empty()).then(|| name.to_owned()));
    store.onggi(words).stdin([0; 1024]).run().code(0);
}

#[test]
fn filters_are_dockers() {
    for store in everyone_with_alpine() {
        run(&store, &["create", "--name", "one", ALPINE, "true"]);
        image(&store, "plain", &[]);
        image(&store, "kept", &["keep=yes", "a=1"]);
        image(&store, "other", &["a=2"]);
        image(&store, "", &["a=3"]);
        let all = "<none> alpine kept other plain";
        assert_eq!(images(&store), all);
        let nothing = "Total reclaimed space: 0B\n";
        // What fits nobody, or only what has a name or is too young.
        for words in [
            &["--filter", "until=1h"][..],
            &["-a", "--filter", "until=2020-01-01"],
            &["-a", "--filter", "label=none"],
            &["--filter", "label=a=1"],
            &["-a", "--filter", "label=a=1", "--filter", "label=a=2"],
            &["-a", "--filter", "label!=a", "--filter", "label=a"],
        ] {
            let told = run(&store, &[&["image", "prune", "-f"], words].concat());
            assert_eq!(
                (told.as_str(), images(&store).as_str()),
                (nothing, all),
                "{words:?}"
            );
        }
        for (words, left) in [
            (&["--filter", "label=a=3"][..], "alpine kept other plain"),
            (
                &["-a", "--filter", "label!=keep", "--filter", "label=a"],
                "alpine kept plain",
            ),
            (
                &["--filter", "dangling=false", "--filter", "label!=a"],
                "alpine kept",
            ),
            (
                &["-a", "--filter", "until=0s", "--filter", "label!=keep=yes"],
                "alpine kept",
            ),
            (&["-a", "--filter", "dangling=true"], "alpine kept"),
            (&["-a"], "alpine"),
        ] {
            let told = run(&store, &[&["image", "prune", "-f"], words].concat());
            assert_eq!(images(&store), left, "{words:?}: {told}");
            assert!(
                told.ends_with("B\n") && told.contains("Total reclaimed space: "),
                "{told}"
            );
        }
        for (filter, message) in [
            ("reference=x", "invalid filter 'reference'"),
            ("dangling=maybe", "invalid filter 'dangling=[maybe]'"),
            ("until=tomorrow", "invalid time `tomorrow`"),
        ] {
            let outcome = store
                .onggi(["image", "prune", "-f", "--filter", filter])
                .run();
            outcome.code(1).stdout("").stderr_has(message);
        }
    }
}

#[test]
fn it_asks_and_tells_what_went() {
    for store in everyone_with_alpine() {
        let id = run(&store, &["images", "-q", "--no-trunc"]);
        let layer = run(
            &store,
            &[
                "image",
                "inspect",
                "--format",
                "{{index .RootFS.Layers 0}}",
                ALPINE,
            ],
        );
        run(&store, &["tag", ALPINE, "second:1"]);
        let all = "WARNING! This will remove all images without at least one container associated to them.\n\
                   Are you sure you want to continue? [y/N] ";
        let no = store.onggi(["image", "prune", "-a"]).stdin("n\n").run();
        no.code(1)
            .stdout(all)
            .stderr_has("image prune has been cancelled");
        let dangling = "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ";
        let yes = store.onggi(["image", "prune"]).stdin("y\n").run();
        yes.code(0)
            .stdout(&format!("{dangling}Total reclaimed space: 0B\n"));
        let yes = store.onggi(["image", "prune", "-a"]).stdin("y\n").run();
        let told = yes.code(0).stdout_text();
        let expected = format!(
            "{all}Deleted Images:\nuntagged: {ALPINE}\nuntagged: second:1\ndeleted: {}\ndeleted: {}\n\nTotal reclaimed space: ",
            id.trim(),
            layer.trim()
        );
        assert!(
            told.starts_with(&expected) && told.ends_with("MB\n"),
            "{told}"
        );
        assert_eq!(
            std::fs::read_dir(store.data().join("layers"))
                .unwrap()
                .count(),
            0
        );
        let told = run(
            &store,
            &[
                "events",
                "--since",
                "0",
                "--until",
                "0s",
                "--format",
                "{{.Type}} {{.Action}}",
            ],
        );
        for event in ["image untag", "image delete", "image prune"] {
            assert!(told.contains(event), "{event} in {told}");
        }
    }
}

/// What has come of a blob counts while nobody goes on with it, and goes with `system prune`, unless somebody does.
#[test]
fn unfinished_downloads_count_and_can_be_had_back() {
    for store in everyone_with_alpine() {
        let downloads = store.data().join("downloads");
        std::fs::create_dir_all(&downloads).unwrap();
        for (digit, size) in [("1", 3_000_000), ("2", 500_000)] {
            std::fs::write(downloads.join(digit.repeat(64)), vec![1; size]).unwrap();
        }
        let busy = std::fs::File::open(downloads.join("2".repeat(64))).unwrap();
        rustix::fs::flock(&busy, rustix::fs::FlockOperation::LockExclusive).unwrap();
        if crate::support::host::is_root() {
            let (uid, gid) = (store.account.uid, store.account.gid);
            for path in [
                &downloads,
                &downloads.join("1".repeat(64)),
                &downloads.join("2".repeat(64)),
            ] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        let row = || {
            let format = "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}";
            let rows = run(&store, &["system", "df", "--format", format]);
            rows.lines()
                .find(|row| row.starts_with("Staging"))
                .unwrap()
                .to_owned()
        };
        let before = row();
        assert!(
            before.starts_with("Staging 2 1 3.5") && before.contains("MB 3.00"),
            "{before}"
        );
        let told = run(&store, &["system", "prune", "-f"]);
        assert!(told.contains("Total reclaimed space: 3.00"), "{told}");
        assert!(row().starts_with("Staging 1 1 50"), "{}", row());
    }
}
