//! What lies beside images: it is listed, by a registry that keeps lists of it and by one that does not, and copied.

use crate::real::{Options, Registry};
use crate::server::{Reply, answer};
use crate::support::{Outcome, Store, image};
use crate::{Server, somebody};
use onggi::image::digest::Digest;
use serde_json::{Value, json};
use std::path::Path;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

/// A manifest with one layer, about another one.
fn artifact(layout: &Path, kind: &str, text: &str, subject: &Value) -> Value {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
        "config": blob(layout, EMPTY, b"{}"), "layers": [blob(layout, "text/plain", text.as_bytes())],
        "subject": subject, "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
    });
    let mut descriptor = blob(layout, MANIFEST, manifest.to_string().as_bytes());
    descriptor["artifactType"] = kind.into();
    descriptor["annotations"] = manifest["annotations"].clone();
    descriptor
}

/// A layout with an image, a bill of materials of it, a signature of that, and cosign's signature under a tag.
fn signed(store: &Store) -> Option<(String, Value)> {
    let from = image("alpine-caps-opaque-oci")?;
    let layout = store.home().join("signed");
    let arguments = [
        format!("oci:{}", from.display()),
        format!("oci:{}:v1", layout.display()),
    ];
    store
        .onggi(
            ["image", "copy", "-q"]
                .map(str::to_owned)
                .into_iter()
                .chain(arguments),
        )
        .run()
        .code(0);
    let mut index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut top = index["manifests"][0].clone();
    top.as_object_mut().unwrap().remove("annotations");
    let bill = artifact(&layout, "application/spdx+json", "clay, water", &top);
    let mut about = bill.clone();
    for key in ["artifactType", "annotations"] {
        about.as_object_mut().unwrap().remove(key);
    }
    let signature = artifact(&layout, "application/x-signature", "me", &about);
    let mut cosign = blob(
        &layout,
        MANIFEST,
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": blob(&layout, EMPTY, b"{}"),
            "layers": [blob(&layout, "application/vnd.dev.cosign.simplesigning.v1+json", b"signed")],
        })
        .to_string()
        .as_bytes(),
    );
    let name = |subject: &Value, ending: &str| {
        let tag = subject["digest"].as_str().unwrap().replace(':', "-");
        json!({"org.opencontainers.image.ref.name": format!("{tag}{ending}")})
    };
    cosign["annotations"] = name(&top, ".sig");
    let entries = index["manifests"].as_array_mut().unwrap();
    entries.push(cosign);
    for (subject, referrer) in [(&top, &bill), (&bill, &signature)] {
        let text =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer]}).to_string();
        let mut fallback = blob(&layout, INDEX, text.as_bytes());
        fallback["annotations"] = name(subject, "");
        entries.push(fallback);
    }
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    Some((format!("oci:{}:v1", layout.display()), top))
}

fn copy(store: &Store, arguments: &[&str]) -> Outcome {
    store
        .onggi(["image", "copy", "-q"].iter().chain(arguments))
        .run()
}

fn referrers(store: &Store, arguments: &[&str]) -> Outcome {
    store
        .onggi(["image", "referrers"].iter().chain(arguments))
        .run()
}

#[test]
fn they_are_copied_and_listed_where_a_registry_has_no_lists_of_them() {
    let (Some(one), Some(other), Some(store)) = (
        Registry::start(&Options::default()),
        Registry::start(&Options::default()),
        somebody(),
    ) else {
        return;
    };
    let Some((layout, top)) = signed(&store) else {
        return;
    };
    let archive = format!("oci-archive:{}", store.home().join("a.tar").display());
    let format = "{{.ArtifactType}} {{.Size}}{{with .CreatedAt}} {{.}}{{end}}";
    let expected = referrers(&store, &["--format", format, &layout]);
    expected.code(0).stdout_has("application/spdx+json");
    expected.stdout_has("application/vnd.dev.cosign.simplesigning.v1+json");
    let expected = expected.stdout_text();
    assert_eq!(expected.lines().count(), 2, "{expected}");
    let mut place = layout.clone();
    for (plain, next) in [
        (one.name("a:1"), format!("docker://{}", one.name("a:1"))),
        (other.name("b:1"), format!("docker://{}", other.name("b:1"))),
        (archive.clone(), archive.clone()),
        (other.name("c:1"), format!("docker://{}", other.name("c:1"))),
    ] {
        copy(&store, &["--signatures", &place, &next]).code(0);
        referrers(&store, &["--format", format, &plain])
            .code(0)
            .stdout(&expected);
        place = next;
    }
    // What is about what is about it.
    let bills = [
        "-q",
        "--no-trunc",
        "--artifact-type",
        "application/spdx+json",
        &other.name("c:1"),
    ];
    let bill = referrers(&store, &bills).stdout_text();
    let name = format!("{}@{}", other.name("c"), bill.trim_end());
    referrers(&store, &["--format", "{{.ArtifactType}}", &name])
        .code(0)
        .stdout("application/x-signature\n");
    let tag = top["digest"].as_str().unwrap().replace(':', "-");
    let table = referrers(&store, &[&other.name("c:1")]);
    table
        .code(0)
        .stdout_has("DIGEST")
        .stdout_has(&format!("{tag}.sig"));
    // Without being asked for they stay where they are.
    copy(
        &store,
        &[&place, &format!("docker://{}", one.name("bare:1"))],
    )
    .code(0);
    referrers(&store, &["-q", &one.name("bare:1")])
        .code(0)
        .stdout("");
}

#[test]
fn a_registry_that_keeps_lists_is_asked_for_them_page_by_page() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let Some((layout, top)) = signed(&store) else {
        return;
    };
    copy(
        &store,
        &[&layout, &format!("docker://{}", registry.name("a:1"))],
    )
    .code(0);
    let digest = top["digest"].as_str().unwrap().to_owned();
    let entry = |kind: &str| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": top["digest"], "size": 7, "artifactType": kind}]})
        .to_string()
    };
    let (first, second) = (entry("a/first"), entry("a/second"));
    let server = Server::start(Some(registry.port), move |request| {
        let path = format!("/v2/a/referrers/{digest}");
        let kind = format!("Content-Type: {INDEX}");
        match request.path.strip_prefix(&path) {
            Some("") => {
                let link = format!("Link: <{path}?page=2>; rel=\"next\"");
                answer("200 OK", &[&kind, &link], first.as_str())
            }
            Some("?page=2") => answer("200 OK", &[&kind], second.as_str()),
            _ => Reply::Forward,
        }
    });
    let format = "{{.ArtifactType}} {{.Size}}";
    referrers(&store, &["--format", format, &server.name("a:1")])
        .code(0)
        .stdout("a/first 7B\na/second 7B\n");
    referrers(&store, &["store:a"])
        .code(1)
        .stderr_has("the store keeps nothing beside an image");
    referrers(&store, &[&registry.name("none:1")])
        .code(1)
        .stderr_has("list what refers to");
}

#[test]
fn those_of_a_real_repository_come_along_with_all_that_is_about_them() {
    let (Some(registry), Some(store), Some(layout)) = (
        Registry::start(&Options::default()),
        somebody(),
        image("regclient-testrepo-oci"),
    ) else {
        return;
    };
    let from = format!("oci:{}:v2", layout.display());
    let name = registry.name("rc:v2");
    copy(
        &store,
        &["-a", "--signatures", &from, &format!("docker://{name}")],
    )
    .code(0);
    let kinds = |arguments: &[&str]| {
        let format = ["--format", "{{.ArtifactType}}"];
        let listed = referrers(&store, &[&format[..], arguments].concat());
        let text = listed.code(0).stdout_text();
        let mut kinds: Vec<String> = text.lines().map(str::to_owned).collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(
        kinds(&[&name]),
        ["application/example.sbom", "application/example.signature"]
    );
    assert_eq!(
        kinds(&["--platform", "linux/amd64", &name]),
        ["application/example.arms"]
    );
    assert_eq!(kinds(&[&from]), kinds(&[&name]));
    let several = copy(&store, &[&format!("oci:{}", layout.display()), "x"]);
    several
        .code(1)
        .stderr_has("it holds several images: `b1`")
        .stderr_lacks("`sha256-");
}
