//! `image inspect` of what is elsewhere: what it shows is what it shows of the same image once that is here.

use crate::real::{DIGEST, IMAGE, Options, Registry};
use crate::server::Reply;
use crate::support::image;
use crate::{behind, somebody};
use serde_json::Value;

#[test]
fn what_is_elsewhere_is_shown_as_what_is_here() {
    let Some((_registry, server, store)) = behind(|_| Reply::Forward) else {
        return;
    };
    let name = server.name(IMAGE);
    let inspect = |arguments: &[&str]| {
        let outcome = store
            .onggi(["image", "inspect"].iter().chain(arguments))
            .run();
        outcome.code(0);
        outcome.json()[0].clone()
    };
    let remote = inspect(&[&format!("docker://{name}")]);
    assert_eq!(inspect(&["--remote", &name]), remote);
    // Of the layers nobody has asked for anything.
    let blobs = server
        .seen()
        .iter()
        .filter(|request| request.is_blob())
        .count();
    assert_eq!(blobs, 2, "two configs");
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
    store.onggi(["pull", "-q", &name]).run().code(0);
    let here = inspect(&[&name]);
    for (key, value) in remote.as_object().unwrap() {
        match key.as_str() {
            "Size" => assert!(value.as_u64() < here[key].as_u64(), "compressed"),
            "GraphDriver" => assert_eq!(value["Data"], Value::Null),
            "Metadata" => {}
            "Descriptor" => assert_eq!(value["size"], 1363),
            key => assert_eq!(*value, here[key], "{key}"),
        }
    }
    assert_eq!(
        here["RepoDigests"][0],
        format!("{}@{DIGEST}", server.name("image"))
    );
}

#[test]
fn platforms_are_chosen_and_mistakes_told() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let name = format!("docker://{}", registry.name(IMAGE));
    let inspect = |arguments: &[&str]| {
        store
            .onggi(["image", "inspect"].iter().chain(arguments))
            .run()
    };
    let format = "{{.Os}}/{{.Architecture}}{{with .Variant}}/{{.}}{{end}}";
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
        let shown = inspect(&["--platform", platform, "--format", format, &name]);
        shown.code(0).stdout_has(&platform[..11]);
    }
    let foreign = inspect(&["--platform", "linux/s390x", &name]);
    foreign.code(1).stdout("[]\n");
    foreign.stderr_has("it is offered for linux/amd64, linux/arm64, linux/arm/v7");
    let none = format!("docker://{}", registry.name("none:x"));
    let both = inspect(&["--format", "{{.Architecture}}", &none, &name]);
    both.code(1)
        .stderr_has(&format!("inspect `{none}`: manifest for"));
    assert_eq!(both.stdout_text().lines().count(), 1);
}

#[test]
fn files_are_looked_into_without_loading_them() {
    let Some(store) = somebody() else { return };
    for (spelling, file, id) in [
        ("oci:", "alpine-caps-opaque-oci", "sha256:d516f938bb34"),
        (
            "docker-archive:",
            "archives/test-docker-image.tar",
            "sha256:75ae28b8ebf8",
        ),
        (
            "oci-archive:",
            "archives/test-oci-gzip-image.tar",
            "sha256:3eaccc100f86",
        ),
    ] {
        let Some(path) = image(file) else { return };
        let place = format!("{spelling}{}", path.display());
        let shown = store
            .onggi(["image", "inspect", "--format", "{{slice .Id 0 19}}", &place])
            .run();
        shown.code(0).stdout(&format!("{id}\n"));
    }
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
}
