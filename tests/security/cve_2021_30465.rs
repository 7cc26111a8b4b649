//! CVE-2021-30465: while the runtime makes the target of a mount, a directory on the way becomes a link to the host.
//! Whoever shares the root file system can do that: a process of the host's in a mounted container, or another container
//! with the same volume.

use crate::probe::exchange;
use crate::support::OwnMounts;
use crate::support::{ALPINE, Need, Store, User, everyone_with_alpine, requires, store};
use std::path::{Path, PathBuf};

/// A stopped container that is mounted, whose `/a/real` is exchanged with a link to `target` of the host all the time.
fn racing(store: &Store) -> (PathBuf, PathBuf) {
    let target = store.home().join("target");
    std::fs::create_dir(&target).unwrap();
    let create = [
        "create",
        "--name",
        "web",
        "--tmpfs",
        "/a/real/made/deep",
        ALPINE,
    ];
    let script = "grep ' /a/real/made/deep tmpfs\\|made/deep ' /proc/self/mountinfo | wc -l";
    let shell = ["sh", "-c", script];
    store.onggi(create.iter().chain(&shell)).run().code(0);
    let root = store.seen(Path::new(store.ok(["mount", "web"]).trim()));
    std::fs::create_dir_all(root.join("a/real")).unwrap();
    std::os::unix::fs::symlink(&target, root.join("a/link")).unwrap();
    (root, target)
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

fn prepared() -> Option<(OwnMounts, Store)> {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return None;
    }
    let mut store = store(User::Root).filter(Store::alpine)?;
    Some((OwnMounts::of(&mut store), store))
}

#[test]
fn no_target_is_made_outside() {
    let Some((_mounts, store)) = prepared() else {
        return;
    };
    let (root, target) = racing(&store);
    let (one, other) = (root.join("a/real"), root.join("a/link"));
    let racer = std::thread::spawn(move || exchange(&one, &other));
    for _ in 0..40 {
        // Either way lies inside, where the link leads to a path that the container does not have, and gets.
        store
            .onggi(["start", "-a", "web"])
            .run()
            .code(0)
            .stdout("1\n");
    }
    assert!(is_empty(&target), "something was made outside");
    let inside = root.join(target.strip_prefix("/").unwrap());
    assert!(inside.join("made/deep").is_dir(), "the link was never met");
    std::fs::rename(root.join("a"), root.join("b")).unwrap();
    racer.join().unwrap();
    assert!(
        root.join("b/real/made/deep").is_dir() || root.join("b/link/made/deep").is_dir(),
        "the directory was never met"
    );
}

/// A program that makes the same path by its name makes it outside sooner or later.
#[test]
fn without_the_wall() {
    let Some((_mounts, store)) = prepared() else {
        return;
    };
    let (root, target) = racing(&store);
    let (one, other) = (root.join("a/real"), root.join("a/link"));
    let racer = std::thread::spawn(move || exchange(&one, &other));
    for number in 0..1000 {
        let _ = std::fs::create_dir_all(root.join(format!("a/real/{number}/deep")));
    }
    std::fs::rename(root.join("a"), root.join("b")).unwrap();
    racer.join().unwrap();
    assert!(!is_empty(&target), "the exchange deceives nobody");
}

/// The attack as it was found: one container exchanges what lies on the way to the target of another one, in a volume
/// that both have.
#[test]
fn containers_that_share_a_volume() {
    for store in everyone_with_alpine() {
        let target = store.home().join("target");
        std::fs::create_dir(&target).unwrap();
        let file = store.file("file", "own");
        let attack = format!(
            "cd /mnt; mkdir -m 777 dir; while :; do rm -rf real; ln -s dir real; rm -rf real; ln -s {} real; done",
            target.display()
        );
        let words = ["run", "-d", "--name", "attacker", "-v", "shared:/mnt"];
        let shell = [ALPINE, "sh", "-c", &attack];
        store.onggi(words.iter().chain(&shell)).run().code(0);
        let mount = format!("{}:/mnt/real/made/file:ro", file.display());
        let (mut inside, mut met) = (0, 0);
        for _ in 0..60 {
            let look = "grep -o ' [^ ]*/made/file ' /proc/self/mountinfo";
            let outcome = store
                .shell(&["-v", "shared:/mnt", "-v", &mount], look)
                .run();
            match outcome.exit_code() {
                Some(0) => {
                    let place = outcome.stdout_text().trim().to_owned();
                    let link = format!("{}/made/file", target.display());
                    met += usize::from(place == link);
                    inside += usize::from(place.starts_with("/mnt/"));
                    assert!(place.starts_with("/mnt/") || place == link, "{place}");
                }
                // With the place that it lies on, removed elsewhere, a mount goes.
                Some(1) => {
                    outcome.stdout("").stderr("");
                }
                // It was taken away once too often, which is said.
                _ => {
                    outcome.stderr_has("bind `");
                }
            }
            assert!(is_empty(&target), "something was made outside");
        }
        store.onggi(["rm", "-f", "attacker"]).run().code(0);
        assert!(met > 0, "the link was never met: {inside}");
        assert!(inside > 0, "the directory was never met: {met}");
    }
}
