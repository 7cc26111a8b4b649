//! Real archives of all kinds, and how the pieces of an image are told apart.

use super::Library;
use super::plan::{self, Plan};
use super::support::{host, image, skip};
use onggi::image::load::{Source, load};
use onggi::image::save::save;
use onggi::image::trust::Trust;
use onggi::image::{inspect, store};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Path, what it is called afterwards, short id, layers of the image.
type Real = (&'static str, &'static [&'static str], &'static str, usize);

const REAL: &[Real] = &[
    (
        "alpine-caps-opaque-oci",
        &["alpine-caps-opaque-oci:v1"],
        "d516f938bb34",
        3,
    ),
    (
        "alpine-caps-opaque-zstd-oci",
        &["alpine-caps-opaque-zstd-oci:v1"],
        "d516f938bb34",
        3,
    ),
    (
        "archives/alpine-caps-opaque.docker.tar",
        &["alpine-caps:v1"],
        "d516f938bb34",
        3,
    ),
    (
        "archives/test-docker-image.tar",
        &["dive-test:latest"],
        "75ae28b8ebf8",
        14,
    ),
    (
        "busybox-musl-multiarch-oci",
        &["busybox-musl-multiarch-oci:1.38.0-musl"],
        "654fc8fd836e",
        1,
    ),
    (
        "hello-world-amd64-oci",
        &["hello-world:linux"],
        "6a4c10128104",
        1,
    ),
    ("oci-tools/hard-link-1", &[], "d12073d7e5e4", 1),
    (
        "oci-tools/hello-world-docker-v2-manifest-list",
        &[],
        "feb5d9fea6a5",
        1,
    ),
    ("oci-tools/whiteout-opaque", &[], "fabdda141e77", 2),
    ("grootfs/garden-rootfs", &[], "a25ee8ffc621", 32),
    ("grootfs/zip-bomb", &["zip-bomb:latest"], "0706aa443453", 1),
];

#[test]
fn real_images_come_in_under_their_names_and_ids() {
    for &(path, names, id, layers) in REAL {
        let Some(file) = image(path) else { continue };
        let library = Library::new();
        let loaded = library
            .load_for(&file, "linux/amd64")
            .unwrap_or_else(|error| panic!("{path}: {error:#}"));
        let [one] = &loaded.images[..] else {
            panic!("{path}: {loaded:?}")
        };
        let called: Vec<String> = one.names.iter().map(ToString::to_string).collect();
        assert_eq!(
            (called, one.id.short()),
            (names.iter().map(|name| (*name).to_owned()).collect(), id),
            "{path}"
        );
        let found = store::find(&library.paths, names.first().unwrap_or(&id)).unwrap();
        assert_eq!(
            (found.id.short(), found.layers.len()),
            (id, layers),
            "{path}"
        );
        assert!(loaded.warnings.is_empty(), "{path}: {:?}", loaded.warnings);
        let staging = std::fs::read_dir(library.paths.staging()).unwrap().count();
        assert_eq!(staging, 0, "{path}");
    }
}

#[test]
fn an_image_of_another_platform_comes_in_when_it_is_asked_for() {
    for (path, platform, id) in [
        (
            "archives/test-oci-gzip-image.tar",
            "linux/arm64",
            "3eaccc100f86",
        ),
        (
            "archives/test-oci-estargz-image.tar",
            "linux/arm64/v8",
            "5c153971f5fe",
        ),
        ("busybox-musl-multiarch-oci", "linux/arm64", "f6e222a3f5fd"),
        (
            "oci-tools/hello-world-docker-v2-manifest-list",
            "linux/s390x",
            "df5477cea558",
        ),
        (
            "oci-tools/hello-world-docker-v2-manifest-list",
            "linux/arm",
            "7066d68bd2f2",
        ),
    ] {
        let Some(file) = image(path) else { continue };
        let library = Library::new();
        let loaded = library
            .load_for(&file, platform)
            .unwrap_or_else(|error| panic!("{path}: {error:#}"));
        assert_eq!(loaded.images[0].id.short(), id, "{path} {platform}");
        // Layers stream out of the store with their own digests, whatever is behind the end of their tars.
        save(&library.paths, &[id.to_owned()], None, &mut std::io::sink()).unwrap();
    }
}

#[test]
fn artifacts_are_passed_by_and_all_images_of_a_layout_come_in() {
    let Some(file) = image("regclient-testrepo-oci") else {
        return;
    };
    let loaded = Library::new().load_for(&file, "linux/amd64").unwrap();
    let tags: Vec<&str> = loaded
        .images
        .iter()
        .filter_map(|image| image.names[0].tag())
        .collect();
    assert_eq!(tags[..6], ["b1", "b2", "b3", "v1", "v2", "v3"]);
}

/// The newest of each kind, compressed as a whole, and through a pipe in either order of members.
#[test]
fn archives_come_packed_and_through_pipes_and_in_any_order() {
    let layout = Plan::new().write();
    let expected = Library::new().load(layout.path()).unwrap().images[0]
        .id
        .clone();
    let forwards = plan::archive(layout.path(), false);
    let backwards = plan::archive(layout.path(), true);
    let xz = packed_by_xz(&forwards);
    for bytes in [
        Some(plan::gzip(&backwards)),
        Some(zstd::encode_all(&forwards[..], 1).unwrap()),
        xz,
        Some(backwards),
    ] {
        let Some(bytes) = bytes else { continue };
        let library = Library::new();
        let file = library.directory.path().join("archive");
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(library.load(&file).unwrap().images[0].id, expected);
        let library = Library::new();
        let (reader, mut writer) = std::io::pipe().unwrap();
        std::thread::spawn(move || writer.write_all(&bytes).unwrap());
        let source = Source::File {
            file: File::from(std::os::fd::OwnedFd::from(reader)),
            path: None,
        };
        assert_eq!(
            load(
                &library.paths,
                &library.rules,
                source,
                None,
                &Trust::default()
            )
            .unwrap()
            .images[0]
                .id,
            expected
        );
    }
}

fn packed_by_xz(bytes: &[u8]) -> Option<Vec<u8>> {
    if !host::has_program("xz") {
        skip("packed by xz: there is no program `xz`");
        return None;
    }
    let mut child = Command::new("xz")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    Some(child.wait_with_output().unwrap().stdout)
}

/// A real archive of 2018 without the file that Docker added in 1.10 is one from before.
#[test]
fn archives_from_before_docker_1_10_are_read_by_their_repositories() {
    let Some(file) = image("archives/test-docker-image.tar") else {
        return;
    };
    let original = Library::new();
    let id = original.load_for(&file, "linux/amd64").unwrap().images[0]
        .id
        .clone();
    let original = store::find(&original.paths, id.hex()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    tar::Archive::new(File::open(&file).unwrap())
        .unpack(directory.path())
        .unwrap();
    std::fs::remove_file(directory.path().join("manifest.json")).unwrap();
    for unnamed in [false, true] {
        if unnamed {
            std::fs::remove_file(directory.path().join("repositories")).unwrap();
        }
        let library = Library::new();
        let loaded = library.load_for(directory.path(), "linux/amd64").unwrap();
        let [one] = &loaded.images[..] else {
            panic!("{loaded:?}")
        };
        let names: Vec<String> = one.names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            if unnamed {
                vec![]
            } else {
                vec!["dive-test:latest"]
            }
        );
        let found = store::find(&library.paths, one.id.hex()).unwrap();
        assert_eq!(
            found.config.rootfs.diff_ids,
            original.config.rootfs.diff_ids
        );
        assert_eq!(found.config.config.cmd, original.config.config.cmd);
        assert_eq!(found.config.history.len(), 14);
    }
}

/// Docker itself makes `layer.tar` a link to a layer that stands in the archive already.
#[test]
fn links_between_members_are_followed() {
    let layer = plan::tar(&[("a", b"1")]);
    let digest = onggi::image::digest::Digest::of(&layer);
    let config = plan::config(
        &onggi::image::platform::Platform::host().architecture,
        &[&digest],
    );
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder
        .append_link(&mut link, "two/layer.tar", "../one/layer.tar")
        .unwrap();
    let manifest = br#"[{"Config":"config.json","RepoTags":null,"Layers":["two/layer.tar"]}]"#;
    for (name, content) in [
        ("manifest.json", &manifest[..]),
        ("config.json", &config),
        ("./one/layer.tar", &layer),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    }
    let library = Library::new();
    let file = library.directory.path().join("archive");
    std::fs::write(&file, builder.into_inner().unwrap()).unwrap();
    library.load(&file).unwrap();
}

#[test]
fn a_layer_is_stored_once_and_a_name_moves_to_the_newer_image() {
    let library = Library::new();
    let first = library.load(Plan::new().write().path()).unwrap().images[0]
        .id
        .clone();
    let mut plan = Plan::new();
    let mut config: serde_json::Value =
        serde_json::from_slice(&plan::config(&plan.architecture, &[&plan.diff_id])).unwrap();
    config["author"] = "another".into();
    plan.config = Some(config.to_string().into_bytes());
    // The layer is here, so its blob is not even looked at.
    plan.after = |_, layer| std::fs::remove_file(layer).unwrap();
    let second = library.load(plan.write().path()).unwrap();
    assert_eq!(library.layers(), 1);
    let [displaced] = &second.displaced[..] else {
        panic!("{second:?}")
    };
    assert_eq!(
        (displaced.name.to_string().as_str(), &displaced.id),
        ("test:1", &first)
    );
    assert_eq!(
        store::find(&library.paths, "test:1").unwrap().id,
        second.images[0].id
    );
    assert!(
        store::find(&library.paths, first.short())
            .unwrap()
            .names
            .is_empty()
    );
    assert_eq!(store::list(&library.paths).unwrap().len(), 2);
}

#[test]
fn a_media_type_that_promises_another_compression_is_told_and_forgiven() {
    let mut plan = Plan::new();
    plan.layer = plan::gzip(&plan.layer);
    let loaded = Library::new().load(plan.write().path()).unwrap();
    assert!(
        loaded.warnings[0].contains("announced as no compression and is gzip"),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn inspect_names_the_layers_that_overlayfs_takes() {
    let Some(file) = image("oci-tools/whiteout-opaque") else {
        return;
    };
    let library = Library::new();
    let loaded = library.load_for(&file, "linux/amd64").unwrap();
    let image = store::find(&library.paths, loaded.images[0].id.hex()).unwrap();
    let value = inspect::inspect(&library.paths, &image).unwrap();
    let data = &value["GraphDriver"]["Data"];
    for (key, layer) in [
        ("LowerDir", &image.layers[0]),
        ("UpperDir", &image.layers[1]),
    ] {
        assert_eq!(
            data[key],
            library.paths.layer_tree(layer).display().to_string()
        );
        assert!(Path::new(data[key].as_str().unwrap()).is_dir());
    }
    assert_eq!(value["Id"], image.id.to_string());
}
