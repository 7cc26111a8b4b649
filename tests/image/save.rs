//! What `save` writes: the same bytes each time, read by our own `load`, by skopeo and by podman.

use super::Library;
use super::support::{Need, image, requires};
use onggi::image::platform::Platform;
use onggi::image::save::save;
use onggi::image::{store, tag};
use onggi::store::atomic;
use std::path::Path;
use std::process::Command;

fn saved(library: &Library, names: &[&str]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut bytes = Vec::new();
    save(&library.paths, &names, None, &mut bytes).unwrap();
    bytes
}

fn filled() -> Option<Library> {
    let library = Library::new();
    for path in [
        "archives/test-docker-image.tar",
        "archives/alpine-caps-opaque.docker.tar",
    ] {
        library.load_for(&image(path)?, "linux/amd64").unwrap();
    }
    tag::tag(&library.paths, "dive-test", "dive-test:2").unwrap();
    Some(library)
}

#[test]
fn what_is_saved_comes_in_again_as_it_was() {
    let Some(library) = filled() else { return };
    let bytes = saved(&library, &["dive-test", "alpine-caps:v1"]);
    assert!(
        bytes == saved(&library, &["dive-test", "alpine-caps:v1"]),
        "two archives differ"
    );
    let file = library.directory.path().join("saved.tar");
    std::fs::write(&file, &bytes).unwrap();
    let other = Library::new();
    other.load_for(&file, "linux/amd64").unwrap();
    for name in ["dive-test:latest", "dive-test:2", "alpine-caps:v1"] {
        let (before, after) = (
            store::find(&library.paths, name).unwrap(),
            store::find(&other.paths, name).unwrap(),
        );
        assert_eq!(
            (before.id, before.layers, before.size),
            (after.id, after.layers, after.size)
        );
    }
    // By id it has no name.
    let id = store::find(&library.paths, "alpine-caps:v1").unwrap().id;
    std::fs::write(&file, saved(&library, &[id.short()])).unwrap();
    let loaded = Library::new().load_for(&file, "linux/amd64").unwrap();
    assert!(loaded.images[0].id == id && loaded.images[0].names.is_empty());
}

fn save_to(
    library: &Library,
    name: &str,
    platform: Option<&Platform>,
    path: &Path,
) -> anyhow::Result<()> {
    let names = [name.to_owned()];
    atomic::stream(path, |out| save(&library.paths, &names, platform, out))
}

#[test]
fn a_file_is_whole_or_not_there() {
    let Some(library) = filled() else { return };
    let file = library.directory.path().join("saved.tar");
    save_to(&library, "alpine-caps:v1", None, &file).unwrap();
    assert!(std::fs::read(&file).unwrap() == saved(&library, &["alpine-caps:v1"]));
    let layer = store::find(&library.paths, "alpine-caps:v1")
        .unwrap()
        .layers[0]
        .clone();
    std::fs::remove_file(library.paths.layer_tree(&layer).join("etc/alpine-release")).unwrap();
    std::fs::remove_file(&file).unwrap();
    let before = std::fs::read_dir(library.directory.path()).unwrap().count();
    assert!(save_to(&library, "alpine-caps:v1", None, &file).is_err());
    assert_eq!(
        std::fs::read_dir(library.directory.path()).unwrap().count(),
        before
    );
    let error = save_to(&library, "nosuch", None, &file).unwrap_err();
    assert_eq!(error.to_string(), "No such image: nosuch:latest");
    let platform = "linux/s390x".parse().unwrap();
    let error = save_to(&library, "dive-test", Some(&platform), &file).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is for linux/amd64, not for linux/s390x"),
        "{error}"
    );
}

#[test]
fn skopeo_reads_it_as_both_kinds_of_archive() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let Some(library) = filled() else { return };
    let file = library.directory.path().join("saved.tar");
    std::fs::write(&file, saved(&library, &["alpine-caps:v1"])).unwrap();
    for (kind, suffix) in [("docker-archive", ":alpine-caps:v1"), ("oci-archive", "")] {
        let source = format!("{kind}:{}{suffix}", file.display());
        let target = format!("dir:{}", library.directory.path().join(kind).display());
        succeeds(Command::new("skopeo").args(["--insecure-policy", "copy", &source, &target]));
    }
}

#[test]
fn podman_loads_it() {
    if !requires(&[Need::Root, Need::Program("podman")]) {
        return;
    }
    let Some(library) = filled() else { return };
    let file = library.directory.path().join("saved.tar");
    std::fs::write(&file, saved(&library, &["alpine-caps:v1", "dive-test"])).unwrap();
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        for (flag, name) in [("--root", "podman"), ("--runroot", "podman-run")] {
            command.arg(flag).arg(library.directory.path().join(name));
        }
        succeeds(command.args(["--storage-driver", "vfs"]).args(arguments))
    };
    podman(&["load", "-q", "-i", &path(&file)]);
    let id = store::find(&library.paths, "alpine-caps:v1").unwrap().id;
    let found = podman(&["image", "inspect", "--format", "{{.Id}}", "alpine-caps:v1"]);
    assert_eq!(found.trim(), id.hex());
    podman(&["rmi", "--all", "--force"]);
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
