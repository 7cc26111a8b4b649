//! Names and images go by Docker's rules; layers go with the last image that has them, and not before.

use super::Library;
use super::plan;
use onggi::error::{Kind, kind};
use onggi::image::digest::Digest;
use onggi::image::filter::{Filter, PRUNE};
use onggi::image::prune::prune;
use onggi::image::remove::{Removal, Removed, User, remove};
use onggi::image::{hello, store, tag};

fn nobody(_: &Digest) -> anyhow::Result<Vec<User>> {
    Ok(Vec::new())
}

fn user(running: bool) -> impl Fn(&Digest) -> anyhow::Result<Vec<User>> {
    move |_| {
        Ok(vec![User {
            container: "c".repeat(64),
            running,
        }])
    }
}

/// What was done, in Docker's words, with digests shortened.
fn words(removal: &Removal) -> Vec<String> {
    let word = |step: &Removed| match step {
        Removed::Untagged(name) => format!("Untagged: {name}"),
        Removed::Deleted(digest) => format!("Deleted: {}", digest.short()),
    };
    removal.steps.iter().map(word).collect()
}

/// An image whose first layer all have in common, with a second of its own.
fn two_layers(library: &Library, name: &str) -> Digest {
    let (base, own) = (
        plan::tar(&[("base", b"b")]),
        plan::tar(&[("own", name.as_bytes())]),
    );
    let architecture = onggi::image::platform::Platform::host().architecture;
    let config = plan::config(&architecture, &[&Digest::of(&base), &Digest::of(&own)]);
    let manifest = format!(r#"[{{"Config":"c","RepoTags":["{name}"],"Layers":["1","2"]}}]"#);
    let archive = plan::tar(&[
        ("manifest.json", manifest.as_bytes()),
        ("c", &config),
        ("1", &base),
        ("2", &own),
    ]);
    let file = library.directory.path().join("archive");
    std::fs::write(&file, archive).unwrap();
    library.load(&file).unwrap().images[0].id.clone()
}

#[test]
fn shared_layers_stay_until_the_last_image_goes() {
    let library = Library::new();
    let (one, two) = (two_layers(&library, "one:1"), two_layers(&library, "two:1"));
    assert_eq!(library.layers(), 3);
    let first = remove(&library.paths, "one:1", false, &nobody).unwrap();
    assert_eq!(
        words(&first)[..2],
        [
            "Untagged: one:1".to_owned(),
            format!("Deleted: {}", one.short())
        ]
    );
    assert_eq!(
        (words(&first).len(), first.reclaimed, library.layers()),
        (3, 5, 2)
    );
    let second = remove(&library.paths, two.short(), false, &nobody).unwrap();
    assert_eq!(
        (words(&second).len(), second.reclaimed, library.layers()),
        (4, 6, 0)
    );
    assert!(store::list(&library.paths).unwrap().is_empty());
    assert_eq!(
        std::fs::read_dir(library.paths.staging()).unwrap().count(),
        0
    );
}

#[test]
fn one_name_of_several_goes_alone_and_an_id_asks_for_force() {
    let library = Library::new();
    let id = two_layers(&library, "one:1");
    tag::tag(&library.paths, "one:1", "other/name:2").unwrap();
    let conflict = remove(&library.paths, id.short(), false, &nobody).unwrap_err();
    assert_eq!(
        conflict.to_string(),
        format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            id.short()
        )
    );
    assert_eq!(
        words(&remove(&library.paths, "one:1", false, &nobody).unwrap()),
        ["Untagged: one:1"]
    );
    assert!(store::find(&library.paths, "one:1").is_err());
    tag::tag(&library.paths, id.hex(), "one").unwrap();
    let all = words(&remove(&library.paths, id.short(), true, &nobody).unwrap());
    assert_eq!(all[..2], ["Untagged: one:latest", "Untagged: other/name:2"]);
    assert_eq!(library.layers(), 0);
}

#[test]
fn an_image_in_use_stays() {
    let library = Library::new();
    let id = two_layers(&library, "one:1");
    let short = id.short();
    for (name, force, running, part) in [
        (
            "one:1",
            false,
            false,
            format!(
                "conflict: unable to remove repository reference \"one:1\" (must force) - container cccccccccccc is using its referenced image {short}"
            ),
        ),
        (
            short,
            false,
            false,
            format!(
                "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
            ),
        ),
        (
            short,
            false,
            true,
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
            ),
        ),
        (
            short,
            true,
            true,
            format!(
                "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
            ),
        ),
    ] {
        let error = remove(&library.paths, name, force, &user(running)).unwrap_err();
        assert_eq!(
            (error.to_string(), kind(&error)),
            (part, Some(Kind::Conflict))
        );
        assert_eq!(store::find(&library.paths, "one:1").unwrap().id, id);
    }
    // Force takes the name; the image itself is still needed.
    assert_eq!(
        words(&remove(&library.paths, "one:1", true, &user(true)).unwrap()),
        ["Untagged: one:1"]
    );
    assert_eq!(store::find(&library.paths, short).unwrap().id, id);
    assert!(remove(&library.paths, short, true, &user(false)).is_err());
    assert_eq!(library.layers(), 2);
}

#[test]
fn prune_takes_what_has_no_name_or_all() {
    let library = Library::new();
    let named = two_layers(&library, "one:1");
    let nameless = two_layers(&library, "two:1");
    tag::tag(&library.paths, "one:1", "two:1").unwrap();
    let all = Filter::default();
    let labelled = Filter::new(
        &library.paths,
        PRUNE,
        &[("label".to_owned(), "of=nobody".to_owned())],
    )
    .unwrap();
    assert!(
        prune(&library.paths, true, &labelled, &nobody)
            .unwrap()
            .steps
            .is_empty()
    );
    assert!(
        prune(&library.paths, true, &all, &user(false))
            .unwrap()
            .steps
            .is_empty()
    );
    let first = prune(&library.paths, false, &all, &nobody).unwrap();
    assert_eq!(
        (words(&first)[0].clone(), first.reclaimed),
        (format!("Deleted: {}", nameless.short()), 5)
    );
    let second = prune(&library.paths, true, &all, &nobody).unwrap();
    assert_eq!(words(&second)[..2], ["Untagged: one:1", "Untagged: two:1"]);
    assert_eq!(words(&second)[2], format!("Deleted: {}", named.short()));
    assert_eq!(library.layers(), 0);
}

#[test]
fn images_are_found_by_name_id_and_prefix() {
    let library = Library::new();
    let id = two_layers(&library, "one:1");
    for name in [
        "one:1",
        "docker.io/library/one:1",
        id.hex(),
        &id.to_string(),
        id.short(),
        &id.hex()[..1],
        &id.to_string()[..9],
    ] {
        assert_eq!(store::find(&library.paths, name).unwrap().id, id, "{name}");
    }
    for (name, text) in [
        ("one", "No such image: one:latest"),
        ("quay.io/one:1", "No such image: quay.io/one:1"),
        ("sha256:00000000", "No such image: sha256:00000000"),
        ("../one", "invalid reference format"),
        (
            "One:1",
            "invalid reference format: repository name (One) must be lowercase",
        ),
    ] {
        assert_eq!(
            store::find(&library.paths, name).unwrap_err().to_string(),
            text
        );
    }
    // A name wins over a prefix, and a prefix that two have is none.
    let prefix = &id.hex()[..4];
    tag::tag(&library.paths, "one:1", prefix).unwrap();
    let mut other = 0;
    let twin = loop {
        let twin = two_layers(&library, &format!("twin:{other}"));
        other += 1;
        if twin.hex()[..1] == id.hex()[..1] {
            break twin;
        }
    };
    assert_eq!(store::find(&library.paths, prefix).unwrap().id, id);
    let shared = &twin.hex()[..1];
    let error = store::find(&library.paths, shared).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("multiple IDs found with provided prefix: {shared}")
    );
}

/// Whoever loads pins the layers it builds on, whoever removes sees the pins: whatever the order, an image that
/// is here has all its layers.
#[test]
fn loads_and_removals_at_the_same_time_leave_whole_images() {
    let library = Library::new();
    let file = library.directory.path().join("archive");
    two_layers(&library, "one:1");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..15).for_each(|_| drop(library.load(&file).unwrap())));
            scope.spawn(|| {
                for _ in 0..15 {
                    match remove(&library.paths, "one:1", false, &nobody) {
                        Err(error) if kind(&error) != Some(Kind::NotFound) => panic!("{error:#}"),
                        _ => {}
                    }
                }
            });
        }
    });
    let images = store::list(&library.paths).unwrap();
    let layers: usize = images.iter().map(|image| image.layers.len()).sum();
    for layer in images.iter().flat_map(|image| &image.layers) {
        assert!(library.paths.layer_tree(layer).is_dir());
    }
    assert_eq!(library.layers(), layers);
    assert_eq!(
        std::fs::read_dir(library.paths.staging()).unwrap().count(),
        0
    );
}

#[test]
fn what_a_killed_command_worked_on_goes_with_the_image() {
    let library = Library::new();
    two_layers(&library, "one:1");
    let pins = library.paths.staging().join("killed/pins");
    std::fs::create_dir_all(&pins).unwrap();
    for layer in std::fs::read_dir(library.paths.layers()).unwrap() {
        std::fs::write(pins.join(layer.unwrap().file_name()), "").unwrap();
    }
    let removal = remove(&library.paths, "one:1", false, &nobody).unwrap();
    assert_eq!((library.layers(), removal.reclaimed), (0, 6));
}

#[test]
fn hello_is_made_of_the_running_program_once() {
    let library = Library::new();
    hello::ensure(&library.paths, &library.rules, &nobody).unwrap();
    let image = store::find(&library.paths, "hello").unwrap();
    let program = library.paths.layer_tree(&image.layers[0]).join("onggi");
    assert!(std::fs::read(&program).unwrap() == std::fs::read("/proc/self/exe").unwrap());
    hello::ensure(&library.paths, &library.rules, &nobody).unwrap();
    assert_eq!(store::find(&library.paths, "hello").unwrap().id, image.id);
    // Another program was there before: it is replaced, and nothing of it stays.
    std::fs::write(&program, "older").unwrap();
    hello::ensure(&library.paths, &library.rules, &nobody).unwrap();
    assert_eq!(store::list(&library.paths).unwrap().len(), 1);
    // An image of that name that somebody else made is left alone.
    let own = two_layers(&library, "hello:latest");
    hello::ensure(&library.paths, &library.rules, &nobody).unwrap();
    assert_eq!(store::find(&library.paths, "hello").unwrap().id, own);
}

#[test]
fn a_layer_that_stands_in_an_image_twice_is_counted_once() {
    let library = Library::new();
    let layer = plan::tar(&[("file", b"five!")]);
    let architecture = onggi::image::platform::Platform::host().architecture;
    let config = plan::config(&architecture, &[&Digest::of(&layer), &Digest::of(&layer)]);
    let archive = plan::tar(&[
        (
            "manifest.json",
            br#"[{"Config":"c","RepoTags":["twice:1"],"Layers":["1","1"]}]"#,
        ),
        ("c", &config),
        ("1", &layer),
    ]);
    let file = library.directory.path().join("archive");
    std::fs::write(&file, archive).unwrap();
    library.load(&file).unwrap();
    assert_eq!(library.layers(), 1);
    let removal = remove(&library.paths, "twice:1", false, &nobody).unwrap();
    // Docker names each place in the image, since each has a chain id of its own.
    assert_eq!((words(&removal).len(), removal.reclaimed), (4, 5));
    assert_eq!(library.layers(), 0);
}
