//! `image copy`: the same digests everywhere, nothing sent twice, nothing half made.

use crate::real::{IMAGE, Options, Registry};
use crate::server::{Reply, answer};
use crate::support::{Need, Outcome, Store, everyone, image, requires};
use crate::{Server, behind, somebody};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const AMD64: &str = "sha256:2dac842a777320f6b76bd1d6a5305795b1daf0f5b329b6b19fb2c7198a4da188";

fn copy(store: &Store, arguments: &[&str]) -> Outcome {
    store.onggi(["image", "copy"].iter().chain(arguments)).run()
}

/// A copy that must succeed; its digest.
fn copied(store: &Store, arguments: &[&str]) -> String {
    let outcome = copy(store, &[&["-q"], arguments].concat());
    outcome.code(0);
    outcome.stdout_text().trim_end().to_owned()
}

/// An image of two platforms with its digest.
fn multi() -> Option<(PathBuf, String)> {
    let layout = image("busybox-musl-multiarch-oci")?;
    let index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
    Some((layout, digest))
}

fn docker(name: &str) -> String {
    format!("docker://{name}")
}

fn skopeo(arguments: &[&str]) -> String {
    let run = Command::new("skopeo")
        .arg("--insecure-policy")
        .args(arguments)
        .output()
        .unwrap();
    assert!(run.status.success(), "{arguments:?}: {run:?}");
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn an_image_goes_through_all_places_and_keeps_its_digests() {
    let (Some(one), Some(other), Some(store), Some((layout, digest))) = (
        Registry::start(&Options::default()),
        Registry::start(&Options::default()),
        somebody(),
        multi(),
    ) else {
        return;
    };
    let path = |name: &str| store.home().join(name).display().to_string();
    let mut place = format!("oci:{}", layout.display());
    for next in [
        docker(&one.name("pots/busybox:1")),
        docker(&one.name("pots/again:2")),
        docker(&other.name("busybox:3")),
        format!("oci-archive:{}", path("a.tar")),
        format!("oci:{}:named", path("layout")),
        path("b.tar"),
        path("layout2"),
        docker(&other.name("last")),
    ] {
        assert_eq!(
            copied(&store, &["-a", &place, &next]),
            digest,
            "{place} to {next}"
        );
        place = next;
    }
    // All of it has come.
    for platform in ["linux/amd64", "linux/arm64"] {
        store
            .onggi(["image", "inspect", "--platform", platform, &place])
            .run()
            .code(0);
    }
    let shown = store
        .onggi(["manifest", "inspect", &other.name("last")])
        .run();
    assert_eq!(shown.json()["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn one_platform_is_chosen_and_kept_in_any_form() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let from = docker(&registry.name(IMAGE));
    let path = |name: &str| store.home().join(name).display().to_string();
    let amd64 = ["--platform", "linux/amd64"];
    let copied = |to: &str| copied(&store, &[&amd64[..], &[&from, to]].concat());
    let archive = format!("docker-archive:{}", path("d.tar"));
    for to in [&docker(&registry.name("one:1")), &archive, &path("layout")] {
        assert_eq!(copied(to), AMD64, "{to}");
    }
    // What is written for Docker is loaded with its name.
    let loaded = store
        .onggi(["load", "--platform", "linux/amd64", "-i", &path("d.tar")])
        .run();
    loaded
        .code(0)
        .stdout(&format!("Loaded image: {}\n", registry.name(IMAGE)));
    store.onggi(["system", "check", "--deep"]).run().code(0);
    let all = copy(
        &store,
        &["-a", &from, &format!("docker-archive:{}", path("x.tar"))],
    );
    all.code(1);
    assert!(!Path::new(&path("x.tar")).exists());
    let none = copy(&store, &["--platform", "linux/s390x", &from, &path("none")]);
    none.code(1)
        .stderr_has("it is offered for linux/amd64, linux/arm64, linux/arm/v7");
    copy(&store, &["-a", "--platform", "linux/amd64", &from, "x"])
        .code(1)
        .stderr_has("exclude each other");
}

#[test]
fn everyones_store_takes_images_from_all_places_and_gives_them_out() {
    let (Some(registry), Some((layout, _))) = (Registry::start(&Options::default()), multi())
    else {
        return;
    };
    let from = docker(&registry.name("pots/busybox:1"));
    let files = format!("oci:{}", layout.display());
    for (number, store) in everyone().enumerate() {
        let path = |name: &str| store.home().join(name).display().to_string();
        copied(&store, &["-a", &files, &from]);
        let archive = format!("docker-archive:{}", path("d.tar"));
        let original = copied(&store, &[&from, &archive]);
        let mut layers = Vec::new();
        for (from, name) in [
            (from.clone(), "store:a:1"),
            (files.clone(), "b:1"),
            (archive.clone(), "c"),
        ] {
            copied(&store, &[&from, name]);
            let name = name.trim_start_matches("store:");
            let inspected = store.onggi(["image", "inspect", name]).run().json();
            layers.push(inspected[0]["RootFS"]["Layers"].clone());
        }
        assert!(layers.iter().all(|other| *other == layers[0]));
        let listed = store
            .onggi(["images", "--format", "{{.Repository}}:{{.Tag}}"])
            .run();
        let listed = listed.stdout_text();
        let mut names: Vec<&str> = listed.lines().collect();
        names.sort_unstable();
        // Only by the names that were asked for, not by those they had.
        assert_eq!(names, ["a:1", "b:1", "c:latest"]);
        let digests = store
            .onggi(["image", "inspect", "--format", "{{.RepoDigests}}", "a:1"])
            .run();
        digests.code(0).stdout("[]\n");
        let ran = store.onggi(["run", "--rm", "a:1", "echo", "fired"]).run();
        ran.code(0).stdout("fired\n");
        // Out again: what the registry has elsewhere is mounted, so that nothing changes.
        let back = docker(&registry.name(&format!("back{number}:1")));
        copy(&store, &["a:1", &back])
            .code(0)
            .stdout_has(&format!("Digest: {original}\n"));
        // Into files it is packed by us, which is told: the same image with the same id, in the same bytes each time.
        let (layout, packed) = (path("layout"), path("packed.tar"));
        let out = copy(&store, &["a:1", &layout]);
        out.code(0)
            .stderr_has("packed anew, and so under other digests: ");
        out.stdout_has(": Written\n").stdout_lacks("Pushed");
        let digest = copied(&store, &["a:1", &packed]);
        out.stdout_has(&format!("Digest: {digest}\n"));
        // What is in an archive may be nowhere else.
        let before = std::fs::read(&packed).unwrap();
        copy(&store, &["a:1", &packed])
            .code(1)
            .stderr_has("is there already")
            .stderr_has("try: `rm ");
        assert!(std::fs::read(&packed).unwrap() == before);
        let index = Path::new(&layout).join("index.json");
        std::fs::File::options()
            .write(true)
            .open(&index)
            .and_then(|file| file.set_len(1 << 30))
            .unwrap();
        copy(&store, &["a:1", &layout])
            .code(1)
            .stderr_has("index.json` is larger than 8388608 bytes");
        std::fs::remove_file(&index).unwrap();
        copied(&store, &["a:1", &layout]);
        let id = |place: &str| {
            let shown = store
                .onggi(["image", "inspect", "--format", "{{.Id}}", place])
                .run();
            shown.code(0).stdout_text()
        };
        for place in [
            &back,
            &from,
            &format!("oci:{layout}"),
            &format!("oci-archive:{packed}"),
        ] {
            assert_eq!(id(place), id("a:1"), "{place}");
        }
        store.onggi(["system", "check", "--deep"]).run().code(0);
    }
}

#[test]
fn what_is_there_is_not_sent_and_what_breaks_goes_on() {
    let Some((registry, server, store)) =
        behind(
            |request| match request.is_blob() && request.method == "GET" {
                true => Reply::Cut(300_000),
                false => Reply::Forward,
            },
        )
    else {
        return;
    };
    let Some(other) = Registry::start(&Options::default()) else {
        return;
    };
    let amd64 = ["--platform", "linux/amd64"];
    let total: u64 = registry.layers().iter().map(|(_, size)| size).sum();
    let from = docker(&server.name(IMAGE));
    let layout = store.home().join("layout");
    let to = format!("oci:{}", layout.display());
    assert_eq!(copied(&store, &[&amd64[..], &[&from, &to]].concat()), AMD64);
    // The config comes twice, to choose by and to copy.
    assert!(
        server.sent() <= total + 20_000,
        "{} bytes for {total}",
        server.sent()
    );
    let before = server.sent();
    // The other registry is a copy of the first.
    let to = docker(&other.name("image:again"));
    let again = copy(&store, &[&amd64[..], &[&from, &to]].concat());
    again.code(0).stdout_lacks("Pushed");
    assert!(server.sent() - before <= 20_000);
    let to = docker(&registry.name("mounted:1"));
    let from = docker(&registry.name(IMAGE));
    let mounted = copy(&store, &[&amd64[..], &[&from, &to]].concat());
    mounted
        .code(0)
        .stdout_has("Mounted from image")
        .stdout_lacks("Pushed");
}

#[test]
fn what_is_wrong_is_told_and_leaves_nothing() {
    let Some((_registry, server, store)) =
        behind(
            |request| match request.is_blob() && request.method == "GET" {
                true => Reply::Corrupt(1000),
                false => Reply::Forward,
            },
        )
    else {
        return;
    };
    let from = docker(&server.name(IMAGE));
    let archive = store.home().join("a.tar");
    let to = format!("oci-archive:{}", archive.display());
    copy(&store, &[&from, &to])
        .code(1)
        .stderr_has("its digest is sha256:");
    assert!(!archive.exists());
    let layout = store.home().join("layout");
    copy(&store, &[&from, &format!("oci:{}", layout.display())]).code(1);
    assert!(!layout.join("index.json").exists());
    std::fs::write(store.home().join("note"), "x").unwrap();
    let full = store.home().display().to_string();
    copy(&store, &[&from, &full])
        .code(1)
        .stderr_has("is no OCI layout and not empty");
    let foreign = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{AMD64}","size":2}},
        "layers":[{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{AMD64}","size":2}}]}}"#
    );
    let elsewhere = Server::start(None, move |_| {
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        answer("200 OK", &[kind], foreign.as_bytes())
    });
    let from = docker(&elsewhere.name("x"));
    copy(&store, &[&from, &to])
        .code(1)
        .stderr_has("lie elsewhere and cannot be copied");
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
}

#[test]
fn places_that_are_none_are_told_with_those_that_there_are() {
    let Some(store) = somebody() else { return };
    for (arguments, words) in [
        (&["a", "b"][..], "`docker://NAME` is in a registry"),
        (&["dir:x", "b"], "`oci-archive:FILE`"),
        (&["containers-storage:x", "oci:y"], "podman save"),
        (
            &["none:1", "docker://127.0.0.1:1/x"],
            "No such image: none:1",
        ),
        (&["./none", "x"], "read `./none`: open it: No such file"),
        (
            &["-a", "docker://127.0.0.1:1/x", "x"],
            "the store holds images for one platform",
        ),
        (
            &["--signatures", "docker://127.0.0.1:1/x", "x"],
            "the store holds images for one platform",
        ),
    ] {
        copy(&store, arguments).code(1).stderr_has(words);
    }
    let Some(layout) = image("alpine-caps-opaque-oci") else {
        return;
    };
    copied(&store, &[&format!("oci:{}", layout.display()), "here"]);
    let directory = store.home().join("here");
    std::fs::create_dir(&directory).unwrap();
    let mut command = store
        .onggi(["image", "copy", "here", "docker://127.0.0.1:1/x"])
        .into_command();
    let outcome = command.current_dir(store.home()).output().unwrap();
    let said = String::from_utf8(outcome.stderr).unwrap();
    assert!(
        said.contains("`here` is the name of an image here and that of a file"),
        "{said}"
    );
    assert!(said.contains("`store:here` or `./here`"), "{said}");
}

#[test]
fn skopeo_reads_what_is_written_and_writes_what_is_read() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let (Some(registry), Some(store), Some((layout, digest))) =
        (Registry::start(&Options::default()), somebody(), multi())
    else {
        return;
    };
    let path = |name: &str| store.home().join(name).display().to_string();
    let ours = docker(&registry.name("ours:1"));
    assert_eq!(
        copied(&store, &["-a", &format!("oci:{}", layout.display()), &ours]),
        digest
    );
    let inspect = |place: &str| -> Value {
        let shown = skopeo(&[
            "inspect",
            "--tls-verify=false",
            "--override-arch",
            "amd64",
            place,
        ]);
        serde_json::from_str(&shown).unwrap()
    };
    assert_eq!(inspect(&ours)["Digest"], digest.as_str());
    let amd64 = ["--platform", "linux/amd64"];
    for place in [
        format!("oci:{}:x", path("layout")),
        format!("oci-archive:{}:x", path("a.tar")),
        format!("docker-archive:{}:x:1", path("d.tar")),
    ] {
        let one = copied(&store, &[&amd64[..], &[&ours, &place]].concat());
        let shown = inspect(&place);
        assert_eq!(shown["Architecture"], "amd64", "{place}");
        if !place.starts_with("docker-archive") {
            assert_eq!(shown["Digest"], one.as_str(), "{place}");
        }
    }
    let archive = format!("docker-archive:{}:y:1", path("s.tar"));
    skopeo(&[
        "copy",
        "-q",
        "--override-arch",
        "amd64",
        "--src-tls-verify=false",
        &ours,
        &archive,
    ]);
    copied(&store, &[&archive, "y"]);
    let format = "{{.Id}}";
    let id = |place: &str| {
        store
            .onggi(["image", "inspect", "--format", format, place])
            .run()
            .stdout_text()
    };
    assert_eq!(
        id("y"),
        store
            .onggi([
                "image",
                "inspect",
                "--platform",
                "linux/amd64",
                "--format",
                format,
                &ours
            ])
            .run()
            .stdout_text()
    );
}
