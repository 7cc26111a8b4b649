//! `pull` where another store has the layers already: nothing comes twice, whoever owns the other store and whatever he
//! does with it meanwhile.

use crate::real::{DIGEST, IMAGE};
use crate::server::{Reply, Server};
use crate::support::{Call, Store, User, store};
use crate::{Registry, behind};
use std::path::PathBuf;

fn layers(store: &Store) -> usize {
    std::fs::read_dir(store.data().join("layers")).map_or(0, Iterator::count)
}

/// Where a user finds the store of another, which root shows him.
fn place(owner: &Store, user: &Store) -> PathBuf {
    if user.user == User::Root {
        return owner.data();
    }
    let uid = user.account.uid.to_string();
    let shown = owner.onggi(["system", "share-images", &uid]).run();
    PathBuf::from(shown.code(0).stdout_text().trim())
}

fn pull(user: &Store, place: &std::path::Path, name: &str) -> Call {
    user.onggi(["--imagestore", place.to_str().unwrap(), "pull", name])
}

/// Requests for blobs of layers.
fn layers_asked(server: &Server, registry: &Registry) -> usize {
    let layers = registry.layers();
    let is_layer = |target: &str| layers.iter().any(|(digest, _)| target.contains(digest));
    let seen = server.seen();
    seen.iter()
        .filter(|request| is_layer(&request.path))
        .count()
}

#[test]
fn layers_that_another_store_has_do_not_come_again() {
    let Some((registry, server, owner)) = behind(|_| Reply::Forward) else {
        return;
    };
    if owner.user != User::Root {
        return;
    }
    let name = server.name(IMAGE);
    owner.onggi(["pull", "-q", &name]).run().code(0);
    let asked = layers_asked(&server, &registry);
    let count = layers(&owner);
    assert!(asked >= count && count > 0);
    for user in [User::Root, User::Subuid, User::Single]
        .into_iter()
        .filter_map(store)
    {
        let place = place(&owner, &user);
        let before = owner.snapshot();
        let outcome = pull(&user, &place, &name).run();
        let told = outcome.code(0).stderr("").stdout_text();
        assert_eq!(
            told.matches(": Already exists").count(),
            registry.layers().len(),
            "{told}"
        );
        assert!(
            told.contains(&format!(
                "Digest: {DIGEST}\nStatus: Downloaded newer image for {name}"
            )),
            "{told}"
        );
        // One id is not enough for files of several.
        let copied = if user.user == User::Single { count } else { 0 };
        assert_eq!(layers(&user), copied, "{:?}", user.user);
        assert_eq!(layers_asked(&server, &registry), asked, "{:?}", user.user);
        let again = pull(&user, &place, &name).run();
        again.code(0).stdout_has("Status: Image is up to date");
        // It is an image of this store now, which knows where its layers are.
        let listed = user.onggi(["images", "--format", "{{.ReadOnly}}"]).run();
        listed.code(0).stdout("false\n");
        user.onggi(["system", "check"]).run().code(0).stderr("");
        let saved = user.onggi(["save", &name]).run();
        assert_eq!(
            saved.code(0).stdout_bytes(),
            owner.onggi(["save", &name]).run().stdout_bytes()
        );
        owner.assert_unchanged(&before);
        user.onggi(["rmi", &name]).run().code(0);
        assert_eq!(layers(&user), 0);
        owner.assert_unchanged(&before);
    }
}

#[test]
fn what_has_gone_there_comes_from_the_registry() {
    let Some((registry, server, owner)) = behind(|_| Reply::Forward) else {
        return;
    };
    let Some(user) = store(User::Subuid).filter(|_| owner.user == User::Root) else {
        return;
    };
    let name = server.name(IMAGE);
    owner.onggi(["pull", "-q", &name]).run().code(0);
    let place = place(&owner, &user);
    pull(&user, &place, &name).run().code(0);
    assert_eq!(layers(&user), 0);
    owner.onggi(["rmi", &name]).run().code(0);
    let gone = user
        .onggi(["run", "--rm", "--pull", "never", &name, "true"])
        .run();
    gone.code(125)
        .stderr_has("is gone from the image store")
        .stderr_has("onggi pull");
    let check = user.onggi(["system", "check"]).run();
    check.stdout_has("missing-layer");
    let asked = layers_asked(&server, &registry);
    pull(&user, &place, &name).run().code(0);
    assert!(layers_asked(&server, &registry) > asked && layers(&user) > 0);
    user.onggi(["system", "check", "--deep"]).run().code(0);
    user.onggi(["save", &name]).run().code(0);
}

/// Several users pull at once what the owner pulls and removes again and again.
#[test]
fn many_pulls_at_once() {
    let Some((_registry, server, owner)) = behind(|_| Reply::Forward) else {
        return;
    };
    if owner.user != User::Root {
        return;
    }
    owner.onggi(["images"]).run().code(0);
    let users = [User::Root, User::Subuid, User::Subuid, User::Single];
    let users: Vec<Store> = users.into_iter().filter_map(store).collect();
    let name = server.name(IMAGE);
    let places: Vec<PathBuf> = users.iter().map(|user| place(&owner, user)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..5 {
                owner.onggi(["pull", "-q", &name]).run().code(0);
                owner.onggi(["rmi", "-f", &name]).run().code(0);
            }
        });
        for (user, place) in users.iter().zip(&places) {
            let name = &name;
            scope.spawn(move || {
                for _ in 0..4 {
                    pull(user, place, name).run().code(0);
                    user.onggi(["rmi", "-f", name]).run().code(0);
                }
            });
        }
    });
    for (user, place) in users.iter().zip(&places) {
        pull(user, place, &name).run().code(0);
        let option = ["--imagestore", place.to_str().unwrap()];
        user.onggi(option.iter().chain(&["system", "check", "--deep"]))
            .run()
            .code(0);
    }
    // What was in use when its image went has gone by now, or goes with this.
    owner.onggi(["image", "prune", "-f"]).run().code(0);
    assert_eq!(layers(&owner), 0);
    owner.onggi(["system", "check", "--deep"]).run().code(0);
}
