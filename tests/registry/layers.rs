//! Layers of all kinds that registries have, and what they may not be.

use crate::made::{Layer, Made, gzip, tar};
use crate::{Server, Store, somebody};
use std::process::Command;

/// A pull of an image of these layers, by a fresh store.
fn pull(layers: &[Layer]) -> Option<(Store, Server, crate::support::Outcome)> {
    let made = Made::new(layers);
    let server = Server::start(None, move |request| made.reply(request));
    let store = somebody()?;
    let outcome = store.onggi(["pull", &server.name("pot:v1")]).run();
    Some((store, server, outcome))
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

#[test]
fn every_compression_in_any_number_of_parts_comes_in() {
    let text = b"clay ".repeat(10_000);
    let content = tar(&[("jar", &text)]);
    let parts: Vec<&[u8]> = content.chunks(20_000).collect();
    // RFC 8878, 3.1.2: a frame that decoders skip, as zstd:chunked has its table of contents in.
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat();
    let frames = parts.iter().map(|part| zstd(part)).collect::<Vec<_>>();
    for (kind, blob) in [
        ("tar", content.clone()),
        ("tar+gzip", gzip(&content)),
        (
            "tar+gzip",
            parts.iter().flat_map(|part| gzip(part)).collect(),
        ),
        ("tar+zstd", zstd(&content)),
        ("tar+zstd", frames.join(&skipped[..])),
        (
            "tar+zstd",
            [skipped.clone(), zstd(&content), skipped].concat(),
        ),
        // What it is, its bytes say.
        ("tar+gzip", zstd(&content)),
        ("tar", gzip(&content)),
    ] {
        let layer = Layer {
            kind,
            blob,
            tar: content.clone(),
        };
        let Some((store, _server, outcome)) = pull(&[layer]) else {
            return;
        };
        outcome.code(0);
        store.onggi(["system", "check", "--deep"]).run().code(0);
    }
}

#[test]
fn what_is_no_layer_is_told_with_its_place_and_leaves_nothing() {
    let content = tar(&[("jar", b"clay")]);
    let whole = gzip(&content);
    let bad = |kind, blob: Vec<u8>| Layer {
        kind,
        blob,
        tar: content.clone(),
    };
    for (layer, words) in [
        (
            bad("tar+gzip", [&whole[..], b"and something more"].concat()),
            "other bytes follow it",
        ),
        (
            bad("tar+gzip", whole[..whole.len() - 4].to_vec()),
            "its gzip stream does not end",
        ),
        (
            bad("tar+zstd", zstd(&content)[..20].to_vec()),
            "its zstd stream does not end",
        ),
        (
            bad("tar+gzip", b"\xfd7zXZ\0 and so on".to_vec()),
            "is compressed with xz, which no image format allows",
        ),
        (
            bad("tar+gzip", gzip(&tar(&[("jar", b"sand")]))),
            "its diff id should be sha256:",
        ),
        (bad("tar+gzip", gzip(b"<html>")), "layer 2 of 2"),
    ] {
        let Some((store, server, outcome)) = pull(&[Layer::gzip(&[("a", b"b")]), layer]) else {
            return;
        };
        outcome
            .code(1)
            .stderr_has(&format!(
                "onggi: layer 2 of 2 of 127.0.0.1:{}/pot (sha256:",
                server.port
            ))
            .stderr_has(words);
        let name = server.name("pot:v1");
        let run = store.onggi(["run", &name]).run();
        run.code(125).stderr_has(words);
        assert_eq!(store.onggi(["images", "-aq"]).run().stdout_text(), "");
        store.onggi(["system", "check", "--deep"]).run().code(0);
    }
}

#[test]
fn a_layer_twice_in_one_image_is_downloaded_once() {
    let layer = || Layer::gzip(&[("a", b"b")]);
    let Some((store, server, outcome)) = pull(&[layer(), layer(), layer()]) else {
        return;
    };
    outcome.code(0);
    let blobs = server.seen().iter().filter(|one| one.is_blob()).count();
    assert_eq!(blobs, 2, "the config and the layer");
    store.onggi(["system", "check", "--deep"]).run().code(0);
}

/// What podman pushes with `--compression-format zstd:chunked`, which only newer ones can.
#[test]
fn chunks_of_podman_are_a_zstd_layer() {
    use crate::real::{Options, Registry};
    use crate::support::{Need, requires};
    if !requires(&[Need::Program("podman"), Need::Root]) {
        return;
    }
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let content = tar(&[("a", &b"clay ".repeat(100_000)), ("b/c", b"sand")]);
    let file = store.file("files.tar", &content);
    let name = registry.name("chunks:v1");
    // Its run root must not be longer than 50 characters. It mounts its store on itself and leaves that mounted, and wants
    // control groups of version 2.
    let podman = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup; podman=\"podman --root $0/d --runroot $0/r\"; \
                  $podman import -q \"$1\" \"$2\" && \
                  $podman push -q --tls-verify=false --compression-format zstd:chunked \"$2\"";
    let pushed = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(podman.path())
        .args([file.to_str().unwrap(), &name])
        .output()
        .unwrap();
    if !pushed.status.success() {
        let said = String::from_utf8_lossy(&pushed.stderr);
        return crate::support::skip(said.lines().last().unwrap_or_default());
    }
    store.onggi(["pull", &name]).run().code(0);
    store.onggi(["system", "check", "--deep"]).run().code(0);
}
