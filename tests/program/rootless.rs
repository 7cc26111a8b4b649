//! The three tiers of ordinary users: a range of ids, a single one, refused (user_namespaces(7), subuid(5)).

use crate::support::{
    ALPINE, Call, Need, User, everyone_with_alpine, requires, store, without_user_namespaces,
};

fn fields(text: &str) -> Vec<Vec<u32>> {
    let numbers = |line: &str| {
        line.split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect()
    };
    text.lines().map(numbers).collect()
}

#[test]
fn ids_are_mapped_as_far_as_they_are_ours() {
    for store in everyone_with_alpine() {
        let outcome = store
            .onggi(["run", "--rm", ALPINE, "cat", "/proc/self/uid_map"])
            .run();
        let map = fields(&outcome.code(0).stdout_text());
        let own = store.account.uid;
        match store.user {
            User::Root => assert_eq!(
                map,
                fields(&std::fs::read_to_string("/proc/self/uid_map").unwrap())
            ),
            User::Subuid => {
                assert_eq!(map[0], [0, own, 1]);
                assert!(
                    map.len() == 2 && map[1][0] == 1 && map[1][2] >= 65536,
                    "{map:?}"
                );
            }
            User::Single => assert_eq!(map, [[0, own, 1]]),
        }
    }
}

/// What scripts in images do with users works with one id too, because it is pretended.
#[test]
fn service_users_can_be_made_and_become() {
    for store in everyone_with_alpine() {
        let script = "set -e; adduser -D -s /bin/sh svc; mkdir /srv/svc; chown -R svc:svc /srv/svc; \
                      su svc -c 'echo ran >/srv/svc/file'; cat /srv/svc/file; chgrp mail /srv/svc; addgroup x";
        store.shell(&[], script).run().code(0).stdout("ran\n");
    }
}

#[test]
fn keep_id_keeps_it() {
    let Some(store) = store(User::Subuid).filter(|store| store.alpine()) else {
        return;
    };
    let own = format!("{}:{}\n", store.account.uid, store.account.gid);
    store
        .shell(&["--userns", "keep-id"], "echo $(id -u):$(id -g)")
        .run()
        .code(0)
        .stdout(&own);
}

#[test]
fn where_namespaces_are_forbidden_the_sysctl_is_named() {
    if !requires(&[
        Need::Root,
        Need::Program("setpriv"),
        Need::Program("unshare"),
    ]) {
        return;
    }
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        let before = store.snapshot();
        let run = store.onggi(["run", "--rm", ALPINE, "true"]);
        let outcome = without_user_namespaces(&store, run);
        outcome
            .code(125)
            .stdout("")
            .stderr_has("user.max_user_namespaces");
        store.assert_unchanged(&before);
    }
}

#[test]
fn without_a_runtime_directory() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        for directory in [None, Some("/nonexistent"), Some("/root")] {
            let call = Call::new(store.command(crate::support::store::program()));
            let call = call
                .args(["--root"])
                .args([store.data()])
                .args(["run", "--rm", ALPINE, "echo", "hi"]);
            let call = match directory {
                None => call.without("XDG_RUNTIME_DIR"),
                Some(path) => call.env("XDG_RUNTIME_DIR", path),
            };
            call.run().code(0).stdout("hi\n");
        }
        remove_runtime_directories(store.account.uid);
    }
}

/// Where the program keeps them without a runtime directory.
fn remove_runtime_directories(uid: u32) {
    let prefix = format!("onggi-{uid}-");
    for entry in std::fs::read_dir("/tmp").unwrap().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

#[test]
fn a_home_is_enough() {
    for store in everyone_with_alpine().filter(|store| store.user != User::Root) {
        let Some(archive) = crate::support::image("busybox-musl-multiarch-oci") else {
            return;
        };
        let call =
            |words: &[&str]| Call::new(store.command(crate::support::store::program())).args(words);
        call(&["load", "-i", archive.to_str().unwrap()])
            .run()
            .code(0);
        call(&["images", "-q"]).run().code(0);
        assert!(store.home().join(".local/share/onggi").is_dir());
    }
}

#[test]
fn the_home_of_another_is_told_with_its_owner() {
    let Some(store) = store(User::Subuid).filter(|_| crate::support::host::is_root()) else {
        return;
    };
    let home = store.path().join("other");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let call = Call::new(store.command(crate::support::store::program()));
    let outcome = call.args(["images"]).env("HOME", &home).run();
    let hint = format!(
        "try: HOME is `{}`, which belongs to uid 0: `sudo -H`",
        home.display()
    );
    outcome
        .code(1)
        .stderr_has("Permission denied")
        .stderr_has(&hint);
    // A file that was named is nothing of the home directory's.
    let file = store.file("secret.tar", "");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let load = store.onggi(["load", "-i", file.to_str().unwrap()]);
    load.env("HOME", "/")
        .run()
        .code(1)
        .stderr_has("Permission denied")
        .stderr_lacks("HOME is");
}

#[test]
fn a_setting_that_is_wrong_is_told_by_its_file_and_key() {
    let Some(store) = store(User::Subuid) else {
        return;
    };
    std::fs::create_dir_all(store.home().join(".config/onggi")).unwrap();
    let file = store.file(
        ".config/onggi/settings.json",
        r#"{"storage.keep-blobs": "yes"}"#,
    );
    std::fs::set_permissions(
        file.parent().unwrap(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let outcome = store.onggi(["images"]).run();
    outcome.code(0).stderr(&format!(
        "onggi: warning: read `{}`: setting `storage.keep-blobs` is `yes`, expected `true` or `false`; until that is mended \
         the setting `image-stores` does not count\n",
        file.display()
    ));
}
