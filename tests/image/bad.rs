//! Bad input: an error that says what is wrong with which part, and the store as it was.

use super::Library;
use super::plan::{self, Plan};
use super::support::image;
use onggi::error::{Kind, exit_code, kind};
use onggi::image::digest::Digest;
use onggi::image::store;
use serde_json::json;
use std::path::Path;

/// It must fail by its own fault, with that text on one line, in an empty store and in one with an image.
#[track_caller]
fn refused(archive: &Path, part: &str) {
    for filled in [false, true] {
        let library = Library::new();
        if filled {
            let mut other = Plan::new();
            other.layer = plan::tar(&[("other", b"x")]);
            other.diff_id = Digest::of(&other.layer);
            library.load(other.write().path()).unwrap();
        }
        let before = library.content();
        let error = library.load_for(archive, "linux/amd64").expect_err(part);
        let text = format!("{error:#}");
        assert!(text.contains(part), "expected `{part}` in: {text}");
        assert!(!text.contains('\n') && text.starts_with("load `"), "{text}");
        assert_eq!(
            (kind(&error), exit_code(&error, 125)),
            (Some(Kind::BadInput), 125),
            "{text}"
        );
        assert_eq!(library.content(), before, "{part}");
        assert_eq!(
            store::list(&library.paths).unwrap().len(),
            usize::from(filled)
        );
    }
}

#[test]
fn real_broken_images_are_refused() {
    for (path, part) in [
        (
            "grootfs/corrupted",
            "it should be 501 bytes long and is 502",
        ),
        (
            "grootfs/invalid-config",
            "`blobs/sha256/9c90ae0cffa9d1426e83a516183f0267e03edbb765efc5fb0c0dccc8edca4f15` is missing",
        ),
        (
            "buildpacks-busybox-sparse-oci",
            "layer 1 of 1 (`blobs/sha256/405fecb6a2fa4f29683f977e7e3b852bf6f8975a2aba647d234d2371894943da`)",
        ),
        (
            "archives/test-oci-gzip-image.tar",
            "the image is for linux/arm64, not for linux/amd64",
        ),
        (
            "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-x86_64.tar.gz",
            "it holds no images",
        ),
        ("alpine-3.20.3-rootfs", "it holds no images"),
        ("go-archive-tar-corpus/small.txt", "no whole tar archive"),
        (
            "go-archive-tar-corpus/pax-bad-hdr-large.tar.bz2",
            "no whole tar archive",
        ),
    ] {
        if let Some(file) = image(path) {
            refused(&file, part);
        }
    }
}

type Case = (&'static str, fn(&mut Plan));

#[track_caller]
fn refused_plans(cases: &[Case]) {
    for (part, change) in cases {
        let mut plan = Plan::new();
        plan.architecture = "amd64".to_owned();
        change(&mut plan);
        refused(plan.write().path(), part);
    }
}

#[test]
fn the_blobs_of_a_layout_are_checked() {
    refused_plans(&[
        ("its digest should be sha256:", |plan| {
            plan.after = |_, layer| {
                let mut bytes = std::fs::read(layer).unwrap();
                bytes[512] ^= 1;
                std::fs::write(layer, bytes).unwrap();
            }
        }),
        ("bytes long and is 100", |plan| {
            plan.after = |_, layer| {
                std::fs::write(layer, &std::fs::read(layer).unwrap()[..100]).unwrap();
            }
        }),
        ("` is missing", |plan| {
            plan.after = |_, layer| std::fs::remove_file(layer).unwrap();
        }),
        ("leads out of the directory", |plan| {
            plan.after = |_, layer| {
                std::fs::remove_file(layer).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", layer).unwrap();
            }
        }),
        ("its diff id should be sha256:", |plan| {
            plan.diff_id = Digest::of(b"other");
        }),
        ("EOF while parsing", |plan| {
            plan.config = Some(b"{\"os\":".to_vec());
        }),
        ("it is no JSON object", |plan| {
            plan.config = Some(b"[]".to_vec());
        }),
        ("expected a string", |plan| {
            plan.config = Some(br#"{"os":7,"rootfs":{"type":"layers"}}"#.to_vec());
        }),
        ("its config lists 0 layers, and it has 1", |plan| {
            plan.config = Some(br#"{"os":"linux","rootfs":{"type":"layers"}}"#.to_vec());
        }),
        ("the most for a document is 8388608", |plan| {
            plan.config = Some(vec![b' '; 9 << 20]);
        }),
        (
            "the image is for linux/riscv64, not for linux/amd64",
            |plan| {
                plan.architecture = "riscv64".to_owned();
            },
        ),
    ]);
}

#[test]
fn the_documents_of_a_layout_are_checked() {
    refused_plans(&[
        ("`application/vnd.oci.image.layer.v1.tar+brotli`", |plan| {
            plan.layer_type = format!("{}+brotli", plan::LAYER);
        }),
        ("lie elsewhere", |plan| {
            plan.layer_type = "application/vnd.oci.image.layer.nondistributable.v1.tar".to_owned();
        }),
        ("something of the media type `text/plain`", |plan| {
            plan.layer_type = "text/plain".to_owned();
        }),
        ("something of the media type `application/vnd.x`", |plan| {
            plan.manifest = |manifest| manifest["config"]["mediaType"] = json!("application/vnd.x");
        }),
        ("unknown media type `application/vnd.y`", |plan| {
            plan.index = |index| index["manifests"][0]["mediaType"] = json!("application/vnd.y");
        }),
        ("schema version 1", |plan| {
            plan.manifest = |manifest| manifest["schemaVersion"] = json!(1);
        }),
        ("missing field `layers`", |plan| {
            plan.manifest = |manifest| drop(manifest.as_object_mut().unwrap().remove("layers"));
        }),
        ("only sha256 is supported", |plan| {
            plan.manifest = |manifest| manifest["layers"][0]["digest"] = json!("md5:00");
        }),
        ("bytes long and is", |plan| {
            plan.manifest = |manifest| manifest["config"]["size"] = json!(1);
        }),
        ("but attestations", |plan| {
            plan.index = |index| {
                index["manifests"][0]["platform"] =
                    json!({"os": "unknown", "architecture": "unknown"});
            }
        }),
        ("there is no image in its `index.json`", |plan| {
            plan.index = |index| index["manifests"] = json!([]);
        }),
        ("read `index.json`: it is no valid JSON", |plan| {
            plan.after = |root, _| std::fs::write(root.join("index.json"), "{").unwrap();
        }),
        ("the layout has the version `2.0`", |plan| {
            plan.after = |root, _| {
                let version = r#"{"imageLayoutVersion":"2.0"}"#;
                std::fs::write(root.join("oci-layout"), version).unwrap();
            }
        }),
    ]);
}

#[test]
fn a_packed_layer_must_end_where_it_ends() {
    for (cut, part) in [(true, "layer 1 of 1"), (false, "layer 1 of 1")] {
        let mut plan = Plan::new();
        plan.architecture = "amd64".to_owned();
        plan.layer = plan::gzip(&plan.layer);
        plan.layer_type = format!("{}+gzip", plan::LAYER);
        match cut {
            true => plan.layer.truncate(plan.layer.len() - 9),
            false => plan.layer.extend_from_slice(b"garbage"),
        }
        refused(plan.write().path(), part);
    }
}

#[test]
fn indexes_that_lead_on_and_on_are_given_up() {
    let layout = Plan::new().write();
    let root = layout.path();
    let mut index = std::fs::read(root.join("index.json")).unwrap();
    for _ in 0..12 {
        let inner = plan::blob(root, plan::INDEX, &index);
        index = json!({"schemaVersion": 2, "manifests": [inner]})
            .to_string()
            .into_bytes();
    }
    std::fs::write(root.join("index.json"), index).unwrap();
    refused(root, "more and more indexes");
}

#[test]
fn every_part_of_dockers_archives_is_checked() {
    let layer = plan::tar(&[("a", b"1")]);
    let config = plan::config("amd64", &[&Digest::of(&layer)]);
    let other = format!("{}.json", "0".repeat(64));
    let misnamed = format!(r#"[{{"Config":"{other}","Layers":["l"]}}]"#);
    for (part, manifest) in [
        ("it is no list of images", "{"),
        ("there is no image in its `manifest.json`", "[]"),
        ("`none` is missing", r#"[{"Config":"none","Layers":["l"]}]"#),
        (
            "leads out of the archive",
            r#"[{"Config":"../c","Layers":["l"]}]"#,
        ),
        (
            "layer 1 of 1 (`none`): `none` is missing",
            r#"[{"Config":"c","Layers":["none"]}]"#,
        ),
        (
            "its config lists 1 layers, and it has 0",
            r#"[{"Config":"c","Layers":[]}]"#,
        ),
        (
            "name `A B`: invalid reference format",
            r#"[{"Config":"c","RepoTags":["A B"],"Layers":["l"]}]"#,
        ),
        ("its digest should be sha256:0000", &misnamed),
    ] {
        let files: [(&str, &[u8]); 4] = [
            ("manifest.json", manifest.as_bytes()),
            ("c", &config),
            (&other, &config),
            ("l", &layer),
        ];
        refused_bytes(&plan::tar(&files), part);
    }
}

#[test]
fn archives_from_before_docker_1_10_are_checked() {
    let id = "0".repeat(64);
    let named = format!(r#"{{"a":{{"b":"{id}"}}}}"#);
    let own_parent = format!(r#"{{"id":"{id}","parent":"{id}"}}"#);
    let json = format!("{id}/json");
    for (part, repositories, layer) in [
        ("it is no table of names", "[]", own_parent.as_str()),
        ("there is no image in its `repositories`", "{}", &own_parent),
        ("`x` is no id of a layer", r#"{"a":{"b":"x"}}"#, &own_parent),
        ("more than 500 ancestors", &named, &own_parent),
        ("/json` does not describe a layer", &named, "[7]"),
        ("/layer.tar` is missing", &named, "{}"),
    ] {
        let files = [
            ("repositories", repositories.as_bytes()),
            (&*json, layer.as_bytes()),
        ];
        refused_bytes(&plan::tar(&files), part);
    }
}

#[track_caller]
fn refused_bytes(bytes: &[u8], part: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("archive.tar");
    std::fs::write(&file, bytes).unwrap();
    refused(&file, part);
}

#[test]
fn archives_that_were_cut_or_pasted_to_are_refused() {
    let mut plan = Plan::new();
    plan.architecture = "amd64".to_owned();
    let whole = plan::archive(plan.write().path(), false);
    refused_bytes(
        &[&whole[..], b"garbage"].concat(),
        "garbage after the end of the archive",
    );
    refused_bytes(&whole[..700], "cut off inside");
    refused_bytes(
        &[&plan::gzip(&whole)[..], b"garbage"].concat(),
        "the gzip stream is cut off, or something follows it",
    );
    refused_bytes(
        &[&plan::gzip(&whole)[..], b"longer garbage"].concat(),
        "the gzip stream is followed by other bytes",
    );
    let packed = zstd::encode_all(&whole[..], 1).unwrap();
    refused_bytes(&packed[..packed.len() / 2], "the zstd stream is cut off");
    refused_bytes(b"", "it holds no images");
    // Wherever it is cut, nothing but a refusal may come of it; the last member is a mark that can be missed.
    let mark = whole.len() - 1024 - 2 * 512;
    for end in (0..mark).step_by(512).chain([mark + 100, mark + 512]) {
        let library = Library::new();
        let file = library.directory.path().join("cut");
        std::fs::write(&file, &whole[..end]).unwrap();
        let before = library.content();
        assert!(
            library.load_for(&file, "linux/amd64").is_err(),
            "cut at {end}"
        );
        assert_eq!(library.content(), before);
    }
}

#[test]
fn what_inflates_without_end_stops_at_the_limit() {
    let Some(file) = image("grootfs/zip-bomb") else {
        return;
    };
    let mut library = Library::new();
    library.rules.max_bytes = 4096;
    let before = library.content();
    let error = library.load_for(&file, "linux/amd64").unwrap_err();
    assert!(
        onggi::error::hint(&error).is_some_and(|hint| hint.contains("layer-max-bytes")),
        "{error:#}"
    );
    assert_eq!(library.content(), before);
}

/// A second image that fails takes the first one with it.
#[test]
fn all_images_of_an_archive_come_in_or_none() {
    let mut plan = Plan::new();
    plan.architecture = "amd64".to_owned();
    plan.index = |index| {
        let missing = json!({"mediaType": plan::MANIFEST, "digest": Digest::of(b"x"), "size": 1});
        index["manifests"].as_array_mut().unwrap().push(missing);
    };
    refused(plan.write().path(), "is missing");
}
