//! What `push` does with a registry that behaves, and what other programs find there.

use crate::certificates::{certificates, certs_d};
use crate::real::{IMAGE, Options, Registry, USER};
use crate::server::Server;
use crate::somebody;
use crate::support::{Need, Store, everyone, requires};
use crate::uploads::Uploads;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// The lines that `push` writes, without what is known to be there.
fn push(store: &Store, arguments: &[&str]) -> Vec<String> {
    let pushed = store.onggi(["push"].iter().chain(arguments)).run();
    pushed.code(0);
    pushed.stdout_text().lines().map(str::to_owned).collect()
}

fn count(lines: &[String], end: &str) -> usize {
    lines.iter().filter(|line| line.contains(end)).count()
}

/// The digest in the last line of a push.
fn digest(lines: &[String]) -> String {
    let last = lines.last().unwrap();
    let word = last.split(' ').find(|word| word.starts_with("sha256:"));
    word.unwrap().to_owned()
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn skopeo_json(arguments: &[&str]) -> Value {
    serde_json::from_slice(&skopeo(arguments)).unwrap()
}

#[test]
fn everyone_pushes_and_skopeo_reads_the_same_image() {
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let start = || Registry::start(&Options::default());
    let (Some(first), Some(second)) = (start(), start()) else {
        return;
    };
    let layers = first.layers().len();
    let mut digests = BTreeSet::new();
    for store in everyone() {
        let source = first.name(IMAGE);
        let target = second.name(&format!(
            "users/{}/copy:1",
            store
                .path()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_lowercase()
                .trim_start_matches('.')
        ));
        store.onggi(["pull", "-q", &source]).run().code(0);
        store.onggi(["tag", &source, &target]).run().code(0);
        let pushed = store.onggi(["push", &target]).run();
        pushed
            .code(0)
            .stderr_has("packed anew, since the originals were not kept: ");
        let lines: Vec<String> = pushed.stdout_text().lines().map(str::to_owned).collect();
        let (repository, _) = target.rsplit_once(':').unwrap();
        assert_eq!(
            lines[0],
            format!("The push refers to repository [{repository}]")
        );
        assert_eq!(count(&lines, ": Preparing"), layers);
        assert_eq!(count(&lines, ": Pushed"), layers);
        let remote = format!("docker://{target}");
        let raw = skopeo(&["inspect", "--tls-verify=false", "--raw", &remote]);
        let last = format!(
            "1: digest: {} size: {}",
            onggi::image::digest::Digest::of(&raw),
            raw.len()
        );
        assert_eq!(lines.last(), Some(&last));
        let inspected = store.onggi(["image", "inspect", &target]).run().json();
        let manifest: Value = serde_json::from_slice(&raw).unwrap();
        assert_eq!(manifest["config"]["digest"], inspected[0]["Id"]);
        let config = skopeo_json(&[
            "inspect",
            "--tls-verify=false",
            "--config",
            "--raw",
            &remote,
        ]);
        assert_eq!(
            config["rootfs"]["diff_ids"],
            inspected[0]["RootFS"]["Layers"]
        );
        let names = inspected[0]["RepoDigests"].to_string();
        assert!(
            names.contains(&format!("{repository}@{}", digest(&lines))),
            "{names}"
        );
        let copy = store.path().join("copied");
        skopeo(&[
            "--insecure-policy",
            "copy",
            "-q",
            "--src-tls-verify=false",
            &remote,
            &format!("dir:{}", copy.display()),
        ]);
        digests.insert(digest(&lines));
        // It is all there, and what is there under any name is not sent again.
        let again = push(&store, &[&target]);
        assert_eq!(
            (count(&again, ": Layer already exists"), again.last()),
            (layers, lines.last())
        );
        let other = target.replace("copy:1", "other:2");
        store.onggi(["tag", &target, &other]).run().code(0);
        let mounted = push(&store, &[&other]);
        assert_eq!(count(&mounted, ": Mounted from users/"), layers);
        assert_eq!(digest(&mounted), digest(&lines));
        store
            .onggi(["rmi", "-f", &target, &other, &source])
            .run()
            .code(0);
        store
            .onggi(["pull", "-q", &target])
            .run()
            .code(0)
            .stdout(&format!("{}\n", digest(&lines)));
        store.onggi(["system", "check", "--deep"]).run().code(0);
    }
    // Whoever packs, it comes to the same.
    assert!(digests.len() <= 1, "{digests:?}");
}

#[test]
fn podman_runs_through_what_was_pushed() {
    if !requires(&[Need::Program("podman"), Need::Root]) {
        return;
    }
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    if !store.alpine() {
        return;
    }
    let target = registry.name("alpine:pushed");
    store.onggi(["tag", "alpine:3.20", &target]).run().code(0);
    let lines = push(&store, &[&target]);
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |arguments: &[&str]| {
        // It leaves its store mounted on itself.
        let output = Command::new("unshare")
            .args(["--mount", "podman", "--storage-driver=vfs", "--root"])
            .arg(directory.path().join("root"))
            .arg("--runroot")
            .arg(directory.path().join("run"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let id = podman(&["pull", "-q", "--tls-verify=false", &target]);
    let inspected = store.onggi(["image", "inspect", &target]).run().json();
    assert_eq!(inspected[0]["Id"], format!("sha256:{}", id.trim()));
    let found = podman(&[
        "image",
        "inspect",
        "--format",
        "{{.Digest}} {{.RootFS.Layers}}",
        &target,
    ]);
    assert!(found.starts_with(&digest(&lines)), "{found}");
    let layer = inspected[0]["RootFS"]["Layers"][0].as_str().unwrap();
    assert!(found.contains(layer), "{found}");
}

#[test]
fn kept_blobs_give_equal_manifests() {
    let start = || Registry::start(&Options::default());
    let (Some(first), Some(second)) = (start(), start()) else {
        return;
    };
    let index = first.get("/v2/image/manifests/multi");
    for store in everyone() {
        let (source, target) = (first.name(IMAGE), second.name("kept:1"));
        let pull = |keep: &str| {
            let pulled = store
                .onggi(["pull", "-q", &source])
                .env("ONGGI_STORAGE_KEEP_BLOBS", keep);
            pulled.run().code(0);
            store.onggi(["tag", &source, &target]).run().code(0);
        };
        let size = || {
            let rows = store
                .onggi(["system", "df", "--format", "{{.Type}} {{.Size}}"])
                .run();
            rows.stdout_text().lines().next().unwrap().to_owned()
        };
        pull("false");
        let without = size();
        store.onggi(["rmi", "-f", &source, &target]).run().code(0);
        pull("true");
        assert_ne!(size(), without);
        let pushed = store.onggi(["push", &target]).run();
        pushed.code(0).stderr("");
        let lines: Vec<String> = pushed.stdout_text().lines().map(str::to_owned).collect();
        let digests = index["manifests"].to_string();
        assert!(digests.contains(&digest(&lines)), "{digests}: {lines:?}");
        store.onggi(["system", "check", "--deep"]).run().code(0);
        let blobs = || -> Vec<_> {
            let layers = std::fs::read_dir(store.data().join("layers")).unwrap();
            let files = layers.flat_map(|layer| std::fs::read_dir(layer.unwrap().path()).unwrap());
            let files = files.map(|file| file.unwrap().path());
            files
                .filter(|path| {
                    path.file_name()
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .starts_with("blob-")
                })
                .collect()
        };
        let kept = blobs();
        assert_eq!(kept.len(), first.layers().len());
        std::fs::write(&kept[0], "x").unwrap();
        store.onggi(["system", "check"]).run().code(0);
        store
            .onggi(["system", "check", "--deep"])
            .run()
            .code(1)
            .stdout_has("damaged-blob");
        store.onggi(["system", "check", "--deep", "--repair"]).run();
        store.onggi(["system", "check", "--deep"]).run().code(0);
        assert_eq!(blobs().len(), kept.len() - 1);
        // What is here is fetched again when it was not kept.
        store.onggi(["rmi", &source]).run().code(0);
        let by_digest = store.onggi(["images", "--digests", "-q"]).run();
        by_digest.code(0);
        store.onggi(["rmi", "-f", &target]).run().code(0);
        assert!(blobs().is_empty());
    }
}

#[test]
fn a_layer_that_is_here_is_fetched_when_its_blob_is_to_be_kept() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let Some(store) = somebody() else {
        return;
    };
    let name = registry.name(IMAGE);
    store.onggi(["pull", "-q", &name]).run().code(0);
    // Under another name the same layers are wanted again.
    let other = registry.name("image:other");
    let source = format!("docker://{name}");
    if !requires(&[Need::Program("skopeo")]) {
        return;
    }
    let target = format!("docker://{other}");
    skopeo(&[
        "--insecure-policy",
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &source,
        &target,
    ]);
    store
        .onggi(["pull", &other])
        .env("ONGGI_STORAGE_KEEP_BLOBS", "true")
        .run()
        .code(0)
        .stdout_has("Download complete");
    let end = registry.name("elsewhere:1");
    store.onggi(["tag", &other, &end]).run().code(0);
    let pushed = store.onggi(["push", &end]).run();
    pushed.code(0).stderr("");
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

#[test]
fn mistakes_have_dockers_words() {
    let Some(store) = somebody().filter(Store::alpine) else {
        return;
    };
    store
        .onggi(["tag", "alpine:3.20", "127.0.0.1:1/x:1"])
        .run()
        .code(0);
    let digest = format!("alpine@sha256:{}", "0".repeat(64));
    for (arguments, words) in [
        (
            &["no/such:1"][..],
            "An image does not exist locally with the tag: no/such",
        ),
        (
            &["-a", "no/such"],
            "An image does not exist locally with the tag: no/such",
        ),
        (
            &["-a", "alpine:3.20"],
            "tag can't be used with --all-tags/-a",
        ),
        (&[&digest], "cannot push a digest reference"),
        (&["UPPER"], "invalid reference format"),
        (&["127.0.0.1:1/x:1"], "connection refused"),
        (
            &["--platform", "linux/s390x", "alpine:3.20"],
            "not for linux/s390x",
        ),
    ] {
        let refused = store.onggi(["push"].iter().chain(arguments)).run();
        refused.code(1).stderr_has(words);
    }
    store.onggi(["push"]).run().code(125);
}

#[test]
fn all_tags_and_quiet() {
    let Some(store) = somebody().filter(Store::alpine) else {
        return;
    };
    let uploads = Uploads::default();
    let shared = uploads.clone();
    let server = Server::start(None, move |request| shared.answer(request));
    for tag in ["a", "b"] {
        let name = server.name(&format!("pot:{tag}"));
        store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
    }
    let names = format!("{0}:a\n{0}:b\n", server.name("pot"));
    let quiet = [
        "push",
        "-q",
        "-a",
        "--disable-content-trust",
        &server.name("pot"),
    ];
    store.onggi(quiet).run().code(0).stdout(&names).stderr("");
    assert!(uploads.is_whole("a") && uploads.is_whole("b"));
    let bare = server.name("pot");
    store.onggi(["tag", "alpine:3.20", &bare]).run().code(0);
    let lines = push(&store, &[&bare]);
    assert_eq!(lines[0], "Using default tag: latest");
    assert!(lines.last().unwrap().starts_with("latest: digest: sha256:"));
    let events = store
        .onggi([
            "events",
            "--since",
            "0",
            "--until",
            "0s",
            "--filter",
            "event=push",
        ])
        .run();
    events.code(0);
    assert_eq!(events.stdout_text().lines().count(), 3);
}

#[test]
fn tls_and_passwords() {
    let Some(made) = certificates("IP:127.0.0.1") else {
        return;
    };
    let options = Options {
        tls: Some(made.path()),
        password: true,
        ..Options::default()
    };
    let Some(registry) = Registry::start(&options) else {
        return;
    };
    for store in everyone().filter(Store::alpine) {
        let name = registry.name("alpine:safe");
        store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
        let push = |options: &[&str]| {
            store
                .onggi([&["push"], options, &[name.as_str()]].concat())
                .run()
        };
        push(&[])
            .code(1)
            .stderr_has("signed by an unknown authority");
        let trust = ["--cert-dir", made.path().to_str().unwrap()];
        push(&trust)
            .code(1)
            .stderr_has("push access denied")
            .stderr_has("onggi login");
        std::fs::copy(
            made.path().join("ca.crt"),
            certs_d(&store, &registry).join("ca.crt"),
        )
        .unwrap();
        let host = format!("127.0.0.1:{}", registry.port);
        store
            .onggi(["login", "-u", USER.0, "--password-stdin", &host])
            .stdin(USER.1)
            .run()
            .code(0);
        push(&[]).code(0).stdout_has("safe: digest: sha256:");
        push(&["--tls-verify=false"]).code(0);
    }
}

#[test]
fn the_server_that_takes_all_is_asked_for_no_more_than_needed() {
    let Some(store) = somebody().filter(Store::alpine) else {
        return;
    };
    let uploads = Uploads::default();
    let shared = uploads.clone();
    let server = Server::start(None, move |request| shared.answer(request));
    let name = server.name("pot:1");
    store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
    push(&store, &[&name]);
    assert!(uploads.is_whole("1"));
    assert_eq!(uploads.received(), uploads.stored());
    let before = server.seen().len();
    push(&store, &[&name]);
    // Whether there is TLS (two), the layer, the config, the manifest.
    assert!(
        server.seen().len() - before <= 5,
        "{:?}",
        &server.seen()[before..]
    );
}
