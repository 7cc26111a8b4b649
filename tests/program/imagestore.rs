//! `--imagestore` and `system share-images`: whose images are used, whose files are whose, and that nobody writes to the
//! store of another.

use crate::support::{ALPINE, Call, Store, User, everyone, skip, store};
use std::path::{Path, PathBuf};

/// The store of one user, used by another: its place as that one sees it.
struct Shared {
    owner: Store,
    user: Store,
    place: PathBuf,
}

impl Shared {
    /// Root's store with Alpine, shown to that user.
    fn by_root(user: User) -> Option<Self> {
        let owner = store(User::Root)?;
        if !owner.alpine() {
            return None;
        }
        let user = store(user)?;
        let place = show(&owner, &user, &[]);
        Some(Self { owner, user, place })
    }

    fn onggi<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Call {
        let place = self.place.to_str().unwrap();
        self.user.onggi(["--imagestore", place]).args(words)
    }

    fn told<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> String {
        self.onggi(words).run().code(0).stdout_text()
    }
}

/// Root shows a store to its user, unless that is root itself.
fn show(owner: &Store, user: &Store, options: &[&str]) -> PathBuf {
    if user.user == User::Root {
        return owner.data();
    }
    let uid = user.account.uid.to_string();
    let words = ["system", "share-images"].iter().chain(options).copied();
    let told = owner.onggi(words.chain([uid.as_str()])).run();
    PathBuf::from(told.code(0).stdout_text().trim())
}

fn run(store: &Store, words: &[&str]) -> String {
    store.onggi(words).run().code(0).stdout_text()
}

fn layers(store: &Store) -> usize {
    std::fs::read_dir(store.data().join("layers")).map_or(0, Iterator::count)
}

const CHANGES: &str = "set -e; grep -q ^root: /etc/shadow; echo x >>/etc/shadow; stat -c %u:%g /etc/shadow; \
                       touch /etc/new /root/new; rm /etc/motd; chown 5:6 /etc/new; stat -c %u:%g /etc/new; mv /home /h; \
                       apk --version >/dev/null; ls /etc/motd /home 2>/dev/null || echo gone";

#[test]
fn roots_images_are_used_where_they_lie() {
    for user in [User::Root, User::Subuid] {
        let Some(shared) = Shared::by_root(user) else {
            continue;
        };
        let before = shared.owner.snapshot();
        let outcome = shared
            .onggi(["run", "--rm", ALPINE, "sh", "-c", CHANGES])
            .run();
        outcome.code(0).stdout("0:42\n5:6\ngone\n").stderr("");
        assert_eq!(layers(&shared.user), 0);
        // A container that stays, and what is done with one that does not run.
        let script = "echo kept >/kept; rm -f /etc/issue";
        shared.told(["run", "--name", "stays", ALPINE, "sh", "-c", script]);
        let diff = run(&shared.user, &["diff", "stays"]);
        assert!(
            diff.contains("A /kept\n") && diff.contains("D /etc/issue\n"),
            "{diff}"
        );
        let copied = shared
            .user
            .onggi(["cp", "stays:/etc/alpine-release", "-"])
            .run();
        assert!(copied.code(0).stdout_text().contains("3.20.3"));
        run(&shared.user, &["start", "-a", "stays"]);
        shared.told(["commit", "stays", "mine:1"]);
        assert_eq!(layers(&shared.user), 1);
        let outcome = shared
            .user
            .onggi(["run", "--rm", "mine:1", "cat", "/kept"])
            .run();
        outcome.code(0).stdout("kept\n");
        shared.owner.assert_unchanged(&before);
        let check = shared.user.onggi(["system", "check"]).run();
        check.code(0).stderr("");
    }
}

#[test]
fn other_ids_are_mapped_for_root_and_copied_for_users() {
    for user in [User::Root, User::Subuid] {
        let Some(shared) = Shared::by_root(user) else {
            continue;
        };
        let before = shared.owner.snapshot();
        let own = shared.user.own_user_namespace();
        let words = [
            "run", "--rm", own[0], own[1], "-u", "0", ALPINE, "sh", "-c", CHANGES,
        ];
        let outcome = shared.onggi(words).run();
        outcome.code(0).stdout("0:42\n5:6\ngone\n");
        let copies = usize::from(user == User::Subuid);
        assert_eq!(layers(&shared.user), copies);
        let told = outcome.stderr_text();
        assert_eq!(told.matches("copying image").count(), copies, "{told}");
        shared.owner.assert_unchanged(&before);
        // The copy has no name of its own, and what the other store calls it.
        let names = "{{.Repository}}:{{.Tag}} {{.ReadOnly}}";
        let listed = shared.told(["images", "--format", names]);
        assert_eq!(listed, format!("{ALPINE} {}\n", copies == 0));
        shared.told(["image", "prune", "-f"]);
        assert_eq!(layers(&shared.user), copies);
        shared.told(["image", "prune", "-af"]);
        assert_eq!(layers(&shared.user), 0);
    }
}

#[test]
fn who_has_one_id_gets_a_copy_once() {
    let Some(shared) = Shared::by_root(User::Single) else {
        return;
    };
    let before = shared.owner.snapshot();
    let words = [
        "run",
        "--rm",
        ALPINE,
        "sh",
        "-c",
        "echo x >>/etc/shadow && cat /etc/alpine-release",
    ];
    let outcome = shared.onggi(words).run();
    outcome
        .code(0)
        .stdout("3.20.3\n")
        .stderr_has("copying image alpine:3.20 from another store, once: ");
    let outcome = shared.onggi(words).run();
    outcome.code(0).stdout("3.20.3\n").stderr("");
    assert_eq!(layers(&shared.user), 1);
    shared.owner.assert_unchanged(&before);
}

#[test]
fn what_cannot_be_entered_is_told_with_what_helps() {
    for user in everyone().filter(|store| store.user != User::Root) {
        let Some(owner) = store(User::Root) else {
            return;
        };
        run(&owner, &["images"]);
        let data = owner.data();
        let data = data.to_str().unwrap();
        let outcome = user.onggi(["--imagestore", data, "images"]).run();
        outcome
            .code(1)
            .stderr_has("Permission denied")
            .stderr_has("sudo onggi system share-images ");
        // A setting may be meant for everybody on the machine: it is in nobody's way.
        let outcome = user
            .onggi(["images", "-q"])
            .env("ONGGI_IMAGE_STORES", data)
            .run();
        outcome
            .code(0)
            .stdout("")
            .stderr_has("is left out")
            .stderr_has("Permission denied");
        let outcome = user.onggi(["system", "share-images", "root"]).run();
        outcome.code(1).stderr_has("only root can");
        let outcome = user.onggi(["--imagestore", "/nonexistent", "images"]).run();
        outcome.code(1).stderr_has("there is no store of images");
    }
}

/// Whoever may enter a view may not do as another user outside of a container.
#[test]
fn a_view_gives_nothing_but_images_away() {
    let Some(shared) = Shared::by_root(User::Subuid) else {
        return;
    };
    let shell = |script: &str| {
        let mut command = shared.user.command("sh");
        let output = command
            .args(["-c", script, "sh"])
            .arg(&shared.place)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (_, names) = shell("ls \"$1\"");
    assert_eq!(names, "images\nlayers\nstore.json\n");
    assert!(!shell("touch \"$1\"/x || touch \"$1\"/layers/x || touch \"$1\"/images/x").0);
    let (_, options) = shell("grep \" $1/layers \" /proc/self/mountinfo");
    for option in ["ro", "nosuid", "nodev", "nosymfollow", "idmapped"] {
        assert!(options.contains(option), "{option} in {options}");
    }
    // Another user does not get that far.
    if let Some(other) = store(User::Single) {
        let mut ls = other.command("ls");
        assert!(!ls.arg(&shared.place).output().unwrap().status.success());
    }
    let uid = shared.user.account.uid.to_string();
    let ended = shared
        .owner
        .onggi(["system", "share-images", "--remove", &uid])
        .run();
    ended.code(0).stdout(&format!("{uid}\n"));
    let again = shared
        .owner
        .onggi(["system", "share-images", "--remove", &uid])
        .run();
    again.code(1).stderr_has("no images are shown to");
    assert_eq!(shell("ls \"$1\"").1, "");
    assert!(!shared.place.exists());
    let unknown = shared
        .owner
        .onggi(["system", "share-images", "nobody-such"])
        .run();
    unknown.code(1).stderr_has("there is no user nobody-such");
}

#[test]
fn one_users_images_are_anothers() {
    let (Some(owner), Some(user)) = (store(User::Subuid), store(User::Root)) else {
        return;
    };
    if !owner.alpine() {
        return;
    }
    // To root's eyes the files belong to the user's ids, which are not those of root's containers.
    let data = owner.data();
    let before = owner.snapshot();
    let words = [
        "--imagestore",
        data.to_str().unwrap(),
        "run",
        "--rm",
        ALPINE,
        "sh",
        "-c",
        CHANGES,
    ];
    let outcome = user.onggi(words).run();
    outcome
        .code(0)
        .stdout("0:42\n5:6\ngone\n")
        .stderr_has("copying image");
    // Root may show them to another one with enough ids; the same user has them already.
    let mut root = user.command(crate::support::store::program());
    let shown = root
        .arg("--root")
        .arg(&data)
        .arg("--runroot")
        .arg(user.run_root());
    let shown = Call::new(std::mem::replace(shown, std::process::Command::new("true")));
    let uid = owner.account.uid.to_string();
    let place = shown.args(["system", "share-images", &uid]).run();
    let place = place.code(0).stdout_text();
    let Some(third) = store(User::Subuid) else {
        return;
    };
    let words = [
        "--imagestore",
        place.trim(),
        "run",
        "--rm",
        ALPINE,
        "sh",
        "-c",
        CHANGES,
    ];
    third
        .onggi(words)
        .run()
        .code(0)
        .stdout("0:42\n5:6\ngone\n")
        .stderr("");
    assert_eq!(layers(&third), 0);
    owner.assert_unchanged(&before);
}

#[test]
fn nothing_is_written_there() {
    let (Some(owner), Some(user)) = (store(User::Root), store(User::Root)) else {
        return;
    };
    if !owner.alpine() {
        return;
    }
    let data = owner.data();
    let store = ["--imagestore", data.to_str().unwrap()];
    let call = |words: &[&str]| user.onggi(store.iter().chain(words));
    let before = owner.snapshot();
    let id = run(&owner, &["images", "-q", "--no-trunc"]);
    for name in [ALPINE, id.trim()] {
        for force in [&["rmi"][..], &["rmi", "-f"]] {
            let outcome = call(&[force, &[name]].concat()).run();
            outcome.code(1).stderr_has("which is only read");
        }
    }
    call(&["image", "prune", "-af"])
        .run()
        .code(0)
        .stdout("Total reclaimed space: 0B\n");
    call(&["system", "prune", "-af"]).run().code(0);
    // A tag goes into the own names and brings no layer along.
    call(&["tag", ALPINE, "mine:1"]).run().code(0);
    assert_eq!(layers(&user), 0);
    owner.assert_unchanged(&before);
    let names = "{{.Repository}}:{{.Tag}}";
    assert_eq!(run(&user, &["images", "--format", names]), "mine:1\n");
    let both = call(&["images", "--format", names]).run();
    let both: std::collections::BTreeSet<String> = both
        .code(0)
        .stdout_text()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(both, [ALPINE.to_owned(), "mine:1".to_owned()].into());
    for (filter, count) in [("readonly=true", 0), ("readonly=false", 2)] {
        let listed = call(&["images", "-q", "--filter", filter]).run();
        assert_eq!(
            listed.code(0).stdout_text().lines().count(),
            count,
            "{filter}"
        );
    }
    // Without the option the layers are found where the record says.
    user.onggi(["run", "--rm", "mine:1", "cat", "/etc/alpine-release"])
        .run()
        .code(0)
        .stdout("3.20.3\n");
    let saved = user.onggi(["save", "mine:1"]).run();
    assert!(saved.code(0).stdout_bytes().len() > 7_000_000);
    let inspected = call(&[
        "image",
        "inspect",
        "--format",
        "{{.GraphDriver.Data.UpperDir}}",
        ALPINE,
    ])
    .run();
    assert!(
        inspected
            .code(0)
            .stdout_text()
            .starts_with(data.to_str().unwrap())
    );
    run(&user, &["rmi", "mine:1"]);
    let left = call(&["images", "--format", "{{.Repository}} {{.ReadOnly}}"]).run();
    left.code(0).stdout("alpine true\n");
    let table = call(&["images"]).run();
    assert!(
        table
            .code(0)
            .stdout_text()
            .lines()
            .next()
            .unwrap()
            .ends_with("R/O")
    );
    owner.assert_unchanged(&before);
}

#[test]
fn the_own_store_comes_first_and_then_the_others_in_their_order() {
    let stores: Vec<Store> = (0..3).filter_map(|_| store(User::Root)).collect();
    let [first, second, user] = &stores[..] else {
        return;
    };
    let import = |store: &Store, name: &str, message: &str| {
        let call = store
            .onggi(["import", "-m", message, "-", name])
            .stdin([0; 1024]);
        call.run().code(0);
    };
    import(first, "a:1", "first a");
    import(second, "a:1", "second a");
    import(second, "b:1", "second b");
    let (one, two) = (first.data(), second.data());
    let stores = [
        "--imagestore",
        one.to_str().unwrap(),
        "--imagestore",
        two.to_str().unwrap(),
    ];
    let comment = |name: &str| {
        let words = ["image", "inspect", "--format", "{{.Comment}}", name];
        let told = user.onggi(stores.iter().chain(&words)).run();
        told.code(0).stdout_text().trim().to_owned()
    };
    assert_eq!(
        (comment("a:1"), comment("b:1")),
        ("first a".into(), "second b".into())
    );
    import(user, "a:1", "own a");
    assert_eq!(comment("a:1"), "own a");
    let listed = user
        .onggi(
            stores
                .iter()
                .chain(&["images", "--format", "{{.Repository}} {{.ReadOnly}}"]),
        )
        .run();
    let listed = listed.code(0).stdout_text();
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["<none> true", "<none> true", "a false", "b true"]);
    // The setting does the same.
    let both = format!("{}:{}", one.display(), two.display());
    let outcome = user
        .onggi(["image", "inspect", "--format", "{{.Comment}}", "b:1"])
        .env("ONGGI_IMAGE_STORES", &both)
        .run();
    outcome.code(0).stdout("second b\n");
}

/// The owner may do what he likes: who runs keeps what he has, and whoever comes later is told.
#[test]
fn a_layer_in_use_survives_its_removal() {
    for user in [User::Root, User::Subuid] {
        let Some(shared) = Shared::by_root(user) else {
            continue;
        };
        shared.told(["run", "-d", "--name", "up", ALPINE, "sleep", "1000"]);
        shared.told(["create", "--name", "later", ALPINE, "true"]);
        run(&shared.owner, &["rmi", ALPINE]);
        run(&shared.owner, &["system", "prune", "-af"]);
        assert_eq!(layers(&shared.owner), 1);
        // What is in use is no mistake of the store, and mending takes it from nobody.
        run(&shared.owner, &["system", "check"]);
        run(&shared.owner, &["system", "check", "--repair"]);
        assert_eq!(layers(&shared.owner), 1);
        let outcome = shared.user.onggi(["exec", "up", "apk", "--version"]).run();
        outcome.code(0);
        shared
            .onggi(["run", "--rm", "--pull", "never", ALPINE, "true"])
            .run()
            .code(125);
        run(&shared.user, &["rm", "-f", "up"]);
        run(&shared.owner, &["image", "prune", "-af"]);
        assert_eq!(layers(&shared.owner), 0);
        let outcome = shared.user.onggi(["start", "later"]).run();
        outcome
            .code(1)
            .stderr_has("is gone from the image store")
            .stderr_has("onggi pull");
        run(&shared.user, &["rm", "later"]);
    }
}

/// Many runs of several users while the owner takes images in and away again: each is whole or not at all.
#[test]
fn many_users_at_once() {
    let users = [User::Root, User::Subuid, User::Single];
    let (Some(owner), users) = (store(User::Root), users.into_iter().filter_map(store)) else {
        return;
    };
    let users: Vec<(Store, PathBuf)> = users
        .map(|user| {
            run(&owner, &["images"]);
            let place = show(&owner, &user, &[]);
            (user, place)
        })
        .collect();
    if !owner.alpine() || users.len() < 2 {
        skip("it takes several users");
        return;
    }
    let check = "cat /etc/alpine-release; test -x /sbin/apk && find / -xdev | wc -l";
    let run_one = |store: &Store, place: &Path| {
        let place = place.to_str().unwrap();
        let words = [
            "--imagestore",
            place,
            "run",
            "--rm",
            "--pull",
            "never",
            ALPINE,
            "sh",
            "-c",
            check,
        ];
        let outcome = store.onggi(words).run();
        (
            outcome.exit_code().unwrap_or(-1),
            outcome.stdout_text(),
            outcome.stderr_text(),
        )
    };
    let whole: Vec<String> = users
        .iter()
        .map(|(store, place)| run_one(store, place).1)
        .collect();
    std::thread::scope(|scope| {
        let owner = &owner;
        scope.spawn(move || {
            for _ in 0..6 {
                run(owner, &["rmi", "-f", ALPINE]);
                assert!(owner.alpine());
            }
        });
        for ((store, place), whole) in users.iter().zip(&whole) {
            scope.spawn(move || {
                for _ in 0..8 {
                    match run_one(store, place) {
                        (0, told, _) => assert_eq!(&told, whole),
                        (code, _, error) => {
                            let reasons = ["No such image", "is gone from the image store"];
                            let is_clear = reasons.iter().any(|reason| error.contains(reason));
                            assert!(code == 125 && is_clear, "{code}: {error}");
                        }
                    }
                }
            });
        }
    });
    run(&owner, &["system", "check"]);
}

/// What a container of an image sees: names, modes, owners, contents and capabilities.
const LOOK: &str = "find / -xdev \\( -path /dev -o -path /proc -o -path /sys -o -path /etc/hosts -o -path /etc/hostname \
                    -o -path /etc/resolv.conf \\) -prune -o ! -type c -print0 | sort -z | xargs -0 stat -c '%n %a %u:%g %F'; \
                    find / -xdev -type f ! -path '/etc/*' ! -path '/proc/*' ! -path '/sys/*' | sort | xargs md5sum";

/// Directories that hide what is below them are marked for root's overlays, which those of users do not look for.
#[test]
fn layers_that_hide_directories_look_the_same() {
    let (Some(owner), Some(user)) = (store(User::Root), store(User::Subuid)) else {
        return;
    };
    let Some(name) = owner.load("alpine-caps-opaque-oci") else {
        return;
    };
    let words = ["run", "--rm", name.as_str(), "sh", "-c", LOOK];
    let expected = run(&owner, &words);
    let place = show(&owner, &user, &[]);
    let option = ["--imagestore", place.to_str().unwrap()];
    let call = user.onggi(option.iter().chain(&words));
    let outcome = call.env("ONGGI_LAYER_DEVICES", "skip").run();
    let told = outcome.code(0).stdout_text();
    assert!(told == expected, "{told}\n--- and not\n{expected}");
    let copied = outcome.stderr_text().contains("copying image");
    assert_eq!(layers(&user), if copied { layers(&owner) } else { 0 });
    assert!(copied);
}
